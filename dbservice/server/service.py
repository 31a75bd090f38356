"""The database service: takes requests from NATS and answers them (SPEC 3)."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dbservice.bus.connection import SurvivingClient
from dbservice.engine.errors import (
    EngineError,
    FileGoneError,
    FullError,
    NotWritableError,
    UnavailableError,
)
from dbservice.engine.steps import Steps
from dbservice.engine.urls import engine_for
from dbservice.migrate import Migrator, migration_roots
from dbservice.protocol import limits, subjects, system
from dbservice.protocol.codec import encode_json
from dbservice.protocol.errors import RequestError
from dbservice.protocol.migrations import SchemaChanged
from dbservice.protocol.names import Namespace
from dbservice.protocol.subjects import Family
from dbservice.runtime import tracing
from dbservice.runtime.barrier import barrier
from dbservice.runtime.clock import Clock, SystemClock
from dbservice.runtime.correlation import bound_request_id
from dbservice.runtime.health import Unwell
from dbservice.runtime.logs import SparingLog
from dbservice.server.admission import NOBODY, Admission, Limits, newcomers_with
from dbservice.server.answering import LARGEST_HEADERS, LONG, Answering, EncodedReply, refusing
from dbservice.server.discovery import Discovery
from dbservice.server.failures import overloaded, shutting_down
from dbservice.server.handlers import At, Handler, Migrations, handlers
from dbservice.server.incoming import Call, Incoming, read
from dbservice.server.loop_turns import LoopTurns
from dbservice.server.observation import Exchange, Observation
from dbservice.server.peers import OtherServiceError, Peers
from dbservice.server.settings import Settings
from dbservice.sqltext.dialects import Dialect
from dbservice.storage.database import NEWCOMERS, Database
from dbservice.transfer import Exporter, Importer

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from dbservice.server.metrics import ServiceMetrics

log = logging.getLogger(__name__)

_PROBE_TIMEOUT: Final = 1.0
_CLOSING_TIMEOUT: Final = 5.0
_BETWEEN_REFUSALS: Final = 0.02
"""Seconds between the refusals of two long requests."""

_MOST_REFUSING: Final = 64
"""Long requests that wait for their refusal; more are refused at once. They wait 1.3 s at most."""

_UNWELL: Final = {
    FileGoneError: "its file is not the one any more that was opened",
    NotWritableError: "it is read-only",
    FullError: "it has no room left",
}
_WORKER: Final = (sys.executable, "-P", "-m", "dbservice.server.worker")


class DatabaseService:
    """Serves the storage of all plugins on one NATS connection.

    Services of different databases never share a bus: of two, the one that came later withdraws.

    Args:
        database_url: `sqlite+aiosqlite:///file.db`, or `sqlite+aiosqlite://` for memory.
        nats: a connected nats-py client; it stays the caller's to close.
        migrations: roots to look for migration files in; by default those that installed
            packages ship.
        clock: decides about lifetimes and stamps rows.
        observe: called with every exchange, after the reply was sent.
        settings: the limits; see `Settings`.
        metrics: where to count; by default nothing is counted for Prometheus.
        private_bus: nobody else can answer on this bus; do not ask whether somebody does.
        workers: how many processes read a database file beside this one, so that whatever one of
            them is in the middle of can be ended; 0 starts none, as does any other database.
    """

    def __init__(
        self,
        database_url: str,
        nats: Client,
        *,
        migrations: Sequence[Path] | None = None,
        clock: Clock | None = None,
        observe: Callable[[Exchange], None] | None = None,
        settings: Settings | None = None,
        metrics: ServiceMetrics | None = None,
        private_bus: bool = False,
        workers: int = 0,
    ) -> None:
        self.clock = clock or SystemClock()
        self.settings = settings or Settings()
        self._nats = nats
        self._discovery = Discovery(nats, self.version, self.settings.may_answer)
        self._private_bus = private_bus
        self._observation = Observation(self._discovery.tallies, metrics, observe)
        self._sparing_log = SparingLog(log)
        self._admission: Admission[Incoming] = Admission(
            Limits(
                in_flight=self.settings.max_in_flight,
                queued=self.settings.max_queued,
                size=self.settings.max_bytes,
                plugin_size=self.settings.max_plugin_bytes,
            ),
            self._start_serving,
        )
        engine = engine_for(
            database_url,
            statement_timeout=self.settings.statement_timeout,
            write_timeout=self.settings.write_timeout,
            workers=workers,
            worker=_WORKER,
            on_commit=None if metrics is None else metrics.committed,
        )
        roots = migration_roots() if migrations is None else list(migrations)
        self.migrator = Migrator(engine, roots, clock=self.clock)
        self._peers = Peers(
            nats, self._discovery.id, takes_unknown=engine.dialect is Dialect.POSTGRESQL
        )
        self._importer = Importer(engine.dialect, self.migrator, self.clock)
        self.database = Database(
            engine,
            self.clock,
            forget_migrations=self._forget,
            max_reply=lambda: nats.max_payload - LARGEST_HEADERS,
        )
        loop_turns = LoopTurns()
        self._answering = Answering(
            self._handlers(loop_turns), engine.dialect, lambda: self._nats.max_payload, loop_turns
        )
        self._subscription: Subscription | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusals = LoopTurns(_BETWEEN_REFUSALS)
        self._refusing = 0
        self._chores: list[asyncio.Task[None]] = []
        self._renewed = asyncio.Event()
        self._withdrawn = asyncio.Event()
        self._withdrawal: OtherServiceError | None = None
        self._is_open = False
        self._started_at = 0.0
        self._stopping = False
        self._takes_no_more = False
        if metrics is not None:
            self._show_in(metrics)

    def _handlers(self, loop_turns: LoopTurns) -> Mapping[At, Handler]:
        return handlers(
            self.database,
            Exporter(self.database.engine.dialect, self.migrator, self.clock),
            self._importer,
            Migrations(self.migrator, self.database, self.announce),
            {(Family.SERVICE, "ping"): self._ping, (Family.SERVICE, "info"): self._info},
            is_alone=lambda: self._admission.active == 1,
            loop_turns=loop_turns,
        )

    def _show_in(self, metrics: ServiceMetrics) -> None:
        metrics.watch(
            in_flight=lambda: self._admission.active,
            queued=lambda: self._admission.waiting,
            at_database=lambda: self.database.engine.busy,
            waited=lambda: max(self._admission.waited, self.database.engine.waited),
            connected=lambda: self._nats.is_connected,
            dropped=lambda: getattr(self._nats, "dropped", 0),
            mended=lambda: getattr(self._nats, "mended", 0),
        )

    async def open(self) -> None:
        """Open the database, and see that this bus is free for it; no request is taken yet.

        Raises:
            UnavailableError: the database cannot be opened; the text says why.
            OtherServiceError: a service of another database answers on this bus.
        """
        await self.database.open()
        self._is_open = True
        try:
            self._discovery.metadata.identity = await self.database.engine.identity()
            if not self._private_bus:
                await self._peers.check(self._discovery.metadata.identity)
        except BaseException:
            await self.stop()
            raise

    async def start(self) -> None:
        """Take requests from now on; open the database, if `open()` has not done so.

        Raises:
            UnavailableError: the database cannot be opened; the text says why.
            OtherServiceError: a service of another database answers on this bus.
        """
        if not self._is_open:
            await self.open()
        self._answering.tracing = tracing.configured()
        self._started_at = time.monotonic()
        await self._discovery.start()
        self._subscription = await self._nats.subscribe(
            subjects.ALL_REQUESTS,
            queue=subjects.QUEUE_GROUP,
            cb=self._take,
            # What is too much is refused with an answer, by our own count, and not dropped.
            pending_msgs_limit=-1,
            pending_bytes_limit=-1,
        )
        await barrier(self._nats)  # requests of other connections find the service from here on
        self._chores.append(asyncio.create_task(self._sweep_forever(), name="rosey-db sweep"))
        if not self._private_bus:
            try:
                await self._check_peers()  # somebody may have started at the same time
            except BaseException:
                await self.stop()
                raise
            self._chores.append(asyncio.create_task(self._watch_peers(), name="rosey-db peers"))

    async def stop(self) -> None:
        """Take no more requests, answer those that were taken, close the database.

        It ends within `Settings.drain_timeout` and the time of one statement: what still waits
        for its turn then is answered with SHUTTING_DOWN, what is being executed gets no answer.
        Stopping a service that was stopped does nothing.
        """
        if self._stopping:
            return
        self._stopping = True
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        # Not a timeout around it: within its drain(), nats-py swallows the cancellation.
        draining = asyncio.create_task(self._drain())
        try:
            await asyncio.wait([draining], timeout=self.settings.drain_timeout)
        finally:
            draining.cancel()  # which does nothing to one that is done
        if draining.done():
            draining.result()
        else:
            await self._abandon()
            await asyncio.wait([draining], timeout=_CLOSING_TIMEOUT)
        await self._discovery.stop()
        if self._nats.is_connected:
            await barrier(self._nats)
        await self._close_database()

    async def withdrawn(self) -> OtherServiceError:
        """Wait until it takes no more requests because of another service; return the reason."""
        await self._withdrawn.wait()
        assert self._withdrawal is not None  # set before the event
        return self._withdrawal

    @property
    def checks(self) -> Mapping[str, Callable[[], Awaitable[object]]]:
        """What has to be well, by name: each returns, or raises an error that says what is not.

        `nats`: this replica reaches itself over the server. `database`: it can be read. `queue`:
        the next request would find a place.
        """
        return {
            "nats": lambda: self._discovery.ping(_PROBE_TIMEOUT),
            "database": self._check_database,
            "queue": self._check_queue,
        }

    async def check_serving(self) -> None:
        """Raise an error that says why no requests are taken, if that is so."""
        if self._withdrawal is not None:
            raise Unwell("withdrawn: a service of another database answers on this bus")
        if self._stopping:
            raise Unwell("draining")
        if self._subscription is None:
            raise Unwell("starting")

    async def _check_database(self) -> None:
        try:
            await self.database.probe()
        except UnavailableError as error:
            raise Unwell(_UNWELL.get(type(error), "it cannot be reached")) from None

    async def _check_queue(self) -> None:
        if self._admission.waiting and self._admission.is_full:
            raise Unwell(f"full: {self._admission.waiting} requests wait")

    async def execute(self, subject: str, payload: bytes) -> bytes:
        """Serve one request that did not come over NATS; return the payload of its answer."""
        incoming = read(subject, payload, taken_at=time.perf_counter())
        return (await self._answering.executed(incoming, self._turn_of(incoming))).payload

    async def announce(self, namespace: Namespace, version: int) -> None:
        """Publish that a plugin's schema has changed."""
        if self._nats.is_connected:
            event = SchemaChanged(plugin=namespace.plugin, current_version=version)
            await self._nats.publish(
                subjects.schema_changed_subject(namespace.plugin), encode_json(event)
            )

    async def _drain(self) -> None:
        await self._stop_taking()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _stop_taking(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None and self._nats.is_connected:
            # drain() asks the server for a PONG to know that nothing more comes, but nats-py lets
            # that PING overtake the UNSUB: what the server delivers in between would be lost.
            await self._nats._send_unsubscribe(subscription._id)  # noqa: SLF001
            await barrier(self._nats)
            await subscription.drain()  # type: ignore[no-untyped-call]
        self._takes_no_more = True

    async def _abandon(self) -> None:
        """Give up on what the drain timeout left over."""
        self._takes_no_more = True
        waiting = self._admission.dismiss()
        log.warning(
            "the drain timeout of %g s is over: %d requests are refused, %d go without an answer",
            self.settings.drain_timeout,
            len(waiting),
            len(self._tasks),
        )
        for task in self._tasks:
            task.cancel()
        for incoming in waiting:
            await self._refuse(incoming, shutting_down())

    async def _close_database(self) -> None:
        try:
            async with asyncio.timeout(_CLOSING_TIMEOUT + self.settings.statement_timeout):
                await self.database.close()
        except TimeoutError:
            log.error("the database is still at work; its transaction will be undone")  # noqa: TRY400

    async def _take(self, message: Msg) -> None:
        """Start a request or let it wait; nats-py delivers the next when this returns."""
        if subjects.is_event(message.subject):
            return
        if not self.settings.may_answer(message.reply):
            self._observation.misdirected(message.subject)
            return
        incoming = read(
            message.subject,
            message.data,
            taken_at=time.perf_counter(),
            reply_to=message.reply,
            sent=message.headers,
        )
        if self._takes_no_more:
            await self._refuse(incoming, shutting_down())
            return
        for refused in self._admission.offer(self._turn_of(incoming), incoming, incoming.size):
            taken = self._admission.active + self._admission.waiting
            if refused.size > LONG and self._refusing < _MOST_REFUSING:
                self._refusing += 1
                self._begin(self._refuse_in_turn(refused, overloaded(taken)))
            else:
                await self._refuse(refused, overloaded(taken))

    def _turn_of(self, incoming: Incoming) -> str:
        namespace = incoming.namespace
        if namespace is None:
            return NOBODY
        turn = self.database.turn_of(namespace)
        return newcomers_with(namespace) if turn == NEWCOMERS else turn

    def _start_serving(self, plugin: str, incoming: Incoming) -> None:
        self._begin(self._serve(plugin, incoming))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, plugin: str, incoming: Incoming) -> None:
        try:
            if incoming.is_late:
                self._observation.dropped(incoming)
                return
            with bound_request_id(incoming.request_id):
                await self._reply(incoming, await self._answering.answer(incoming, plugin))
        finally:
            self._admission.finished(plugin, incoming.size)

    async def _refuse_in_turn(self, incoming: Incoming, error: RequestError) -> None:
        """Refuse what took long to read: one request after another, plugins in turn.

        Who is told to try again later and does so at once would keep the service reading what it
        refuses, and everybody behind that.
        """
        incoming.payload = b""
        try:
            await self._refusals.run(self._turn_of(incoming), lambda: None)
            await self._refuse(incoming, error)
        finally:
            self._refusing -= 1

    async def _refuse(self, incoming: Incoming, error: RequestError) -> None:
        with bound_request_id(incoming.request_id):
            await self._reply(incoming, refusing(error))

    async def _reply(self, incoming: Incoming, answer: EncodedReply) -> None:
        try:
            if incoming.reply_to:
                await self._nats.publish(
                    incoming.reply_to, answer.payload, headers=incoming.reply_headers
                )
        except Exception as error:  # noqa: BLE001 - logged, and whoever asked gives up by itself
            self._sparing_log.exception(
                type(error).__name__, "the answer to %s could not be sent", incoming.subject
            )
        seconds = time.perf_counter() - incoming.taken_at
        self._observation.answered(incoming, answer.payload, answer.code, seconds)

    async def _ping(self, _call: Call) -> system.Pong:
        return system.Pong(service=subjects.SERVICE_NAME, version=self.version)

    async def _info(self, _call: Call) -> system.ServiceInfo:
        return system.ServiceInfo(
            service=subjects.SERVICE_NAME,
            version=self.version,
            engine=self.database.engine.dialect,
            limits=self._limits(),
            namespaces=await self.database.plugins(),
            uptime_s=round(time.monotonic() - self._started_at, 3),
            identity=self._discovery.metadata.identity,
        )

    def _limits(self) -> dict[str, Any]:
        told = {name.lower(): value for name, value in vars(limits).items() if name.isupper()}
        told["kv_sweep_interval"] = self.settings.sweep_interval
        return {**told, **asdict(self.settings)}

    def _forget(self, namespace: Namespace) -> Steps[int]:
        """Forget a plugin's migrations, and what an import left lying."""
        yield from self._importer.forget(namespace)
        return (yield from self.migrator.forget(namespace))

    async def _watch_peers(self) -> None:
        """Look now and then, and after each reconnect, who else answers."""
        if isinstance(self._nats, SurvivingClient):
            self._nats.on_renewal = self._renewed.set
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.peer_interval):
                    await self._renewed.wait()
            self._renewed.clear()
            try:
                await self._check_peers()
            except OtherServiceError:
                return
            except Exception:
                log.exception("asking who else answers on this bus failed; asked again later")

    async def _check_peers(self) -> None:
        """Take no more requests if a service of another database was there first.

        Raises:
            OtherServiceError: that is so.
        """
        told = self._discovery.metadata
        try:
            await self._peers.check(told.identity, told.started)
        except OtherServiceError as error:
            log.error("taking no more requests: %s", error)  # noqa: TRY400 - it says it all
            self._withdrawal = error
            self._withdrawn.set()
            await self._stop_taking()
            await self._discovery.stop()
            raise

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(self.settings.sweep_interval)
            try:
                swept = await self.database.sweep()
            except EngineError as error:
                self._observation.sweep_failed(error)
            else:
                self._observation.swept(swept)

    @property
    def version(self) -> str:
        """The installed version of this service."""
        return _installed_version()


@cache
def _installed_version() -> str:
    # Read from the file system once, not for each service: a test run starts thousands.
    return metadata.version("pytest-rosey")
