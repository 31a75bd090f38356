"""Writes that wait: in their order, not too many, not too long, and never reported too early."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dbservice.client import ConstraintViolation, RequestTimeout
from dbservice.runtime.clock import SystemClock
from reference_plugin_quote_db.errors import ServiceUnavailableError, WriteNotAcknowledged
from reference_plugin_quote_db.parts.breaker import CircuitBreaker, CircuitState
from reference_plugin_quote_db.parts.cache import RowCache
from reference_plugin_quote_db.parts.degradation import DegradationLevel, degradation_level
from reference_plugin_quote_db.parts.write_queue import WriteQueue
from reference_plugin_quote_db.tests.test_breaker import called

pytestmark = [pytest.mark.asyncio, pytest.mark.rosey_time("virtual")]


class Service:
    """Something behind a breaker that is there or not."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.breaker = CircuitBreaker(self.clock)
        self.is_there = True
        self.written: list[int] = []

    async def ask(self, number: int) -> int:
        if not self.is_there:
            raise RequestTimeout("gone")
        self.written.append(number)
        return number

    def write(self, number: int) -> Callable[[], Awaitable[int]]:
        return lambda: called(self.breaker, lambda: self.ask(number))

    async def go_away(self) -> None:
        self.is_there = False
        for _ in range(5):
            with pytest.raises(RequestTimeout):
                await called(self.breaker, lambda: self.ask(0))

    def queue(self, *, size: int = 100) -> WriteQueue:
        return WriteQueue(self.breaker, self.clock, size=size)


async def test_nothing_waits_while_all_is_well() -> None:
    service = Service()
    assert await service.queue().run(service.write(1)) == 1
    service.is_there = False
    with pytest.raises(RequestTimeout):
        await service.queue().run(service.write(2))


async def test_writes_are_done_in_their_order_when_the_service_is_back() -> None:
    service = Service()
    await service.go_away()
    service.is_there = True
    queue = service.queue()
    assert await asyncio.gather(*(queue.run(service.write(n)) for n in range(5))) == [0, 1, 2, 3, 4]
    assert service.written == [0, 1, 2, 3, 4]
    assert service.breaker.state is CircuitState.CLOSED
    assert len(queue) == 0


async def test_a_write_that_met_its_deadline_says_so() -> None:
    service = Service()
    await service.go_away()
    with pytest.raises(WriteNotAcknowledged, match="within 90 s") as raised:
        await service.queue().run(service.write(1))
    assert isinstance(raised.value, TimeoutError)
    assert isinstance(raised.value.__cause__, RequestTimeout)
    assert service.written == []


async def test_an_error_of_the_write_itself_is_not_waited_for() -> None:
    async def refused() -> int:
        raise ConstraintViolation("no")

    service = Service()
    await service.go_away()
    with pytest.raises(ConstraintViolation):
        await service.queue().run(refused)


async def test_closing_gives_up_what_waits() -> None:
    service = Service()
    await service.go_away()
    queue = service.queue()
    waiting = [asyncio.create_task(queue.run(service.write(n))) for n in range(3)]
    await asyncio.sleep(1)
    queue.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(result) for result in results] == [
        "The plugin is closing; the write was given up"
    ] * 3
    with pytest.raises(ServiceUnavailableError, match="closing"):
        await queue.run(service.write(4))
    await asyncio.sleep(60)
    service.is_there = True
    queue.open()
    assert await queue.run(service.write(5)) == 5
    assert service.written == [5]


async def test_a_full_queue_refuses_and_each_level_has_its_name() -> None:
    service = Service()
    cache = RowCache(service.clock, ("id", "score"))
    queue = service.queue(size=2)

    def level() -> DegradationLevel:
        return degradation_level(service.breaker, queue, cache)

    assert level() is DegradationLevel.NORMAL
    await service.go_away()
    assert level() is DegradationLevel.UNAVAILABLE, "nothing can be read"
    cache.put([{"id": 1, "score": 0}], cache.moment())
    assert level() is DegradationLevel.LIMITED
    waiting = [asyncio.create_task(queue.run(service.write(n))) for n in range(2)]
    await asyncio.sleep(1)
    assert len(queue) == 2
    with pytest.raises(ServiceUnavailableError, match="2 writes wait for it already"):
        await queue.run(service.write(3))
    assert level() is DegradationLevel.DEGRADED
    cache.clear()
    assert level() is DegradationLevel.UNAVAILABLE
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(queue) == 0
