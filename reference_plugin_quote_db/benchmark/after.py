"""The side of `rosey bench` that is measured: the plugin on the storage service."""

# ruff: noqa: D102 - what the methods do is said in Contestant of `rosey bench`
from __future__ import annotations

from typing import Any

from reference_plugin_quote_db.benchmark.rows import WORD, author, second, text
from reference_plugin_quote_db.bus import Bus

BATCH = 1_000
PATIENCE = 30.0
"""Seconds for a reply, instead of what chat users are asked to wait."""


class Modern:
    """The plugin with the settings of production: repeats, and so an idempotency key a write."""

    def __init__(self, nats: Bus) -> None:
        from dbservice.client import StorageClient
        from reference_plugin_quote_db.plugin import QuoteDBPlugin
        from reference_plugin_quote_db.schema import QUOTES, TOTAL_COUNT
        from reference_plugin_quote_db.shipped import PLUGIN

        class Plugin(QuoteDBPlugin):
            """Is patient, so that a slow answer is measured, and can be made to forget."""

            TIMEOUT_ADD = TIMEOUT_GET = TIMEOUT_SEARCH = PATIENCE
            TIMEOUT_UPDATE = TIMEOUT_DELETE = PATIENCE

            async def get_from_service(self, quote_id: int) -> dict[str, Any] | None:
                self._cache.drop(quote_id)
                return await self.get_quote(quote_id)

        self._plugin: Any = Plugin.for_production(nats)
        self._quotes = StorageClient(nats, PLUGIN, timeout=PATIENCE).rows(QUOTES)
        self._total = TOTAL_COUNT

    async def initialize(self) -> None:
        """Start the plugin."""
        await self._plugin.initialize()

    async def close(self) -> None:
        await self._plugin.close()

    async def fill(self, rows: int) -> list[int]:
        """Insert quotes, a thousand at a time, past the plugin and its events."""
        keys: list[Any] = []
        for first in range(1, rows + 1, BATCH):
            numbers = range(first, min(first + BATCH, rows + 1))
            batch = [
                {
                    "text": text(number),
                    "author": author(number),
                    "added_by": "bench",
                    "timestamp": second(number),
                }
                for number in numbers
            ]
            keys += await self._quotes.insert_many(batch, counters={self._total: len(batch)})
        return keys

    async def add(self, number: int) -> int:
        added: int = await self._plugin.add_quote(text(number), author(number), "bench")
        return added

    async def get(self, key: int) -> dict[str, Any] | None:
        """Get a quote from the service."""
        quote: dict[str, Any] | None = await self._plugin.get_from_service(key)
        return quote

    async def hot_get(self, key: int) -> dict[str, Any] | None:
        """Get a quote, from the plugin's cache if it is there."""
        quote: dict[str, Any] | None = await self._plugin.get_quote(key)
        return quote

    async def upvote(self, key: int) -> int:
        score: int = await self._plugin.upvote_quote(key)
        return score

    async def delete(self, key: int) -> bool:
        deleted: bool = await self._plugin.delete_quote(key)
        return deleted

    async def random(self) -> dict[str, Any] | None:
        quote: dict[str, Any] | None = await self._plugin.random_quote()
        return quote

    async def search(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._plugin.search_quotes(WORD)
        return found

    async def top(self) -> list[dict[str, Any]]:
        best: list[dict[str, Any]] = await self._plugin.top_quotes()
        return best

    async def count(self) -> int:
        number: int = await self._plugin.count_quotes()
        return number
