"""A circuit breaker: after several failures in a row, nothing is asked for a while."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

from dbservice.runtime.clock import Clock
from reference_plugin_quote_db.errors import CircuitBreakerError

T = TypeVar("T")

logger = logging.getLogger(__name__)


class CircuitState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    """All of them do."""

    OPEN = "open"
    """None does, until the recovery timeout has passed."""

    HALF_OPEN = "half_open"
    """One at a time does, to see whether the service has recovered."""


class CircuitBreaker:
    """Lets calls through as long as they do not fail one after another.

    Args:
        clock: tells when an open breaker may try again.
        failure_threshold: failures in a row that open it.
        recovery_timeout: seconds that it stays open.
        success_threshold: successes in a row that close it again.
        counts: whether an exception says something about the service; by default all do.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        failure_threshold: int = 5,
        recovery_timeout: float = 60.0,
        success_threshold: int = 2,
        counts: Callable[[Exception], bool] = lambda _: True,
    ) -> None:
        self._clock = clock
        self._failure_threshold = failure_threshold
        self._recovery_timeout = recovery_timeout
        self._success_threshold = success_threshold
        self._counts = counts
        self._opened_at: float | None = None
        self._failures = 0
        self._successes = 0
        self._probing = False
        self._period = 0

    @property
    def state(self) -> CircuitState:
        """Where the breaker stands at this moment."""
        if self._opened_at is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if self.retry_after() > 0 else CircuitState.HALF_OPEN

    def retry_after(self) -> float:
        """Return the seconds until a call may go through; 0 if one may now."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._recovery_timeout - self._clock.time())

    def half_open(self) -> None:
        """Let the next call through, if none is: somebody has seen the service answer."""
        if self.state is CircuitState.OPEN:
            self._opened_at = self._clock.time() - self._recovery_timeout

    async def call(
        self, ask: Callable[[], Awaitable[T]], failed: Callable[[T], bool] = lambda _: False
    ) -> T:
        """Return what `ask` returns, and remember whether it worked.

        Args:
            ask: makes the call.
            failed: whether a result that was returned is a failure all the same.

        Raises:
            CircuitBreakerError: if the breaker lets no call through; `ask` was not called.
        """
        period = self._enter()
        try:
            result = await ask()
        except BaseException as error:
            if isinstance(error, Exception) and self._counts(error):
                self._record(period, success=False)
            else:  # cancelled, say: nothing is known about the service
                self._leave(period)
            raise
        self._record(period, success=not failed(result))
        return result

    def _enter(self) -> int:
        state = self.state
        if state is CircuitState.OPEN or (state is CircuitState.HALF_OPEN and self._probing):
            raise CircuitBreakerError(self.retry_after())
        self._probing = state is CircuitState.HALF_OPEN
        return self._period

    def _leave(self, period: int) -> None:
        if period == self._period:
            self._probing = False

    def _record(self, period: int, *, success: bool) -> None:
        if period != self._period:
            return  # a straggler, sent before the breaker last opened or closed
        self._probing = False
        if success:
            self._succeeded()
        else:
            self._failed()

    def _succeeded(self) -> None:
        self._failures = 0
        if self._opened_at is None:
            return
        self._successes += 1
        if self._successes >= self._success_threshold:
            self._turn(None)
            logger.info("Circuit breaker: CLOSED (recovered)")

    def _failed(self) -> None:
        self._failures += 1
        if self._opened_at is not None or self._failures >= self._failure_threshold:
            failures = self._failures
            self._turn(self._clock.time())
            logger.error("Circuit breaker: OPEN (%d failures)", failures)

    def _turn(self, opened_at: float | None) -> None:
        self._opened_at = opened_at
        self._failures = self._successes = 0
        self._period += 1
