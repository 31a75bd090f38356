"""Who can take part: what a plugin's author registers, and how it is found.

An installed package offers a benchmark of its plugin through the entry-point group
`rosey.benchmarks`: the plugin's name, and a module (or an object) with two functions::

    [project.entry-points."rosey.benchmarks"]
    quote-db = "reference_plugin_quote_db.benchmark"

    def legacy(path): ...   # the plugin as it was, on an SQLite file of its own
    def modern(nats): ...   # the plugin on the storage service, over a connected NATS client

Both return a `Contestant`. Its life is that of a plugin (`dbservice.runtime.plugin.Plugin`):
`initialize()` and `close()`, where it has them; the connection is closed by whoever opened it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from itertools import count, cycle, islice
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

from dbservice.protocol.errors import did_you_mean
from dbservice.runtime.plugin import PluginError, check

GROUP: Final = "rosey.benchmarks"

HOT_KEYS: Final = 10
"""Rows that are read again and again, to see what a cache is worth."""

KEYS_IN_USE: Final = 1_000
"""Rows that are read and voted on; more would cost memory and show nothing else."""


class Contestant(Protocol):
    """One of the sides. All coroutines do for the plugin what a user would ask of it.

    A contestant may also have `hot_get(key)`: a get of something that was read a moment ago,
    through whatever cache the plugin has.
    """

    async def fill(self, rows: int) -> list[int]:
        """Store so many rows, the quickest way there is; return their keys."""

    async def add(self, number: int) -> int:
        """Store one row, made from a number; return its key."""

    async def get(self, key: int) -> Any:
        """Read one row from the storage, past any cache of the plugin; has a `score`."""

    async def upvote(self, key: int) -> Any:
        """Change one row: add one to its `score`."""

    async def delete(self, key: int) -> Any:
        """Remove one row."""

    async def random(self) -> Any:
        """Read any row."""

    async def search(self) -> Any:
        """Read the ten newest rows of the many that contain some text."""

    async def top(self) -> Any:
        """Read the ten rows with the highest scores."""

    async def count(self) -> int:
        """Return how many rows there are."""


class Benchmark(Protocol):
    """What an entry point of the group leads to."""

    def legacy(self, path: Path) -> Contestant:
        """Return the plugin as it was, on a file that does not exist yet."""

    def modern(self, nats: Any) -> Contestant:
        """Return the plugin on the storage service."""


class NoSuchBenchmarkError(LookupError):
    """No installed package has a benchmark of this name, or it lacks something."""


def names() -> list[str]:
    """Return the plugins that have a benchmark."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


def benchmark_of(plugin: str) -> Benchmark:
    """Return the benchmark of a plugin.

    Raises:
        NoSuchBenchmarkError: there is none; the text says which there are.
    """
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    if plugin not in known:
        raise NoSuchBenchmarkError(
            f"No installed package has a benchmark of '{plugin}'.{did_you_mean(plugin, known)} "
            f"Installed: {', '.join(sorted(known)) or 'none'}. A package offers one through the "
            f"entry-point group {GROUP}."
        )
    entry = known[plugin]
    try:
        found: Benchmark = entry.load()
    except Exception as error:
        raise NoSuchBenchmarkError(
            f"The benchmark of '{plugin}' cannot be loaded from {entry.value}: "
            f"{type(error).__name__}: {error}."
        ) from error
    _check(found, ("legacy", "modern"), f"The benchmark of '{plugin}' ({entry.value})")
    return found


def check_contestant(contestant: object, plugin: str) -> None:
    """Return if a side of a benchmark can do all that it is asked.

    Raises:
        NoSuchBenchmarkError: a method is missing, or one of a plugin's is something else; the text
            names all that are.
    """
    methods = [name for name in vars(Contestant) if not name.startswith("_")]
    _check(contestant, methods, f"{type(contestant).__name__}, of the benchmark of '{plugin}',")
    try:
        check(contestant)
    except PluginError as error:
        raise NoSuchBenchmarkError(f"The benchmark of '{plugin}' cannot be run: {error}") from None


def _check(found: object, names: Sequence[str], what: str) -> None:
    missing = [f"{name}()" for name in names if not callable(getattr(found, name, None))]
    if missing:
        raise NoSuchBenchmarkError(
            f"{what} has no {', '.join(missing)}: `pydoc pytest_rosey.bench.contestants` says what "
            "a benchmark has."
        )


def claims_of(plugin: str) -> Any:
    """Return what a plugin's benchmark says is claimed of the plugin, or None.

    That is the module `claims` beside its two functions: figures to stand beside those that were
    measured, and what has to be known to believe them. quote-db has one.
    """
    entry = next((each for each in entry_points(group=GROUP) if each.name == plugin), None)
    return None if entry is None else getattr(entry.load(), "claims", None)


NO_ARGUMENT: Final = frozenset({"random", "search", "top", "count", "ping"})
_KEYED: Final = frozenset({"get", "upvote"})


@dataclass
class Seat:
    """A contestant at work: what it is called with next.

    Attributes:
        name: `legacy`, `plugin` …
        contestant: who sits here.
        keys: of the rows that are there all the time.
    """

    name: str
    contestant: Any
    keys: list[int] = field(default_factory=list)

    async def fill(self, rows: int) -> None:
        """Store so many rows and prepare to use them."""
        keys = await self.contestant.fill(rows)
        shuffled = Random(rows).sample(keys, min(len(keys), KEYS_IN_USE))  # noqa: S311 - repeatable
        self.keys = shuffled
        self._next_keys = {operation: cycle(shuffled) for operation in _KEYED}
        self._numbers = count(rows)

    def offers(self, operation: str) -> bool:
        """Return whether this contestant can do that."""
        return hasattr(self.contestant, _attribute(operation))

    def call(self, operation: str) -> Callable[[Any], Awaitable[Any]]:
        """Return an operation as a function of one argument."""
        method: Callable[..., Awaitable[Any]] = getattr(self.contestant, _attribute(operation))
        if operation in NO_ARGUMENT:
            return lambda _: method()
        return method

    def stream(self, operation: str) -> Iterator[int]:
        """Return what to call an operation with, without an end."""
        if operation == "hot get":
            return cycle(self.keys[:HOT_KEYS])
        return self._next_keys[operation] if operation in _KEYED else self._numbers

    def arguments(self, operation: str, calls: int) -> list[int]:
        """Return what to call an operation with, for so many calls."""
        return list(islice(self.stream(operation), calls))


def _attribute(operation: str) -> str:
    return operation.replace(" ", "_")
