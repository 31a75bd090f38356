"""Random rows, filters, orders and updates: the service agrees with the oracle (SPEC 2.3-2.6)."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dbservice.runtime.clock import ManualClock
from dbservice.storage.database import Database
from tests.dbservice.storage import oracle
from tests.dbservice.storage.caller import Caller, MakeEngine, no_migrations
from tests.dbservice.storage.strategies import (
    COLUMNS,
    TYPES,
    arrays,
    filters,
    integers,
    operations,
    rows,
    sorts,
)

Row = dict[str, Any]

SCHEMA = {"fields": [{"name": name, "type": TYPES[name]} for name in COLUMNS]}

LONG = os.environ.get("ROSEY_LONG") == "1"

given_often = settings(
    max_examples=150 if LONG else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@asynccontextmanager
async def opened(make_engine: MakeEngine) -> AsyncIterator[Caller]:
    """Give a plugin with a table `quotes` on a database of its own."""
    database = Database(
        make_engine(), ManualClock(0.0), forget_migrations=no_migrations, dice=random.Random(1)
    )
    await database.open()
    caller = Caller(database)
    await caller.row("schema.register", table="quotes", schema=SCHEMA)
    yield caller
    await database.close()


@pytest.fixture
def stage(runner: asyncio.Runner, make_engine: MakeEngine) -> Any:
    """Return a plugin and a function that runs a coroutine to its end."""
    context = opened(make_engine)
    caller = runner.run(context.__aenter__())
    yield caller, runner.run
    runner.run(context.__aexit__(None, None, None))


Stage = tuple[Caller, Callable[[Coroutine[Any, Any, Any]], Any]]


async def refilled(caller: Caller, contents: list[Row]) -> list[Row]:
    """Replace all rows; return them with their ids."""
    await caller.row("delete", table="quotes", all=True)
    numbered = [{"id": number, **row} for number, row in enumerate(contents, start=1)]
    if numbered:
        await caller.row("insert_batch", table="quotes", rows=numbered)
    return numbered


@given_often
@given(contents=st.lists(rows, max_size=8), trees=st.lists(filters, min_size=2, max_size=4))
def test_a_filter_finds_what_the_oracle_finds(
    stage: Stage, contents: list[Row], trees: list[Row]
) -> None:
    caller, run = stage

    async def found() -> None:
        numbered = await refilled(caller, contents)
        for tree in trees:
            expected = [row["id"] for row in numbered if oracle.matches(tree, row, TYPES)]
            assert await caller.ids(tree) == expected, tree

    run(found())


@given_often
@given(contents=st.lists(rows, max_size=8), sort=sorts, limit=st.integers(1, 4), tree=filters)
def test_pages_are_what_the_oracle_orders(
    stage: Stage, contents: list[Row], sort: list[Row], limit: int, tree: Row
) -> None:
    caller, run = stage

    async def paged() -> None:
        numbered = await refilled(caller, contents)
        matching = [row for row in numbered if oracle.matches(tree, row, TYPES)]
        expected = [row["id"] for row in oracle.ordered(matching, sort, TYPES)]
        query = {"sort": sort, "limit": limit, "filters": tree, "columns": ["id"]}
        seen: list[int] = []
        after: Row = {}
        for _ in range(len(numbered) + 1):
            page = await caller.row("select", table="quotes", **query, **after)
            seen += [row["id"] for row in page["rows"]]
            if not page["truncated"]:
                break
            after = {"after": page["next"]}
        assert seen == expected
        offset = len(expected) // 2
        page = await caller.row("select", table="quotes", **query, offset=offset)
        assert [row["id"] for row in page["rows"]] == expected[offset : offset + limit]

    run(paged())


@given_often
@given(contents=st.lists(rows, min_size=1, max_size=4))
def test_rows_come_back_as_they_were_written(stage: Stage, contents: list[Row]) -> None:
    caller, run = stage

    async def read() -> None:
        numbered = await refilled(caller, contents)
        page = await caller.row("select", table="quotes", columns=["id", *COLUMNS])
        assert [plain(row) for row in page["rows"]] == [plain(row) for row in numbered]
        for row in page["rows"]:
            assert row["seen"] is None or row["seen"].endswith("Z")

    run(read())


def plain(row: Row) -> Row:
    """Return a row with its datetime as a moment, so that spellings do not count."""
    return {name: oracle.comparable(TYPES[name], row[name]) for name in row}


# --- a long life of random writes ----------------------------------------------------------------

keys = st.sampled_from(["a", "ab", "a%", "b", "é"])
ids = st.integers(1, 6)


class LongLife(RuleBasedStateMachine):
    """Random writes on a database and on dictionaries; the two never differ."""

    make_engine: MakeEngine

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.clock = ManualClock(0.0)
        database = Database(self.make_engine(), self.clock, forget_migrations=no_migrations)
        self.caller = Caller(database)
        self.run(database.open())
        self.run(self.caller.row("schema.register", table="quotes", schema=SCHEMA))
        self.rows: dict[int, Row] = {}
        self.keys: dict[str, tuple[Any, float]] = {}

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.run(self.caller.database.close())
            self.runner.close()

    @rule(row_id=ids, row=rows)
    def insert(self, row_id: int, row: Row) -> None:
        body = {"table": "quotes", "data": {"id": row_id, **row}, "counters": {"rows": 1}}
        if row_id in self.rows:
            error = self.run(self.caller.refused_row("insert", **body))
            assert error["details"] == {"constraint": "unique", "columns": ["id"]}
            return
        assert self.run(self.caller.row("insert", **body)) == {"id": row_id, "created": True}
        self.rows[row_id] = dict(row)
        self.add("rows", 1)

    @rule(row_id=ids, changes=operations())
    def update_one(self, row_id: int, changes: dict[str, Row]) -> None:
        body = {"table": "quotes", "id": row_id, "operations": changes}
        if row_id not in self.rows:
            assert self.run(self.caller.row("update", **body)) == {"exists": False}
            return
        self.change([row_id], body)

    @rule(bound=integers, changes=operations())
    def update_many(self, bound: int, changes: dict[str, Row]) -> None:
        touched = [
            row_id
            for row_id, row in self.rows.items()
            if row["score"] is not None and row["score"] > bound
        ]
        body = {"table": "quotes", "filters": {"score": {"$gt": bound}}, "operations": changes}
        self.change(touched, body)

    def change(self, touched: list[int], body: Row) -> None:
        try:
            after = {row_id: self.changed(self.rows[row_id], body) for row_id in touched}
        except oracle.RefusedError:
            error = self.run(self.caller.refused_row("update", **body))
            assert error["code"] == "VALIDATION_ERROR"
            return
        answer = self.run(self.caller.row("update", returning=["id"], **body))
        assert sorted(row["id"] for row in answer["rows"]) == sorted(touched)
        self.rows |= after

    def changed(self, row: Row, body: Row) -> Row:
        return row | {
            column: oracle.updated(row[column], *next(iter(change.items())), TYPES[column])
            for column, change in body["operations"].items()
        }

    @rule(bound=integers)
    def delete(self, bound: int) -> None:
        gone = [
            row_id
            for row_id, row in self.rows.items()
            if row["score"] is not None and row["score"] < bound
        ]
        body = {"filters": {"score": {"$lt": bound}}, "counters": {"rows": -1}}
        answer = self.run(self.caller.row("delete", table="quotes", **body))
        assert answer == {"deleted": len(gone)}
        for row_id in gone:
            del self.rows[row_id]
        if gone:
            self.add("rows", -len(gone))

    @rule(key=keys, value=integers | arrays, ttl=st.none() | st.integers(1, 20))
    def set(self, key: str, value: Any, ttl: int | None) -> None:
        self.run(self.caller.kv("set", key=key, value=value, ttl=ttl))
        expires = float("inf") if ttl is None else self.clock.time() + ttl
        self.keys[key] = (value, expires)

    @rule(key=keys, value=integers, wanted=integers | arrays)
    def compare_and_set(self, key: str, value: int, wanted: Any) -> None:
        present = self.live().get(key)
        answer = self.run(self.caller.kv("set", key=key, value=value, if_value=wanted))
        stored = present is not None and oracle.same(present[0], wanted)
        assert answer == {"stored": stored}
        if stored:
            self.keys[key] = (value, float("inf"))

    @rule(key=keys, by=integers | st.integers(-3, 3))
    def incr(self, key: str, by: int) -> None:
        present, _ = self.live().get(key, (0, 0))
        is_number = isinstance(present, int) and not isinstance(present, bool)
        if not is_number or not -(2**63) <= present + by < 2**63:
            error = self.run(self.caller.refused_kv("incr", key=key, by=by))
            assert error["code"] == "VALIDATION_ERROR"
            return
        assert self.run(self.caller.kv("incr", key=key, by=by)) == {"value": present + by}
        self.add(key, by)

    def add(self, key: str, by: int) -> None:
        value, expires = self.live().get(key, (0, float("inf")))
        self.keys[key] = (value + by, expires)

    @rule(key=keys)
    def delete_key(self, key: str) -> None:
        answer = self.run(self.caller.kv("delete", key=key))
        is_there = key in self.live()
        assert answer == {"deleted": is_there}
        if is_there:  # one that has expired is left to the sweep
            del self.keys[key]

    @rule(seconds=st.sampled_from([0.5, 1, 5, 20]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: len(self.live()) < len(self.keys))
    @rule()
    def sweep(self) -> None:
        expired = len(self.keys) - len(self.live())
        assert self.run(self.caller.database.sweep()) == expired
        self.keys = self.live()

    def live(self) -> dict[str, tuple[Any, float]]:
        now = self.clock.time()
        return {key: held for key, held in self.keys.items() if held[1] > now}

    @invariant()
    def the_rows_are_those_of_the_model(self) -> None:
        page = self.run(self.caller.row("select", table="quotes", columns=["id", *COLUMNS]))
        stored = {row.pop("id"): plain(row) for row in page["rows"]}
        assert stored == {row_id: plain(row) for row_id, row in self.rows.items()}

    @invariant()
    def the_keys_are_those_of_the_model(self) -> None:
        listed = self.run(self.caller.kv("list"))
        assert listed["keys"] == sorted(self.live())
        for key, (value, _) in self.live().items():
            assert self.run(self.caller.kv("get", key=key)) == {"exists": True, "value": value}


@pytest.mark.parametrize("make_engine", ["memory"], indirect=True)
def test_a_long_life_of_writes_agrees_with_the_model(make_engine: MakeEngine) -> None:
    class OnThisEngine(LongLife):
        pass

    OnThisEngine.make_engine = staticmethod(make_engine)
    run_state_machine_as_test(
        OnThisEngine,
        settings=settings(max_examples=50 if LONG else 15, stateful_step_count=30, deadline=None),
    )
