"""Any two parts of an installation are killed under load, and nothing acknowledged is lost.

`ROSEY_PAIRING_ROUNDS` says how often two are killed on each engine.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import combinations, count
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client

from dbservice.client import StorageClient
from dbservice.protocol.subjects import command_subject
from pytest_rosey.servers.nats import BinaryServer, find_binary
from pytest_rosey.servers.postgres import PostgresServer
from tests import ROOT, SEED
from tests.kill.replica import Replica
from tests.kill.system_calls import children_of
from tests.kill.writers import PLUGIN, TABLE, Writers
from tests.operating.installation import page_says

pytestmark = [pytest.mark.kill, pytest.mark.process]

ROUNDS = int(os.environ.get("ROSEY_PAIRING_ROUNDS", "3"))
LONGEST_LIFE = 0.6
"""Seconds from the moment when all are there to the first death."""


@pytest.fixture
def bus() -> Iterator[BinaryServer]:
    path = find_binary().path
    assert path is not None
    with BinaryServer(path) as server:
        yield server


@pytest.fixture
def nats_urls(bus: BinaryServer) -> list[str]:
    return [bus.url]


@pytest.fixture
def real_nats(bus: BinaryServer) -> str:
    return bus.url


@dataclass
class Gateway:
    """Types `!quote add` as fast as it is answered, and notes what it was told.

    Attributes:
        added: the id of a quote, by its text.
        unknown: texts whose commands were not answered well: they may be stored, once.
    """

    client: Client
    added: dict[str, int] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def at_work(self) -> Any:
        """Type until the block ends, and finish the command that is under way."""
        self._go_on = True
        typing = asyncio.create_task(self._type())
        yield
        self._go_on = False
        await typing

    async def _type(self) -> None:
        for number in count(len(self.added) + len(self.unknown)):
            if not self._go_on:
                return
            text = f"Quote {number} of the gateway"
            payload = json.dumps({"user": f"ada{number}", "role": "user", "args": f"{text} -- Ada"})
            self.unknown.add(text)
            try:
                answer = await self.client.request(
                    command_subject("quote-db", "add"), payload.encode(), timeout=2
                )
            except (nats.errors.Error, OSError):
                await asyncio.sleep(0.02)
                continue
            reply = json.loads(answer.data)
            if reply["success"]:
                self.added[text] = int(reply["reply"].split()[1].removeprefix("#"))
                self.unknown.discard(text)
            else:
                await asyncio.sleep(0.02)

    async def compare(self) -> None:
        """Compare what was told with what is stored."""
        quotes = StorageClient(self.client, "quote-db", timeout=10).rows("quotes")
        rows = {row["id"]: row["text"] async for row in quotes.iterate({"author": "Ada"})}
        assert {text: rows.get(key) for text, key in self.added.items()} == {
            text: text for text in self.added
        }, "an acknowledged quote is lost"
        assert not [text for text, number in Counter(rows.values()).items() if number > 1]
        assert set(rows.values()) <= self.added.keys() | self.unknown


@dataclass
class Installation:
    """Everything that can die. Its parts are started in the order in which they need each other."""

    bus: BinaryServer
    service: Replica
    postgres: PostgresServer | None
    plugin: subprocess.Popen[bytes] | None = None
    pages: str = ""

    @property
    def parts(self) -> list[str]:
        return ["bus", *(["postgres"] if self.postgres else ["worker"]), "service", "plugin"]

    def kill(self, part: str) -> None:
        """Kill a part at once, with all its processes."""
        match part:
            case "bus":
                self.bus.kill()
            case "service":
                self.service.kill()
            case "plugin":
                self.end()
            case "postgres":
                assert self.postgres is not None
                assert self.postgres.pid is not None
                for process in (self.postgres.pid, *children_of(self.postgres.pid)):
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
            case "worker":
                # Where the service died before, its workers end by themselves.
                with suppress(FileNotFoundError, ProcessLookupError):
                    for process in children_of(self.service.pid)[:1]:
                        os.kill(process, signal.SIGKILL)

    def start(self, parts: set[str]) -> None:
        """Start what was killed; who starts a worker again is the service."""
        if "bus" in parts:
            self.bus.start()
        if "postgres" in parts:
            assert self.postgres is not None
            self.postgres.restart()
        if "service" in parts:
            self.service.start()
        if "plugin" in parts:
            self._start_plugin()

    def _start_plugin(self) -> None:
        command = [sys.executable, "-m", "dbservice", "plugin", "start", "quote-db"]
        self.plugin = subprocess.Popen(
            [*command, "--nats", self.bus.url, "--http", "127.0.0.1:0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # complaints about what was killed
        )
        assert self.plugin.stdout is not None
        said = self.plugin.stdout.readline().decode()
        assert said.startswith("rosey: ready"), said
        self.pages = said.rpartition("http=")[2].strip()

    def end(self) -> None:
        """End the plugin, which nobody else ends."""
        if self.plugin is not None:
            self.plugin.kill()
            self.plugin.wait()
            assert self.plugin.stdout is not None
            self.plugin.stdout.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def installation(
    request: pytest.FixtureRequest,
    bus: BinaryServer,
    replica: Callable[..., Replica],
    disk: Path,
) -> Iterator[Installation]:
    postgres = None
    if request.param == "postgresql":
        postgres = request.getfixturevalue("durable_postgres")
    database = postgres.url() if postgres else str(disk / "killed.db")
    here = Installation(bus, replica(database, "--migrate"), postgres)
    yield here
    here.end()


async def test_any_two_parts_are_killed(installation: Installation, writers: Writers) -> None:
    here, dice, deaths = installation, random.Random(SEED), Counter[str]()
    await asyncio.to_thread(here.start, {"service"})
    await writers.prepare()
    await asyncio.to_thread(here.start, {"plugin"})
    gateway = Gateway(writers.nats._client)
    pairs = list(combinations(here.parts, 2))
    dice.shuffle(pairs)
    for number in range(ROUNDS):
        pair = dice.sample(pairs[number % len(pairs)], 2)
        async with writers.at_work(), gateway.at_work():
            await started_workers(writers)
            for part in pair:
                await asyncio.sleep(dice.uniform(0, LONGEST_LIFE / len(pair)))
                await asyncio.to_thread(here.kill, part)
                deaths[part] += 1
            await asyncio.sleep(dice.uniform(0, LONGEST_LIFE))
            await asyncio.to_thread(here.start, set(pair))
            await well(here, writers)
        await writers.compare()
        assert not writers.findings.wrong, f"round {number}: {pair}"
        await gateway.compare()
    print(
        f"\n{sum(deaths.values())} kills {dict(deaths)}; {len(gateway.added)} commands "
        f"acknowledged, none lost; {writers.findings}"
    )


async def started_workers(writers: Writers) -> None:
    """Ask for something that a worker answers, so that there is one to be killed."""
    await writers._patient.rows(TABLE).select({"text": {"$like": "%x%"}}, limit=1, timeout=10)


async def well(here: Installation, writers: Writers) -> None:
    """Return when a write is answered again, and the plugin says that it is ready.

    Whoever watches over it asks that again and again, and lets its circuit breaker try anew.
    """
    client = writers.nats._client
    async with asyncio.timeout(60):
        while not client.is_connected:  # noqa: ASYNC110 - the connection comes back by itself
            await asyncio.sleep(0.01)
        await writers._patient.kv.set("well", PLUGIN)
        while not await asyncio.to_thread(is_ready, here):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)  # for some commands of the gateway


def is_ready(here: Installation) -> bool:
    """Return whether the plugin says that it is ready."""
    said, _ = page_says(f"{here.pages}/ready")
    return said
