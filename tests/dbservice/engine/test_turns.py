"""Who may scan next, without any scan."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from dbservice.engine import turns
from dbservice.engine.errors import StatementTimeoutError
from dbservice.engine.fair_queue import FairQueue
from dbservice.engine.turns import SLICE, Places, ScanTurns


class Scan:
    """A scan that ends when the test says so; a long one does not fit into a slice."""

    def __init__(self, *, long: bool = False) -> None:
        self.limits: list[float] = []
        self.begun = asyncio.Event()
        self.end = asyncio.Event()
        self._long = long

    async def attempt(self, seconds: float) -> str:
        self.limits.append(seconds)
        if self._long and seconds == SLICE:
            raise StatementTimeoutError("")
        self.begun.set()
        await self.end.wait()
        return "answer"


async def test_a_scan_that_does_not_fit_into_a_slice_begins_again_with_the_whole_time() -> None:
    scan = Scan(long=True)
    scan.end.set()
    assert await ScanTurns(2, 5.0).run("a", scan.attempt) == "answer"
    assert scan.limits == [SLICE, 5.0]


async def test_long_scans_leave_a_slot_to_short_ones() -> None:
    scans = ScanTurns(2, 5.0)
    long = [Scan(long=True) for _ in range(4)]
    running = [asyncio.create_task(scans.run("noisy", scan.attempt)) for scan in long]
    await long[0].begun.wait()
    short = Scan()
    short.end.set()
    assert await scans.run("quiet", short.attempt) == "answer"
    assert not any(task.done() for task in running)
    for scan in long:
        scan.end.set()
    assert await asyncio.gather(*running) == ["answer"] * 4
    assert scans.taken == 0


async def test_who_used_less_time_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(turns, "time", SimpleNamespace(monotonic=lambda: now))
    scans = ScanTurns(1, SLICE)
    order: list[str] = []

    async def slow(seconds: float) -> None:
        nonlocal now
        order.append("noisy")
        now += seconds
        await asyncio.sleep(0)

    async def quick(_seconds: float) -> None:
        nonlocal now
        order.append("quiet")
        now += 0.001
        await asyncio.sleep(0)

    noisy = [asyncio.create_task(scans.run("noisy", slow)) for _ in range(5)]
    await asyncio.sleep(0)
    quiet = [asyncio.create_task(scans.run("quiet", quick)) for _ in range(5)]
    await asyncio.gather(*noisy, *quiet)
    assert order[:2] == ["noisy", "noisy"]  # the second was there before the others came
    assert order[2:7] == ["quiet"] * 5


async def test_one_that_gave_up_waiting_costs_nobody_a_slot() -> None:
    scans = ScanTurns(1, SLICE)
    first, second = Scan(), Scan()
    running = asyncio.create_task(scans.run("a", first.attempt))
    await first.begun.wait()
    waiting = asyncio.create_task(scans.run("a", second.attempt))
    await asyncio.sleep(0)
    assert scans.waited >= 0
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    first.end.set()
    assert await running == "answer"
    second.end.set()
    assert await scans.run("a", second.attempt) == "answer"


def test_who_was_away_has_saved_nothing_up() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(6):
        queue.put("a", number)
    for _ in range(3):
        assert queue.take() is not None
        queue.charge("a", 1)
    for number in range(3):
        queue.put("b", 10 + number)
    taken = []
    while (turn := queue.take()) is not None:
        queue.charge(turn[0], 1)
        taken.append(turn[0])
    assert taken == ["b", "a", "b", "a", "b", "a"]


def test_who_comes_waits_for_nothing_that_nobody_has_used() -> None:
    """Of two that may take long both may be over soon."""
    queue: FairQueue[int] = FairQueue(expected=5)
    for number in range(4):
        queue.put("a", number)
    assert [queue.take(), queue.take()] == [("a", 0), ("a", 1)]
    queue.put("b", 10)
    queue.charge("a", 0.1)
    queue.charge("a", 0.1)
    assert queue.take() == ("b", 10)


def test_who_comes_waits_for_nothing_that_was_put_back() -> None:
    """Whoever takes many and has time for one gives the others back, round after round."""
    queue: FairQueue[int] = FairQueue(expected=1)
    for number in range(32):
        queue.put("a", number)
    for _ in range(3):
        taken = [number for _, number in iter(queue.take, None)]
        queue.charge("a", 1)
        for number in reversed(taken[1:]):
            queue.put_back("a", number)
    queue.put("b", 100)
    order = [number for _, number in iter(queue.take, None)]
    assert order[:4] == [100, 3, 4, 5]


async def test_a_plugin_leaves_a_place_to_the_others_and_waits_itself() -> None:
    places, end = Places(5), asyncio.Event()
    held: list[str] = []

    async def hold(plugin: str) -> None:
        async with places.place(plugin):
            held.append(plugin)
            await end.wait()

    noisy = [asyncio.create_task(hold("noisy")) for _ in range(6)]
    await asyncio.sleep(0)
    quiet = asyncio.create_task(hold("quiet"))
    await asyncio.sleep(0)
    assert held == ["noisy"] * 4 + ["quiet"]
    end.set()
    await asyncio.gather(*noisy, quiet)
    await places.all_free()
    assert held == ["noisy"] * 4 + ["quiet"] + ["noisy"] * 2
    assert places.waited == 0


async def test_a_place_is_handed_to_nobody_who_has_given_up() -> None:
    places = Places(1)
    async with places.place("a"):
        given_up = asyncio.create_task(places.place("a").__aenter__())
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
    async with places.place("b"):
        pass
    await places.all_free()
