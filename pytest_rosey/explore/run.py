"""One run of a test: with no fault or with one, from its first line to what is looked at after."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from dbservice.runtime.plugin import stop
from pytest_rosey import marks
from pytest_rosey.explore.calls import Call, Calls
from pytest_rosey.explore.effects import Effect, effect_of, state_of
from pytest_rosey.explore.invariants import Invariant
from pytest_rosey.explore.tap import Place, Tap
from pytest_rosey.explore.values import leaves_of
from pytest_rosey.leaks import is_of_nats_py
from pytest_rosey.marks import RUNNER

if TYPE_CHECKING:
    from pytest_rosey.clients import LoopBound
    from pytest_rosey.service.under_test import ServiceUnderTest

PATIENCE = 120.0
"""Virtual seconds that everything has to recover in, before it is looked at."""

_SETTLING = 1.0
_ENDS_THE_SESSION = (KeyboardInterrupt, SystemExit, pytest.exit.Exception)

Make = Callable[[], Awaitable[tuple[Any, "LoopBound"]]]
"""Returns another plugin like one of the test's, started, and its client."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A plugin of the test, and how to make another one like it."""

    plugin: Any
    make: Make


@dataclass(slots=True)
class Afterwards:
    """What was found when a run with a fault was over.

    Attributes:
        late: what a request that came late has changed.
        tasks: how many tasks of each coroutine were left.
        reads: those that an instance of the test answered otherwise than a fresh one.
        again: what the failed call raised when it was repeated; None if it worked or never failed.
        invariants: those that did not hold, with what they said.
        hang: what was being done when nothing happened any more, or None.
    """

    late: Effect = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    reads: list[str] = field(default_factory=list)
    again: Exception | None = None
    invariants: list[str] = field(default_factory=list)
    hang: str | None = None


class ExploredRun:
    """One run.

    Args:
        start: the moment at which it begins, in Unix seconds.
        place: where what goes wrong; None in a clean run.
        call: the number of the call that the place is in.
        reads: calls of a clean run that every instance on the same data answers alike.

    Attributes:
        calls: the calls that were made.
        tap: what the clients of the run publish through.
        invariants: the author's own.
        failure: what ended a clean run, or the fixtures of any.
        ended_by: what the body of the test raised.
        afterwards: what was found when it was over.
    """

    def __init__(
        self,
        start: float,
        place: Place | None = None,
        call: int | None = None,
        reads: Sequence[tuple[int, Call]] = (),
    ) -> None:
        self.start = start
        self.place = place
        self.calls = Calls(
            lambda: state_of(self._service), None if call is None else frozenset({call})
        )
        self.tap = Tap(self.calls, place)
        self.invariants: list[Invariant] = []
        self.failure: str | None = None
        self.ended_by: BaseException | None = None
        self.afterwards = Afterwards()
        self.was_run = False
        self._call = call
        self._reads = reads
        self._watched: list[Watched] = []
        self._found_service: ServiceUnderTest | None = None
        self._doing = ""

    # -- what fixtures tell it --------------------------------------------------------------------

    def met(self, name: str, value: Any) -> None:
        """Take note of what a fixture of the test has made."""
        if name == "db_service":
            self._found_service = value
        elif name == RUNNER:
            _work_in_place(value.get_loop())
        elif name == marks.HARNESS:
            value.tap = self.tap
        elif name == "rosey_explore":
            self.invariants = value.invariants
        elif name == "rosey_plugin":
            value.watch = self.watch

    def watch(self, plugin: Any, make: Make) -> None:
        """Take note of the calls of a plugin from now on."""
        self._watched.append(Watched(plugin, make))
        self.calls.watch(plugin)

    def owner_number(self, call: Call) -> int:
        """Return which of the plugins a call was made on."""
        return next(n for n, watched in enumerate(self._watched) if watched.plugin is call.owner)

    @property
    def _service(self) -> ServiceUnderTest:
        assert self._found_service is not None  # only tests that use it are explored
        return self._found_service

    # -- the run ----------------------------------------------------------------------------------

    def around(self, test: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[None]]:
        """Return a test that is this run of another one, and that never fails."""

        @functools.wraps(test)
        async def explored(*args: Any, **kwargs: Any) -> None:
            self.was_run = True
            tasks = asyncio.all_tasks()
            try:
                await test(*args, **kwargs)
            except _ENDS_THE_SESSION:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever a test may raise
                self.ended_by = error
            self.calls.is_recording = False
            await self._look(tasks)

        return explored

    async def _look(self, tasks: set[asyncio.Task[Any]]) -> None:
        self._doing = "waiting for the plugin to recover"
        found = self.afterwards
        try:
            if self.place is not None:
                self.tap.mend()
                if self.tap.holds:
                    await self._execute_what_is_late()
                await asyncio.sleep(PATIENCE)
            found.tasks = _left(tasks)
            if self.tap.is_hit:
                await self._compare_reads()
            self._doing = "looking at the invariants"
            await self._check_invariants()
            if self.tap.is_hit:
                self._doing = "calling again what had failed"
                await self._call_again()
        except _ENDS_THE_SESSION:
            raise
        except BaseException as error:  # noqa: BLE001 - a hang is no Exception
            found.hang = f"{self._doing}: {error}"

    async def _execute_what_is_late(self) -> None:
        self._doing = "reading before what was late"
        for watched, reads in self._reads_of_plugins():
            for read in reads:
                with suppress(Exception):
                    await read.again(watched.plugin)
        await asyncio.sleep(_SETTLING)  # past the deadline of a client that sends one
        before = state_of(self._service)
        await self.tap.release()
        await asyncio.sleep(_SETTLING)
        self.afterwards.late = effect_of(before, state_of(self._service))

    def _reads_of_plugins(self) -> Iterator[tuple[Watched, list[Call]]]:
        for number, watched in enumerate(self._watched):
            reads = [read for of, read in self._reads if of == number]
            if reads:
                yield watched, reads

    async def _compare_reads(self) -> None:
        for watched, reads in self._reads_of_plugins():
            self._doing = "starting a fresh instance"
            fresh, client = await watched.make()
            try:
                for read in reads:
                    self._doing = f"reading {read}"
                    await self._compare(read, watched.plugin, fresh)
            finally:
                await stop(fresh)
                await client.close()

    async def _compare(self, read: Call, plugin: Any, fresh: Any) -> None:
        ours, theirs = await _answer(read.again(plugin)), await _answer(read.again(fresh))
        if leaves_of(ours) != leaves_of(theirs):
            self.afterwards.reads.append(
                f"{read} gave {ours!r}, and {theirs!r} on a fresh instance"
            )

    async def _check_invariants(self) -> None:
        for invariant in self.invariants:
            name = getattr(invariant, "__name__", repr(invariant))
            try:
                holds = await invariant()
            except Exception as error:  # noqa: BLE001 - whatever an invariant raises breaks it
                self.afterwards.invariants.append(f"{name}: {said(error)}")
            else:
                if holds is False:
                    self.afterwards.invariants.append(f"{name} returned False")

    async def _call_again(self) -> None:
        call = self.faulted
        if call is None or call.error is None or call.overlaps:
            return
        try:
            await call.again()
        except Exception as error:  # noqa: BLE001 - judged later
            self.afterwards.again = error

    @property
    def faulted(self) -> Call | None:
        """The call in which the fault was to happen, if it was made."""
        if self._call is None or len(self.calls.all) < self._call:
            return None
        return self.calls.all[self._call - 1]


async def _answer(asked: Awaitable[Any]) -> Any:
    try:
        return await asked
    except Exception as error:  # noqa: BLE001 - an answer like any other
        return said(error)


def _work_in_place(loop: asyncio.AbstractEventLoop) -> None:
    """Let what a loop gives to threads be done at once, so that no run waits for real time."""

    def run_in_executor(_executor: Any, function: Callable[..., Any], *args: Any) -> Any:
        done = loop.create_future()
        try:
            done.set_result(function(*args))
        except Exception as error:  # noqa: BLE001 - the waiting coroutine's to handle
            done.set_exception(error)
        return done

    loop.run_in_executor = run_in_executor  # type: ignore[assignment,method-assign]


def said(error: BaseException) -> str:
    """Return an exception in words."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _left(before: set[asyncio.Task[Any]]) -> Counter[str]:
    """Return the tasks that are new, by the name of their coroutine, without those of nats-py."""
    current = asyncio.current_task()
    names = [
        str(getattr(task.get_coro(), "__qualname__", task.get_coro()))
        for task in asyncio.all_tasks() - before
        if task is not current and not is_of_nats_py(task)
    ]
    return Counter(sorted(names))
