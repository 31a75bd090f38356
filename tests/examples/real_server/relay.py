"""Counts what is said in a channel, whatever happens to the messages."""

import asyncio

from dbservice.client import StorageClient

SAID = "rosey.event.chat.said"


class Relay:
    def __init__(self, nats, namespace="relay"):
        self._nats = nats
        self._kv = StorageClient(nats, namespace).kv

    async def initialize(self):
        self._subscription = await self._nats.subscribe(SAID, cb=self._said)
        # nats-py may send a PING before what it has not written yet: without this turn of the loop
        # the server may not know the subscription when flush() returns.
        await asyncio.sleep(0)
        await self._nats.flush()

    async def close(self):
        await self._subscription.unsubscribe()

    async def _said(self, message):
        await self._kv.incr("said", idempotency_key=message.data.decode())

    async def count(self):
        return await self._kv.get("said", 0)
