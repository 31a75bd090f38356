"""The legacy side of `rosey bench`: the plugin on raw SQLite."""

# ruff: noqa: D102 - what the methods do is said in Contestant of `rosey bench`
from __future__ import annotations

from pathlib import Path
from typing import Any

from reference_plugin_quote_db.benchmark.rows import WORD, author, second, text
from reference_plugin_quote_db.legacy.plugin import QuoteDBPlugin


class Legacy:
    """The legacy plugin; all clients share this one instance and its connection."""

    def __init__(self, path: Path) -> None:
        self._plugin = QuoteDBPlugin(str(path))

    async def initialize(self) -> None:
        """Connect."""
        await self._plugin.initialize()

    async def close(self) -> None:
        await self._plugin.close()

    async def fill(self, rows: int) -> list[int]:
        """Insert all quotes in one transaction: the plugin's own way takes a commit for each."""
        connection = self._plugin.connection
        assert connection is not None
        quotes = [
            (number, text(number), author(number), "bench", second(number))
            for number in range(1, rows + 1)
        ]
        await connection.executemany(
            "INSERT INTO quotes (id, text, author, added_by, timestamp) VALUES (?, ?, ?, ?, ?)",
            quotes,
        )
        await connection.commit()
        return list(range(1, rows + 1))

    async def add(self, number: int) -> int:
        return await self._plugin.add_quote(text(number), author(number), "bench")

    async def get(self, key: int) -> dict[str, Any] | None:
        return await self._plugin.get_quote(key)

    hot_get = get  # it has no cache

    async def upvote(self, key: int) -> int:
        return await self._plugin.upvote_quote(key)

    async def delete(self, key: int) -> bool:
        return await self._plugin.delete_quote(key)

    async def random(self) -> dict[str, Any] | None:
        return await self._plugin.random_quote()

    async def search(self) -> list[dict[str, Any]]:
        return await self._plugin.search_quotes(WORD)

    async def top(self) -> list[dict[str, Any]]:
        return await self._plugin.top_quotes()

    async def count(self) -> int:
        return await self._plugin.count_quotes()
