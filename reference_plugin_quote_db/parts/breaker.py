"""A circuit breaker: after several failures in a row, nothing is asked for a while."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum

from dbservice.runtime.clock import Clock
from reference_plugin_quote_db.errors import CircuitBreakerError

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

    Attributes:
        quiet: whether it is closed and the last call succeeded, so that another success would
            change nothing and need not be told.
        period: counts how often it opened and closed.
        on_open: called when it opens.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        failure_threshold: int = 5,
        recovery_timeout: float = 60.0,
        success_threshold: int = 2,
    ) -> None:
        self._clock = clock
        self._failure_threshold = failure_threshold
        self._recovery_timeout = recovery_timeout
        self._success_threshold = success_threshold
        self._opened_at: float | None = None
        self._failures = 0
        self._successes = 0
        self._probing = False
        self.period = 0
        self.quiet = True
        self.on_open: Callable[[], None] | None = None

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

    def enter(self) -> int:
        """Let a call through and return the present period, for `leave()`.

        Raises:
            CircuitBreakerError: if the breaker lets no call through.
        """
        state = self.state
        if state is CircuitState.OPEN or (state is CircuitState.HALF_OPEN and self._probing):
            raise CircuitBreakerError(self.retry_after())
        self._probing = state is CircuitState.HALF_OPEN
        return self.period

    def leave(self, period: int, *, failed: bool | None) -> None:
        """Remember how a call ended.

        Args:
            period: what `enter()` returned.
            failed: None if that says nothing about the service, as a call that was cancelled.
        """
        if period != self.period:
            return  # a straggler, sent before the breaker last opened or closed
        self._probing = False
        if failed:
            self._failed()
        elif failed is False:
            self._succeeded()

    def _succeeded(self) -> None:
        self._failures = 0
        if self._opened_at is None:
            self.quiet = True
            return
        self._successes += 1
        if self._successes >= self._success_threshold:
            self._turn(None)
            logger.info("Circuit breaker: CLOSED (recovered)")

    def _failed(self) -> None:
        self.quiet = False
        self._failures += 1
        if self._opened_at is not None or self._failures >= self._failure_threshold:
            failures = self._failures
            self._turn(self._clock.time())
            logger.error("Circuit breaker: OPEN (%d failures)", failures)
            if self.on_open is not None:
                self.on_open()

    def _turn(self, opened_at: float | None) -> None:
        self._opened_at = opened_at
        self._failures = self._successes = 0
        self.period += 1
        self.quiet = opened_at is None
