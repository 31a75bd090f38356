"""PostgreSQL's errors in words that do not depend on the driver."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from dbservice.engine.dialect import TOO_LONG
from dbservice.engine.errors import (
    ConflictError,
    ConstraintError,
    DamagedError,
    EngineError,
    ExhaustedError,
    FullError,
    InvalidValueError,
    MisconfiguredError,
    NotWritableError,
    OutOfRangeError,
    OutOfSchemaError,
    PatternTooLongError,
    StatementTimeoutError,
    TooLargeError,
    UnavailableError,
)
from dbservice.runtime.redaction import redacted

_CONSTRAINTS: Mapping[str, str] = {
    "09": "trigger",
    "23": "other",
    "23001": "foreign key",
    "23502": "not null",
    "23503": "foreign key",
    "23505": "unique",
    "23514": "check",
    "23P01": "exclusion",
    "27": "trigger",
    "2B": "foreign key",  # dropping what others refer to
    "40002": "other",
    "44": "check",
    "P0001": "trigger",
}
SQLSTATES: Mapping[str, Callable[[str], EngineError]] = {
    "00": EngineError,
    "01": EngineError,
    "02": EngineError,
    "03": EngineError,
    "08": UnavailableError,
    "0A": EngineError,
    "0B": EngineError,
    "0F": EngineError,
    "0L": EngineError,
    "0P": EngineError,
    "0Z": EngineError,
    "10": InvalidValueError,
    "20": EngineError,
    "21": EngineError,
    "22": InvalidValueError,
    "22003": OutOfRangeError,
    "2200H": ExhaustedError,
    "24": EngineError,
    "25": EngineError,
    "25006": NotWritableError,
    "25P03": UnavailableError,
    "26": ConflictError,
    "28": MisconfiguredError,
    "2D": EngineError,
    "2F": EngineError,
    "34": EngineError,
    "38": EngineError,
    "39": EngineError,
    "3B": EngineError,
    "3D": UnavailableError,
    "3F": UnavailableError,
    "40": ConflictError,
    "40003": UnavailableError,
    "42": EngineError,
    "42501": MisconfiguredError,
    "428C9": InvalidValueError,
    "42P01": OutOfSchemaError,
    "42703": OutOfSchemaError,
    "42804": OutOfSchemaError,
    "42883": OutOfSchemaError,
    "53": UnavailableError,
    "53100": FullError,
    "54": TooLargeError,
    "55": EngineError,
    "55006": ConflictError,
    "55P03": ConflictError,
    "57": UnavailableError,
    "57014": StatementTimeoutError,
    "58": UnavailableError,
    "58P01": DamagedError,
    "58P02": DamagedError,
    "72": ConflictError,
    "F0": MisconfiguredError,
    "HV": EngineError,
    "P0": EngineError,
    "XX": EngineError,
    "XX001": DamagedError,
    "XX002": DamagedError,
}
"""What each class of SQLSTATEs becomes, and those states that differ from their class.

Constraints have a table of their own. What is here as EngineError is either none of an error, or
one that only a mistake of the service could bring about.
"""

_CHECK = "23514"
_CACHED_PLAN = "cached statement plan is invalid"

# Two replicas that create the same table at the same time: IF NOT EXISTS does not see the other's.
_RACES = ("pg_type_typname_nsp_index", "pg_class_relname_nsp_index")
_RACE_TEXT = "tuple concurrently updated"

_KEY = re.compile(r"Key \((.*?)\)=\(")
_PLAIN_NAME = re.compile(r'"?(\w+)"?')


COLUMNS_OF_CHECK = """
SELECT string_agg(a.attname::text, ' ' ORDER BY k.place)
FROM pg_constraint c CROSS JOIN unnest(c.conkey) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number
WHERE c.conrelid = to_regclass(quote_ident(?)) AND c.conname = CAST(? AS TEXT)
"""


class CheckError(ConstraintError):
    """A CHECK refused a row.

    SQLite names the expression of a CHECK without a name; PostgreSQL has given it one, and has to
    be asked for its columns.

    Args:
        text: the engine's own text.
        table: the full name of the table.
        constraint: the name of the CHECK.
    """

    def __init__(self, text: str, *, table: str, constraint: str) -> None:
        super().__init__(text, kind="check", subject=constraint)
        self.table = table
        self.constraint = constraint

    @property
    def is_named_by_engine(self) -> bool:
        """Whether the author of the table gave the CHECK no name."""
        pattern = rf"{re.escape(self.table)}(_\w+)?_check\d*"
        return re.fullmatch(pattern, self.constraint) is not None


def translated(error: Any) -> EngineError:
    """Return a driver's error as the engine raises it; one that is translated stays as it is."""
    if isinstance(error, EngineError):
        return error
    text = str(error)
    state = str(getattr(error, "sqlstate", "") or "")
    if not state:
        return _of_the_client(error, text)
    if _stands_in_the_way(error, text):
        return ConflictError(text)
    if state == _CHECK:
        return _check_error(error, text)
    if TOO_LONG in text:
        return PatternTooLongError(text)
    if kind := _CONSTRAINTS.get(state) or _CONSTRAINTS.get(state[:2]):
        is_missing = "is not present in" in (error.detail or "") if kind == "foreign key" else None
        subject = _subject(error, state)
        return ConstraintError(text, kind=kind, subject=subject, is_missing=is_missing)
    becomes = SQLSTATES.get(state) or SQLSTATES.get(state[:2]) or EngineError
    return becomes(text)


def cannot_open(url: sa.URL, error: Exception) -> UnavailableError:
    """Return the sentence for a database that cannot be opened."""
    if isinstance(error, UnavailableError):
        return error
    state = str(getattr(error, "sqlstate", "") or "")
    place = f"{url.host or url.query.get('host', 'localhost')}:{url.port or 5432}"
    shown = redacted(url.render_as_string(hide_password=False))
    told = {
        "28P01": f"The server refuses the password of user '{url.username}'. Check the URL {shown}",
        "28000": f"The server refuses user '{url.username}' from here ({error})",
        "3D000": f"There is no database '{url.database}' on this server. Create it with: createdb "
        f"{url.database}",
        "42501": f"User '{url.username}' may not create tables in the database ({error}). Make it "
        "the owner of the database, or grant it CREATE on the schema",
        "53300": "The server has no connection left. Raise its max_connections, or lower the "
        "number of replicas",
        "57P03": f"The server at {place} is starting up or shutting down. Try again",
    }.get(state)
    if told is None and (isinstance(error, OSError) or state.startswith("08")):
        told = (
            f"No PostgreSQL server answers at {place} ({error}). Start it, or check host and port "
            f"in the URL {shown}"
        )
    return UnavailableError(f"{told or f'The database {shown} cannot be opened: {error}'}.")


def _of_the_client(error: Exception, text: str) -> EngineError:
    """Translate what asyncpg raises without having asked the server."""
    if isinstance(error, OSError):
        return UnavailableError(text)
    if isinstance(error, OverflowError):
        return OutOfRangeError(text)
    if isinstance(error, ValueError):  # as the driver's DataError is
        return OutOfRangeError(text) if "range" in text else InvalidValueError(text)
    return EngineError(text)


def _stands_in_the_way(error: Any, text: str) -> bool:
    return (
        _CACHED_PLAN in text
        or _RACE_TEXT in text
        or getattr(error, "constraint_name", None) in _RACES
    )


def _check_error(error: Any, text: str) -> CheckError:
    return CheckError(text, table=error.table_name, constraint=error.constraint_name)


def _subject(error: Any, state: str) -> str | None:
    """Return what was refused in the form that SQLite tells it: `table.column, table.column`."""
    table = error.table_name
    if state == "23502":
        return f"{table}.{error.column_name}"
    if state == "23505":
        key = _KEY.match(error.detail or "")
        names = [_PLAIN_NAME.fullmatch(name) for name in key.group(1).split(", ")] if key else []
        return ", ".join(f"{table}.{name.group(1)}" for name in names if name) or None
    return None
