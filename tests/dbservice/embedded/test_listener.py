"""The broker on a port: clients of other libraries."""

from __future__ import annotations

import asyncio

import nats
import pytest

from dbservice.embedded.broker import Broker
from dbservice.embedded.listener import Listener


async def _ask() -> None:
    listener = Listener(Broker())
    async with asyncio.timeout(30), await nats.connect(await listener.open()) as client:
        await client.flush()
    await listener.close()


async def test_it_serves() -> None:
    await _ask()


def test_it_serves_on_uvloop() -> None:
    """Whose transports are no `asyncio.Transport`."""
    uvloop = pytest.importorskip("uvloop")
    uvloop.run(_ask())
