"""A database as the service sees it: requests in, replies out (SPEC 3)."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET

from dbservice.engine.dialect import dialect_of
from dbservice.engine.engine import Engine
from dbservice.engine.errors import (
    ChangeTimeoutError,
    StatementTimeoutError,
    WriteTimeoutError,
)
from dbservice.engine.orders import Order
from dbservice.engine.steps import Steps
from dbservice.protocol import kv, rows, system
from dbservice.protocol.codec import encode_json
from dbservice.protocol.limits import MAX_REPLY
from dbservice.protocol.messages import Reply, Request
from dbservice.protocol.names import Namespace
from dbservice.protocol.operations import Effect, Operation
from dbservice.protocol.subjects import Family
from dbservice.runtime.clock import Clock
from dbservice.storage import namespace_owners, own_tables, search_indexes
from dbservice.storage.operations import OperationSteps, Work


class Database:
    """Executes requests on an engine.

    Args:
        engine: where the data is.
        clock: decides what has expired, and stamps rows.
        forget_migrations: removes a plugin's migration bookkeeping, as part of clearing it.
        dice: picks random rows.
        max_reply: tells how many bytes a reply may have.

    Attributes:
        operations: what can be done with it.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        forget_migrations: Callable[[Namespace], Steps[int]],
        dice: random.Random | None = None,
        max_reply: Callable[[], int] = lambda: MAX_REPLY,
    ) -> None:
        self.engine = engine
        self._clock = clock
        self.max_reply = max_reply
        self._dialect = dialect_of(engine.dialect)
        self.operations = OperationSteps(
            engine.dialect,
            clock,
            forget_migrations=forget_migrations,
            dice=dice,
            max_reply=max_reply,
        )
        self._admitted: set[Namespace] = set()
        self._contested: set[Namespace] = set()

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
    ) -> Reply | bytes:
        """Execute a request and return its reply, once what it wrote is durable.

        Args:
            work: the steps of the operation.
            namespace: whose data.
            operation: what to do.
            request: the decoded message.
            key: the idempotency key, if the request has one.
            alone: no other request is being served.

        Returns:
            The reply, or its encoded form where a worker process made it.

        Raises:
            RequestError: the request cannot be served.
            EngineError: the engine refused or failed.
        """
        if operation.effect is Effect.ADMIN and isinstance(request, _ALONE):
            return await self._execute_alone(work, namespace, request)
        if namespace not in self._admitted:
            await self._admit(namespace, operation)
        steps = partial(self.operations.steps, work, namespace, operation, request, key)
        if operation.effect is Effect.READ:
            return await self._read(namespace, operation, request, steps)
        steps = partial(self._writing, namespace, steps)
        if isinstance(request, rows.Register | rows.Drop):
            return await self._change_table(namespace, request, key, steps)
        try:
            return await self._write(namespace, operation, request, key, steps, alone=alone)
        except StatementTimeoutError as error:
            raise WriteTimeoutError(str(error)) from error

    def _writing(self, namespace: Namespace, steps: Callable[[], Steps[Reply]]) -> Steps[Reply]:
        made = steps()
        return _where_no_import_is(namespace, made) if namespace in self._contested else made

    def _read(
        self,
        namespace: Namespace,
        operation: Operation,
        request: Request,
        steps: Callable[[], Steps[Reply]],
    ) -> Awaitable[Reply | bytes]:
        quick = touches_few_rows(request)
        apart = self.engine.apart
        if apart is None or quick or operation.family is Family.NAMESPACE:
            # Namespaces are read out page by page, by what knows the migrations.
            return self.engine.read(steps, scan=not quick, plugin=self.turn_of(namespace))
        return apart.read(self._order(namespace, operation, request), self.turn_of(namespace))

    def _write(
        self,
        namespace: Namespace,
        operation: Operation,
        request: Request,
        key: str | None,
        steps: Callable[[], Steps[Reply]],
        *,
        alone: bool,
    ) -> Awaitable[Reply | bytes]:
        quick = touches_few_rows(request)
        apart = self.engine.apart
        if apart is None or quick or not isinstance(request, rows.Update | rows.Delete):
            # How long an insert takes follows from its own size.
            return self.engine.write(steps, quick=quick, alone=alone, plugin=namespace.plugin)
        return apart.write(self._order(namespace, operation, request, key), namespace.plugin)

    async def _change_table(
        self,
        namespace: Namespace,
        request: rows.Register | rows.Drop,
        key: str | None,
        steps: Callable[[], Steps[Reply]],
    ) -> Reply:
        if isinstance(request, rows.Register) and key is None and namespace not in self._contested:
            # Every plugin registers its tables when it starts, and mostly they are there.
            confirm = partial(self.operations.registered, namespace, request)
            registered = await self.engine.read(confirm, plugin=namespace.plugin)
            if registered is not None:
                return registered
        # A table that is made refers to no other, and no other refers to it.
        checks_references = isinstance(request, rows.Drop)
        try:
            return await self.engine.exclusive(
                steps, checks_references=checks_references, plugin=namespace.plugin
            )
        except StatementTimeoutError as error:
            raise ChangeTimeoutError(str(error)) from error

    def _order(
        self,
        namespace: Namespace,
        operation: Operation,
        request: Request,
        key: str | None = None,
    ) -> Order:
        return Order(
            plugin=namespace.plugin,
            family=operation.family,
            operation=operation.name,
            request=msgspec.Raw(encode_json(request)),
            key=key,
            now=self._clock.time(),
            max_reply=self.max_reply(),
        )

    async def _execute_alone(self, work: Work, namespace: Namespace, request: Request) -> Reply:
        """Fill or empty a namespace, which meanwhile is nobody else's."""

        def steps() -> Steps[Reply]:
            yield from namespace_owners.claim(namespace, even_in_import=True)
            reply: Reply = yield from work(namespace, request)
            return reply

        self._contested.add(namespace)
        is_import = isinstance(request, system.Import)
        reply = await self.engine.exclusive(steps, checks_references=not is_import)
        self._admitted.discard(namespace)
        if isinstance(reply, system.Cleared) or (
            isinstance(reply, system.Imported) and reply.finished
        ):
            self._contested.discard(namespace)
        return reply

    def turn_of(self, namespace: Namespace) -> str:
        """Return in whose turn the requests of a plugin are served.

        That is its own, once it has stored something. Until then one turn is for all, because
        without accounts anybody may make up names, and each would have one.
        """
        return namespace.plugin if namespace in self._admitted else NEWCOMERS

    async def admit(self, namespace: Namespace) -> None:
        """Make sure that this spelling of a plugin's name owns its namespace.

        Raises:
            RequestError: NAMESPACE_CONFLICT if another spelling does, LOCK_TIMEOUT while it is
                being imported into.
        """
        if namespace not in self._admitted:
            claim = partial(namespace_owners.claim, namespace)
            await self.engine.write(claim, quick=True, plugin=self.turn_of(namespace))
            self._admitted.add(namespace)

    async def check_owner(self, namespace: Namespace) -> None:
        """Raise the error of a request that may not read this namespace now.

        Raises:
            RequestError: NAMESPACE_CONFLICT or LOCK_TIMEOUT, as for `admit`.
        """
        if namespace not in self._admitted:
            check = partial(namespace_owners.check, namespace)
            await self.engine.read(check, plugin=self.turn_of(namespace))

    async def plugins(self) -> list[str]:
        """Return the names of all plugins that have stored something, which may be thousands."""
        return await self.engine.read(namespace_owners.owners, scan=True)

    async def probe(self) -> None:
        """Read something, to see whether the engine is there.

        Raises:
            EngineError: it is not.
        """
        await self.engine.check_writable()
        await self.engine.read(namespace_owners.owners)

    async def sweep(self) -> int:
        """Remove expired keys and old answers; return how many keys.

        Of several replicas that do this at the same time, one finds something to do.
        """
        return await self.engine.write(self.operations.sweep)

    async def _admit(self, namespace: Namespace, operation: Operation) -> None:
        if operation.effect is not Effect.READ:
            await self.admit(namespace)
            return
        check = partial(namespace_owners.check, namespace)
        if await self.engine.read(check, plugin=self.turn_of(namespace)):
            self._admitted.add(namespace)

    def _prepare(self) -> Steps[None]:
        yield from own_tables.upgrade(self._dialect)
        yield from search_indexes.refresh(self._dialect)


def _where_no_import_is(namespace: Namespace, steps: Steps[Reply]) -> Steps[Reply]:
    """Look again within the transaction: the import may have begun since the request came."""
    yield from namespace_owners.claim(namespace)
    return (yield from steps)


def touches_few_rows(request: Request) -> bool:
    """Return whether a request finds what it needs by keys, so that it is over in no time."""
    if isinstance(request, _BY_KEY):
        return True
    if isinstance(request, rows.Insert):
        return isinstance(request.data, dict)
    if not isinstance(request, _BY_ID):
        return False
    if request.id is not UNSET or _names_few_ids(request.filters or {}):
        return True
    return isinstance(request, rows.Select) and _is_one_random_row(request)


_BY_KEY = (kv.KvGet, kv.KvSet, kv.KvDelete, kv.KvIncr, rows.Upsert)
_BY_ID = (rows.Select, rows.Update, rows.Delete)
_ALONE = (system.Import, system.Clear)

NEWCOMERS = "?"
"""Stands for all plugins that own no namespace yet; no plugin has this name."""


_FEW = 16
"""Rows that are few: even of the largest size they do not hold up the event loop for long."""


def _is_one_random_row(request: rows.Select) -> bool:
    return request.sort == rows.RANDOM and request.limit == 1 and not request.filters


def _names_few_ids(filters: Mapping[str, Any]) -> bool:
    """Return whether filters are nothing but a few ids, which an index finds one by one.

    What stands beside them would be tried on each of these rows, whatever that costs.
    """
    if filters.keys() != {"id"}:
        return False
    operand = filters["id"]
    if isinstance(operand, int | str):
        return True
    if not isinstance(operand, dict) or len(operand) != 1:
        return False
    listed = operand.get("$in")
    return "$eq" in operand or (isinstance(listed, list) and len(listed) <= _FEW)
