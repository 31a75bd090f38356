"""A PostgreSQL server that somebody else runs, named by its URL."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase

import sqlalchemy as sa

from pytest_rosey.servers.errors import ServerUnavailable
from pytest_rosey.servers.postgres.provider import PostgresProvider

EXPECTED = "postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE"


class GivenPostgres(PostgresProvider):
    """A running server. It is not ours: starting and stopping it does nothing.

    Args:
        url: of a database on it, which is connected to and left as it is.

    Raises:
        ServerUnavailable: that is no such URL, or it does not say where the server is.
    """

    provider = "url"

    def __init__(self, url: str) -> None:
        try:
            self._url = sa.make_url(url).set(drivername="postgresql+asyncpg")
        except (sa.exc.ArgumentError, ValueError):
            raise ServerUnavailable(
                f"This cannot be read as the URL of a PostgreSQL database: expected {EXPECTED}."
            ) from None
        # asyncpg would take the host from a file that we have not read.
        if "service" in self._url.query:
            raise ServerUnavailable(
                "The URL names a service of .pg_service.conf, so that it does not show on which "
                f"machine tests would make and drop databases. Write out what it stands for: "
                f"{EXPECTED}."
            )

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that a connection is tried to, in lower case; a socket's directory is none."""
        named = [self._url.host] if self._url.host else _listed(self._url.query.get("host", ()))
        # As asyncpg does when the URL says nothing.
        hosts = named or _listed(os.environ.get("PGHOST", ""))
        return tuple(host.lower() for host in hosts if host and not host.startswith("/"))

    def url(self, database: str | None = None) -> str:
        """Return the URL of a database; by default the one that was given."""
        url = self._url if database is None else self._url.set(database=database)
        return url.render_as_string(hide_password=False)

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def __str__(self) -> str:
        port = self._url.port or 5432
        return ", ".join(f"{host}:{port}" for host in self.hosts) or "a local socket"


def foreign_host(server: GivenPostgres, allowed: Sequence[str]) -> str | None:
    """Return a host of a server that is neither this machine nor allowed, None if there is none.

    Args:
        server: the server.
        allowed: patterns of hosts, with `*` and `?`.
    """
    for host in server.hosts:
        if not (_is_here(host) or any(fnmatchcase(host, p.lower()) for p in allowed)):
            return host
    return None


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listed(hosts: str | Sequence[str]) -> list[str]:
    several = hosts.split(",") if isinstance(hosts, str) else hosts
    # In a query each may have its port.
    return [host.rpartition(":")[0] if host.count(":") == 1 else host for host in several]
