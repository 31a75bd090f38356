"""Work on a database file that runs in processes of its own, and can be ended (SPEC 3.4)."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from dbservice.client import StorageClient
from dbservice.engine import turns
from dbservice.engine.errors import UnavailableError
from dbservice.engine.held_file import HeldFile
from dbservice.engine.sqlite_connection import OPTIONS, prepared
from dbservice.protocol.migrations import Check
from dbservice.server.worker import _Worker
from tests.dbservice.server.own_service import Running, running

pytestmark = pytest.mark.process

FIELDS = [{"name": "text", "type": "text"}, {"name": "n", "type": "integer"}]
HALF = 500_000

ENDLESS = {"query": "SELECT instr(a.text, b.text) AS at FROM texts a, texts b WHERE a.n < b.n"}
"""One function call that compares half a million times half a million characters."""

SLOW_UPDATE = {
    "table": "texts",
    "filters": {"$or": [{"text": {"$like": f"%{number}%b"}} for number in range(40)]},
    "data": {"n": 9},
}
"""Looks through each text forty times, in a few instructions of SQLite's."""


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[AsyncExitStack]:
    """Give what is stopped before the folder goes that it is in."""
    async with AsyncExitStack() as stack:
        yield stack


async def on_a_file(stack: AsyncExitStack, tmp_path: Path, **options: Any) -> Running:
    """Start a service with worker processes, which has two texts that are costly to compare."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}"
    # A fast machine answers `ENDLESS` within the default of 5 s.
    options = {"statement_timeout": 1.0, **options}
    bus = await stack.enter_async_context(running(url, workers=2, **options))
    texts = StorageClient(bus.client, "shop").rows("texts")
    await texts.register(FIELDS)
    await texts.insert({"text": "a" * 2 * HALF, "n": 1})
    await texts.insert({"text": "a" * HALF + "b", "n": 2})
    return bus


def children(process: int) -> set[int]:
    """Return the processes that a process has started, and what those have."""
    try:
        listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended since it was listed
        return set()
    found = set(map(int, listed.split()))
    return found.union(*map(children, found))


def processes() -> set[int]:
    return children(os.getpid())


async def test_what_can_take_long_runs_in_processes_and_the_rest_does_not(
    stack: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SLICE", 60.0)
    before = processes()
    bus = await on_a_file(stack, tmp_path, statement_timeout=60.0)
    await bus.ask("row.shop.search", {"table": "texts", "columns": ["n"]})
    # Two that read, one that writes, and the template of the three; a search needs one of them.
    while len(ours := processes() - before) < 4:  # noqa: ASYNC110 - they tell nobody
        await asyncio.sleep(0.01)
    assert len(ours) == 4
    for process in ours:
        os.kill(process, signal.SIGSTOP)
    scan = bus.asking("row.shop.count", {"table": "texts"})
    read = await bus.ask("row.shop.select", {"table": "texts", "id": 2, "columns": ["n"]})
    assert read["rows"] == [{"n": 2}]
    assert (await bus.ask("kv.shop.set", {"key": "k", "value": 1}))["success"]
    assert not scan.done()
    for process in ours:
        os.kill(process, signal.SIGCONT)
    assert (await scan)["count"] == 2
    update = {"table": "texts", "filters": {"n": 1}, "data": {"n": 1}}
    assert (await bus.ask("row.shop.update", update))["updated"] == 1


async def test_no_process_works_beside_another_index_of_the_log(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    """One that is started now would neither find what the service writes nor leave it alone."""
    bus = await on_a_file(stack, tmp_path)
    search = ("row.shop.search", {"table": "texts", "columns": ["n"]})
    update = ("row.shop.update", {"table": "texts", "filters": {"n": 1}, "data": {"n": 1}})
    for request in (search, update):
        assert (await bus.ask(*request))["success"]
    (tmp_path / "rosey.db-shm").unlink()
    for request in (search, update):
        assert (await bus.ask(*request))["error"]["code"] == "DATABASE_UNAVAILABLE"


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_process_that_starts_while_the_file_is_away_leaves_its_log_alone(
    tmp_path: Path, *, is_replaced: bool
) -> None:
    """It made a new file and removed the log, with what was acknowledged and is only there."""
    file, log = tmp_path / "a ?file%.db", tmp_path / "a ?file%.db-wal"
    held = HeldFile(file)
    connection = prepared(sqlite3.connect(file, **OPTIONS))
    connection.execute("CREATE TABLE t (a)")
    _Worker(file, reads_only=True)
    before = log.stat().st_ino
    file.rename(tmp_path / "away.db")
    if is_replaced:
        file.touch()
    with pytest.raises(UnavailableError):
        _Worker(file, reads_only=True)
    assert file.exists() == is_replaced
    assert log.stat().st_ino == before
    connection.raw.close()
    held.release()


async def test_one_function_call_that_does_not_end_is_ended_at_its_deadline(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    bus = await on_a_file(stack, tmp_path, statement_timeout=1.0)
    hostile = [bus.asking("sql.shop.execute", ENDLESS) for _ in range(4)]
    found = await bus.ask("row.quiet.schema.register", {"table": "t", "schema": {"fields": FIELDS}})
    assert found["success"]
    found = await bus.ask("row.quiet.search", {"table": "t", "filters": {"text": {"$like": "%a"}}})
    assert found["total"] == 0
    assert not any(task.done() for task in hostile[2:])
    assert {(await task)["error"]["code"] for task in hostile} == {"TIMEOUT"}


async def test_a_write_that_is_ended_has_changed_nothing_and_says_how_to_page(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    bus = await on_a_file(stack, tmp_path, write_timeout=0.05)
    for _ in range(30):
        data = {"text": "a" * 2 * HALF, "n": 1}
        await bus.ask("row.shop.insert", {"table": "texts", "data": data})
    hostile = bus.asking("row.shop.update", SLOW_UPDATE)
    assert (await bus.ask("row.shop.insert", {"table": "texts", "data": {"n": 3}}))["created"]
    error = (await hostile)["error"]
    assert error["code"] == "TIMEOUT"
    assert '{"id": {"$in"' in error["message"]
    assert (await bus.ask("row.shop.count", {"table": "texts", "filters": {"n": 9}}))["count"] == 0


async def test_processes_that_read_let_the_service_go_first(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    before = processes()
    await on_a_file(stack, tmp_path)
    own = os.getpriority(os.PRIO_PROCESS, 0)

    def standing_back() -> list[int]:
        ours = processes() - before
        return sorted(os.getpriority(os.PRIO_PROCESS, process) - own for process in ours)

    async with asyncio.timeout(60):
        # The template and who writes, two that read; they tell nobody when they are ready.
        while standing_back() != [0, 0, 5, 5]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_process_that_was_killed_is_replaced(stack: AsyncExitStack, tmp_path: Path) -> None:
    before = processes()
    bus = await on_a_file(stack, tmp_path)
    await bus.ask("row.shop.count", {"table": "texts"})
    running_query = bus.asking("sql.shop.execute", ENDLESS)
    await bus.has_taken(5)
    killed = [os.pidfd_open(process) for process in processes() - before]
    for process in killed:
        with suppress(ProcessLookupError):  # those of a template end with it
            signal.pidfd_send_signal(process, signal.SIGKILL)
    # One that is killed and has not ended would still be asked.
    assert all(select.select([process], [], [], 60)[0] for process in killed)
    assert (await running_query)["error"]["code"] in ("DATABASE_UNAVAILABLE", "TIMEOUT")
    update = {"table": "texts", "filters": {"n": 1}, "data": {"n": 5}}
    for subject, body in (("row.shop.count", {"table": "texts"}), ("row.shop.update", update)):
        answer = await bus.ask(subject, body)
        assert answer["success"], answer


async def test_an_error_says_the_same_from_a_process(stack: AsyncExitStack, tmp_path: Path) -> None:
    bus = await on_a_file(stack, tmp_path)
    async with running() as there:
        await StorageClient(there.client, "shop").rows("texts").register(FIELDS)
        for subject, body in (
            ("row.shop.select", {"table": "text"}),
            ("row.shop.count", {"table": "texts", "filters": {"m": 1}}),
            ("row.shop.update", {"table": "texts", "filters": {}, "data": {"n": 1}}),
            ("sql.shop.execute", {"query": "SELECT nothing FROM texts"}),
            ("sql.shop.execute", {"query": "SELECT hidden FROM _kv"}),
            ("kv.shop.list", {"limit": 0}),
        ):
            assert await bus.ask(subject, body) == await there.ask(subject, body)


async def test_the_service_stops_whatever_its_processes_do(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    before = processes()
    bus = await on_a_file(stack, tmp_path, drain_timeout=0.1)
    hostile = [bus.asking("sql.shop.execute", ENDLESS) for _ in range(4)]
    await bus.has_taken(7)
    await bus.service.stop()
    assert processes() - before == set()
    for task in hostile:
        task.cancel()
    await asyncio.gather(*hostile, return_exceptions=True)


async def test_a_database_in_memory_starts_no_process() -> None:
    before = processes()
    async with running(workers=2) as bus:
        await StorageClient(bus.client, "shop").rows("texts").register(FIELDS)
        assert (await bus.ask("row.shop.count", {"table": "texts"}))["count"] == 0
        assert processes() == before


async def test_no_process_outlives_a_service_that_was_killed(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    before = processes()
    bus = await on_a_file(stack, tmp_path)
    await bus.ask("row.shop.count", {"table": "texts"})
    [template] = {each for each in processes() - before if children(each)}
    hostile = bus.asking("sql.shop.execute", ENDLESS)
    await bus.has_taken(5)
    workers = [os.pidfd_open(worker) for worker in children(template)]
    os.kill(template, signal.SIGKILL)  # as it ends when the service is gone
    ended = [select.select([worker], [], [], 60)[0] for worker in workers]
    assert all(ended)
    hostile.cancel()
    await asyncio.gather(hostile, return_exceptions=True)


def test_a_process_ends_if_its_template_has_ended_before_it_could_watch_it() -> None:
    program = "from dbservice.server import worker; worker._end_with(template=0)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL


async def test_a_verification_does_not_take_the_service_s_event_loop(
    stack: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    verified: list[bool] = []

    async def slow(*_: object, **__: object) -> list[Check]:
        begun.set()
        verified.append(may_end.wait(30))
        return []

    async def some_files(_plugin: str) -> list[str]:
        return ["001_make.sql"]

    monkeypatch.setattr("dbservice.migrate.migrator.verify", slow)
    bus = await on_a_file(stack, tmp_path)
    monkeypatch.setattr(bus.service.migrator, "read_files", some_files)
    verifying = asyncio.create_task(bus.ask("migrate.shop.verify", {}))
    while not begun.is_set():
        await bus.ask("ping", {})
    await bus.ask("ping", {})
    may_end.set()
    await verifying
    assert verified == [True]
