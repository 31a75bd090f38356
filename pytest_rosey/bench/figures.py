"""What one run measured: the content of its JSON file."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

FORMAT: Final = 1
"""Of the file; raised when older files can no longer be read."""

LARGEST: Final = "service, most rows"
"""The process of the service that holds the largest table of the run."""

CURVE: Final = (*range(0, 100, 2), 99, 100)
"""The percentiles that are kept for plots."""

Figure = Literal["p50", "p95", "rate"]


class Turn(NamedTuple):
    """What a contestant did while it had its turn.

    Attributes:
        seconds: how long each call took.
        elapsed: seconds from the first call to the last answer.
    """

    seconds: Sequence[float]
    elapsed: float


class Round(msgspec.Struct, frozen=True):
    """One turn, summed up: seconds, and calls a second."""

    p50: float
    p95: float
    rate: float


class Key(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes:
        scenario: `latency`, `throughput`, `dataset`, `beside searches` …
        operation: `get`, `add` …
        contestant: `legacy`, `plugin` …
        clients: how many at a time.
        rows: how many rows there were before.
    """

    scenario: str
    operation: str
    contestant: str
    clients: int = 1
    rows: int = 1_000


class Measurement(msgspec.Struct, frozen=True):
    """All calls of one kind; times in seconds, `rate` in calls a second (median of the rounds)."""

    key: Key
    calls: int
    mean: float
    p50: float
    p95: float
    p99: float
    longest: float
    rate: float
    curve: list[float]
    rounds: list[Round]

    @classmethod
    def of(cls, key: Key, turns: Sequence[Turn]) -> Measurement:
        """Sum turns up."""
        seconds = sorted(second for turn in turns for second in turn.seconds)
        rounds = [_round(turn) for turn in turns]
        return cls(
            key=key,
            calls=len(seconds),
            mean=statistics.fmean(seconds),
            p50=percentile(seconds, 50),
            p95=percentile(seconds, 95),
            p99=percentile(seconds, 99),
            longest=seconds[-1],
            rate=statistics.median(one.rate for one in rounds),
            curve=[percentile(seconds, share) for share in CURVE],
            rounds=rounds,
        )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return a percentile of values in ascending order, interpolated between neighbours.

    Args:
        ordered: at least one value.
        share: 0 to 100.
    """
    place = (len(ordered) - 1) * share / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _round(turn: Turn) -> Round:
    ordered = sorted(turn.seconds)
    rate = len(ordered) / turn.elapsed
    return Round(percentile(ordered, 50), percentile(ordered, 95), rate)


class Quartiles(NamedTuple):
    """What rounds have in common.

    Attributes:
        median: half of the rounds lies below.
        low: a quarter of the rounds lies below.
        high: a quarter of the rounds lies above.
    """

    median: float
    low: float
    high: float


def quartiles(values: Iterable[float]) -> Quartiles:
    """Return the quartiles of at least one value, in any order."""
    ordered = sorted(values)
    return Quartiles(*(percentile(ordered, share) for share in (50, 25, 75)))


def ratio(one: Measurement, base: Measurement, figure: Figure) -> Quartiles:
    """Return how many times `base` one is, round by round: load of the machine hits both alike.

    Raises:
        ValueError: they did not take part in the same rounds.
    """
    pairs = zip(one.rounds, base.rounds, strict=True)
    return quartiles(getattr(a, figure) / getattr(b, figure) for a, b in pairs)


class Race(msgspec.Struct, frozen=True):
    """Votes for one row at the same time, and the score that came of it."""

    contestant: str
    votes: int
    score: int


class Memory(msgspec.Struct, frozen=True):
    """Resident memory of one process in MB."""

    process: str
    empty: float
    filled: float
    peak: float
    rows: int
    operations: int


class Restart(msgspec.Struct, frozen=True):
    """Seconds from the start of the service's process to its first reply."""

    rows: int
    seconds: list[float]


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured.

    Attributes:
        system: kernel and architecture.
        processor: its name, if the system tells.
        cores: those that this process may use.
        memory_mb: of the machine.
        load_before: load average of the last minute when the run began.
        load_after: the same at its end; the run itself is in it.
        file_system: of the databases.
        fsync_ms: median time to write a page and wait for the disk.
        versions: of Python, SQLite and the packages that matter.
    """

    system: str
    processor: str
    cores: int
    memory_mb: int
    load_before: float
    load_after: float
    file_system: str
    fsync_ms: float
    versions: dict[str, str]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of `rosey bench`."""

    format: int = FORMAT
    command: str
    plugin: str
    preset: str
    loop: str
    started: str
    seconds: float
    machine: Machine
    contestants: dict[str, str]
    left_out: list[str]
    measurements: list[Measurement]
    races: list[Race]
    memory: list[Memory]
    restarts: list[Restart]

    def find(self, scenario: str, operation: str, contestant: str, **more: Any) -> Measurement:
        """Return a measurement.

        Raises:
            KeyError: there is none.
        """
        for one in self.all(scenario, operation=operation, contestant=contestant, **more):
            return one
        raise KeyError(f"{scenario}: {operation} of {contestant} {more or ''}")

    def all(self, scenario: str, **wanted: Any) -> Iterator[Measurement]:
        """Yield the measurements of a scenario whose keys have these values."""
        for one in self.measurements:
            key = one.key
            if key.scenario == scenario and all(
                getattr(key, name) == value for name, value in wanted.items()
            ):
                yield one

    def seats(self, scenario: str) -> list[str]:
        """Return the contestants of a scenario, as they stand in the list of all."""
        there = set(self.values(scenario, "contestant"))
        return [name for name in self.contestants if name in there]

    def values(self, scenario: str, name: str, **wanted: Any) -> list[Any]:
        """Return the values that a part of the keys has in a scenario, in order of appearance."""
        found = (getattr(one.key, name) for one in self.all(scenario, **wanted))
        return list(dict.fromkeys(found))


def save(run: Run, path: Path) -> None:
    """Write a run to a file."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")


class NotARunError(ValueError):
    """A file that no run of this version wrote."""


def load(path: Path) -> Run:
    """Return the run in a file.

    Raises:
        NotARunError: it is none; the text says why.
        OSError: it cannot be read.
    """
    try:
        run = msgspec.json.decode(path.read_bytes(), type=Run)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotARunError(f"{path} is not a file of `rosey bench --json`: {error}") from None
    if run.format != FORMAT:
        raise NotARunError(f"{path} has format {run.format}; this version reads {FORMAT}.")
    return run
