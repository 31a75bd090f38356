"""The service's own tables: one version of them leads to the next, and nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dbservice.engine.dialect import SqlDialect, dialect_of
from dbservice.engine.engine import Engine
from dbservice.engine.errors import UnavailableError
from dbservice.engine.postgres import PostgresEngine
from dbservice.engine.sqlite import SqliteEngine
from dbservice.engine.steps import Statement, Steps
from dbservice.migrate import Migrator
from dbservice.protocol.names import namespace
from dbservice.runtime.clock import ManualClock
from dbservice.storage import own_tables
from dbservice.storage.database import Database
from tests.dbservice.storage.caller import Caller, MakeEngine, no_migrations

LAYOUTS = Path(__file__).parent / "layouts"
WRITTEN_AT = 1_700_000_000.0
LATEST = len(own_tables.STEPS)


@pytest.fixture(params=["without_version", "version_1"])
def layout(request: pytest.FixtureRequest) -> str:
    """Return the name of a layout."""
    return str(request.param)


@pytest.fixture(params=["file", "postgres"])
def old_engine(layout: str, request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Return an engine over a database as an earlier service left it."""
    if request.param == "postgres":
        url = request.getfixturevalue("empty_postgres")
        asyncio.run(_restore(url, (LAYOUTS / f"{layout}.postgresql.sql").read_text("utf-8")))
        return PostgresEngine(url)
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((LAYOUTS / f"{layout}.sqlite.sql").read_text("utf-8"))
    return SqliteEngine(f"sqlite+aiosqlite:///{path}")


async def _restore(url: str, dump: str) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(dump)
    await connection.close()


async def test_a_database_of_an_earlier_service_is_taken_over(
    old_engine: Engine,
) -> None:
    clock = ManualClock(WRITTEN_AT)
    database = Database(old_engine, clock, forget_migrations=no_migrations)
    await database.open()
    try:
        notes = Caller(database, "notes")
        assert await notes.kv("get", key="colour") == {
            "exists": True,
            "value": {"a": [1, None, "é"]},
        }
        assert await notes.kv("list") == {
            "keys": ["brief", "colour", "visits"],
            "count": 3,
            "truncated": False,
        }
        again = await notes.kv("incr", key="visits", by=3, idempotency_key="once")
        assert again == {"value": 3, "replayed": True}
        assert (await notes.one(1, table="notes"))["body"] == "kept"
        status = await Migrator(old_engine, [LAYOUTS], clock=clock).status(namespace("notes"))
        assert (status.current_version, status.up_to_date) == (1, True)
        assert await database.plugins() == ["notes", "other"]
        clock.advance(61)
        assert await notes.kv("get", key="brief") == {"exists": False}
    finally:
        await database.close()


async def test_a_later_version_may_alter_every_table(
    old_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def next_step(_dialect: SqlDialect) -> list[str]:
        return ["ALTER TABLE _kv ADD COLUMN author TEXT NOT NULL DEFAULT 'nobody'"]

    monkeypatch.setattr(own_tables, "STEPS", (*own_tables.STEPS, next_step))
    await old_engine.open()
    try:
        for _ in range(2):  # the second time there is nothing left to do
            await old_engine.exclusive(lambda: own_tables.upgrade(dialect_of(old_engine.dialect)))
            assert await _rows(old_engine, "SELECT DISTINCT author FROM _kv") == [("nobody",)]
            assert await _rows(old_engine, "SELECT version FROM _layout") == [(LATEST + 1,)]
    finally:
        await old_engine.close()


async def test_a_newer_layout_is_not_touched(database: Database) -> None:
    engine = database.engine
    await engine.exclusive(lambda: _run("UPDATE _layout SET version = 99"))
    with pytest.raises(UnavailableError, match=r"version 99.*knows versions up to.*Upgrade"):
        await engine.exclusive(lambda: own_tables.upgrade(dialect_of(engine.dialect)))
    assert await _rows(engine, "SELECT version FROM _layout") == [(99,)]


async def test_a_step_that_fails_leaves_the_version_before(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_dialect: SqlDialect) -> list[str]:
        return ["ALTER TABLE _kv ADD COLUMN author TEXT", "INSERT INTO nowhere VALUES (1)"]

    engine = make_engine()
    await engine.open()
    upgrade: Callable[[], Steps[None]] = lambda: own_tables.upgrade(dialect_of(engine.dialect))  # noqa: E731
    try:
        await engine.exclusive(upgrade)
        monkeypatch.setattr(own_tables, "STEPS", (*own_tables.STEPS, broken))
        with pytest.raises(Exception, match="nowhere"):
            await engine.exclusive(upgrade)
        assert await _rows(engine, "SELECT version FROM _layout") == [(LATEST,)]
        with pytest.raises(Exception, match="author"):
            await _rows(engine, "SELECT author FROM _kv")
    finally:
        await engine.close()


async def _rows(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    return await engine.read(lambda: _run(sql))


def _run(sql: str) -> Steps[list[tuple[Any, ...]]]:
    return (yield Statement(sql)).rows
