"""Fixtures of the migration tests: a database, a root to write files in, and migrators."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dbservice.engine.sqlite import SqliteEngine
from dbservice.migrate.migrator import Migrator
from dbservice.protocol.names import Namespace, namespace
from dbservice.runtime.clock import ManualClock
from tests.dbservice.migrate.migrated_database import SHIPPED, Database


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
