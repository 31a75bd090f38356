"""What the contestants are asked to do, one scenario a function.

Each returns the blocks of its turns, so that all contestants do the same thing in the same round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any, Final, NamedTuple

from pytest_rosey.bench.contestants import Seat
from pytest_rosey.bench.figures import Key, Race, Turn
from pytest_rosey.bench.processes import Child
from pytest_rosey.bench.timing import Block, lasting, timed

SINGLE: Final = ("ping", "get", "random", "search", "kv get", "kv set", "upvote")
"""Operations of one client; adds and deletes come in pairs."""

SIZED: Final = ("get", "upvote", "random", "top", "count", "search")
MIXTURE: Final = ("get",) * 6 + ("search", "random", "upvote", "add")
"""Of ten operations of a mixed load."""

SEARCHERS: Final = 10


WARM_UP: Final = 3
"""Calls before a turn of one client that do not count: the neighbour let everything get cold."""


class Amount(NamedTuple):
    """How long a turn lasts, at least.

    Attributes:
        calls: of all clients together.
        clients: how many at a time.
        seconds: 0 if only the calls count.
    """

    calls: int
    clients: int = 1
    seconds: float = 0.0


def latency(seats: Sequence[Seat], calls: int) -> list[Block]:
    """One client, one operation after the other."""
    operations = [
        _operation("latency", operation, seat, Amount(calls))
        for operation in SINGLE
        for seat in seats
        if seat.offers(operation)
    ]
    return operations + [_pairs("latency", seat, Amount(calls)) for seat in seats]


def hot_gets(seats: Sequence[Seat], calls: int) -> list[Block]:
    """Gets of the same ten rows, through the plugin's cache."""
    return [
        _operation("latency", "hot get", seat, Amount(calls))
        for seat in seats
        if seat.offers("hot get")
    ]


def load(seats: Sequence[Seat], operations: Iterable[str], amount: Amount) -> list[Block]:
    """Many clients at a time. `add` brings `delete` with it."""
    blocks = []
    for operation in operations:
        for seat in seats:
            if operation == "add":
                blocks.append(_pairs("throughput", seat, amount))
            elif operation == "mixed":
                blocks.append(_mixture(seat, amount))
            else:
                blocks.append(_operation("throughput", operation, seat, amount))
    return blocks


def sizes(by_size: Mapping[int, Sequence[Seat]], calls: int) -> list[Block]:
    """The same operations on tables of different sizes."""
    return [
        _operation("dataset", operation, seat, Amount(calls), rows)
        for operation in SIZED
        for rows, seats in by_size.items()
        for seat in seats
    ]


def adds(scenario: str, seat: Seat, calls: int) -> Block:
    """Adds of one client, and nothing of the deletes that undo them."""

    async def run() -> Mapping[Key, Turn]:
        turn, keys = await timed(seat.call("add"), seat.arguments("add", calls))
        await timed(seat.call("delete"), keys)
        return {Key(scenario, "add", seat.name): turn}

    return Block(f"{seat.name}: {scenario}", run)


def adds_beside_searches(seat: Seat, calls: int) -> Block:
    """The same while ten clients search, in this process."""
    alone = adds("beside searches", seat, calls)

    async def run() -> Mapping[Key, Turn]:
        search = seat.call("search")

        async def forever() -> None:
            while True:
                await search(None)
                await asyncio.sleep(0)  # one that never waits would let nobody else run again

        tasks = [asyncio.create_task(forever()) for _ in range(SEARCHERS)]
        await settle()
        try:
            return await alone.run()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return Block(alone.name, run)


def adds_beside_process(seat: Seat, searching: Child, calls: int) -> Block:
    """The same while ten clients search in a process of their own, as other plugins would."""
    alone = adds("beside searches", seat, calls)

    async def run() -> Mapping[Key, Turn]:
        searching.tell("go")
        await settle()
        try:
            return await alone.run()
        finally:
            searching.tell("rest")
            await settle()

    return Block(alone.name, run)


async def race(seat: Seat, votes: int) -> Race:
    """Votes for one new row at the same time."""
    key = await seat.contestant.add(next(iter(seat.arguments("add", 1))))
    await timed(seat.call("upvote"), [key] * votes, clients=votes)
    row: Any = await seat.contestant.get(key)
    await seat.contestant.delete(key)
    return Race(seat.name, votes, row["score"])


def _operation(
    scenario: str, operation: str, seat: Seat, amount: Amount, rows: int = 1_000
) -> Block:
    key = Key(scenario, operation, seat.name, amount.clients, rows)
    call = seat.call(operation)

    async def run() -> Mapping[Key, Turn]:
        await timed(call, seat.arguments(operation, WARM_UP))
        arguments = lasting(seat.stream(operation), amount.calls, amount.seconds)
        turn, _ = await timed(call, arguments, amount.clients)
        return {key: turn}

    return Block(f"{seat.name}: {operation}", run)


def _pairs(scenario: str, seat: Seat, amount: Amount) -> Block:
    """Adds, then deletes of what was added, so that the table keeps its size."""
    add, delete = seat.call("add"), seat.call("delete")

    async def run() -> Mapping[Key, Turn]:
        _, warming = await timed(add, seat.arguments("add", WARM_UP))
        arguments = lasting(seat.stream("add"), amount.calls, amount.seconds)
        added, keys = await timed(add, arguments, amount.clients)
        await timed(delete, warming)
        deleted, _ = await timed(delete, keys, amount.clients)
        return {
            Key(scenario, "add", seat.name, amount.clients): added,
            Key(scenario, "delete", seat.name, amount.clients): deleted,
        }

    return Block(f"{seat.name}: add, delete", run)


def _mixture(seat: Seat, amount: Amount) -> Block:
    calling = {operation: seat.call(operation) for operation in dict.fromkeys(MIXTURE)}

    async def call(planned: tuple[str, int]) -> tuple[str, Any]:
        operation, argument = planned
        return operation, await calling[operation](argument)

    async def run() -> Mapping[Key, Turn]:
        planned = ((kind, next(seat.stream(kind))) for kind in cycle(MIXTURE))
        endless = lasting(planned, amount.calls, amount.seconds)
        turn, results = await timed(call, endless, amount.clients)
        added = [result for kind, result in results if kind == "add"]
        await timed(seat.call("delete"), added)
        return {Key("throughput", "mixed", seat.name, amount.clients): turn}

    return Block(f"{seat.name}: mixed", run)


async def settle(seconds: float = 0.2) -> None:
    """Let what was started get into its stride, or what was stopped come to rest."""
    await asyncio.sleep(seconds)
