"""What can be done with a database, as steps that run on any connection to it (SPEC 3)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from dbservice.engine.dialect import dialect_of
from dbservice.engine.steps import Steps
from dbservice.protocol import system
from dbservice.protocol.limits import MAX_REPLY
from dbservice.protocol.messages import Reply, Request
from dbservice.protocol.names import Namespace
from dbservice.protocol.operations import Operation
from dbservice.protocol.subjects import Family
from dbservice.runtime.clock import Clock
from dbservice.sqltext.dialects import Dialect
from dbservice.storage import namespace_owners
from dbservice.storage.catalog import Catalog
from dbservice.storage.idempotency import AnswerStore
from dbservice.storage.keys import KeyStore
from dbservice.storage.queries import QueryStore
from dbservice.storage.rows import RecordStore
from dbservice.storage.schemas import SchemaStore

Work = Callable[[Namespace, Any], Steps[Any]]


class OperationSteps:
    """The operations of the key-value and row families, and clearing a namespace.

    They know no connection, so the service and its worker processes have the same ones.

    Args:
        dialect: of the engine.
        clock: decides what has expired, and stamps rows.
        forget_migrations: removes a plugin's migration bookkeeping, as part of clearing it.
        dice: picks random rows.
        max_reply: tells how many bytes a reply may have.

    Attributes:
        table: each operation's steps.
        registered: see `SchemaStore.registered`.
    """

    def __init__(
        self,
        dialect: Dialect,
        clock: Clock,
        *,
        forget_migrations: Callable[[Namespace], Steps[int]],
        dice: random.Random | None = None,
        max_reply: Callable[[], int] = lambda: MAX_REPLY,
    ) -> None:
        self._dialect = dialect_of(dialect)
        self._forget_migrations = forget_migrations
        catalog = Catalog(self._dialect)
        self._keys = KeyStore(clock, self._dialect, max_reply)
        self._answers = AnswerStore(clock, self._dialect)
        self._schemas = SchemaStore(catalog, self._dialect)
        self.registered = self._schemas.registered
        records = RecordStore(catalog, self._keys, clock, max_reply)
        self.table = self._table(records, QueryStore(catalog, dice, max_reply))

    def steps(
        self,
        work: Work,
        namespace: Namespace,
        operation: Operation,
        request: Request,
        key: str | None,
    ) -> Steps[Reply]:
        """Return the steps of a request.

        Args:
            work: those of the operation.
            namespace: whose data.
            operation: what to do.
            request: the decoded message.
            key: the idempotency key, if the request has one.
        """
        steps = work(namespace, request)
        if key is None:
            return steps
        return self._answers.once(namespace, operation, key, request, steps)

    def sweep(self) -> Steps[int]:
        """Remove expired keys and old answers; return how many keys.

        Of several replicas that do this at the same time, one finds something to do.
        """
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
        """Remove everything a plugin owns."""
        keys = yield from self._keys.clear(namespace)
        tables = yield from self._schemas.clear(namespace)
        migrations = yield from self._forget_migrations(namespace)
        yield from self._answers.clear(namespace)
        yield from namespace_owners.release(namespace)
        return system.Cleared(tables=tables, keys=keys, migrations=migrations)
