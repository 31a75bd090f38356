"""The PostgreSQL engine itself: replicas, keys, native types, restarts, refusals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from dbservice.engine import postgres, postgres_memory
from dbservice.engine.dialect import PostgresDialect
from dbservice.engine.errors import (
    ConflictError,
    EngineError,
    MemoryExceededError,
    StatementTimeoutError,
    UnavailableError,
    UnstoppedError,
)
from dbservice.engine.postgres import PostgresEngine, dsn
from dbservice.engine.postgres_errors import cannot_open
from dbservice.engine.sqlite import SqliteEngine
from dbservice.engine.steps import ReadPolicy, Result, Statement, Steps
from dbservice.engine.urls import engine_for
from dbservice.protocol.names import namespace
from dbservice.runtime.clock import ManualClock
from dbservice.storage.database import Database
from pytest_rosey.servers.postgres import PostgresServer
from tests.dbservice.storage.caller import Caller, no_migrations

MANY = 40
VOTES = {
    "fields": [
        {"name": "who", "type": "string", "required": True, "unique": True},
        {"name": "votes", "type": "integer", "default": 0},
        {"name": "tags", "type": "json"},
    ]
}

MakeReplica = Callable[[], Awaitable[Caller]]


@pytest.fixture
async def replica(empty_postgres: str, clock: ManualClock) -> AsyncIterator[MakeReplica]:
    """Return a function that starts one more service on the same database."""
    started: list[Database] = []

    async def replica() -> Caller:
        database = Database(PostgresEngine(empty_postgres), clock, forget_migrations=no_migrations)
        started.append(database)
        await database.open()
        return Caller(database)

    yield replica
    for database in started:
        await database.close()


@pytest.fixture
async def both(replica: MakeReplica) -> list[Caller]:
    """Return the same plugin on two replicas, with an empty table `votes`."""
    both = [await replica(), await replica()]
    await both[0].row("schema.register", table="votes", schema=VOTES)
    return both


@pytest.fixture
async def engine(empty_postgres: str) -> AsyncIterator[PostgresEngine]:
    """Return an open engine on an empty database."""
    engine = PostgresEngine(empty_postgres)
    await engine.open()
    yield engine
    await engine.close()


def one(sql: str, *parameters: Any) -> Callable[[], Steps[list[tuple[Any, ...]]]]:
    """Return an operation that executes one statement and returns its rows."""

    def steps() -> Steps[list[tuple[Any, ...]]]:
        return (yield Statement(sql, parameters)).rows

    return steps


# -- several replicas ----------------------------------------------------------------------------


async def test_replicas_may_start_on_an_empty_database_at_the_same_time(
    replica: MakeReplica,
) -> None:
    callers = await asyncio.gather(*(replica() for _ in range(4)))
    await callers[0].kv("set", key="k", value=1)
    assert await callers[3].kv("get", key="k") == {"exists": True, "value": 1}


async def test_no_increment_is_lost_between_replicas(both: list[Caller]) -> None:
    answers = await asyncio.gather(
        *(both[n % 2].kv("incr", key="hits", ttl_seconds=60) for n in range(MANY))
    )
    assert sorted(answer["value"] for answer in answers) == list(range(1, MANY + 1))


async def test_increments_and_sets_do_not_overwrite_each_other(both: list[Caller]) -> None:
    # Whatever the order, a set of 1000 is followed by the increments that came after it.
    await asyncio.gather(
        *(both[n % 2].kv("incr", key="hits") for n in range(MANY)),
        both[0].kv("set", key="hits", value=1000),
    )
    found = await both[1].kv("get", key="hits")
    assert 1000 <= found["value"] <= 1000 + MANY


async def test_one_replica_takes_an_absent_key(both: list[Caller]) -> None:
    answers = await asyncio.gather(
        *(both[n % 2].kv("set", key="lock", value=n, if_absent=True) for n in range(MANY))
    )
    assert [answer["stored"] for answer in answers].count(True) == 1


async def test_one_replica_exchanges_a_value(both: list[Caller]) -> None:
    await both[0].kv("set", key="turn", value="start")
    answers = await asyncio.gather(
        *(both[n % 2].kv("set", key="turn", value=n, if_value="start") for n in range(MANY))
    )
    assert [answer["stored"] for answer in answers].count(True) == 1


async def test_a_condition_that_failed_leaves_no_key(both: list[Caller]) -> None:
    assert await both[0].kv("set", key="k", value=2, if_value=1) == {"stored": False}
    assert await both[0].kv("get", key="k") == {"exists": False}
    assert (await both[0].kv("list"))["keys"] == []
    assert await both[0].kv("delete", key="k") == {"deleted": False}
    assert (await both[0].clear())["keys"] == 0


async def test_counters_of_two_keys_in_opposite_orders_are_all_counted(both: list[Caller]) -> None:
    orders = [{"a": 1, "b": 1}, {"b": 1, "a": 1}]
    await asyncio.gather(
        *(
            both[n % 2].row("insert", table="votes", data={"who": str(n)}, counters=orders[n % 2])
            for n in range(MANY)
        )
    )
    for key in "ab":
        assert await both[0].kv("get", key=key) == {"exists": True, "value": MANY}


async def test_upserts_of_one_key_make_one_row(both: list[Caller]) -> None:
    answers = await asyncio.gather(
        *(
            both[n % 2].row(
                "upsert",
                table="votes",
                data={"who": "ada", "votes": 1},
                on=["who"],
                operations={"votes": {"$inc": 1}},
            )
            for n in range(MANY)
        )
    )
    assert [answer["created"] for answer in answers].count(True) == 1
    assert len({answer["id"] for answer in answers}) == 1
    assert (await both[0].one(answers[0]["id"], "votes", table="votes"))["votes"] == MANY


async def test_array_operators_of_replicas_keep_every_element(both: list[Caller]) -> None:
    row = (await both[0].row("insert", table="votes", data={"who": "ada", "tags": []}))["id"]
    await asyncio.gather(
        *(
            both[n % 2].row("update", table="votes", id=row, operations={"tags": {"$push": n}})
            for n in range(MANY)
        )
    )
    assert sorted((await both[0].one(row, table="votes"))["tags"]) == list(range(MANY))


async def test_a_write_that_reaches_two_replicas_is_applied_once(both: list[Caller]) -> None:
    body = {"table": "votes", "data": {"who": "ada"}, "idempotency_key": "k1"}
    answers = await asyncio.gather(*(both[n % 2].row("insert", **body) for n in range(8)))
    assert [answer.get("replayed", False) for answer in answers].count(False) == 1
    assert await both[0].row("count", table="votes") == {"count": 1}


async def test_replicas_register_a_table_once(both: list[Caller]) -> None:
    answers = await asyncio.gather(
        *(both[n % 2].row("schema.register", table="more", schema=VOTES) for n in range(6))
    )
    assert [answer["created"] for answer in answers].count(True) == 1


async def test_two_spellings_cannot_claim_a_namespace_on_two_replicas(
    both: list[Caller],
) -> None:
    spelt = [both[0].named("a-b"), both[1].named("a_b")]
    answers = await asyncio.gather(
        *(caller.database.admit(namespace(caller.plugin)) for caller in spelt),
        return_exceptions=True,
    )
    assert [type(answer).__name__ for answer in answers].count("RequestError") == 1


async def test_a_schema_change_is_seen_by_the_next_request_to_another_replica(
    both: list[Caller],
) -> None:
    here, there = both
    await there.row("insert", table="votes", data={"who": "ada"})
    for number in range(3):
        change = one(f"ALTER TABLE quote_db__votes ADD COLUMN n{number} BIGINT DEFAULT 7")
        await here.database.engine.exclusive(change)
        answers = await asyncio.gather(
            *(there.row("select", table="votes", filters={f"n{number}": 7}) for _ in range(4))
        )
        assert [answer["rows"][0][f"n{number}"] for answer in answers] == [7] * 4


async def test_a_column_of_another_type_is_read_and_written_as_such(both: list[Caller]) -> None:
    here, there = both
    row = (await there.row("insert", table="votes", data={"who": "ada", "votes": 3}))["id"]
    await there.row("update", table="votes", id=row, operations={"votes": {"$inc": 1}})
    await here.database.engine.exclusive(
        one("ALTER TABLE quote_db__votes ALTER COLUMN votes TYPE TEXT")
    )
    assert (await there.one(row, "votes", table="votes")) == {"votes": "4"}
    await there.row("update", table="votes", id=row, data={"votes": "many"})


# -- keys ----------------------------------------------------------------------------------------


async def test_generated_keys_come_after_explicit_ones(both: list[Caller]) -> None:
    async def insert(**data: Any) -> int:
        answer = await both[0].row("insert", table="votes", data={"who": str(data), **data})
        key: int = answer["id"]
        return key

    assert await insert(id=1) == 1
    assert await insert(votes=1) == 2
    assert await insert(id=100) == 100
    assert await insert(id=50) == 50
    assert await insert(id=-3) == -3
    assert await insert(votes=2) == 101


async def test_generated_keys_come_after_those_of_a_migration(both: list[Caller]) -> None:
    def migration() -> Steps[None]:
        yield Statement("CREATE TABLE quote_db__t (id BIGSERIAL PRIMARY KEY, a TEXT)")
        yield Statement("CREATE TABLE quote_db__empty (id SERIAL PRIMARY KEY, a TEXT)")
        yield Statement("INSERT INTO quote_db__t (id, a) VALUES (1, 'x'), (7, 'y')")
        yield from PostgresDialect().keys_were_given("quote_db__")

    await both[0].database.engine.exclusive(migration)
    assert (await both[1].row("insert", table="t", data={"a": "z"}))["id"] == 8
    assert (await both[1].row("insert", table="empty", data={}))["id"] == 1


async def test_a_key_that_is_always_generated_may_be_given(both: list[Caller]) -> None:
    await both[0].database.engine.exclusive(
        one("CREATE TABLE quote_db__t (id INT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a TEXT)")
    )
    assert (await both[0].row("insert", table="t", data={"id": 5}))["id"] == 5
    assert (await both[0].row("insert", table="t", data={"id": None}))["id"] == 6


# -- types that only PostgreSQL has --------------------------------------------------------------


async def test_narrow_columns_compare_with_what_they_cannot_hold(both: list[Caller]) -> None:
    await both[0].database.engine.exclusive(
        one(
            "CREATE TABLE quote_db__t (id SERIAL PRIMARY KEY, i INT, s SMALLINT, r REAL, "
            "n NUMERIC(10, 2), v VARCHAR(3), at TIMESTAMP, d DATE, u UUID, j JSON)"
        )
    )
    row = {"i": 1, "s": 2, "r": 0.1, "n": 12.5, "v": "abc", "at": "2026-01-02T03:04:05.000006Z"}
    row |= {"d": "2026-01-02", "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "j": {"b": 1, "a": 2}}
    await both[0].row("insert", table="t", data=row)
    assert await both[0].one(1, table="t") == {"id": 1, **row}
    large = 2**40
    for filters, expected in (
        ({"i": {"$lt": large}}, [1]),
        ({"s": {"$in": [2, large]}}, [1]),
        ({"i": {"$ne": large}}, [1]),
        ({"id": {"$gt": large}}, []),
        ({"r": 0.1}, [1]),
        ({"r": {"$in": [0.1]}}, [1]),
        ({"n": {"$between": [12.5, 13]}}, [1]),
        ({"v": {"$in": ["abc", "abcd"]}}, [1]),
        ({"at": "2026-01-02T04:04:05.000006+01:00"}, [1]),
        ({"at": {"$in": ["2026-01-02T03:04:05.000006Z"]}}, [1]),
        ({"u": row["u"], "d": row["d"]}, [1]),
        ({"j": {"$eq": {"a": 2, "b": 1}}}, [1]),
    ):
        assert await both[0].ids(filters, table="t") == expected, filters
    assert (await both[0].row("select", table="t", id=large))["exists"] is False
    error = await both[0].refused_row("update", table="t", id=1, operations={"i": {"$inc": large}})
    assert error["code"] == "VALIDATION_ERROR"


async def test_large_floats_in_documents_stay_floats(both: list[Caller]) -> None:
    tags = [1e20, {"x": -1e300}, 9223372036854775807]
    row = (await both[0].row("insert", table="votes", data={"who": "ada", "tags": tags}))["id"]
    await both[0].row("update", table="votes", id=row, operations={"tags": {"$push": 1e19}})
    assert (await both[0].one(row, table="votes"))["tags"] == [*tags, 1e19]
    assert await both[0].ids({"tags": {"$contains": 1e20}}, table="votes") == [row]


# -- the engine ----------------------------------------------------------------------------------


async def test_an_operation_sees_one_snapshot(engine: PostgresEngine, empty_postgres: str) -> None:
    await engine.exclusive(one("CREATE TABLE t (a BIGINT)"))

    def insert_elsewhere() -> None:
        async def insert() -> None:
            connection = await asyncpg.connect(empty_postgres.replace("+asyncpg", ""))
            await connection.execute("INSERT INTO t VALUES (1)")
            await connection.close()

        thread = threading.Thread(target=lambda: asyncio.run(insert()))
        thread.start()
        thread.join()

    def count_twice() -> Steps[tuple[int, int]]:
        first = yield Statement("SELECT COUNT(*) FROM t")
        insert_elsewhere()
        second = yield Statement("SELECT COUNT(*) FROM t")
        return first.rows[0][0], second.rows[0][0]

    for scan in (False, True):
        first, second = await engine.read(count_twice, scan=scan)
        assert first == second
    assert await engine.read(one("SELECT COUNT(*) > 0 FROM t")) == [(True,)]


async def test_a_read_of_several_statements_cannot_write(engine: PostgresEngine) -> None:
    def write() -> Steps[None]:
        yield Statement("SELECT 1")
        yield Statement("CREATE TABLE t (a BIGINT)")

    with pytest.raises(EngineError, match="read-only"):
        await engine.read(write)


async def test_a_dry_run_keeps_nothing_and_finds_what_the_end_would_find(
    engine: PostgresEngine,
) -> None:
    await engine.exclusive(
        one(
            "CREATE TABLE t (a BIGINT PRIMARY KEY, b BIGINT REFERENCES t DEFERRABLE INITIALLY "
            "DEFERRED)"
        )
    )
    await engine.exclusive(one("INSERT INTO t VALUES (1, 1)"), keep=False)
    assert await engine.read(one("SELECT * FROM t")) == []
    with pytest.raises(EngineError, match="foreign key"):
        await engine.exclusive(one("INSERT INTO t VALUES (1, 2)"), keep=False)


async def test_several_statements_in_one_are_refused(engine: PostgresEngine) -> None:
    with pytest.raises(EngineError, match="multiple commands"):
        await engine.exclusive(one("CREATE TABLE t (a BIGINT); CREATE TABLE u (a BIGINT)"))


async def test_a_slow_statement_is_cancelled_and_the_connection_is_well(
    empty_postgres: str,
) -> None:
    engine = PostgresEngine(empty_postgres, statement_timeout=0.05, pool_size=1)
    await engine.open()
    for run in (engine.read, engine.write):
        with pytest.raises(StatementTimeoutError):
            await run(one("SELECT pg_sleep(30)"))
        assert await run(one("SELECT 1")) == [(1,)]
    assert await engine.exclusive(one("SELECT pg_sleep(0.1)")) == [(None,)]
    await engine.close()


async def test_long_reads_leave_connections_to_quick_ones(empty_postgres: str) -> None:
    engine = PostgresEngine(empty_postgres, pool_size=2)
    await engine.open()
    scans = [
        asyncio.create_task(engine.read(one("SELECT pg_sleep(0.2)"), scan=True)) for _ in range(3)
    ]
    await asyncio.sleep(0)
    assert await engine.read(one("SELECT 1")) == [(1,)]
    assert not any(scan.done() for scan in scans[1:])
    await asyncio.gather(*scans)
    await engine.close()


async def test_a_backend_that_does_not_stop_is_ended_without_another_place(
    empty_postgres: str,
) -> None:
    """Whoever ended it waited for a connection of the pool, and all of them were such backends."""

    def without_end() -> Steps[None]:
        yield Statement("SET LOCAL statement_timeout = 0")
        yield Statement("SELECT pg_sleep(60)")

    engine = PostgresEngine(empty_postgres, statement_timeout=0.05, pool_size=1)
    await engine.open()
    with pytest.raises(StatementTimeoutError, match="ended"):
        await engine.read(without_end, scan=True)
    assert await engine.read(one("SELECT 1")) == [(1,)]
    await engine.close()


async def test_a_plugin_whose_backend_cannot_be_stopped_begins_nothing_else_that_is_long(
    empty_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_END_TIMEOUT", 0.1)
    monkeypatch.setattr(postgres, "_LOOK_INTERVAL", 0.01)
    stopped: list[int] = []

    def beyond_reach() -> Steps[None]:
        process = (yield Statement("SELECT pg_backend_pid()")).rows[0][0]
        os.kill(process, signal.SIGSTOP)  # as if it were within one endless call
        stopped.append(process)
        yield Statement("SELECT pg_sleep(60)")

    engine = PostgresEngine(empty_postgres, statement_timeout=0.05)
    await engine.open()
    try:
        with pytest.raises(StatementTimeoutError, match="ended"):
            await engine.read(beyond_reach, scan=True, plugin="busy")
        with pytest.raises(UnstoppedError):
            await engine.read(one("SELECT 1"), scan=True, plugin="busy")
        assert await engine.read(one("SELECT 1"), plugin="busy") == [(1,)]
        assert await engine.read(one("SELECT 1"), scan=True, plugin="quiet") == [(1,)]
    finally:
        for process in stopped:
            os.kill(process, signal.SIGCONT)
    async with asyncio.timeout(60):
        while engine._unstopped:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    assert await engine.read(one("SELECT 1"), scan=True, plugin="busy") == [(1,)]
    await engine.close()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT length(string_agg(repeat('a', 1000000), '')) FROM generate_series(1, 1000000)",
        "SELECT cardinality(array_agg(repeat('a', 1000000))) FROM generate_series(1, 1000000)",
        "WITH RECURSIVE r AS (SELECT 'abc' AS t UNION ALL SELECT t || t FROM r) TABLE r LIMIT 99",
    ],
)
async def test_a_backend_that_takes_too_much_memory_is_ended(
    empty_postgres: str, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_memory, "MOST", 64 * 1024 * 1024)
    engine = PostgresEngine(empty_postgres, statement_timeout=30)
    await engine.open()
    with pytest.raises(MemoryExceededError):
        await engine.read(one(query), scan=True)
    assert await engine.read(one("SELECT 1"), scan=True) == [(1,)]
    await engine.close()


@pytest.mark.parametrize("query", ["SELECT {}", "SELECT 1 / length({}::text)"])
async def test_nobody_gets_a_backend_whose_end_is_on_its_way(
    engine: PostgresEngine, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_memory, "MOST", 0)
    is_asked, may_end = asyncio.Event(), asyncio.Event()
    end = engine._memory._end

    async def end_late(process: int) -> None:
        is_asked.set()
        await may_end.wait()
        await end(process)

    monkeypatch.setattr(engine._memory, "_end", end_late)
    which = one("SELECT pg_backend_pid()")
    doomed = await engine.read(which)
    other = await asyncpg.connect(dsn(engine.url))
    await other.execute("SELECT pg_advisory_lock(1)")
    locked = query.format("pg_advisory_lock(1)")
    reading = asyncio.create_task(engine.read(one(locked), scan=True))
    await is_asked.wait()
    await other.close()
    await asyncio.wait([reading])
    assert isinstance(reading.exception(), MemoryExceededError) == ("/" in query)
    assert await engine.read(which) != doomed
    may_end.set()


async def test_a_connection_that_nobody_waits_for_any_more_is_closed(
    empty_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: asyncio.Future[asyncpg.Connection] = asyncio.get_running_loop().create_future()

    async def set_codecs(raw: asyncpg.Connection) -> None:
        connected.set_result(raw)
        await asyncio.Event().wait()

    monkeypatch.setattr(postgres, "_set_codecs", set_codecs)
    opening = asyncio.create_task(PostgresEngine(empty_postgres).open())
    connection = await connected
    opening.cancel()
    await asyncio.wait([opening])
    assert connection.is_closed()


async def test_all_who_ask_while_a_question_is_asked_share_the_next_one() -> None:
    asked: list[asyncio.Future[int]] = []

    async def ask() -> int:
        asked.append(asyncio.get_running_loop().create_future())
        return await asked[-1]

    question = postgres._SharedQuestion(ask)
    first, *others = [asyncio.create_task(question.ask()) for _ in range(5)]
    await asyncio.sleep(0)
    assert len(asked) == 1
    others.pop().cancel()
    asked[0].set_result(1)
    assert await first == 1
    await asyncio.sleep(0)
    late = asyncio.create_task(question.ask())
    asked[1].set_exception(UnavailableError("no server"))
    assert [type(each) for each in await asyncio.gather(*others, return_exceptions=True)] == [
        UnavailableError
    ] * 3
    await asyncio.sleep(0)
    asked[2].set_result(3)
    assert await late == 3
    assert len(asked) == 3


async def test_who_asks_and_gives_up_leaves_the_question_to_the_others() -> None:
    answers = [asyncio.get_running_loop().create_future() for _ in range(2)]
    answers[1].set_result(2)
    left = iter(answers)
    question = postgres._SharedQuestion(lambda: next(left))
    first, second = (asyncio.create_task(question.ask()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 2


_MEGABYTE = "repeat('a', 1000000)"
_SHORT_THEN_LONG = f"SELECT CASE WHEN n > 5 THEN {_MEGABYTE} END AS t FROM generate_series(1, 99) n"
_REPLY = 1_000_000


@pytest.mark.parametrize(("length", "is_apart"), [(100_000, True), (100, False)])
async def test_what_long_rows_are_made_into_does_not_hold_the_event_loop(
    engine: PostgresEngine, length: int, is_apart: bool
) -> None:
    def steps() -> Steps[int]:
        yield Statement(f"SELECT repeat('a', {length})", max_weight=_REPLY)
        digesting = threading.get_ident()
        yield Statement("SELECT 1")
        return digesting

    for run in (engine.read, engine.write):
        assert (await run(steps) != threading.get_ident()) == is_apart


@pytest.mark.parametrize(
    ("plugin", "at_once"), [("long", min(5, max(2, os.cpu_count() or 1))), ("", 8)]
)
async def test_long_writes_of_a_plugin_take_turns_and_its_short_ones_do_not(
    engine: PostgresEngine, plugin: str, at_once: int
) -> None:
    at_work = most = 0

    async def write(text: str) -> None:
        def steps() -> Steps[None]:
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            yield Statement("SELECT length(CAST(? AS TEXT))", (text,))
            at_work -= 1

        await engine.write(steps, quick=True, plugin=plugin)

    for text, expected in (("a" * 100_000, at_once), ("a", 8)):
        await write(text)  # shows what is to be expected of the next ones
        most = 0
        await asyncio.gather(*(write(text) for _ in range(8)))
        assert most == expected


async def bounded(
    run: Callable[..., Awaitable[Result]], sql: str, policy: ReadPolicy | None = None
) -> Result:
    """Return what a statement gives that may weigh a megabyte; it takes some times as much."""

    def steps() -> Steps[Result]:
        return (yield Statement(sql, policy=policy, max_weight=_REPLY))

    await run(steps)  # what is remembered of a statement is not counted
    tracemalloc.start()
    try:
        result = await run(steps)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * _REPLY
    return result


@pytest.mark.parametrize(
    ("sql", "rows", "is_cut"),
    [
        (_SHORT_THEN_LONG, 6, True),
        ("SELECT repeat('a', 40000000) AS t", 1, False),
        ("SELECT repeat('a', 20000000) AS a, repeat('a', 20000000) AS a", 0, False),
        ("SELECT CAST(repeat('a', 10000000) AS char(10000000)) AS t", 1, False),
        ("SELECT to_json(repeat('a', 40000000)) AS t", 1, False),
        ("SELECT CAST(repeat('a', 40000000) AS bytea) AS t", 1, False),
        (f"SELECT array_agg({_MEGABYTE}) AS t FROM generate_series(1, 40)", 1, False),
    ],
)
async def test_what_a_query_builds_beyond_a_reply_stays_at_the_server(
    engine: PostgresEngine, sql: str, rows: int, is_cut: bool
) -> None:
    result = await bounded(engine.read, sql, ReadPolicy("p_", (), ()))
    assert (len(result.rows), result.cut) == (rows, is_cut)
    assert rows == 0 or result.weight > _REPLY


@pytest.mark.parametrize(
    "sql", [_SHORT_THEN_LONG, f"UPDATE short_then_long SET t = {_MEGABYTE} WHERE n > 5 RETURNING t"]
)
async def test_rows_beyond_a_reply_stay_at_the_server(engine: PostgresEngine, sql: str) -> None:
    await engine.write(
        one(
            "CREATE TABLE short_then_long AS "
            "SELECT n, CAST(NULL AS text) AS t FROM generate_series(1, 99) n"
        )
    )
    result = await bounded(engine.write, sql)
    assert result.weight > _REPLY
    assert result.cut


@pytest.mark.parametrize("policy", [None, ReadPolicy("p_", (), ())])
async def test_rows_that_a_reply_holds_come_whole(
    engine: PostgresEngine, policy: ReadPolicy | None
) -> None:
    columns = """n, CAST(n AS text) || '"\\' AS line, NULL AS weight"""
    sql = f"SELECT {columns} FROM generate_series(1, 1001) n"
    result = await bounded(engine.read, sql, policy)
    assert result.rows == [(n, f'{n}"\\', None) for n in range(1, 1002)]
    assert not result.cut


async def test_a_server_on_this_machine_scans_no_more_at_once_than_it_has_processors(
    empty_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    engine = PostgresEngine(empty_postgres, pool_size=10)
    assert engine._turns._free == 5
    await engine.open()
    assert engine._turns._free == 3
    await engine.close()


async def test_writes_that_wait_for_a_row_leave_connections_to_other_plugins(
    empty_postgres: str,
) -> None:
    engine = PostgresEngine(empty_postgres, pool_size=5)
    await engine.open()
    await engine.exclusive(one("CREATE TABLE t (n BIGINT)"))
    await engine.write(one("INSERT INTO t VALUES (0)"))
    holder = await asyncpg.connect(empty_postgres.replace("+asyncpg", ""))
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("UPDATE t SET n = 1")
    update = one("UPDATE t SET n = n + 1")
    noisy = [
        asyncio.create_task(engine.write(update, quick=True, plugin="noisy")) for _ in range(8)
    ]
    await asyncio.sleep(0)
    assert await engine.read(one("SELECT n FROM t"), plugin="quiet") == [(0,)]
    assert not any(write.done() for write in noisy)
    await transaction.commit()
    await asyncio.gather(*noisy)
    await holder.close()
    assert await engine.read(one("SELECT n FROM t")) == [(9,)]
    await engine.close()


async def test_a_schema_change_of_a_plugin_has_its_time(empty_postgres: str) -> None:
    engine = PostgresEngine(empty_postgres, statement_timeout=0.05)
    await engine.open()
    with pytest.raises(StatementTimeoutError):
        await engine.exclusive(one("SELECT pg_sleep(30)"), plugin="noisy")
    await engine.close()


async def test_a_cancelled_write_is_undone(engine: PostgresEngine, empty_postgres: str) -> None:
    await engine.exclusive(one("CREATE TABLE t (a BIGINT)"))
    begun = asyncio.Event()

    def slow() -> Steps[None]:
        yield Statement("INSERT INTO t VALUES (1)")
        begun.set()
        yield Statement("SELECT pg_sleep(30)")

    task = asyncio.create_task(engine.write(slow))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await engine.read(one("SELECT * FROM t")) == []


async def test_operations_that_wait_for_each_other_are_repeated(engine: PostgresEngine) -> None:
    await engine.exclusive(one("CREATE TABLE t (a BIGINT PRIMARY KEY, n BIGINT DEFAULT 0)"))
    await engine.write(one("INSERT INTO t VALUES (1), (2)"))

    def add(*keys: int) -> Callable[[], Steps[None]]:
        def steps() -> Steps[None]:
            for key in keys:
                yield Statement("UPDATE t SET n = n + 1 WHERE a = ?", (key,))
                yield Statement("SELECT pg_sleep(0.05)")

        return steps

    await asyncio.gather(engine.write(add(1, 2)), engine.write(add(2, 1)))
    assert await engine.read(one("SELECT n FROM t ORDER BY a")) == [(2,), (2,)]


async def test_conflicts_are_not_repeated_for_ever(engine: PostgresEngine) -> None:
    attempts = 0

    def steps() -> Steps[None]:
        nonlocal attempts
        attempts += 1
        yield Statement("SELECT 1")
        raise ConflictError("as ever")

    with pytest.raises(ConflictError, match="as ever"):
        await engine.write(steps)
    assert 1 < attempts < 20


async def test_a_restarted_server_is_reached_again(
    engine: PostgresEngine, postgres: PostgresServer
) -> None:
    waiting = asyncio.create_task(engine.write(one("SELECT pg_sleep(0.9)")))
    assert await engine.read(one("SELECT 1")) == [(1,)]
    await asyncio.to_thread(postgres.restart)
    with pytest.raises(UnavailableError):
        await waiting
    assert await engine.read(one("SELECT 1")) == [(1,)]


@pytest.mark.parametrize("ask", ["read", "write"])
async def test_an_idle_connection_that_the_server_ends_is_an_outage(
    engine: PostgresEngine, ask: str
) -> None:
    """It says so a moment before it closes: the driver took that for a state it cannot leave."""
    ended = b"SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
    await engine.read(one("SELECT 1"))
    for idle in engine._pool._idle:
        idle.raw._protocol.data_received(b"E" + (len(ended) + 4).to_bytes(4, "big") + ended)
    with pytest.raises(UnavailableError):
        await getattr(engine, ask)(one("SELECT 1"))
    assert await getattr(engine, ask)(one("SELECT 1")) == [(1,)]


async def test_an_engine_goes_on_with_another_database(engine: PostgresEngine) -> None:
    asked = one("SELECT current_database() || ' ' || pg_backend_pid()")
    here = engine.url
    [[first]], [[kept]] = await engine.read(asked), await engine.read(asked)
    assert kept == first
    engine.move(here.set(database="template1"))
    [[there]] = await engine.read(asked)
    assert there.startswith("template1 ")
    engine.move(here)
    [[back]] = await engine.read(asked)
    assert back.startswith(f"{here.database} ")
    assert back != first


async def test_a_new_number_for_the_schemas(engine: PostgresEngine) -> None:
    await engine.set_schema_version(4_000_000_000)
    assert await engine.read(one("SELECT version FROM _schema_version")) == [(4_000_000_000,)]


async def test_a_closed_engine_says_so(empty_postgres: str) -> None:
    engine = PostgresEngine(empty_postgres)
    await engine.open()
    await engine.close()
    with pytest.raises(UnavailableError, match="closed"):
        await engine.read(one("SELECT 1"))


async def test_marks_in_quotes_are_no_placeholders(engine: PostgresEngine) -> None:
    asked = one("""SELECT '?' || 'it''s ?' AS "?", CAST(? AS TEXT), CAST(? AS BIGINT)""", "a", 2)
    assert await engine.read(asked) == [("?it's ?", "a", 2)]


# -- opening -------------------------------------------------------------------------------------


async def refusal(url: str) -> str:
    engine = PostgresEngine(url)
    with pytest.raises(UnavailableError) as caught:
        await engine.open()
    await engine.close()
    return str(caught.value)


async def test_no_server(tmp_path: Path) -> None:
    told = await refusal(f"postgresql+asyncpg://me:secret@/db?host={tmp_path}")
    assert told.startswith(f"No PostgreSQL server answers at {tmp_path}:5432")
    assert "secret" not in told


async def test_no_such_database(postgres: PostgresServer) -> None:
    assert await refusal(postgres.url("nowhere")) == (
        "There is no database 'nowhere' on this server. Create it with: createdb nowhere."
    )


async def test_a_database_that_cannot_hold_every_character(postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(postgres.url().replace("+asyncpg", ""))
    await connection.execute("DROP DATABASE IF EXISTS narrow")
    await connection.execute(
        "CREATE DATABASE narrow TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
    )
    await connection.close()
    told = await refusal(postgres.url("narrow"))
    assert told == (
        "The database 'narrow' has the encoding LATIN1, which does not hold every character. "
        "Create one with ENCODING 'UTF8'."
    )


async def test_no_driver(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    assert "pip install 'pytest-rosey[postgres]'" in await refusal(postgres.url())


@pytest.mark.parametrize(
    ("error", "begins"),
    [
        (asyncpg.InvalidPasswordError("no"), "The server refuses the password of user 'me'"),
        (asyncpg.InvalidAuthorizationSpecificationError("no"), "The server refuses user 'me'"),
        (asyncpg.InsufficientPrivilegeError("no"), "User 'me' may not create tables"),
        (asyncpg.TooManyConnectionsError("no"), "The server has no connection left"),
        (asyncpg.CannotConnectNowError("no"), "The server at h:5432 is starting up"),
        (OSError("refused"), "No PostgreSQL server answers at h:5432"),
        (KeyError("odd"), "The database postgresql://***@h/db cannot be opened"),
    ],
)
def test_what_is_wrong_is_told_without_the_password(error: Exception, begins: str) -> None:
    told = str(cannot_open(sa.make_url("postgresql://me:secret@h/db"), error))
    assert told.startswith(begins)
    assert told.endswith(".")
    assert "secret" not in told


def test_the_url_chooses_the_engine(tmp_path: Path) -> None:
    assert isinstance(engine_for(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}"), SqliteEngine)
    assert isinstance(engine_for("postgresql+asyncpg://h/db"), PostgresEngine)
    for url in ("mysql://h/db", "nonsense"):
        with pytest.raises(UnavailableError, match="expected"):
            engine_for(url)
