"""What an engine raises: every way to fail has one class, with its code and its sentence.

Which error of a driver becomes which class is in `sqlite_errors` and `postgres_errors`, for every
result code and every SQLSTATE. `str()` of an error is the engine's own text: for logs, never for
replies, which take `told`.
"""

from __future__ import annotations

from typing import ClassVar

from dbservice.protocol.errors import ErrorCode, Reason
from dbservice.protocol.limits import MAX_MATCH


class EngineError(Exception):
    """A statement failed in a way that is the service's own fault, or nobody's that it knows.

    Attributes:
        code: of the reply.
        told: the sentence of the reply.
        reason: refines a VALIDATION_ERROR.
    """

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL_ERROR
    told: ClassVar[str] = (
        "The service could not serve this request. Its log has the details under the request's id."
    )
    reason: ClassVar[Reason | None] = None


class ConstraintError(EngineError):
    """A constraint refused a row.

    Args:
        text: the engine's own text.
        kind: `unique`, `not null`, `check`, `foreign key`, `exclusion`, `trigger` or `type`.
        subject: the column or constraint as the engine names it, if it does.
        is_missing: of a foreign key, that the row referred to is not there; False means that other
            rows refer to this one, None that the engine does not say.
    """

    code = ErrorCode.CONSTRAINT_VIOLATION
    told = "A constraint of the table refused the write; nothing was changed."

    def __init__(
        self, text: str, *, kind: str, subject: str | None, is_missing: bool | None = None
    ) -> None:
        super().__init__(text)
        self.kind = kind
        self.subject = subject
        self.is_missing = is_missing


class StatementTimeoutError(EngineError):
    """A statement ran longer than the service allows and was interrupted."""

    code = ErrorCode.TIMEOUT
    told = (
        "The statement took longer than the service allows and was stopped; nothing was changed. "
        "Narrow the filters, add an index, or ask for fewer rows."
    )


class UnstoppedError(StatementTimeoutError):
    """It was not begun: the engine is still at work on an earlier one, and cannot be stopped."""

    told = (
        "Nothing was begun: PostgreSQL is still at work on an earlier query of this plugin, and "
        "could not be stopped. Until that one ends, no other that may take long is begun. Ask for "
        "less at a time."
    )


class ChangeTimeoutError(StatementTimeoutError):
    """A schema change of a plugin took longer than the service allows, and was undone."""

    told = (
        "The change of the table would have held up others for longer than the service allows and "
        "was stopped; nothing was changed. Make it in a migration."
    )


class WriteTimeoutError(StatementTimeoutError):
    """A write took longer than the service allows, and was undone."""

    told = (
        "The write would have held up all others for longer than the service allows and was "
        "stopped; nothing was changed. Select the ids of the rows first, and change them in pages: "
        '{"id": {"$in": [...]}}.'
    )


class UnavailableError(EngineError):
    """The database cannot be reached, or went away; the same work may succeed later."""

    code = ErrorCode.DATABASE_UNAVAILABLE
    told = "The database cannot be reached at the moment; nothing was changed. Try again."


class FullError(UnavailableError):
    """The disk is full, or a quota is reached."""

    told = (
        "The database has no room left; nothing was changed. Its operator has to make room; then "
        "the same request succeeds."
    )


class NotWritableError(UnavailableError):
    """The database takes no writes at the moment: a standby, or set to read only."""

    told = (
        "The database takes no writes at the moment, it is read-only; nothing was changed. Reads "
        "are served. Try again."
    )


class FileGoneError(UnavailableError):
    """The database file is not the one any more that was opened."""


class ConflictError(UnavailableError):
    """Another transaction stood in the way, also of repetitions; nothing is wrong with either."""

    code = ErrorCode.LOCK_TIMEOUT
    told = "Other requests stood in the way of this one; nothing was changed. Try again."


class LockedError(UnavailableError):
    """Another process holds a lock on the database's file."""

    code = ErrorCode.LOCK_TIMEOUT
    told = (
        "Another process holds a lock on the database and did not let go of it in time; nothing "
        "was changed. Try again."
    )


class OutOfSchemaError(EngineError):
    """A statement names a table or column that is not there, or no longer of that type."""

    code = ErrorCode.LOCK_TIMEOUT
    told = (
        "The table was changed while this request ran; nothing was changed by it. Try again, and "
        "look at 'schema.describe' if it fails again."
    )


class OutOfRangeError(EngineError):
    """A number left the range that the engine can store."""

    code = ErrorCode.VALIDATION_ERROR
    told = (
        "The result leaves the range of its type: an integer column has 64 bits or fewer, a float "
        "column ends at 1.8e308; nothing was changed."
    )
    reason = Reason.LIMIT


class InvalidValueError(EngineError):
    """The engine could not take a value for one of the type that it is used as."""

    code = ErrorCode.VALIDATION_ERROR
    told = (
        "The database could not read a value as one of its column's type; nothing was changed. "
        "'schema.describe' tells the types."
    )


class TooLargeError(EngineError):
    """A statement, or a value that it computes, is beyond a limit of the engine."""

    code = ErrorCode.VALIDATION_ERROR
    told = "The request is too large for the database; nothing was changed. Split it."
    reason = Reason.LIMIT


class MemoryExceededError(EngineError):
    """A statement took more memory than the service gives to one, and was ended."""

    code = ErrorCode.VALUE_TOO_LARGE
    told = (
        "The request needs more memory than the service gives to one; nothing was changed. Ask for "
        "fewer or smaller values."
    )


class ExhaustedError(EngineError):
    """A table has given out its last generated id."""

    code = ErrorCode.VALIDATION_ERROR
    told = (
        "The table has given out the last id that it can generate; nothing was changed. Send an "
        "'id' with the row, or move the rows to a new table with a migration."
    )
    reason = Reason.LIMIT


class DamagedError(EngineError):
    """The files of the database are not what they should be."""

    told = (
        "The database's files are damaged, or are none of a database; repeating the request does "
        "not help. Its operator finds the details in the service's log."
    )


class MisconfiguredError(EngineError):
    """The service's own user may not do what it needs, or its setup is wrong."""

    told = (
        "The database refuses the service itself, not this request; repeating it does not help. "
        "Its operator finds the details in the service's log."
    )


class PatternTooLongError(EngineError):
    """A text is too long for the pattern it would be matched with."""

    code = ErrorCode.VALIDATION_ERROR
    told = (
        "A text is too long for its pattern: the characters of the one times those of the other "
        f"are at most {MAX_MATCH}. Use a shorter pattern, or narrow the filters."
    )
    reason = Reason.LIMIT
