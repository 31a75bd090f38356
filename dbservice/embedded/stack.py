"""A database service with a bus of its own, for prompts, tools and tests."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dbservice.client import StorageClient
from dbservice.embedded.broker import Broker
from dbservice.embedded.client import EmbeddedClient, SurvivingEmbeddedClient
from dbservice.protocol.migrations import Applied
from dbservice.runtime.clock import Clock
from dbservice.server.service import DatabaseService

if TYPE_CHECKING:
    from dbservice.server.metrics import ServiceMetrics

MEMORY = "sqlite+aiosqlite://"


class Stack:
    """A running service on an in-process bus; use it with `async with`.

    Args:
        database_url: where the data is; by default in memory.
        migrations: roots to look for migration files in; by default the shipped ones.
        clock: the service's clock.
        metrics: where the service counts; by default nowhere.

    Attributes:
        broker: the bus.
        service: the service on it.
    """

    def __init__(
        self,
        *,
        database_url: str = MEMORY,
        migrations: Sequence[Path] | None = None,
        clock: Clock | None = None,
        metrics: ServiceMetrics | None = None,
    ) -> None:
        self.broker = Broker()
        self.service: DatabaseService
        self._database_url = database_url
        self._migrations = migrations
        self._clock = clock
        self._metrics = metrics
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start the service.

        Raises:
            UnavailableError: the database cannot be opened; the text says why.
        """
        self._exit.callback(self.broker.stop)
        nats = await self.connect(name="rosey-db")
        self.service = DatabaseService(
            self._database_url,
            nats,
            migrations=self._migrations,
            clock=self._clock,
            metrics=self._metrics,
            private_bus=True,
        )
        try:
            await self.service.start()
        except BaseException:
            await self._exit.aclose()
            raise
        self._exit.push_async_callback(self.service.stop)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the service and close every client that was connected here."""
        await self._exit.aclose()

    async def connect(self, **options: Any) -> EmbeddedClient:
        """Return a connected client; it is closed together with the stack.

        Args:
            **options: as for `nats.connect`.
        """
        client = SurvivingEmbeddedClient(self.broker)
        await client.connect(**{"servers": self.broker.url, **options})
        self._exit.push_async_callback(client.close)
        return client

    async def migrate(self, plugin: str) -> Applied:
        """Apply a plugin's pending migrations.

        Raises:
            StorageError: a migration failed.
        """
        storage = StorageClient(await self.connect(), plugin)
        return await storage.migrations.apply()
