"""Where the engines' SQL differs: each difference has one method here, and nowhere else.

Operations are written once. They ask the dialect of their table for the few expressions that the
engines spell, order or compute differently, so that what they mean is the same on both (SPEC 2.5).
"""

# ruff: noqa: D102 - what the methods do is said in SqlDialect
from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from dbservice.engine.columns import Column
from dbservice.engine.folding import in_lower_case, in_small
from dbservice.engine.steps import Statement, Steps
from dbservice.protocol.codec import encode_json
from dbservice.protocol.rows import ColumnType
from dbservice.sqltext.dialects import Dialect, quoted

_LONG_LIST = 32
"""A list longer than this is bound as one JSON parameter, to keep statements few and short."""

_BELOW_INTEGERS = "-1e19"
"""Below every integer of 64 bits; as an integer it is the lowest of them."""


class Fragment(NamedTuple):
    """A piece of SQL with the parameters of its placeholders."""

    sql: str
    parameters: Sequence[Any] = ()


class SqlDialect(Protocol):
    """The expressions and statements that an engine has its own way with.

    Attributes:
        name: whose SQL it is.
        schema_version: asks for a number that changes with every change of any schema.
        collation: what follows the type of a text column that sorts by code point.
        keyed: what ends the declaration of a table that is only looked up by its key.
        declared: how a column of each type is declared.
        id_declared: how the generated `id` of a registered table is declared.
        table_exists: gives a row if there is a table with a name.
        for_update: what ends a SELECT whose rows the same transaction will change.
        hold_key: reads a value of `_kv` (plugin, key, now; null if there is none) and keeps
            everyone else from changing it, absent or not, until the transaction ends.
        any_key: allows an explicit value for a generated key; stands before VALUES.
    """

    name: Dialect
    schema_version: Statement
    collation: str
    keyed: str
    declared: Mapping[ColumnType, str]
    id_declared: str
    table_exists: str
    for_update: str
    hold_key: str
    any_key: str

    def lock(self, name: str) -> Steps[None]:
        """Let no other transaction past this call with the same name until this one ends."""

    def claim(self, name: str) -> Steps[bool]:
        """Hold a name until the transaction ends, and return whether nobody else holds it."""

    def column_check(self, column: Column) -> str:
        """Return the CHECK that a declared column needs, or an empty string."""

    def drop(self, kind: str, names: Sequence[str]) -> Steps[None]:
        """Drop tables or views (`kind`), which may refer to each other."""

    def key_was_given(self, table: str, column: Column, value: Any) -> Steps[None]:
        """Take note of an explicit value of a generated key: the next one comes after it."""

    def keys_were_given(self, prefix: str) -> Steps[None]:
        """Do the same for all tables with a prefix, after statements that nobody looked into."""

    def ordered(self, column: Column) -> str:
        """Return a column as it stands in comparisons of order, in ORDER BY and in MIN and MAX."""

    def operand(self, column: Column) -> str:
        """Return a placeholder for a value to compare or compute with a column."""

    def differs(self, column: Column) -> str:
        """Return the test that a column is not the operand; null differs from every value."""

    def member(self, column: Column, values: list[Any]) -> Fragment:
        """Return the test that a column is one of some values, none of them null."""

    def like(self, column: Column, pattern: str) -> Fragment:
        r"""Return the test that a column matches a pattern of `%`, `_` and `\`."""

    def ilike(self, column: Column, pattern: str) -> Fragment:
        """Return the same test with both sides in lower case, character by character."""

    def json_equal(self, column: Column, text: str) -> Fragment:
        """Return the test that a JSON column means the same value as a JSON text."""

    def json_contains(self, column: Column, text: str) -> Fragment:
        """Return the test that a JSON column is an array with an element, given as JSON text."""

    def computed(self, column: Column, sign: str, value: Any) -> Fragment:
        """Return `column sign value`, null counting as 0, failing where 64 bits are left."""

    def total(self, column: Column) -> str:
        """Return the sum of a column, of the column's type."""

    def average(self, column: Column) -> str:
        """Return the average of a column, as a float."""


class SqliteDialect:
    """SQLite, with the functions that SqliteEngine registers."""

    name = Dialect.SQLITE
    schema_version = Statement("PRAGMA schema_version")
    collation = ""
    keyed = " WITHOUT ROWID"
    declared: Mapping[ColumnType, str] = {
        ColumnType.STRING: "VARCHAR",
        ColumnType.TEXT: "TEXT",
        ColumnType.INTEGER: "INTEGER",
        ColumnType.FLOAT: "REAL",
        ColumnType.BOOLEAN: "BOOLEAN",
        ColumnType.DATETIME: "DATETIME",
        ColumnType.JSON: "JSON TEXT",
    }
    id_declared = "INTEGER PRIMARY KEY AUTOINCREMENT"
    table_exists = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    for_update = ""
    hold_key = (
        "SELECT value FROM _kv "
        "WHERE plugin = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)"
    )
    any_key = ""

    def lock(self, name: str) -> Steps[None]:  # noqa: ARG002 - one writer is lock enough
        yield from ()

    def claim(self, name: str) -> Steps[bool]:  # noqa: ARG002 - there is no one else
        yield from ()
        return True

    def column_check(self, column: Column) -> str:
        if column.type is not ColumnType.JSON:
            return ""
        # json_valid(NULL) is 0 on older SQLite versions and NULL on newer ones.
        return f"CHECK ({column.sql} IS NULL OR json_valid({column.sql}))"

    def drop(self, kind: str, names: Sequence[str]) -> Steps[None]:
        for name in names:
            yield Statement(f"DROP {kind} {quoted(name)}")

    def key_was_given(self, table: str, column: Column, value: Any) -> Steps[None]:  # noqa: ARG002
        yield from ()

    def keys_were_given(self, prefix: str) -> Steps[None]:  # noqa: ARG002
        yield from ()

    def ordered(self, column: Column) -> str:
        return column.sql

    def operand(self, column: Column) -> str:  # noqa: ARG002 - values carry their types
        return "?"

    def differs(self, column: Column) -> str:
        return f"{column.sql} IS NOT ?"

    def member(self, column: Column, values: list[Any]) -> Fragment:
        if len(values) > _LONG_LIST:
            array = encode_json(values).decode()
            return Fragment(f"{column.sql} IN (SELECT value FROM json_each(?))", (array,))
        return Fragment(f"{column.sql} IN ({', '.join('?' * len(values))})", values)

    def like(self, column: Column, pattern: str) -> Fragment:
        return Fragment(f"{column.sql} GLOB ?", (glob_pattern(pattern),))

    def ilike(self, column: Column, pattern: str) -> Fragment:
        # SQLite's own LIKE ignores the case of ASCII letters and of no others.
        if pattern.isascii():
            return Fragment(f"{column.sql} LIKE ? ESCAPE '\\'", (pattern,))
        glob = glob_pattern(pattern)
        return Fragment(f"rosey_lower({column.sql}) GLOB rosey_lower(?)", (glob,))

    def json_equal(self, column: Column, text: str) -> Fragment:
        return Fragment(f"rosey_json_equal({column.sql}, ?)", (text,))

    def json_contains(self, column: Column, text: str) -> Fragment:
        return Fragment(f"rosey_json_contains({column.sql}, ?)", (text,))

    def computed(self, column: Column, sign: str, value: Any) -> Fragment:
        # SQLite turns an integer that leaves 64 bits into a float, and a float that leaves its
        # range into infinity or zero, and says nothing.
        present = f"COALESCE({column.sql}, 0)"
        result = f"{present} {sign} ?"
        in_range, bounds = f"typeof({result}) = 'integer'", [value]
        if column.type is not ColumnType.INTEGER:
            in_range, bounds = f"abs({result}) <= ?", [value, sys.float_info.max]
            if sign == "*" and value:
                in_range += f" AND ({result} <> 0 OR {present} = 0)"
                bounds.append(value)
        sql = f"CASE WHEN {in_range} THEN {result} ELSE {_overflow(present)} END"
        return Fragment(sql, (*bounds, value))

    def total(self, column: Column) -> str:
        if column.type is not ColumnType.INTEGER:
            return f"COALESCE(SUM({column.sql}), 0.0)"
        # SUM() of integers fails if they leave 64 bits on the way to a sum that does not.
        high, low = _halves(column)
        fits = f"{high} BETWEEN -2147483648 AND 2147483647"
        whole = f"{high} * 4294967296 + ({low} & 4294967295)"
        return f"CASE WHEN {fits} THEN {whole} ELSE {_overflow(high)} END"

    def average(self, column: Column) -> str:
        if column.type is not ColumnType.INTEGER:
            return f"AVG({column.sql})"
        # AVG() adds floats, which loses the small integers beside large ones.
        high, low = _halves(column)
        total = f"({high} * 4294967296.0 + ({low} & 4294967295))"
        return f"CASE WHEN COUNT({column.sql}) THEN {total} / COUNT({column.sql}) END"


class PostgresDialect:
    """PostgreSQL, over connections as PostgresEngine sets them up."""

    name = Dialect.POSTGRESQL
    schema_version = Statement("SELECT version FROM _schema_version")
    collation = 'COLLATE "C"'
    keyed = ""
    declared: Mapping[ColumnType, str] = {
        ColumnType.STRING: "VARCHAR",
        ColumnType.TEXT: "TEXT",
        ColumnType.INTEGER: "BIGINT",
        ColumnType.FLOAT: "DOUBLE PRECISION",
        ColumnType.BOOLEAN: "BOOLEAN",
        ColumnType.DATETIME: "TIMESTAMPTZ",
        ColumnType.JSON: "JSONB",
    }
    id_declared = "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
    table_exists = "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = ?"
    for_update = " FOR UPDATE"
    # A key that is absent is put down as one that has expired, which is as good as absent to
    # everyone, and can be locked.
    hold_key = (
        "INSERT INTO _kv AS held (plugin, key, value, expires_at) VALUES (?, ?, 'null', 0) "
        "ON CONFLICT (plugin, key) DO UPDATE SET key = held.key "
        "RETURNING CASE WHEN held.expires_at IS NULL OR held.expires_at > ? THEN held.value END"
    )
    any_key = "OVERRIDING SYSTEM VALUE "

    def lock(self, name: str) -> Steps[None]:
        yield Statement("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (name,))

    def claim(self, name: str) -> Steps[bool]:
        asked = "SELECT pg_try_advisory_xact_lock(hashtextextended(?, 0))"
        result = yield Statement(asked, (name,))
        return bool(result.rows[0][0])

    def column_check(self, column: Column) -> str:  # noqa: ARG002 - the types check themselves
        return ""

    def drop(self, kind: str, names: Sequence[str]) -> Steps[None]:
        if names:
            yield Statement(f"DROP {kind} {', '.join(map(quoted, names))}")

    def key_was_given(self, table: str, column: Column, value: Any) -> Steps[None]:  # noqa: ARG002
        if column.sequence:
            yield Statement(
                f"SELECT setval(CAST(? AS TEXT)::regclass, ?) FROM {column.sequence} "
                "WHERE last_value < ? OR (last_value = ? AND NOT is_called)",
                (column.sequence, value, value, value),
            )

    def keys_were_given(self, prefix: str) -> Steps[None]:
        generated = yield Statement(_GENERATED_KEYS, (len(prefix), prefix))
        for table, column, sequence in generated.rows:
            yield Statement(
                f"SELECT setval(CAST(? AS TEXT)::regclass, highest) FROM {sequence}, "
                f"(SELECT MAX({quoted(column)}) AS highest FROM {quoted(table)}) AS present "
                "WHERE last_value < highest OR (last_value = highest AND NOT is_called)",
                (sequence,),
            )

    def ordered(self, column: Column) -> str:
        is_text = column.type in (ColumnType.STRING, ColumnType.TEXT)
        return f'{column.sql} COLLATE "C"' if is_text and _has_collation(column) else column.sql

    def operand(self, column: Column) -> str:
        return _AS.get(column.native) or _AS.get(column.type, "?")

    def differs(self, column: Column) -> str:
        return f"{column.sql} IS DISTINCT FROM {self.operand(column)}"

    def member(self, column: Column, values: list[Any]) -> Fragment:
        of = column.native or _NATIVE[column.type]
        array = f"CAST(? AS {_WIDE.get(of, of)}[])"
        return Fragment(f"{column.sql} = ANY({array})", (values,))

    def like(self, column: Column, pattern: str) -> Fragment:
        return Fragment(f"{column.sql} LIKE ? ESCAPE '\\'", (pattern,))

    def ilike(self, column: Column, pattern: str) -> Fragment:
        # The operator's idea of case depends on how the database was created; in "C" it is that
        # of ASCII, as on SQLite. Beyond ASCII the letters of the pattern tell which characters of
        # the text matter, and only those are translated.
        if pattern.isascii():
            return Fragment(f"{column.sql} COLLATE \"C\" ILIKE ? ESCAPE '\\'", (pattern,))
        small = "".join(map(in_small, pattern))
        capitals, smalls = in_lower_case(small)
        return Fragment(
            f"translate({column.sql}, ?, ?) LIKE ? ESCAPE '\\'", (capitals, smalls, small)
        )

    def json_equal(self, column: Column, text: str) -> Fragment:
        return Fragment(f"{_jsonb(column)} = CAST(? AS JSONB)", (text,))

    def json_contains(self, column: Column, text: str) -> Fragment:
        document = _jsonb(column)
        # The containment operator would do the same for scalars, but looks into nested arrays.
        elements = f"CASE WHEN jsonb_typeof({document}) = 'array' THEN {document} ELSE '[]' END"
        return Fragment(
            f"CAST(? AS JSONB) IN (SELECT * FROM jsonb_array_elements({elements}))", (text,)
        )

    def computed(self, column: Column, sign: str, value: Any) -> Fragment:
        return Fragment(f"COALESCE({column.sql}, 0) {sign} {self.operand(column)}", (value,))

    def total(self, column: Column) -> str:
        return f"CAST(COALESCE(SUM({column.sql}), 0) AS {_NATIVE[column.type]})"

    def average(self, column: Column) -> str:
        # AVG of integers is rounded to a few decimal digits before it could become a float.
        return f"CAST(SUM({column.sql}) AS DOUBLE PRECISION) / COUNT({column.sql})"


_SQLITE = SqliteDialect()
_POSTGRES = PostgresDialect()

_GENERATED_KEYS = """
SELECT c.relname::text, a.attname::text, pg_get_serial_sequence(quote_ident(c.relname), a.attname)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
    AND substr(c.relname::text, 1, ?) = ? AND a.attnum > 0 AND NOT a.attisdropped
    AND pg_get_serial_sequence(quote_ident(c.relname), a.attname) IS NOT NULL
"""

# A comparison with a narrow column has the operand's width, so that a value which the column
# could never hold is compared like any other, and not refused by the driver.
_NATIVE = {
    ColumnType.STRING: "text",
    ColumnType.TEXT: "text",
    ColumnType.INTEGER: "bigint",
    ColumnType.FLOAT: "double precision",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.DATETIME: "timestamp with time zone",
    ColumnType.JSON: "jsonb",
}
_WIDE = {
    "smallint": "bigint",
    "integer": "bigint",
    "numeric": "double precision",
    "character varying": "text",
    "character": "bpchar",
}
_AS: Mapping[str, str] = {
    ColumnType.INTEGER: "CAST(? AS BIGINT)",
    ColumnType.FLOAT: "CAST(? AS DOUBLE PRECISION)",
    "real": "CAST(? AS REAL)",
}
_COLLATED = frozenset({"", "text", "character varying", "character", "citext"})


def dialect_of(name: Dialect) -> SqlDialect:
    """Return how an engine's SQL is spoken."""
    return _POSTGRES if name is Dialect.POSTGRESQL else _SQLITE


def glob_pattern(pattern: str) -> str:
    """Return a LIKE pattern as a pattern for GLOB, which heeds case."""
    translated: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            translated.append(_glob_literal(next(characters)))
        else:
            translated.append({"%": "*", "_": "?"}.get(character) or _glob_literal(character))
    return "".join(translated)


def _halves(column: Column) -> tuple[str, str]:
    """Return the sum of an integer column in SQLite's SQL as multiples of 2**32, and the rest.

    Of the second only the lower 32 bits count; what is above them is in the first.
    """
    low = f"COALESCE(SUM({column.sql} & 4294967295), 0)"
    return f"(COALESCE(SUM({column.sql} >> 32), 0) + ({low} >> 32))", low


def _overflow(number: str) -> str:
    """Return SQL that fails in SQLite as an integer overflow does: abs() of the lowest integer.

    It takes a number, whichever, because SQLite computes what is constant beforehand.
    """
    return f"abs(CAST(min({number}, {_BELOW_INTEGERS}) AS INTEGER))"


def _glob_literal(character: str) -> str:
    return f"[{character}]" if character in "*?[" else character


def _has_collation(column: Column) -> bool:
    return column.native in _COLLATED


def _jsonb(column: Column) -> str:
    return f"CAST({column.sql} AS JSONB)" if column.native == "json" else column.sql
