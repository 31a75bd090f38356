"""The servers of a run, NATS and PostgreSQL (SPEC 5.3).

Each is found once, started when it is needed, and stopped at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_rosey.connections import connections
from pytest_rosey.options import (
    FILE,
    MEMORY,
    NO_WORKER,
    is_on_postgres,
    settings,
    worker_id,
)

if TYPE_CHECKING:
    from pytest_rosey.databases import Databases
    from pytest_rosey.databases.postgres import PostgresDatabases
    from pytest_rosey.servers.nats import Choice, NatsServer
    from pytest_rosey.servers.postgres.choice import PostgresChoice

_CHOICE = pytest.StashKey["Choice"]()
_STARTED = pytest.StashKey[bool]()
_POSTGRES = pytest.StashKey["PostgresChoice"]()
_DATABASES = pytest.StashKey["PostgresDatabases"]()
_VERSION = pytest.StashKey[str]()
_LOG_LINES = 40


def find_server(config: pytest.Config) -> Choice:
    """Return the run's server, not started, and why it is this one.

    Raises:
        pytest.UsageError: there is none; the text says how to get one.
    """
    if _CHOICE not in config.stash:
        config.stash[_CHOICE] = _choose(config)
    return config.stash[_CHOICE]


def start_server(config: pytest.Config) -> NatsServer:
    """Return the run's server, running; it is stopped when pytest ends.

    Raises:
        pytest.UsageError: there is none, or it does not start.
    """
    from pytest_rosey.servers.nats import ServerUnavailable, address_of

    server = find_server(config).server
    if _STARTED not in config.stash:
        config.add_cleanup(server.stop)
        config.stash[_STARTED] = True
        if server.provider != "url" and settings(config).strict_cleanup:
            from pytest_rosey.streams import StreamWatch

            config.pluginmanager.register(StreamWatch(server), "rosey-streams")
    try:
        server.start()
    except ServerUnavailable as error:
        raise pytest.UsageError(str(error)) from None
    # A container beside ours has an address of its own.
    connections(config).allow(address_of(server.url).host)
    return server


def revive_server(config: pytest.Config) -> None:
    """Let the run's server run again if a test before has killed or paused it."""
    if _STARTED in config.stash:
        start_server(config)


def described(config: pytest.Config) -> str:
    """Return for the report header which bus the tests get, and why."""
    asked_by = settings(config).real_nats
    if asked_by is None:
        return "in-process (default)"
    if config.getoption("collectonly"):
        return f"real ({asked_by}), not started to collect"
    choice = find_server(config)
    workers = _workers(config)
    if _is_xdist_controller(config):
        return f"{choice.reason}, one for each of {workers} workers"
    server = start_server(config)
    from dbservice.runtime.redaction import redacted

    return f"{server.provider} {server.version} at {redacted(server.url)} ({choice.reason})"


def find_postgres(config: pytest.Config) -> PostgresChoice:
    """Return the PostgreSQL server of the run, not started, and why it is this one.

    One that was given by its URL has been connected to.

    Raises:
        pytest.UsageError: there is none; the text says how to get one.
    """
    if _POSTGRES not in config.stash:
        from pytest_rosey.servers.nats import ServerUnavailable
        from pytest_rosey.servers.postgres.choice import choose_postgres

        chosen = settings(config)
        try:
            choice = choose_postgres(chosen.database.value, allowed=chosen.allow_hosts)
        except ServerUnavailable as error:
            raise _database_error(config, error) from None
        config.stash[_POSTGRES] = choice
        if choice.server.provider == "url":
            start_postgres(config)
    return config.stash[_POSTGRES]


def prepare_postgres(config: pytest.Config) -> None:
    """Find the PostgreSQL server of the run, and start it unless workers start one each.

    Raises:
        pytest.UsageError: there is none, or it does not start.
    """
    find_postgres(config)
    if not _is_xdist_controller(config) and worker_id(config) == NO_WORKER:
        start_postgres(config)


def start_postgres(config: pytest.Config) -> PostgresDatabases:
    """Return what makes databases on the run's PostgreSQL server; it is running then.

    Raises:
        pytest.UsageError: there is none, it does not start, or it is not ours to use.
    """
    if _DATABASES in config.stash:
        return config.stash[_DATABASES]
    from pytest_rosey.databases.postgres import PostgresDatabases
    from pytest_rosey.servers.nats import ServerUnavailable
    from pytest_rosey.servers.postgres.choice import OR_OURS

    server = find_postgres(config).server
    if _DATABASES in config.stash:  # a server that was given is open from the start
        return config.stash[_DATABASES]
    config.add_cleanup(server.stop)
    databases = PostgresDatabases(server, worker_id(config))
    try:
        config.stash[_VERSION] = databases.open().version
    except ServerUnavailable as error:
        way_out = f"\n{OR_OURS}" if server.provider == "url" else ""
        raise _database_error(config, f"{error}{way_out}") from None
    config.add_cleanup(databases.close)
    config.stash[_DATABASES] = databases
    return databases


def databases(request: pytest.FixtureRequest) -> Databases:
    """Return what gives each test of the run its database.

    Raises:
        pytest.UsageError: it is on a server that cannot be had.
    """
    config = request.config
    database = settings(config).database
    if is_on_postgres(database):
        return start_postgres(config)
    from pytest_rosey.databases.sqlite import SqliteDatabases

    if database.value == MEMORY:
        return SqliteDatabases()
    if database.value == FILE:
        files: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        return SqliteDatabases(lambda: files.mktemp("rosey-db") / "rosey.db")
    path, worker = Path(database.value), worker_id(config)
    # SQLite has one writing process, so that each xdist worker needs a file of its own.
    own = path if worker == NO_WORKER else path.with_stem(f"{path.stem}-{worker}")
    return SqliteDatabases(lambda: own, outlives_the_test=True)


def described_database(config: pytest.Config) -> str:
    """Return for the report header which database the tests get, and why."""
    database = settings(config).database
    if not is_on_postgres(database):
        return f"{database.value} ({database.source})"
    if config.getoption("collectonly"):
        return f"PostgreSQL ({database.source}), not started to collect"
    choice, each = find_postgres(config), ""
    if _is_xdist_controller(config) and choice.server.provider != "url":
        each = f", one for each of {_workers(config)} workers"
    version = config.stash.get(_VERSION, choice.version) or "of a version that is not known yet"
    return f"PostgreSQL {version} ({database.source}: {choice.reason}){each}"


def _database_error(config: pytest.Config, error: object) -> pytest.UsageError:
    return pytest.UsageError(f"{settings(config).database.source}: {error}")


def log_of_server(item: pytest.Item) -> str:
    """Return the last lines of the real server's log if the test used it, else nothing."""
    choice = item.config.stash.get(_CHOICE, None)  # without one, the failure says so itself
    return "" if choice is None else choice.server.log_tail(_LOG_LINES)


def _choose(config: pytest.Config) -> Choice:
    from pytest_rosey.servers.nats import ServerUnavailable, choose

    chosen = settings(config)
    # The controller only looks whether there is a server, with the eyes of its first worker.
    worker = "gw0" if _is_xdist_controller(config) else worker_id(config)
    try:
        return choose(
            chosen.nats.value,
            image=chosen.nats_image,
            config=chosen.nats_config,
            worker=worker,
            workers=_workers(config),
        )
    except ServerUnavailable as error:
        raise pytest.UsageError(str(error)) from None


def _is_xdist_controller(config: pytest.Config) -> bool:
    return config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")


def _workers(config: pytest.Config) -> int:
    if hasattr(config, "workerinput"):
        return int(config.workerinput["workercount"])
    return sum(map(_number, config.getoption("tx", None) or ["popen"]))


def _number(execution: str) -> int:
    """Return how many workers one `--tx` asks for: 2 for `2*popen`."""
    number, times, _ = execution.partition("*")
    return int(number) if times and number.isdecimal() else 1
