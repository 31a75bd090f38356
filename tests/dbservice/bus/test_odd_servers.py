"""Whatever a server says, the next message is delivered, over a new connection if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from dbservice.bus.connection import SurvivingClient

GREETING = (
    b'INFO {"server_id": "x", "version": "2.10.0", "headers": true, "max_payload": 1048576}\r\n'
)

ODD: Mapping[str, bytes] = {
    "INFO that is no JSON": b"INFO {bad\r\n",
    "INFO that is no UTF-8": b'INFO {"a": "\xff"}\r\n',
    "INFO without an object": b"INFO [1, 2]\r\n",
    "INFO nested without end": b"INFO " + b"[" * 100_000 + b"\r\n",
    "INFO with addresses that are none": b'INFO {"connect_urls": ["nats://[::1", 5, "%"]}\r\n',
    "a complaint that is no UTF-8": b"-ERR '\xff\xfe'\r\n",
    "a complaint of nothing": b"-ERR\r\n",
    "a complaint of 100 KB": b"-ERR '" + b"a" * 100_000 + b"'\r\n",
    "a PONG that nobody waits for": b"PONG\r\n",
    "a verb that does not exist": b"HELLO\r\n",
    "an empty line": b"\r\n\n",
    "a subscription that is no number": b"MSG rosey.x one 2\r\nhi\r\n",
    "a subscription of 5,000 digits": b"MSG rosey.x " + b"9" * 5_000 + b" 2\r\nhi\r\n",
    "a size below nothing": b"MSG rosey.x 1 -2\r\nhi\r\n",
    "a size beyond everything": b"MSG rosey.x 1 999999999999\r\nhi\r\n",
    "a size in other digits": "MSG rosey.x 1 ²\r\nhi\r\n".encode(),
    "a size that is too small": b"MSG rosey.x 1 1\r\nhi\r\n",
    "more header than message": b"HMSG rosey.x 1 10 2\r\nhi\r\n",
    "a header of nothing": b"HMSG rosey.x 1 0 2\r\nhi\r\n",
    "a header that is all": b"HMSG rosey.x 1 2 2\r\nhi\r\n",
    "a line without end": b"a" * 100_000,
}


@pytest.mark.parametrize("said", ODD.values(), ids=ODD)
async def test_the_next_message_is_delivered(said: bytes) -> None:
    first = True

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        writer.write(GREETING)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
                elif line.startswith(b"SUB"):
                    if first:
                        first = False
                        writer.write(said)
                    writer.write(b"MSG rosey.good %b 4\r\ngood\r\n" % line.split()[-1])
        writer.close()

    came = asyncio.Event()

    async def take(message: Any) -> None:
        if message.data == b"good":
            came.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    client = SurvivingClient()
    url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await client.connect(url, reconnect_time_wait=0.01, max_reconnect_attempts=-1)
    await client.subscribe("rosey.>", cb=take)
    async with asyncio.timeout(30):
        await came.wait()
    await client.close()
    server.close()
