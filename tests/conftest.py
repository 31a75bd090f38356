"""PostgreSQL for all the project's own tests, from the provider that users get."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_rosey.servers.postgres import PostgresServer, unavailable_reason


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
