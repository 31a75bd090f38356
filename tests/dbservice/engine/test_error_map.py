"""Every way in which an engine can fail has a code, a sentence and a true `retryable`."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from dbservice.engine import postgres_errors, sqlite_errors, sqlite_lanes
from dbservice.engine.engine import Engine
from dbservice.engine.errors import (
    ConstraintError,
    EngineError,
    NotWritableError,
    UnavailableError,
)
from dbservice.engine.postgres import PostgresEngine, _Connection
from dbservice.engine.sqlite import SqliteEngine
from dbservice.engine.steps import Statement, Steps
from dbservice.protocol.errors import RETRYABLE, ErrorCode
from dbservice.protocol.subjects import Family
from dbservice.runtime.clock import ManualClock
from dbservice.server.failures import reply_to
from dbservice.storage.database import Database
from pytest_rosey.servers.postgres import PostgresServer
from tests.dbservice.storage.caller import Caller, Json, no_migrations

PRIMARY = """
    OK ERROR INTERNAL PERM ABORT BUSY LOCKED NOMEM READONLY INTERRUPT IOERR CORRUPT NOTFOUND
    FULL CANTOPEN PROTOCOL EMPTY SCHEMA TOOBIG CONSTRAINT MISMATCH MISUSE NOLFS AUTH FORMAT
    RANGE NOTADB NOTICE WARNING ROW DONE
""".split()  # noqa: SIM905 - a list of thirty lines is not read
"""SQLite's primary result codes, as sqlite.org/rescode.html lists them."""

CLASSES = """
    00 01 02 03 08 09 0A 0B 0F 0L 0P 0Z 10 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D
    3F 40 42 44 53 54 55 57 58 72 F0 HV P0 XX
""".split()  # noqa: SIM905
"""The classes of SQLSTATEs in appendix A of PostgreSQL's manual."""

PERMANENT = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT", "SQLITE_IOERR_CORRUPTFS"}
TRANSIENT = {"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN"}


def result_codes() -> list[str]:
    """Return all result codes that this Python knows by name."""
    prefixes = tuple(f"SQLITE_{name}" for name in PRIMARY)
    names = {name for name in dir(sqlite3) if name.startswith("SQLITE_")}
    extended = {name for name in names if name.startswith(tuple(f"{p}_" for p in prefixes))}
    return sorted({*prefixes, *extended} - {"SQLITE_OK_LOAD_PERMANENTLY", "SQLITE_OK_SYMLINK"})


def states() -> list[str]:
    """Return all SQLSTATEs that the driver knows, and each class by a state of its own."""
    known = {
        state
        for error in vars(asyncpg.exceptions).values()
        if isinstance(state := getattr(error, "sqlstate", None), str)
    }
    return sorted(known | {f"{name}ZZZ" for name in CLASSES})


def of_sqlite(name: str) -> EngineError:
    error = sqlite3.OperationalError("something")
    error.sqlite_errorname = name
    return sqlite_errors.translated(error)


def of_postgres(state: str) -> EngineError:
    names = {"table_name": "t", "column_name": "c", "constraint_name": "k", "detail": ""}
    return postgres_errors.translated(SimpleNamespace(sqlstate=state, **names))


def assert_whole(error: EngineError) -> None:
    reply = reply_to(error, None)
    assert reply.code in ErrorCode
    assert reply.message[0].isupper()
    assert reply.message.endswith((".", "!"))
    assert "something" not in reply.message


@pytest.mark.parametrize("name", result_codes())
def test_every_result_code_of_sqlite_is_in_the_map(name: str) -> None:
    primary = "_".join(name.split("_")[:2])
    assert primary in {*sqlite_errors.RESULT_CODES, "SQLITE_CONSTRAINT", "SQLITE_MISMATCH"}
    error = of_sqlite(name)
    assert_whole(error)
    retryable = reply_to(error, None).code in RETRYABLE
    if name in PERMANENT or primary in PERMANENT:
        assert not retryable
    elif primary in TRANSIENT:
        assert retryable
    assert isinstance(error, ConstraintError) == (
        primary in ("SQLITE_CONSTRAINT", "SQLITE_MISMATCH")
    )


@pytest.mark.parametrize("state", states())
def test_every_sqlstate_is_in_the_map(state: str) -> None:
    if state[:2] not in CLASSES:
        assert type(of_postgres(state)) is EngineError
        return
    known = {key[:2] for key in {*postgres_errors.SQLSTATES, *postgres_errors._CONSTRAINTS}}
    assert state[:2] in known
    assert_whole(of_postgres(state))


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("25006", ErrorCode.DATABASE_UNAVAILABLE),
        ("57P01", ErrorCode.DATABASE_UNAVAILABLE),
        ("57P02", ErrorCode.DATABASE_UNAVAILABLE),
        ("08006", ErrorCode.DATABASE_UNAVAILABLE),
        ("53100", ErrorCode.DATABASE_UNAVAILABLE),
        ("40001", ErrorCode.LOCK_TIMEOUT),
        ("55P03", ErrorCode.LOCK_TIMEOUT),
        ("57014", ErrorCode.TIMEOUT),
        ("22003", ErrorCode.VALIDATION_ERROR),
        ("22P02", ErrorCode.VALIDATION_ERROR),
        ("22021", ErrorCode.VALIDATION_ERROR),
        ("2200H", ErrorCode.VALIDATION_ERROR),
        ("54001", ErrorCode.VALIDATION_ERROR),
        ("23505", ErrorCode.CONSTRAINT_VIOLATION),
        ("44000", ErrorCode.CONSTRAINT_VIOLATION),
        ("42501", ErrorCode.INTERNAL_ERROR),
        ("XX001", ErrorCode.INTERNAL_ERROR),
        ("42601", ErrorCode.INTERNAL_ERROR),
    ],
)
def test_a_state_has_the_code_that_tells_what_to_do(state: str, code: ErrorCode) -> None:
    assert reply_to(of_postgres(state), None).code is code


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 15; another operation is in progress"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        ConnectionResetError("something"),
        TimeoutError("something"),
        RuntimeError("the handler is closed"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_the_driver_says_of_a_connection_that_it_closed_is_an_outage(
    error: Exception,
) -> None:
    async def execute(*_: Any) -> None:
        raise error

    closed = _Connection(SimpleNamespace(execute=execute, is_closed=lambda: True), 0)
    with pytest.raises(UnavailableError):
        await closed.execute(Statement("UPDATE t SET n = ?", (1,)))


async def test_what_the_driver_refuses_on_an_open_connection_is_no_outage() -> None:
    async def execute(*_: Any) -> None:
        raise asyncpg.InterfaceError("the number of query arguments cannot exceed 32767")

    connection = _Connection(SimpleNamespace(execute=execute, is_closed=lambda: False), 0)
    with pytest.raises(EngineError) as caught:
        await connection.execute(Statement("UPDATE t SET n = ?", (1,)))
    assert reply_to(caught.value, None).code is ErrorCode.INTERNAL_ERROR


# --- the same, met -------------------------------------------------------------------------------


async def opened(engine: Engine) -> Caller:
    database = Database(engine, ManualClock(0), forget_migrations=no_migrations)
    await database.open()
    return Caller(database)


async def test_a_lock_of_another_process_is_contention_and_no_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_lanes, "_PATIENCE", 20)
    engine = SqliteEngine(f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}")
    plugin = await opened(engine)
    await plugin.kv("set", key="a", value=1)
    other = sqlite3.connect(tmp_path / "rosey.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        error = await plugin.refused_kv("set", key="a", value=2)
        assert error["code"] == "LOCK_TIMEOUT"
        assert "Another process holds a lock" in error["message"]
        other.execute("ROLLBACK")
        await plugin.kv("set", key="a", value=3)
    finally:
        other.close()
        await engine.close()


async def test_a_damaged_file_is_not_worth_a_repetition(tmp_path: Path) -> None:
    path = tmp_path / "rosey.db"
    engine = SqliteEngine(f"sqlite+aiosqlite:///{path}")
    plugin = await opened(engine)
    for number in range(300):
        await plugin.kv("set", key=f"key {number}", value="x" * 400)
    await engine.close()
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 24 : 4096 * 40] = b"\x55" * (4096 * 16)
    path.write_bytes(damaged)
    engine = SqliteEngine(f"sqlite+aiosqlite:///{path}")
    plugin = await opened(engine)
    try:
        error = await plugin.refused_kv("list")
    finally:
        await engine.close()
    assert error["code"] == "INTERNAL_ERROR"
    assert "damaged" in error["message"]


async def test_ids_that_are_used_up_are_not_an_outage(quotes: Caller) -> None:
    await quotes.row("insert", table="quotes", data={"id": 2**63 - 1, "text": "last"})
    error = await quotes.refused_row("insert", table="quotes", data={"text": "one more"})
    assert (error["code"], error["details"]["reason"]) == ("VALIDATION_ERROR", "LIMIT")
    assert "last id" in error["message"]


@pytest.fixture
async def on_postgres(empty_postgres: str) -> Any:
    engine = PostgresEngine(empty_postgres)
    plugin = await opened(engine)
    yield plugin
    await engine.close()


@pytest.mark.process
async def test_a_read_only_server_is_an_outage_for_writes_that_ends(
    on_postgres: Caller, postgres: PostgresServer
) -> None:
    admin = await asyncpg.connect(postgres.url().replace("+asyncpg", ""))
    try:
        await on_postgres.kv("set", key="a", value=1)
        await admin.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
        await _reconnected(admin)
        await on_postgres.send(Family.KV, "get", {"key": "a"})  # meets the old connection, or not
        error = await on_postgres.refused_kv("set", key="a", value=2)
        assert error["code"] == "DATABASE_UNAVAILABLE"
        assert "read-only" in error["message"]
        with pytest.raises(NotWritableError):  # what is ready serves writes
            await on_postgres.database.probe()
        assert await on_postgres.kv("get", key="a") == {"exists": True, "value": 1}
    finally:
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
        await admin.close()
    await on_postgres.kv("set", key="a", value=3)  # on a connection that was not kept
    await on_postgres.database.probe()


async def _reconnected(admin: Any) -> None:
    """End every other connection, so that the next ones have the new default."""
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    )


@pytest.mark.process
async def test_a_terminated_backend_is_an_outage(
    on_postgres: Caller, postgres: PostgresServer
) -> None:
    admin = await asyncpg.connect(postgres.url().replace("+asyncpg", ""))
    engine = on_postgres.database.engine

    def sleep() -> Steps[None]:
        yield Statement("SELECT pg_sleep(30)")

    try:
        running = asyncio.create_task(engine.write(sleep))
        while not await admin.fetchval(  # noqa: ASYNC110 - another server's state
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)'"
        ):
            await asyncio.sleep(0.01)
        await _reconnected(admin)
        with pytest.raises(EngineError) as caught:
            await running
        assert reply_to(caught.value, None).code is ErrorCode.DATABASE_UNAVAILABLE
        await on_postgres.kv("set", key="a", value=1)
    finally:
        await admin.close()


@pytest.mark.parametrize("operator", ["$like", "$ilike"])
@pytest.mark.parametrize(("declared", "value"), [("UUID", "6f2c%"), ("DATE", "2026-01-%")])
async def test_a_pattern_works_on_what_is_shown_as_text(
    plugin: Caller, migrate: Any, operator: str, declared: str, value: str
) -> None:
    await migrate(f"CREATE TABLE quote_db__t (id INTEGER PRIMARY KEY, v {declared})")
    shown = {"UUID": "6f2c1c1e-4b7f-4f0e-9d0c-3f1d0e7a9b10", "DATE": "2026-01-02"}[declared]
    await plugin.row("insert", table="t", data={"id": 1, "v": shown})
    assert await plugin.ids({"v": {operator: value}}, table="t") == [1]


async def test_a_bad_id_in_a_read_is_a_wrong_value_and_no_constraint(
    plugin: Caller, migrate: Any
) -> None:
    await migrate("CREATE TABLE quote_db__t (id UUID PRIMARY KEY, v TEXT)")
    error = await plugin.refused_row("select", table="t", id="no uuid")
    assert error["code"] == "VALIDATION_ERROR"
    assert "UUID" in error["message"]


@pytest.mark.parametrize("field", ["prefix", "after"])
async def test_a_nul_in_a_listing_is_refused_as_in_a_key(plugin: Caller, field: str) -> None:
    error = await plugin.refused_kv("list", **{field: "a\0"})
    assert error["code"] == "VALIDATION_ERROR"
    assert error["details"]["field"] == field


FOREIGN = (
    "CREATE TABLE quote_db__people (id INTEGER PRIMARY KEY, code BIGINT UNIQUE)",
    """
    CREATE TABLE quote_db__visits (
        id INTEGER PRIMARY KEY, person BIGINT REFERENCES quote_db__people (code)
    )
    """,
)


@pytest.mark.parametrize(
    ("operation", "body", "told"),
    [
        ("insert", {"table": "visits", "data": {"person": 9}}, "is not there"),
        ("update", {"table": "visits", "id": 1, "data": {"person": 9}}, "is not there"),
        ("delete", {"table": "people", "id": 1}, "still refer"),
        ("update", {"table": "people", "id": 1, "data": {"code": 8}}, "still refer"),
    ],
)
async def test_a_foreign_key_gives_the_one_true_reason(
    plugin: Caller, migrate: Any, operation: str, body: Json, told: str
) -> None:
    await migrate(*FOREIGN)
    await plugin.row("insert", table="people", data={"id": 1, "code": 7})
    await plugin.row("insert", table="visits", data={"id": 1, "person": 7})
    error = await plugin.refused_row(operation, **body)
    assert error["code"] == "CONSTRAINT_VIOLATION"
    assert told in error["message"]
    assert ("is not there" in error["message"]) != ("still refer" in error["message"])


async def test_a_counter_on_a_key_that_is_no_integer_changes_nothing(quotes: Caller) -> None:
    await quotes.kv("set", key="total", value="many")
    error = await quotes.refused_row(
        "insert", table="quotes", data={"text": "a"}, counters={"other": 1, "total": 1}
    )
    assert error["code"] == "VALIDATION_ERROR"
    assert await quotes.row("count", table="quotes") == {"count": 0}
    assert await quotes.kv("get", key="other") == {"exists": False}
