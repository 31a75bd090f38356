"""A migration that is killed at any instant leaves the version before or the version after.

`ROSEY_KILL_ROUNDS=200 pytest -m kill tests/kill` makes the long run and prints its figures.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dbservice.engine.engine import Engine
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.urls import engine_for
from dbservice.migrate import Migrator, ledger
from dbservice.migrate.structure import plain, read, read_rows
from dbservice.protocol.migrations import Apply, Rollback
from dbservice.protocol.names import namespace
from dbservice.sqltext.dialects import Dialect
from pytest_rosey.servers.postgres import PostgresServer
from tests import ROOT, SEED
from tests.kill.migration_child import PLUGIN

pytestmark = [pytest.mark.kill, pytest.mark.process]

ROUNDS = int(os.environ.get("ROSEY_KILL_ROUNDS", "8"))
ROWS = 20_000 if ROUNDS >= 50 else 10_000
OWNER = namespace(PLUGIN)

COLUMNS = "id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, size INTEGER CHECK (size >= 0)"
NUMBERS = {
    "sqlite": f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})",
    "postgresql": f"WITH n (i) AS (SELECT generate_series(1, {ROWS}))",
}
SEEDS = "INSERT INTO items (id, name, size) SELECT i, 'item ' || i, i % 97 FROM n;"

MIGRATIONS = {
    "001_items.sql": f"""\
-- UP
CREATE TABLE items ({COLUMNS});
CREATE TABLE notes (id INTEGER PRIMARY KEY, item INTEGER REFERENCES items (id), text TEXT);
CREATE INDEX items_size ON items (size);
-- UP (sqlite)
{NUMBERS["sqlite"]}
{SEEDS}
-- UP (postgresql)
{NUMBERS["postgresql"]}
{SEEDS}
-- DOWN
DROP TABLE notes;
DROP INDEX items_size;
DROP TABLE items;
""",
    "002_label.sql": """\
-- UP
INSERT INTO notes SELECT id, id, 'note on ' || name FROM items WHERE id % 3 = 0;
ALTER TABLE items ADD COLUMN label TEXT DEFAULT '';
UPDATE items SET label = upper(name) || '/' || size WHERE id > 0;
CREATE INDEX items_label ON items (label);
-- DOWN
DROP INDEX items_label;
ALTER TABLE items DROP COLUMN label;
DELETE FROM notes WHERE id > 0;
""",
    "003_rebuild.sql": f"""\
-- UP (sqlite)
CREATE TABLE items_new ({COLUMNS}, label TEXT DEFAULT '', weight REAL NOT NULL DEFAULT 1.5);
INSERT INTO items_new (id, name, size, label) SELECT id, name, size, label FROM items;
DROP TABLE items;
ALTER TABLE items_new RENAME TO items;
CREATE INDEX items_size ON items (size);
CREATE INDEX items_label ON items (label);
-- UP (postgresql)
ALTER TABLE items ADD COLUMN weight REAL NOT NULL DEFAULT 1.5;
UPDATE items SET weight = weight WHERE id > 0;
-- DOWN (sqlite)
CREATE TABLE items_old ({COLUMNS}, label TEXT DEFAULT '');
INSERT INTO items_old (id, name, size, label) SELECT id, name, size, label FROM items;
DROP TABLE items;
ALTER TABLE items_old RENAME TO items;
CREATE INDEX items_size ON items (size);
CREATE INDEX items_label ON items (label);
-- DOWN (postgresql)
UPDATE items SET size = size WHERE id > 0;
ALTER TABLE items DROP COLUMN weight;
""",
}


@dataclass
class Figures:
    """What the rounds came to."""

    inside: int = 0
    landed: Counter[int] = field(default_factory=Counter)
    ended_before: int = 0
    statements: Counter[int] = field(default_factory=Counter)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "migrations" / PLUGIN
    directory.mkdir(parents=True)
    for name, text in MIGRATIONS.items():
        (directory / name).write_text(text, "utf-8")
    return directory


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return a database that outlives the process that writes it."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'killed.db'}"
        return
    server: PostgresServer = request.getfixturevalue("own_postgres")
    yield server.url()


def test_a_killed_migration_leaves_the_version_before_or_after(url: str, root: Path) -> None:
    dice, figures = random.Random(SEED), Figures()
    known, durations = asyncio.run(reference(url, root))
    child_seconds = {verb: timed_child(url, root, verb) for verb in ("apply", "rollback")}
    for number in range(ROUNDS):
        verb = "rollback" if number % 2 else "apply"
        asyncio.run(go_to(url, root, 3 if verb == "rollback" else 0))
        marks = killed_child(url, root, verb, dice.uniform(0, child_seconds[verb]))
        version, state, next_state = asyncio.run(after_the_kill(url, root))
        assert state in known[version], f"round {number}: {verb} killed after {marks!r}"
        assert next_state in known[3], f"round {number}: the next apply gave something else"
        is_inside = marks.count("(") > marks.count(")")
        figures.inside += is_inside
        figures.landed[version] += 1
        if is_inside:
            figures.statements[marks.rpartition("(")[2].count(".")] += 1
        figures.ended_before += marks.endswith("E")
    report(url, figures, durations)
    assert figures.inside >= ROUNDS // 4, "too few kills landed inside a migration"


async def reference(url: str, root: Path) -> tuple[dict[int, set[str]], dict[str, float]]:
    """Go up and down step by step, undisturbed, and note what each version looks like."""
    engine = await opened(url)
    migrator, known = Migrator(engine, [root]), {0: {await state_of(engine)}}
    durations = {}
    for version in (1, 2, 3):
        step = await migrator.apply(OWNER, Apply(version=version))
        durations[f"up {version}"] = step.duration_ms
        known[version] = {await state_of(engine)}
    for version in (2, 1, 0):
        step = await migrator.rollback(OWNER, Rollback(to=version))
        durations[f"down {version + 1}"] = step.duration_ms
        known[version].add(await state_of(engine))
    await engine.close()
    assert all(known[version].isdisjoint(known[version + 1]) for version in (0, 1, 2))
    return known, durations


async def go_to(url: str, root: Path, version: int) -> None:
    engine = await opened(url)
    migrator = Migrator(engine, [root])
    await migrator.apply(OWNER, Apply())
    await migrator.rollback(OWNER, Rollback(to=version))
    await engine.close()


async def after_the_kill(url: str, root: Path) -> tuple[int, str, str]:
    """Return the version, the state, and the state after the next apply."""
    engine = await opened(url)
    if engine.dialect is Dialect.POSTGRESQL:
        await until_alone(engine)
    migrator = Migrator(engine, [root])
    status = await migrator.status(OWNER)
    assert [entry.name for entry in status.history] == sorted(
        name.removesuffix(".sql") for name in MIGRATIONS
    )[: len(status.history)]
    state = await state_of(engine)
    if engine.dialect is Dialect.SQLITE:
        assert (await engine.read(integrity)) == "ok"
    await migrator.apply(OWNER, Apply())
    after = await state_of(engine)
    await engine.close()
    return status.current_version, state, after


async def opened(url: str) -> Engine:
    engine = engine_for(url, statement_timeout=60)
    await engine.open()
    return engine


async def state_of(engine: Engine) -> str:
    """Return a checksum of schema, bookkeeping and every row."""

    def steps() -> Steps[str]:
        dialect, seen = engine.dialect, hashlib.sha256()
        structure = yield from read(dialect, OWNER.prefix)
        for name, table in sorted(structure.tables.items()):
            seen.update(f"{name} {table.columns} {table.checks} {table.uniques}".encode())
            seen.update(f"{table.foreign_keys}".encode())
            seen.update(repr([plain(index.sql, dialect) for index in table.indexes]).encode())
            rows = yield from read_rows(table, list(table.columns))
            seen.update("\n".join(map(str, sorted(rows))).encode())
        history = yield from ledger.read(dialect, PLUGIN)
        seen.update(repr([(e.version, e.name, e.checksum, e.state) for e in history]).encode())
        return seen.hexdigest()

    return await engine.read(steps, scan=True)


async def until_alone(engine: Engine) -> None:
    """Wait until the server has noticed that the killed process is gone."""

    def others() -> Steps[int]:
        asked = yield Statement(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name = 'rosey-db' AND pid <> pg_backend_pid()"
        )
        return asked.rows[0][0]

    async with asyncio.timeout(30):
        while await engine.read(others):  # noqa: ASYNC110 - the server sends no event for this
            await asyncio.sleep(0.01)


def integrity() -> Steps[str]:
    return (yield Statement("PRAGMA integrity_check")).rows[0][0]


# --- the child -----------------------------------------------------------------------------------


def started_child(url: str, root: Path, verb: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.kill.migration_child", url, str(root), verb],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 1) == b"r"
    return process


def timed_child(url: str, root: Path, verb: str) -> float:
    """Return how long an undisturbed child takes from its first mark to its last commit."""
    process = started_child(url, root, verb)
    began = time.perf_counter()
    assert process.stdout is not None
    marks, took = b"", 0.0
    while mark := os.read(process.stdout.fileno(), 1):
        marks += mark
        if mark == b")":
            took = time.perf_counter() - began
    process.stdout.close()
    assert process.wait() == 0
    assert marks.count(b")") == len(MIGRATIONS)
    return took


def killed_child(url: str, root: Path, verb: str, after: float) -> str:
    """Kill a child some seconds after its first mark; return its marks, `E` if it had ended."""
    process = started_child(url, root, verb)
    assert process.stdout is not None
    had_ended = bool(_wait_for_end(process, after))
    process.kill()
    process.wait()
    marks = process.stdout.read().decode()
    process.stdout.close()
    return marks + ("E" if had_ended else "")


def _wait_for_end(process: subprocess.Popen[bytes], seconds: float) -> bool:
    watched = os.pidfd_open(process.pid)
    try:
        return bool(select.select([watched], [], [], seconds)[0])
    finally:
        os.close(watched)


def report(url: str, figures: Figures, durations: dict[str, float]) -> None:
    kind = url.partition("+")[0]
    sys.stdout.write(
        f"\n{kind}: {ROUNDS} kills, {figures.inside} inside a transaction "
        f"(by its statements executed: {dict(sorted(figures.statements.items()))}), "
        f"{figures.ended_before} after the end; versions found: "
        f"{dict(sorted(figures.landed.items()))}; undisturbed, ms: {durations}\n"
    )
