"""pytest's entry point: options, markers, the report header, and the fixtures by name.

Loading this must stay free (SPEC 5.8): whatever is heavier than pytest is imported by the
fixture that needs it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack

import pytest

from pytest_rosey import connections, marks, provision
from pytest_rosey.fixtures import (
    _rosey_benchmark_clock,
    _rosey_broker,
    _rosey_bus,
    _rosey_connect,
    _rosey_databases,
    _rosey_leaks,
    _rosey_migration_roots,
    _rosey_templates,
    cleanup_plugin_namespace,
    db_service,
    fake_nats,
    make_nats_response,
    mock_nats,
    nats_client,
    nats_faults,
    nats_server,
    plugin_namespace,
    rosey_benchmark,
    rosey_clock,
    rosey_migrations,
    rosey_plugin,
    storage,
)
from pytest_rosey.fixtures.loops import RUNNER, asyncio_is_active
from pytest_rosey.options import add_options, is_on_postgres, settings

__all__ = [
    "_rosey_benchmark_clock",
    "_rosey_broker",
    "_rosey_bus",
    "_rosey_connect",
    "_rosey_databases",
    "_rosey_leaks",
    "_rosey_migration_roots",
    "_rosey_templates",
    "cleanup_plugin_namespace",
    "db_service",
    "fake_nats",
    "make_nats_response",
    "mock_nats",
    "nats_client",
    "nats_faults",
    "nats_server",
    "plugin_namespace",
    "rosey_benchmark",
    "rosey_clock",
    "rosey_migrations",
    "rosey_plugin",
    "storage",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and ini keys."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and the async fixtures where pytest-asyncio can run them."""
    marks.declare(config)
    connections.watch(config)
    if asyncio_is_active(config):
        from pytest_rosey.fixtures import asynchronous

        config.pluginmanager.register(asynchronous, "rosey-async-fixtures")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse settings that make no sense, and find the servers that the run wants."""
    # Not on configuring: --help must work whatever the settings are.
    chosen = settings(session.config)
    if session.config.getoption("collectonly"):
        return
    if chosen.real_nats:
        provision.find_server(session.config)
    if is_on_postgres(chosen.database):
        provision.prepare_postgres(session.config)


def pytest_report_header(config: pytest.Config) -> str:
    """Say which bus and which database the tests get, and why."""
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
    if chosen.check_migrations or chosen.check_storage_access:
        from pytest_rosey.checks import collection

        items += collection.generated(session)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Allow the hosts that a test names, from its set-up to its tear-down."""
    with connections.connections(item.config).of(item):
        return (yield)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave tests alone that virtual time does not concern."""
    if session.config.pluginmanager.hasplugin("looptime_plugin"):
        from pytest_rosey import virtual_time

        virtual_time.leave_out_looptimes_hooks(session)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse virtual time where it cannot be."""
    if marks.is_in_virtual_time(item):
        from pytest_rosey import virtual_time

        virtual_time.begin(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Make the loop of a test virtual as soon as it is there."""
    if fixturedef.argname != RUNNER or not marks.is_in_virtual_time(request.node):
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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """End the faults of a test before its fixtures are torn down."""
    marks.end_faults(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember how the test went; if it failed, show its faults and the real server's log."""
    marks.remember_outcome(item, call)
    report = yield
    if report.failed and (log := provision.log_of_server(item)):
        report.sections.append(("nats-server log", log))
    if report.failed and (faults := marks.report_of_faults(item)):
        report.sections.append(("nats_faults", faults))
    if call.when == "teardown":
        marks.forget_faults(item)
    return report
