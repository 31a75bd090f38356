"""Who may hold the event loop next, and who is told to come later, with a clock of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from dbservice.server import loop_turns
from dbservice.server.loop_turns import LoopTurns
from tests.dbservice.server.own_service import Gate, running

HELD = 0.02


class Pauses:
    """Stands for the clock and for the loop's timers: pauses end when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lengths: list[float] = []
        self._ends: list[Callable[[], None]] = []
        self._now = 0.0
        timers = SimpleNamespace(call_later=self._call_later)
        monkeypatch.setattr(loop_turns, "get_running_loop", lambda: timers)
        monkeypatch.setattr(loop_turns, "time", SimpleNamespace(perf_counter=lambda: self._now))

    def work(self) -> str:
        self._now += HELD
        return "answer"

    def _call_later(
        self, seconds: float, leave: Callable[[str, float], None], turn: str, held: float
    ) -> None:
        self.lengths.append(seconds)
        self._ends.append(lambda: leave(turn, held))

    def end(self) -> None:
        self._ends.pop(0)()


async def some_turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_held_the_loop_has_its_answer_before_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses, turns = Pauses(monkeypatch), LoopTurns()
    assert await turns.run("noisy", pauses.work) == "answer"
    assert pauses.lengths == pytest.approx([3 * HELD])


async def test_the_next_one_holds_the_loop_after_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses, turns = Pauses(monkeypatch), LoopTurns()
    await turns.run("noisy", pauses.work)
    noisy = asyncio.create_task(turns.run("noisy", pauses.work))
    await some_turns()
    quiet = asyncio.create_task(turns.run("quiet", pauses.work))
    await some_turns()
    assert not noisy.done()
    pauses.end()
    await some_turns()
    assert noisy.done() != quiet.done()  # one at a time
    pauses.end()
    assert await noisy == await quiet == "answer"


async def test_work_that_fails_leaves_its_place_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, turns = Pauses(monkeypatch), LoopTurns()

    def failing() -> str:
        raise ValueError(pauses.work())

    with pytest.raises(ValueError, match="answer"):
        await turns.run("noisy", failing)
    pauses.end()
    assert await turns.run("noisy", pauses.work) == "answer"


async def test_long_requests_are_refused_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(max_plugin_bytes=200_000) as bus:
        gate = Gate("noisy").stand_before(bus.service)
        long = {"key": "k", "value": "v" * 150_000}
        first = bus.asking("kv.noisy.set", long)
        await gate.has_let_in(1)
        pauses = Pauses(monkeypatch)
        refused = [bus.asking("kv.noisy.set", long) for _ in range(2)]
        await asyncio.wait(refused, return_when=asyncio.FIRST_COMPLETED)
        assert (await bus.ask("kv.quiet.get", {"key": "k"}))["success"]
        assert [task.done() for task in refused].count(True) == 1
        pauses.end()
        answers = await asyncio.gather(*refused)
        assert [answer["error"]["code"] for answer in answers] == ["OVERLOADED"] * 2
        assert pauses.lengths == [0.02, 0.02]
        gate.is_open.set()
        await first
