"""Health and readiness, composed of named checks.

A check is a coroutine function that returns when the part is well and raises when it is not. Who
asks may be anybody: what an `Unwell` says is shown, of everything else only that it happened, and
the log has the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from dbservice.runtime.http import Handler, Request, Response, json_response

Check = Callable[[], Awaitable[object]]

CHECK_TIMEOUT: Final = 1.0
SHARED_FOR: Final = 1.0
"""Seconds for which an answer is given to others, too."""

HEALTHY: Final = "healthy"

_logger = logging.getLogger(__name__)


class Unwell(RuntimeError):  # noqa: N818 - a state, not a fault of the check
    """A part is not well, in words that an anonymous reader may see: no names, no addresses."""


class Probe:
    """Runs checks for whoever asks: one round at a time, however many ask.

    Args:
        checks: the checks by name.
        timeout: seconds each may take.
        shared_for: seconds for which the outcomes are given to others, too.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        timeout: float = CHECK_TIMEOUT,
        shared_for: float = SHARED_FOR,
    ) -> None:
        self._checks = checks
        self._timeout = timeout
        self._shared_for = shared_for
        self._round: asyncio.Task[dict[str, str]] | None = None
        self._ended = 0.0

    async def outcomes(self) -> dict[str, str]:
        """Return what each check says: `healthy`, or `unhealthy: …`."""
        if self._round is None or (self._round.done() and self._is_old()):
            self._round = asyncio.create_task(self._run())
        # Whoever asked may go away; others wait for the same round.
        return await asyncio.shield(self._round)

    def _is_old(self) -> bool:
        return asyncio.get_running_loop().time() - self._ended >= self._shared_for

    async def _run(self) -> dict[str, str]:
        try:
            outcomes = await asyncio.gather(*(self._outcome(name) for name in self._checks))
        finally:
            self._ended = asyncio.get_running_loop().time()
        return dict(zip(self._checks, outcomes, strict=True))

    async def _outcome(self, name: str) -> str:
        try:
            async with asyncio.timeout(self._timeout) as limit:
                await self._checks[name]()
        except Unwell as error:
            return f"unhealthy: {error}"
        except TimeoutError:
            within = f"within {self._timeout:g} s" if limit.expired() else "in time"
            return f"unhealthy: no answer {within}"
        except Exception as error:
            _logger.warning("The check %s failed: %s", name, error, exc_info=True)
            return "unhealthy: the check failed; the log of this process says why"
        return HEALTHY


def health_endpoint(checks: Mapping[str, Check], *, timeout: float = CHECK_TIMEOUT) -> Handler:
    """Return a handler that runs all checks at once and tells the outcome of each.

    It answers 200 `{"status": "healthy", "checks": {"nats": "healthy"}}`, or 503 with status
    `unhealthy` and `unhealthy: <reason>` at every check that failed.

    Args:
        checks: the checks by name.
        timeout: seconds each may take.
    """
    probe = Probe(checks, timeout=timeout)

    async def health(_request: Request) -> Response:
        outcomes = await probe.outcomes()
        if all(outcome == HEALTHY for outcome in outcomes.values()):
            return json_response({"status": HEALTHY, "checks": outcomes})
        return json_response({"status": "unhealthy", "checks": outcomes}, 503)

    return health


def readiness_endpoint(checks: Mapping[str, Check], *, timeout: float = CHECK_TIMEOUT) -> Handler:
    """Return a handler that says whether this process can take work.

    It answers 200 `{"status": "ready"}`, or 503 `{"status": "not ready", "reason": "nats:
    unhealthy: …"}` naming every check that failed.

    Args:
        checks: the checks by name.
        timeout: seconds each may take.
    """
    probe = Probe(checks, timeout=timeout)

    async def ready(_request: Request) -> Response:
        outcomes = await probe.outcomes()
        failed = [f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome != HEALTHY]
        if not failed:
            return json_response({"status": "ready"})
        return json_response({"status": "not ready", "reason": "; ".join(failed)}, 503)

    return ready
