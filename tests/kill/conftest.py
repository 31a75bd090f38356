"""What is killed: services on a real nats-server, with files on a real disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_rosey.servers.nats import BinaryServer, find_binary
from tests.kill.replica import Replica


@pytest.fixture
def real_nats() -> Iterator[str]:
    """Start a nats-server binary; return its URL."""
    found = find_binary()
    if found.path is None:
        pytest.skip(f"no nats-server binary; looked at {', '.join(found.tried)}")
    server = BinaryServer(found.path)
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def replica(disk: Path, real_nats: str) -> Iterator[Callable[..., Replica]]:
    """Make a service on a database, not started yet."""
    if not hasattr(os, "memfd_create"):
        pytest.skip("a service can be watched until its death on Linux only")
    made: list[Replica] = []

    def make(database: str, *more: str, nats: str = real_nats) -> Replica:
        log = disk / f"replica-{len(made)}.log"
        arguments = ("--nats", nats, "--db", database, "--log-level", "warning", *more)
        made.append(Replica(*arguments, log=log))
        return made[-1]

    yield make
    for each in made:
        each.close()
