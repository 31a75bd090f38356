"""Reads the tables of a PostgreSQL database from its own catalog."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dbservice.engine import postgres_search
from dbservice.engine.columns import Column
from dbservice.engine.dialect import dialect_of
from dbservice.engine.indexes import Index, SearchIndex
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.tables import Table
from dbservice.engine.type_map import (
    BINARY,
    CHAR,
    DATE,
    DECIMAL,
    OTHER,
    REAL,
    TIME,
    TYPE_MAP,
    UUID,
    plain_default,
)
from dbservice.protocol.rows import ColumnType
from dbservice.sqltext.dialects import Dialect

_KINDS = {"TABLE": ["r", "p"], "VIEW": ["v"]}

_NAMES = """
SELECT relname::text FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = ANY(CAST(? AS TEXT[])::"char"[])
    AND substr(relname::text, 1, ?) = ?
ORDER BY relname
"""

_COLUMNS = """
SELECT a.attname::text, format_type(a.atttypid, NULL), format_type(a.atttypid, a.atttypmod),
    a.attnotnull, pg_get_expr(d.adbin, d.adrelid), COALESCE(a.attnum = ANY(k.indkey), FALSE),
    COALESCE(pg_get_serial_sequence(quote_ident(c.relname), a.attname), ''),
    a.attgenerated <> '', c.relkind = 'v'
FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    LEFT JOIN pg_index k ON k.indrelid = c.oid AND k.indisprimary
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = CAST(? AS TEXT)
    AND c.relkind IN ('r', 'p', 'v')
ORDER BY a.attnum
"""

_INDEXES = """
SELECT i.relname::text,
    x.indisunique AND x.indimmediate AND x.indisvalid AND x.indpred IS NULL,
    ARRAY(
        SELECT a.attname::text FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k (number, place)
            LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number
        WHERE k.place <= x.indnkeyatts ORDER BY k.place
    ),
    pg_get_indexdef(i.oid)
FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = CAST(? AS TEXT)
    AND NOT x.indisprimary
ORDER BY i.relname
"""

_RULES: Mapping[str, str] = {
    "text": ColumnType.TEXT,
    "smallint": ColumnType.INTEGER,
    "integer": ColumnType.INTEGER,
    "bigint": ColumnType.INTEGER,
    "real": REAL,
    "double precision": ColumnType.FLOAT,
    "numeric": DECIMAL,
    "boolean": ColumnType.BOOLEAN,
    "timestamp with time zone": ColumnType.DATETIME,
    "timestamp without time zone": ColumnType.DATETIME,
    "json": ColumnType.JSON,
    "jsonb": ColumnType.JSON,
    "character varying": ColumnType.STRING,
    "character": CHAR,
    "date": DATE,
    "time without time zone": TIME,
    "uuid": UUID,
    "bytea": BINARY,
}
"""The row of the type map that a type follows; one that is not here is shown as its text."""
_BITS: Mapping[str, int] = {"smallint": 16, "integer": 32}
_DIGITS = re.compile(r"\((\d+),(\d+)\)")
_LENGTH = re.compile(r"\((\d+)\)")
_CAST = re.compile(r"('(?:[^']|'')*'|[\w.]+)::[\w ]+(?:\(\d+\))?")
_QUOTED_NUMBER = re.compile(r"'(-?[\d.]+(?:e[+-]?\d+)?)'|\((-[\d.]+)\)")


def names(kind: str, prefix: str) -> Steps[list[str]]:
    """Return the full names of the tables or views with a prefix, sorted."""
    result = yield Statement(_NAMES, (_KINDS[kind], len(prefix), prefix))
    return [row[0] for row in result.rows]


def load(name: str, full_name: str) -> Steps[Table | None]:
    """Return a table or view by its full name, or None."""
    declared = yield Statement(_COLUMNS, (full_name,))
    if not declared.rows:
        return None
    columns = {row[0]: _column(row) for row in declared.rows}
    listed = yield Statement(_INDEXES, (full_name,))
    folded = {row[0]: postgres_search.folded_columns(row[3]) for row in listed.rows}
    indexes = tuple(_index(*row[:3]) for row in listed.rows if not folded[row[0]])
    searches = tuple(
        SearchIndex(index, full_name, found) for index, found in folded.items() if found
    )
    dialect = dialect_of(Dialect.POSTGRESQL)
    is_view = declared.rows[0][-1]
    return Table(name, full_name, columns, dialect, indexes, is_view=is_view, searches=searches)


def _column(row: tuple[Any, ...]) -> Column:
    name, native, declared, not_null, default, is_key, sequence, generated, _ = row
    rule = _RULES.get(native, OTHER)
    column_type = TYPE_MAP[rule].type
    digits = _DIGITS.search(declared) if rule == DECIMAL else None
    length = _LENGTH.search(declared) if column_type is ColumnType.STRING else None
    precision = _LENGTH.search(declared) if rule in (ColumnType.DATETIME, TIME) else None
    return Column(
        name,
        column_type,
        nullable=not not_null and not is_key,
        default=None if sequence or generated else _plain(default, column_type),
        max_length=int(length.group(1)) if length else None,
        primary_key=is_key,
        native=declared if rule == OTHER else native,
        sequence=sequence,
        kind=rule,
        generated=generated,
        digits=(int(digits.group(1)), int(digits.group(2))) if digits else None,
        bits=_BITS.get(native, 64),
        precision=int(precision.group(1)) if precision else 6,
        default_sql=None if sequence or generated else default,
    )


def _plain(default: str | None, column_type: ColumnType) -> str | None:
    """Return a default as its author may have written it: literals come with casts here."""
    if default is None:
        return None
    literal = _CAST.fullmatch(default)
    text = literal.group(1) if literal else default
    if column_type in (ColumnType.INTEGER, ColumnType.FLOAT):
        number = _QUOTED_NUMBER.fullmatch(text)
        text = next(filter(None, number.groups())) if number else text
    if column_type is ColumnType.BOOLEAN:
        return text.upper()
    return plain_default(text, column_type)


def _index(name: str, is_unique: bool, columns: list[str | None]) -> Index:
    named = tuple(column for column in columns if column is not None)
    plain = named if len(named) == len(columns) else ()
    return Index(name, plain, is_unique and bool(plain))
