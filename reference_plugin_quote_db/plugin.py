"""The plugin: its parts put together, started and stopped, and its face to the chat."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from dbservice.client import RetryPolicy
from dbservice.client.readiness import check_ready
from dbservice.runtime.clock import Clock, SystemClock
from dbservice.runtime.health import Unwell
from dbservice.runtime.http import Handler
from reference_plugin_quote_db import flags, validation
from reference_plugin_quote_db.assembly import assemble
from reference_plugin_quote_db.bus import Bus
from reference_plugin_quote_db.cache_feed import CacheFeed
from reference_plugin_quote_db.chat.commands import ChatCommands
from reference_plugin_quote_db.chat.listener import CommandListener
from reference_plugin_quote_db.errors import MigrationsPending
from reference_plugin_quote_db.moderation import Moderator
from reference_plugin_quote_db.protected import ProtectedQuotes
from reference_plugin_quote_db.quotes import Quotes
from reference_plugin_quote_db.retries import MATRIX
from reference_plugin_quote_db.sessions import HOUR, Sessions

logger = logging.getLogger(__name__)

LAST_ID = "last_id"


class QuoteDBPlugin(ProtectedQuotes):
    """A quote database for chat (SPEC 6).

    What it can do, layer by layer: `Quotes` (the core), `SearchableQuotes`, `ResilientQuotes`,
    `ProtectedQuotes`. What this class adds: life, chat, flags, sessions.

    Args:
        nats_client: a connected NATS client. It stays open when the plugin closes.
        namespace: the plugin's name on the bus and in the database.
        clock: tells when a quote was added, and the time to all parts.
        strict_authors: allow only ASCII letters, digits, blanks and `- _ . '` in authors' names.
        retries: repeats of a request that failed, 0 for none, or a policy. `for_production()`
            takes the policy of `retries.MATRIX`.
        moderator: cleans and judges texts; by default with the word list of this package.

    Attributes:
        namespace: the plugin's name.
        initialized: whether it takes commands.
        circuit_breaker: where it stands between the plugin and the service.
        flags: its switches.
    """

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
        parts = assemble(
            nats_client,
            namespace,
            clock=clock or SystemClock(),
            retries=retries,
            strict_authors=strict_authors,
            moderator=moderator,
        )
        super().__init__(parts)
        self.namespace = namespace
        self.initialized = False
        self._bus = nats_client
        self._direct = parts.direct
        self._sessions = Sessions(parts.storage.kv)
        self._commands = ChatCommands(self)
        self._listener = CommandListener(nats_client, namespace, self._commands)
        self._feed = CacheFeed(nats_client, namespace, parts.cache)

    @classmethod
    def for_production(cls, nats_client: Bus) -> QuoteDBPlugin:
        """Return the plugin as `rosey plugin start quote-db` runs it: with repeats."""
        return cls(nats_client, retries=MATRIX)

    # -- life -----------------------------------------------------------------------------------

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
        self.initialized = True
        logger.info("Plugin %s initialized", self.namespace)

    async def close(self) -> None:
        """Stop listening and finish the commands that were begun; writes that wait are given up."""
        self.initialized = False
        self._queue.close()
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
        await check_ready(self._direct, has_migrations=True)
        self.circuit_breaker.half_open()

    @property
    def is_connected(self) -> bool:
        """Whether the NATS server is there at this moment."""
        return self._bus.is_connected

    def http_routes(self) -> Mapping[str, Handler]:
        """Return what this plugin serves over HTTP, by path."""
        from reference_plugin_quote_db.web import routes

        return routes(self)

    def metrics_page(self) -> tuple[str, bytes]:
        """Return the content type and the text of the plugin's metrics."""
        return self._observer.metrics.page()

    # -- chat -----------------------------------------------------------------------------------

    async def handle_command(self, user: str, role: str, text: str) -> str:
        """Return the answer to a line of chat such as `!quote get 42`.

        Args:
            user: who typed it.
            role: what they are: `user`, `moderator`, `admin` or `banned`.
            text: the line, with or without `!quote`.
        """
        return await self._commands.handle(user, role, text)

    # -- the KV store ---------------------------------------------------------------------------

    async def is_search_enabled(self) -> bool:
        """Return whether the chat may search; it may unless it was switched off."""
        return await self.flags.is_enabled(flags.SEARCH)

    async def set_feature_flag(self, flag_name: str, enabled: bool) -> None:
        """Turn a switch on or off; it works at once, in all replicas.

        Args:
            flag_name: `search_enabled`, `moderation_enabled`, or one of your own.
            enabled: on or off.

        Raises:
            ValidationError: if that cannot be the name of a switch.
        """
        await self.flags.set(flag_name, enabled)

    async def save_user_session(
        self, user_id: str, session_data: dict[str, Any], ttl_seconds: int = HOUR
    ) -> None:
        """Keep an object for a user until it expires."""
        await self._sessions.save(user_id, session_data, ttl_seconds)

    async def get_user_session(self, user_id: str) -> dict[str, Any] | None:
        """Return what is kept for a user, or None if that is nothing, or has expired."""
        return await self._sessions.load(user_id)

    async def get_next_quote_id(self) -> int:
        """Return a number that nobody else gets.

        Quotes do not need it, the database numbers them; it shows how to count without a race.
        """
        return await self._storage.kv.incr(LAST_ID)

    # The names under which the product document tests these rules.
    def _validate_author(self, author: str | None) -> str:
        return self._drafts.author(author)

    def _sanitize_text(self, text: str) -> str:
        return self._moderator.sanitized(text)

    def _contains_profanity(self, text: str) -> bool:
        return self._moderator.is_unwanted(text)

    _validate_text = staticmethod(validation.quote_text)
    _validate_username = staticmethod(validation.username)
    _validate_quote_id = staticmethod(validation.quote_id)
    _validate_limit = staticmethod(validation.limit)
    _get_quote_count = Quotes.count_quotes
