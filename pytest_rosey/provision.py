"""The real nats-server of a run: found once, started when needed, stopped at the end (SPEC 5.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_rosey.connections import connections
from pytest_rosey.options import settings

if TYPE_CHECKING:
    from pytest_rosey.servers import Choice, NatsServer

_CHOICE = pytest.StashKey["Choice"]()
_STARTED = pytest.StashKey[bool]()
_USED = pytest.StashKey[bool]()
_LOG_LINES = 40

NO_WORKER = "master"
"""What pytest-xdist calls a process that is no worker."""


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
    from pytest_rosey.servers import ServerUnavailable, address_of

    server = find_server(config).server
    if _STARTED not in config.stash:
        config.add_cleanup(server.stop)
        config.stash[_STARTED] = True
    try:
        server.start()
    except ServerUnavailable as error:
        raise pytest.UsageError(str(error)) from None
    # A container beside ours has an address of its own.
    connections(config).allow(address_of(server.url).host)
    return server


def note_use(item: pytest.Item) -> None:
    """Remember that a test uses the real server, for its failure report."""
    item.stash[_USED] = True


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
    from pytest_rosey.servers import without_credentials

    return (
        f"{server.provider} {server.version} at {without_credentials(server.url)} ({choice.reason})"
    )


def log_of_server(item: pytest.Item) -> str:
    """Return the last lines of the real server's log if the test used it, else nothing."""
    if not (item.stash.get(_USED, False) or "nats_server" in getattr(item, "fixturenames", ())):
        return ""
    return find_server(item.config).server.log_tail(_LOG_LINES)


def worker_id(config: pytest.Config) -> str:
    """Return the name of this pytest-xdist worker, `master` without xdist."""
    given: dict[str, str] = getattr(config, "workerinput", {})
    return given.get("workerid", NO_WORKER)


def _choose(config: pytest.Config) -> Choice:
    from pytest_rosey.servers import ServerUnavailable, choose

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
    return len(config.getoption("tx", None) or [None])
