"""A small plugin that is right: what each mutant beside it breaks in one place."""

from __future__ import annotations

import asyncio
import json

from dbservice.client import RequestTimeout, RetryPolicy, StorageClient, StorageError
from dbservice.runtime.clock import SystemClock

RETRIES = RetryPolicy(timeout=(0.1, 0.2), connection=(0.5, 1.0), overloaded=(0.5,))
PER_HOUR = 10
THRESHOLD, RECOVERY = 1, 30.0


class TriviaError(Exception):
    """Something that a user of the plugin is told."""


class Trivia:
    """Questions, and who has won how often."""

    best_effort = ("kv:limit:*",)

    def __init__(self, nats, *, namespace="trivia"):
        self._nats = nats
        self._namespace = namespace
        self._storage = StorageClient(nats, namespace, timeout=1.0, retries=RETRIES)
        self._questions = self._storage.rows("questions")
        self._texts = {}
        self._queue = asyncio.Queue()
        self._worker = None
        self._clock = SystemClock()
        self._failures, self._opened_at = 0, None

    async def initialize(self):
        fields = [{"name": "text", "type": "string", "required": True}]
        await self._questions.register(fields)
        self._worker = asyncio.create_task(self._work())

    async def close(self):
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    # -- questions ----------------------------------------------------------------------------

    async def ask(self, text):
        """Store a question, counted in the same transaction, then tell who listens."""
        number = await self._questions.insert({"text": text}, counters={"total": 1})
        await self._tell("asked", number)
        return number

    async def total(self):
        return await self._storage.kv.get("total", 0)

    async def text(self, number):
        if number not in self._texts:
            row = await self._questions.get(number)
            if row is None:
                raise TriviaError(f"There is no question {number}")
            self._texts[number] = row["text"]
        return self._texts[number]

    async def rename(self, number, text):
        try:
            await self._questions.update({"id": number}, data={"text": text})
        finally:
            self._texts.pop(number, None)

    async def later(self, text):
        """Store a question when it is its turn, and return when that is done."""
        done = asyncio.get_running_loop().create_future()
        await self._queue.put((text, done))
        return await done

    async def _work(self):
        while True:
            text, done = await self._queue.get()
            try:
                number = await self._questions.insert({"text": text})
            except StorageError as error:
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(number)

    # -- winners ------------------------------------------------------------------------------

    async def award(self, user):
        """Count a win and return how many there are now."""
        return await self._storage.kv.incr(f"wins:{user}")

    async def wins(self, user):
        return await self._storage.kv.get(f"wins:{user}", 0)

    async def submit(self, user, text):
        """Store a question of a user who has not sent too many in this hour."""
        taken = await self._storage.kv.incr(f"limit:{user}", ttl_seconds=3600)
        if taken > PER_HOUR:
            raise TriviaError("That is enough for this hour")
        return await self._questions.insert({"text": text})

    async def probe(self, number):
        """Read a question past the cache, unless the service failed a moment ago."""
        if self._opened_at is not None:
            if self._clock.time() < self._opened_at + RECOVERY:
                raise TriviaError("The service is away")
            self._opened_at = None
        try:
            row = await self._questions.get(number)
        except StorageError:
            self._opened_at = self._clock.time()
            raise
        return row

    async def _tell(self, what, number):
        await self._nats.publish(
            f"rosey.event.{self._namespace}.{what}", json.dumps({"id": number}).encode()
        )


__all__ = ["RequestTimeout", "Trivia", "TriviaError"]
