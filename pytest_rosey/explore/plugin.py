"""The hooks of the exploration; registered in runs that explore anything, and in no other."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast

import pytest

from dbservice.protocol.errors import did_you_mean
from pytest_rosey import marks, virtual_time
from pytest_rosey.explore import report
from pytest_rosey.explore.choice import is_asked_for, rules_of
from pytest_rosey.explore.exploration import RUN, explore
from pytest_rosey.explore.faults import BY_NAME
from pytest_rosey.explore.findings import TestFound
from pytest_rosey.options import settings

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_FOUND = pytest.StashKey[list[TestFound]]()
_PASSED = pytest.StashKey[bool]()
_OUTPUT = "rosey_explore"
_NOTHING = "nothing was explored: no test that passed uses rosey_plugin or storage, or is marked"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Explore a test that has passed."""
    began = time.perf_counter()
    result = yield
    seconds = time.perf_counter() - began
    if item.stash.get(_PASSED, False) and is_asked_for(item):
        reporter = report.Reporter(item)
        only = settings(item.config).explore_place
        found = explore(cast("pytest.Function", item), nextitem, reporter, only)
        found.plain_seconds = seconds
        reporter.end()
        _findings(item.config).append(found)
    return result


def check_options(config: pytest.Config) -> None:
    """Refuse a place that no test can have.

    Raises:
        pytest.UsageError: it is none; the text says what a place is.
    """
    place = settings(config).explore_place
    number, _, fault = (place or "1:").partition(":")
    if not number.isdecimal() or (fault and fault not in BY_NAME):
        raise pytest.UsageError(
            f"--rosey-explore-place={place}: expected N:FAULT, as a failure names it, such as "
            f"3:reply-lost.{did_you_mean(fault, BY_NAME)} Faults: {', '.join(BY_NAME)}."
        )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a marker that says nothing, before its test is run; let each run begin at its time."""
    run = item.stash.get(RUN, None)
    if run is not None:
        virtual_time.begin(marks.run_of(item), run.start)
    elif is_asked_for(item):
        rules_of(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether a test has passed as a whole, as it is and not as an expected failure."""
    report = yield
    passed = report.passed and not hasattr(report, "wasxfail")
    item.stash[_PASSED] = passed and (call.when == "setup" or item.stash[_PASSED])
    return report


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Show the fixtures of an exploration's run to it."""
    value = yield
    run = request.node.stash.get(RUN, None)
    if run is not None:
        run.met(fixturedef.argname, value)
    return value


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Put what an exploration runs in the place of its test."""
    run = item.stash.get(RUN, None)
    if run is None:
        return (yield)
    test = cast("pytest.Function", item)
    itself = test.obj
    test.obj = run.around(itself)
    try:
        return (yield)
    finally:
        test.obj = itself


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Write the table, and the JSON if that is asked for."""
    if config.getoption("collectonly"):
        return
    chosen = settings(config)
    found = sorted(_findings(config), key=lambda test: test.nodeid)
    if not found and not chosen.wants_exploration:
        return
    terminalreporter.section("rosey exploration")
    for line in report.summary(found) if found else [_NOTHING]:
        terminalreporter.write_line(line)
    if found and chosen.explore_json is not None:
        report.write_json(chosen.explore_json, found)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker of pytest-xdist has found to the process that started it.

    A run for one place that no test has is no success.
    """
    found = _findings(session.config)
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = [test.as_json() for test in found]
    elif settings(session.config).explore_place and not any(test.places for test in found):
        session.exitstatus = session.exitstatus or pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker has found."""
    output = getattr(node, "workeroutput", {})
    _findings(node.config).extend(TestFound.from_json(each) for each in output.get(_OUTPUT, ()))


def _findings(config: pytest.Config) -> list[TestFound]:
    return config.stash.setdefault(_FOUND, [])
