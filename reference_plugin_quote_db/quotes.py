"""The core: what can be done with quotes, on the storage client alone.

Read this first. What is around it has modules and layers of its own: finding (`search.py`),
outages (`resilient.py`), rights and limits (`protected.py`), and the plugin itself (`plugin.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dbservice.client import ConstraintViolation, Rows
from reference_plugin_quote_db import schema, validation
from reference_plugin_quote_db.assembly import Parts
from reference_plugin_quote_db.errors import QuoteNotFound, ScoreLimitReached
from reference_plugin_quote_db.observed import observed
from reference_plugin_quote_db.parts.total import ADDED_ONE, DELETED_ONE, TotalCount
from reference_plugin_quote_db.queries import BEST_FIRST, UPVOTED, with_id
from reference_plugin_quote_db.schema import Quote

logger = logging.getLogger(__name__)


class Quotes:
    """Adds, gets, votes on and deletes quotes.

    Every coroutine may raise `dbservice.client.StorageError` when the service refuses or does
    not answer, and `CircuitBreakerError` when it is not asked because it failed too often; what
    else it raises stands in its own description.

    Args:
        parts: what the quotes are kept and watched with.
    """

    TIMEOUT_ADD: ClassVar[float] = 5.0
    TIMEOUT_GET: ClassVar[float] = 2.0
    TIMEOUT_SEARCH: ClassVar[float] = 10.0
    TIMEOUT_UPDATE: ClassVar[float] = 3.0
    TIMEOUT_DELETE: ClassVar[float] = 3.0
    """Seconds to wait for each reply of the service."""

    def __init__(self, parts: Parts) -> None:
        self._observer = parts.observer
        self._drafts = parts.drafts
        self._events = parts.events
        self._cache = parts.cache
        self._quotes = parts.storage.rows(schema.QUOTES)
        self._total = TotalCount(parts.storage)

    @observed("add")
    async def add_quote(self, text: str, author: str | None, added_by: str) -> int:
        """Add a quote and return its id.

        The total is counted in the same request: it never has to be taken back.

        Args:
            text: 1 to 1000 characters.
            author: at most 100 characters; `Unknown` if there is none.
            added_by: the user, 1 to 50 characters.

        Raises:
            ValidationError: if one of them is not like that.
        """
        return await self._insert(self._quotes, self._drafts.row(text, author, added_by))

    @observed("add")
    async def add_quotes(self, quotes: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add up to 1000 quotes, all or none, and return their ids in the same order.

        Args:
            quotes: each with `text` and `added_by`, and with `author` if it is known.

        Raises:
            ValidationError: if there are too many, or naming the first one that is not valid.
        """
        rows = self._drafts.rows(quotes)
        if not rows:
            return []
        counters = {schema.TOTAL_COUNT: len(rows)}
        keys = await self._quotes.insert_many(rows, counters=counters, timeout=self.TIMEOUT_ADD)
        ids = [int(key) for key in keys]
        logger.info("%d quotes added", len(ids))
        for quote_id, row in zip(ids, rows, strict=True):
            await self._events.added(quote_id, row[schema.ADDED_BY])
        return ids

    @observed("get")
    async def get_quote(self, quote_id: int) -> Quote | None:
        """Return a quote, or None if there is none with this id.

        A quote that was read in the last five minutes comes from the cache, unless it was changed
        since.

        Raises:
            ValidationError: if `quote_id` is not a positive integer.
        """
        cached = self._cache.get(validation.quote_id(quote_id))
        if cached is not None:
            self._observer.metrics.cache_hit()
            return cached
        self._observer.metrics.cache_missed()
        moment = self._cache.moment()
        quote = await self._quotes.get(quote_id, timeout=self.TIMEOUT_GET)
        if quote is not None:
            self._cache.put([quote], moment)
        return quote

    @observed("random")
    async def random_quote(self) -> Quote | None:
        """Return a quote, each with the same chance, or None if there are none."""
        quotes = await self._quotes.random(timeout=self.TIMEOUT_GET)
        return quotes[0] if quotes else None

    @observed("delete")
    async def delete_quote(self, quote_id: int, *, by: str = "system") -> bool:
        """Delete a quote. Return whether there was one.

        Args:
            quote_id: which one.
            by: who deletes it, for the event; their right to it is not checked here.

        Raises:
            ValidationError: if `quote_id` is not a positive integer.
        """
        try:
            deleted = await self._quotes.delete(
                with_id(quote_id), counters=DELETED_ONE, timeout=self.TIMEOUT_DELETE
            )
        finally:  # a request that failed may have been carried out
            self._cache.drop(quote_id)
        if deleted:
            logger.info("Quote #%d deleted by %s", quote_id, by)
            await self._events.deleted(quote_id, by)
        return deleted > 0

    async def upvote_quote(self, quote_id: int) -> int:
        """Add one to the score of a quote and return the new score.

        Raises:
            QuoteNotFound: if there is no such quote.
            ScoreLimitReached: if the score is 100 already.
            ValidationError: if `quote_id` is not a positive integer.
        """
        return await self._vote(quote_id, 1, "maximum")

    async def downvote_quote(self, quote_id: int) -> int:
        """Take one from the score of a quote and return the new score.

        Raises:
            QuoteNotFound: if there is no such quote.
            ScoreLimitReached: if the score is -100 already.
            ValidationError: if `quote_id` is not a positive integer.
        """
        return await self._vote(quote_id, -1, "minimum")

    @observed("search")
    async def top_quotes(self, limit: int = 10) -> list[Quote]:
        """Return the quotes with the highest scores, of those that have at least 1.

        Raises:
            ValidationError: if `limit` is not from 1 to 100.
        """
        return await self._quotes.select(
            UPVOTED, sort=BEST_FIRST, limit=validation.limit(limit), timeout=self.TIMEOUT_SEARCH
        )

    @observed("count")
    async def count_quotes(self) -> int:
        """Return how many quotes there are, without counting them."""
        return await self._total.read()

    async def _insert(
        self, quotes: Rows, row: dict[str, Any], idempotency_key: str | None = None
    ) -> int:
        quote_id = int(
            await quotes.insert(
                row,
                counters=ADDED_ONE,
                idempotency_key=idempotency_key,
                timeout=self.TIMEOUT_ADD,
            )
        )
        logger.info("Quote #%d added by %s", quote_id, row[schema.ADDED_BY])
        await self._events.added(quote_id, row[schema.ADDED_BY])
        return quote_id

    @observed("update")
    async def _vote(self, quote_id: int, by: int, limit: str) -> int:
        try:
            rows = await self._quotes.update(
                with_id(quote_id),
                {schema.SCORE: {"$inc": by}},
                returning=[schema.SCORE],
                timeout=self.TIMEOUT_UPDATE,
            )
        except ConstraintViolation as error:
            raise ScoreLimitReached(quote_id, limit) from error
        finally:
            self._cache.drop(quote_id)
        if not rows:
            raise QuoteNotFound(quote_id)
        await self._events.voted(quote_id)
        return int(rows[0][schema.SCORE])
