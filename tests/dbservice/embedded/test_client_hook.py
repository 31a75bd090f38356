"""Guards the one private method of nats-py that the embedded broker depends on."""

from __future__ import annotations

import asyncio
import inspect

from nats.aio.client import Client, Srv

from dbservice.embedded.broker import Broker
from dbservice.embedded.client import EmbeddedClient, MemoryTransport

MOVED = (
    "nats-py has moved Client._connect_to_server, the private hook that EmbeddedClient overrides "
    "to put its in-memory transport in place. See how the installed version opens connections and "
    "adapt dbservice/embedded/client.py: "
)


def test_the_hook_has_the_signature_we_override() -> None:
    hook = getattr(Client, "_connect_to_server", None)
    assert hook is not None, MOVED + "it is gone"
    assert inspect.iscoroutinefunction(hook), MOVED + "it is no coroutine function any more"
    parameters = list(inspect.signature(hook).parameters)
    assert parameters == ["self", "s"], MOVED + f"its parameters are {parameters}"


def test_the_hook_is_the_only_thing_overridden() -> None:
    overridden = {name for name in vars(EmbeddedClient) if hasattr(Client, name)}
    overridden -= {"__init__", "__doc__", "__module__"}
    assert overridden == {"_connect_to_server"}


async def test_every_connection_goes_through_the_hook(monkeypatch) -> None:
    calls: list[Srv] = []
    original = EmbeddedClient._connect_to_server

    async def counting(self: EmbeddedClient, s: Srv) -> None:
        calls.append(s)
        await original(self, s)

    monkeypatch.setattr(EmbeddedClient, "_connect_to_server", counting)
    back = asyncio.Event()

    async def reconnected() -> None:
        back.set()

    broker = Broker()
    async with await broker.connect(reconnect_time_wait=0, reconnected_cb=reconnected) as client:
        assert len(calls) == 1, MOVED + "connect() does not use it"
        transport = client._transport
        assert isinstance(transport, MemoryTransport), MOVED + "the transport is kept elsewhere"

        broker.disconnect(client.client_id)
        await asyncio.wait_for(back.wait(), 10)
        assert len(calls) == 2, MOVED + "reconnecting does not use it"
