"""How calls are timed, and how contestants take turns."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from pytest_rosey.bench.figures import Key, Measurement, Turn

T = TypeVar("T")

Step = Callable[[str], None]
"""Is told what comes next, once for each turn; moves the progress bar."""


async def timed(
    call: Callable[[Any], Awaitable[T]], arguments: Iterable[Any], clients: int = 1
) -> tuple[Turn, list[T]]:
    """Make one call for each argument; return their times and what they returned.

    A closed loop: each of the clients sends its next request when the reply to its last one came,
    so at any time as many are in flight as there are clients.
    """
    todo, clock = iter(arguments), time.perf_counter
    seconds: list[float] = []
    results: list[T] = []

    async def client() -> None:
        for argument in todo:
            started = clock()
            result = await call(argument)
            seconds.append(clock() - started)
            results.append(result)

    began = clock()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return Turn(seconds, clock() - began), results


def lasting(arguments: Iterable[T], calls: int, seconds: float) -> Iterator[T]:
    """Yield arguments for at least so many calls and at least so long.

    A turn that is over in a few milliseconds says more about the first wave than about the rate.
    """
    end = time.perf_counter() + seconds
    for number, argument in enumerate(arguments):
        if number >= calls and time.perf_counter() >= end:
            return
        yield argument


@dataclass(frozen=True, slots=True)
class Block:
    """What a contestant does in its turn.

    Attributes:
        name: for the progress bar.
        run: does it; returns one or more turns, each under what it measured.
    """

    name: str
    run: Callable[[], Awaitable[Mapping[Key, Turn]]]


async def in_turns(blocks: Sequence[Block], rounds: int, step: Step) -> list[Measurement]:
    """Let all blocks run once a round; return what was measured, in the order of the blocks.

    One more round comes first, and does not count: it warms up caches, connections and statements.
    Each round has another order, the same in every run, so that none always follows the same
    neighbour. Before each block garbage is collected; while it runs the collector works as it
    does in production.
    """
    gc.freeze()  # what is there already need not be looked through before every block
    turns: dict[Key, list[Turn]] = {}
    places: dict[Key, int] = {}
    for number in range(rounds + 1):
        order = Random(number).sample(range(len(blocks)), len(blocks))  # noqa: S311 - repeatable
        for place in order:
            block = blocks[place]
            step(block.name)
            gc.collect()
            try:
                found = await block.run()
            except Exception as error:
                error.add_note(f"This happened while measuring {block.name}.")
                raise
            places |= dict.fromkeys(found, place)
            if number:
                for key, turn in found.items():
                    turns.setdefault(key, []).append(turn)
    return [Measurement.of(key, turns[key]) for key in sorted(places, key=places.__getitem__)]
