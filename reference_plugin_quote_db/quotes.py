"""The core: what can be done with quotes, on the storage client alone.

Read this first. What is around it is put together in `plugin.py`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from dbservice.client import ConstraintViolation, Page, Rows, StorageClient
from dbservice.client import ValidationError as RefusedValue
from dbservice.runtime.clock import Clock
from reference_plugin_quote_db import schema, validation
from reference_plugin_quote_db.errors import QuoteNotFound, ScoreLimitReached
from reference_plugin_quote_db.events import Events
from reference_plugin_quote_db.metrics import Observer, observed
from reference_plugin_quote_db.parts.cache import RowCache
from reference_plugin_quote_db.parts.guarded_bus import GuardedBus
from reference_plugin_quote_db.parts.total import KeptTotal
from reference_plugin_quote_db.schema import Filters, Quote, Sorting
from reference_plugin_quote_db.validation import Drafts

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Quotes:
    """Adds, gets, finds, tags, votes on and deletes quotes.

    Every coroutine may raise `dbservice.client.StorageError` when the service refuses or does not
    answer, and `CircuitBreakerError` when it is not asked because it failed too often; what else
    it raises stands in its own description. Every limit is from 1 to 100.

    Args:
        storage: where the quotes are.
        bus: what `storage` stands on; knows whether a request left.
        clock: tells when a day began.
        drafts: makes rows.
        cache: keeps quotes that were read lately.
        total: keeps how many there are.
        events: tells the world.
        observer: watches what is done.
    """

    TIMEOUT_ADD: ClassVar[float] = 5.0
    TIMEOUT_GET: ClassVar[float] = 2.0
    TIMEOUT_SEARCH: ClassVar[float] = 10.0
    TIMEOUT_UPDATE: ClassVar[float] = 3.0
    TIMEOUT_DELETE: ClassVar[float] = 3.0
    """Seconds to wait for each reply of the service."""

    def __init__(
        self,
        storage: StorageClient,
        bus: GuardedBus,
        clock: Clock,
        drafts: Drafts,
        cache: RowCache,
        total: KeptTotal,
        events: Events,
        observer: Observer,
    ) -> None:
        self._storage = storage
        self._bus = bus
        self._cache = cache
        self._events = events
        self._observer = observer
        self._drafts = drafts
        self._clock = clock
        self._quotes = storage.rows(schema.QUOTES)
        self._total = total

    # -- adding -----------------------------------------------------------------------------------

    @observed("add")
    async def add_quote(self, text: str, author: str | None, added_by: str) -> int:
        """Add a quote and return its id. The hashtags of the text become its tags.

        The total is counted in the same request: it never has to be taken back.

        Args:
            text: 1 to 1000 characters.
            author: at most 100 characters; `Unknown` if there is none.
            added_by: the user, 1 to 50 characters.

        Raises:
            ValidationError: if one of them is not like that.
        """
        with self._observer.step("validate"):
            row = self._drafts.row(text, author, added_by)
        return await self.insert(row)

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
        ids = await counting(
            self._total,
            len(rows),
            lambda counters: self._quotes.insert_many(rows, counters, timeout=self.TIMEOUT_ADD),
        )
        self._total.moved += len(ids)
        logger.info("%d quotes added", len(ids))
        for quote_id, row in zip(ids, rows, strict=True):
            await self._events.publish("added", int(quote_id), row[schema.ADDED_BY])
        return [int(quote_id) for quote_id in ids]

    # -- reading ----------------------------------------------------------------------------------

    @observed("get")
    async def get_quote(self, quote_id: int, *, now: bool = False) -> Quote | None:
        """Return a quote, or None if there is none with this id.

        A quote that was read in the last five minutes comes from the cache, unless it was changed
        since.

        Args:
            quote_id: which one.
            now: whether to ask the service, whatever the cache has.

        Raises:
            ValidationError: if `quote_id` is not a positive integer.
        """
        cached = self._cache.get(validation.quote_id(quote_id))
        if cached is not None and not now:
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

    async def search_quotes(self, query: str, limit: int = 10) -> list[Quote]:
        """Return the newest quotes that have `query` in their text or author; case is ignored.

        Args:
            query: taken literally, `%` and `_` included.
            limit: how many at the most. `iter_quotes()` has no limit.

        Raises:
            ValidationError: if the query is empty, or the limit is not from 1 to 100.
        """
        return (await self.search_page(query, limit)).rows

    async def search_page(self, query: str, limit: int = 10) -> Page:
        """As `search_quotes()`; the page also has the `total` of all that match."""
        return await self._page(matching(query), schema.NEWEST_FIRST, limit)

    @observed("search")
    async def top_quotes(self, limit: int = 10) -> list[Quote]:
        """Return the quotes with the highest scores, of those that have at least 1.

        Raises:
            ValidationError: if `limit` is not from 1 to 100.
        """
        return await self._quotes.select(
            schema.UPVOTED,
            sort=schema.BEST_FIRST,
            limit=validation.limit(limit),
            timeout=self.TIMEOUT_SEARCH,
        )

    @observed("count")
    async def count_quotes(self) -> int:
        """Return how many quotes there are; they are counted only if the kept total is in doubt."""
        return await self._total.read()

    # -- changing ---------------------------------------------------------------------------------

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

    async def delete_quote(self, quote_id: int, *, by: str = "system") -> bool:
        """Delete a quote. Return whether there was one.

        Args:
            quote_id: which one.
            by: who deletes it, for the event; their right to it is not checked here.

        Raises:
            ValidationError: if `quote_id` is not a positive integer.
        """
        return await self.delete_quotes([quote_id], by=by) > 0

    @observed("delete")
    async def delete_quotes(self, quote_ids: Sequence[int], *, by: str = "system") -> int:
        """Delete quotes, all of them in one request. Return how many there were.

        Args:
            quote_ids: which, up to 100.
            by: who deletes them, for the events, of which there is one for each id; their right to
                it is not checked here.

        Raises:
            ValidationError: if an id is not a positive integer, or there are too many.
        """
        ids = [validation.quote_id(quote_id) for quote_id in quote_ids]
        if not ids:
            return 0
        validation.limit(len(ids))
        filters = with_id(ids[0]) if len(ids) == 1 else {schema.ID: {"$in": ids}}
        with self._cache.dropping(ids, lambda: self._bus.reached):
            deleted = await counting(
                self._total,
                -1,
                lambda counters: self._quotes.delete(
                    filters, counters=counters, timeout=self.TIMEOUT_DELETE
                ),
            )
        self._total.moved -= deleted
        for quote_id in ids if deleted else ():
            logger.info("Quote #%d deleted by %s", quote_id, by)
            await self._events.publish("deleted", quote_id, by)
        return deleted

    # -- what they share --------------------------------------------------------------------------

    async def insert(self, row: Quote, key: str | None = None, rows: Rows | None = None) -> int:
        """Store a row that `Drafts` has made, and return its id.

        Args:
            row: the row.
            key: the idempotency key, if the caller may store it again.
            rows: a client for the table with repeats of its own.
        """
        rows = rows or self._quotes
        added_by, text_length = row[schema.ADDED_BY], len(row[schema.TEXT])
        self._observer.note(author=row[schema.AUTHOR], added_by=added_by, text_length=text_length)
        quote_id = await counting(
            self._total,
            1,
            lambda counters: rows.insert(
                row, counters, idempotency_key=key, timeout=self.TIMEOUT_ADD
            ),
        )
        self._total.moved += 1
        self._observer.note(id=quote_id)
        logger.info("Quote #%s added by %s", quote_id, added_by)
        await self._events.publish("added", int(quote_id), row[schema.ADDED_BY])
        return int(quote_id)

    @observed("update")
    async def _vote(self, quote_id: int, by: int, limit: str) -> int:
        try:
            score = await self._changed(
                quote_id, {schema.SCORE: {"$inc": by}}, schema.SCORE, "voted"
            )
        except ConstraintViolation as error:
            raise ScoreLimitReached(quote_id, limit) from error
        return int(score)

    async def _changed(
        self, quote_id: int, operations: dict[str, Any], column: str, event: str
    ) -> Any:
        """Change one column of a quote and return what stands there now."""
        with self._cache.dropping([quote_id], lambda: self._bus.reached):
            rows = await self._quotes.update(
                with_id(quote_id), operations, returning=[column], timeout=self.TIMEOUT_UPDATE
            )
        if not rows:
            raise QuoteNotFound(quote_id)
        await self._events.publish(event, quote_id)
        return rows[0][column]

    @observed("search")
    async def _page(self, filters: Filters, sort: Sorting, limit: int, offset: int = 0) -> Page:
        moment = self._cache.moment()
        page = await self._quotes.search(
            filters,
            sort=sort,
            limit=validation.limit(limit),
            offset=offset,
            timeout=self.TIMEOUT_SEARCH,
        )
        # What was found can be shown again while the service is away.
        self._cache.put(page.rows, moment)
        return page


async def counting(total: KeptTotal, by: int, write: Callable[[dict[str, int]], Awaitable[T]]) -> T:
    """Run a write that moves the total, once more if what is kept as the total was in its way.

    Args:
        total: of the quotes.
        by: what the write adds to it, for each row.
        write: called with the `counters` of its request.
    """
    counters = {schema.TOTAL_COUNT: by}
    try:
        return await write(counters)
    except RefusedValue as error:
        await total.give_way(error)
        return await write(counters)


def with_id(quote_id: int) -> Filters:
    """Return the filter for one quote; a ValidationError says that this cannot be one."""
    return {schema.ID: {"$eq": validation.quote_id(quote_id)}}


def matching(query: str) -> Filters:
    """Return the filter for quotes with `query` in their text or author, whatever its case.

    Raises:
        ValidationError: if there is nothing to look for.
    """
    return {"$or": [containing(schema.AUTHOR, query), containing(schema.TEXT, query)]}


def containing(column: str, query: str) -> Filters:
    """Return the filter for quotes with `query` in one column, whatever its case.

    Raises:
        ValidationError: if there is nothing to look for.
    """
    literal = re.sub(r"([\\%_])", r"\\\1", validation.search_query(query))
    return {column: {"$ilike": f"%{literal}%"}}
