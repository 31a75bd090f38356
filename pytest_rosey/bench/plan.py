"""How much a run measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

Part = Literal[
    "one client", "many clients", "beside searches", "race", "replicas", "sizes", "memory"
]
EVERYTHING: Final[frozenset[Part]] = frozenset(get_args(Part))


@dataclass(frozen=True, slots=True)
class Plan:
    """The counts of a run.

    Attributes:
        name: what it is called on the command line.
        rounds: how often all contestants take their turn with one client.
        calls: calls of each operation in such a turn.
        load_rounds: the same for many clients at a time.
        load_calls: calls in such a turn, at least, by the number of clients.
        load_seconds: how long such a turn lasts, at least.
        rows: stored before anything is measured.
        sizes: numbers of rows to compare, the smallest first.
        size_rounds: rounds for these.
        size_calls: calls in such a turn.
        memory_rows: rows that are held while memory is measured.
        memory_operations: searches and gets meanwhile.
        restarts: how often the service is started again.
        votes: at the same time for one row.
        parts: what is measured at all.
    """

    name: str
    rounds: int
    calls: int
    load_rounds: int
    load_calls: dict[int, int]
    load_seconds: float
    rows: int
    sizes: tuple[int, ...]
    size_rounds: int
    size_calls: int
    memory_rows: int
    memory_operations: int
    restarts: int
    votes: int = 100
    parts: frozenset[Part] = EVERYTHING


QUICK: Final = Plan(
    name="quick",
    rounds=5,
    calls=20,
    load_rounds=3,
    load_calls={10: 100, 100: 200},
    load_seconds=0.1,
    rows=1_000,
    sizes=(100, 1_000, 10_000),
    size_rounds=4,
    size_calls=10,
    memory_rows=2_000,
    memory_operations=200,
    restarts=1,
)
DEFAULT: Final = Plan(
    name="default",
    rounds=16,
    calls=25,
    load_rounds=5,
    load_calls={10: 1_000, 100: 1_000, 1_000: 1_000},
    load_seconds=0.3,
    rows=1_000,
    sizes=(100, 1_000, 10_000, 100_000),
    size_rounds=10,
    size_calls=20,
    memory_rows=10_000,
    memory_operations=1_000,
    restarts=3,
)
FULL: Final = Plan(
    name="full",
    rounds=60,
    calls=40,
    load_rounds=11,
    load_calls={10: 1_000, 100: 2_000, 1_000: 5_000},
    load_seconds=1.0,
    rows=1_000,
    sizes=(100, 1_000, 10_000, 100_000, 1_000_000),
    size_rounds=20,
    size_calls=25,
    memory_rows=10_000,
    memory_operations=1_000,
    restarts=5,
)


GUARD: Final = replace(
    QUICK,
    name="guard",
    rounds=8,
    load_calls={100: 200},
    parts=frozenset({"one client", "many clients"}),
)
"""What the ratios of CI are taken from."""


def with_sizes(plan: Plan, largest: int) -> tuple[int, ...]:
    """Return the powers of ten up to a size, from a hundred."""
    sizes = tuple(10**power for power in range(2, 7) if 10**power <= largest)
    return sizes or plan.sizes[:1]
