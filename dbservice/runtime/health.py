"""Health and readiness, composed of named checks (SPEC 3.7, 6).

A check is a coroutine function that returns when the part is well and raises when it is not; the
text of what it raises is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from dbservice.runtime.http import Handler, Request, Response, json_response

Check = Callable[[], Awaitable[object]]

CHECK_TIMEOUT: Final = 1.0
HEALTHY: Final = "healthy"


def health_endpoint(checks: Mapping[str, Check], *, timeout: float = CHECK_TIMEOUT) -> Handler:
    """Return a handler that runs all checks at once and tells the outcome of each.

    It answers 200 `{"status": "healthy", "checks": {"nats": "healthy"}}`, or 503 with status
    `unhealthy` and `unhealthy: <reason>` at every check that failed.

    Args:
        checks: the checks by name.
        timeout: seconds each may take.
    """

    async def health(_request: Request) -> Response:
        outcomes = await _outcomes(checks, timeout)
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

    async def ready(_request: Request) -> Response:
        outcomes = await _outcomes(checks, timeout)
        failed = [f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome != HEALTHY]
        if not failed:
            return json_response({"status": "ready"})
        return json_response({"status": "not ready", "reason": "; ".join(failed)}, 503)

    return ready


async def _outcomes(checks: Mapping[str, Check], seconds: float) -> dict[str, str]:
    outcomes = await asyncio.gather(*(_outcome(check, seconds) for check in checks.values()))
    return dict(zip(checks, outcomes, strict=True))


async def _outcome(check: Check, seconds: float) -> str:
    try:
        await asyncio.wait_for(check(), seconds)
    except TimeoutError as error:
        return f"unhealthy: {str(error) or f'no answer within {seconds:g} s'}"
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its outcome
        return f"unhealthy: {str(error) or type(error).__name__}"
    return HEALTHY
