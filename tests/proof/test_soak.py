"""Mixed load for as long as somebody asks, with restarts of plugins, migrations and hostile bursts.

`ROSEY_SOAK_SECONDS` says how long. What the service holds at rest afterwards is compared with what
it held at rest after the first tenth: files and processes are the same, threads and memory bounded.
How the latency drifts is printed, beside that of an echo through the same server.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from dbservice.client import StorageClient
from tests import ROOT, SEED
from tests.attack.fuzz import fuzzed
from tests.attack.stage import MEGABYTE, memory
from tests.kill.replica import Replica
from tests.kill.system_calls import children_of
from tests.kill.writers import Writers

pytestmark = pytest.mark.process

SECONDS = float(os.environ.get("ROSEY_SOAK_SECONDS", "60"))
MOST_GROWTH = 60 * MEGABYTE
"""Of all processes, between two moments of rest: caches fill up, and then no more."""

MOST_THREADS = 4
"""More at the second rest: a pool of threads fills up as it is used, and then no more."""

BURST = 200
"""Hostile requests at a time."""


@dataclass(frozen=True)
class Held:
    """What the processes of a service hold.

    Attributes:
        size: bytes, shared ones by their share.
    """

    files: int
    threads: int
    processes: int
    size: int


@dataclass
class Load:
    """Who keeps the service busy.

    Attributes:
        took: seconds of each get and each echo, in order.
        done: how often each kind of churn came.
    """

    client: Client
    url: str
    took: dict[str, list[float]] = field(default_factory=lambda: {"get": [], "echo": []})
    done: dict[str, int] = field(default_factory=lambda: {"bursts": 0, "plugins": 0, "ups": 0})

    async def measure(self) -> None:
        """Get a key and ask the echo, one after the other."""
        keys = StorageClient(self.client, "soak", timeout=10).kv
        await keys.set("key", "value")
        while True:
            for kind, ask in (("echo", self._echo), ("get", keys.get)):
                began = time.perf_counter()
                await ask("key")
                self.took[kind].append(time.perf_counter() - began)
            await asyncio.sleep(0.01)

    async def _echo(self, text: str) -> None:
        await self.client.request("soak.echo", text.encode(), timeout=10)

    async def burst(self) -> None:
        """Send hostile requests, and wait for the answers."""
        requests = fuzzed(SEED)
        while True:
            with suppress(nats.errors.Error):
                await asyncio.gather(
                    *(self.client.request(*next(requests), timeout=20) for _ in range(BURST))
                )
            self.done["bursts"] += 1
            await asyncio.sleep(2)

    async def migrate(self) -> None:
        """Take the tables of a plugin down and up again."""
        migrations = StorageClient(self.client, "quote-db", timeout=30).migrations
        while True:
            await migrations.rollback(all=True)
            await migrations.apply()
            self.done["ups"] += 1
            await asyncio.sleep(3)

    async def churn(self) -> None:
        """Start a plugin and kill it, in any state."""
        command = [sys.executable, "-m", "dbservice", "plugin", "start", "quote-db"]
        for number in count():
            plugin = await asyncio.create_subprocess_exec(
                *command,
                "--nats",
                self.url,
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                await asyncio.sleep(2 + number % 3)
            finally:
                with suppress(ProcessLookupError):
                    plugin.kill()
                await plugin.wait()
            self.done["plugins"] += 1


async def test_what_is_held_at_rest_stays_the_same(
    replica: Callable[..., Replica], disk: Path, writers: Writers, real_nats: str
) -> None:
    service = replica(str(disk / "soak.db"), "--migrate")
    await asyncio.to_thread(service.start)
    await writers.prepare()
    load = Load(writers.nats._client, real_nats)
    await load.client.subscribe("soak.echo", cb=_answer)
    await _busy(load, writers, SECONDS / 10)
    before = await _at_rest(service)
    load.took = {kind: [] for kind in load.took}
    await _busy(load, writers, SECONDS)
    after = await _at_rest(service)
    _tell(load, writers, before, after)
    assert not writers.findings.wrong
    assert (after.files, after.processes) == (before.files, before.processes)
    assert after.threads <= before.threads + MOST_THREADS
    assert after.size <= before.size + MOST_GROWTH


async def _answer(message: Msg) -> None:
    await message.respond(message.data)


async def _busy(load: Load, writers: Writers, seconds: float) -> None:
    """Keep everybody at work for so long."""
    deadline = time.monotonic() + seconds
    tasks = [
        asyncio.create_task(work)
        for work in (load.measure(), load.burst(), load.migrate(), load.churn())
    ]
    while time.monotonic() < deadline:
        async with writers.at_work():
            await asyncio.wait(tasks, timeout=5, return_when=asyncio.FIRST_EXCEPTION)
        await writers.compare()
        for task in tasks:
            if task.done():
                await task
    # Python 3.11 swallows a cancellation at times, and they would work for ever.
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=1)
    await asyncio.gather(*tasks, return_exceptions=True)


async def _at_rest(service: Replica) -> Held:
    """Return what is held once it is the same twice: idle threads and caches go by themselves."""
    held = _held(service.pid)
    for _ in range(20):
        await asyncio.sleep(1)
        again = _held(service.pid)
        if (again.files, again.threads) == (held.files, held.threads):
            return again
        held = again
    return held


def _held(service: int) -> Held:
    processes = [service, *_below(service)]
    return Held(
        sum(len(list(Path(f"/proc/{each}/fd").iterdir())) for each in processes),
        sum(len(list(Path(f"/proc/{each}/task").iterdir())) for each in processes),
        len(processes),
        memory(service),
    )


def _below(process: int) -> list[int]:
    children = children_of(process)
    return [*children, *(each for child in children for each in _below(child))]


def _tell(load: Load, writers: Writers, before: Held, after: Held) -> None:
    quarter = max(1, len(load.took["get"]) // 4)
    ratio = [
        statistics.median(load.took["get"][part]) / statistics.median(load.took["echo"][part])
        for part in (slice(quarter), slice(-quarter, None))
    ]
    print(
        f"\n{SECONDS:.0f} seconds, seed {SEED}: {writers.findings.acknowledged} writes, "
        f"{len(load.took['get'])} gets, {json.dumps(load.done)}\n"
        f"  before {before}\n  after  {after}\n"
        f"  a get took {ratio[0]:.2f} x an echo in the first quarter, {ratio[1]:.2f} x in the last"
    )
