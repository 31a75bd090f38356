"""What else can be done with quotes: an operation for each pattern of storage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Literal
from uuid import uuid4

from dbservice.client import MalformedReply, Nats, Page, SortBy, StorageClient, StorageError
from dbservice.client import ValidationError as RefusedValue
from dbservice.protocol.errors import did_you_mean
from reference_plugin_quote_db import schema, validation
from reference_plugin_quote_db.authorization import Authorization, refuse_banned
from reference_plugin_quote_db.bus import at_most
from reference_plugin_quote_db.errors import QuoteNotFound, ServiceUnavailableError, ValidationError
from reference_plugin_quote_db.fallback import Fallback
from reference_plugin_quote_db.favourites import Favourites
from reference_plugin_quote_db.flags import SEARCH, FeatureFlags
from reference_plugin_quote_db.metrics import observed
from reference_plugin_quote_db.moderation import Moderator
from reference_plugin_quote_db.parts.write_queue import WriteQueue
from reference_plugin_quote_db.quotes import Quotes, containing, matching
from reference_plugin_quote_db.schema import Quote
from reference_plugin_quote_db.sessions import HOUR, Sessions

logger = logging.getLogger(__name__)

DAY: Final = 86_400
"""Seconds."""

CONFIG_TTL: Final = 300
"""Seconds."""

TOGETHER: Final = 50
"""Quotes of `add_quotes_batch_parallel()` that are sent at once."""


class Patterns(Quotes):
    """Quotes, by tags, favourites, pages, filters, flags, sessions, counters, limits and rights."""

    namespace: str
    flags: FeatureFlags
    _sessions: Sessions
    _favourites: Favourites
    _moderator: Moderator
    _authorization: Authorization
    fallback: Fallback
    _queue: WriteQueue

    # -- tags and statistics -----------------------------------------------------------------------

    @observed("update")
    async def tag_quote(self, quote_id: int, tag: str) -> list[str]:
        """Give a quote a tag, unless it has it, and return all that it has now.

        Raises:
            QuoteNotFound: if there is no such quote.
            ValidationError: if `quote_id` or `tag` is not valid.
        """
        operation = {schema.TAGS: {"$addToSet": validation.tag(tag)}}
        return await self._changed(quote_id, operation, schema.TAGS, "tagged") or []

    @observed("update")
    async def untag_quote(self, quote_id: int, tag: str) -> list[str]:
        """Take a tag from a quote, if it has it, and return all that are left.

        Raises:
            QuoteNotFound: if there is no such quote.
            ValidationError: if `quote_id` or `tag` is not valid.
        """
        operation = {schema.TAGS: {"$pull": validation.tag(tag)}}
        return await self._changed(quote_id, operation, schema.TAGS, "tagged") or []

    async def quotes_tagged(self, tag: str, limit: int = 10) -> Page:
        """Return the newest quotes that have a tag, and the `total` of all that have it.

        Raises:
            ValidationError: if that cannot be a tag, or the limit is not from 1 to 100.
        """
        wanted = {schema.TAGS: {"$contains": validation.tag(tag)}}
        return await self._page(wanted, schema.NEWEST_FIRST, limit)

    @observed("search")
    async def stats(self, limit: int = 10) -> list[dict[str, Any]]:
        """Return the authors with most quotes: `author`, `quotes` and the sum of their `score`.

        Raises:
            ValidationError: if `limit` is not from 1 to 100.
        """
        return await self._quotes.aggregate(
            schema.PER_AUTHOR,
            group_by=[schema.AUTHOR],
            sort=[{"field": "quotes", "order": "desc"}, {"field": schema.AUTHOR}],
            limit=validation.limit(limit),
            timeout=self.TIMEOUT_SEARCH,
        )

    async def choose_favourite(self, user: str, quote_id: int) -> None:
        """Make a quote the favourite of a user, instead of the one they had before.

        Raises:
            QuoteNotFound: if there is no such quote.
            ValidationError: if `user` or `quote_id` is not valid.
        """
        if await self.get_quote(quote_id) is None:
            raise QuoteNotFound(quote_id)
        await self._favourites.choose(user, quote_id)

    async def favourite_quote(self, user: str) -> Quote | None:
        """Return the favourite of a user, or None if they have chosen none, or it was deleted.

        Raises:
            ValidationError: if that cannot be the name of a user.
        """
        quote_id = await self._favourites.of(user)
        return None if quote_id is None else await self.get_quote(quote_id)

    # -- pages and filters ------------------------------------------------------------------------

    async def iter_quotes(self, query: str | None = None) -> AsyncIterator[Quote]:
        """Yield all quotes, or all that match as in `search_quotes()`, newest first.

        They are read page by page: quotes added meanwhile may be missing, none comes twice.

        Raises:
            ValidationError: if the query is empty.
        """
        async for quote in self._quotes.iterate(
            schema.ALL if query is None else matching(query),
            sort=schema.NEWEST_FIRST,
            timeout=self.TIMEOUT_SEARCH,
        ):
            yield quote

    async def get_quotes_paginated(self, page: int = 1, page_size: int = 20) -> dict[str, Any]:
        """Return one page of all quotes, newest first, and where it stands.

        Args:
            page: 1 is the first.
            page_size: 1 to 100.

        Returns:
            `quotes`, `page`, `page_size`, `total_count`, `total_pages`, `has_next`, `has_prev`.

        Raises:
            ValidationError: if a number is out of range.
        """
        offset = (validation.page(page) - 1) * validation.limit(page_size)
        found = await self._page(schema.ALL, schema.NEWEST_FIRST, page_size, offset)
        total_pages = -(-found.total // page_size)
        return {
            "quotes": found.rows,
            "page": page,
            "page_size": page_size,
            "total_count": found.total,
            "total_pages": total_pages,
            "has_next": page < total_pages,
            "has_prev": page > 1,
        }

    async def search_quotes_advanced(
        self,
        author: str | None = None,
        min_score: int | None = None,
        text_contains: str | None = None,
        sort_by: str = schema.TIMESTAMP,
        sort_order: Literal["asc", "desc"] = "desc",
        limit: int = 20,
    ) -> list[Quote]:
        """Return the quotes that meet all the conditions that are given; all, if none is.

        Args:
            author: is part of the author's name; case is ignored.
            min_score: the lowest score.
            text_contains: is part of the text; case is ignored.
            sort_by: a column.
            sort_order: `asc` or `desc`.
            limit: how many at the most.

        Raises:
            ValidationError: if there is no such column or order, or a text to look for is empty.
        """
        conditions: list[dict[str, Any]] = []
        if author is not None:
            conditions.append(containing(schema.AUTHOR, author))
        if min_score is not None:
            conditions.append({schema.SCORE: {"$gte": min_score}})
        if text_contains is not None:
            conditions.append(containing(schema.TEXT, text_contains))
        sort = _sorted_by(sort_by, sort_order)
        return (await self._page(_all_of(conditions), sort, limit)).rows

    async def find_popular_recent_quotes(
        self, author: str, min_score: int = 5, days_ago: int = 30, limit: int = 10
    ) -> list[Quote]:
        """Return the best quotes of an author from the last days.

        Args:
            author: the whole name, as it is written.
            min_score: the lowest score.
            days_ago: how many days back.
            limit: how many at the most.
        """
        since = int(self._clock.time()) - days_ago * DAY
        conditions = [
            {schema.AUTHOR: {"$eq": author}},
            {schema.SCORE: {"$gte": min_score}},
            {schema.TIMESTAMP: {"$gte": since}},
        ]
        return (await self._page({"$and": conditions}, schema.BEST_FIRST, limit)).rows

    async def search_multiple_authors(self, authors: Sequence[str], limit: int = 50) -> list[Quote]:
        """Return the newest quotes of these authors, whose names are given whole."""
        filters = {schema.AUTHOR: {"$in": list(authors)}}
        return (await self._page(filters, schema.NEWEST_FIRST, limit)).rows

    async def exclude_low_scores(self, min_score: int = 0, limit: int = 100) -> list[Quote]:
        """Return the newest quotes whose score is not under `min_score`."""
        filters = {"$not": {schema.SCORE: {"$lt": min_score}}}
        return (await self._page(filters, schema.NEWEST_FIRST, limit)).rows

    # -- keys -------------------------------------------------------------------------------------

    async def set_feature_flag(self, flag_name: str, enabled: bool) -> None:
        """Turn a switch on or off; it works at once, in all replicas.

        Args:
            flag_name: `search_enabled`, `moderation_enabled`, or one of your own.
            enabled: on or off.

        Raises:
            ValidationError: if that cannot be the name of a switch.
        """
        await self.flags.set(flag_name, enabled)

    async def is_search_enabled(self) -> bool:
        """Return whether the chat may search; it may unless it was switched off."""
        return await self.flags.is_enabled(SEARCH)

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
        kv = self._storage.kv
        try:
            return await kv.incr(schema.LAST_ID)
        except RefusedValue:
            # Older plugins wrote text. What is no number at all gives way to the greatest id.
            kept = await kv.get(schema.LAST_ID)
            last = validation.whole_number(kept)
            if last is None:
                found = await self._quotes.aggregate({"last": {"$max": schema.ID}})
                last = found[0]["last"] or 0
            await kv.set(schema.LAST_ID, last, if_value=kept)
            return await kv.incr(schema.LAST_ID)

    # -- repeats and fallbacks --------------------------------------------------------------------

    @observed("add")
    async def add_quote_safe(
        self, text: str, author: str | None, added_by: str, max_retries: int = 3
    ) -> int:
        """As `add_quote()`, and repeat it if the service does not answer; it is added once.

        Args:
            text: as for `add_quote()`.
            author: as for `add_quote()`.
            added_by: as for `add_quote()`.
            max_retries: repeats at the most; `bus.MATRIX` says when.
        """
        patient = StorageClient(self._bus, self.namespace, retries=at_most(max_retries))
        row = self._drafts.row(text, author, added_by)
        return await self.insert(row, rows=patient.rows(schema.QUOTES))

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
        key = uuid4().hex
        return await self._queue.run(lambda: self.insert(row, key))

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
        escaped: Quote | None = validation.escaped(quote)
        return escaped

    async def search_quotes_degraded(self, query: str, limit: int = 10) -> list[Quote]:
        """As `search_quotes()`; search the cached quotes alone while the service is away.

        Raises:
            ServiceUnavailableError: if the service is away and nothing is in the cache.
        """
        page, _ = await self.fallback.search(query, limit)
        return page.rows

    async def get_quote_with_fallback(self, quote_id: int) -> Quote | None:
        """As `get_quote()`; while the service is away, as it was when it was read last.

        Raises:
            ServiceUnavailableError: if the service is away and the quote is not in the cache.
            ValidationError: if `quote_id` is not a positive integer.
        """
        quote, _ = await self.fallback.get(quote_id)
        return quote

    # -- limits, rights, moderation, records: each for itself -------------------------------------

    async def add_quote_ratelimited(
        self, text: str, author: str | None, added_by: str, max_per_hour: int = 10
    ) -> int:
        """As `add_quote()`, for users who have added less than `max_per_hour` in this hour.

        Raises:
            RateLimitError: for the others.
        """
        self._drafts.row(text, author, added_by)  # what is not valid does not count
        await self._authorization.limiter.take(validation.user_key(added_by), max_per_hour)
        return await self.add_quote(text, author, added_by)

    async def add_quote_authorized(
        self, text: str, author: str | None, added_by: str, user_role: str
    ) -> int:
        """As `add_quote()`, with the limit of a role; admins have none.

        Raises:
            PermissionError: for the role `banned`.
            RateLimitError: if they have added as many as they may.
        """
        refuse_banned(user_role, "adding quotes")
        self._drafts.row(text, author, added_by)
        await self._authorization.limit(added_by, user_role)
        return await self.add_quote(text, author, added_by)

    async def submit_quote(
        self, text: str, author: str | None, user: str, role: str, *, ip_address: str | None = None
    ) -> int:
        """Add a quote as the chat does: behind all of these.

        Raises:
            PermissionError: if they are banned.
            RateLimitError: if they have added as many as they may.
            ServiceUnavailableError: if the service is away for too long.
            ValidationError: if a value is not valid, or the moderation refuses it.
        """
        return await self._authorization.submit_quote(
            text, author, user, role, ip_address=ip_address
        )

    async def add_quote_moderated(self, text: str, author: str | None, added_by: str) -> int:
        """As `add_quote()`, without links and Markdown, and without words nobody wants to read.

        Raises:
            ValidationError: if there is such a word in the text or in the author.
        """
        return await self.add_quote(*self._authorization.moderated(text, author), added_by)

    async def add_quote_audited(
        self, text: str, author: str | None, added_by: str, ip_address: str | None = None
    ) -> int:
        """As `add_quote()`, and write the outcome to the security log."""
        with self._authorization.audit.adding(added_by, text, ip_address) as facts:
            facts["quote_id"] = quote_id = await self.add_quote(text, author, added_by)
        return quote_id

    async def delete_quote_authorized(self, quote_id: int, user: str, user_role: str) -> bool:
        """Delete a quote if this user may. Return whether there was one.

        Raises:
            PermissionError: if it is not theirs, and they are neither moderator nor admin; or if
                they are banned.
            ValidationError: if `quote_id` is not a positive integer.
        """
        return await self._authorization.delete_quote(quote_id, user, user_role)

    # -- the names under which the product document tests the rules -------------------------------

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


class ConfigCache:
    """Keeps settings for a while, for all replicas.

    Args:
        nats_client: a connected NATS client.
        namespace: the plugin's name.
        ttl: seconds that a setting is kept.
    """

    def __init__(self, nats_client: Nats, namespace: str, ttl: int = CONFIG_TTL) -> None:
        self._kv = StorageClient(nats_client, namespace).kv
        self._ttl = ttl

    async def get_config(self, key: str, default: Any = None) -> Any:
        """Return a setting, or `default` if it is not kept, or no longer."""
        return await self._kv.get(f"config_{key}", default)

    async def set_config(self, key: str, value: Any) -> None:
        """Keep a setting; `value` is anything with a JSON form."""
        await self._kv.set(f"config_{key}", value, self._ttl)

    async def invalidate(self, key: str) -> None:
        """Forget a setting, so that the next reader takes it from where it comes from."""
        await self._kv.delete(f"config_{key}")


def _all_of(conditions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if len(conditions) > 1:
        return {"$and": list(conditions)}
    return conditions[0] if conditions else schema.ALL


def _sorted_by(column: str, order: Literal["asc", "desc"]) -> SortBy:
    if column not in schema.COLUMNS:
        known = ", ".join(schema.COLUMNS)
        hint = did_you_mean(column, schema.COLUMNS)
        raise ValidationError(f"Invalid sort_by '{column[:40]}' (must be one of {known}).{hint}")
    if order not in ("asc", "desc"):
        raise ValidationError(f"Invalid sort_order '{order[:40]}' (must be asc or desc)")
    return {"field": column, "order": order}
