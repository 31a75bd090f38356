"""A service with settings of the test's own, on a bus of its own, whose work can be held up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client

from dbservice.embedded import Broker
from dbservice.server.service import DatabaseService
from dbservice.server.settings import Settings

MEMORY = "sqlite+aiosqlite://"


@dataclass
class Gate:
    """Holds up the requests of one plugin between their admission and the database.

    Attributes:
        entered: the requests that were let in and wait or have waited here.
        is_open: lets all of them through.
    """

    plugin: str
    entered: list[Any] = field(default_factory=list)
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    def stand_before(self, service: DatabaseService) -> Gate:
        """Put this gate into a service."""
        execute = service.database.execute

        async def held(
            work: Any, namespace: Any, operation: Any, request: Any, *rest: Any, **named: Any
        ) -> Any:
            if namespace.plugin == self.plugin:
                async with self._more:
                    self.entered.append(request)
                    self._more.notify_all()
                await self.is_open.wait()
            return await execute(work, namespace, operation, request, *rest, **named)

        service.database.execute = held  # type: ignore[method-assign]
        return self

    async def has_let_in(self, count: int) -> None:
        """Wait until this many requests have come here."""
        async with self._more:
            await self._more.wait_for(lambda: len(self.entered) >= count)


@dataclass
class Running:
    """A running service, and a client on the same bus."""

    service: DatabaseService
    client: Client
    broker: Broker
    _taken: int = 0
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        offer = self.service._admission.offer

        def told(*request: Any) -> Any:
            self._taken += 1
            self._more.set()
            return offer(*request)

        self.service._admission.offer = told  # type: ignore[method-assign]

    async def has_taken(self, count: int) -> None:
        """Wait until this many requests have come to the service, to be started or to wait."""
        while self._taken < count:
            self._more.clear()
            await self._more.wait()

    async def ask(
        self, subject: str, payload: dict[str, Any] | None = None, **headers: str
    ) -> dict[str, Any]:
        """Send a request and return the decoded reply."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await self.client.request(
            f"rosey.db.{subject}", json.dumps(payload or {}).encode(), timeout=30, headers=sent
        )
        return json.loads(reply.data)

    def asking(self, subject: str, payload: dict[str, Any] | None = None) -> asyncio.Task[Any]:
        """Send a request and go on."""
        return asyncio.create_task(self.ask(subject, payload))


@asynccontextmanager
async def running(
    url: str = MEMORY, *, start: bool = True, **options: Any
) -> AsyncIterator[Running]:
    """Start a service on an in-process bus; keyword arguments are those of `Settings`, or its own.

    It is stopped at the end, if the test has not done so.
    """
    own = {
        name: options.pop(name)
        for name in ("clock", "metrics", "observe", "workers")
        if name in options
    }
    broker = Broker(seed=1)
    nats, client = await broker.connect(), await broker.connect()
    service = DatabaseService(
        url, nats, migrations=[], settings=Settings(**options), private_bus=True, **own
    )
    if start:
        await service.start()
    try:
        yield Running(service, client, broker)
    finally:
        await service.stop()
        await client.close()
        await nats.close()
        broker.stop()
