"""Mutants of the small plugin: one change each, in one place of `trivia.py`.

All of them were written before the exploration ran for the first time. The ordinary suite
(`test_trivia.py`) is green on every one.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One change.

    Attributes:
        name: what is wrong.
        old: what stands in the right plugin, once.
        new: what stands in its place.
    """

    name: str
    old: str
    new: str


_ASK = """number = await self._questions.insert({"text": text}, counters={"total": 1})
        await self._tell("asked", number)
        return number
"""

MUTANTS = (
    Mutant(
        "a retry without an idempotency key",
        _ASK,
        """once = StorageClient(self._nats, self._namespace, timeout=1.0).rows("questions")
        for attempt in range(3):
            try:
                number = await once.insert({"text": text}, counters={"total": 1})
                break
            except RequestTimeout:
                if attempt == 2:
                    raise
                await asyncio.sleep(0.1)
        await self._tell("asked", number)
        return number
""",
    ),
    Mutant(
        "a cache that is dropped only when the write was acknowledged",
        """        try:
            await self._questions.update({"id": number}, data={"text": text})
        finally:
            self._texts.pop(number, None)
""",
        """        await self._questions.update({"id": number}, data={"text": text})
        self._texts.pop(number, None)
""",
    ),
    Mutant(
        "a counter beside the row instead of with it",
        _ASK,
        """number = await self._questions.insert({"text": text})
        await self._storage.kv.incr("total")
        await self._tell("asked", number)
        return number
""",
    ),
    Mutant(
        "a swallowed error that is reported as success",
        """        return await self._storage.kv.incr(f"wins:{user}")
""",
        """        known = await self._storage.kv.get(f"wins:{user}", 0)
        try:
            return await self._storage.kv.incr(f"wins:{user}")
        except StorageError:
            return known + 1
""",
    ),
    Mutant(
        "a compensation that fails as well",
        _ASK,
        """number = await self._questions.insert({"text": text})
        try:
            await self._storage.kv.incr("total")
        except StorageError:
            await self._questions.delete(number)
            raise
        await self._tell("asked", number)
        return number
""",
    ),
    Mutant(
        "a retry of a call that is not idempotent",
        """        return await self._storage.kv.incr(f"wins:{user}")
""",
        """        try:
            return await StorageClient(self._nats, self._namespace, timeout=1.0).kv.incr(
                f"wins:{user}"
            )
        except StorageError:
            return await self._storage.kv.incr(f"wins:{user}")
""",
    ),
    Mutant(
        "reading back after a lost reply",
        _ASK,
        """once = StorageClient(self._nats, self._namespace, timeout=1.0).rows("questions")
        try:
            number = await once.insert({"text": text}, counters={"total": 1})
        except RequestTimeout:
            found = await self._questions.select({"text": text})
            if not found:
                return 0
            number = found[0]["id"]
        await self._tell("asked", number)
        return number
""",
    ),
    Mutant(
        "a queue that acknowledges early",
        """        await self._queue.put((text, done))
        return await done
""",
        """        await self._queue.put((text, done))
        done.add_done_callback(lambda finished: finished.exception())
        await asyncio.sleep(0.05)
        return done.result() if done.done() and not done.exception() else 1
""",
    ),
    Mutant(
        "an event before the commit",
        _ASK,
        """number = 1 + await self._storage.kv.get("total", 0)
        await self._tell("asked", number)
        return await self._questions.insert({"text": text}, counters={"total": 1})
""",
    ),
    Mutant(
        "a rate limit that is taken twice",
        """        taken = await self._storage.kv.incr(f"limit:{user}", ttl_seconds=3600)
""",
        """        once = StorageClient(self._nats, self._namespace, timeout=1.0).kv
        try:
            taken = await once.incr(f"limit:{user}", ttl_seconds=3600)
        except RequestTimeout:
            taken = await once.incr(f"limit:{user}", ttl_seconds=3600)
""",
    ),
    Mutant(
        "a wait without bounds",
        "StorageClient(nats, namespace, timeout=1.0, retries=RETRIES)",
        'StorageClient(nats, namespace, timeout=float("inf"), retries=RETRIES)',
    ),
    Mutant(
        "a breaker that never closes",
        """            if self._clock.time() < self._opened_at + RECOVERY:
                raise TriviaError("The service is away")
            self._opened_at = None
""",
        """            raise TriviaError("The service is away")
""",
    ),
    Mutant(
        "a worker that dies of its first error",
        """                if not done.done():
                    done.set_exception(error)
            else:
""",
        """                if not done.done():
                    done.set_exception(error)
                return
            else:
""",
    ),
    Mutant(
        "an error of another kind than the plugin promises",
        """        return await self._storage.kv.get(f"wins:{user}", 0)
""",
        """        try:
            found = {"wins": await self._storage.kv.get(f"wins:{user}", 0)}
        except StorageError:
            found = {}
        return found["wins"]
""",
    ),
    Mutant(
        "a task that is left behind",
        """        return await self._storage.kv.get("total", 0)
""",
        """        asking = asyncio.ensure_future(self._storage.kv.get("total", 0))
        try:
            return await asyncio.wait_for(asyncio.shield(asking), 30)
        except StorageError:
            self._texts[None] = asyncio.ensure_future(asyncio.Event().wait())
            raise
""",
    ),
    Mutant(
        "an absent answer taken for an empty one",
        """            row = await self._questions.get(number)
            if row is None:
""",
        """            try:
                row = await self._questions.get(number)
            except StorageError:
                row = {"text": ""}
            if row is None:
""",
    ),
)
