"""What a test left behind: tasks, requests and clients, and data that outlives it (SPEC 5.5)."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterable, Iterator
from contextvars import Context
from pathlib import Path
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import nats
import pytest

from dbservice.engine.dialect import dialect_of
from dbservice.protocol import namespace
from dbservice.storage.catalog import Catalog
from pytest_rosey.clients import LoopBound
from pytest_rosey.marks import HARNESS, Run, current_run, loop_scope_of
from pytest_rosey.options import settings
from pytest_rosey.service.faulty_engine import spared

if TYPE_CHECKING:
    from nats.aio.client import Client

    from pytest_rosey.service.under_test import ServiceUnderTest

LIFTED_BY = "`rosey_strict_cleanup = false` in the ini file lifts this check."

_NATS_PY = str(Path(nats.__file__).parent)
_NOT_A_PLACE = (_NATS_PY, str(Path(asyncio.__file__).parent), str(Path(__file__).parent))
_A_THREAD = "a thread"
_TURNS = 20
_GRACE = 0.05


class LeakWatch:
    """Tells at the end of a test what it left on its loop.

    What fixtures with a broader scope made is not the test's, and neither is what those have made
    meanwhile: a task belongs to the run in whose context it was made. What is not the test's is
    left alone.

    Args:
        loop: of the test.
        run: of the test.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, run: Run) -> None:
        self._loop = loop
        self._run = run
        # A harness that is asked for late ends before the fixtures that made these.
        is_late = HARNESS not in getattr(run.item, "fixturenames", ())
        self._before = asyncio.all_tasks(loop) if is_late else set()
        # A thread has an empty context; on a loop that nobody shares, what it makes is the test's.
        is_shared = loop_scope_of(run.item) != "function"
        self._makers: set[object] = {run} if is_shared else {run, _A_THREAD}

    async def end(self) -> list[str]:
        """End what the test left and return a line for each thing, the oldest first.

        A task that comes to its end within a few turns of the loop is not left.
        """
        new = self._new_tasks()
        if not new:
            return []
        clients = self._new_clients(new)
        tasks = await self._lasting(new)
        left = [_described_task(task) for task in tasks if not is_of_nats_py(task)]
        left += [_described_client(client, place) for client, place in clients.items()]
        # What goes wrong in that is the same fault once more.
        await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE)
        return left

    def _new_clients(self, tasks: Iterable[asyncio.Task[Any]]) -> dict[Client, str]:
        reading = {_self_of(task) for task in tasks if is_of_nats_py(task)}
        if not reading:
            return {}
        return {
            client: place
            for client, place in self._run.opened.items()
            if client in reading
            and (client.is_connected or client.is_reconnecting or client.is_draining)
        }

    async def _lasting(self, tasks: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
        for _ in range(_TURNS):
            if not tasks:
                return []
            await asyncio.sleep(0)
            tasks = self._new_tasks()
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE)
        return sorted((task for task in tasks if not task.done()), key=_age)

    def _new_tasks(self) -> set[asyncio.Task[Any]]:
        # Each look goes through all tasks of the process, so there are as few as can be.
        new = asyncio.all_tasks(self._loop) - self._before
        new.discard(asyncio.current_task())
        return {task for task in new if _maker_of(task) in self._makers}


def _maker_of(task: asyncio.Task[Any]) -> object:
    """Return the run of the test in whose context a task was made, None outside of tests."""
    if sys.version_info >= (3, 12):
        context = task.get_context()
    else:  # where only the garbage collector tells
        context = next(held for held in gc.get_referents(task) if isinstance(held, Context))
    return context.get(current_run, _A_THREAD)


def _age(task: asyncio.Task[Any]) -> tuple[int, str]:
    """Sort the tasks that asyncio has named by their numbers."""
    _, _, number = task.get_name().rpartition("-")
    return (int(number) if number.isdecimal() else 0, task.get_name())


def is_of_nats_py(task: asyncio.Task[Any]) -> bool:
    """Return whether a task is one of those that a client has, not of who uses the client."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and (
        code.co_filename.startswith(_NATS_PY) or code is LoopBound._ping_interval.__code__  # noqa: SLF001
    )


def _self_of(task: asyncio.Task[Any]) -> Any:
    """Return the object whose method a task runs."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    return None if frame is None else frame.f_locals.get("self")


def _described_client(client: Client, place: str) -> str:
    name = client.options.get("name")
    named = f" {name!r}" if name else ""
    url = client.connected_url
    where = f", connected to {url.hostname}:{url.port}" if url is not None else ""
    return f"a NATS client{named}{where}, opened at {place}"


def _described_task(task: asyncio.Task[Any]) -> str:
    coroutine: Any = task.get_coro()
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    frames = list(_frames(coroutine))
    at = f" at {_line(frames[-1])}" if (frames := [f for f in frames if not _is_inside(f)]) else ""
    subject = _awaited_subject(coroutine)
    waits = f", waiting for the answer to {subject}" if subject else ""
    return f"task {task.get_name()!r}, {name}(){at}{waits}{_created(task)}"


def _created(task: asyncio.Task[Any]) -> str:
    # asyncio knows this in debug mode only.
    stack = getattr(task, "_source_traceback", None)
    if not stack:
        return ""
    theirs = [f for f in stack if not f.filename.startswith(_NOT_A_PLACE)]
    return f", created at {theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""


def _frames(coroutine: Any) -> Iterator[Any]:
    """Yield the frames of a suspended coroutine, the outermost first."""
    while isinstance(coroutine, CoroutineType):
        if coroutine.cr_frame is not None:
            yield coroutine.cr_frame
        coroutine = coroutine.cr_await


def _is_inside(frame: Any) -> bool:
    """Return whether a frame is of asyncio or nats-py, so that its line tells a user nothing."""
    module = str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in ("asyncio", "nats", "pytest_rosey")


def _line(frame: Any) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _awaited_subject(coroutine: Any) -> str | None:
    for frame in _frames(coroutine):
        if frame.f_code.co_filename.startswith(_NATS_PY) and "subject" in frame.f_locals:
            return str(frame.f_locals["subject"])
    return None


Inventory = dict[str, dict[str, int]]
"""For each plugin: the rows of each of its tables by full name, and its number of keys."""

_KEYS = "KV entries"


async def inventory(service: ServiceUnderTest) -> Inventory:
    """Count what is stored in a service's database; namespaces that hold nothing are left out."""
    with spared():
        plugins = await service.database.plugins()
        counted = {plugin: await _content(service, plugin) for plugin in plugins}
    return {plugin: content for plugin, content in counted.items() if content}


async def _content(service: ServiceUnderTest, plugin: str) -> dict[str, int]:
    owner = namespace(plugin)
    engine = service.database.engine
    catalog = Catalog(dialect_of(engine.dialect))
    storage = service.directly(plugin)
    content = {
        table: await storage.rows(table.removeprefix(owner.prefix)).count()
        for table in await engine.read(lambda: catalog.full_names(owner))
    }
    keys = len(await storage.kv.list())
    return {**content, **({_KEYS: keys} if keys else {})}


def added(before: Inventory, after: Inventory) -> list[str]:
    """Return a line for each namespace that holds more, or less, than it did."""
    lines = []
    for plugin in sorted({*before, *after}):
        had, has = before.get(plugin, {}), after.get(plugin, {})
        changes = [
            _change(name, had.get(name), has.get(name))
            for name in sorted({*had, *has})
            if had.get(name) != has.get(name)
        ]
        if changes:
            lines.append(f"namespace '{plugin}': {'; '.join(changes)}")
    return lines


def _change(name: str, had: int | None, has: int | None) -> str:
    what = name if name == _KEYS else f"table {name}"
    if has is None:
        return f"{what} gone"
    unit = "" if name == _KEYS else " rows"
    return f"{what}: {has}{unit}" + ("" if had is None else f", {had} before")


def left_behind(left: list[str]) -> str:
    """Say what a test left on its loop."""
    return _listed(
        "The test left behind:",
        left,
        "Await or cancel tasks and close clients before the test ends.",
    )


def data_left(left: list[str], config: pytest.Config) -> str:
    """Say what a test left in a database that outlives it."""
    return _listed(
        f"The test left data in the database {settings(config).database.value}:",
        left,
        "plugin_namespace gives a test a namespace of its own; "
        "`await cleanup_plugin_namespace(name)` empties another one before and after it.",
    )


def _listed(what: str, left: list[str], advice: str) -> str:
    listed = "".join(f"\n  - {line}" for line in left)
    return f"{what}{listed}\n{advice}\n{LIFTED_BY}"
