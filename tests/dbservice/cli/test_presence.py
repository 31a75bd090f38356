"""No command waits for a service that is gone."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest
from nats.micro import ServiceConfig, add_service

from dbservice.cli.failure import CommandFailed
from dbservice.cli.presence import MISSES, WatchedClient
from dbservice.embedded import Broker
from dbservice.protocol import subjects

INTERVAL = 0.02
SUBJECT = "rosey.db.migrate.quote-db.apply"


@pytest.fixture
async def bus():
    broker = Broker()
    clients: list[Any] = []

    async def connect() -> Any:
        clients.append(await broker.connect())
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()
    broker.stop()


async def replica(client: Any) -> Any:
    return await add_service(client, ServiceConfig(name=subjects.SERVICE_NAME, version="1.0.0"))


async def taken(client: Any) -> asyncio.Event:
    """Take requests and never answer; return what tells that one has come."""
    came = asyncio.Event()

    async def take(_message: Any) -> None:
        came.set()

    await client.subscribe(SUBJECT, cb=take)
    return came


async def test_who_dies_is_not_waited_for(bus: Any) -> None:
    service, mine = await bus(), await bus()
    endpoint = await replica(service)
    came = await taken(service)
    asking = asyncio.create_task(
        WatchedClient(mine, interval=INTERVAL).request(SUBJECT, b"{}", timeout=600)
    )
    await came.wait()
    await endpoint.stop()
    with pytest.raises(CommandFailed, match=f"{MISSES} pings in a row") as gone:
        await asyncio.wait_for(asking, 30)
    assert gone.value.exit_code == 3


async def test_who_was_started_in_its_stead_knows_nothing(bus: Any) -> None:
    service, mine = await bus(), await bus()
    endpoint = await replica(service)
    await taken(service)
    seen = await pings(service)
    watched = WatchedClient(mine, interval=INTERVAL)
    asking = asyncio.create_task(watched.request(SUBJECT, b"{}", timeout=600))
    for _ in range(2):  # the second is sent when it is known who was there at first
        await seen.get()
    await endpoint.stop()
    restarted = await replica(await bus())
    with pytest.raises(CommandFailed, match="is gone"):
        await asyncio.wait_for(asking, 30)
    await restarted.stop()


async def pings(client: Any) -> asyncio.Queue[Any]:
    """Return what fills with every ping from now on."""
    seen: asyncio.Queue[Any] = asyncio.Queue()
    await client.subscribe(f"$SRV.PING.{subjects.SERVICE_NAME}", cb=seen.put)
    return seen


async def test_a_replica_that_stays_is_waited_for(bus: Any) -> None:
    service, mine = await bus(), await bus()
    endpoint = await replica(service)
    answered = asyncio.Event()

    async def answer(message: Any) -> None:
        await answered.wait()
        await message.respond(b"done")

    await service.subscribe(SUBJECT, cb=answer)
    seen = await pings(service)
    asking = asyncio.create_task(
        WatchedClient(mine, interval=INTERVAL).request(SUBJECT, b"{}", timeout=600)
    )
    for _ in range(MISSES + 3):
        await seen.get()
    assert not asking.done()
    answered.set()
    assert (await asking).data == b"done"
    await endpoint.stop()


async def test_a_bus_that_is_gone_is_not_waited_for(bus: Any) -> None:
    service, mine = await bus(), await bus()
    came = await taken(service)
    asking = asyncio.create_task(
        WatchedClient(mine, interval=INTERVAL).request(SUBJECT, b"{}", timeout=600)
    )
    await came.wait()
    await mine.close()
    with pytest.raises(Exception, match=r"is gone|closed"):
        await asyncio.wait_for(asking, 30)


@pytest.mark.process
async def test_migrate_ends_when_the_service_hangs(
    rosey: Any, serve: Any, nats_server: Any, tmp_path: Any
) -> None:
    served = serve("--nats", nats_server.url, "--db", str(tmp_path / "rosey.db"))
    served.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        waited = await asyncio.to_thread(
            rosey, "migrate", "quote-db", "apply", "--nats", nats_server.url, "--json"
        )
        assert time.monotonic() - began < 60  # `rosey` itself gives up then
    finally:
        served.process.send_signal(signal.SIGCONT)
    assert waited.returncode == 3
    assert "The database service is gone: 3 pings in a row" in waited.stderr
    assert '"code":"UNREACHABLE"' in waited.stdout
