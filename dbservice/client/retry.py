"""When a failed call is repeated, and after how long. Retrying happens here and nowhere else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from dbservice.client.errors import (
    DatabaseUnavailable,
    Disconnected,
    InternalError,
    LockTimeout,
    NoService,
    Overloaded,
    RequestTimeout,
    ShuttingDown,
    StatementTimeout,
    StorageError,
)

__tracebackhide__ = True  # in a failing test pytest shows the line of the caller

Waits = tuple[float, ...]
Kind = Literal["timeout", "connection", "overloaded", "server_error"]

LONGEST_WAIT: Final = 60.0
"""Seconds; what a service may ask for with `retry_after_ms` at the most."""

_KINDS: Final[tuple[tuple[Kind, tuple[type[StorageError], ...]], ...]] = (
    ("timeout", (RequestTimeout, StatementTimeout, LockTimeout)),
    ("connection", (NoService, Disconnected, DatabaseUnavailable, ShuttingDown)),
    ("overloaded", (Overloaded,)),
    ("server_error", (InternalError,)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and after which waits a call is repeated, by the kind of failure.

    Each entry of a tuple is one repeat and the seconds before it. Errors of the request itself
    (validation, constraints, not found) are never repeated.

    Attributes:
        timeout: no reply in time, or the service stopped the statement.
        connection: nobody answers, the connection or the database is gone, or the service is
            shutting down.
        overloaded: the service's queue is full; its `retry_after_ms`, where it sends one,
            replaces the wait.
        server_error: INTERNAL_ERROR.
        limit: repeats of one call at the most, whatever the kinds of failure; 0 is never.
        jitter: returns a factor for every wait; `random.random` spreads clients that failed
            together ("full jitter"). By default waits are exact.
        sleep: waits; replaced in tests.
    """

    timeout: Waits = (0.1, 0.2, 0.4)
    connection: Waits = (0.5, 1.0, 2.0, 4.0, 8.0)
    overloaded: Waits = (0.5, 1.0)
    server_error: Waits = (1.0, 2.0)
    limit: int = 5
    jitter: Callable[[], float] | None = None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Attempts:
    """Counts the failures of one call.

    Args:
        policy: what to allow.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._failures: Counter[Kind] = Counter()

    def wait_after(self, error: StorageError) -> float | None:
        """Return the seconds to wait before the call is repeated, or None to give up."""
        kind = _kind(error)
        if kind is None or self._failures.total() >= self._policy.limit:
            return None
        waits: Waits = getattr(self._policy, kind)
        if self._failures[kind] >= len(waits):
            return None
        wait = waits[self._failures[kind]]
        self._failures[kind] += 1
        return self._asked_for(error) or self._spread(wait)

    def _asked_for(self, error: StorageError) -> float | None:
        milliseconds = error.details.get("retry_after_ms")
        if not isinstance(milliseconds, int | float) or milliseconds <= 0:
            return None
        return min(milliseconds / 1000, LONGEST_WAIT)

    def _spread(self, wait: float) -> float:
        return wait if self._policy.jitter is None else wait * self._policy.jitter()


def _kind(error: StorageError) -> Kind | None:
    return next((kind for kind, classes in _KINDS if isinstance(error, classes)), None)
