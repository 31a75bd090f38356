"""Where the engines' SQL differs: each difference has one method here, and nowhere else.

Operations are written once. They ask the dialect of their table for the few expressions that the
engines spell, order or compute differently, so that what they mean is the same on both (SPEC 2.5).
"""

# ruff: noqa: D102 - what the methods do is said in SqlDialect
from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from dbservice.engine.columns import TEXTS, Column
from dbservice.engine.folding import in_lower_case, in_small, trigrams
from dbservice.engine.indexes import SearchIndex
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.type_map import (
    BINARY,
    CHAR,
    DATE,
    DECIMAL,
    OTHER,
    REAL,
    TIME,
    UNTYPED,
    UUID,
)
from dbservice.protocol.codec import encode_json
from dbservice.protocol.limits import MAX_INTEGER
from dbservice.protocol.rows import ColumnType
from dbservice.sqltext.dialects import Dialect, quoted

SEARCH_PREFIX = "_search_"
"""What the names of SQLite's search indexes begin with, before the name that they were given."""

SEARCH_WRITTEN = "__written"
"""What the names of their tables of rows end in that were written and not put into them yet."""

FOLD = "_rosey_fold"
"""PostgreSQL's function that folds a text as the service does, which search indexes are over."""

_LONG_LIST = 32
"""A list longer than this is bound as one JSON parameter, to keep statements few and short."""

_BELOW_INTEGERS = "-1e19"
"""Below every integer of 64 bits; as an integer it is the lowest of them."""


TOO_LONG = "the text is too long for its pattern"
"""Stands in the error of an engine where that is so."""


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

    def ids_are_used_up(self, table: str) -> Steps[bool]:
        """Return whether a table that could not take a row has given out its last id."""

    def referring_columns(self, table: str) -> Steps[list[str]]:
        """Return the columns of foreign keys of a table; none where the engine's errors say."""

    def keys_were_given(self, prefix: str) -> Steps[None]:
        """Do the same for all tables with a prefix, after statements that nobody looked into."""

    def shown(self, column: Column) -> str:
        """Return a column as it stands in the list of a SELECT or of RETURNING."""

    def compared(self, column: Column) -> str:
        """Return a column as it stands in comparisons and in GROUP BY."""

    def ordered(self, column: Column) -> str:
        """Return a column as it stands in comparisons of order and in ORDER BY."""

    def extreme(self, column: Column) -> str:
        """Return a column as it stands in MIN and MAX."""

    def written(self, column: Column) -> str:
        """Return a placeholder for a value to write into a column."""

    def default(self, column: Column) -> str | None:
        """Return what to write into a column that a row leaves out; None leaves it to the engine.

        A default in another spelling than the normal form would be stored as it stands.
        """

    def is_normal(self, column: Column) -> str:
        """Return the test that a column, not null, is in normal form; empty if it always is."""

    def is_carried(self, column: Column, value: str) -> str:
        """Return the test that an SQL value, not null, has a normal form in a column."""

    def normalised(self, column: Column) -> str:
        """Return the normal form of a column, which has one."""

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

    def candidates(
        self, index: SearchIndex, key: Column | None, column: Column, pattern: str
    ) -> Fragment | None:
        """Return the test that finds by an index every row whose column may match a pattern.

        None where the pattern has nothing that the index could be asked for.
        """

    def too_long(self, column: Column) -> str:
        """Return SQL that fails with PatternTooLongError where a test would stand."""

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

    def ids_are_used_up(self, table: str) -> Steps[bool]:
        if not (yield Statement(self.table_exists, ("sqlite_sequence",))).rows:
            return False
        asked = "SELECT 1 FROM sqlite_sequence WHERE name = ? AND seq = ?"
        result = yield Statement(asked, (table, MAX_INTEGER))
        return bool(result.rows)

    def referring_columns(self, table: str) -> Steps[list[str]]:
        asked = 'SELECT "from" FROM pragma_foreign_key_list(?)'
        result = yield Statement(asked, (table,))
        return [row[0] for row in result.rows]

    def keys_were_given(self, prefix: str) -> Steps[None]:  # noqa: ARG002
        yield from ()

    def shown(self, column: Column) -> str:
        return self.normalised(column) if _is_computed_as_spelled(column) else column.sql

    def compared(self, column: Column) -> str:
        if _is_computed_as_spelled(column):
            return self.normalised(column)
        # The collation of a declaration governs its uniqueness only; text compares by code point.
        return f"{column.sql} COLLATE BINARY" if column.type in TEXTS else column.sql

    def ordered(self, column: Column) -> str:
        return self.compared(column)

    def extreme(self, column: Column) -> str:
        return self.compared(column)

    def written(self, column: Column) -> str:  # noqa: ARG002 - values carry their types
        return "?"

    def default(self, column: Column) -> str | None:
        if column.default_sql is None or column.rule not in _SPELLED:
            return None
        return f"rosey_normal('{column.rule}', ({column.default_sql}))"

    def is_normal(self, column: Column) -> str:
        return _NORMAL_ON_SQLITE[column.rule].format(c=column.sql)

    def is_carried(self, column: Column, value: str) -> str:
        if column.rule in _SPELLED:
            return f"rosey_is_carried('{column.rule}', {value})"
        return _NORMAL_ON_SQLITE[column.rule].format(c=value)

    def normalised(self, column: Column) -> str:
        return f"rosey_normal('{column.rule}', {column.sql})"

    def operand(self, column: Column) -> str:  # noqa: ARG002 - values carry their types
        return "?"

    def differs(self, column: Column) -> str:
        return f"{self.compared(column)} IS NOT ?"

    def member(self, column: Column, values: list[Any]) -> Fragment:
        compared = self.compared(column)
        if len(values) > _LONG_LIST and column.rule != BINARY:
            array = encode_json(values).decode()
            return Fragment(f"{compared} IN (SELECT value FROM json_each(?))", (array,))
        return Fragment(f"{compared} IN ({', '.join('?' * len(values))})", values)

    def like(self, column: Column, pattern: str) -> Fragment:
        return Fragment(f"{column.sql} GLOB ?", (glob_pattern(pattern),))

    def ilike(self, column: Column, pattern: str) -> Fragment:
        # SQLite's own LIKE ignores the case of ASCII letters and of no others.
        if pattern.isascii():
            return Fragment(f"{column.sql} LIKE ? ESCAPE '\\'", (pattern,))
        glob = glob_pattern(pattern)
        return Fragment(f"rosey_lower({column.sql}) GLOB rosey_lower(?)", (glob,))

    def candidates(
        self, index: SearchIndex, key: Column | None, column: Column, pattern: str
    ) -> Fragment | None:
        parts = trigrams(pattern)
        if not parts or key is None:
            return None
        place = quoted(SEARCH_PREFIX + index.name)
        terms = " AND ".join('"' + part.replace('"', '""') + '"' for part in parts)
        asked = f"c{index.columns.index(column.name)} : ({terms})"
        found = f"SELECT rowid FROM {place} WHERE {place} MATCH ?"
        written = f"SELECT row FROM {quoted(SEARCH_PREFIX + index.name + SEARCH_WRITTEN)}"
        return Fragment(f"{key.sql} IN ({found} UNION ALL {written})", (asked,))

    def too_long(self, column: Column) -> str:
        # A path that is none is an error that says it. Of the column, because what is constant is
        # computed beforehand.
        return f"json_extract('{{}}', '{TOO_LONG}' || substr({column.sql}, 1, 0))"

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
        if column.digits:
            whole, behind = column.digits[0] - column.digits[1], column.digits[1]
            result = f"round({result}, {behind})"
            in_range, bounds = f"abs({result}) < 1e{whole}", [value]
        elif column.type is not ColumnType.INTEGER:
            in_range, bounds = f"abs({result}) <= ?", [value, sys.float_info.max]
            if sign == "*" and value:
                in_range += f" AND ({result} <> 0 OR {present} = 0)"
                bounds.append(value)
        sql = f"CASE WHEN {in_range} THEN {result} ELSE {_overflow(present)} END"
        return Fragment(sql, (*bounds, value))

    def total(self, column: Column) -> str:
        if column.type is not ColumnType.INTEGER:
            total = f"TOTAL({column.sql})"
            is_finite = f"abs({total}) <= {_MAX_FLOAT}"
            return f"CASE WHEN {is_finite} THEN {total} ELSE {_overflow(total)} END"
        # SUM() of integers fails if they leave 64 bits on the way to a sum that does not.
        high, low = _halves(column)
        fits = f"{high} BETWEEN -2147483648 AND 2147483647"
        whole = f"{high} * 4294967296 + ({low} & 4294967295)"
        return f"CASE WHEN {fits} THEN {whole} ELSE {_overflow(high)} END"

    def average(self, column: Column) -> str:
        if column.type is not ColumnType.INTEGER:
            total = self.total(column)
            return f"CASE WHEN COUNT({column.sql}) THEN {total} / COUNT({column.sql}) END"
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

    def ids_are_used_up(self, table: str) -> Steps[bool]:  # noqa: ARG002 - it has its own error
        yield from ()
        return False

    def referring_columns(self, table: str) -> Steps[list[str]]:  # noqa: ARG002
        yield from ()
        return []

    def keys_were_given(self, prefix: str) -> Steps[None]:
        generated = yield Statement(_GENERATED_KEYS, (len(prefix), prefix))
        for table, column, sequence in generated.rows:
            yield Statement(
                f"SELECT setval(CAST(? AS TEXT)::regclass, highest) FROM {sequence}, "
                f"(SELECT MAX({quoted(column)}) AS highest FROM {quoted(table)}) AS present "
                "WHERE last_value < highest OR (last_value = highest AND NOT is_called)",
                (sequence,),
            )

    def shown(self, column: Column) -> str:
        return self.compared(column) if column.rule in (CHAR, OTHER) else column.sql

    def compared(self, column: Column) -> str:
        return _COMPARED.get(column.rule, "{c}").format(c=column.sql)

    def ordered(self, column: Column) -> str:
        is_text = column.type in TEXTS and column.rule not in (DATE, TIME, UUID, BINARY)
        return f'{self.compared(column)} COLLATE "C"' if is_text else self.compared(column)

    def extreme(self, column: Column) -> str:
        # There is no MIN of UUIDs, and the text of all three sorts as they do.
        if column.rule in (DATE, TIME, UUID):
            return f'{_as_text(column)} COLLATE "C"'
        return self.ordered(column)

    def written(self, column: Column) -> str:
        return f"CAST(CAST(? AS TEXT) AS {column.native})" if column.rule == OTHER else "?"

    def default(self, column: Column) -> str | None:  # noqa: ARG002 - the types have one spelling
        return None

    def is_normal(self, column: Column) -> str:
        if column.rule == ColumnType.JSON:
            return f"{_jsonb(column)} <> 'null' AND {self.is_carried(column, column.sql)}"
        return self.is_carried(column, column.sql)

    def is_carried(self, column: Column, value: str) -> str:
        test = _CARRIED_ON_POSTGRES.get(column.rule, "")
        return test.format(c=f"CAST({value} AS {column.native})") if test else ""

    def normalised(self, column: Column) -> str:  # noqa: ARG002 - of JSON's null, the only one
        return "NULL"

    def operand(self, column: Column) -> str:
        return _OPERAND.get(column.rule, "?")

    def differs(self, column: Column) -> str:
        return f"{self.compared(column)} IS DISTINCT FROM {self.operand(column)}"

    def member(self, column: Column, values: list[Any]) -> Fragment:
        of = _ARRAY.get(column.rule) or column.native or "timestamp with time zone"
        return Fragment(f"{self.compared(column)} = ANY(CAST(? AS {of}[]))", (values,))

    def like(self, column: Column, pattern: str) -> Fragment:
        return Fragment(f"{_as_text(column)} LIKE ? ESCAPE '\\'", (pattern,))

    def ilike(self, column: Column, pattern: str) -> Fragment:
        # The operator's idea of case depends on how the database was created; in "C" it is that
        # of ASCII, as on SQLite. Beyond ASCII the letters of the pattern tell which characters of
        # the text matter, and only those are translated.
        if pattern.isascii():
            return Fragment(f"{_as_text(column)} COLLATE \"C\" ILIKE ? ESCAPE '\\'", (pattern,))
        small = "".join(map(in_small, pattern))
        capitals, smalls = in_lower_case(small)
        return Fragment(
            f"translate({_as_text(column)}, ?, ?) LIKE ? ESCAPE '\\'", (capitals, smalls, small)
        )

    def candidates(
        self,
        index: SearchIndex,  # noqa: ARG002 - the engine finds it by its expression
        key: Column | None,  # noqa: ARG002
        column: Column,
        pattern: str,
    ) -> Fragment | None:
        if not any(part.isalnum() for part in trigrams(pattern)):
            return None
        folded = "".join(map(in_small, pattern))
        return Fragment(f"{FOLD}({column.sql}) LIKE ? ESCAPE '\\'", (folded,))

    def too_long(self, column: Column) -> str:
        return f"CAST('{TOO_LONG}' || left({column.sql}, 0) AS BOOLEAN)"

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
        result = f"COALESCE({self.compared(column)}, 0) {sign} {self.operand(column)}"
        if column.rule == DECIMAL:  # a float that becomes a number directly loses digits
            result = f"CAST(CAST({result} AS TEXT) AS NUMERIC)"
        return Fragment(result, (value,))

    def total(self, column: Column) -> str:
        return f"CAST(COALESCE(SUM({self.compared(column)}), 0) AS {_ARRAY[column.rule]})"

    def average(self, column: Column) -> str:
        # AVG of integers is rounded to a few decimal digits before it could become a float.
        total = f"CAST(SUM({self.compared(column)}) AS DOUBLE PRECISION)"
        return f"{total} / COUNT({column.sql})"


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
_ARRAY: Mapping[str, str] = {
    ColumnType.STRING: "text",
    ColumnType.TEXT: "text",
    CHAR: "text",
    OTHER: "text",
    ColumnType.INTEGER: "bigint",
    ColumnType.FLOAT: "double precision",
    REAL: "double precision",
    DECIMAL: "double precision",
    ColumnType.BOOLEAN: "boolean",
    DATE: "date",
    TIME: "time",
    UUID: "uuid",
    BINARY: "bytea",
}
_OPERAND: Mapping[str, str] = {
    rule: f"CAST(? AS {_ARRAY[rule].upper()})"
    for rule in (
        *(ColumnType.INTEGER, ColumnType.FLOAT, REAL, DECIMAL, CHAR, OTHER, DATE, TIME, UUID),
    )
}
# A float of 4 bytes is what its shortest text says, 0.1 and not 0.10000000149.
_COMPARED: Mapping[str, str] = {
    CHAR: "CAST({c} AS TEXT)",
    OTHER: "CAST({c} AS TEXT)",
    REAL: "CAST(CAST({c} AS TEXT) AS DOUBLE PRECISION)",
    DECIMAL: "CAST({c} AS DOUBLE PRECISION)",
}
_MAX_FLOAT = "1.7976931348623157e308"
_FINITE = f"{{c}} BETWEEN -{_MAX_FLOAT} AND {_MAX_FLOAT}"
_IN_CALENDAR = "{c} BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999'"
_CARRIED_ON_POSTGRES: Mapping[str, str] = {
    ColumnType.FLOAT: _FINITE,
    REAL: "{c} BETWEEN '-3.4028235e38' AND '3.4028235e38'",
    DECIMAL: _FINITE,
    ColumnType.DATETIME: _IN_CALENDAR,
    DATE: "{c} BETWEEN '0001-01-01' AND '9999-12-31'",
    ColumnType.JSON: "NOT jsonb_path_exists(CAST({c} AS JSONB), "
    f"'$.** ? (@.type() == \"number\" && (@ > {_MAX_FLOAT} || @ < -{_MAX_FLOAT}))')",
}
_SPELLED = frozenset(
    {ColumnType.BOOLEAN, ColumnType.DATETIME, ColumnType.JSON, ColumnType.FLOAT}
    | {DATE, TIME, UUID, BINARY, CHAR, REAL, DECIMAL}
)
"""Rules whose values SQL may spell otherwise than the normal form, on SQLite."""

_DIGIT, _HEX = "[0-9]", "[0-9a-f]"
_DAY = f"{_DIGIT * 4}-{_DIGIT * 2}-{_DIGIT * 2}"
_CLOCK = f"{_DIGIT * 2}:{_DIGIT * 2}:{_DIGIT * 2}"
_IS_TEXT = (
    "typeof({c}) = 'text' AND instr({c}, char(0)) = 0 "
    "AND ({c} NOT GLOB ('*[^' || char(1) || '-' || char(127) || ']*') "
    "OR rosey_is_utf8(CAST({c} AS BLOB)))"
)
_IS_FLOAT = (
    f"(typeof({{c}}) = 'real' AND abs({{c}}) <= {_MAX_FLOAT} "
    "OR typeof({c}) = 'integer' AND abs({c}) <= 9007199254740992)"
)
_NORMAL_ON_SQLITE: Mapping[str, str] = {
    ColumnType.STRING: _IS_TEXT,
    ColumnType.TEXT: _IS_TEXT,
    OTHER: _IS_TEXT,
    CHAR: f"{_IS_TEXT} AND {{c}} NOT GLOB '* '",
    ColumnType.INTEGER: "typeof({c}) = 'integer'",
    ColumnType.FLOAT: _IS_FLOAT,
    REAL: _IS_FLOAT,
    DECIMAL: _IS_FLOAT,
    ColumnType.BOOLEAN: "typeof({c}) = 'integer' AND {c} IN (0, 1)",
    ColumnType.DATETIME: f"{{c}} GLOB '{_DAY}T{_CLOCK}.{_DIGIT * 6}Z' "
    "AND strftime('%Y-%m-%dT%H:%M:%S', {c}, '+0 days') = substr({c}, 1, 19)",
    DATE: f"{{c}} GLOB '{_DAY}' AND date({{c}}, '+0 days') = {{c}}",
    TIME: f"{{c}} GLOB '{_CLOCK}' AND time({{c}}) = {{c}}",
    UUID: "{c} GLOB '" + "-".join(_HEX * count for count in (8, 4, 4, 4, 12)) + "'",
    ColumnType.JSON: "rosey_is_normal('json', {c})",
    BINARY: "typeof({c}) = 'blob'",
    UNTYPED: f"(typeof({{c}}) <> 'real' OR abs({{c}}) <= {_MAX_FLOAT})",
}


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


def _is_computed_as_spelled(column: Column) -> bool:
    """Whether SQL of the schema's own writes a column of SQLite's, which spells as it likes.

    Such a column is compared through the normal form, which no index helps with.
    """
    return (column.generated or column.by_trigger) and column.rule in _SPELLED


def _as_text(column: Column) -> str:
    """Return a column of PostgreSQL's as the text that it shows."""
    return column.sql if column.rule in TEXTS else f"CAST({column.sql} AS TEXT)"


def _jsonb(column: Column) -> str:
    return f"CAST({column.sql} AS JSONB)" if column.native == "json" else column.sql
