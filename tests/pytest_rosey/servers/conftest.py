"""What the tests of the server providers share."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_rosey.servers.nats import Address, BinaryServer, find_binary
from tests.pytest_rosey.servers.process_watch import PATIENCE


@pytest.fixture(scope="session")
def nats_binary() -> Path:
    path = find_binary().path
    assert path is not None, "the tests of the providers need a nats-server (extra `real`)"
    return path


@pytest.fixture
def server(nats_binary: Path) -> Iterator[BinaryServer]:
    with BinaryServer(nats_binary) as started:
        yield started


@pytest.fixture
def unused_address() -> Iterator[Address]:
    """An address that nobody listens on and that nobody else is given meanwhile."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield Address(*reserved.getsockname())


@pytest.fixture
def listener() -> Iterator[Callable[[Callable[[socket.socket], None]], Address]]:
    """Start a TCP server that does `behave` with its first connection and then closes it."""
    with contextlib.ExitStack() as stack:

        def listen(behave: Callable[[socket.socket], None]) -> Address:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve() -> None:
                with contextlib.suppress(OSError):
                    connection, _ = listening.accept()
                    with connection:
                        behave(connection)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            stack.callback(thread.join, PATIENCE)
            # `close()` alone does not wake a thread that is in `accept()`.
            stack.callback(listening.shutdown, socket.SHUT_RDWR)
            return Address(*listening.getsockname())

        yield listen
