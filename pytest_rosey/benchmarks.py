"""`rosey_benchmark`: pytest-benchmark for coroutines.

pytest-benchmark calls a function and looks at its clock before and after, which leaves no moment
in which an event loop could run. So the coroutine is timed here, on the loop of the test, and
then pytest-benchmark measures an empty function with a clock that shows the same durations. All
that it does with figures is its own, and nothing of it is reached into.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import math
import pkgutil
import statistics
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TypeVar

import pytest

__tracebackhide__ = True

T = TypeVar("T")

_PERCENTILES = (50, 95, 99)


class ReplayedClock:
    """A clock that shows durations which were measured before; else it is the given one.

    Args:
        clock: measures, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        # pytest-benchmark writes it into its reports.
        self.__name__ = getattr(clock, "__name__", type(clock).__name__)
        self.__module__ = getattr(clock, "__module__", None) or __name__
        self._shown: Iterator[float] = iter(())

    def show(self, durations: Sequence[float]) -> None:
        """Show a beginning and an end of each duration."""
        self._shown = iter([moment for duration in durations for moment in (0.0, duration)])

    def __call__(self) -> float:
        """Return the next moment, in seconds."""
        return next(self._shown, None) or 0.0


class RoseyBenchmark:
    """Measures coroutine functions; once in a test, as pytest-benchmark.

    Args:
        benchmark: pytest-benchmark's fixture.
        clock: the clock that it was made with.
        limits: pytest-benchmark's options for this test.

    Attributes:
        extra_info: what is saved beside the figures; a test may add to it.
    """

    def __init__(self, benchmark: Any, clock: ReplayedClock, limits: dict[str, Any]) -> None:
        self._benchmark = benchmark
        self.extra_info: dict[str, Any] = benchmark.extra_info
        self._clock = clock
        self._limits = limits

    async def __call__(
        self,
        function: Callable[..., Awaitable[T]],
        *args: Any,
        setup: Callable[[], Any] | None = None,
        **kwargs: Any,
    ) -> T:
        """Await a coroutine function again and again; return what it returned the last time.

        As often as `--benchmark-max-time` and `--benchmark-min-rounds` say; one round is one
        call. `extra_info` gets `p50`, `p95` and `p99` in seconds, and `throughput` in calls a
        second.

        Args:
            function: what is measured.
            args: its arguments.
            setup: called, and awaited if it is a coroutine function, before each call; its time
                does not count. It may return `(args, kwargs)` for the call.
            kwargs: further arguments.
        """

        async def once() -> tuple[float, T]:
            given = await _value(setup) if setup is not None else None
            positional, named = given or (args, kwargs)
            start = self._clock.clock()
            result = await function(*positional, **named)
            return self._clock.clock() - start, result

        async def rounds() -> tuple[list[float], T]:
            if not self._benchmark.enabled:
                return [], (await once())[1]
            for _ in range(self._warmup_rounds):
                await once()
            durations: list[float] = []
            while len(durations) < self._limits["min_rounds"] or (
                math.fsum(durations) < self._limits["max_time"]
            ):
                duration, result = await once()
                durations.append(duration)
            return durations, result

        durations, result = await self._measured(rounds)
        self._report(durations, durations, 1)
        return result

    async def concurrent(
        self,
        function: Callable[..., Awaitable[object]],
        *args: Any,
        clients: int = 10,
        each: int = 100,
        rounds: int = 5,
        **kwargs: Any,
    ) -> None:
        """Await a coroutine function in several tasks at a time.

        One round is all calls of all clients. `extra_info` gets `p50`, `p95` and `p99` of the
        single calls in seconds, `throughput` in calls a second, and `clients` and `each`.

        Args:
            function: what is measured.
            args: its arguments.
            clients: how many tasks.
            each: how many calls each of them makes, one after the other.
            rounds: how often all this is done.
            kwargs: further arguments.

        Raises:
            ValueError: nothing would be measured.
        """
        if not self._benchmark.enabled:
            clients, each, rounds = (min(number, 1) for number in (clients, each, rounds))
        clock, calls = self._clock.clock, list[float]()

        async def client() -> None:
            for _ in range(each):
                start = clock()
                await function(*args, **kwargs)
                calls.append(clock() - start)

        async def round_() -> float:
            start = clock()
            async with asyncio.TaskGroup() as group:
                for _ in range(clients):
                    group.create_task(client())
            return clock() - start

        async def all_rounds() -> list[float]:
            if min(clients, each, rounds) < 1:
                raise ValueError(
                    f"Nothing to measure: {clients=}, {each=}, {rounds=}; 1 or more each."
                )
            return [await round_() for _ in range(rounds)]

        durations = await self._measured(all_rounds)
        self._report(durations, calls, clients * each)
        self.extra_info.update(clients=clients, each=each)

    @property
    def _warmup_rounds(self) -> int:
        return self._limits["warmup_iterations"] if self._limits["warmup"] else 1

    async def _measured(self, measure: Callable[[], Awaitable[T]]) -> T:
        try:
            with _without_gc(self._limits["disable_gc"]):
                return await measure()
        except BaseException:
            with suppress(RuntimeError):
                self._benchmark.pedantic(_fail)  # so that it counts as used and failed
            raise

    def _report(self, rounds: list[float], calls: list[float], calls_a_round: int) -> None:
        """Hand the rounds to pytest-benchmark, and add what it does not compute."""
        if not self._benchmark.enabled:
            self._benchmark.pedantic(_nothing)
            return
        self._clock.show(rounds)
        self._benchmark.pedantic(_nothing, rounds=len(rounds))
        cuts = statistics.quantiles(calls, n=100, method="inclusive") if len(calls) > 1 else []
        for percentile in _PERCENTILES:
            value = cuts[percentile - 1] if cuts else calls[0]
            self.extra_info[f"p{percentile}"] = value
        self.extra_info["throughput"] = calls_a_round * len(rounds) / math.fsum(rounds)


@contextmanager
def replaced_clock(item: pytest.Item) -> Iterator[tuple[ReplayedClock, dict[str, Any]]]:
    """Let pytest-benchmark use a clock of ours in a test; yield it and the test's options."""
    marker = item.get_closest_marker("benchmark")
    given = dict(marker.kwargs) if marker is not None else {}
    limits = {name: given.get(name, _option(item.config, name)) for name in _OPTIONS}
    clock = ReplayedClock(_function(limits.pop("timer")))
    ours = pytest.mark.benchmark(**{**given, "timer": clock})
    item.add_marker(ours, append=False)
    try:
        yield clock, limits
    finally:
        # A rerun of the test must not take it for the clock that its author chose.
        item.own_markers.remove(ours.mark)


_OPTIONS = ("timer", "min_rounds", "max_time", "warmup", "warmup_iterations", "disable_gc")


def _option(config: pytest.Config, name: str) -> Any:
    value = config.getoption(f"benchmark_{name}")
    return float(value) if name == "max_time" else value


def _function(timer: str | Callable[[], float]) -> Callable[[], float]:
    """Return a clock that an option names, as `time.perf_counter`, or a marker holds."""
    if isinstance(timer, str):
        found: Callable[[], float] = pkgutil.resolve_name(timer)
        return found
    return timer


@contextmanager
def _without_gc(disabled: bool) -> Iterator[None]:
    was_enabled = gc.isenabled()
    if disabled:
        gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


async def _value(function: Callable[[], Any]) -> Any:
    value = function()
    return await value if inspect.isawaitable(value) else value


def _nothing() -> None:
    """Stand in for what was measured before."""


def _fail() -> NoReturn:
    raise RuntimeError
