"""Closed loops, and contestants that take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from itertools import count, islice

import pytest

from pytest_rosey.bench import scenarios
from pytest_rosey.bench.contestants import Seat
from pytest_rosey.bench.figures import Key, Turn
from pytest_rosey.bench.timing import Block, in_turns, lasting, timed


async def test_as_many_requests_are_in_flight_as_there_are_clients() -> None:
    active, most = 0, 0

    async def call(argument: int) -> int:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0)
        active -= 1
        return argument

    turn, results = await timed(call, range(50), clients=7)
    assert most == 7
    assert sorted(results) == list(range(50))
    assert len(turn.seconds) == 50
    assert turn.elapsed >= max(turn.seconds)


def test_a_turn_lasts_for_its_calls_and_its_seconds() -> None:
    assert list(lasting(count(), 3, 0)) == [0, 1, 2]
    assert len(list(islice(lasting(count(), 3, 60), 1_000))) == 1_000


async def test_every_block_runs_once_a_round_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    steps: list[str] = []

    def block(name: str) -> Block:
        async def run() -> Mapping[Key, Turn]:
            order.append(name)
            return {Key("latency", "get", name): Turn([float(len(order))], 1.0)}

        return Block(name, run)

    measured = await in_turns([block("a"), block("b"), block("c")], 4, steps.append)
    assert steps == order
    rounds = [order[start : start + 3] for start in range(0, 15, 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1, "each round has the same order"
    assert [one.key.contestant for one in measured] == ["a", "b", "c"]
    assert [one.calls for one in measured] == [4, 4, 4]
    assert min(one.curve[0] for one in measured) > 3, "the first round counts"


async def test_a_failure_says_where_it_happened() -> None:
    async def run() -> Mapping[Key, Turn]:
        raise TimeoutError("no answer")

    with pytest.raises(TimeoutError) as failure:
        await in_turns([Block("plugin: get", run)], 1, lambda _: None)
    assert failure.value.__notes__ == ["This happened while measuring plugin: get."]


class Kept:
    """A contestant that keeps nothing."""

    async def fill(self, rows: int) -> list[int]:
        return list(range(rows))

    async def get(self, key: int) -> int:
        return key

    async def random(self) -> str:
        return "any"

    hot_get = get


async def test_a_seat_knows_what_to_call_its_contestant_with() -> None:
    seat = Seat("kept", Kept())
    await seat.fill(100)
    first = seat.arguments("get", 60)
    assert sorted(first + seat.arguments("get", 40)) == list(range(100))
    assert seat.arguments("get", 1) == first[:1]
    assert seat.arguments("add", 2) == [100, 101]
    assert len(set(seat.arguments("hot get", 50))) == 10
    assert await seat.call("random")(0) == "any"
    assert await seat.call("hot get")(5) == 5
    assert not seat.offers("search")


async def test_searches_that_never_wait_let_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Searched(Kept):
        async def add(self, number: int) -> int:
            await asyncio.sleep(0)
            return number

        search, delete = Kept.random, Kept.get

    monkeypatch.setattr(scenarios, "settle", partial(scenarios.settle, 0))
    seat = Seat("searched", Searched())
    await seat.fill(10)
    async with asyncio.timeout(30):
        assert await scenarios.adds_beside_searches(seat, 3).run()
