"""Migrated databases are copied, and a copy is what migrating would have made (SPEC 5.5)."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dbservice.client import InvalidSubject, MigrationNotFound
from dbservice.engine.sqlite import SqliteEngine
from dbservice.engine.steps import Statement, Steps
from dbservice.protocol.migrations import Applied
from dbservice.protocol.subjects import event_subjects
from pytest_rosey import MigrationRunner, ServiceUnderTest
from pytest_rosey.databases.sqlite import SqliteCopies
from pytest_rosey.fixtures import templates

# ruff: noqa: PT019 - the private fixtures have values, and these tests look at them

NOTES = """
-- UP
CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE);
INSERT INTO notes (text) VALUES ('first'), ('second');
-- DOWN
DROP TABLE notes;
"""
SCORES = """
-- UP
ALTER TABLE notes ADD COLUMN score INTEGER NOT NULL DEFAULT 3;
-- DOWN
ALTER TABLE notes DROP COLUMN score;
"""


class Copies(templates.Templates):
    """Counts what was copied, and what the service had to do itself."""

    def __init__(self) -> None:
        super().__init__(SqliteCopies())
        self.answers: list[bool] = []

    @property
    def kept(self) -> int:
        return len(self._kept)

    async def apply(self, *request: Any) -> Applied | None:
        applied = await super().apply(*request)
        self.answers.append(applied is not None)
        return applied


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("migrations")
    for plugin in ("notes", "other"):
        (root / plugin).mkdir()
        (root / plugin / "001_notes.sql").write_text(NOTES)
        (root / plugin / "002_scores.sql").write_text(SCORES)
    return root


@pytest.fixture(scope="module")
def _rosey_migration_roots(tmp_path_factory: pytest.TempPathFactory, root: Path) -> list[Path]:
    return [tmp_path_factory.mktemp("borrowed"), root]


@pytest.fixture(scope="module")
def _rosey_templates() -> Copies:
    return Copies()


async def everything(service: ServiceUnderTest) -> dict[str, Any]:
    """Return what a client can see of the migrations and their tables, without the times."""
    seen = {}
    for plugin in ("notes", "other"):
        status = await service.directly(plugin).migrations.status()
        seen[plugin] = [status.applied_migrations, status.pending_migrations, status.up_to_date]
        seen[plugin] += [(h.checksum, h.applied_by, h.state) for h in status.history]
        if status.applied_migrations:
            notes = service.directly(plugin).rows("notes")
            seen[plugin] += [await notes.describe(), [row async for row in notes.iterate()]]
            seen[plugin].append(await notes.insert({"text": "the next id"}))
    return seen


async def migrated(service: ServiceUnderTest, plan: list[tuple[str, Any]]) -> dict[str, Any]:
    """Migrate as without templates; return what is to be seen then."""
    for plugin, target in plan:
        await service.directly(plugin).migrations.apply(target)
    return await everything(service)


PLANS: dict[str, list[tuple[str, Any]]] = {
    "all": [("notes", None)],
    "up to a version": [("notes", "001")],
    "one after the other": [("notes", 1), ("notes", 2)],
    "two plugins": [("notes", None), ("other", "001_notes")],
    "in another order": [("other", "001_notes"), ("notes", None)],
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("time", ["first", "second"])
async def test_a_copy_is_what_migrating_makes(
    time: str,
    plan: list[tuple[str, Any]],
    db_service: ServiceUnderTest,
    rosey_migrations: MigrationRunner,
    _rosey_templates: Copies,
) -> None:
    _rosey_templates.answers.clear()
    untouched = db_service.database.engine
    assert isinstance(untouched, SqliteEngine)
    empty = untouched.snapshot()
    reports = [await rosey_migrations.apply(plugin, target) for plugin, target in plan]
    assert _rosey_templates.answers == [True] * len(plan)
    copied = await everything(db_service)
    untouched.restore(empty)
    expected = [await db_service.directly(p).migrations.status() for p, _ in plan]
    assert all(status.applied_migrations == [] for status in expected)
    assert copied == await migrated(db_service, plan)
    assert all(report["success"] and report["applied"] for report in reports)


async def test_the_second_time_nothing_is_executed(
    rosey_migrations: MigrationRunner, _rosey_templates: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def made(*_: Any) -> None:
        raise AssertionError("it was made again")

    await rosey_migrations.apply("notes")
    await rosey_migrations.rollback_all("notes")  # the same again is another state
    monkeypatch.setattr(templates.Templates, "_made", made)
    with pytest.raises(AssertionError, match="made again"):
        await rosey_migrations.apply("notes")


have_migrated: list[int] = []


@pytest.mark.parametrize("n", [1, 2])
async def test_the_next_test_takes_the_copy(
    n: int, rosey_migrations: MigrationRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    if have_migrated:  # in whatever order they run
        monkeypatch.delattr(templates.Templates, "_made")
    have_migrated.append(n)
    assert (await rosey_migrations.apply("notes"))["current_version"] == 2


async def test_what_the_test_stored_before_stays(
    db_service: ServiceUnderTest, rosey_migrations: MigrationRunner
) -> None:
    await db_service.directly("notes").kv.set("k", 1)
    await rosey_migrations.apply("notes")
    assert await db_service.directly("notes").kv.get("k") == 1
    assert len(await rosey_migrations.rows("notes", "notes")) == 2


async def test_what_the_test_stores_meanwhile_stays(
    db_service: ServiceUnderTest, rosey_migrations: MigrationRunner, _rosey_templates: Copies
) -> None:
    await db_service.directly("other").kv.set("unlike other tests", 1)
    _rosey_templates.answers.clear()
    await asyncio.gather(
        rosey_migrations.apply("notes"),
        *(db_service.directly("other").kv.set(f"k{n}", n) for n in range(5)),
    )
    assert _rosey_templates.answers == [False]
    assert len(await db_service.directly("other").kv.list()) == 6
    assert len(await rosey_migrations.rows("notes", "notes")) == 2


async def test_a_changed_file_is_another_template(
    root: Path, db_service: ServiceUnderTest, rosey_migrations: MigrationRunner
) -> None:
    changed = root / "notes" / "002_scores.sql"
    changed.write_text(SCORES.replace("DEFAULT 3", "DEFAULT 4"))
    try:
        await rosey_migrations.apply("notes")
        assert (await rosey_migrations.rows("notes", "notes"))[0]["score"] == 4
        assert (await rosey_migrations.status("notes"))["checksum_mismatches"] == []
    finally:
        changed.write_text(SCORES)


async def test_it_is_announced_like_any_migration(
    nats_client: Any, db_service: ServiceUnderTest, rosey_migrations: MigrationRunner
) -> None:
    events = await nats_client.subscribe(event_subjects("notes"))
    await rosey_migrations.apply("notes")
    message = await events.next_msg(timeout=5)
    assert json.loads(message.data) == {"plugin": "notes", "current_version": 2}


async def test_refusals_are_those_of_the_service(rosey_migrations: MigrationRunner) -> None:
    with pytest.raises(MigrationNotFound):
        await rosey_migrations.apply("notes", "007")
    with pytest.raises(InvalidSubject):
        await rosey_migrations.apply("../notes")


async def test_they_are_not_kept_without_end(
    db_service: ServiceUnderTest, rosey_migrations: MigrationRunner, _rosey_templates: Copies
) -> None:
    for n in range(templates.KEPT + 3):
        await db_service.directly("notes").kv.set("k", f"state {n}")
        await rosey_migrations.apply("notes")
    assert _rosey_templates.kept == templates.KEPT


async def test_prepared_statements_survive_it() -> None:
    engine = SqliteEngine("sqlite://")
    await engine.open()

    def columns() -> Steps[list[str]]:
        found = yield Statement("SELECT name FROM pragma_table_xinfo('t')")
        return [name for (name,) in found.rows]

    await engine.exclusive(partial(run, "CREATE TABLE t (a)"))
    narrow = engine.snapshot()
    await engine.exclusive(partial(run, "ALTER TABLE t ADD COLUMN b"))
    wide = engine.snapshot()
    for _ in range(3):
        engine.restore(narrow)
        assert await engine.read(columns) == ["a"]
        engine.restore(wide)
        assert await engine.read(columns) == ["a", "b"]
    await engine.close()


def run(sql: str) -> Steps[None]:
    yield Statement(sql)


async def test_a_file_cannot_be_copied(tmp_path: Path) -> None:
    engine = SqliteEngine(f"sqlite:///{tmp_path / 'a.db'}")
    with pytest.raises(ValueError, match="in memory"):
        engine.snapshot()
