"""A bot that speaks to nats-py itself, as most do."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError


class Bot:
    """Greets who asks, in turns with its twins; asks the database service for its memory."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.greeted: list[str] = []
        self.lost = asyncio.Event()
        self.back = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._nats: Client = await nats.connect(
            self._url,
            name="bot",
            reconnect_time_wait=0.01,
            max_reconnect_attempts=-1,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
        )
        await self._nats.subscribe("chat.*.hello", queue="bots", cb=self._greet)
        await self._nats.flush()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._nats.drain()

    async def _greet(self, message: Msg) -> None:
        _, room, _ = message.subject.split(".")
        self.greeted.append(room)
        await message.respond(f"hello {message.data.decode()} in {room}".encode())

    async def _disconnected(self) -> None:
        self.lost.set()

    async def _reconnected(self) -> None:
        await self._nats.flush()
        self.back.set()

    async def remember(self, key: str, value: object) -> None:
        reply = await self._ask("set", key=key, value=value)
        assert reply["success"], reply

    async def recall(self, key: str) -> object:
        return (await self._ask("get", key=key)).get("value")

    async def _ask(self, operation: str, **fields: object) -> dict[str, Any]:
        subject, payload = f"rosey.db.kv.bot.{operation}", json.dumps(fields).encode()
        for _ in range(3):
            try:
                return json.loads((await self._nats.request(subject, payload, timeout=2)).data)
            except NatsTimeoutError:
                continue
        raise NatsTimeoutError


async def test_it_greets(nats_url: str) -> None:
    async with Bot(nats_url) as bot:
        async with await nats.connect(nats_url) as user:
            reply = await user.request("chat.lobby.hello", b"ada", timeout=2)
        assert reply.data == b"hello ada in lobby"
        assert bot.greeted == ["lobby"]


async def test_twins_take_turns(nats_url: str) -> None:
    async with Bot(nats_url) as one, Bot(nats_url) as other, await nats.connect(nats_url) as user:
        await asyncio.gather(*(user.request(f"chat.r{n}.hello", timeout=5) for n in range(20)))
    assert len(one.greeted) + len(other.greeted) == 20


async def test_nobody_is_there(nats_url: str) -> None:
    async with await nats.connect(nats_url) as user:
        with pytest.raises(NoRespondersError):
            await user.request("chat.lobby.hello", timeout=2)


async def test_it_remembers(nats_url: str, db_service: object) -> None:
    async with Bot(nats_url) as bot:
        await bot.remember("mood", {"happy": True})
        assert await bot.recall("mood") == {"happy": True}


async def test_it_comes_back_after_a_disconnect(
    nats_url: str, nats_faults: Any, nats_client: Client
) -> None:
    async with Bot(nats_url) as bot:
        await nats_faults.disconnect()
        await asyncio.wait_for(bot.lost.wait(), 5)
        await nats_faults.reconnect()
        await asyncio.wait_for(bot.back.wait(), 5)
        await nats_client.request("chat.lobby.hello", b"ada", timeout=5)
        assert bot.greeted == ["lobby"]


async def test_a_stream_of_its_own(jetstream: str) -> None:
    async with await nats.connect(jetstream) as client:
        stream = client.jetstream()
        await stream.add_stream(name="chat", subjects=["chat.log"])
        await stream.publish("chat.log", b"one")
        subscription = await stream.pull_subscribe("chat.log", durable="reader")
        (message,) = await subscription.fetch(1, timeout=5)
        await message.ack()
        assert message.data == b"one"
