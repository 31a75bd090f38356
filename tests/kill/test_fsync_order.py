"""What was acknowledged is on the disk: seen in the order of the system calls.

On an SQLite file the service syncs by itself. On PostgreSQL its processes do, and are traced
together with the service, so that there is one order of all calls. A killed process leaves the
page cache alive, so a kill cannot show this.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from dbservice.protocol.headers import REQUEST_ID
from pytest_rosey.servers.postgres import PostgresServer
from tests.kill.system_calls import (
    RECEIVES,
    SENDS,
    SYNCS,
    WRITES,
    Call,
    calls_in,
    children_of,
    first,
    made,
    strace,
    strace_problem,
)

pytestmark = [pytest.mark.kill, pytest.mark.process]

ALONE, TOGETHER = 50, 50
NAMES = [
    *(f"alone-{number:03}-" for number in range(ALONE)),
    *(f"together-{number:03}-" for number in range(TOGETHER)),
]

READY_FOR_QUERY = r"Z\0\0\0\5I"
"""What PostgreSQL says when no transaction is open any more, as strace prints it."""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def traced(real_nats: str, disk: Path) -> Iterator[Start]:
    """Run `rosey serve` under strace; the trace is written to `disk/trace`."""
    problem = strace_problem()
    if problem is not None:
        pytest.skip(problem)
    started: list[subprocess.Popen[bytes]] = []

    def start(database: str, *processes: int) -> subprocess.Popen[bytes]:
        serve = [sys.executable, "-m", "dbservice", "serve", "--nats", real_nats, "--db", database]
        log = disk / "log"
        with log.open("wb") as stderr:
            command = strace(disk / "trace", serve, *processes)
            process = subprocess.Popen(command, cwd=disk, stdout=subprocess.PIPE, stderr=stderr)
        started.append(process)
        assert process.stdout is not None
        ready = process.stdout.readline()
        if "attach: ptrace" in log.read_text("utf-8"):
            pytest.skip(f"other processes cannot be traced here: {log.read_text('utf-8').strip()}")
        assert ready.startswith(b"rosey: ready"), log.read_text("utf-8")
        return process

    yield start
    for process in started:
        if process.poll() is None:
            for child in children_of(process.pid):
                os.kill(child, signal.SIGKILL)
            process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def test_each_reply_follows_the_sync_of_its_transaction(
    traced: Start, real_nats: str, disk: Path
) -> None:
    service = await asyncio.to_thread(traced, "kept.db")
    await write_all(real_nats)
    await ended(service)
    assert await asyncio.to_thread(service.wait, 30) == 0
    calls = calls_in(disk / "trace")
    report("SQLite file", [synced_by_service(calls, name) for name in NAMES])


async def test_each_reply_follows_the_sync_that_postgresql_made(
    traced: Start, durable_postgres: PostgresServer, real_nats: str, disk: Path
) -> None:
    assert durable_postgres.pid is not None
    processes = [durable_postgres.pid, *children_of(durable_postgres.pid)]
    service = await asyncio.to_thread(traced, durable_postgres.url(), *processes)
    await write_all(real_nats)
    await ended(service)
    await asyncio.to_thread(durable_postgres.stop)
    assert await asyncio.to_thread(service.wait, 30) == 0
    calls = calls_in(disk / "trace")
    report("PostgreSQL", [synced_by_postgres(calls, name) for name in NAMES])


async def ended(service: subprocess.Popen[bytes]) -> None:
    """Let the service that strace has started come to its end."""
    [process] = children_of(service.pid)
    watched = os.pidfd_open(process)
    os.kill(process, signal.SIGTERM)
    has_ended, _, _ = await asyncio.to_thread(select.select, [watched], [], [], 30)
    os.close(watched)
    assert has_ended


async def write_all(nats_url: str) -> None:
    """Write one by one, then all at once."""
    client = await nats.connect(nats_url)
    for name in NAMES[:ALONE]:
        await acknowledged(client, name)
    await asyncio.gather(*(acknowledged(client, name) for name in NAMES[ALONE:]))
    await client.close()


async def acknowledged(client: Client, name: str) -> None:
    """Set a key; its name is in the page that is written, and as request id in the reply."""
    payload = f'{{"key": "{name}", "value": 1}}'.encode()
    reply = await client.request(
        "rosey.db.kv.traced.set", payload, timeout=30, headers={REQUEST_ID: name}
    )
    assert b'"success":true' in reply.data


def synced_by_service(calls: Sequence[Call], name: str) -> Call:
    """Return the sync that made a write durable before its reply was sent."""
    wal = [call for call in calls if call.target.endswith("-wal")]
    written = first(made(wal, WRITES, name))
    synced = first(call for call in wal if call.name in SYNCS and call.begun > written.ended)
    assert synced.ended < reply_to(calls, name).begun, f"{name}: acknowledged before it was synced"
    return synced


def synced_by_postgres(calls: Sequence[Call], name: str) -> Call:
    """Return the sync that made a write durable before its transaction was acknowledged.

    The one that was first to begin after the backend had heard the end of the transaction: by
    itself, or by another one whose sync it waited for.
    """
    wal = [call for call in calls if "/pg_wal/" in call.target]
    written = first(made(wal, WRITES, name))
    backends = {call.thread for call in made(calls, SENDS, READY_FOR_QUERY)}
    told = first(call for call in made(calls, RECEIVES, name) if call.thread in backends)
    own = [call for call in calls if call.thread == told.thread and call.begun >= told.begun]
    done = first(made(own, SENDS, READY_FOR_QUERY))
    heard = [call for call in own if call.name in RECEIVES and call.ended < done.begun][-1]
    begun = max(heard.ended, written.ended)
    synced = first(call for call in wal if call.name in SYNCS and call.begun > begun)
    assert synced.ended < done.begun, f"{name}: committed before it was synced"
    assert done.begun < reply_to(calls, name).begun, f"{name}: acknowledged before it was committed"
    return synced


def reply_to(calls: Sequence[Call], name: str) -> Call:
    """Return the call that sent the reply, which carries the request id."""
    return first(call for call in made(calls, SENDS, name) if REQUEST_ID in call.text)


def report(engine: str, syncs: Sequence[Call]) -> None:
    assert len({sync.begun for sync in syncs[:ALONE]}) == ALONE
    shared = len({sync.begun for sync in syncs[ALONE:]})
    sys.stdout.write(
        f"\n{engine}: {ALONE} writes one by one: each had a sync ({syncs[0].name}) of its own "
        f"between its page and its reply; {TOGETHER} at once shared {shared}\n"
    )
