"""Who owns what, and writes that are repeated (SPEC 2.1, 2.7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dbservice.engine.engine import Engine
from dbservice.engine.steps import Statement, Steps
from dbservice.protocol import Family
from dbservice.protocol.names import namespace
from dbservice.runtime.clock import ManualClock
from dbservice.storage.database import Database
from tests.dbservice.storage.caller import Caller

Migrate = Callable[..., Any]
NEIGHBOURS = ["quote", "quote-d", "quote-db", "quote-db-x", "quote-dbx", "quotedb"]
SCHEMA = {"fields": [{"name": "n", "type": "integer"}]}
DAY = 86_400


async def everything(caller: Caller) -> dict[str, Any]:
    """Return what a plugin has stored."""
    rows = await caller.row("select", table="things", columns=["n"])
    return {"keys": (await caller.kv("list"))["keys"], "rows": rows["rows"]}


async def test_clear_removes_everything_of_one_plugin_and_nothing_of_its_neighbours(
    plugin: Caller,
) -> None:
    for number, name in enumerate(NEIGHBOURS):
        neighbour = plugin.named(name)
        await neighbour.row("schema.register", table="things", schema=SCHEMA)
        await neighbour.row("insert", table="things", data={"n": number}, counters={"n": number})
    assert await plugin.database.plugins() == NEIGHBOURS
    assert await plugin.clear() == {"tables": 1, "keys": 1, "migrations": 0}
    assert await plugin.database.plugins() == [name for name in NEIGHBOURS if name != "quote-db"]
    assert await plugin.kv("list") == {"keys": [], "count": 0, "truncated": False}
    error = await plugin.refused_row("count", table="things")
    assert error["details"]["reason"] == "TABLE_NOT_REGISTERED"
    for number, name in enumerate(NEIGHBOURS):
        if name != "quote-db":
            stored = await everything(plugin.named(name))
            assert stored == {"keys": ["n"], "rows": [{"n": number}]}
    assert await plugin.clear() == {"tables": 0, "keys": 0, "migrations": 0}


async def test_clear_takes_views_triggers_and_tables_that_refer_to_each_other(
    plugin: Caller, migrate: Migrate
) -> None:
    await migrate(
        "CREATE TABLE quote_db__a (id INTEGER PRIMARY KEY, a INTEGER REFERENCES quote_db__a (id))",
        "CREATE TABLE quote_db__b (id INTEGER PRIMARY KEY, a INTEGER REFERENCES quote_db__a (id))",
        "CREATE VIEW quote_db__v AS SELECT * FROM quote_db__a",
        "CREATE INDEX quote_db__b_a ON quote_db__b (a)",
        "INSERT INTO quote_db__a VALUES (1, 1)",
        "INSERT INTO quote_db__b VALUES (1, 1)",
    )
    assert (await plugin.clear())["tables"] == 2
    await migrate("CREATE TABLE quote_db__v (id INTEGER PRIMARY KEY)")


async def test_clear_forgets_answers_and_migrations(engine: Engine, clock: ManualClock) -> None:
    forgotten: list[str] = []

    def forget(space: Any) -> Steps[int]:
        yield Statement("SELECT 1")
        forgotten.append(space.plugin)
        return 3

    database = Database(engine, clock, forget_migrations=forget)
    await database.open()
    caller = Caller(database)
    await caller.kv("set", key="a", value=1, idempotency_key="k")
    assert await caller.clear() == {"tables": 0, "keys": 1, "migrations": 3}
    assert forgotten == ["quote-db"]
    assert await caller.kv("set", key="a", value=2, idempotency_key="k") == {}


# --- spellings -----------------------------------------------------------------------------------

CONFLICT = (
    "The plugin name '{}' maps to tables that another spelling of this name owns ('-' and '_' are "
    "the same in table names). Use the other spelling."
)


async def test_the_first_spelling_owns_the_namespace(plugin: Caller) -> None:
    other = plugin.named("quote_db")
    assert await other.kv("get", key="a") == {"exists": False}
    await plugin.kv("set", key="a", value=1)
    for operation, more in (
        ("set", {"key": "a", "value": 2}),
        ("get", {"key": "a"}),
        ("list", {}),
        ("incr", {"key": "n"}),
        ("delete", {"key": "a"}),
    ):
        error = await other.refused_kv(operation, **more)
        assert error["code"] == "NAMESPACE_CONFLICT"
        assert error["message"] == CONFLICT.format("quote_db")
    for operation, more in (
        ("select", {}),
        ("insert", {"data": {}}),
        ("schema.register", {"schema": SCHEMA}),
        ("schema.describe", {}),
        ("schema.drop", {}),
    ):
        error = await other.refused_row(operation, table="things", **more)
        assert error["code"] == "NAMESPACE_CONFLICT"
    assert await plugin.kv("get", key="a") == {"exists": True, "value": 1}


async def test_a_conflicting_spelling_cannot_clear(plugin: Caller) -> None:
    await plugin.kv("set", key="a", value=1)
    with pytest.raises(AssertionError, match="NAMESPACE_CONFLICT"):
        await plugin.named("quote_db").clear()
    assert (await plugin.kv("get", key="a"))["exists"]


async def test_reading_does_not_claim_a_namespace(plugin: Caller) -> None:
    await plugin.kv("get", key="a")
    await plugin.refused_row("count", table="things")
    assert await plugin.database.plugins() == []
    await plugin.named("quote_db").kv("set", key="a", value=1)
    assert await plugin.database.plugins() == ["quote_db"]
    error = await plugin.refused_kv("get", key="a")
    assert error["message"] == CONFLICT.format("quote-db")


async def test_a_cleared_namespace_is_free_for_the_other_spelling(plugin: Caller) -> None:
    other = plugin.named("quote_db")
    await plugin.kv("set", key="a", value=1)
    await plugin.clear()
    await other.kv("set", key="a", value=2)
    assert (await plugin.refused_kv("get", key="a"))["code"] == "NAMESPACE_CONFLICT"
    assert await other.kv("get", key="a") == {"exists": True, "value": 2}


async def test_one_of_two_concurrent_spellings_wins(database: Database) -> None:
    spellings = ["a-b-c", "a_b-c", "a-b_c", "a_b_c"]

    async def claimed(name: str) -> bool:
        answer = await Caller(database, name).send(Family.KV, "set", {"key": "a", "value": 1})
        return bool(answer["success"])

    won = await asyncio.gather(*(claimed(name) for name in spellings * 5))
    owner = (await database.plugins())[0]
    assert won == [name == owner for name in spellings * 5]
    assert namespace(owner).prefix == "a_b_c__"


# --- idempotency ---------------------------------------------------------------------------------


async def test_a_repeated_insert_is_answered_and_not_applied(quotes: Caller) -> None:
    body = {"data": {"text": "a"}, "counters": {"total": 1}, "idempotency_key": "k"}
    first = await quotes.row("insert", table="quotes", **body)
    assert first == {"id": 1, "created": True}
    for _ in range(2):
        again = await quotes.row("insert", table="quotes", **body)
        assert again == {"id": 1, "created": True, "replayed": True}
    assert await quotes.ids({}) == [1]
    assert await quotes.kv("get", key="total") == {"exists": True, "value": 1}


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("insert", {"data": [{"text": "b"}, {"text": "c"}]}),
        ("insert_batch", {"rows": [{"text": "b"}]}),
        ("update", {"id": 1, "operations": {"score": {"$inc": 1}}, "returning": ["score", "tags"]}),
        ("update", {"filters": {"id": 1}, "operations": {"score": {"$inc": 1}}}),
        ("update", {"id": 99, "operations": {"score": {"$inc": 1}}}),
        ("upsert", {"data": {"text": "b"}, "on": ["text"]}),
        ("delete", {"id": 1}),
        ("delete", {"filters": {"id": 1}}),
        ("schema.drop", {}),
    ],
)
async def test_every_write_replays_its_first_answer(
    quotes: Caller, operation: str, body: dict[str, Any]
) -> None:
    await quotes.row("insert", table="quotes", data={"text": "a", "tags": ["x"]})
    first = await quotes.row(operation, table="quotes", idempotency_key="k", **body)
    again = await quotes.row(operation, table="quotes", idempotency_key="k", **body)
    assert again == {**first, "replayed": True}
    assert {key: type(value) for key, value in again.items()} == {
        **{key: type(value) for key, value in first.items()},
        "replayed": bool,
    }


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("set", {"key": "a", "value": {"b": [1, 2.5]}, "if_absent": True}),
        ("incr", {"key": "n", "by": 5}),
        ("delete", {"key": "n"}),
    ],
)
async def test_every_kv_write_replays_its_first_answer(
    plugin: Caller, operation: str, body: dict[str, Any]
) -> None:
    await plugin.kv("set", key="n", value=1)
    first = await plugin.kv(operation, idempotency_key="k", **body)
    again = await plugin.kv(operation, idempotency_key="k", **body)
    assert again == {**first, "replayed": True}


async def test_the_same_key_for_something_else_is_a_conflict(quotes: Caller) -> None:
    body = {"table": "quotes", "data": {"text": "a"}, "idempotency_key": "k"}
    await quotes.row("insert", **body)
    message = (
        "The idempotency key 'k' was used for a different request. Make a new key for each write, "
        "and repeat a write unchanged."
    )
    errors = [
        await quotes.refused_row("insert", **{**body, "data": {"text": "b"}}),
        await quotes.refused_row("insert", **body, counters={"n": 1}),
        await quotes.refused_row("delete", table="quotes", id=1, idempotency_key="k"),
        await quotes.refused_kv("incr", key="n", idempotency_key="k"),
    ]
    assert [(error["code"], error["message"]) for error in errors] == [
        ("IDEMPOTENCY_CONFLICT", message)
    ] * 4
    assert await quotes.ids({}) == [1]


async def test_a_key_counts_for_one_plugin_only(plugin: Caller) -> None:
    for name in ("quote-db", "quote", "trivia"):
        answer = await plugin.named(name).kv("incr", key="n", idempotency_key="k")
        assert answer == {"value": 1}


async def test_a_failed_write_may_be_repeated_with_its_key(quotes: Caller) -> None:
    body = {"table": "quotes", "data": {"text": "a"}, "idempotency_key": "k"}
    await quotes.row("insert", table="quotes", data={"text": "a"})
    await quotes.refused_row("insert", **body)
    await quotes.row("delete", table="quotes", id=1)
    written = await quotes.row("insert", **body)
    assert "replayed" not in written
    assert await quotes.ids({}) == [written["id"]]


async def test_a_key_is_remembered_for_24_hours(plugin: Caller, clock: ManualClock) -> None:
    body = {"key": "n", "idempotency_key": "k"}
    await plugin.kv("incr", **body)
    clock.advance(DAY - 1)
    assert await plugin.kv("incr", **body) == {"value": 1, "replayed": True}
    clock.advance(1)
    assert await plugin.kv("incr", **body) == {"value": 2}
    assert await plugin.kv("incr", **body) == {"value": 2, "replayed": True}


async def test_the_sweep_forgets_only_old_answers(plugin: Caller, clock: ManualClock) -> None:
    await plugin.kv("incr", key="n", idempotency_key="old")
    clock.advance(1)
    await plugin.kv("incr", key="n", idempotency_key="new")
    clock.advance(DAY - 1)
    await plugin.database.sweep()
    assert await plugin.kv("incr", key="n", idempotency_key="new") == {
        "value": 2,
        "replayed": True,
    }
    assert await plugin.kv("incr", key="n", idempotency_key="old") == {"value": 3}


async def test_concurrent_repeats_are_applied_once(quotes: Caller) -> None:
    body = {"table": "quotes", "data": {"text": "a"}, "idempotency_key": "k"}
    answers = await asyncio.gather(*(quotes.row("insert", **body) for _ in range(30)))
    assert [answer["id"] for answer in answers] == [1] * 30
    assert sum("replayed" not in answer for answer in answers) == 1
