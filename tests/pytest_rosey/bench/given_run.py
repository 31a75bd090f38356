"""Runs with given figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_rosey.bench.figures import Key, Machine, Measurement, Memory, Race, Restart, Run, Turn
from pytest_rosey.bench.run import LABELS

MACHINE = Machine(
    system="Linux 6 x86_64",
    processor="A <fast> one",
    cores=2,
    memory_mb=4_000,
    load_before=0.1,
    load_after=1.5,
    file_system="ext4",
    fsync_ms=0.5,
    versions={"Python": "3.11.7", "SQLite": "3.40.1"},
)


def measured(key: Key, *rounds: float) -> Measurement:
    """Return a measurement whose rounds are ten calls of so many milliseconds each."""
    turns = [Turn([ms / 1e3] * 10, 10 * ms / 1e3 / key.clients) for ms in rounds]
    return Measurement.of(key, turns)


def single(operation: str, **milliseconds: float) -> list[Measurement]:
    """Return what one client of each contestant measured, three rounds alike."""
    return [
        measured(Key("latency", operation, name.replace("_", " ")), ms, ms, ms)
        for name, ms in milliseconds.items()
    ]


def many(operation: str, clients: int, **milliseconds: float) -> list[Measurement]:
    """Return what many clients measured."""
    return [
        measured(Key("throughput", operation, name, clients), ms, ms)
        for name, ms in milliseconds.items()
    ]


def sized(operation: str, contestant: str, **milliseconds: float) -> list[Measurement]:
    """Return the same operation on tables of several sizes, `_100=0.5`."""
    return [
        measured(Key("dataset", operation, contestant, rows=int(rows[1:])), ms, ms)
        for rows, ms in milliseconds.items()
    ]


def a_run(measurements: Sequence[Measurement] = (), **more: Any) -> Run:
    there = {one.key.contestant for one in measurements}
    given: dict[str, Any] = {
        "command": "compare",
        "plugin": "quote-db",
        "preset": "quick",
        "loop": "asyncio",
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 12.0,
        "machine": MACHINE,
        "contestants": {name: words for name, words in LABELS.items() if name in there},
        "left_out": [],
        "measurements": list(measurements),
        "races": [],
        "memory": [],
        "restarts": [],
    }
    return Run(**(given | more))


def a_whole_run() -> Run:
    """Return a run in which the service is slower at reads, faster at writes."""
    found = []
    for operation in ("get", "random", "search", "hot get"):
        found += single(operation, legacy=0.1, plugin=0.6)
    for operation in ("add", "upvote", "delete"):
        found += single(operation, legacy=9.0, plugin=1.0)
    for operation in ("get", "add", "upvote", "delete", "random", "search", "kv get", "kv set"):
        found += single(operation, sqlite=0.05, echo=0.4, service=0.5, client=0.55)
    found += single("ping", echo=0.40, service=0.45)
    for clients in (10, 100):
        for operation in ("get", "add", "delete", "upvote", "search", "mixed"):
            found += many(operation, clients, legacy=8.0, echo=1.0, service=1.2, plugin=2.0)
    for operation in ("get", "upvote", "random", "top", "count", "search"):
        found += sized(operation, "legacy", _100=0.1, _1000=0.2, _10000=1.0)
        found += sized(operation, "plugin", _100=0.5, _1000=0.5, _10000=0.6)
    for scenario, ms in (("without searches", 1.0), ("beside searches", 1.2)):
        found.append(measured(Key(scenario, "add", "plugin"), ms, ms))
    return a_run(
        found,
        races=[Race("legacy", 100, 1), Race("plugin", 100, 100)],
        memory=[
            Memory("legacy", 30, 31, 32, 10_000, 1_000),
            Memory("plugin", 34, 35, 36, 10_000, 1_000),
            Memory("service", 50, 55, 60, 10_000, 1_000),
        ],
        restarts=[Restart(10_000, [0.5, 0.6, 0.7])],
        left_out=["PostgreSQL: not here"],
    )
