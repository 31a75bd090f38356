"""Column types of an existing SQLite database, as both engines and the service take them.

SQLite keeps in a column whatever was written there, so the declared type is checked against the
values: a type that they do not fit is replaced by one that they do.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

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
    if "real" in stored and (infinite := _infinite(connection, table, column.name)):
        return _by_values(_TEXTS, infinite)
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


def _infinite(connection: sqlite3.Connection, table: str, column: str) -> str:
    """Return what is said of infinities, which the wire does not have; empty if there are none."""
    where = f"abs({quoted(column)}) = 9e999"
    source = quoted(table)
    found = connection.execute(f"SELECT 1 FROM {source} WHERE {where} LIMIT 1").fetchone()  # noqa: S608
    if found is None:
        return ""
    return f"it holds infinities ({_rows_told(connection, table, column, where, ())})"


def _misfits(
    connection: sqlite3.Connection,
    table: str,
    column: Column,
    served: ServedColumn,
    stored: frozenset[str],
) -> Iterator[str]:
    """Yield why the values do not fit the declared type, in how many rows, and in which."""
    fitting = {
        ColumnType.INTEGER: _INTEGERS,
        ColumnType.BOOLEAN: _INTEGERS,
        ColumnType.FLOAT: _NUMBERS,
    }.get(served.type, _TEXTS)
    if not stored <= fitting:
        told = ", ".join(sorted(stored - fitting))
        name, classes = quoted(column.name), ", ".join(f"'{each}'" for each in sorted(fitting))
        where = f"{name} IS NOT NULL AND typeof({name}) NOT IN ({classes})"
        rows = _rows_told(connection, table, column.name, where, ())
        yield f"declared {column.type or 'without a type'}, but holds {told} values ({rows})"
    if served.type in (ColumnType.STRING, ColumnType.DATETIME, ColumnType.JSON, ColumnType.BOOLEAN):
        yield from _refused(connection, table, column, served)


def _refused(
    connection: sqlite3.Connection, table: str, column: Column, served: ServedColumn
) -> Iterator[str]:
    name = quoted(column.name)
    values = connection.execute(
        f"SELECT {name}, count(*) FROM {quoted(table)} WHERE {name} IS NOT NULL GROUP BY {name}"  # noqa: S608
    )
    refused = [(v, n) for v, n in values if not _fits(connection, column, served, v)]
    if not refused:
        return
    value, others = refused[0][0], sum(count for _, count in refused)
    row = _rows_told(connection, table, column.name, f"{name} IS ?", (value,), others)
    what = "not every value is JSON" if served.type is ColumnType.JSON else ""
    told = what or f"'{str(value)[:40]}' does not fit that"
    yield f"declared {column.type}, but {told} ({row})"


def _fits(connection: sqlite3.Connection, column: Column, served: ServedColumn, value: Any) -> bool:
    if served.type is ColumnType.JSON and not _is_json(connection, value):
        return False
    given = bool(value) if served.type is ColumnType.BOOLEAN and value in (0, 1) else value
    try:
        to_stored(served, given, column.name)
    except RequestError:
        return False
    return True


def _rows_told(
    connection: sqlite3.Connection,
    table: str,
    column: str,
    where: str,
    values: Sequence[Any],
    count: int | None = None,
) -> str:
    """Return how many of how many rows, and which is the first: `1 of 1000 rows, first: id 17`."""
    name, source = quoted(column), quoted(table)
    key = connection.execute(
        "SELECT name FROM pragma_table_xinfo(?) WHERE pk > 0 ORDER BY pk", (table,)
    ).fetchall()
    shown = [quoted(each) for (each,) in key] or ["_rowid_"]
    (total,) = connection.execute(f"SELECT count(*) FROM {source}").fetchone()  # noqa: S608
    found = connection.execute(
        f"SELECT {', '.join(shown)}, {name} FROM {source} WHERE {where} ORDER BY 1",  # noqa: S608
        tuple(values),
    ).fetchall()
    names = [each for (each,) in key] or ["rowid"]
    first = ", ".join(f"{n} {v}" for n, v in zip(names, found[0][:-1], strict=True))
    value = str(found[0][-1])[:40]
    return f"{count or len(found)} of {total} rows, first {first}: '{value}'"


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
