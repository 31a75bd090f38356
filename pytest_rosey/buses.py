"""The bus of a test and the clients on it: in-process or a real server, one interface."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import pytest

from dbservice.embedded.broker import Broker
from dbservice.embedded.client import EmbeddedClient
from pytest_rosey.clients import Home, LoopBound, home_of
from pytest_rosey.servers import NatsServer

C = TypeVar("C", bound=LoopBound)

# nats-py's own defaults wait 2 s before each of 60 attempts. These ride out a restart of the
# server and give up on a dead one after 3 s.
_PATIENCE: dict[str, Any] = {"reconnect_time_wait": 0.02, "max_reconnect_attempts": 150}


class InProcessClient(LoopBound, EmbeddedClient):
    """nats-py's client on the in-process broker."""


class Bus(Protocol):
    """Where a test's clients connect to."""

    def client(self) -> LoopBound:
        """Return a new client, not connected."""

    @property
    def url(self) -> str:
        """The server that it connects to."""


class InProcessBus:
    """The in-process broker."""

    def __init__(self, broker: Broker) -> None:
        self.url = broker.url
        self._broker = broker

    def client(self) -> LoopBound:
        """Return a new client, not connected."""
        return InProcessClient(self._broker)


class RealBus:
    """A real nats-server."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server

    @property
    def url(self) -> str:
        """Where the server listens now."""
        return self._server.url

    def client(self) -> LoopBound:
        """Return a new client, not connected."""
        return LoopBound()


class Connect:
    """Opens clients on the bus of a test, and closes them.

    Args:
        bus: where to.
        request: of a fixture of the test.
    """

    def __init__(self, bus: Bus, request: pytest.FixtureRequest) -> None:
        self._bus = bus
        self._request = request
        self._clients: list[LoopBound] = []

    async def __call__(self, fixture: str) -> LoopBound:
        """Return a new connected client for a fixture."""
        client = await join(self._bus.client(), self._bus.url, home_of(self._request, fixture))
        self._clients.append(client)
        return client

    async def close_all(self) -> None:
        """Close every client, the newest first; those that the test has closed stay closed."""
        for client in reversed(self._clients):
            await client.close()


async def join(client: C, url: str, home: Home) -> C:
    """Connect a client of a fixture, and bind it to the running loop."""
    client.home = home
    await client.connect(servers=url, name=f"pytest-rosey {home.fixture}", **_PATIENCE)
    return client
