"""pytest's entry point: options, markers, the report header, and the fixtures by name.

Loading this must stay free (SPEC 5.8): whatever is heavier than pytest is imported by the
fixture that needs it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

import pytest

from pytest_rosey import connections, fixtures, marks
from pytest_rosey.options import (
    add_options,
    is_on_postgres,
    named_checks,
    settings,
    take_named_checks,
)

_EXPLORE = "rosey-explore"
_NOTES = "rosey notes"
"""The section of a report that is told at the end of the run, whatever the report says."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and ini keys."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and register the fixtures."""
    marks.declare(config)
    take_named_checks(config)
    connections.watch(config)
    for home in fixtures.homes(config):
        config.pluginmanager.register(home)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse settings that make no sense, and find the servers that the run wants."""
    # Not on configuring: --help must work whatever the settings are.
    chosen = settings(session.config)
    if chosen.wants_exploration:
        _explore(session.config).check_options(session.config)
    if session.config.getoption("collectonly") or not chosen.wants_servers:
        return
    from pytest_rosey import provision

    if chosen.real_nats:
        provision.find_server(session.config)
    if is_on_postgres(chosen.database):
        provision.prepare_postgres(session.config)


def pytest_report_header(config: pytest.Config) -> str:
    """Say which bus and which database the tests get, and why."""
    chosen = settings(config)
    if not chosen.wants_servers:
        return f"rosey: nats=in-process (default), db={chosen.database}"
    from pytest_rosey import provision

    return f"rosey: nats={provision.described(config)}, db={provision.described_database(config)}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once on each bus that its marker names, an imported check for each plugin."""
    marks.repeat_on_each_bus(metafunc)
    if "rosey_plugin_migrations" in metafunc.fixturenames:
        from pytest_rosey.checks import collection

        collection.parametrize(metafunc)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the generated checks, before -k and -m select among all items."""
    chosen = settings(config)
    if named_checks(config) or chosen.check_migrations or chosen.check_storage_access:
        from pytest_rosey.checks import collection

        items += collection.generated(session)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Prepare for tests that are explored; leave alone those that virtual time does not concern."""
    asked = settings(session.config).explore
    if asked or any(item.get_closest_marker(marks.EXPLORE) for item in session.items):
        _explore(session.config)
    if session.config.pluginmanager.hasplugin("looptime_plugin"):
        from pytest_rosey import virtual_time

        virtual_time.leave_out_looptimes_hooks(session)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Prepare for what a worker of pytest-xdist has found."""
    if "rosey_explore" in getattr(node, "workeroutput", {}) and not _is_exploring(node.config):
        _explore(node.config).pytest_testnodedown(node)


def _is_exploring(config: pytest.Config) -> bool:
    return config.pluginmanager.hasplugin(_EXPLORE)


def _explore(config: pytest.Config) -> Any:
    from pytest_rosey.explore import plugin

    if not _is_exploring(config):
        config.pluginmanager.register(plugin, _EXPLORE)
    return plugin


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let go of all that was kept about a test when it is over."""
    with marks.runs_of(item):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin a run of a test. It is here that its markers are judged, so that only it fails."""
    # No wrapper: what that raises keeps the wrappers of other plugins from being set up.
    run = marks.begin(item)
    fixtures.harness.be_first(item)
    connections.connections(item.config).allow_for_a_test(marks.allowed_hosts(item))
    if "nats_server" in getattr(item, "fixturenames", ()) or marks.uses_real_bus(item):
        from pytest_rosey import provision

        provision.revive_server(item.config)
    if marks.is_in_virtual_time(item):
        from pytest_rosey import virtual_time

        virtual_time.begin(run)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Make the loop of a test virtual at once, and what a broader scope makes nobody's."""
    if fixturedef.scope != "function":
        with marks.outside_of_tests():
            return (yield)
    if fixturedef.argname != marks.RUNNER or not marks.is_in_virtual_time(request.node):
        return (yield)
    from pytest_rosey import virtual_time

    ending = ExitStack()
    request.addfinalizer(ending.close)  # before the fixture's own, so that it comes after that
    runner = yield
    virtual_time.take_over(request, runner, ending)
    return runner


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse virtual time where no loop came of it."""
    if marks.is_in_virtual_time(item):
        from pytest_rosey import virtual_time

        virtual_time.check_taken_over(item)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """End the faults of a test before its fixtures are torn down, which they are in any case."""
    try:
        if (faults := marks.run_of(item).faults) is not None:
            faults.lift()
    finally:
        result = yield
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember how the test went; if it failed, show its faults and the real server's log."""
    report = yield
    run = marks.run_of(item)
    run.note(report, call)
    if report.failed and (
        run.bus == marks.REAL or "nats_server" in getattr(item, "fixturenames", ())
    ):
        from pytest_rosey import provision

        if log := provision.log_of_server(item):
            report.sections.append(("nats-server log", log))
    if report.failed and run.faults and (text := run.faults.report()):
        report.sections.append(("nats_faults", text))
    if run.notes:
        report.sections.append((_NOTES, "\n".join(run.notes)))
        run.notes.clear()
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which databases of failed tests were kept, and which faults hit nothing."""
    reports = [each for group in terminalreporter.stats.values() for each in group]
    for report in reports:
        for title, text in getattr(report, "sections", ()):
            for note in text.splitlines() if title == _NOTES else ():
                terminalreporter.write_line(f"rosey: {report.nodeid}: {note}")
