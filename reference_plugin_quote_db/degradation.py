"""How much of the plugin works, from all of it to nothing."""

from __future__ import annotations

from enum import IntEnum

from reference_plugin_quote_db.parts.breaker import CircuitBreaker, CircuitState
from reference_plugin_quote_db.parts.cache import QuoteCache
from reference_plugin_quote_db.parts.write_queue import WriteQueue


class DegradationLevel(IntEnum):
    """What can be had."""

    NORMAL = 1
    """Everything."""

    LIMITED = 2
    """Quotes that are in the cache; writes wait in the queue."""

    DEGRADED = 3
    """Quotes that are in the cache; the queue is full and writes are refused."""

    UNAVAILABLE = 4
    """Nothing: every request fails at once, with a clear message."""


def degradation_level(
    breaker: CircuitBreaker, queue: WriteQueue, cache: QuoteCache
) -> DegradationLevel:
    """Return the level at this moment."""
    if breaker.state is CircuitState.CLOSED:
        return DegradationLevel.NORMAL
    if not queue.is_full:
        return DegradationLevel.LIMITED
    return DegradationLevel.DEGRADED if cache.newest() else DegradationLevel.UNAVAILABLE
