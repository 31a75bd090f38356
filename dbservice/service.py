"""The database service: takes requests from NATS and answers them (SPEC 3)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from msgspec import UNSET

from dbservice.failures import internal_error, on_global_kv, reply_to
from dbservice.migrate import Migrator, shipped_roots
from dbservice.protocol import headers, limits, subjects, system
from dbservice.protocol.codec import decode_request, encode_failure, encode_json, encode_reply
from dbservice.protocol.errors import ErrorCode, RequestError, invalid
from dbservice.protocol.messages import Reply, Request
from dbservice.protocol.migrations import Apply, Rollback, SchemaChanged, Status
from dbservice.protocol.names import Namespace
from dbservice.protocol.names import namespace as namespace_of
from dbservice.protocol.operations import Effect, Operation, operation_at
from dbservice.protocol.subjects import Address, Family, parse
from dbservice.runtime.clock import Clock, SystemClock
from dbservice.runtime.correlation import bound_request_id, request_id_of
from dbservice.storage.database import Database
from dbservice.storage.errors import EngineError
from dbservice.storage.sqlite import SqliteEngine

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

log = logging.getLogger(__name__)

_MAX_TAKEN = limits.MAX_IN_FLIGHT + limits.MAX_QUEUED
_RETRY_AFTER_MS = 100


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what was answered, for observers.

    Attributes:
        subject: where the request came in.
        request: its payload.
        reply: the payload of the answer.
        code: the error code of a failed reply, or None.
        seconds: how long it took.
    """

    subject: str
    request: bytes
    reply: bytes
    code: ErrorCode | None
    seconds: float


class DatabaseService:
    """Serves the storage of all plugins on one NATS connection.

    Args:
        database_url: `sqlite+aiosqlite:///file.db`, or `sqlite+aiosqlite://` for memory.
        nats: a connected nats-py client; it stays the caller's to close.
        migrations: roots to look for migration files in; by default those that installed
            packages ship.
        clock: decides about lifetimes and stamps rows.
        observe: called with every exchange, after the reply was sent.
    """

    def __init__(
        self,
        database_url: str,
        nats: Client,
        *,
        migrations: Sequence[Path] | None = None,
        clock: Clock | None = None,
        observe: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self._nats = nats
        self._observe = observe
        engine = SqliteEngine(database_url)
        roots = shipped_roots() if migrations is None else list(migrations)
        self.migrator = Migrator(engine, roots, clock=self.clock)
        self.database = Database(engine, self.clock, forget_migrations=self.migrator.forget)
        self._subscription: Subscription | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._started_at = 0.0
        self._stopping = False

    async def start(self) -> None:
        """Open the database and take requests from now on.

        Raises:
            UnavailableError: the database cannot be opened; the text says why.
        """
        await self.database.open()
        self._started_at = time.monotonic()
        self._subscription = await self._nats.subscribe(
            subjects.ALL_REQUESTS, queue=subjects.QUEUE_GROUP, cb=self._take
        )
        # nats-py lets a PING overtake a SUB that was not yet written; yielding first makes the
        # flush a barrier, and requests of other connections find the service.
        await asyncio.sleep(0)
        await self._nats.flush()
        self._sweeper = asyncio.create_task(self._sweep_forever(), name="rosey-db sweep")

    async def stop(self) -> None:
        """Take no more requests, answer those that were taken, close the database."""
        self._stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
        await self._stop_taking()
        while self._tasks:
            await asyncio.gather(*self._tasks)
        if self._nats.is_connected:
            await asyncio.sleep(0)
            await self._nats.flush()
        await self.database.close()

    @property
    def is_ready(self) -> bool:
        """Whether requests are taken and can be answered."""
        return self._subscription is not None and not self._stopping and self._nats.is_connected

    async def execute(self, subject: str, payload: bytes) -> bytes:
        """Serve one request that did not come over NATS; return the payload of its answer."""
        answer, _ = await self._answer(subject, payload, {})
        return answer

    async def _stop_taking(self) -> None:
        if self._subscription is None or not self._nats.is_connected:
            return
        await self._subscription.drain()  # type: ignore[no-untyped-call]

    async def _take(self, message: Msg) -> None:
        """Hand a message to a task of its own: nats-py delivers the next when this returns."""
        if subjects.is_event(message.subject):
            return
        if len(self._tasks) >= _MAX_TAKEN:
            await self._send(message, encode_failure(_overloaded()))
            return
        task = asyncio.create_task(self._serve(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, message: Msg) -> None:
        started = time.perf_counter()
        if _is_late(message.headers, self.clock):
            return
        with bound_request_id(request_id_of(message.headers)):
            payload, code = await self._answer(message.subject, message.data, message.headers or {})
            payload = self._fitting(payload)
            try:
                await self._send(message, payload)
            except Exception:
                log.exception("the answer to %s could not be sent", message.subject)
            if self._observe is not None:
                seconds = time.perf_counter() - started
                self._observe(Exchange(message.subject, message.data, payload, code, seconds))

    async def _answer(
        self, subject: str, payload: bytes, sent: Mapping[str, str]
    ) -> tuple[bytes, ErrorCode | None]:
        address: Address | None = None
        try:
            address = parse(subject)
            reply = await self._reply(address, payload, sent)
            return encode_reply(reply, global_kv=address.is_global_kv), None
        except RequestError as error:
            failure = error
        except EngineError as error:
            failure = reply_to(error, address.namespace if address else None)
            if failure.code in (ErrorCode.INTERNAL_ERROR, ErrorCode.DATABASE_UNAVAILABLE):
                log.exception("the database failed on %s", subject)
        except Exception:
            failure = internal_error()
            log.exception("serving %s failed", subject)
        if address is not None and address.is_global_kv:
            failure = on_global_kv(failure)
        return encode_failure(failure), failure.code

    async def _reply(self, address: Address, payload: bytes, sent: Mapping[str, str]) -> Reply:
        operation = operation_at(address)
        request = decode_request(operation, address, payload)
        if address.family is Family.SERVICE:
            return await self._about_itself(request)
        namespace = _namespace_of(address, request)
        if address.family is Family.MIGRATE:
            return await self._migrate(namespace, operation, request)
        key = _idempotency_key(operation, request, sent)
        return await self.database.execute(namespace, operation, request, key)

    async def _about_itself(self, request: Request) -> Reply:
        if isinstance(request, system.Ping):
            return system.Pong(service=subjects.SERVICE_NAME, version=self.version)
        return system.ServiceInfo(
            service=subjects.SERVICE_NAME,
            version=self.version,
            engine=self.database.engine.dialect,
            limits={name.lower(): value for name, value in vars(limits).items() if name.isupper()},
            namespaces=await self.database.plugins(),
            uptime_s=round(time.monotonic() - self._started_at, 3),
        )

    async def _migrate(self, namespace: Namespace, operation: Operation, request: Request) -> Reply:
        if isinstance(request, Status):
            return await self.migrator.status(namespace)
        if operation.effect is Effect.ADMIN:
            await self.database.admit(namespace)
        if isinstance(request, Apply):
            applied = await self.migrator.apply(namespace, request)
            await self._announce(namespace, applied.current_version, applied.applied)
            return applied
        rolled_back = await self.migrator.rollback(namespace, cast("Rollback", request))
        await self._announce(namespace, rolled_back.current_version, rolled_back.rolled_back)
        return rolled_back

    async def _announce(self, namespace: Namespace, version: int, changed: bool) -> None:
        if changed and self._nats.is_connected:
            event = SchemaChanged(plugin=namespace.plugin, current_version=version)
            await self._nats.publish(
                subjects.schema_changed_subject(namespace.plugin), encode_json(event)
            )

    async def _send(self, message: Msg, payload: bytes) -> None:
        if not message.reply:
            return
        asked = (message.headers or {}).get(headers.REQUEST_ID)
        echoed = {headers.REQUEST_ID: asked} if asked else None
        await self._nats.publish(message.reply, payload, headers=echoed)

    def _fitting(self, payload: bytes) -> bytes:
        limit = self._nats.max_payload
        if len(payload) <= limit:
            return payload
        return encode_failure(
            RequestError(
                ErrorCode.VALUE_TOO_LARGE,
                f"The reply has {len(payload)} bytes; this NATS server takes {limit}. Ask for "
                "fewer rows with 'limit' and page with 'after', or name fewer 'columns'.",
                limit=limit,
                got=len(payload),
            )
        )

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(limits.KV_SWEEP_INTERVAL)
            try:
                swept = await self.database.sweep()
                log.info("swept %d expired keys", swept)
            except EngineError:
                log.exception("sweeping expired keys failed; the next sweep tries again")

    @cached_property
    def version(self) -> str:
        """The installed version of this service."""
        return metadata.version("pytest-rosey")


def _namespace_of(address: Address, request: Request) -> Namespace:
    """Return whose data a request is about: the subject says so, on the global form the payload.

    Raises:
        RequestError: FORBIDDEN if the payload names another plugin than the subject.
    """
    named: Any = getattr(request, "plugin_name", UNSET)
    if address.namespace is None:
        return _claimed_namespace(named)
    if named is not UNSET and named != address.namespace.plugin:
        raise RequestError(
            ErrorCode.FORBIDDEN,
            f"'plugin_name' must be '{address.namespace.plugin}', as in the subject. A plugin "
            "reaches its own namespace only.",
            field="plugin_name",
            expected=address.namespace.plugin,
        )
    return address.namespace


def _claimed_namespace(name: str) -> Namespace:
    try:
        return namespace_of(name)
    except RequestError as error:
        raise invalid(error.message, **{**error.details, "field": "plugin_name"}) from None


def _idempotency_key(operation: Operation, request: Request, sent: Mapping[str, str]) -> str | None:
    if operation.effect is Effect.READ:
        return None
    key: Any = getattr(request, "idempotency_key", UNSET)
    return sent.get(headers.IDEMPOTENCY_KEY) if key is UNSET else key


def _is_late(sent: Mapping[str, str] | None, clock: Clock) -> bool:
    deadline = (sent or {}).get(headers.DEADLINE, "")
    return deadline.isdigit() and int(deadline) < clock.time() * 1000


def _overloaded() -> RequestError:
    return RequestError(
        ErrorCode.OVERLOADED,
        f"The service has {_MAX_TAKEN} requests to answer already. Try again a little later.",
        retry_after_ms=_RETRY_AFTER_MS,
    )
