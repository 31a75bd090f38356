"""How much works while the storage service is away, from all of it to nothing."""

from __future__ import annotations

from enum import IntEnum

from reference_plugin_quote_db.parts.breaker import CircuitBreaker, CircuitState
from reference_plugin_quote_db.parts.cache import RowCache
from reference_plugin_quote_db.parts.write_queue import WriteQueue


class DegradationLevel(IntEnum):
    """What can be had."""

    NORMAL = 1
    """Everything."""

    LIMITED = 2
    """What is in the cache; writes wait in the queue."""

    DEGRADED = 3
    """What is in the cache; the queue is full and writes are refused."""

    UNAVAILABLE = 4
    """Nothing can be read, because the cache is empty, too."""


def degradation_level(
    breaker: CircuitBreaker, queue: WriteQueue, cache: RowCache
) -> DegradationLevel:
    """Return the level at this moment."""
    if breaker.state is CircuitState.CLOSED:
        return DegradationLevel.NORMAL
    if not len(cache):
        return DegradationLevel.UNAVAILABLE
    return DegradationLevel.DEGRADED if queue.is_full else DegradationLevel.LIMITED
