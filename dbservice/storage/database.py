"""A database as the service sees it: requests in, replies out (SPEC 3)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from dbservice.engine.dialect import dialect_of
from dbservice.engine.engine import Engine
from dbservice.engine.steps import Steps
from dbservice.protocol import kv, rows, system
from dbservice.protocol.messages import Reply, Request
from dbservice.protocol.names import Namespace
from dbservice.protocol.operations import Effect, Operation
from dbservice.runtime.clock import Clock
from dbservice.storage import namespace_owners, own_tables, search_indexes
from dbservice.storage.catalog import Catalog
from dbservice.storage.idempotency import AnswerStore
from dbservice.storage.keys import KeyStore
from dbservice.storage.queries import QueryStore
from dbservice.storage.rows import RecordStore
from dbservice.storage.schemas import SchemaStore

Work = Callable[[Namespace, Any], Steps[Any]]


class Database:
    """Executes requests on an engine.

    Args:
        engine: where the data is.
        clock: decides what has expired, and stamps rows.
        forget_migrations: removes a plugin's migration bookkeeping, as part of clearing it.
        dice: picks random rows.

    Attributes:
        keys: the operations on keys and values.
        records: those that write rows.
        queries: those that read them.
        schemas: those on tables.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        forget_migrations: Callable[[Namespace], Steps[int]],
        dice: random.Random | None = None,
    ) -> None:
        self.engine = engine
        self._forget_migrations = forget_migrations
        self._dialect = dialect_of(engine.dialect)
        catalog = Catalog(self._dialect)
        self.keys = KeyStore(clock, self._dialect)
        self._answers = AnswerStore(clock, self._dialect)
        self.schemas = SchemaStore(catalog, self._dialect)
        self.records = RecordStore(catalog, self.keys, clock)
        self.queries = QueryStore(catalog, dice)
        self._admitted: set[Namespace] = set()

    async def open(self) -> None:
        """Open the engine and bring the service's own tables to their newest version.

        Raises:
            UnavailableError: the engine cannot be opened, or a newer service has used it.
        """
        await self.engine.open()
        await self.engine.exclusive(self._prepare)

    async def close(self) -> None:
        """Finish what has been taken and close the engine."""
        await self.engine.close()

    async def execute(
        self,
        work: Work,
        namespace: Namespace,
        operation: Operation,
        request: Request,
        key: str | None = None,
        *,
        alone: bool = False,
    ) -> Reply:
        """Execute a request and return its reply, once what it wrote is durable.

        Args:
            work: the steps of the operation.
            namespace: whose data.
            operation: what to do.
            request: the decoded message.
            key: the idempotency key, if the request has one.
            alone: no other request is being served.

        Raises:
            RequestError: the request cannot be served.
            EngineError: the engine refused or failed.
        """
        await self._admit(namespace, operation)
        if operation.effect is Effect.READ:
            return await self.engine.read(
                lambda: work(namespace, request), scan=not touches_few_rows(request)
            )

        def write() -> Steps[Reply]:
            steps = work(namespace, request)
            if key is None:
                return steps
            return self._answers.once(namespace, operation, key, request, steps)

        if operation.effect is Effect.ADMIN:
            reply = await self.engine.exclusive(write)
            if isinstance(reply, system.Cleared):
                self._admitted.discard(namespace)
            return reply
        return await self.engine.write(write, quick=touches_few_rows(request), alone=alone)

    async def admit(self, namespace: Namespace) -> None:
        """Make sure that this spelling of a plugin's name owns its namespace.

        Raises:
            RequestError: NAMESPACE_CONFLICT if another spelling does.
        """
        if namespace not in self._admitted:
            await self.engine.write(lambda: namespace_owners.claim(namespace))
            self._admitted.add(namespace)

    async def plugins(self) -> list[str]:
        """Return the names of all plugins that have stored something."""
        return await self.engine.read(namespace_owners.owners)

    async def probe(self) -> None:
        """Read something, to see whether the engine is there.

        Raises:
            EngineError: it is not.
        """
        await self.engine.read(namespace_owners.owners)

    async def sweep(self) -> int:
        """Remove expired keys and old answers; return how many keys.

        Of several replicas that do this at the same time, one finds something to do.
        """
        return await self.engine.write(self._sweep)

    def clear(self, namespace: Namespace, _request: system.Clear) -> Steps[system.Cleared]:
        """Remove everything a plugin owns."""
        keys = yield from self.keys.clear(namespace)
        tables = yield from self.schemas.clear(namespace)
        migrations = yield from self._forget_migrations(namespace)
        yield from self._answers.clear(namespace)
        yield from namespace_owners.release(namespace)
        return system.Cleared(tables=tables, keys=keys, migrations=migrations)

    async def _admit(self, namespace: Namespace, operation: Operation) -> None:
        if namespace in self._admitted:
            return
        if operation.effect is not Effect.READ:
            await self.admit(namespace)
        elif await self.engine.read(lambda: namespace_owners.check(namespace)):
            self._admitted.add(namespace)

    def _prepare(self) -> Steps[None]:
        yield from own_tables.upgrade(self._dialect)
        yield from search_indexes.refresh(self._dialect)

    def _sweep(self) -> Steps[int]:
        if not (yield from self._dialect.claim("sweep")):
            return 0
        yield from self._answers.sweep()
        return (yield from self.keys.sweep())


def touches_few_rows(request: Request) -> bool:
    """Return whether a request finds what it needs by keys, so that it is over in no time."""
    if isinstance(request, _BY_KEY):
        return True
    if isinstance(request, rows.Insert):
        return isinstance(request.data, dict)
    if not isinstance(request, rows.Select | rows.Update | rows.Delete):
        return False
    if request.id is not UNSET or _names_ids((request.filters or {}).get("id")):
        return True
    return isinstance(request, rows.Select) and _is_one_random_row(request)


_BY_KEY = (kv.KvGet, kv.KvSet, kv.KvDelete, kv.KvIncr, rows.Upsert)


def _is_one_random_row(request: rows.Select) -> bool:
    return request.sort == rows.RANDOM and request.limit == 1 and not request.filters


def _names_ids(operand: Any) -> bool:
    """Return whether a filter on `id` leaves only rows that an index finds one by one."""
    if isinstance(operand, dict):
        return not operand.keys().isdisjoint(("$eq", "$in"))
    return isinstance(operand, int | str)
