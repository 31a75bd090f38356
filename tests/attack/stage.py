"""Where attacks are played: a nats-server, the service, its database, a neighbour, an echo."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

from dbservice.server.permissions import ROLES, SERVICE, accounts_configuration
from pytest_rosey.servers.nats import BinaryServer, find_binary
from tests import ROOT
from tests.attack.attacks import ATTACKER, WARM_UP, Attack, Sent, setting_up
from tests.attack.neighbour import NAME

_PLUGINS = (ATTACKER, NAME)
_TIMEOUT = 20.0
_PHASE = 2.0
"""Seconds of the neighbour's, one after another beside generated requests."""

_MOST = 100_000
"""Requests of one attack at the most, however quickly they fail."""
MEGABYTE = 1024 * 1024


@dataclass
class Line:
    """What one attack did.

    Attributes:
        attack: its name.
        got: the answers of the attacker, by code.
        phases: what the neighbour saw before, during and after.
        peak: bytes of all processes of the service at the most, by proportional set size.
        rest: bytes of them at the end.
        database: bytes of the processes of the database server at the most.
        logged: lines in the log.
    """

    attack: str
    got: Counter[str]
    phases: dict[str, dict[str, dict[str, float]]]
    peak: int
    rest: int
    database: int
    logged: int

    @property
    def lost(self) -> int:
        """How many requests of the neighbour were lost while it went on."""
        return int(sum(kind["lost"] for kind in self.phases["during"].values()))


@dataclass
class Stage:
    """A running service and those who use it."""

    start: Callable[[], AbstractContextManager[subprocess.Popen[bytes]]]
    log: Path
    clients: list[Client]
    neighbour: asyncio.subprocess.Process
    database: int | None
    service: subprocess.Popen[bytes] = field(init=False)
    _peak: int = field(default=0)
    _database_peak: int = field(default=0)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Run a service."""
        with self.start() as self.service:
            yield

    async def play(self, attack: Attack, seconds: float) -> Line:
        """Run an attack on a service of its own, and see what becomes of the neighbour."""
        with self.serving():
            return await self._played(attack, seconds)

    async def _played(self, attack: Attack, seconds: float) -> Line:
        await self._send(self.clients[0], WARM_UP)
        logged = self._logged()
        phases = {"before": await self._neighbour_for(seconds / 3)}
        self._peak = self._database_peak = 0
        got: Counter[str] = Counter()
        attacking = self._attack(attack, got)
        watching = asyncio.create_task(self._watch())
        try:
            phases["during"] = await self._neighbour_for(seconds)
        finally:
            await end(attacking)
        await asyncio.sleep(0.5)
        phases["after"] = await self._neighbour_for(seconds / 3)
        watching.cancel()
        rest = memory(self.service.pid)
        return Line(
            attack.name,
            got,
            phases,
            self._peak,
            rest,
            self._database_peak,
            self._logged() - logged,
        )

    async def set_up(self) -> None:
        """Store what the attacker attacks with, and what the neighbour reads."""
        with self.serving():
            for sent in setting_up():
                code = await self._send(self.clients[0], sent)
                if code != "OK":
                    raise RuntimeError(f"{sent[0]}: {code}")
            await self._neighbour_for(0)

    async def beside_neighbour(
        self, requests: Iterator[Sent], number: int, at_once: int
    ) -> tuple[Counter[str], Counter[str]]:
        """Send so many requests; return what they got, and what the neighbour sent and lost."""
        sending = asyncio.create_task(self.hostile(requests, number, at_once))
        neighbour: Counter[str] = Counter()
        while not sending.done():
            for kind in (await self._neighbour_for(_PHASE)).values():
                neighbour.update(sent=int(kind["sent"]), lost=int(kind["lost"]))
        return await sending, neighbour

    async def hostile(self, requests: Iterator[Sent], number: int, at_once: int) -> Counter[str]:
        """Send so many requests and count the answers."""
        got: Counter[str] = Counter()
        left = iter(range(number))

        async def sender(client: Client) -> None:
            for _ in left:
                got[await self._send(client, next(requests))] += 1

        await asyncio.gather(*(sender(self.clients[n % 2]) for n in range(at_once)))
        return got

    def _attack(self, attack: Attack, got: Counter[str]) -> list[asyncio.Task[None]]:
        requests = attack.requests()

        async def sender(client: Client) -> None:
            for sent in itertools.islice(requests, _MOST // attack.at_once):
                got[await self._send(client, sent)] += 1
                # What fails before it leaves gives nobody else a turn.
                await asyncio.sleep(0)

        return [asyncio.create_task(sender(self.clients[n % 2])) for n in range(attack.at_once)]

    async def _send(self, client: Client, sent: Sent) -> str:
        if client.is_closed:
            raise RuntimeError("The attacker has no connection any more: nothing is attacked.")
        try:
            reply = await client.request(*sent, timeout=_TIMEOUT)
        except Exception as error:  # noqa: BLE001 - what the attacker got
            return type(error).__name__
        if reply.data.startswith(b'{"success":true'):
            return "OK"
        return str(json.loads(reply.data)["error"]["code"])

    async def _neighbour_for(self, seconds: float) -> dict[str, dict[str, float]]:
        assert self.neighbour.stdin is not None
        assert self.neighbour.stdout is not None
        self.neighbour.stdin.write(f"{seconds}\n".encode())
        phase: dict[str, dict[str, float]] = json.loads(await self.neighbour.stdout.readline())
        return phase

    async def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, memory(self.service.pid))
            if self.database is not None:
                self._database_peak = max(self._database_peak, memory(self.database))
            await asyncio.sleep(0.1)

    def _logged(self) -> int:
        return self.log.read_bytes().count(b"\n")


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End every task, and raise what went wrong in one.

    Python 3.11's wait_for() swallows a cancellation at times, and who waits for all tasks together
    is done with the first that is cancelled: an attacker would go on beside all later attacks.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=1)
    for task in tasks:
        if not task.cancelled():
            task.result()


def memory(process: int) -> int:
    """Return the bytes that a process and those it started have, shared ones by their share."""
    total = 0
    for each in (process, *_children(process)):
        with suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def _children(process: int) -> set[int]:
    try:
        listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return set()
    found = set(map(int, listed.split()))
    return found.union(*map(_children, found))


@asynccontextmanager
async def staged(
    directory: Path, database: str, *, accounts: bool, rate: float, server: int | None = None
) -> AsyncIterator[Stage]:
    """Start everything.

    Args:
        directory: for logs and configurations.
        database: its URL.
        accounts: whether each plugin has an account of its own.
        rate: requests of the neighbour each second.
        server: the process of the database server, if it has one.
    """
    password = "secret" if accounts else ""
    async with AsyncExitStack() as stack:
        url = stack.enter_context(_bus(directory, accounts=accounts))

        def who(name: str) -> tuple[str, str]:
            return (name, password) if accounts else ("", "")

        log = directory / "service.log"
        echo = await _started("echo", url, *who(NAME))
        stack.push_async_callback(_ended, echo)
        assert echo.stdout is not None
        await echo.stdout.readline()
        neighbour = await _started("neighbour", url, *who(NAME), str(rate))
        stack.push_async_callback(_ended, neighbour)
        user, secret = who(ATTACKER)
        how: dict[str, Any] = {"user": user, "password": secret} if accounts else {}
        clients = [
            await nats.connect(url, **how, max_reconnect_attempts=-1, pending_size=64 * MEGABYTE)
            for _ in range(2)
        ]
        for client in clients:
            stack.push_async_callback(client.close)
        start = partial(_service, url, who(SERVICE), database, log)
        yield Stage(start, log, clients, neighbour, server)


@contextmanager
def _bus(directory: Path, *, accounts: bool) -> Iterator[str]:
    binary = find_binary().path
    assert binary is not None, "attacks need a nats-server (extra `real`)"
    config = None
    if accounts:
        config = directory / "accounts.conf"
        passwords = dict.fromkeys((*ROLES, *_PLUGINS), "secret")
        config.write_text(accounts_configuration(_PLUGINS, passwords), "utf-8")
    with BinaryServer(binary, config=config) as server:
        yield server.url


@contextmanager
def _service(
    url: str, who: tuple[str, str], database: str, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    user, password = who
    place = url.replace("nats://", f"nats://{user}:{password}@") if user else url
    command = [sys.executable, "-m", "dbservice", "serve", "--nats", place, "--db", database]
    with log.open("ab") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert b"ready" in ready, log.read_text("utf-8")
        yield process
    finally:
        process.kill()  # what the attacker still has in its queue is of no interest
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def _started(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.attack.neighbour",
        *arguments,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
