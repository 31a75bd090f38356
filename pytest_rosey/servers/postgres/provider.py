"""What every PostgreSQL server looks like to the fixtures, whoever provides it (SPEC 5.3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pytest_rosey.servers.nats.provider import Provider


class PostgresProvider(ABC):
    """A PostgreSQL server, synchronous on purpose: it outlives every event loop of the run."""

    provider: ClassVar[Provider]

    @abstractmethod
    def url(self, database: str | None = None) -> str:
        """Return the URL of a database on this server, as `DatabaseService` takes it.

        Args:
            database: its name; by default one that is there and that nobody needs.

        Raises:
            ServerUnavailable: the server has not been started.
        """

    @abstractmethod
    def start(self) -> None:
        """Start the server and return when it takes connections.

        Raises:
            ServerUnavailable: it does not start; the text says why.
        """

    @abstractmethod
    def stop(self) -> None:
        """End the server and remove what it stored. May be repeated."""
