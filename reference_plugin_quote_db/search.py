"""Finding quotes: by words, by author, by score, by age, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from dbservice.client import Page, SortBy
from reference_plugin_quote_db import queries, schema, validation
from reference_plugin_quote_db.assembly import Parts
from reference_plugin_quote_db.observed import observed
from reference_plugin_quote_db.quotes import Quotes
from reference_plugin_quote_db.schema import Quote

DAY = 86_400
"""Seconds."""


class SearchableQuotes(Quotes):
    """Quotes that can be found.

    Every limit is from 1 to 100; all but `iter_quotes()` raise a `ValidationError` for another.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._clock = parts.clock

    async def search_quotes(self, query: str, limit: int = 10) -> list[Quote]:
        """Return the newest quotes that have `query` in their text or author; case is ignored.

        Args:
            query: taken literally, `%` and `_` included.
            limit: how many at the most. `iter_quotes()` has no limit.

        Raises:
            ValidationError: if the query is empty.
        """
        return (await self.search_page(query, limit)).rows

    async def search_page(self, query: str, limit: int = 10) -> Page:
        """As `search_quotes()`; the page also has the `total` of all that match."""
        return await self._page(queries.matching(query), queries.NEWEST_FIRST, limit)

    async def iter_quotes(self, query: str | None = None) -> AsyncIterator[Quote]:
        """Yield all quotes, or all that match as in `search_quotes()`, newest first.

        They are read page by page: quotes added meanwhile may be missing, none comes twice.

        Raises:
            ValidationError: if the query is empty.
        """
        filters = queries.ALL if query is None else queries.matching(query)
        async for quote in self._quotes.iterate(
            filters, sort=queries.NEWEST_FIRST, timeout=self.TIMEOUT_SEARCH
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
        found = await self._page(queries.ALL, queries.NEWEST_FIRST, page_size, offset)
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
            conditions.append(queries.containing(schema.AUTHOR, author))
        if min_score is not None:
            conditions.append({schema.SCORE: {"$gte": min_score}})
        if text_contains is not None:
            conditions.append(queries.containing(schema.TEXT, text_contains))
        sort = queries.sorted_by(sort_by, sort_order)
        return (await self._page(queries.all_of(conditions), sort, limit)).rows

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
        return (await self._page({"$and": conditions}, queries.BEST_FIRST, limit)).rows

    async def search_multiple_authors(self, authors: Sequence[str], limit: int = 50) -> list[Quote]:
        """Return the newest quotes of these authors, whose names are given whole."""
        filters = {schema.AUTHOR: {"$in": list(authors)}}
        return (await self._page(filters, queries.NEWEST_FIRST, limit)).rows

    async def exclude_low_scores(self, min_score: int = 0, limit: int = 100) -> list[Quote]:
        """Return the newest quotes whose score is not under `min_score`."""
        filters = {"$not": {schema.SCORE: {"$lt": min_score}}}
        return (await self._page(filters, queries.NEWEST_FIRST, limit)).rows

    @observed("search")
    async def _page(
        self, filters: dict[str, Any], sort: SortBy, limit: int, offset: int = 0
    ) -> Page:
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
