"""Two plugins, their service, an admin and a gateway on a real nats-server with our permissions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from dbservice.client import StorageClient
from dbservice.server.permissions import ROLES, SERVICE, accounts_configuration, users_configuration
from dbservice.server.service import DatabaseService
from pytest_rosey.servers.nats import BinaryServer, find_binary
from tests import ROOT
from tests.isolation.world import World

PLUGINS = ("quote-db", "trivia")
MIGRATIONS = ROOT / "migrations"
PASSWORDS = {name: f"pass word {name} \"'#$1\\" for name in (*ROLES, *PLUGINS)}


def _served(configuration: str, directory: Path) -> Iterator[str]:
    binary = find_binary().path
    assert binary is not None, "these tests need a nats-server (extra `real`)"
    config = directory / "rosey.conf"
    config.write_text(configuration, "utf-8")
    with BinaryServer(binary, config=config) as server:
        yield server.url


@pytest.fixture(scope="session")
def accounts_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with an account for each plugin."""
    configuration = accounts_configuration(PLUGINS, PASSWORDS)
    yield from _served(configuration, tmp_path_factory.mktemp("accounts"))


@pytest.fixture(scope="session")
def users_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with one account and permissions."""
    configuration = users_configuration(PLUGINS, PASSWORDS)
    yield from _served(configuration, tmp_path_factory.mktemp("users"))


@pytest.fixture
def make_world() -> Iterator[Callable[..., Any]]:
    """Return a function that starts a world on a server; `async with` it."""

    async def make(url: str, stack: AsyncExitStack, **options: Any) -> World:
        async def connect(user: str) -> Client:
            client = Client()
            complaints: list[str] = []

            async def note(error: Exception) -> None:
                complaints.append(str(error).lower())

            await client.connect(
                url,
                user=user,
                password=PASSWORDS[user],
                error_cb=note,
                allow_reconnect=False,
                **{name: value.format(user=user) for name, value in options.items()},
            )
            client.complaints = complaints  # type: ignore[attr-defined]
            stack.push_async_callback(client.close)
            return client

        service_connection = await connect(SERVICE)
        service = DatabaseService(
            "sqlite+aiosqlite://", service_connection, migrations=[MIGRATIONS]
        )
        await service.start()
        stack.push_async_callback(service.stop)
        world = World(service, {user: await connect(user) for user in (*ROLES[1:], *PLUGINS)})
        await world.prepare()
        return world

    return make


@pytest.fixture
async def world(accounts_url: str, make_world: Callable[..., Any]) -> AsyncIterator[World]:
    """The world on accounts."""
    async with AsyncExitStack() as stack:
        yield await make_world(accounts_url, stack)


@pytest.fixture
async def users_world(users_url: str, make_world: Callable[..., Any]) -> AsyncIterator[World]:
    """The world on users with permissions."""
    async with AsyncExitStack() as stack:
        yield await make_world(users_url, stack, inbox_prefix="_INBOX.{user}")


@pytest.fixture
def attacker(world: World) -> StorageClient:
    """The storage of the plugin that tries to reach another's."""
    return StorageClient(world.connections["quote-db"], "quote-db")
