"""Column types of an existing SQLite database, as both engines and the service take them.

SQLite keeps in a column whatever was written there, so the declared type is checked against the
values: a type that they do not fit is replaced by one that they do.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dbservice.engine.columns import Column as ServedColumn
from dbservice.engine.dialect import dialect_of
from dbservice.engine.type_map import to_stored
from dbservice.migrate.structure import Column
from dbservice.protocol.errors import RequestError
from dbservice.protocol.rows import ColumnType
from dbservice.sqltext.dialects import Dialect, quoted

_PLAIN: Final = re.compile(
    r"(?:N?VARCHAR|N?CHAR|CHARACTER|VARYING CHARACTER|DECIMAL|NUMERIC)"
    r"\s*\(\s*\d+(?:\s*,\s*\d+)?\s*\)"
    r"|[A-Z][A-Z0-9_]*(?: [A-Z][A-Z0-9_]*)*"
)
_SIZED_NUMBER: Final = re.compile(r"(?:DECIMAL|NUMERIC)\s*(\(\s*\d+(?:\s*,\s*\d+)?\s*\))")
_STRICT_TYPES: Final = frozenset({"INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY"})
_INTEGERS: Final = frozenset({"integer"})
_NUMBERS: Final = frozenset({"integer", "real"})
_TEXTS: Final = frozenset({"text"})


@dataclass(frozen=True, slots=True)
class Typed:
    """What a column becomes.

    Attributes:
        type: what the service takes it for.
        sqlite: the declared type on SQLite.
        postgresql: the declared type on PostgreSQL.
        remark: what changes for its values; empty if nothing.
    """

    type: ColumnType
    sqlite: str
    postgresql: str
    remark: str = ""


def typed(
    connection: sqlite3.Connection, table: str, column: Column, served: ServedColumn
) -> Typed:
    """Return the types of a column that take every value it holds.

    Args:
        connection: to the existing database.
        table: as the database has it.
        column: as it is declared.
        served: as the service reads that declaration.
    """
    stored = _stored(connection, table, column.name)
    if column.type and served.type is not ColumnType.TEXT and not _PLAIN.fullmatch(column.type):
        return _by_values(stored, f"the type {column.type} is not one that a migration may use")
    if "blob" in stored:
        return _by_values(stored, "binary values are imported as base64 text")
    misfit = next(_misfits(connection, table, column, served, stored), "")
    if misfit:
        return _by_values(stored, misfit)
    return _declared(column, served)


def _declared(column: Column, served: ServedColumn) -> Typed:
    canonical = dialect_of(Dialect.SQLITE).declared[served.type]
    is_known = _PLAIN.fullmatch(column.type) and served.type is not ColumnType.TEXT
    sqlite = column.type if is_known or column.type in ("TEXT", "DATE", "TIME") else canonical
    postgresql = dialect_of(Dialect.POSTGRESQL).declared[served.type]
    if served.type is ColumnType.STRING and served.max_length:
        postgresql = f"VARCHAR({served.max_length})"
    elif number := _SIZED_NUMBER.fullmatch(column.type):
        postgresql = f"NUMERIC{number[1]}"
    return Typed(served.type, sqlite, postgresql)


def _by_values(stored: frozenset[str], remark: str) -> Typed:
    kind = ColumnType.TEXT
    if stored and stored <= _NUMBERS:
        kind = ColumnType.INTEGER if stored <= _INTEGERS else ColumnType.FLOAT
    declared = [dialect_of(dialect).declared[kind] for dialect in Dialect]
    return Typed(kind, declared[0], declared[1], remark)


def _misfits(
    connection: sqlite3.Connection,
    table: str,
    column: Column,
    served: ServedColumn,
    stored: frozenset[str],
) -> Iterator[str]:
    """Yield why the values do not fit the declared type."""
    fitting = {
        ColumnType.INTEGER: _INTEGERS,
        ColumnType.BOOLEAN: _INTEGERS,
        ColumnType.FLOAT: _NUMBERS,
    }.get(served.type, _TEXTS)
    if not stored <= fitting:
        told = ", ".join(sorted(stored - fitting))
        yield f"declared {column.type or 'without a type'}, but holds {told} values"
    if served.type in (ColumnType.STRING, ColumnType.DATETIME, ColumnType.JSON, ColumnType.BOOLEAN):
        yield from _refused(connection, table, column, served)


def _refused(
    connection: sqlite3.Connection, table: str, column: Column, served: ServedColumn
) -> Iterator[str]:
    name = quoted(column.name)
    values = connection.execute(
        f"SELECT DISTINCT {name} FROM {quoted(table)} WHERE {name} IS NOT NULL"  # noqa: S608
    )
    for (value,) in values:
        if served.type is ColumnType.JSON and not _is_json(connection, value):
            yield f"declared {column.type}, but not every value is JSON"
            return
        given = bool(value) if served.type is ColumnType.BOOLEAN and value in (0, 1) else value
        try:
            to_stored(served, given, column.name)
        except RequestError:
            yield f"declared {column.type}, but '{str(value)[:40]}' does not fit that"
            return


def _is_json(connection: sqlite3.Connection, value: object) -> bool:
    return bool(connection.execute("SELECT json_valid(?)", (value,)).fetchone()[0])


def _stored(connection: sqlite3.Connection, table: str, column: str) -> frozenset[str]:
    """Return the storage classes that a column holds, null left out."""
    name = quoted(column)
    found = connection.execute(
        f"SELECT DISTINCT typeof({name}) FROM {quoted(table)} WHERE {name} IS NOT NULL"  # noqa: S608
    )
    return frozenset(row[0] for row in found)


def fits_strict(declared: str) -> bool:
    """Whether a STRICT table takes a declared type."""
    return declared in _STRICT_TYPES
