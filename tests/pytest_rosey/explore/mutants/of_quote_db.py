"""Mutants of the reference plugin: one change each, written before it was explored at all.

`old` stands once in the file; where the plugin is rebuilt, only the words change here, never what
is wrong.
"""

from __future__ import annotations

from typing import NamedTuple


class PluginMutant(NamedTuple):
    """One change.

    Attributes:
        name: what is wrong.
        file: where, in the package.
        old: what stands there, once.
        new: what stands in its place.
    """

    name: str
    file: str
    old: str
    new: str


MUTANTS = (
    PluginMutant(
        "the counter beside the row",
        "quotes.py",
        """                row, counters, idempotency_key=key, timeout=self.TIMEOUT_ADD
            ),
        )
""",
        """                row, idempotency_key=key, timeout=self.TIMEOUT_ADD
            ),
        )
        await self._storage.kv.incr(schema.TOTAL_COUNT)
""",
    ),
    PluginMutant(
        "the cache is dropped only when the deletion was acknowledged",
        "quotes.py",
        """        with self._cache.dropping(ids, lambda: self._bus.reached):
            deleted = await counting(
                self._total,
                -1,
                lambda counters: self._quotes.delete(
                    filters, counters=counters, timeout=self.TIMEOUT_DELETE
                ),
            )
""",
        """        deleted = await counting(
            self._total,
            -1,
            lambda counters: self._quotes.delete(
                filters, counters=counters, timeout=self.TIMEOUT_DELETE
            ),
        )
        for quote_id in ids:
            self._cache.drop(quote_id)
""",
    ),
    PluginMutant(
        "the event before the commit",
        "quotes.py",
        """        rows = rows or self._quotes
""",
        """        rows = rows or self._quotes
        await self._events.publish("added", 1, row[schema.ADDED_BY])
""",
    ),
    PluginMutant(
        "a vote that is sent again without a key",
        "quotes.py",
        """            rows = await self._quotes.update(
                with_id(quote_id), operations, returning=[column], timeout=self.TIMEOUT_UPDATE
            )
""",
        """            try:
                rows = await self._quotes.update(
                    with_id(quote_id), operations, returning=[column], timeout=self.TIMEOUT_UPDATE
                )
            except TimeoutError:
                rows = await self._quotes.update(
                    with_id(quote_id), operations, returning=[column], timeout=self.TIMEOUT_UPDATE
                )
""",
    ),
    PluginMutant(
        "a write queue that acknowledges early",
        "parts/write_queue.py",
        """        if self.breaker.state is CircuitState.CLOSED and not self._waiting:
            return await write()
""",
        """        if self.breaker.state is CircuitState.CLOSED and not self._waiting:
            try:
                return await write()
            except Exception:
                return 1
""",
    ),
    PluginMutant(
        "a rate limit that is taken twice",
        "parts/rate_limit.py",
        """        try:
            return await self._kv.incr(key, ttl_seconds=HOUR, idempotency_key=idempotency_key)
        except ValidationError:
""",
        """        try:
            return await self._kv.incr(key, ttl_seconds=HOUR)
        except TimeoutError:
            return await self._kv.incr(key, ttl_seconds=HOUR)
        except ValidationError:
""",
    ),
    PluginMutant(
        "a breaker that never closes",
        "parts/breaker.py",
        """        return max(0.0, self._opened_at + self._recovery_timeout - self._clock.time())
""",
        """        return self._recovery_timeout
""",
    ),
    PluginMutant(
        "a total that counts what failed",
        "parts/total.py",
        """        kept = whole_number(await self._kv.get(self._key))
        if kept is None""",
        """        try:
            kept = whole_number(await self._kv.get(self._key))
        except Exception:
            return 0
        if kept is None""",
    ),
)
