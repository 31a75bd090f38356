"""Whatever bytes come over the bus, the next message is served."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.aio.client import Client

from dbservice.bus.connection import SurvivingClient
from dbservice.client import StorageClient
from dbservice.embedded import Broker
from dbservice.embedded.client import SurvivingEmbeddedClient
from dbservice.runtime.barrier import barrier
from dbservice.server.service import DatabaseService
from tests import SEED
from tests.dbservice.bus.attacker import HOSTILE, dial, is_taken, malformed

BLOCKS = int(os.environ.get("ROSEY_MALFORMED_BLOCKS", "400"))
"""How many malformed protocol blocks are sent on each bus."""

Bus = str | Broker


@pytest.fixture(params=["in process", "real"])
def bus(request: pytest.FixtureRequest) -> Bus:
    """Where attacker, service and neighbour meet: a broker, or the URL of a server."""
    if request.param == "in process":
        return Broker(seed=1)
    url: str = request.getfixturevalue("nats_server").url
    return url


async def connected(bus: Bus, **options: Any) -> SurvivingClient:
    client = SurvivingEmbeddedClient(bus) if isinstance(bus, Broker) else SurvivingClient()
    url = bus.url if isinstance(bus, Broker) else bus
    await client.connect(url, reconnect_time_wait=0.01, max_reconnect_attempts=-1, **options)
    return client


@pytest.fixture
async def client(bus: Bus) -> AsyncIterator[SurvivingClient]:
    client = await connected(bus)
    yield client
    await client.close()


class Inbox:
    """What came to a subscription, one after the other."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(self, message: Any) -> None:
        await self._messages.put(message.data)

    async def until(self, payload: bytes) -> None:
        """Wait for a message."""
        async with asyncio.timeout(20):
            while await self._messages.get() != payload:
                pass


@pytest.fixture
async def inbox(client: SurvivingClient) -> Inbox:
    inbox = Inbox()
    await client.subscribe("rosey.db.>", cb=inbox.take)
    await barrier(client)
    return inbox


@pytest.mark.parametrize("block", HOSTILE.values(), ids=HOSTILE)
async def test_a_message_that_cannot_be_read_costs_nothing_but_itself(
    bus: Bus, client: SurvivingClient, inbox: Inbox, block: bytes
) -> None:
    attacker = await dial(bus)
    attacker.write(block)
    assert await is_taken(attacker)
    await client.publish("rosey.db.good", b"good")
    await inbox.until(b"good")
    assert (client.stats["reconnects"], client.mended) == (0, 0)
    attacker.close()


@pytest.mark.parametrize(
    "name",
    [
        "subject that is no UTF-8",
        "reply that is no UTF-8",
        "header block of one letter",
        "status line of garbage",
        "header block of many lines",
        "header block of one long line",
    ],
)
async def test_what_is_dropped_is_counted(
    bus: Bus, client: SurvivingClient, inbox: Inbox, name: str
) -> None:
    attacker = await dial(bus)
    for _ in range(3):
        attacker.write(HOSTILE[name])
    assert await is_taken(attacker)
    await client.publish("rosey.db.good", b"good")
    await inbox.until(b"good")
    assert client.dropped == 3
    attacker.close()


async def test_a_reply_that_cannot_be_read_costs_its_request_only(
    bus: Bus, client: SurvivingClient
) -> None:
    answerer = await dial(bus)
    answerer.write(b"SUB ask 1\r\n")
    assert await is_taken(answerer)
    asking = asyncio.create_task(client.request("ask", b"", timeout=0.5))
    line = b""
    while not line.startswith(b"MSG ask"):
        line = await answerer.readline()
    inbox = line.split()[3]
    answerer.write(b"HPUB %b 1 1\r\nN\r\n" % inbox)
    assert await is_taken(answerer)
    with pytest.raises(TimeoutError):
        await asking
    assert client.dropped == 1
    await client.flush()
    assert client.stats["reconnects"] == 0
    answerer.close()


# -- tasks of the library that end -----------------------------------------------------------------


async def test_a_reader_that_dies_is_noticed_at_once(client: SurvivingClient, inbox: Inbox) -> None:
    transport: Any = client._transport

    async def die(_size: int) -> bytes:
        del transport.read
        raise RuntimeError("foreign")

    transport.read = die
    await client.publish("rosey.db.wake", b"wake")
    await _renewed(client)
    await client.publish("rosey.db.good", b"good")
    await inbox.until(b"good")


async def test_a_flusher_that_dies_is_noticed_at_once(
    client: SurvivingClient, inbox: Inbox
) -> None:
    transport: Any = client._transport

    def die(_commands: list[bytes]) -> None:
        del transport.writelines
        raise RuntimeError("foreign")

    transport.writelines = die
    await client.publish("rosey.db.lost", b"lost")
    await _renewed(client)
    await client.publish("rosey.db.good", b"good")
    await inbox.until(b"good")


async def test_a_late_pong_of_a_flush_that_gave_up_is_no_harm(
    client: SurvivingClient, inbox: Inbox
) -> None:
    given_up: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    given_up.cancel()
    await client._send_ping(given_up)
    await client.publish("rosey.db.good", b"good")
    await inbox.until(b"good")
    await client.flush()
    assert client.stats["reconnects"] == 0


class Ending(BaseException):
    """What no `except Exception` catches."""


@pytest.mark.parametrize("ending", [asyncio.CancelledError, Ending])
async def test_a_callback_that_ends_its_delivery_is_called_again(
    client: SurvivingClient, ending: type[BaseException]
) -> None:
    inbox, fails = Inbox(), True

    async def take(message: Any) -> None:
        nonlocal fails
        if fails:
            fails = False
            raise ending
        await inbox.take(message)

    await client.subscribe("rosey.db.>", cb=take)
    await client.publish("rosey.db.bad", b"bad")
    await client.publish("rosey.db.good", b"good")
    await inbox.until(b"good")
    assert client.mended == 1


async def test_a_complaint_of_the_server_does_not_end_the_connection_for_good(
    client: SurvivingClient, inbox: Inbox
) -> None:
    client._transport.write(b"NONSENSE\r\n")  # type: ignore[union-attr]
    await _renewed(client)
    await client.publish("rosey.db.good", b"good")
    await inbox.until(b"good")


async def test_a_reconnect_that_dies_is_tried_again(bus: Bus) -> None:
    calls = 0

    async def disconnected() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("a callback that fails")

    client = await connected(bus, disconnected_cb=disconnected)
    inbox = Inbox()
    await client.subscribe("rosey.db.>", cb=inbox.take)
    await client.force_reconnect()
    await _renewed(client)
    await client.publish("rosey.db.good", b"good")
    await inbox.until(b"good")
    await client.close()


async def test_closing_is_no_end_to_be_mended(client: SurvivingClient, inbox: Inbox) -> None:
    await client.drain()
    await asyncio.sleep(0)
    assert client.is_closed
    assert client.mended == 0


async def _renewed(client: Client) -> None:
    async with asyncio.timeout(20):
        while not (client.stats["reconnects"] and client.is_connected):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


# -- a service and its neighbour -------------------------------------------------------------------


async def test_malformed_blocks_cost_a_neighbour_nothing(bus: Bus) -> None:
    """The neighbour reads and writes while blocks of every kind come in; none of it is lost."""
    dice = random.Random(SEED)
    nats, other = await connected(bus), await connected(bus)
    service = DatabaseService("sqlite+aiosqlite://", nats, migrations=[])
    await service.start()
    neighbour = StorageClient(other, "neighbour", timeout=20).kv
    attacker = await dial(bus)
    for number in range(BLOCKS):
        attacker.write(malformed(dice))
        if number % 20 == 0:
            if not await is_taken(attacker):
                attacker.close()
                attacker = await dial(bus)
            await neighbour.set("n", number)
            assert await neighbour.get("n") == number
    attacker.close()
    assert (nats.stats["reconnects"], nats.mended) == (0, 0)
    assert nats.dropped > 0
    print(f"{BLOCKS} blocks")
    await service.stop()
    await nats.close()
    await other.close()
