from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dbservice.migrate.migrator import Migrator
from dbservice.protocol.names import Namespace, namespace
from dbservice.runtime.clock import ManualClock
from dbservice.storage.sqlite import SqliteEngine
from dbservice.storage.steps import Statement, Steps

SHIPPED = Path(__file__).parents[2] / "migrations"


class Database:
    """An engine with the shortest way to run a statement on it."""

    def __init__(self, engine: SqliteEngine) -> None:
        self.engine = engine

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        def steps() -> Steps[list[tuple[Any, ...]]]:
            return (yield Statement(sql, parameters)).rows

        return await self.engine.read(steps)

    async def write(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return await self.write_many(sql, [parameters])

    async def write_many(self, sql: str, many: Sequence[Sequence[Any]]) -> int:
        def steps() -> Steps[int]:
            affected = 0
            for parameters in many:
                affected += (yield Statement(sql, parameters)).affected
            return affected

        return await self.engine.write(steps)

    async def everything(self) -> list[tuple[Any, ...]]:
        """Schema and counters: what a dry run or a failure must not change."""
        schema = await self.rows("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
        has_counters = any(name == "sqlite_sequence" for _, name, _ in schema)
        counters = await self.rows("SELECT * FROM sqlite_sequence") if has_counters else []
        return [*schema, *sorted(counters)]


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    engine = SqliteEngine("sqlite+aiosqlite:///:memory:")
    await engine.open()
    yield Database(engine)
    await engine.close()


@pytest.fixture
def quotes() -> Namespace:
    return namespace("quote-db")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A migration root with an empty directory for quote-db."""
    (tmp_path / "quote-db").mkdir()
    return tmp_path


@pytest.fixture
def add(root: Path) -> Callable[[str, str], Path]:
    """Write a migration file for quote-db."""

    def write(name: str, text: str) -> Path:
        path = root / "quote-db" / name
        path.write_bytes(text.encode())
        return path

    return write


@pytest.fixture
def migrator(database: Database, root: Path, clock: ManualClock) -> Migrator:
    return Migrator(database.engine, [root], clock=clock)


@pytest.fixture
def shipped(database: Database) -> Migrator:
    """A migrator for the migrations of the reference plugin."""
    return Migrator(database.engine, [SHIPPED])
