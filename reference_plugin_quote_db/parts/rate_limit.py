"""How many times an hour somebody may do something, counted where all replicas see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dbservice.client import KeyValues, ValidationError
from dbservice.runtime.clock import Clock
from reference_plugin_quote_db.errors import RateLimitError

HOUR: Final = 3600
"""Seconds."""


class RateLimiter:
    """Counts with `incr`, which is atomic: of a hundred requests at once, ten get through.

    The hour begins with the first time. What was counted stays counted, even if the write is then
    refused by the service: giving it back would need a second write, which can be lost.

    Args:
        kv: where the counts are, each for an hour.
        clock: tells when the hour is over, for the message.
        on_refusal: called with who was refused.
    """

    def __init__(self, kv: KeyValues, clock: Clock, on_refusal: Callable[[str], None]) -> None:
        self._kv = kv
        self._clock = clock
        self._on_refusal = on_refusal

    async def take(self, who: str, limit: int, *, idempotency_key: str | None = None) -> None:
        """Count one time.

        Args:
            who: whose count it is.
            limit: times an hour.
            idempotency_key: counts a repeated request once.

        Raises:
            RateLimitError: if that is more than they may.
        """
        key = f"ratelimit:{who}"
        over = f"{key}:until"
        count = await self._count(key, idempotency_key)
        if count == 1:
            await self._kv.set(over, self._clock.time() + HOUR, ttl_seconds=HOUR)
        if count > limit:
            self._on_refusal(who)
            raise RateLimitError(limit, self._seconds_until(await self._kv.get(over)))

    async def _count(self, key: str, idempotency_key: str | None) -> int:
        try:
            return await self._kv.incr(key, ttl_seconds=HOUR, idempotency_key=idempotency_key)
        except ValidationError:
            # Whatever stands there is no count, and would keep them from trying for ever.
            await self._kv.delete(key)
            return await self._kv.incr(key, ttl_seconds=HOUR, idempotency_key=idempotency_key)

    def _seconds_until(self, moment: object) -> float:
        if not isinstance(moment, int | float):
            return HOUR
        return min(max(moment - self._clock.time(), 1.0), HOUR)
