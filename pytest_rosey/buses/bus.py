"""The bus of a test and the clients on it: in-process or a real server, one interface."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from typing_extensions import override

from dbservice.bus.connection import SurvivingClient
from dbservice.embedded.broker import Broker
from dbservice.embedded.client import EmbeddedClient
from dbservice.embedded.connection import Connection, Publication
from dbservice.embedded.interest import covers
from dbservice.runtime.barrier import barrier
from pytest_rosey.buses.message import Interceptor, Message, Publisher, subscription_to
from pytest_rosey.buses.proxy import Proxy
from pytest_rosey.clients import LoopBound, LoopOwner
from pytest_rosey.servers.errors import ServerControlError
from pytest_rosey.servers.nats import NatsServer, address_of

# nats-py's own defaults wait 2 s before each of 60 attempts. These ride out a restart of the
# server and give up on a dead one after 3 s.
_PATIENCE: dict[str, Any] = {"reconnect_time_wait": 0.02, "max_reconnect_attempts": 150}

_LONGEST_WAIT = 10.0
_POLL = 0.002


class InProcessClient(LoopBound, EmbeddedClient):
    """nats-py's client on the in-process broker."""

    _broker: Broker

    def hang_up(self) -> None:
        """End its connection, as a server does."""
        self._broker.disconnect(lambda info: info.client_id == self.client_id)


class InProcessSurvivor(SurvivingClient, InProcessClient):
    """The client of the service on the in-process broker."""


class Survivor(SurvivingClient, LoopBound):
    """The client of the service on a real server."""


class Bus(Protocol):
    """Where a test's clients connect to, and what faults can do to it.

    Attributes:
        clients: those that were made here.
    """

    clients: list[LoopBound]

    @property
    def url(self) -> str:
        """The server that clients connect to."""

    def client(self, *, survives: bool = False) -> LoopBound:
        """Return a new client, not connected: nats-py's own, or one that no message ends."""

    async def tap(self, intercept: Interceptor) -> None:
        """Let `intercept` look at every message that a client publishes from now on.

        Raises:
            ServerControlError: the messages cannot be read.
        """

    async def untap(self) -> None:
        """Take back `tap()`."""

    def hang_up_on(self, subject: bytes) -> None:
        """End the connections of those who subscribed to a subject."""

    def cut(self) -> None:
        """End all connections and let nobody in."""

    async def kill(self) -> None:
        """End the server as a crash would."""

    async def pause(self) -> None:
        """Freeze the server."""

    def restore(self) -> None:
        """Take back `cut()`, `kill()` and `pause()`; what a paused server held is delivered.

        Not a coroutine: it also ends the faults of a test whose loop does not run any more.
        """


class InProcessBus(Bus):
    """The in-process broker."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        broker.unanswered = _without_jetstream
        self.clients: list[LoopBound] = []
        self.is_tapped = False
        self.stubs: Callable[[Publication], bool] | None = None
        """Answers in place of who subscribed, while the bus is tapped; tells whether it does."""
        self._held: list[Publication] | None = None

    @property
    @override
    def url(self) -> str:
        return self.broker.url

    @override
    def client(self, *, survives: bool = False) -> LoopBound:
        client = (InProcessSurvivor if survives else InProcessClient)(self.broker)
        self.clients.append(client)
        return client

    @override
    async def tap(self, intercept: Interceptor) -> None:
        def on_publication(publication: Publication) -> bool:
            if self._held is not None:
                self._held.append(publication)
            elif not intercept(_message(self, publication)):
                self.deliver(publication)
            return True

        self.broker.intercept = on_publication
        self.is_tapped = True

    def deliver(self, publication: Publication) -> None:
        """Hand a message to who is to get it, past all faults."""
        if self.stubs is None or not self.stubs(publication):
            self.broker.deliver(publication)

    @override
    async def untap(self) -> None:
        self.broker.intercept = None
        self.is_tapped = False

    @override
    def hang_up_on(self, subject: bytes) -> None:
        self.broker.disconnect(
            lambda client: any(covers(s.pattern.encode(), subject) for s in client.subscriptions)
        )

    @override
    def cut(self) -> None:
        self.broker.stop()

    @override
    async def kill(self) -> None:
        self.broker.stop()

    @override
    async def pause(self) -> None:
        if self._held is None:
            self._held = []

    @override
    def restore(self) -> None:
        self.broker.start()
        held, self._held = self._held, None
        for publication in held or ():
            self.broker.publish(publication)


_JETSTREAM = b"$JS.API."
_NO_JETSTREAM = json.dumps(
    {
        "type": "io.nats.jetstream.api.v1.error",
        "error": {
            "code": 503,
            "err_code": 10076,
            "description": "JetStream is not on the in-process bus; a test that needs it is marked "
            '@pytest.mark.rosey_nats("real"), or runs with --rosey-real-nats',
        },
    }
).encode()


def _without_jetstream(request: Publication) -> bytes | None:
    """Return what a server without JetStream says to those who ask its API."""
    return _NO_JETSTREAM if request.subject.startswith(_JETSTREAM) else None


class RealBus(Bus):
    """A real nats-server; behind a proxy once it is tapped."""

    def __init__(self, server: NatsServer) -> None:
        self.clients: list[LoopBound] = []
        self._server = server
        self._proxy: Proxy | None = None
        self._proxied = ""
        self._is_down = False

    @property
    def url(self) -> str:
        """Where the server, or the proxy before it, listens now."""
        return self._server.url if self._proxy is None else self._proxied

    @override
    def client(self, *, survives: bool = False) -> LoopBound:
        client = Survivor() if survives else LoopBound()
        self.clients.append(client)
        return client

    @override
    async def tap(self, intercept: Interceptor) -> None:
        if self._server.asks_for_tls:
            raise ServerControlError(
                "nats_faults reads what clients and server say to each other, and this server asks "
                "for TLS: run the tests that use it on a server without, or mark them "
                '@pytest.mark.rosey_nats("fake").'
            )
        proxy = Proxy(lambda: address_of(self._server.url), intercept)
        self._proxied = _elsewhere(self._server.url, str(await proxy.open()))
        self._proxy = proxy

    @override
    async def untap(self) -> None:
        if self._proxy is not None:
            await self._proxy.close()
            self._proxy = None

    @override
    def hang_up_on(self, subject: bytes) -> None:
        self._tapped.hang_up(subject)

    @override
    def cut(self) -> None:
        self._tapped.cut()

    @override
    async def kill(self) -> None:
        await asyncio.to_thread(self._server.kill)
        self._is_down = True

    @override
    async def pause(self) -> None:
        await asyncio.to_thread(self._server.pause)
        self._is_down = True

    @override
    def restore(self) -> None:
        if self._is_down:
            self._server.start()
            self._is_down = False
        if self._proxy is not None:
            self._proxy.mend()

    @property
    def _tapped(self) -> Proxy:
        assert self._proxy is not None  # faults tap the bus before they use it
        return self._proxy


class _InProcessPublisher(Publisher):
    """The broker's side of a client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, data: bytes) -> None:
        self._connection.send(data)

    def inbox(self, subject: bytes) -> bytes | None:
        return subscription_to(
            subject,
            {sid: listed.pattern for sid, listed in self._connection.subscriptions.items()},
        )


def _message(bus: InProcessBus, publication: Publication) -> Message:
    source = publication.source

    def route(message: Message) -> None:
        bus.deliver(
            Publication(source, message.subject, message.reply, message.header_size, message.body)
        )

    return Message(
        publication.subject,
        publication.reply,
        publication.header_size,
        publication.body,
        _InProcessPublisher(source),
        route,
    )


def _elsewhere(url: str, address: str) -> str:
    """Return a server's URL, credentials included, with another address in it."""
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{credentials}{at}{address}"))


def bus_for(nodeid: str, server: NatsServer | None) -> Bus:
    """Return the bus of a test: a real server, or a broker whose dice fall alike in every run."""
    if server is not None:
        return RealBus(server)
    return InProcessBus(Broker(seed=zlib.crc32(nodeid.encode())))


async def until_back(clients: Sequence[LoopBound]) -> None:
    """Return when the clients are connected again and the server knows their subscriptions.

    One that has given up, or was closed, stays closed.

    Raises:
        TimeoutError: not all came back within 10 s.
    """
    await _until_none(
        clients, lambda client: not (client.is_connected or client.is_closed), "is not back"
    )
    for client in clients:
        if client.is_connected:
            await barrier(client)


async def until_gone(clients: Sequence[LoopBound]) -> None:
    """Return when no client believes to be connected.

    Raises:
        TimeoutError: one still does after 10 s.
    """
    await _until_none(clients, lambda client: client.is_connected, "is still connected")


async def _until_none(
    clients: Sequence[LoopBound], holds: Callable[[LoopBound], bool], what: str
) -> None:
    # nats-py has one callback for each of its events, and that is the test's to use.
    loop = asyncio.get_running_loop()
    end = loop.time() + _LONGEST_WAIT
    while left := [client.owner.fixture for client in clients if holds(client)]:
        if loop.time() > end:
            raise TimeoutError(f"The client of {', '.join(left)} {what} after {_LONGEST_WAIT:g} s.")
        # Not asyncio.sleep: the test may have replaced that by one that does not wait.
        moment: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(_POLL, moment.set_result, None)
        try:
            await moment
        finally:
            timer.cancel()


async def join(client: LoopBound, url: str, owner: LoopOwner) -> None:
    """Connect a client of a fixture, and bind it to the running loop."""
    client.owner = owner
    await client.connect(servers=url, name=f"pytest-rosey {owner.fixture}", **_PATIENCE)
