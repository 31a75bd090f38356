"""A value has one meaning on every engine, whoever wrote it: requests, migrations, defaults."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.migrations import Applied
from dbservice.sqltext.dialects import Dialect
from tests.dbservice.storage.caller import ONLY_ON_SQLITE, Caller, Json
from tests.dbservice.storage.conftest import Applies


def codes(applied: Applied) -> set[str]:
    return {warning["code"] for warning in applied.warnings} - {"IRREVERSIBLE"}


WRITTEN_BY_SQL = [
    ("DATETIME", "'2026-01-02 10:00:00'", "2026-01-02T10:00:00.000000Z"),
    ("DATETIME", "'2026-01-02'", "2026-01-02T00:00:00.000000Z"),
    ("DATETIME", "'2026-01-02T10:00:00.5+02:00'", "2026-01-02T08:00:00.500000Z"),
    ("BOOLEAN", "'true'", True),
    ("BOOLEAN", "'off'", False),
    ("DOUBLE PRECISION", "3", 3.0),
    ("NUMERIC", "9007199254740993", 9007199254740992.0),
    ("NUMERIC(6, 2)", "12.5", 12.5),
    ("REAL", "0.1", 0.1),
    ("JSON TEXT", '\' {"b": 1, "a": [1.0, null]} \'', {"a": [1, None], "b": 1}),
    ("BIGINT", "9223372036854775807", 2**63 - 1),
    ("BLOB", "X'00ff10'", base64.b64encode(b"\x00\xff\x10").decode()),
    ("CHAR(6)", "'ab '", "ab"),
    ("VARCHAR(6)", "'ab '", "ab "),
    ("DATE", "'2026-01-02'", "2026-01-02"),
    ("TIME", "'10:00:00.50'", "10:00:00.5"),
    ("UUID", "'6F2C1C1E-4B7F-4F0E-9D0C-3F1D0E7A9B10'", "6f2c1c1e-4b7f-4f0e-9d0c-3f1d0e7a9b10"),
    ("TEXT", "'é%漢'", "é%漢"),
]


@pytest.mark.parametrize(("declared", "literal", "shown"), WRITTEN_BY_SQL)
async def test_what_a_migration_wrote_is_shown_and_found_as_what_a_request_writes(
    plugin: Caller, apply: Applies, declared: str, literal: str, shown: Any
) -> None:
    await apply(
        f"CREATE TABLE t ({{id}}, v {declared})", f"INSERT INTO t (id, v) VALUES (1, {literal})"
    )
    assert await plugin.one(1, table="t") == {"id": 1, "v": shown}
    await plugin.row("insert", table="t", data={"id": 2, "v": shown})
    assert (await plugin.one(2, table="t"))["v"] == shown
    for filters in ({"v": shown}, {"v": {"$eq": shown}}, {"v": {"$ne": None}}):
        assert await plugin.ids(filters, table="t") == [1, 2]
    assert await plugin.ids({"v": {"$ne": shown}}, table="t") == []
    if not isinstance(shown, dict):
        assert await plugin.ids({"v": {"$in": [shown]}}, table="t") == [1, 2]
        groups = await plugin.row(
            "aggregate", table="t", compute={"n": {"$count": "*"}}, group_by=["v"]
        )
        assert groups["rows"] == [{"v": shown, "n": 2}]


@pytest.mark.parametrize(
    ("declared", "literal", "shown"),
    [case for case in WRITTEN_BY_SQL if not isinstance(case[2], bool | dict) and case[0] != "BLOB"],
)
async def test_what_a_migration_wrote_is_ordered_as_it_is_shown(
    plugin: Caller, apply: Applies, declared: str, literal: str, shown: Any
) -> None:
    await apply(
        f"CREATE TABLE t ({{id}}, v {declared})", f"INSERT INTO t (id, v) VALUES (1, {literal})"
    )
    for operator, found in (("$gte", [1]), ("$lte", [1]), ("$gt", []), ("$lt", [])):
        assert await plugin.ids({"v": {operator: shown}}, table="t") == found, operator
    extremes = await plugin.row(
        "aggregate", table="t", compute={"low": {"$min": "v"}, "high": {"$max": "v"}}
    )
    assert extremes["rows"] == [{"low": shown, "high": shown}]
    if isinstance(shown, str) and not declared.startswith(("DATETIME",)):
        assert await plugin.ids({"v": {"$like": shown.replace("%", "\\%")}}, table="t") == [1]
        assert await plugin.ids({"v": {"$ilike": f"%{shown[:2].upper()}%"}}, table="t") == [1]


async def test_sql_and_requests_sort_into_one_order(plugin: Caller, apply: Applies) -> None:
    await apply(
        "CREATE TABLE t ({id}, at DATETIME)",
        "INSERT INTO t (id, at) VALUES (1, '2026-01-02 10:00:00'), (3, '2026-01-03')",
    )
    await plugin.row("insert", table="t", data={"id": 2, "at": "2026-01-02T12:00:00Z"})
    page = await plugin.row("select", table="t", sort={"field": "at"}, columns=["id"])
    assert [row["id"] for row in page["rows"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("default", "shown"),
    [("'2026-01-02 10:00:00'", "2026-01-02T10:00:00.000000Z"), ("(date('2026-01-02'))", None)],
)
async def test_a_default_is_stored_as_requests_write(
    plugin: Caller, apply: Applies, default: str, shown: str | None
) -> None:
    await apply(f"CREATE TABLE t ({{id}}, n BIGINT, at DATETIME DEFAULT {default})")
    await plugin.row("insert", table="t", data={"id": 1, "n": 1})
    at = shown or "2026-01-02T00:00:00.000000Z"
    assert (await plugin.one(1, table="t"))["at"] == at
    assert await plugin.ids({"at": at}, table="t") == [1]


async def test_case_matters_whatever_the_collation_says(plugin: Caller, apply: Applies) -> None:
    collate = "" if plugin.database.engine.dialect is Dialect.POSTGRESQL else " COLLATE NOCASE"
    applied = await apply(
        f"CREATE TABLE t ({{id}}, name TEXT{collate})",
        "INSERT INTO t (id, name) VALUES (1, 'b'), (2, 'A'), (3, 'a'), (4, 'B')",
    )
    assert codes(applied) == ({"COLLATION"} if collate else set())
    assert await plugin.ids({"name": "a"}, table="t") == [3]
    assert await plugin.ids({"name": {"$in": ["b", "A"]}}, table="t") == [1, 2]
    assert await plugin.ids({"name": {"$gt": "B"}}, table="t") == [1, 3]
    page = await plugin.row("select", table="t", sort={"field": "name"}, columns=["name"])
    assert [row["name"] for row in page["rows"]] == ["A", "B", "a", "b"]
    groups = await plugin.row(
        "aggregate", table="t", compute={"n": {"$count": "*"}}, group_by=["name"]
    )
    assert len(groups["rows"]) == 4


@ONLY_ON_SQLITE
async def test_a_collation_governs_the_uniqueness_of_an_upsert(
    plugin: Caller, apply: Applies
) -> None:
    await apply("CREATE TABLE t ({id}, name TEXT COLLATE NOCASE UNIQUE)")
    await plugin.row("insert", table="t", data={"name": "A"})
    error = await plugin.refused_row("upsert", table="t", data={"name": "a"}, on=["name"])
    assert (error["code"], error["details"]["columns"]) == ("CONSTRAINT_VIOLATION", ["name"])


NOT_CARRIED = [
    ("DOUBLE PRECISION", "9e999", "'Infinity'"),
    ("DATETIME", "'yesterday'", "'infinity'"),
    ("DATETIME", "1767348000", "'0044-03-15 BC'"),
    ("BOOLEAN", "2", None),
    ("BOOLEAN", "'maybe'", None),
    ("BIGINT", "'many'", None),
    ("BIGINT", "2.5", None),
    ("TEXT", "X'00'", None),
    ("TEXT", "char(97, 0)", None),
    ("TEXT", "CAST(X'ff' AS TEXT)", None),
    ("JSON TEXT", "'{'", "'[1e400]'"),
    ("NUMERIC", "'much'", "'NaN'"),
    ("DATE", "'2026-02-31'", "'0044-03-15 BC'"),
    ("UUID", "'none'", None),
    ("TIME", "'25:00'", None),
]


@pytest.mark.parametrize(("declared", "on_sqlite", "on_postgresql"), NOT_CARRIED)
async def test_what_a_type_cannot_carry_refuses_the_migration(
    plugin: Caller, apply: Applies, declared: str, on_sqlite: str, on_postgresql: str | None
) -> None:
    is_postgres = plugin.database.engine.dialect is Dialect.POSTGRESQL
    literal = on_postgresql if is_postgres else on_sqlite
    if literal is None:
        pytest.skip("PostgreSQL's own type refuses it")
    with pytest.raises(RequestError) as caught:
        await apply(
            f"CREATE TABLE t ({{id}}, v {declared})", f"INSERT INTO t (id, v) VALUES (1, {literal})"
        )
    error = caught.value
    assert error.code is ErrorCode.MIGRATION_FAILED
    assert "column 'v' of table 't' is" in error.message
    assert "cannot carry" in error.message
    described = await plugin.refused_row("schema.describe", table="t")
    assert described["details"]["reason"] == "TABLE_NOT_REGISTERED"


@ONLY_ON_SQLITE
async def test_a_default_that_cannot_be_carried_is_warned_of(
    plugin: Caller, apply: Applies
) -> None:
    applied = await apply("CREATE TABLE t ({id}, n BIGINT, at DATETIME DEFAULT 7)")
    assert codes(applied) == {"DEFAULT_NOT_CARRIED"}
    error = await plugin.refused_row("insert", table="t", data={"n": 1})
    assert error["code"] == "VALIDATION_ERROR"


async def test_booleans_written_as_words_are_warned_of_on_sqlite(
    plugin: Caller, apply: Applies
) -> None:
    applied = await apply(
        "CREATE TABLE t ({id}, on_air BOOLEAN)", "INSERT INTO t (id, on_air) VALUES (1, 'yes')"
    )
    on_sqlite = plugin.database.engine.dialect is Dialect.SQLITE
    assert codes(applied) == ({"BOOLEAN_AS_WORD"} if on_sqlite else set())
    assert await plugin.ids({"on_air": True}, table="t") == [1]


async def test_strict_refuses_what_is_found_in_the_data(plugin: Caller, apply: Applies) -> None:
    if plugin.database.engine.dialect is Dialect.POSTGRESQL:
        statements = ["CREATE TABLE t ({id}, path INTERVAL)"]
    else:
        statements = ["CREATE TABLE t ({id}, path)"]
    with pytest.raises(RequestError, match=r"a warning is a refusal"):
        await apply(*statements, strict=True)


# --- views and generated columns -----------------------------------------------------------------


@pytest.fixture
async def priced(plugin: Caller, apply: Applies) -> Caller:
    await apply(
        "CREATE TABLE items ({id}, price BIGINT, day DATETIME, "
        "double BIGINT GENERATED ALWAYS AS (price * 2) STORED)",
        "INSERT INTO items (id, price, day) VALUES (1, 10, '2026-01-02 10:00:00'), (2, 5, NULL)",
        "CREATE VIEW dear AS SELECT id, price, day FROM items WHERE price > 7",
    )
    return plugin


async def test_a_view_is_readable(priced: Caller) -> None:
    expected = {"id": 1, "price": 10, "day": "2026-01-02T10:00:00.000000Z"}
    page = await priced.row(
        "select", table="dear", filters={"price": {"$gt": 7}}, sort={"field": "id"}
    )
    assert page["rows"] == [expected]
    assert await priced.row("count", table="dear", filters={"day": expected["day"]}) == {"count": 1}


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("insert", {"data": {"price": 8}}),
        ("insert_batch", {"rows": [{"price": 8}]}),
        ("update", {"filters": {"price": 10}, "data": {"price": 9}}),
        ("delete", {"filters": {"price": 10}}),
        ("upsert", {"data": {"id": 1, "price": 9}, "on": ["id"]}),
        ("schema.drop", {}),
    ],
)
async def test_a_view_is_not_writable(priced: Caller, operation: str, body: Json) -> None:
    error = await priced.refused_row(operation, table="dear", **body)
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"].startswith("'dear' is a view")
    assert await priced.row("count", table="items") == {"count": 2}


async def test_a_generated_column_is_readable_and_not_writable(priced: Caller) -> None:
    assert await priced.ids({"double": 20}, table="items") == [1]
    for operation, body in (
        ("insert", {"data": {"price": 1, "double": 2}}),
        ("update", {"id": 1, "data": {"double": 2}}),
        ("update", {"id": 1, "operations": {"double": {"$inc": 1}}}),
        ("upsert", {"data": {"id": 1, "double": 2}, "on": ["id"]}),
    ):
        error = await priced.refused_row(operation, table="items", **body)
        assert error["code"] == "VALIDATION_ERROR"
        assert error["details"]["reason"] == "IMMUTABLE_COLUMN"
        assert "generated" in error["message"]
    assert (await priced.one(1, table="items"))["double"] == 20


@ONLY_ON_SQLITE
async def test_a_generated_moment_is_compared_as_it_is_shown(
    plugin: Caller, apply: Applies
) -> None:
    await apply(
        "CREATE TABLE t ({id}, at DATETIME, day DATETIME GENERATED ALWAYS AS (date(at)) VIRTUAL)",
        "INSERT INTO t (id, at) VALUES (1, '2026-01-02 10:00:00')",
    )
    day = "2026-01-02T00:00:00.000000Z"
    assert (await plugin.one(1, table="t"))["day"] == day
    assert await plugin.ids({"day": day}, table="t") == [1]
    assert await plugin.ids({"day": {"$gt": day}}, table="t") == []


@ONLY_ON_SQLITE
async def test_what_a_trigger_writes_is_compared_as_it_is_shown(
    plugin: Caller, apply: Applies
) -> None:
    await apply(
        "CREATE TABLE t ({id}, n BIGINT, touched DATETIME, done BOOLEAN)",
        """
        CREATE TRIGGER t_touched AFTER UPDATE OF n ON t BEGIN
            UPDATE t SET touched = '2026-01-02 10:00:00', done = 'yes' WHERE id = NEW.id;
        END
        """,
        "INSERT INTO t (id, n) VALUES (1, 1)",
    )
    await plugin.row("update", table="t", id=1, data={"n": 2})
    touched = "2026-01-02T10:00:00.000000Z"
    assert await plugin.one(1, table="t") == {"id": 1, "n": 2, "touched": touched, "done": True}
    assert await plugin.ids({"touched": touched}, table="t") == [1]
    assert await plugin.ids({"touched": {"$gt": "2026-01-02T09:59:59Z"}}, table="t") == [1]
    assert await plugin.ids({"done": True}, table="t") == [1]


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["$sum", "$avg"])
async def test_a_sum_beyond_the_floats_is_told(
    plugin: Caller, apply: Applies, function: str
) -> None:
    await apply(
        "CREATE TABLE t ({id}, v DOUBLE PRECISION)",
        "INSERT INTO t (id, v) VALUES (1, 1.7e308), (2, 1.7e308)",
    )
    error = await plugin.refused_row("aggregate", table="t", compute={"x": {function: "v"}})
    assert (error["code"], error["details"]["reason"]) == ("VALIDATION_ERROR", "LIMIT")
    assert "float" in error["message"]


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("NUMERIC(5, 2)", 1.005),
        ("NUMERIC(5, 2)", 1000),
        ("CHAR(4)", "a "),
        ("DATE", "2026-1-2"),
        ("TIME", "noon"),
        ("UUID", "x"),
        ("BLOB", "not base64!"),
        ("DATETIME", "noon"),
    ],
)
async def test_a_value_that_would_be_bent_is_refused(
    plugin: Caller, apply: Applies, declared: str, value: Any
) -> None:
    await apply(f"CREATE TABLE t ({{id}}, v {declared})")
    error = await plugin.refused_row("insert", table="t", data={"v": value})
    assert error["code"] == "VALIDATION_ERROR"
    assert "'v'" in error["message"]
    if isinstance(value, str) and declared != "CHAR(4)":
        error = await plugin.refused_row("select", table="t", filters={"v": value})
        assert error["code"] == "VALIDATION_ERROR"


# --- cursors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"table": "u"},
        {"sort": {"field": "n", "order": "desc"}},
        {"sort": {"field": "m"}},
        {"filters": {"n": {"$gte": 1}}},
        {"filters": {}},
    ],
)
async def test_a_cursor_of_another_query_is_refused(
    plugin: Caller, apply: Applies, other: Json
) -> None:
    await apply(
        *(f"CREATE TABLE {name} ({{id}}, n BIGINT, m BIGINT)" for name in ("t", "u")),
        *(f"INSERT INTO {name} (n, m) VALUES (1, 2), (2, 1), (3, 0)" for name in ("t", "u")),
    )
    asked: Json = {"table": "t", "sort": {"field": "n"}, "filters": {"n": {"$gte": 0}}, "limit": 1}
    page = await plugin.row("select", **asked)
    assert (await plugin.row("search", **asked, after=page["next"]))["rows"][0]["n"] == 2
    error = await plugin.refused_row("select", **{**asked, **other}, after=page["next"])
    assert error["code"] == "VALIDATION_ERROR"
    assert "not a cursor of this query" in error["message"]


async def test_rows_without_a_key_have_no_cursor(plugin: Caller, apply: Applies) -> None:
    await apply("CREATE TABLE t (n BIGINT)", "INSERT INTO t VALUES (1), (1), (1)")
    page = await plugin.row("select", table="t", sort={"field": "n"}, limit=2)
    assert page["truncated"] is True
    assert "next" not in page


# --- the same through the SQL tier and an export -------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "literal", "shown"),
    [case for case in WRITTEN_BY_SQL if case[0] != "NUMERIC"],
)
async def test_the_sql_tier_shows_the_same_value(
    plugin: Caller,
    apply: Applies,
    query: Callable[[str], Awaitable[list[Json]]],
    declared: str,
    literal: str,
    shown: Any,
) -> None:
    await apply(
        f"CREATE TABLE t ({{id}}, v {declared})", f"INSERT INTO t (id, v) VALUES (1, {literal})"
    )
    [row] = await query("SELECT v FROM t")
    assert json.loads(json.dumps(row["v"], default=_base64)) == shown


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


# --- types that one engine has alone -------------------------------------------------------------

ONLY_ON_POSTGRES = pytest.mark.parametrize("make_engine", ["postgres"], indirect=True)

OTHER_TYPES = [
    ("INTERVAL", "'1 day 2 hours'", "1 day 02:00:00"),
    ("INET", "'10.0.0.1'", "10.0.0.1/32"),
    ("TEXT[]", "'{a,b}'", "{a,b}"),
    ("BIGINT[]", "'{1,2}'", "{1,2}"),
    ("BIT(3)", "'101'", "101"),
    ("MONEY", "'1.50'", "$1.50"),
    ("TSVECTOR", "'a b'", "'a' 'b'"),
    ("INT4RANGE", "'[1,3)'", "[1,3)"),
    ("POINT", "'(1,2)'", "(1,2)"),
    ("TIMETZ", "'10:00:00+02'", "10:00:00+02"),
    ("XML", "'<a/>'", "<a/>"),
    ("MACADDR", "'08:00:2b:01:02:03'", "08:00:2b:01:02:03"),
]


@ONLY_ON_POSTGRES
@pytest.mark.parametrize(("declared", "literal", "shown"), OTHER_TYPES)
async def test_another_type_is_carried_as_its_text_with_a_warning(
    plugin: Caller,
    apply: Applies,
    query: Callable[[str], Awaitable[list[Json]]],
    declared: str,
    literal: str,
    shown: str,
) -> None:
    try:
        applied = await apply(
            f"CREATE TABLE t ({{id}}, v {declared})", f"INSERT INTO t (id, v) VALUES (1, {literal})"
        )
    except RequestError as error:
        if "unsupported XML feature" not in error.message:
            raise
        pytest.skip("this PostgreSQL was built without XML")
    assert codes(applied) == {"TYPE_AS_TEXT"}
    assert await plugin.one(1, table="t") == {"id": 1, "v": shown}
    await plugin.row("insert", table="t", data={"id": 2, "v": shown})
    assert await plugin.ids({"v": shown}, table="t") == [1, 2]
    assert await plugin.ids({"v": {"$like": f"{shown[0]}%"}}, table="t") == [1, 2]
    page = await plugin.row("select", table="t", sort={"field": "v"}, columns=["v"])
    assert page["rows"] == [{"v": shown}] * 2
    assert await query("SELECT v FROM t WHERE id = 1") == [{"v": shown}]
    if declared in ("INTERVAL", "INET", "BIGINT[]", "POINT", "INT4RANGE"):
        error = await plugin.refused_row("insert", table="t", data={"v": "nonsense"})
        assert error["code"] == "VALIDATION_ERROR"


@ONLY_ON_SQLITE
async def test_digits_are_not_turned_into_a_number_by_an_unknown_type(
    plugin: Caller, apply: Applies
) -> None:
    applied = await apply("CREATE TABLE t ({id}, v STRING)")
    assert codes(applied) == {"TYPE_AS_TEXT"}
    await plugin.row("insert", table="t", data={"id": 1, "v": "abc"})
    assert await plugin.ids({"v": "abc"}, table="t") == [1]
    error = await plugin.refused_row("insert", table="t", data={"v": "007"})
    assert error["code"] == "VALIDATION_ERROR"
    assert "TEXT" in error["message"]


@ONLY_ON_POSTGRES
@pytest.mark.parametrize(("declared", "edge"), [("SMALLINT", 2**15), ("INTEGER", 2**31)])
async def test_a_narrow_integer_says_what_it_takes(
    plugin: Caller, apply: Applies, declared: str, edge: int
) -> None:
    await apply(f"CREATE TABLE t ({{id}}, v {declared})")
    await plugin.row("insert", table="t", data={"id": 1, "v": edge - 1})
    error = await plugin.refused_row("insert", table="t", data={"v": edge})
    assert (error["code"], error["details"]["reason"]) == ("VALIDATION_ERROR", "LIMIT")
    error = await plugin.refused_row("update", table="t", id=1, operations={"v": {"$inc": 1}})
    assert (error["code"], error["details"]["reason"]) == ("VALIDATION_ERROR", "LIMIT")
    assert await plugin.ids({"v": {"$lt": edge}}, table="t") == [1]


@ONLY_ON_SQLITE
async def test_a_foreign_key_to_no_table_refuses_the_migration(apply: Applies) -> None:
    with pytest.raises(RequestError, match=r"refers to the table 'persons', which is not there"):
        await apply(
            "CREATE TABLE people ({id})",
            "CREATE TABLE visits ({id}, person BIGINT REFERENCES persons (id))",
        )
