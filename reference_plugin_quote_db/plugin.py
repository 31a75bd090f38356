"""The plugin: its parts put together, started and stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from dbservice.client import RetryPolicy, StorageClient
from dbservice.client.readiness import check_ready
from dbservice.runtime.clock import Clock, SteadyClock, SystemClock
from dbservice.runtime.health import Unwell
from dbservice.runtime.http import Handler
from reference_plugin_quote_db import schema, tracing, validation
from reference_plugin_quote_db.authorization import Authorization
from reference_plugin_quote_db.bus import MATRIX, Bus
from reference_plugin_quote_db.chat.commands import ChatCommands
from reference_plugin_quote_db.chat.listener import CommandListener
from reference_plugin_quote_db.errors import MigrationsPending
from reference_plugin_quote_db.events import EventFeed, Events
from reference_plugin_quote_db.fallback import Fallback
from reference_plugin_quote_db.favourites import Favourites
from reference_plugin_quote_db.flags import FeatureFlags
from reference_plugin_quote_db.legacy.switch import legacy_wanted
from reference_plugin_quote_db.metrics import Metrics, Observer
from reference_plugin_quote_db.moderation import Moderator
from reference_plugin_quote_db.parts.breaker import CircuitBreaker
from reference_plugin_quote_db.parts.cache import RowCache
from reference_plugin_quote_db.parts.degradation import DegradationLevel, degradation_level
from reference_plugin_quote_db.parts.guarded_bus import GuardedBus
from reference_plugin_quote_db.parts.recovery import Recovery
from reference_plugin_quote_db.parts.total import KeptTotal
from reference_plugin_quote_db.parts.write_queue import WriteQueue
from reference_plugin_quote_db.patterns import Patterns
from reference_plugin_quote_db.sessions import Sessions

logger = logging.getLogger(__name__)


class QuoteDBPlugin(Patterns):
    """A quote database for chat.

    What can be done with quotes stands in `Quotes`, the core, and in `Patterns`. This class puts
    the parts around it together, and is the plugin's life.

    Args:
        nats_client: a connected NATS client. It stays open when the plugin closes.
        namespace: the plugin's name on the bus and in the database.
        clock: tells when a quote was added, and, if one is given, how long things last.
        strict_authors: allow only ASCII letters, digits, blanks and `- _ . '` in authors' names.
        retries: repeats of a request that failed, 0 for none, or a policy. `for_production()`
            takes that of `bus.MATRIX`.
        moderator: cleans and judges texts; by default with the word list of this package.

    Attributes:
        namespace: the plugin's name.
        initialized: whether it takes commands.
        nats: the client.
        circuit_breaker: where it stands between the plugin and the service.
        fallback: reads quotes, also while the service is away.
        flags: its switches.
    """

    errors: ClassVar[tuple[type[Exception], ...]] = (PermissionError,)
    best_effort: ClassVar[tuple[str, ...]] = ("kv:ratelimit:*",)

    def __init__(
        self,
        nats_client: Bus,
        *,
        namespace: str = "quote-db",
        clock: Clock | None = None,
        strict_authors: bool = False,
        retries: int | RetryPolicy = 0,
        moderator: Moderator | None = None,
    ) -> None:
        # How long a thing lasts, the machine's clock does not tell: it may be set meanwhile.
        steady = clock or SteadyClock()
        clock = clock or SystemClock()
        traces = tracing.configured()
        metrics = Metrics(namespace)
        observer = Observer(metrics, traces)
        cache = RowCache(steady, schema.COLUMNS)
        self.circuit_breaker = CircuitBreaker(steady)
        bus = GuardedBus(nats_client, self.circuit_breaker, traces)
        storage = StorageClient(bus, namespace, retries=retries)
        kv = storage.kv
        total = KeptTotal(kv, storage.rows(schema.QUOTES), schema.TOTAL_COUNT, steady)
        drafts = validation.Drafts(clock, strict_authors=strict_authors)
        events = Events(nats_client, namespace)
        super().__init__(storage, bus, clock, drafts, cache, total, events, observer)
        self.namespace = namespace
        self.initialized = False
        self.flags = FeatureFlags(kv)
        self.nats = nats_client
        # Past breaker and repeats, for questions about the service itself.
        self._direct = StorageClient(nats_client, namespace)
        self._sessions = Sessions(kv)
        self._favourites = Favourites(storage)
        self._moderator = moderator or Moderator()
        self._queue = WriteQueue(self.circuit_breaker, steady)
        self._recovery = Recovery(self.circuit_breaker, self.check_service)
        self.fallback = Fallback(self, cache, self.circuit_breaker)
        self._authorization = Authorization(
            self, kv, clock, drafts, self.flags, self._moderator, self._queue, observer
        )
        self._commands = ChatCommands(self, self._authorization, self.fallback, self.flags)
        self._listener = CommandListener(nats_client, namespace, self._commands)
        self._feed = EventFeed(
            nats_client, namespace, on_change=cache.drop, on_upheaval=self._mistrust
        )
        metrics.watch(self.circuit_breaker, self._queue, lambda: self.degradation_level)

    @classmethod
    def for_production(cls, nats_client: Bus) -> Any:
        """Return what `rosey plugin start quote-db` runs: the plugin, with repeats.

        With `QUOTE_DB_LEGACY=true` it is the plugin as it was, on its file.
        """
        if legacy_wanted():
            from reference_plugin_quote_db.legacy.chat import LegacyChat

            return LegacyChat(nats_client)
        return cls(nats_client, retries=MATRIX)

    # -- life -------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Check that the database is ready, then listen for chat commands.

        Raises:
            MigrationsPending: if the migrations are behind; the text has the command to run.
        """
        await self.check_migrations()
        await self._total.repair()
        self._queue.open()
        await self._feed.start()
        await self._listener.start()
        self._recovery.start()
        self.initialized = True
        logger.info("Plugin %s initialized", self.namespace)

    async def close(self) -> None:
        """Stop listening and finish the commands that were begun; writes that wait are given up."""
        self.initialized = False
        self._queue.close()
        await self._recovery.stop()
        await self._listener.stop()
        await self._feed.stop()

    async def check_migrations(self) -> None:
        """Return if the database is at the version that this plugin needs.

        Raises:
            MigrationsPending: if it is not.
        """
        status = await self._direct.migrations.status()
        # A service that was not given the plugin's migrations has none pending, and no table.
        if not status.up_to_date or status.current_version == 0:
            raise MigrationsPending(self.namespace, status.pending_migrations)

    async def readiness(self) -> None:
        """Return if commands can be taken. Asked when the service has answered somebody.

        Raises:
            Unwell: if the plugin was not started, or was closed.
        """
        if not self.initialized:
            raise Unwell("the plugin is not initialized")
        self.circuit_breaker.half_open()

    async def check_service(self) -> None:
        """Return if the service answers and has applied the migrations, and let it be asked again.

        Raises:
            Unwell: if not, in words for anybody.
        """
        await check_ready(self.nats, self._direct, has_migrations=True)
        self.circuit_breaker.half_open()

    @property
    def degradation_level(self) -> DegradationLevel:
        """How much works at this moment."""
        return degradation_level(self.circuit_breaker, self._queue, self._cache)

    def http_routes(self) -> Mapping[str, Handler]:
        """Return what this plugin serves over HTTP, by path."""
        from reference_plugin_quote_db.web import routes

        return routes(self)

    def metrics_page(self) -> tuple[str, bytes]:
        """Return the content type and the text of the plugin's metrics."""
        return self._observer.metrics.page()

    # -- chat -------------------------------------------------------------------------------------

    async def handle_command(self, user: str, role: str, text: str) -> str:
        """Return the answer to a line of chat such as `!quote get 42`.

        Args:
            user: who typed it.
            role: what they are: `user`, `moderator`, `admin` or `banned`.
            text: the line, with or without `!quote`.
        """
        return await self._commands.handle(user, role, text)

    def _mistrust(self) -> None:
        """Trust nothing that was known of the quotes: the table may be another one."""
        self._cache.clear()
        self._total.doubt()
