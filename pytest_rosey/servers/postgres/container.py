"""The provider that runs a PostgreSQL image (SPEC 5.3)."""

# ruff: noqa: D102 - what the methods do is said in PostgresProvider
from __future__ import annotations

import secrets
import socket
import struct
import time

from typing_extensions import override

from pytest_rosey.servers.address import Address
from pytest_rosey.servers.docker_container import Container, Recipe
from pytest_rosey.servers.docker_engine import DockerEngine
from pytest_rosey.servers.errors import ServerUnavailable, last_lines, said
from pytest_rosey.servers.postgres.binary import CARELESS, SETTINGS
from pytest_rosey.servers.postgres.provider import PostgresProvider

DEFAULT_IMAGE = "postgres:17-alpine"

START_TIMEOUT = 60.0
"""Seconds from the start of the container until it takes connections; it makes a cluster first."""

_PORT = 5432
_USER = "rosey"
_DATA = "/rosey-data"
_POLL = 0.05
_HEAD_START = 1.0
_ANSWER_TIMEOUT = 1.0

# How a client introduces itself in version 3.0 of PostgreSQL's protocol. A server that takes
# connections asks who we are (R); one that is still starting answers with an error (E).
_INTRODUCTION = f"user\0{_USER}\0database\0postgres\0\0".encode()
_STARTUP = struct.pack("!ii", 8 + len(_INTRODUCTION), 3 << 16) + _INTRODUCTION


class PostgresContainer(PostgresProvider):
    """A PostgreSQL server in a container, published on a random loopback port, its data in memory.

    Gone after `stop()`, at the exit of Python, and after a `kill -9` of it. Other users of the
    machine may reach the port, so there is a password.

    Args:
        engine: an engine that answers.
        image: an image that takes the variables of the official one.
    """

    provider = "container"

    def __init__(
        self,
        engine: DockerEngine,
        *,
        image: str = DEFAULT_IMAGE,
    ) -> None:
        self._engine = engine
        self._image = image
        self._password = secrets.token_urlsafe(16)
        self._container: Container | None = None
        self._address: Address | None = None

    @override
    def url(self, database: str | None = None) -> str:
        if self._address is None:
            raise ServerUnavailable("This PostgreSQL server has not been started.")
        place = f"{_USER}:{self._password}@{self._address}"
        return f"postgresql+asyncpg://{place}/{database or 'postgres'}"

    def start(self) -> None:
        if self._container is not None:
            return
        # Its own address is not that of the outside, so it has to listen on every one.
        settings = {**SETTINGS, **CARELESS, "listen_addresses": "*"}
        command = ["postgres", *(f"-c{name}={value}" for name, value in settings.items())]
        environment = {
            "POSTGRES_USER": _USER,
            "POSTGRES_PASSWORD": self._password,
            "POSTGRES_DB": "postgres",
            "POSTGRES_INITDB_ARGS": "-E UTF8 --locale=C.UTF-8 --no-sync",
            "PGDATA": f"{_DATA}/cluster",
        }
        recipe = Recipe(
            self._image, _PORT, "rosey-pg", command, environment=environment, in_memory=(_DATA,)
        )
        self._container = Container(self._engine, recipe)
        try:
            self._container.start()
            self._address = self._awaited(self._container)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self._container is not None:
            self._container.remove()
        self._container = self._address = None

    def _awaited(self, container: Container) -> Address:
        began = time.monotonic()
        while time.monotonic() - began < START_TIMEOUT:
            if container.state in {"exited", "dead"}:
                raise self._failure("ended before it was ready")
            directly = time.monotonic() - began > _HEAD_START
            # The published address is preferred, and asked last: it may become ready meanwhile.
            addresses = reversed(container.addresses(directly=directly))
            if ready := list(filter(_takes_connections, addresses)):
                return ready[-1]
            time.sleep(_POLL)
        raise self._failure(f"took no connections within {START_TIMEOUT:g} s")

    def _failure(self, what: str) -> ServerUnavailable:
        log = "" if self._container is None else last_lines(self._container.log(), 20)
        return ServerUnavailable(f"the container of {self._image} {what}. {said(log)}")


def _takes_connections(address: Address) -> bool:
    """Return whether PostgreSQL is at an address, and ready."""
    try:
        with socket.create_connection(address, _ANSWER_TIMEOUT) as connection:
            connection.sendall(_STARTUP)
            return connection.recv(1) == b"R"
    except OSError:
        return False
