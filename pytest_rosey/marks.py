"""The markers, and what our fixtures need to know about the test they serve (SPEC 5.2, 5.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol
from weakref import WeakKeyDictionary

import pytest

from pytest_rosey.options import settings

if TYPE_CHECKING:
    from nats.aio.client import Client

    from pytest_rosey.clock import RoseyClock, VirtualTime

FAKE, REAL = "fake", "real"
_BUSES = (FAKE, REAL)

TIME = "rosey_time"
EXPLORE = "rosey_explore"
_VIRTUAL = "virtual"
_TIMES = (_VIRTUAL, "real")

HARNESS = "_rosey"
"""The fixture that all fixtures on a bus depend on."""


def runner_of(loop_scope: str) -> str:
    """Return the name of pytest-asyncio's fixture that makes the loop of a loop scope."""
    # It has no public name; tests/pytest_rosey/fixtures/test_loop_scopes.py guards it.
    return f"_{loop_scope}_scoped_runner"


RUNNER = runner_of("function")
"""What makes the loop of a test with a loop of its own."""

_RUN = pytest.StashKey["Run"]()


@dataclass(frozen=True, slots=True)
class FakeRules:
    """What `@pytest.mark.rosey_fake` decides."""

    assert_all_called: bool = True
    contract: bool = True


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
        clock: the clock of its service: of its loop in virtual time, else once somebody asked.
        opened: the clients that it has opened, and the line of the caller.
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
    clock: RoseyClock | VirtualTime | None = None
    opened: WeakKeyDictionary[Client, str] = field(default_factory=WeakKeyDictionary)
    asked_jetstream: bool = False
    is_complete: bool = False
    failures: list[BaseException] = field(default_factory=list)
    broken_callbacks: list[BaseException] = field(default_factory=list)
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


def declare(config: pytest.Config) -> None:
    """Declare the markers with their full signatures."""
    config.addinivalue_line(
        "markers",
        "rosey_fake(assert_all_called=True, contract=True): "
        "how strict fake_nats is in this test. assert_all_called=False allows stubs that nothing "
        "used; contract=False allows stubs and requests that break the wire contract.",
    )
    config.addinivalue_line(
        "markers",
        'rosey_nats("fake" | "real", ...): '
        "which bus nats_client and all that stands on it use in this test, whatever the command "
        'line says: "fake" is the in-process bus, "real" a nats-server; with both the test runs '
        "twice.",
    )
    config.addinivalue_line(
        "markers",
        'rosey_time("virtual" | "real"): '
        "the time of this test and its fixtures. In virtual time the loop's clock jumps to the "
        "next timer when nothing else is to be done, so that an hour of waits takes milliseconds; "
        "the in-process bus, a database in memory, pytest-rosey[time].",
    )
    config.addinivalue_line(
        "markers",
        "rosey_explore(degrades=[], partial=[], errors=[], places=200): "
        "run this test again with every fault at every request that it makes. degrades: calls that "
        "may answer otherwise then; partial: keys (kv:NAME) and tables (row:NAME) that a failed "
        "call may leave changed; errors: exceptions that calls may raise; * is a wildcard.",
    )
    config.addinivalue_line(
        "markers",
        'rosey_data("FILE", ...): '
        "exports (of `rosey export`) that db_service holds before this test begins; paths are "
        "those beside the test's file.",
    )
    config.addinivalue_line(
        "markers",
        'rosey_allow_hosts("host", ...): '
        "NATS servers outside this machine that this test may connect to; * and ? are wildcards.",
    )


def allowed_hosts(item: pytest.Item) -> tuple[str, ...]:
    """Return the hosts that a test, its class and its module allow.

    Raises:
        pytest.fail.Exception: a marker does not name hosts.
    """
    takes = 'the names of hosts, such as "nats.example.com"'
    return tuple(_listed(item, "rosey_allow_hosts", str, takes))


def data_of(item: pytest.Item) -> list[Path]:
    """Return the exports that a test begins with, those of its module and class first.

    Raises:
        pytest.fail.Exception: a marker names no file, or one that is not there.
    """
    takes = 'the paths of exports, such as "quotes.jsonl"'
    named = _listed(item, "rosey_data", (str, Path), takes)
    files = [item.path.parent / file for file in named]
    for file in files:
        if not file.is_file():
            pytest.fail(
                f"{item.nodeid}: @pytest.mark.rosey_data names {file}, which is not there. Paths "
                "are those beside the test's file; `rosey export PLUGIN FILE` writes one.",
                pytrace=False,
            )
    return files


def _listed(
    item: pytest.Item, name: str, kind: type | tuple[type, ...], takes: str
) -> Iterator[Any]:
    """Yield what the markers of a name list, those of the module and the class first."""
    for marker in reversed(list(item.iter_markers(name))):
        if marker.kwargs or not marker.args or not all(isinstance(a, kind) for a in marker.args):
            refuse(item, marker, takes, marker.kwargs)
        yield from marker.args


def refuse(item: pytest.Item, marker: pytest.Mark, takes: str, wrong: Iterable[str]) -> NoReturn:
    """Fail a test because of what one of its markers was given.

    Args:
        item: the test.
        marker: which one.
        takes: what it takes, in words.
        wrong: the keyword arguments that are wrong.
    """
    given = ", ".join([*map(repr, marker.args), *wrong]) or "nothing"
    pytest.fail(
        f"{item.nodeid}: @pytest.mark.{marker.name} takes {takes}, got {given}.", pytrace=False
    )


def fake_rules(item: pytest.Item) -> FakeRules:
    """Return how strict `fake_nats` is in a test; a marker on the test beats one on its class."""
    given: dict[str, bool] = {}
    for marker in reversed(list(item.iter_markers("rosey_fake"))):
        wrong = [
            f"{name}={value!r}"
            for name, value in marker.kwargs.items()
            if name not in FakeRules.__slots__ or not isinstance(value, bool)
        ]
        if marker.args or wrong:
            refuse(item, marker, "assert_all_called=True|False and contract=True|False", wrong)
        given.update(marker.kwargs)
    rules = FakeRules(**given)
    return FakeRules(rules.assert_all_called, rules.contract and settings(item.config).contract)


def repeat_on_each_bus(metafunc: pytest.Metafunc) -> None:
    """Parametrize a test that names several buses, if it uses one at all."""
    named = _named(metafunc.definition)
    # What is wrong with the marker is said when the test is set up: here it would end the run.
    if len(named) > 1 and not _problem(named) and HARNESS in metafunc.fixturenames:
        metafunc.parametrize(HARNESS, named, indirect=True)


def is_in_virtual_time(item: pytest.Item) -> bool:
    """Return whether a test is to run in virtual time."""
    marker = item.get_closest_marker(TIME)
    if marker is None:
        return settings(item.config).time == _VIRTUAL
    if len(marker.args) != 1 or marker.kwargs or marker.args[0] not in _TIMES:
        refuse(item, marker, '"virtual" or "real"', marker.kwargs)
    return bool(marker.args[0] == _VIRTUAL)


def loop_scope_of(item: pytest.Item) -> str | None:
    """Return the loop scope of a test: its marker's, else the ini default.

    None where pytest-asyncio takes no part in the run.
    """
    try:
        default: str = item.config.getini("asyncio_default_test_loop_scope")
    except ValueError:  # the key is pytest-asyncio's
        return None
    marker = item.get_closest_marker("asyncio")
    named = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope") if marker else None
    return named or default


def bus_of(item: pytest.Item) -> str:
    """Return which bus a test gets: `fake` or `real`.

    Raises:
        pytest.fail.Exception: its marker is wrong, or contradicts its fixtures.
    """
    named = _named(item)
    if problem := _problem(named):
        pytest.fail(f"{item.nodeid}: {problem}", pytrace=False)
    call = getattr(item, "callspec", None)
    bus: str | None = call.params.get(HARNESS) if call is not None else None
    if bus is None and len(named) > 1:
        pytest.fail(
            f"{item.nodeid}: @pytest.mark.rosey_nats can run a test on several buses only if the "
            "test names a fixture of pytest-rosey among its parameters, and if the marker is there "
            "when tests are collected. Instead of getfixturevalue(), name the fixture; a marker "
            "that a hook adds names one bus.",
            pytrace=False,
        )
    bus = bus or (named[0] if named else None)
    if "fake_nats" not in getattr(item, "fixturenames", ()):
        return bus or (REAL if settings(item.config).real_nats else FAKE)
    if bus == REAL:
        pytest.fail(
            f'{item.nodeid}: fake_nats is on the in-process bus, and rosey_nats("real") asks '
            "for another one. Leave out one of them; nats_client runs on both.",
            pytrace=False,
        )
    return FAKE


def uses_real_bus(item: pytest.Item) -> bool:
    """Return whether a test gets a real server, before its fixtures are set up."""
    return HARNESS in getattr(item, "fixturenames", ()) and bus_of(item) == REAL


def _named(node: pytest.Item) -> tuple[str, ...]:
    marker = node.get_closest_marker("rosey_nats")
    if marker is None:
        return ()
    return (*marker.args, *marker.kwargs) or ("",)


def _problem(named: tuple[str, ...]) -> str:
    if all(bus in _BUSES for bus in named):
        return ""
    given = ", ".join(repr(bus) for bus in named if bus != "") or "nothing"
    return f'@pytest.mark.rosey_nats takes "fake", "real", or both, got {given}.'
