"""Quotes while the storage service is away: as they were when they were read last."""

from __future__ import annotations

import logging
from typing import Final

from dbservice.client import Page, StorageError
from reference_plugin_quote_db import schema, validation
from reference_plugin_quote_db.errors import ServiceUnavailableError, is_outage
from reference_plugin_quote_db.parts.breaker import CircuitBreaker, CircuitState
from reference_plugin_quote_db.parts.cache import RowCache
from reference_plugin_quote_db.quotes import Quotes
from reference_plugin_quote_db.schema import Quote

logger = logging.getLogger(__name__)

AWAY: Final = "Quote service temporarily unavailable"


class Fallback:
    """Reads quotes; from the cache alone, if that is all there is.

    Args:
        quotes: where they are.
        cache: what was read lately. What is not fresh any more is better than nothing.
        breaker: knows whether the service is being left alone.
    """

    def __init__(self, quotes: Quotes, cache: RowCache, breaker: CircuitBreaker) -> None:
        self._quotes = quotes
        self._cache = cache
        self._breaker = breaker

    @property
    def is_away(self) -> bool:
        """Whether the service is being left alone, so that answers come from the cache alone."""
        return self._breaker.state is CircuitState.OPEN

    async def get(self, quote_id: int) -> tuple[Quote | None, bool]:
        """Look for a quote. The cache alone is believed only while the service is well.

        Returns:
            the quote, None if there is none with this id; and whether it is like that now, not only
            as it was when it was read last.

        Raises:
            ServiceUnavailableError: if the service is away and the quote is not in the cache.
            ValidationError: if `quote_id` is not a positive integer.
        """
        in_doubt = self._breaker.state is not CircuitState.CLOSED
        try:
            return await self._quotes.get_quote(quote_id, now=in_doubt), True
        except (StorageError, ServiceUnavailableError) as error:
            if not is_outage(error):
                raise
            cached = self._cache.get_stale(quote_id)
            if cached is None:
                raise ServiceUnavailableError(AWAY) from error
            logger.warning("Storage is away, using the cache for quote #%d", quote_id)
            return cached, False

    async def search(self, query: str, limit: int = 10) -> tuple[Page, bool]:
        """Search as `Quotes.search_page()`; only the cache, while the service is away.

        Returns:
            the page, and whether it is of all quotes, not only of those in the cache.

        Raises:
            ServiceUnavailableError: if the service is away and nothing is in the cache.
            ValidationError: if the query is empty, or the limit is not from 1 to 100.
        """
        try:
            return await self._quotes.search_page(query, limit), True
        except (StorageError, ServiceUnavailableError) as error:
            if not is_outage(error):
                raise
            if not self._cache:
                raise ServiceUnavailableError(AWAY) from error
            logger.warning("Degraded mode: searching cached quotes only")
            return self._search_cache(query, limit), False

    def _search_cache(self, query: str, limit: int) -> Page:
        wanted = validation.lowered(validation.search_query(query))
        found = [
            quote
            for quote in self._cache.all()
            if wanted in validation.lowered(f"{quote[schema.TEXT]}\n{quote[schema.AUTHOR]}")
        ]
        found.sort(key=lambda quote: (quote[schema.TIMESTAMP], quote[schema.ID]), reverse=True)
        return Page(found[:limit], len(found), len(found) > limit)
