"""Virtual time: the clock of a test's loop jumps to the next timer when nothing else is to be done.

The loop is looptime's. Its pytest hooks are not used: they make the test's body virtual and leave
fixtures in real time, and they touch the loops of all other tests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import pytest
from _pytest.outcomes import Failed

from dbservice.runtime.clock import system_time
from pytest_rosey import marks
from pytest_rosey.clock import IDLE_TURNS, VirtualTime
from pytest_rosey.marks import Run, loop_scope_of, run_of
from pytest_rosey.options import MEMORY, settings

if TYPE_CHECKING:
    from looptime import LoopTimeEventLoop

HANG_LIMIT: Final = 3600.0
"""Virtual seconds without progress after which a test is taken to hang."""

_YEAR: Final = 366 * 86400.0

_LOOKS: Final = 6
"""How often within that limit."""

_LOOPTIMES_HOOKS = "looptime_plugin"


class Hang(Failed):
    """A test waits for what never comes.

    No Exception: code under test would swallow that and go on.
    """

    __module__ = "builtins"  # so that a report shows it by its name alone, as pytest's own


def begin(run: Run, start: float | None = None) -> None:
    """Let a run of a test that is about to be set up be in virtual time.

    Args:
        run: the run.
        start: the moment it begins, in Unix seconds; by default the present.

    Raises:
        pytest.fail.Exception: it cannot; the text says why and what to do.
    """
    reason = why_not(run.item)
    if reason is not None:
        _refuse(run.item, reason)
    run.clock = VirtualTime(time.time() if start is None else start)


def _clock_of(item: pytest.Item) -> VirtualTime:
    clock = run_of(item).clock
    assert isinstance(clock, VirtualTime)  # its run began in virtual time
    return clock


def why_not(item: pytest.Item) -> str | None:
    """Return why a test cannot run in virtual time, as far as that is known before it is set up."""
    if find_spec("looptime") is None:
        return "it needs the package looptime: pip install 'pytest-rosey[time]'"
    scope = loop_scope_of(item)
    if scope not in ("function", None):
        return (
            f"the test's loop scope is '{scope}': its loop serves several tests, and time would "
            "jump for all of them"
        )
    names = getattr(item, "fixturenames", ())
    if "nats_url" in names:
        return "nats_url lets others connect, and they wait in real time"
    if "nats_server" in names or marks.uses_real_bus(item):
        return "a real nats-server answers in real time, and every request would time out first"
    database = settings(item.config).database
    if database.value != MEMORY and "db_service" in names:
        return (
            f"the database is {database.value} ({database.source}), whose threads and sockets "
            "answer in real time, and every request would time out first; it needs "
            "--rosey-db=memory"
        )
    return None


def _refuse(item: pytest.Item, reason: str) -> None:
    __tracebackhide__ = True
    pytest.fail(
        f"{item.nodeid} cannot run in virtual time: {reason}.\n"
        '@pytest.mark.rosey_time("real") runs it in real time.',
        pytrace=False,
    )


def take_over(request: pytest.FixtureRequest, runner: Any, ending: ExitStack) -> None:
    """Make the new loop of a test virtual, before anything has run on it.

    Args:
        request: of the fixture that made the loop.
        runner: the `asyncio.Runner` that has the loop.
        ending: is closed after the loop.
    """
    import looptime

    clock = _clock_of(request.node)
    loop: Any = runner.get_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        kind = type(loop)
        _refuse(
            request.node,
            f"its loop is {kind.__module__}.{kind.__qualname__}, whose clock is its own",
        )
    clock.loop = looptime.patch_event_loop(loop)
    clock.loop.setup_looptime(start=0, noop_cycles=IDLE_TURNS)
    if not clock.loop.looptime_on:
        ending.enter_context(clock.loop.looptime_enabled())
    ending.enter_context(system_time(clock.time))
    end_threads = loop.shutdown_default_executor
    # Python 3.12 and later give threads a time to end in, which would be over before they begin to.
    loop.shutdown_default_executor = lambda _seconds=None: end_threads()
    watch = ExitStack()
    watch.enter_context(_watched(clock.loop))
    request.addfinalizer(watch.close)  # before the loop is closed, which waits for threads


def check_taken_over(item: pytest.Item) -> None:
    """Fail a test that asked for virtual time and has no loop that could be virtual."""
    if _clock_of(item).loop is None and item.get_closest_marker(marks.TIME) is not None:
        _refuse(item, "it does not run on a loop of pytest-asyncio")


def leave_out_looptimes_hooks(session: pytest.Session) -> None:
    """Take looptime's own hooks out of a run that does not use them.

    They patch the loops of all tests, and ask for a loop where there is none.
    """
    plugins = session.config.pluginmanager
    used = session.config.getoption("looptime", None) is not None
    if used or any(item.get_closest_marker("looptime") for item in session.items):
        return
    plugins.unregister(name=_LOOPTIMES_HOOKS)


# -- hangs ----------------------------------------------------------------------------------------


@contextmanager
def _watched(loop: LoopTimeEventLoop) -> Generator[None]:
    """End what runs on a loop when it makes no progress for `HANG_LIMIT` virtual seconds.

    Without it, a test that waits for what never comes would wait for ever: where time jumps, the
    pings of nats-py keep a loop busy.
    """
    run = loop.run_until_complete

    def run_watched(future: Any) -> Any:
        task = asyncio.ensure_future(future, loop=loop)
        with _Watchdog(loop, task):
            return run(task)

    loop.run_until_complete = run_watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        del loop.run_until_complete


class _Watchdog:
    """Looks now and then whether a task still waits for the same thing."""

    def __init__(self, loop: LoopTimeEventLoop, task: asyncio.Future[Any]) -> None:
        self._loop = loop
        self._task = task
        self._waits_for: Any = None
        self._since = loop.time()
        self._own_timers: list[asyncio.TimerHandle] = []
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._call_at = self._loop.call_at
        self._loop.call_at = self._noted  # type: ignore[assignment,method-assign]
        self._look()

    def __exit__(self, *_: object) -> None:
        del self._loop.call_at
        if self._timer is not None:
            self._timer.cancel()

    def _noted(self, when: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        timer = self._call_at(when, *arguments, **options)
        # A test that sleeps for longer than the limit knows what it does; one that waits for ever
        # with a limit of years does not.
        seconds = when - self._loop.time()
        if HANG_LIMIT < seconds < _YEAR and asyncio.current_task() is self._task:
            self._own_timers.append(timer)
        return timer

    def _look(self) -> None:
        now = self._loop.time()
        waits_for = getattr(self._task, "_fut_waiter", None)
        if waits_for is not self._waits_for or self._is_asleep(now):
            self._waits_for, self._since = waits_for, now
        elif now >= self._since + HANG_LIMIT:
            self._end()
            self._since = now  # whoever catches that may hang again
        self._timer = self._call_at(now + HANG_LIMIT / _LOOKS, self._look)

    def _is_asleep(self, now: float) -> bool:
        self._own_timers = [
            timer for timer in self._own_timers if not timer.cancelled() and timer.when() > now
        ]
        return bool(self._own_timers)

    def _end(self) -> None:
        # Raised where it waits, so that the traceback says where.
        waiter: Any = self._waits_for
        while isinstance(waiter, asyncio.Task) and getattr(waiter, "_fut_waiter", None) is not None:
            waiter = waiter._fut_waiter  # type: ignore[attr-defined]  # noqa: SLF001
        hang = Hang(
            f"Nothing happened for {HANG_LIMIT:g} virtual seconds: this waits for what never "
            "comes. (A test may sleep for longer, or move time with rosey_clock.advance().)",
            pytrace=True,
        )
        if waiter is None or isinstance(waiter, asyncio.Task):
            self._task.cancel(str(hang))
        else:
            waiter.set_exception(hang)
