"""The quote database itself: what can be done with quotes, on the storage client alone."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from dbservice.client import ConstraintViolation, Page, StorageClient
from dbservice.runtime.clock import Clock, SystemClock
from reference_plugin_quote_db import schema, validation
from reference_plugin_quote_db.authorization import may_delete
from reference_plugin_quote_db.bus import Bus
from reference_plugin_quote_db.commands import ChatCommands
from reference_plugin_quote_db.drafts import Drafts
from reference_plugin_quote_db.errors import MigrationsPending, QuoteNotFound, ScoreLimitReached
from reference_plugin_quote_db.events import Events
from reference_plugin_quote_db.listener import CommandListener
from reference_plugin_quote_db.queries import (
    ALL,
    BEST_FIRST,
    NEWEST_FIRST,
    UPVOTED,
    matching,
    with_id,
)
from reference_plugin_quote_db.schema import Quote
from reference_plugin_quote_db.total import ADDED_ONE, DELETED_ONE, TotalCount

logger = logging.getLogger(__name__)


class QuoteDBPlugin:
    """A quote database for chat (SPEC 6).

    Every coroutine may raise `dbservice.client.StorageError` when the service refuses or does
    not answer; what else it raises stands in its own description.

    Args:
        nats_client: a connected NATS client. It stays open when the plugin closes.
        namespace: the plugin's name on the bus and in the database.
        clock: tells when a quote was added.
        strict_authors: allow only ASCII letters, digits, blanks and `- _ . '` in authors' names.
    """

    def __init__(
        self,
        nats_client: Bus,
        *,
        namespace: str = "quote-db",
        clock: Clock | None = None,
        strict_authors: bool = False,
    ) -> None:
        self.namespace = namespace
        self._storage = StorageClient(nats_client, namespace)
        self._quotes = self._storage.rows(schema.QUOTES)
        self._total = TotalCount(self._storage)
        self._drafts = Drafts(clock or SystemClock(), strict_authors=strict_authors)
        self._events = Events(nats_client, namespace)
        self._commands = ChatCommands(self)
        self._listener = CommandListener(nats_client, namespace, self._commands)

    async def initialize(self) -> None:
        """Check that the database is ready, then listen for chat commands.

        Raises:
            MigrationsPending: if the migrations are behind; the text has the command to run.
        """
        status = await self._storage.migrations.status()
        # A service that was not given the plugin's migrations has none pending, and no table.
        if not status.up_to_date or status.current_version == 0:
            raise MigrationsPending(self.namespace, status.pending_migrations)
        await self._total.repair()
        await self._listener.start()
        logger.info("Plugin %s initialized", self.namespace)

    async def close(self) -> None:
        """Stop listening and finish the commands that were begun."""
        await self._listener.stop()

    async def handle_command(self, user: str, role: str, text: str) -> str:
        """Return the answer to a line of chat such as `!quote get 42`.

        Args:
            user: who typed it.
            role: what they are: `user`, `moderator` or `admin`.
            text: the line, with or without `!quote`.
        """
        return await self._commands.handle(user, role, text)

    async def add_quote(self, text: str, author: str | None, added_by: str) -> int:
        """Add a quote and return its id.

        Args:
            text: 1 to 1000 characters.
            author: at most 100 characters; `Unknown` if there is none.
            added_by: the user, 1 to 50 characters.

        Raises:
            ValidationError: if one of them is not like that.
        """
        row = self._drafts.row(text, author, added_by)
        quote_id = int(await self._quotes.insert(row, counters=ADDED_ONE))
        logger.info("Quote #%d added by %s", quote_id, row[schema.ADDED_BY])
        await self._events.added(quote_id, row[schema.ADDED_BY])
        return quote_id

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
        ids = [int(key) for key in await self._quotes.insert_many(rows, counters=counters)]
        logger.info("%d quotes added", len(ids))
        for quote_id, row in zip(ids, rows, strict=True):
            await self._events.added(quote_id, row[schema.ADDED_BY])
        return ids

    async def get_quote(self, quote_id: int) -> Quote | None:
        """Return a quote, or None if there is none with this id.

        Raises:
            ValidationError: if `quote_id` is not a positive integer.
        """
        return await self._quotes.get(validation.quote_id(quote_id))

    async def random_quote(self) -> Quote | None:
        """Return a quote, each with the same chance, or None if there are none."""
        quotes = await self._quotes.random()
        return quotes[0] if quotes else None

    async def search_quotes(self, query: str, limit: int = 10) -> list[Quote]:
        """Return the newest quotes that have `query` in their text or author; case is ignored.

        Args:
            query: taken literally, `%` and `_` included.
            limit: how many at the most, 1 to 100. `iter_quotes()` has no limit.

        Raises:
            ValidationError: if the query is empty or the limit out of range.
        """
        return (await self.search_page(query, limit)).rows

    async def search_page(self, query: str, limit: int = 10) -> Page:
        """As `search_quotes()`; the page also has the `total` of all that match."""
        return await self._quotes.search(
            matching(query), sort=NEWEST_FIRST, limit=validation.limit(limit)
        )

    async def iter_quotes(self, query: str | None = None) -> AsyncIterator[Quote]:
        """Yield all quotes, or all that match as in `search_quotes()`, newest first.

        They are read page by page: quotes added meanwhile may be missing, none comes twice.

        Raises:
            ValidationError: if the query is empty.
        """
        filters = ALL if query is None else matching(query)
        async for quote in self._quotes.iterate(filters, sort=NEWEST_FIRST):
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
        page, page_size = validation.page(page), validation.limit(page_size)
        found = await self._quotes.search(
            ALL, sort=NEWEST_FIRST, limit=page_size, offset=(page - 1) * page_size
        )
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

    async def delete_quote(self, quote_id: int, *, by: str = "system") -> bool:
        """Delete a quote. Return whether there was one.

        Args:
            quote_id: which one.
            by: who deletes it, for the event; their right to it is not checked here.

        Raises:
            ValidationError: if `quote_id` is not a positive integer.
        """
        deleted = await self._quotes.delete(with_id(quote_id), counters=DELETED_ONE)
        if deleted:
            logger.info("Quote #%d deleted by %s", quote_id, by)
            await self._events.deleted(quote_id, by)
        return deleted > 0

    async def delete_quote_authorized(self, quote_id: int, user: str, user_role: str) -> bool:
        """Delete a quote if this user may. Return whether there was one.

        Raises:
            PermissionError: if it is not theirs, and they are neither moderator nor admin.
            ValidationError: if `quote_id` is not a positive integer.
        """
        quote = await self.get_quote(quote_id)
        if quote is None:
            return False
        if not may_delete(quote, user, user_role):
            raise PermissionError("You can only delete your own quotes")
        return await self.delete_quote(quote_id, by=user)

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

    async def top_quotes(self, limit: int = 10) -> list[Quote]:
        """Return the quotes with the highest scores, of those that have at least 1.

        Raises:
            ValidationError: if `limit` is not from 1 to 100.
        """
        return await self._quotes.select(UPVOTED, sort=BEST_FIRST, limit=validation.limit(limit))

    async def count_quotes(self) -> int:
        """Return how many quotes there are, without counting them."""
        return await self._total.read()

    async def _vote(self, quote_id: int, by: int, limit: str) -> int:
        operations = {schema.SCORE: {"$inc": by}}
        try:
            rows = await self._quotes.update(
                with_id(quote_id), operations, returning=[schema.SCORE]
            )
        except ConstraintViolation as error:
            raise ScoreLimitReached(quote_id, limit) from error
        if not rows:
            raise QuoteNotFound(quote_id)
        return int(rows[0][schema.SCORE])

    # The names under which the product document tests these rules.
    def _validate_author(self, author: str | None) -> str:
        return self._drafts.author(author)

    _validate_text = staticmethod(validation.quote_text)
    _validate_username = staticmethod(validation.username)
    _validate_quote_id = staticmethod(validation.quote_id)
    _validate_limit = staticmethod(validation.limit)
    _get_quote_count = count_quotes
