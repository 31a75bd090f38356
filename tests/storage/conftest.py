from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from caller import Caller, no_migrations

from dbservice.runtime.clock import ManualClock
from dbservice.storage.database import Database
from dbservice.storage.engine import Engine
from dbservice.storage.sqlite import SqliteEngine
from dbservice.storage.steps import Statement, Steps

NOON = 1_700_000_000.0
"""2023-11-14T22:13:20Z"""

QUOTES = {
    "fields": [
        {"name": "text", "type": "string", "required": True, "max_length": 50, "unique": True},
        {"name": "author", "type": "text"},
        {"name": "score", "type": "integer", "default": 0},
        {"name": "rating", "type": "float"},
        {"name": "active", "type": "boolean"},
        {"name": "seen", "type": "datetime"},
        {"name": "tags", "type": "json"},
    ]
}

MakeEngine = Callable[..., Engine]


@pytest.fixture(params=["memory", "file"])
def make_engine(request: pytest.FixtureRequest, tmp_path: Path) -> MakeEngine:
    """Return a function that makes an engine: one kind of database after the other."""

    def make(**options: Any) -> Engine:
        url = "" if request.param == "memory" else f"/{tmp_path / 'rosey.db'}"
        return SqliteEngine(f"sqlite+aiosqlite://{url}", **options)

    return make


@pytest.fixture
async def engine(make_engine: MakeEngine) -> AsyncIterator[Engine]:
    """Return an engine that was not opened yet; it is closed at the end."""
    engine = make_engine()
    yield engine
    await engine.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
async def database(engine: Engine, clock: ManualClock) -> Database:
    """Return an open database with nothing in it."""
    database = Database(
        engine, clock, forget_migrations=no_migrations, dice=random.Random(20231114)
    )
    await database.open()
    return database


@pytest.fixture
def plugin(database: Database) -> Caller:
    """Return a plugin without tables."""
    return Caller(database)


@pytest.fixture
async def quotes(plugin: Caller) -> Caller:
    """Return a plugin that has an empty table `quotes`."""
    await plugin.row("schema.register", table="quotes", schema=QUOTES)
    return plugin


@pytest.fixture
def migrate(database: Database) -> Callable[..., Any]:
    """Return a function that executes statements as a migration would."""

    async def migrate(*statements: str) -> None:
        def steps() -> Steps[None]:
            for statement in statements:
                yield Statement(statement)

        await database.engine.exclusive(steps)

    return migrate


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Return an event loop for tests that hypothesis drives from outside."""
    with asyncio.Runner() as runner:
        yield runner
