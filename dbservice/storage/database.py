"""A database as the service sees it: requests in, replies out (SPEC 3)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UNSET

from dbservice.engine.dialect import dialect_of
from dbservice.engine.engine import Engine
from dbservice.engine.steps import Steps
from dbservice.protocol import kv, rows, system
from dbservice.protocol.messages import Reply, Request
from dbservice.protocol.names import Namespace
from dbservice.protocol.operations import Effect, Operation
from dbservice.protocol.subjects import Family
from dbservice.runtime.clock import Clock
from dbservice.storage import namespace_owners, own_tables
from dbservice.storage.catalog import Catalog
from dbservice.storage.idempotency import AnswerStore
from dbservice.storage.keys import KeyStore
from dbservice.storage.queries import QueryStore
from dbservice.storage.rows import RecordStore
from dbservice.storage.schemas import SchemaStore

Work = Callable[[Namespace, Any], Steps[Any]]


class Database:
    """Executes the requests of the KV, row and namespace families on an engine.

    Args:
        engine: where the data is.
        clock: decides what has expired, and stamps rows.
        forget_migrations: removes a plugin's migration bookkeeping, as part of clearing it.
        dice: picks random rows.
        others: operations that are made elsewhere.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        forget_migrations: Callable[[Namespace], Steps[int]],
        dice: random.Random | None = None,
        others: Mapping[tuple[Family, str], Work] | None = None,
    ) -> None:
        self.engine = engine
        self._forget_migrations = forget_migrations
        self._dialect = dialect_of(engine.dialect)
        catalog = Catalog(self._dialect)
        self._keys = KeyStore(clock, self._dialect)
        self._answers = AnswerStore(clock, self._dialect)
        self._schemas = SchemaStore(catalog, self._dialect)
        self._admitted: set[Namespace] = set()
        records = RecordStore(catalog, self._keys, clock)
        self._work = {**self._table(records, QueryStore(catalog, dice)), **(others or {})}

    async def open(self) -> None:
        """Open the engine and bring the service's own tables to their newest version.

        Raises:
            UnavailableError: the engine cannot be opened, or a newer service has used it.
        """
        await self.engine.open()
        await self.engine.exclusive(lambda: own_tables.upgrade(self._dialect))

    async def close(self) -> None:
        """Finish what has been taken and close the engine."""
        await self.engine.close()

    async def execute(
        self,
        namespace: Namespace,
        operation: Operation,
        request: Request,
        key: str | None = None,
        *,
        alone: bool = False,
    ) -> Reply:
        """Execute a request and return its reply, once what it wrote is durable.

        Args:
            namespace: whose data.
            operation: what to do.
            request: the decoded message.
            key: the idempotency key, if the request has one.
            alone: no other request is being served.

        Raises:
            RequestError: the request cannot be served.
            EngineError: the engine refused or failed.
        """
        work = self._work[operation.family, operation.name]
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

    async def _admit(self, namespace: Namespace, operation: Operation) -> None:
        if namespace in self._admitted:
            return
        if operation.effect is not Effect.READ:
            await self.admit(namespace)
        elif await self.engine.read(lambda: namespace_owners.check(namespace)):
            self._admitted.add(namespace)

    def _sweep(self) -> Steps[int]:
        if not (yield from self._dialect.claim("sweep")):
            return 0
        yield from self._answers.sweep()
        return (yield from self._keys.sweep())

    def _table(
        self, records: RecordStore, queries: QueryStore
    ) -> Mapping[tuple[Family, str], Work]:
        keys, schemas = self._keys, self._schemas
        return {
            (Family.KV, "set"): keys.set,
            (Family.KV, "get"): keys.get,
            (Family.KV, "delete"): keys.delete,
            (Family.KV, "list"): keys.list,
            (Family.KV, "incr"): keys.incr,
            (Family.ROW, "insert"): records.insert,
            (Family.ROW, "insert_batch"): records.insert_batch,
            (Family.ROW, "update"): records.update,
            (Family.ROW, "upsert"): records.upsert,
            (Family.ROW, "delete"): records.delete,
            (Family.ROW, "count"): records.count,
            (Family.ROW, "select"): queries.select,
            (Family.ROW, "search"): queries.search,
            (Family.ROW, "aggregate"): queries.aggregate,
            (Family.ROW, "schema.register"): schemas.register,
            (Family.ROW, "schema.describe"): schemas.describe,
            (Family.ROW, "schema.drop"): schemas.drop,
            (Family.NAMESPACE, "clear"): self._clear,
        }

    def _clear(self, namespace: Namespace, _request: system.Clear) -> Steps[system.Cleared]:
        keys = yield from self._keys.clear(namespace)
        tables = yield from self._schemas.clear(namespace)
        migrations = yield from self._forget_migrations(namespace)
        yield from self._answers.clear(namespace)
        yield from namespace_owners.release(namespace)
        return system.Cleared(tables=tables, keys=keys, migrations=migrations)


def touches_few_rows(request: Request) -> bool:
    """Return whether a request finds what it needs by keys, so that it is over in no time."""
    if isinstance(request, _BY_KEY):
        return True
    if isinstance(request, rows.Insert):
        return isinstance(request.data, dict)
    if not isinstance(request, rows.Select | rows.Update | rows.Delete):
        return False
    if request.id is not UNSET or _names_ids(request.filters.get("id")):
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
