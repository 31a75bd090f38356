"""How many quotes a user may add in an hour, counted where all replicas see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dbservice.client import KeyValues
from dbservice.runtime.clock import Clock
from reference_plugin_quote_db.errors import RateLimitError

HOUR: Final = 3600

BY_ROLE: Final[Mapping[str, int | None]] = {"user": 10, "moderator": 50, "admin": None}
"""Quotes an hour; None is no limit. Roles that are not here are users."""


SETTING: Final = "max_quotes_per_user"
"""The KV key that holds another limit for users; it works without a restart."""


class RateLimiter:
    """Counts with `incr`, which is atomic: of a hundred requests at once, ten get through.

    The hour begins with the first quote. What was counted stays counted, even if the quote is
    then refused by the service: giving it back would need a second write, which can be lost.

    Args:
        kv: the plugin's keys; the count of a user lives there for an hour.
        clock: tells when the hour is over, for the message.
        on_refusal: called with the user's name.
    """

    def __init__(self, kv: KeyValues, clock: Clock, on_refusal: Callable[[str], None]) -> None:
        self._kv = kv
        self._clock = clock
        self._on_refusal = on_refusal

    async def limit_of(self, role: str) -> int | None:
        """Return how many quotes an hour somebody with this role may add; None is no limit."""
        if role in BY_ROLE and role != "user":
            return BY_ROLE[role]
        setting = await self._kv.get(SETTING)
        return setting if type(setting) is int and setting > 0 else BY_ROLE["user"]

    async def take(self, user: str, limit: int, *, idempotency_key: str | None = None) -> None:
        """Count one quote of this user.

        Args:
            user: their name; case does not count.
            limit: quotes an hour.
            idempotency_key: counts a repeated request once.

        Raises:
            RateLimitError: if they have added as many as they may.
        """
        key = f"ratelimit:{user.strip().casefold()}"
        over = f"{key}:until"
        count = await self._kv.incr(key, ttl_seconds=HOUR, idempotency_key=idempotency_key)
        if count == 1:
            await self._kv.set(over, self._clock.time() + HOUR, ttl_seconds=HOUR)
        if count > limit:
            self._on_refusal(user)
            raise RateLimitError(limit, self._seconds_until(await self._kv.get(over)))

    def _seconds_until(self, moment: object) -> float:
        if not isinstance(moment, int | float):
            return HOUR
        return min(max(moment - self._clock.time(), 1.0), HOUR)
