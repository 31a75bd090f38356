"""What an engine raises, in words that do not depend on the driver."""

from __future__ import annotations


class EngineError(Exception):
    """A statement failed. `str()` of it is the engine's own text: for logs, never for replies."""


class ConstraintError(EngineError):
    """A constraint refused a row.

    Args:
        text: the engine's own text.
        kind: `unique`, `not null`, `check` or `foreign key`.
        subject: the column or constraint as the engine names it, if it does.
    """

    def __init__(self, text: str, *, kind: str, subject: str | None) -> None:
        super().__init__(text)
        self.kind = kind
        self.subject = subject


class StatementTimeoutError(EngineError):
    """A statement ran longer than the service allows and was interrupted."""


class WriteTimeoutError(StatementTimeoutError):
    """A write took longer than the service allows, and was undone."""


class UnavailableError(EngineError):
    """The database cannot be reached, or went away; the same work may succeed later."""


class ConflictError(UnavailableError):
    """Another transaction stood in the way, also of repetitions; nothing is wrong with either."""


class OutOfSchemaError(EngineError):
    """A statement names a table or column that is not there, or no longer of that type."""


class OutOfRangeError(EngineError):
    """A number left the range that the engine can store."""
