"""Guards what the surviving client uses of nats-py's inside, and whether it still has to."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.protocol import parser

from dbservice.bus.connection import SurvivingClient, _Reader
from dbservice.embedded import Broker
from dbservice.embedded.client import EmbeddedClient
from tests.dbservice.bus.attacker import HOSTILE, dial, is_taken

MOVED = (
    "nats-py has moved what dbservice/bus/connection.py stands on; see how it reads now and "
    "adapt it: "
)

METHODS = {
    (Client, "_process_msg"): ["self", "sid", "subject", "reply", "data", "headers"],
    (Client, "_process_ping"): ["self"],
    (Client, "_process_pong"): ["self"],
    (Client, "_process_info"): ["self", "info", "initial_connection"],
    (Client, "_process_err"): ["self", "err_msg"],
    (Client, "_process_op_err"): ["self", "e"],
    (Client, "_process_connect_init"): ["self"],
    (Client, "_attempt_reconnect"): ["self"],
    (parser.Parser, "parse"): ["self", "data"],
    (parser.Parser, "reset"): ["self"],
    (Subscription, "_start"): ["self", "error_cb"],
}


@pytest.mark.parametrize(
    ("owner", "name"), METHODS, ids=lambda part: getattr(part, "__name__", part)
)
def test_the_methods_are_where_they_were(owner: type, name: str) -> None:
    method = getattr(owner, name, None)
    assert method is not None, MOVED + f"{name} is gone"
    parameters = list(inspect.signature(method).parameters)
    assert parameters == METHODS[owner, name], MOVED + f"{name} takes {parameters}"
    is_coroutine = name not in ("reset", "_start")
    assert inspect.iscoroutinefunction(method) is is_coroutine, MOVED + f"{name} changed its kind"


async def test_the_attributes_are_where_they_were() -> None:
    broker = Broker()
    client = await broker.connect()
    for name in ("_reading_task", "_flusher_task", "_ping_interval_task"):
        assert isinstance(getattr(client, name), asyncio.Task), MOVED + f"{name} is no task"
    assert isinstance(client._ps, parser.Parser), MOVED + "the parser is kept elsewhere"
    assert client._ps.nc is client, MOVED + "the parser does not know its client"
    assert inspect.iscoroutinefunction(client._error_cb), MOVED + "the error callback"
    assert "reconnect_time_wait" in client.options, MOVED + "the options"

    async def take(_message: object) -> None: ...

    subscription = await client.subscribe("a", cb=take)
    assert client._subs[subscription._id] is subscription, MOVED + "the subscriptions"
    assert isinstance(subscription._wait_for_msgs_task, asyncio.Task), MOVED + "the delivery"
    await client.close()


def test_nothing_else_is_overridden() -> None:
    ours = {"__init__", "__doc__", "__module__", "__annotations__"}
    overridden = {name for name in vars(SurvivingClient) if hasattr(Client, name)} - ours
    assert overridden == {
        "subscribe",
        "_process_connect_init",
        "_process_err",
        "_attempt_reconnect",
    }
    assert {name for name in vars(_Reader) if hasattr(parser.Parser, name)} - ours == {
        "parse",
        "reset",
    }


async def test_the_parser_is_the_only_way_in() -> None:
    """The client reads the stream through the object that is replaced, on every connection."""
    reads = inspect.getsource(Client._read_loop)
    assert "await self._ps.parse(" in reads, MOVED + "the read loop parses otherwise"
    resets = inspect.getsource(Client._process_op_err)
    assert "self._ps.reset()" in resets, MOVED + "a new connection does not reset the parser"


async def test_the_library_alone_still_goes_deaf() -> None:
    """Once this fails, nats-py reads on by itself, and our client may have become needless."""
    broker = Broker()
    client = EmbeddedClient(broker)
    await client.connect(broker.url)

    async def take(_message: object) -> None: ...

    await client.subscribe("rosey.db.>", cb=take)
    attacker = await dial(broker)
    attacker.write(HOSTILE["subject that is no UTF-8"])
    assert await is_taken(attacker)
    reading = client._reading_task
    assert reading is not None
    await asyncio.wait([reading], timeout=20)
    assert reading.done()
    assert client.is_connected
    attacker.close()
    await client.close()
