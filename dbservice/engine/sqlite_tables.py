"""Reads the tables of an SQLite database from its own catalog."""

from __future__ import annotations

import re

from dbservice.engine import sqlite_search
from dbservice.engine.columns import Column
from dbservice.engine.dialect import dialect_of
from dbservice.engine.indexes import Index
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.tables import Table
from dbservice.engine.type_map import (
    BINARY,
    CHAR,
    DATE,
    DECIMAL,
    OTHER,
    TIME,
    TYPE_MAP,
    UNTYPED,
    UUID,
    plain_default,
)
from dbservice.protocol.rows import ColumnType
from dbservice.sqltext.dialects import Dialect

_LENGTH = re.compile(r"\((\d+)\)")
_DIGITS = re.compile(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
_JSON_CHECKED = re.compile(
    r"json_valid\s*+\(\s*+(\"[^\"]*+\"|`[^`]*+`|\[[^\]]*+\]|[^\"`\[\]()\s]++)\s*+\)", re.IGNORECASE
)
_RULES: tuple[tuple[str, str], ...] = (
    ("[]", OTHER),
    ("RANGE", OTHER),
    ("INTERVAL", OTHER),
    ("JSON", ColumnType.JSON),
    ("BOOL", ColumnType.BOOLEAN),
    ("DATETIME", ColumnType.DATETIME),
    ("TIMESTAMP", ColumnType.DATETIME),
    ("TIMETZ", OTHER),
    ("WITH TIME ZONE", OTHER),
    ("INT", ColumnType.INTEGER),
    ("VARCHAR", ColumnType.STRING),
    ("VARYING", ColumnType.STRING),
    ("CHAR", CHAR),
    ("TEXT", ColumnType.TEXT),
    ("CLOB", ColumnType.TEXT),
    ("BLOB", BINARY),
    ("REAL", ColumnType.FLOAT),
    ("FLOA", ColumnType.FLOAT),
    ("DOUB", ColumnType.FLOAT),
    ("NUMERIC", DECIMAL),
    ("DECIMAL", DECIMAL),
    ("DATE", DATE),
    ("TIME", TIME),
    ("UUID", UUID),
    ("BINARY", BINARY),
    ("BYTEA", BINARY),
)
"""What a declared type contains, and the row of the type map that it then follows; the first
counts, as SQLite itself goes by parts of names. What PostgreSQL would show as text is text here."""

_WRITING_TRIGGERS = """
SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, 1) <> '_'
    AND instr(substr(lower(sql), instr(lower(sql), 'begin')), lower(?)) LIMIT 1
"""
"""Triggers that name a table in what they do; those of the service write no column of it."""

_GENERATED = (2, 3)
"""What `hidden` says of columns that are computed when read, and when written."""


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
        'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?) '
        "WHERE hidden <> 1",
        (full_name,),
    )
    if not declared.rows:
        return None
    source = yield Statement(
        "SELECT type, sql FROM sqlite_master WHERE type IN ('table', 'view') AND name = ?",
        (full_name,),
    )
    kind, text = source.rows[0]
    writers = yield Statement(_WRITING_TRIGGERS, (full_name,))
    by_trigger = bool(writers.rows)
    checked = {name.strip('"`[]').casefold() for name in _JSON_CHECKED.findall(text)}
    columns = {
        row[0]: _column(row, by_trigger=by_trigger, is_json=row[0].casefold() in checked)
        for row in declared.rows
    }
    indexes = yield from _load_indexes(full_name)
    dialect = dialect_of(Dialect.SQLITE)
    near = yield from sqlite_search.present(full_name)
    searches = tuple(index for index in near.values() if index.table == full_name)
    is_view = kind == "view"
    return Table(name, full_name, columns, dialect, indexes, is_view=is_view, searches=searches)


def _column(
    row: tuple[str, str, int, str | None, int, int], *, by_trigger: bool, is_json: bool
) -> Column:
    name, declared, not_null, default, key_position, hidden = row
    rule = _rule_of(declared)
    column_type = TYPE_MAP[rule].type
    if rule in (ColumnType.TEXT, ColumnType.STRING) and is_json:
        rule = column_type = ColumnType.JSON
    length = _LENGTH.search(declared) if column_type is ColumnType.STRING else None
    digits = _DIGITS.search(declared) if rule == DECIMAL else None
    precision = _LENGTH.search(declared) if rule in (ColumnType.DATETIME, TIME) else None
    return Column(
        name,
        column_type,
        nullable=not not_null and not key_position,
        default=plain_default(default, column_type),
        max_length=int(length.group(1)) if length else None,
        primary_key=bool(key_position),
        kind=rule,
        generated=hidden in _GENERATED,
        by_trigger=by_trigger,
        digits=(int(digits.group(1)), int(digits.group(2) or 0)) if digits else None,
        precision=min(6, int(precision.group(1))) if precision else 6,
        default_sql=default,
    )


def _rule_of(declared: str) -> str:
    upper = declared.upper()
    if not upper:
        return UNTYPED
    return next((rule for part, rule in _RULES if part in upper), OTHER)


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
