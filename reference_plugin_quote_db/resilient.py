"""Quotes when the storage service is slow, failing or away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from dbservice.client import MalformedReply, Page, StorageClient, StorageError
from reference_plugin_quote_db import schema, validation
from reference_plugin_quote_db.assembly import Parts
from reference_plugin_quote_db.degradation import DegradationLevel, degradation_level
from reference_plugin_quote_db.errors import ServiceUnavailableError, is_outage
from reference_plugin_quote_db.markup import escaped
from reference_plugin_quote_db.observed import observed
from reference_plugin_quote_db.retries import at_most
from reference_plugin_quote_db.schema import Quote
from reference_plugin_quote_db.search import SearchableQuotes

logger = logging.getLogger(__name__)

TOGETHER = 50
"""Quotes of `add_quotes_batch_parallel()` that are sent at once."""


class ResilientQuotes(SearchableQuotes):
    """Quotes with repeats, fallbacks and a queue, for whoever asks for them by name.

    The plain methods ask once, or as often as the plugin's `retries` say, and raise what comes.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._nats = parts.nats
        self._plugin_name = parts.namespace
        self._storage = parts.storage
        self._queue = parts.queue
        self.circuit_breaker = parts.breaker
        parts.observer.metrics.watch(
            state=lambda: parts.breaker.state,
            queued=lambda: len(parts.queue),
            level=lambda: self.degradation_level,
        )

    @property
    def degradation_level(self) -> DegradationLevel:
        """How much works at this moment."""
        return degradation_level(self.circuit_breaker, self._queue, self._cache)

    # -- writes ---------------------------------------------------------------------------------

    @observed("add")
    async def add_quote_safe(
        self, text: str, author: str | None, added_by: str, max_retries: int = 3
    ) -> int:
        """As `add_quote()`, and repeat it if the service does not answer; it is added once.

        Args:
            text: as for `add_quote()`.
            author: as for `add_quote()`.
            added_by: as for `add_quote()`.
            max_retries: repeats at the most; `retries.MATRIX` says when.
        """
        patient = StorageClient(self._nats, self._plugin_name, retries=at_most(max_retries))
        row = self._drafts.row(text, author, added_by)
        return await self._insert(patient.rows(schema.QUOTES), row)

    async def add_quote_with_retry(
        self, text: str, author: str | None, added_by: str, max_retries: int = 3
    ) -> int:
        """Another name of `add_quote_safe()`."""
        return await self.add_quote_safe(text, author, added_by, max_retries)

    async def add_quote_with_counter(self, text: str, author: str | None, added_by: str) -> int:
        """Another name of `add_quote()`, which counts in the same transaction.

        Nothing has to be taken back when the counter fails: there is no moment in which one of
        the two is stored and the other is not.
        """
        return await self.add_quote(text, author, added_by)

    @observed("add")
    async def add_quote_queued(self, text: str, author: str | None, added_by: str) -> int:
        """As `add_quote()`, and wait if the service is away; return when the quote is stored.

        Raises:
            ServiceUnavailableError: if 100 writes wait already.
            WriteNotAcknowledged: if the service did not come back in time.
        """
        row = self._drafts.row(text, author, added_by)
        return await self._queued(lambda key: self._insert(self._quotes, row, key))

    async def add_quotes_batch(self, quotes: Sequence[Mapping[str, Any]]) -> list[int]:
        """Another name of `add_quotes()`: one request, all or none."""
        return await self.add_quotes(quotes)

    async def add_quotes_batch_parallel(self, quotes: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add each quote for itself, many at a time, and return the ids of those that were added.

        A quote that cannot be added is logged and left out. For all or none: `add_quotes()`.
        """
        free = asyncio.Semaphore(TOGETHER)

        async def add(quote: Mapping[str, Any]) -> list[int]:
            async with free:
                return await self.add_quotes([quote])

        results = await asyncio.gather(*map(add, quotes), return_exceptions=True)
        added: list[int] = []
        for result in results:
            if isinstance(result, list):
                added += result
            elif isinstance(result, Exception):
                logger.error("A quote of a batch was not added: %s", result)
            else:
                raise result
        return added

    # -- reads ----------------------------------------------------------------------------------

    async def get_quote_safe(self, quote_id: int) -> Quote | None:
        """Return a quote whose texts can stand in HTML; None too if the service fails.

        Raises:
            ValidationError: if `quote_id` is not a positive integer.
        """
        try:
            quote = await self.get_quote(quote_id)
        except (StorageError, ServiceUnavailableError) as error:
            kind = "Invalid reply" if isinstance(error, MalformedReply) else "No answer"
            logger.error("%s getting quote #%d: %s", kind, quote_id, error)  # noqa: TRY400
            return None
        return None if quote is None else escaped(quote)

    async def get_quote_with_fallback(self, quote_id: int) -> Quote | None:
        """As `get_quote()`, and say clearly when neither the service nor the cache has it.

        Raises:
            ServiceUnavailableError: if the service is away and the quote is not in the cache.
            ValidationError: if `quote_id` is not a positive integer.
        """
        try:
            return await self.get_quote(quote_id)
        except (StorageError, ServiceUnavailableError) as error:
            if not is_outage(error):
                raise
            logger.warning("Storage is away, using the cache for quote #%d", quote_id)
            cached = self._cache.get(quote_id)
            if cached is None:
                raise ServiceUnavailableError("Quote service temporarily unavailable") from error
            return cached

    async def search_quotes_degraded(self, query: str, limit: int = 10) -> list[Quote]:
        """As `search_quotes()`; search the cached quotes alone while the service is away."""
        return (await self.search_page_degraded(query, limit)).rows

    async def search_page_degraded(self, query: str, limit: int = 10) -> Page:
        """As `search_page()`; search the cached quotes alone while the service is away."""
        try:
            return await self.search_page(query, limit)
        except (StorageError, ServiceUnavailableError) as error:
            if not is_outage(error):
                raise
            logger.warning("Degraded mode: searching cached quotes only")
            return self._search_cache(query, limit)

    def _search_cache(self, query: str, limit: int) -> Page:
        wanted = validation.search_query(query).lower()
        found = [
            quote
            for quote in self._cache.newest()
            if wanted in f"{quote[schema.TEXT]}\n{quote[schema.AUTHOR]}".lower()
        ]
        return Page(found[:limit], len(found), len(found) > limit)

    async def _queued(self, write: Callable[[str], Awaitable[int]]) -> int:
        """Run a write through the queue; however often it is sent, it has one idempotency key."""
        key = uuid4().hex
        return await self._queue.run(lambda: write(key))
