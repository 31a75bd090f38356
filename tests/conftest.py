"""What all of the project's own tests share: how a run is spread, PostgreSQL, the mark `process`.

`pytest -m "not process"` is the fast loop. A test that starts a child or a server is marked
`process`, by hand or because it asks for a fixture that starts one; one that is not marked cannot
start any.
"""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_rosey.bench.machine import IN_MEMORY, file_system
from pytest_rosey.servers.postgres import PostgresServer, unavailable_reason
from tests import ROOT

SERVERS = frozenset(
    {"accounts_url", "durable_postgres", "empty_postgres", "nats_binary", "nats_server"}
    | {
        "own_postgres",
        "own_server",
        "postgres",
        "real_nats",
        "real_world",
        "serve",
        "small_server",
        "users_url",
    }
)
"""The fixtures that start a process."""

LOOKS = (
    *("usepdb", "trace", "collectonly", "setuponly", "setupplan", "setupshow"),
    *("showfixtures", "show_fixtures_per_test"),
)
"""The options of those who look at a run, or at what it would be."""

_running_unmarked: list[str] = []
_ended = itertools.count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Spread a run of everything over the cores; a run of what is named stays in this process."""
    if hasattr(config, "workerinput"):
        return  # a worker, which gets the arguments of the run, would start workers without end
    option = config.option
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    looked_at = option.capture == "no" or any(getattr(option, name) for name in LOOKS)
    chosen = getattr(option, "numprocesses", 0) is not None  # 0 without pytest-xdist
    if everything and not looked_at and not chosen:
        option.numprocesses = "auto"
        option.dist = "worksteal"


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(_refuse_processes)
    _let_children_be_signalled()
    _let_children_stand_alone()
    _let_modules_be_compiled_once()
    _let_no_file_wait_for_the_disk()


def _let_children_be_signalled() -> None:
    """Give children the default dispositions where this run ignores a signal, as under nohup.

    What is ignored stays ignored in a child, which then waits for ever for the signal that a test
    sends; a handler does not outlive exec, and here it ignores the signal all the same.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def _let_children_stand_alone() -> None:
    """Hide from children where they are: in CI, pytest prints otherwise; in a worker, others do."""
    workers = [name for name in os.environ if name.startswith("PYTEST_XDIST_")]
    for name in ("CI", "BUILD_NUMBER", *workers):
        os.environ.pop(name, None)


def _let_modules_be_compiled_once() -> None:
    """Keep bytecode although the environment says no: the suite starts Python hundreds of times."""
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def _let_no_file_wait_for_the_disk() -> None:
    """Keep temporary files in memory: to wait for each write costs more than the tests do.

    Who needs a disk asks for one: the fixture `disk`.
    """
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK | os.X_OK) and shutil.disk_usage(memory).free > 2**30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """Keep what is collected, thousands of items, from being looked through for garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_runtest_logfinish() -> None:
    """Do the same, now and then, with what the tests have left.

    A look through it takes a second in the end. It would fall into some test, and there into a
    write, which is stopped after a quarter of a second.
    """
    if next(_ended) % 100 == 0:
        gc.collect()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _starts_a_process(item):
            item.add_marker(pytest.mark.process)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if item.get_closest_marker("process"):
        return (yield)
    _running_unmarked.append(item.nodeid)
    try:
        return (yield)
    finally:
        _running_unmarked.pop()


def _starts_a_process(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    # A `Dialect` alone is no server: SQL can be read for an engine that does not run.
    engines = {parameter for parameter in parameters.values() if type(parameter) is str}
    engines.add(parameters.get("database"))
    bus = item.get_closest_marker("rosey_nats")
    return bool(
        SERVERS.intersection(getattr(item, "fixturenames", ()))
        or engines & {"postgres", "postgresql", "real"}
        or (bus and bus.args == ("real",))
    )


def _refuse_processes(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("subprocess.Popen", "os.posix_spawn", "os.fork") and _running_unmarked:
        raise AssertionError(
            f"{_running_unmarked[-1]} starts a process ({arguments[0]}) and is not marked "
            "`process`: mark it, so that the fast loop stays fast."
        )


@contextmanager
def _running(*, durable: bool = False) -> Iterator[PostgresServer]:
    reason = unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    server = PostgresServer(durable=durable)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests of the run; tests clear what they leave on it."""
    with _running() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test alone, which may go away."""
    with _running() as server:
        yield server


@pytest.fixture
def durable_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server as it is used outside of tests: it waits for the disk."""
    with _running(durable=True) as server:
        yield server


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system that an fsync means something to."""
    places = (tmp_path, Path(tempfile.gettempdir()), ROOT.parent)
    parent = next(place for place in places if file_system(place) not in IN_MEMORY)
    directory = Path(tempfile.mkdtemp(prefix="rosey-disk-", dir=parent))
    yield directory
    shutil.rmtree(directory)
