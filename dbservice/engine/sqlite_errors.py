"""SQLite's errors in words that do not depend on the driver: each of its result codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from dbservice.engine.dialect import TOO_LONG
from dbservice.engine.errors import (
    ConflictError,
    ConstraintError,
    DamagedError,
    EngineError,
    FullError,
    InvalidValueError,
    LockedError,
    NotWritableError,
    OutOfRangeError,
    OutOfSchemaError,
    PatternTooLongError,
    StatementTimeoutError,
    TooLargeError,
    UnavailableError,
)

T = TypeVar("T")

_CONSTRAINTS: Mapping[str, str] = {
    "SQLITE_CONSTRAINT": "other",
    "SQLITE_CONSTRAINT_CHECK": "check",
    "SQLITE_CONSTRAINT_DATATYPE": "type",
    "SQLITE_CONSTRAINT_FOREIGNKEY": "foreign key",
    "SQLITE_CONSTRAINT_NOTNULL": "not null",
    "SQLITE_CONSTRAINT_PRIMARYKEY": "unique",
    "SQLITE_CONSTRAINT_ROWID": "unique",
    "SQLITE_CONSTRAINT_TRIGGER": "trigger",
    "SQLITE_CONSTRAINT_UNIQUE": "unique",
    "SQLITE_MISMATCH": "type",
}
RESULT_CODES: Mapping[str, Callable[[str], EngineError]] = {
    "SQLITE_OK": EngineError,
    "SQLITE_ERROR": EngineError,
    "SQLITE_INTERNAL": EngineError,
    "SQLITE_PERM": UnavailableError,
    "SQLITE_ABORT": ConflictError,
    "SQLITE_BUSY": LockedError,
    "SQLITE_LOCKED": ConflictError,
    "SQLITE_NOMEM": UnavailableError,
    "SQLITE_READONLY": NotWritableError,
    "SQLITE_READONLY_DBMOVED": UnavailableError,
    "SQLITE_INTERRUPT": StatementTimeoutError,
    "SQLITE_IOERR": UnavailableError,
    "SQLITE_IOERR_CORRUPTFS": DamagedError,
    "SQLITE_CORRUPT": DamagedError,
    "SQLITE_NOTFOUND": EngineError,
    "SQLITE_FULL": FullError,
    "SQLITE_CANTOPEN": UnavailableError,
    "SQLITE_PROTOCOL": LockedError,
    "SQLITE_EMPTY": EngineError,
    "SQLITE_SCHEMA": ConflictError,
    "SQLITE_TOOBIG": TooLargeError,
    "SQLITE_MISUSE": EngineError,
    "SQLITE_NOLFS": FullError,
    "SQLITE_AUTH": EngineError,
    "SQLITE_AUTH_USER": EngineError,
    "SQLITE_FORMAT": DamagedError,
    "SQLITE_RANGE": EngineError,
    "SQLITE_NOTADB": DamagedError,
    "SQLITE_NOTICE": EngineError,
    "SQLITE_WARNING": EngineError,
    "SQLITE_ROW": EngineError,
    "SQLITE_DONE": EngineError,
}
"""What each primary result code becomes, and those extended ones that differ from theirs.

Constraints have a table of their own. A code that is here as EngineError is either none of an
error, or one that only a mistake of the service could bring about.
"""

_TEXTS: tuple[tuple[str, Callable[[str], EngineError]], ...] = (
    (TOO_LONG, PatternTooLongError),
    ("integer overflow", OutOfRangeError),
    ("user-defined function raised exception", InvalidValueError),
    ("Could not decode to UTF-8", InvalidValueError),
    ("malformed JSON", InvalidValueError),
    ("no such table", OutOfSchemaError),
    ("no such column", OutOfSchemaError),
    ("has no column named", OutOfSchemaError),
    ("too many SQL variables", TooLargeError),
    ("Expression tree is too large", TooLargeError),
    ("parser stack overflow", TooLargeError),
)
"""What SQLITE_ERROR, the code of everything without one of its own, means by its text."""


def translated(error: Exception) -> EngineError:
    """Return a driver's error in words that do not depend on the driver."""
    text = str(error)
    if isinstance(error, OverflowError):
        return OutOfRangeError(text)
    name = getattr(error, "sqlite_errorname", "") or "SQLITE_ERROR"
    if kind := _longest(_CONSTRAINTS, name):
        _, _, subject = text.partition("constraint failed: ")
        return ConstraintError(text, kind=kind, subject=subject or None)
    by_text = (becomes for part, becomes in _TEXTS if part in text)
    becomes = _longest(RESULT_CODES, name) or EngineError
    return (next(by_text, EngineError) if becomes is EngineError else becomes)(text)


def _longest(table: Mapping[str, T], name: str) -> T | None:
    """Return the entry of a code, or of the primary code that it is an extension of."""
    while name:
        if name in table:
            return table[name]
        name = name.rpartition("_")[0]
    return None
