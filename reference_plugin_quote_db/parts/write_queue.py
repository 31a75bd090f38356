"""Writes that wait until the storage service is back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from dbservice.runtime.clock import Clock
from reference_plugin_quote_db.errors import (
    ServiceUnavailableError,
    WriteNotAcknowledged,
    is_outage,
)
from reference_plugin_quote_db.parts.breaker import CircuitBreaker, CircuitState

T = TypeVar("T")

SIZE: Final = 100
DEADLINE: Final = 90.0
"""Seconds; longer than the breaker stays open, so that each write sees it open once more."""

PAUSE: Final = 1.0
"""Seconds between two looks at the breaker: it may be told early that the service is back."""


class WriteQueue:
    """Holds writes back while the breaker is not closed, in their order.

    Nothing is reported done before it is: `run()` returns what the service acknowledged, or
    raises. A write that waits may be sent more than once, so it must have an idempotency key.

    Args:
        breaker: says when the service may be asked.
        clock: tells when a deadline has passed.
        size: writes that wait at the most.
        deadline: seconds that a write waits at the most.

    Attributes:
        breaker: the same. While it is quiet, nothing has to wait.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        clock: Clock,
        *,
        size: int = SIZE,
        deadline: float = DEADLINE,
    ) -> None:
        self.breaker = breaker
        self._clock = clock
        self._size = size
        self._deadline = deadline
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._closed = asyncio.Event()

    def __len__(self) -> int:
        return self._waiting

    @property
    def is_full(self) -> bool:
        """Whether the next write that had to wait would be refused."""
        return self._waiting >= self._size

    def open(self) -> None:
        """Let writes wait, as at first; for a queue that was closed."""
        self._closed.clear()

    def close(self) -> None:
        """Let no write wait any longer: those that do fail at once, and so do those to come."""
        self._closed.set()

    async def run(self, write: Callable[[], Awaitable[T]]) -> T:
        """Return what `write` returns: at once if the service is well, else when it is again.

        Raises:
            ServiceUnavailableError: if too many writes wait already, or the queue is closed.
            WriteNotAcknowledged: if the deadline passed.
        """
        if self.breaker.state is CircuitState.CLOSED and not self._waiting:
            return await write()
        if self.is_full:
            raise ServiceUnavailableError(
                f"The storage service is away and {self._size} writes wait for it already"
            )
        until = self._clock.time() + self._deadline
        self._waiting += 1
        try:
            async with self._turn:
                return await self._when_possible(write, until)
        finally:
            self._waiting -= 1

    async def _when_possible(self, write: Callable[[], Awaitable[T]], until: float) -> T:
        failure: Exception | None = None
        while self._clock.time() < until:
            if self._closed.is_set():
                raise ServiceUnavailableError("The plugin is closing; the write was given up")
            if self.breaker.retry_after() == 0:
                try:
                    return await write()
                except Exception as error:
                    if not is_outage(error):
                        raise
                    failure = error
            await self._pause(max(0.0, min(PAUSE, until - self._clock.time())))
        raise WriteNotAcknowledged(self._deadline) from failure

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not on when the queue is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()
