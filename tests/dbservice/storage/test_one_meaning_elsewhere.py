"""Where the same questions stand besides the cases that were met first."""

from __future__ import annotations

from typing import Any

import pytest

from dbservice.protocol.subjects import Family
from dbservice.runtime.clock import ManualClock
from dbservice.sqltext.dialects import Dialect
from tests.dbservice.storage.caller import Caller
from tests.dbservice.storage.conftest import Applies

UPPER = "6F2C1C1E-4B7F-4F0E-9D0C-3F1D0E7A9B10"


async def test_a_key_is_found_in_another_spelling(plugin: Caller, apply: Applies) -> None:
    await apply("CREATE TABLE t (id UUID PRIMARY KEY, n BIGINT)")
    await plugin.row("insert", table="t", data={"id": UPPER, "n": 1})
    assert (await plugin.one(UPPER, table="t"))["id"] == UPPER.lower()
    answer = await plugin.row("upsert", table="t", data={"id": UPPER, "n": 2}, on=["id"])
    assert answer == {"id": UPPER.lower(), "created": False}
    assert (await plugin.row("update", table="t", id=UPPER.lower(), data={"n": 3}))["updated"]
    assert await plugin.row("delete", table="t", id=UPPER) == {"deleted": True}


async def test_a_bound_is_compared_with_what_sql_wrote(plugin: Caller, apply: Applies) -> None:
    await apply(
        "CREATE TABLE t ({id}, at DATETIME)",
        "INSERT INTO t (id, at) VALUES (1, '2026-01-02 10:00:00')",
    )
    earlier = {"at": {"$max": "2026-01-02T09:00:00Z"}}
    await plugin.row("update", table="t", id=1, operations=earlier)
    assert (await plugin.one(1, table="t"))["at"] == "2026-01-02T10:00:00.000000Z"


async def test_a_computed_infinity_is_told_and_never_null(plugin: Caller, apply: Applies) -> None:
    await apply(
        "CREATE TABLE t ({id}, v DOUBLE PRECISION, "
        "big DOUBLE PRECISION GENERATED ALWAYS AS (v * 10.0) STORED)"
    )
    body = {"table": "t", "data": {"id": 1, "v": 1.7e308}}
    written = await plugin.send(Family.ROW, "insert", body)
    error = written.get("error") or await plugin.refused_row("select", table="t")
    assert error["code"] == "VALIDATION_ERROR"


async def test_a_computed_column_of_a_view_is_filtered_by(plugin: Caller, apply: Applies) -> None:
    await apply(
        "CREATE TABLE t ({id}, n BIGINT)",
        "CREATE VIEW v AS SELECT id, n + 1 AS more, n * 1.5 AS half FROM t",
        "INSERT INTO t (id, n) VALUES (1, 1), (2, 4)",
    )
    assert await plugin.ids({"more": {"$gt": 2}}, table="v") == [2]
    assert await plugin.ids({"more": 2}, table="v") == [1]
    page = await plugin.row("select", table="v", sort={"field": "more", "order": "desc"})
    assert [row["more"] for row in page["rows"]] == [5, 2]


async def test_a_null_document_is_no_document(plugin: Caller, apply: Applies) -> None:
    await apply("CREATE TABLE t ({id}, j JSON TEXT)", "INSERT INTO t (id, j) VALUES (1, 'null')")
    assert (await plugin.one(1, table="t"))["j"] is None
    assert await plugin.ids({"j": {"$null": True}}, table="t") == [1]
    assert await plugin.ids({"j": None}, table="t") == [1]


async def test_a_nul_in_an_idempotency_key_is_refused(quotes: Caller) -> None:
    for family, operation, body in (
        (Family.KV, "set", {"key": "a", "value": 1}),
        (Family.ROW, "insert", {"table": "quotes", "data": {"text": "a"}}),
    ):
        answer = await quotes.send(family, operation, {**body, "idempotency_key": "a\0"})
        assert answer["error"]["code"] == "VALIDATION_ERROR"


async def test_an_extreme_of_any_text_type_can_be_asked_for(plugin: Caller, apply: Applies) -> None:
    await apply("CREATE TABLE t ({id}, u UUID, day DATE, at TIME, c CHAR(5))")
    row = {"u": UPPER, "day": "2026-01-02", "at": "10:00:00", "c": "ab"}
    await plugin.row("insert", table="t", data=row)
    compute = {f"x_{name}": {"$max": name} for name in row}
    having = {"x_day": {"$gte": "2026-01-01"}}
    answer = await plugin.row("aggregate", table="t", compute=compute, having=having)
    assert answer["rows"] == [{f"x_{n}": v for n, v in {**row, "u": UPPER.lower()}.items()}]


@pytest.mark.parametrize("column", ["a", "b"])
async def test_a_decimal_is_rounded_alike(plugin: Caller, apply: Applies, column: str) -> None:
    await apply("CREATE TABLE t ({id}, a NUMERIC(8, 2), b NUMERIC(4, 0))")
    await plugin.row("insert", table="t", data={"id": 1, "a": 10.25, "b": 9000})
    for operator, operand in (("$mul", 0.5), ("$inc", 1.25)):
        operations = {column: {operator: operand}}
        await plugin.row("update", table="t", id=1, operations=operations)
    shown: Any = {"a": 6.38, "b": 4501.0}[column]
    assert (await plugin.one(1, table="t"))[column] == shown
    error = await plugin.refused_row("update", table="t", id=1, operations={"b": {"$mul": 100}})
    assert error["details"]["reason"] == "LIMIT"


async def test_a_migration_of_a_large_table_looks_once(plugin: Caller, apply: Applies) -> None:
    """What is in order is left as it is: an index does not even look at the rows."""
    await apply("CREATE TABLE t ({id}, at DATETIME)")
    await plugin.row("insert", table="t", data={"id": 1, "at": "2026-01-02T10:00:00Z"})
    applied = await apply("CREATE INDEX t_at ON t (at)")
    assert [step.statements for step in applied.migrations] == [1]
    assert await plugin.ids({"at": "2026-01-02T10:00:00Z"}, table="t") == [1]


async def test_rows_of_every_type_return_what_they_show(plugin: Caller, apply: Applies) -> None:
    interval = plugin.database.engine.dialect is Dialect.POSTGRESQL
    span = "INTERVAL" if interval else "TEXT"
    await apply(f"CREATE TABLE t ({{id}}, raw BLOB, c CHAR(5), span {span})")
    row = {"id": 1, "raw": "AP8Q", "c": "ab", "span": "1 day"}
    await plugin.row("insert", table="t", data=row)
    changed = await plugin.row("update", table="t", id=1, data={"c": "x"}, returning=list(row))
    assert changed["rows"] == [{**row, "c": "x"}]


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("NUMERIC(5)", 99_999.5),
        ("NUMERIC(5)", 100_000),
        ("NUMERIC(5, 2)", 1.005),
        ("TIMESTAMP(0)", "2026-01-02T10:00:00.5Z"),
    ],
)
@pytest.mark.parametrize("operator", ["$max", "$min", "$set"])
async def test_a_bound_that_does_not_fit_is_refused(
    plugin: Caller, apply: Applies, declared: str, value: Any, operator: str
) -> None:
    await apply(f"CREATE TABLE t ({{id}}, v {declared})", "INSERT INTO t (id) VALUES (1)")
    error = await plugin.refused_row("update", table="t", id=1, operations={"v": {operator: value}})
    assert error["details"]["reason"] == "LIMIT"
    assert (await plugin.one(1, table="t"))["v"] is None


@pytest.mark.parametrize(
    ("declared", "fits", "more"),
    [
        ("TIMESTAMP(0)", "2026-01-02T10:00:00.000000Z", "2026-01-02T10:00:00.5Z"),
        ("TIMESTAMP(0)", "9999-12-31T23:59:59.000000Z", "9999-12-31T23:59:59.999999Z"),
        ("TIMESTAMPTZ(3)", "2026-01-02T10:00:00.123000Z", "2026-01-02T10:00:00.1234Z"),
        ("TIME(1)", "10:00:00.5", "10:00:00.55"),
    ],
)
async def test_a_moment_is_never_rounded(
    plugin: Caller, apply: Applies, declared: str, fits: str, more: str
) -> None:
    await apply(f"CREATE TABLE t ({{id}}, at {declared})")
    await plugin.row("insert", table="t", data={"id": 1, "at": fits})
    assert (await plugin.one(1, table="t"))["at"] == fits
    assert await plugin.ids({"at": fits}, table="t") == [1]
    error = await plugin.refused_row("insert", table="t", data={"id": 2, "at": more})
    assert "digits behind the second" in error["message"]
    assert await plugin.ids({"at": more}, table="t") == []


async def test_the_service_stamps_what_a_column_can_hold(
    plugin: Caller, apply: Applies, clock: ManualClock
) -> None:
    clock.advance(0.75)
    await apply("CREATE TABLE t ({id}, n BIGINT, created_at TIMESTAMP(0), updated_at TIMESTAMP(3))")
    await plugin.row("insert", table="t", data={"id": 1})
    await plugin.row("update", table="t", id=1, data={"n": 1})
    row = await plugin.one(1, table="t")
    assert row["created_at"].endswith(".000000Z")
    assert row["updated_at"].endswith(".750000Z")
    assert await plugin.ids({"created_at": row["created_at"]}, table="t") == [1]
    assert await plugin.ids({"updated_at": row["updated_at"]}, table="t") == [1]


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("INTERVAL", "1 day"),
        ("TIME WITH TIME ZONE", "10:00:00+02"),
        ("INT4RANGE", "[1,3)"),
        ("INTEGER[]", "{1,2}"),
    ],
)
async def test_a_type_of_one_engine_is_text_on_both(
    plugin: Caller, apply: Applies, declared: str, value: str
) -> None:
    await apply(f"CREATE TABLE t ({{id}}, v {declared})")
    described = await plugin.row("schema.describe", table="t")
    assert described["columns"][1]["type"] == "text"
    await plugin.row("insert", table="t", data={"id": 1, "v": value})
    assert (await plugin.one(1, table="t"))["v"] == value
    assert await plugin.ids({"v": value}, table="t") == [1]
