"""A row whose parent is gone is a warning of its plugin, and stops nobody else."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dbservice.client import MigrationFailed, StorageClient
from dbservice.embedded import Stack

TABLES = """-- UP
CREATE TABLE quotes (id INTEGER PRIMARY KEY);
CREATE TABLE votes (id INTEGER PRIMARY KEY, quote_id INTEGER REFERENCES quotes (id));
INSERT INTO quotes VALUES (1), (2);
INSERT INTO votes VALUES (1, 1), (2, 2);
-- DOWN
DROP TABLE votes;
DROP TABLE quotes;
"""
OTHER = "-- UP\nCREATE TABLE {0} (id INTEGER);\n-- DOWN\nDROP TABLE {0};\n"
REBUILD = """-- UP
CREATE TABLE n (id INTEGER PRIMARY KEY, quote_id INTEGER REFERENCES quotes (id), by TEXT);
INSERT INTO n (id, quote_id) SELECT id, quote_id FROM votes;
DROP TABLE votes;
ALTER TABLE n RENAME TO votes;
-- IRREVERSIBLE: a test
"""
CLEAN = "-- UP\nDELETE FROM votes WHERE quote_id NOT IN (SELECT id FROM quotes);\n"
CLEAN += REBUILD.removeprefix("-- UP\n")
TOLD = "1 row of votes refers to rows of quotes that are not there"

Add = Callable[[str, str], Path]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rosey.db"


@pytest.fixture
async def stack(file: Path, root: Path, add: Add) -> AsyncIterator[Stack]:
    """A service on a file in which somebody has deleted a parent by plain SQL."""
    add("001_tables.sql", TABLES)
    url = f"sqlite+aiosqlite:///{file}"
    async with Stack(database_url=url, migrations=[root]) as stack:
        await StorageClient(await stack.connect(), "quote-db").migrations.apply()
    connection = sqlite3.connect(file)
    connection.execute("DELETE FROM quote_db__quotes WHERE id = 2")
    connection.commit()
    connection.close()
    async with Stack(database_url=url, migrations=[root]) as stack:
        yield stack


@pytest.fixture
async def storage(stack: Stack) -> StorageClient:
    return StorageClient(await stack.connect(), "quote-db")


async def test_others_are_not_concerned(stack: Stack, root: Path) -> None:
    (root / "trivia").mkdir()
    (root / "trivia" / "001_a.sql").write_text(OTHER.format("a"), "utf-8")
    trivia = StorageClient(await stack.connect(), "trivia")
    applied = await trivia.migrations.apply()
    assert (applied.current_version, applied.warnings) == (1, [])
    await trivia.rows("b").register([{"name": "c", "type": "text"}])
    assert await trivia.rows("b").insert({"c": "x"}) == 1
    assert (await trivia.migrations.rollback(all=True)).warnings[0]["code"] == "DROP_TABLE"


async def test_its_plugin_is_warned_and_goes_on(storage: StorageClient, add: Add) -> None:
    assert (await storage.migrations.status()).up_to_date
    add("002_other.sql", OTHER.format("other"))
    applied = await storage.migrations.apply()
    assert applied.current_version == 2
    (warning,) = applied.warnings
    assert (warning["code"], warning["message"]) == ("ORPHAN_ROWS", TOLD)
    undone = await storage.migrations.rollback(2)
    assert [warning["code"] for warning in undone.warnings] == ["DROP_TABLE", "ORPHAN_ROWS"]


async def test_a_migration_that_builds_on_them_is_refused(storage: StorageClient, add: Add) -> None:
    add("002_rebuild.sql", REBUILD)
    for dry_run in (True, False):
        with pytest.raises(MigrationFailed, match=f"002_rebuild.sql: it builds on .*{TOLD}"):
            await storage.migrations.apply(dry_run=dry_run)
    assert await storage.rows("votes").count() == 2
    assert (await storage.migrations.status()).current_version == 1


async def test_one_that_mends_them_is_taken(storage: StorageClient, add: Add) -> None:
    add("002_clean.sql", CLEAN)
    assert (await storage.migrations.apply()).current_version == 2
    assert await storage.rows("votes").count() == 1
    add("003_other.sql", OTHER.format("other"))
    assert (await storage.migrations.apply()).warnings == []


async def test_a_migration_that_makes_orphans_is_refused_as_before(
    storage: StorageClient, add: Add
) -> None:
    add("002_delete.sql", "-- UP\nDELETE FROM quotes WHERE id = 1;\n-- IRREVERSIBLE: a test\n")
    with pytest.raises(MigrationFailed, match="not there"):
        await storage.migrations.apply()
    assert await storage.rows("quotes").count() == 1
