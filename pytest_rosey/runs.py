"""One run of a test, and all that is kept about it until the test is over (SPEC 5.2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from pytest_rosey.clock import RoseyClock

_RUN = pytest.StashKey["Run"]()


class Faults(Protocol):
    """What injects faults: `NatsFaults`."""

    def lift(self) -> None:
        """End all faults."""

    def report(self) -> str:
        """List what was injected; empty if nothing was."""


@dataclass(eq=False, slots=True)
class Run:
    """One run of a test, from its set-up to its tear-down; a rerun is another one.

    Whatever is kept about a test is kept here, so that nothing of it reaches the next run.

    Attributes:
        item: the test.
        bus: which bus it is on, `fake` or `real`, once it has something there.
        faults: what injects faults into it, once somebody asked for it.
        clock: the clock of its service, once somebody asked for it.
        asked_jetstream: whether one of our clients has asked its JetStream for something.
        is_complete: whether the test came to its end; one that stopped half-way (failed, skipped,
            interrupted) had no chance to use what it prepared, nor to clean up.
        failures: the exceptions of what failed, subtests included.
        broken_callbacks: what the test's own callbacks on the bus have raised.
        notes: what the report of a failure says besides.
        refusals: why it was kept from connecting to a server.
    """

    item: pytest.Item
    bus: str | None = None
    faults: Faults | None = None
    clock: RoseyClock | None = None
    asked_jetstream: bool = False
    is_complete: bool = False
    failures: list[BaseException] = field(default_factory=list)
    broken_callbacks: list[Exception] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refusals: list[BaseException] = field(default_factory=list)
    _has_stopped: bool = False

    def note(self, report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
        """Take in how a phase of the test went, or one of its subtests."""
        if call.when == "teardown":
            # They hold frames.
            self.failures.clear()
            return
        if call.excinfo is not None:
            self.failures.append(call.excinfo.value)
        self._has_stopped |= not report.passed
        self.is_complete = call.when == "call" and not self._has_stopped


current_run: ContextVar[Run | None] = ContextVar("rosey_run", default=None)
"""The run that is going on. A task belongs to the run in whose context it was made."""


def begin(item: pytest.Item) -> Run:
    """Return the new run of a test that is about to be set up."""
    run = item.stash[_RUN] = Run(item)
    current_run.set(run)
    return run


def run_of(item: pytest.Item) -> Run:
    """Return the run of a test that is going on."""
    # Where another plugin's hook has ended the set-up, ours was not reached.
    return item.stash.get(_RUN, None) or begin(item)


@contextmanager
def runs_of(item: pytest.Item) -> Iterator[None]:
    """Let go of all that was kept about a test when it is over."""
    before = current_run.get()  # of a test that runs pytest itself
    try:
        yield
    finally:
        current_run.set(before)
        if _RUN in item.stash:  # else somebody else has run it in another way
            # A context that somebody keeps would keep the loop of the test with it.
            item.stash[_RUN].faults = None
            del item.stash[_RUN]


@contextmanager
def outside_of_tests() -> Iterator[None]:
    """Let what is made here belong to no test, as what a session's fixture makes."""
    token = current_run.set(None)
    try:
        yield
    finally:
        current_run.reset(token)


def told(error: BaseException) -> str:
    """Return an exception in a line, and where it was raised in another."""
    import traceback

    *_, frame = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error}\n  at {frame.filename}:{frame.lineno}"
