"""The circuit breaker, and the guard that puts it between the plugin and the bus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from dbservice.runtime.clock import ManualClock
from reference_plugin_quote_db.errors import CircuitBreakerError
from reference_plugin_quote_db.parts.breaker import CircuitBreaker, CircuitState
from reference_plugin_quote_db.parts.guarded_bus import GuardedBus

T = TypeVar("T")

pytestmark = pytest.mark.asyncio


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000)


@pytest.fixture
def breaker(clock: ManualClock) -> CircuitBreaker:
    return CircuitBreaker(clock)


def state(breaker: CircuitBreaker) -> CircuitState:
    return breaker.state


async def called(breaker: CircuitBreaker, ask: Callable[[], Awaitable[T]]) -> T:
    """Call something behind a breaker, as `GuardedBus` does."""
    period = breaker.enter()
    try:
        result = await ask()
    except BaseException as error:
        breaker.leave(period, failed=True if isinstance(error, Exception) else None)
        raise
    breaker.leave(period, failed=False)
    return result


async def fine() -> str:
    return "fine"


async def broken() -> str:
    raise TimeoutError


async def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(TimeoutError):
            await called(breaker, broken)


async def test_five_failures_in_a_row_open_it(
    breaker: CircuitBreaker, caplog: pytest.LogCaptureFixture
) -> None:
    await fail(breaker, 4)
    assert await called(breaker, fine) == "fine"
    await fail(breaker, 4)
    assert state(breaker) is CircuitState.CLOSED
    await fail(breaker, 1)
    assert state(breaker) is CircuitState.OPEN
    assert "Circuit breaker: OPEN (5 failures)" in caplog.text


async def test_an_open_one_asks_nobody(breaker: CircuitBreaker, clock: ManualClock) -> None:
    await fail(breaker, 5)
    clock.advance(20)
    asked = []

    async def ask() -> None:
        asked.append(1)

    with pytest.raises(CircuitBreakerError) as refused:
        await called(breaker, ask)
    assert asked == []
    assert refused.value.retry_after == 40
    assert not isinstance(refused.value, ConnectionError | TimeoutError)


async def test_after_a_minute_two_successes_close_it(
    breaker: CircuitBreaker, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await fail(breaker, 5)
    clock.advance(60)
    assert state(breaker) is CircuitState.HALF_OPEN
    await called(breaker, fine)
    assert state(breaker) is CircuitState.HALF_OPEN
    with caplog.at_level(logging.INFO):
        await called(breaker, fine)
    assert state(breaker) is CircuitState.CLOSED
    assert "CLOSED (recovered)" in caplog.text
    await fail(breaker, 4)
    assert state(breaker) is CircuitState.CLOSED


async def test_a_failing_probe_opens_it_for_another_minute(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    await fail(breaker, 5)
    clock.advance(60)
    await fail(breaker, 1)
    assert state(breaker) is CircuitState.OPEN
    assert breaker.retry_after() == 60


async def test_one_probe_at_a_time(breaker: CircuitBreaker, clock: ManualClock) -> None:
    await fail(breaker, 5)
    clock.advance(60)
    begun, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await finish.wait()
        return "slow"

    probe = asyncio.create_task(called(breaker, slow))
    await begun.wait()
    with pytest.raises(CircuitBreakerError):
        await called(breaker, fine)
    finish.set()
    assert await probe == "slow"
    assert await called(breaker, fine) == "fine"


async def test_a_cancelled_probe_makes_room_and_proves_nothing(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    await fail(breaker, 5)
    clock.advance(60)
    probe = asyncio.create_task(called(breaker, lambda: asyncio.sleep(3600)))
    await asyncio.sleep(0)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert state(breaker) is CircuitState.HALF_OPEN
    assert await called(breaker, fine) == "fine"


async def test_stragglers_of_an_earlier_period_do_not_count(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    finish = asyncio.Event()

    async def late() -> str:
        await finish.wait()
        return "late"

    straggler = asyncio.create_task(called(breaker, late))
    await asyncio.sleep(0)
    await fail(breaker, 5)
    clock.advance(60)
    await called(breaker, fine)
    finish.set()
    assert await straggler == "late"
    assert state(breaker) is CircuitState.HALF_OPEN


# -- the guard ----------------------------------------------------------------------------------


class Reply:
    def __init__(self, data: Any) -> None:
        self.data = data


class Nats:
    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.options: dict[str, Any] = {}

    async def request(self, *_: Any, **options: Any) -> Reply:
        self.options = options
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return Reply(self.outcome)


class MaxPayloadError(Exception):
    """Named like that of nats-py."""


def failed(code: str) -> bytes:
    return b'{"success": false, "error": {"code": "%s", "message": "x"}}' % code.encode()


@pytest.mark.parametrize(
    ("outcome", "opens"),
    [
        (TimeoutError(), True),
        (ConnectionError(), True),
        (failed("INTERNAL_ERROR"), True),
        (failed("OVERLOADED"), True),
        (failed("DATABASE_UNAVAILABLE"), True),
        (failed("CONSTRAINT_VIOLATION"), False),
        (failed("VALIDATION_ERROR"), False),
        (b'{"success": true, "rows": []}', False),
        (b"not json", False),
        (object(), False),
        (MaxPayloadError(), False),
    ],
)
async def test_what_counts_as_a_failure(breaker: CircuitBreaker, outcome: Any, opens: bool) -> None:
    guard = GuardedBus(Nats(outcome), breaker)
    for _ in range(5):
        results = await asyncio.gather(
            guard.request("rosey.db.ping", b"", timeout=1), return_exceptions=True
        )
        assert len(results) == 1
    assert (state(breaker) is CircuitState.OPEN) is opens


async def test_headers_are_sent_only_if_there_are_some(breaker: CircuitBreaker) -> None:
    nats = Nats(b"{}")
    guard = GuardedBus(nats, breaker)
    await guard.request("a.b", b"", timeout=3)
    assert nats.options == {"timeout": 3}
    await guard.request("a.b", b"", timeout=3, headers={"A": "b"})
    assert nats.options == {"timeout": 3, "headers": {"A": "b"}}
