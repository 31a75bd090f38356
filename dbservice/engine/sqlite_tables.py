"""Reads the tables of an SQLite database from its own catalog."""

from __future__ import annotations

import re

from dbservice.engine.columns import Column
from dbservice.engine.dialect import dialect_of
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.tables import Index, Table
from dbservice.engine.type_map import plain_default
from dbservice.protocol.rows import ColumnType
from dbservice.sqltext.dialects import Dialect

_LENGTH = re.compile(r"\((\d+)\)")
_AFFINITIES = (
    ("JSON", ColumnType.JSON),
    ("BOOL", ColumnType.BOOLEAN),
    ("DATETIME", ColumnType.DATETIME),
    ("TIMESTAMP", ColumnType.DATETIME),
    ("INT", ColumnType.INTEGER),
    ("CHAR", ColumnType.STRING),
    ("TEXT", ColumnType.TEXT),
    ("CLOB", ColumnType.TEXT),
    ("REAL", ColumnType.FLOAT),
    ("FLOA", ColumnType.FLOAT),
    ("DOUB", ColumnType.FLOAT),
    ("NUMERIC", ColumnType.FLOAT),
    ("DECIMAL", ColumnType.FLOAT),
)


def names(kind: str, prefix: str) -> Steps[list[str]]:
    """Return the full names of the tables or views with a prefix, sorted."""
    result = yield Statement(
        "SELECT name FROM sqlite_master WHERE type = ? AND substr(name, 1, ?) = ? ORDER BY name",
        (kind.lower(), len(prefix), prefix),
    )
    return [row[0] for row in result.rows]


def load(name: str, full_name: str) -> Steps[Table | None]:
    """Return a table or view by its full name, or None."""
    declared = yield Statement(
        'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1',
        (full_name,),
    )
    if not declared.rows:
        return None
    source = yield Statement(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (full_name,)
    )
    text = source.rows[0][0] if source.rows else ""
    columns = {row[0]: _column(row, text) for row in declared.rows}
    indexes = yield from _load_indexes(full_name)
    return Table(name, full_name, columns, dialect_of(Dialect.SQLITE), indexes)


def _column(row: tuple[str, str, int, str | None, int], source: str) -> Column:
    name, declared, not_null, default, key_position = row
    column_type = _type_of(declared)
    if column_type in (ColumnType.TEXT, ColumnType.STRING) and _is_json_checked(name, source):
        column_type = ColumnType.JSON
    length = _LENGTH.search(declared) if column_type is ColumnType.STRING else None
    return Column(
        name,
        column_type,
        nullable=not not_null and not key_position,
        default=plain_default(default, column_type),
        max_length=int(length.group(1)) if length else None,
        primary_key=bool(key_position),
    )


def _type_of(declared: str) -> ColumnType:
    upper = declared.upper()
    for token, column_type in _AFFINITIES:
        if token in upper:
            return column_type
    return ColumnType.TEXT


def _is_json_checked(column: str, source: str) -> bool:
    return bool(re.search(rf'json_valid\s*\(\s*["`\[]?{column}["`\]]?\s*\)', source, re.IGNORECASE))


def _load_indexes(full_name: str) -> Steps[tuple[Index, ...]]:
    listed = yield Statement(
        'SELECT name, "unique", partial FROM pragma_index_list(?) '
        "WHERE origin <> 'pk' ORDER BY name",
        (full_name,),
    )
    indexes: list[Index] = []
    for name, unique, partial in listed.rows:
        info = yield Statement("SELECT name FROM pragma_index_info(?) ORDER BY seqno", (name,))
        columns = tuple(row[0] for row in info.rows)
        plain = columns if None not in columns else ()
        indexes.append(Index(name, plain, bool(unique) and not partial and bool(plain)))
    return tuple(indexes)
