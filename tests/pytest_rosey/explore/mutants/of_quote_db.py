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
        """                counters=ADDED_ONE,
                idempotency_key=idempotency_key,
                timeout=self.TIMEOUT_ADD,
            )
        )
""",
        """                idempotency_key=idempotency_key,
                timeout=self.TIMEOUT_ADD,
            )
        )
        await self._total._kv.incr(schema.TOTAL_COUNT)
""",
    ),
    PluginMutant(
        "the cache is dropped only when the deletion was acknowledged",
        "quotes.py",
        """        finally:  # a request that failed may have been carried out
            self._cache.drop(quote_id)
        if deleted:
""",
        """        finally:
            pass
        self._cache.drop(quote_id)
        if deleted:
""",
    ),
    PluginMutant(
        "the event before the commit",
        "quotes.py",
        """        quote_id = int(
            await quotes.insert(
""",
        """        await self._events.added(0, row[schema.ADDED_BY])
        quote_id = int(
            await quotes.insert(
""",
    ),
    PluginMutant(
        "a vote that is sent again without a key",
        "quotes.py",
        """            rows = await self._quotes.update(
                with_id(quote_id),
                {schema.SCORE: {"$inc": by}},
                returning=[schema.SCORE],
                timeout=self.TIMEOUT_UPDATE,
            )
""",
        """            try:
                rows = await self._quotes.update(
                    with_id(quote_id),
                    {schema.SCORE: {"$inc": by}},
                    returning=[schema.SCORE],
                    timeout=self.TIMEOUT_UPDATE,
                )
            except TimeoutError:
                rows = await self._quotes.update(
                    with_id(quote_id),
                    {schema.SCORE: {"$inc": by}},
                    returning=[schema.SCORE],
                    timeout=self.TIMEOUT_UPDATE,
                )
""",
    ),
    PluginMutant(
        "a write queue that acknowledges early",
        "parts/write_queue.py",
        """        if self._breaker.state is CircuitState.CLOSED and not self._waiting:
            return await write()
""",
        """        if self._breaker.state is CircuitState.CLOSED and not self._waiting:
            try:
                return await write()
            except Exception:
                return 1
""",
    ),
    PluginMutant(
        "a rate limit that is taken twice",
        "parts/rate_limit.py",
        "count = await self._kv.incr(key, ttl_seconds=HOUR, idempotency_key=idempotency_key)",
        """try:
            count = await self._kv.incr(key, ttl_seconds=HOUR)
        except TimeoutError:
            count = await self._kv.incr(key, ttl_seconds=HOUR)""",
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
        """        total = _number(await self._kv.get(TOTAL_COUNT))
""",
        """        try:
            total = _number(await self._kv.get(TOTAL_COUNT))
        except Exception:
            return 0
""",
    ),
)
