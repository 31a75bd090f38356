"""The guard of CI: ratios of one short run against stored ones, never seconds.

A ratio is what something costs, divided by what it stands on, measured in the same rounds: it
hardly depends on the machine, so one stored on another machine is still worth something.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from pytest_rosey.bench.figures import Measurement, Run, quartiles, ratio

ATTEMPTS: Final = 3
"""Runs before a ratio is believed to be off: it must be off in each of them."""

_ON_FLOORS: Final = ("get", "add", "upvote", "delete", "random", "search", "kv get", "kv set")
_IN_PLUGIN: Final = ("get", "add", "upvote", "search")


class Stored(msgspec.Struct, frozen=True):
    """The content of the file: ratios by name, and where they are from."""

    measured_on: str
    ratios: dict[str, float]


def ratios(run: Run) -> dict[str, float]:
    """Return what is guarded, by name; more is always worse."""
    return dict(_ratios(run))


def _ratios(run: Run) -> Iterator[tuple[str, float]]:
    def one(operation: str, contestant: str) -> Measurement:
        return run.find("latency", operation, contestant)

    for operation in _ON_FLOORS:
        # A durable write waits for the disk, and disks differ more than machines: the floor is
        # the way over NATS and the same write in SQLite together.
        floors = one(operation, "echo"), one(operation, "sqlite")
        yield f"{operation}: service / (echo + sqlite)", _over(one(operation, "service"), *floors)
    for operation in _IN_PLUGIN:
        value = ratio(one(operation, "plugin"), one(operation, "client"), "p50").median
        yield f"{operation}: plugin / client", value
    hot = ratio(one("hot get", "plugin"), one("hot get", "legacy"), "p50")
    yield "hot get: plugin / legacy", hot.median
    rates = [run.find("throughput", "get", name, clients=100) for name in ("echo", "service")]
    yield "get, 100 in flight: echo / service", ratio(rates[0], rates[1], "rate").median


def _over(one: Measurement, *floors: Measurement) -> float:
    rounds = zip(one.rounds, *(floor.rounds for floor in floors), strict=True)
    return quartiles(mine.p50 / sum(floor.p50 for floor in below) for mine, *below in rounds).median


def too_high(
    measured: Mapping[str, float], stored: Mapping[str, float], margin: float
) -> dict[str, str]:
    """Return what is wrong with each ratio that is, in words.

    Args:
        measured: as `ratios()` returns them.
        stored: what they were once.
        margin: how many times the stored ratio is too much.
    """
    wrong = {
        name: f"{name}: {value:.2f}, stored {stored[name]:.2f}, at most {margin * stored[name]:.2f}"
        for name, value in measured.items()
        if name in stored and value > margin * stored[name]
    }
    wrong |= {name: f"{name}: is not stored" for name in measured.keys() - stored.keys()}
    return wrong | {name: f"{name}: was not measured" for name in stored.keys() - measured.keys()}


def load(path: Path) -> Stored:
    """Return the stored ratios.

    Raises:
        ValueError: the file is none of ours.
        OSError: it cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Stored)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} has no stored ratios: {error}") from None


def save(run: Run, path: Path) -> None:
    """Store the ratios of a run."""
    machine = run.machine
    where = f"{machine.processor}, {machine.cores} cores, load {machine.load_before:.1f}"
    values = {name: round(value, 2) for name, value in ratios(run).items()}
    stored = msgspec.json.encode(Stored(where, values))
    path.write_bytes(msgspec.json.format(stored, indent=2) + b"\n")
