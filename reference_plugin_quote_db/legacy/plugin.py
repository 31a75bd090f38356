"""The quote plugin as it was BEFORE the storage service: raw SQLite, with its flaws.

This module is the baseline of every comparison and the way back (`QUOTE_DB_LEGACY=true`). It is
kept as plugins were written then, and is not an example to follow:

- the schema is code, and a new column is an ALTER TABLE at every start;
- every call commits for itself, and all calls share one connection and its transaction;
- votes read the score, then write it: two votes at once are counted as one;
- scores have no limits, and `%` and `_` in a search are wildcards.

`reference_plugin_quote_db.plugin` is the AFTER; `docs/how-to/migration-guide.md` leads from one to
the other.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import aiosqlite

logger = logging.getLogger(__name__)


class QuoteDBPlugin:
    """A quote database for chat, directly on a SQLite file.

    Args:
        db_path: the file, or `:memory:`.
    """

    def __init__(self, db_path: str = "quotes.db") -> None:
        self.db_path = db_path
        self.connection: aiosqlite.Connection | None = None

    async def initialize(self) -> None:
        """Connect to the database, and make the table what this version expects."""
        self.connection = await aiosqlite.connect(self.db_path)
        self.connection.row_factory = aiosqlite.Row
        await self.connection.execute(
            """
            CREATE TABLE IF NOT EXISTS quotes (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                text TEXT NOT NULL,
                author TEXT DEFAULT 'Unknown',
                added_by TEXT NOT NULL,
                timestamp INTEGER NOT NULL
            )
            """
        )
        await self.connection.execute("CREATE INDEX IF NOT EXISTS idx_author ON quotes(author)")
        await self._add_missing_score()
        await self.connection.commit()
        logger.info("Connected to database: %s", self.db_path)

    async def _add_missing_score(self) -> None:
        """Add the column that came with voting to files that are older."""
        cursor = await self._connected().execute("PRAGMA table_info(quotes)")
        columns = [row["name"] for row in await cursor.fetchall()]
        if "score" not in columns:
            await self._connected().execute("ALTER TABLE quotes ADD COLUMN score INTEGER DEFAULT 0")

    async def close(self) -> None:
        """Close the connection."""
        if self.connection:
            await self.connection.close()
            self.connection = None

    def _connected(self) -> aiosqlite.Connection:
        if self.connection is None:
            raise RuntimeError("Not connected to the database: await initialize() first")
        return self.connection

    async def add_quote(self, text: str, author: str, added_by: str) -> int:
        """Add a quote and return its id.

        Raises:
            ValueError: if the text or the author is too long, or the text is empty.
        """
        if not text or len(text) > 1000:
            raise ValueError("Quote text must be 1-1000 characters")
        if len(author) > 100:
            raise ValueError("Author name must be ≤ 100 characters")
        cursor = await self._connected().execute(
            """
            INSERT INTO quotes (text, author, added_by, timestamp)
            VALUES (?, ?, ?, ?)
            """,
            (text, author or "Unknown", added_by, int(time.time())),
        )
        await self._connected().commit()
        quote_id = cursor.lastrowid
        assert quote_id is not None
        logger.info("Added quote #%d by %s", quote_id, added_by)
        return quote_id

    async def add_quotes(self, quotes: list[dict[str, Any]]) -> list[int]:
        """Add quotes one by one; those before the first bad one stay.

        Raises:
            ValueError: as `add_quote()`.
        """
        ids = []
        for quote in quotes:
            quote_id = await self.add_quote(
                quote["text"], quote.get("author", ""), quote["added_by"]
            )
            ids.append(quote_id)
        return ids

    async def get_quote(self, quote_id: int) -> dict[str, Any] | None:
        """Return a quote, or None if there is none with this id."""
        cursor = await self._connected().execute(
            "SELECT id, text, author, added_by, timestamp, score FROM quotes WHERE id = ?",
            (quote_id,),
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        return _quote(row)

    async def random_quote(self) -> dict[str, Any] | None:
        """Return any quote, or None if there are none."""
        cursor = await self._connected().execute(
            """
            SELECT id, text, author, added_by, timestamp, score
            FROM quotes
            ORDER BY RANDOM()
            LIMIT 1
            """
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        return _quote(row)

    async def search_quotes(self, query: str, limit: int = 10) -> list[dict[str, Any]]:
        """Return the newest quotes that have `query` in their text or author."""
        pattern = f"%{query}%"
        cursor = await self._connected().execute(
            """
            SELECT id, text, author, added_by, timestamp, score
            FROM quotes
            WHERE author LIKE ? OR text LIKE ?
            ORDER BY timestamp DESC
            LIMIT ?
            """,
            (pattern, pattern, limit),
        )
        return [_quote(row) for row in await cursor.fetchall()]

    async def delete_quote(self, quote_id: int) -> bool:
        """Delete a quote. Return whether there was one."""
        cursor = await self._connected().execute("DELETE FROM quotes WHERE id = ?", (quote_id,))
        await self._connected().commit()
        deleted = cursor.rowcount > 0
        if deleted:
            logger.info("Deleted quote #%d", quote_id)
        return deleted

    async def upvote_quote(self, quote_id: int) -> int:
        """Add one to the score of a quote and return the new score, racing other votes.

        Raises:
            ValueError: if there is no such quote.
        """
        cursor = await self._connected().execute(
            "SELECT score FROM quotes WHERE id = ?", (quote_id,)
        )
        row = await cursor.fetchone()
        if row is None:
            raise ValueError(f"Quote {quote_id} not found")
        # RACE: another vote may read the same score before this one is written.
        new_score = int(row["score"] or 0) + 1
        await self._connected().execute(
            "UPDATE quotes SET score = ? WHERE id = ?", (new_score, quote_id)
        )
        await self._connected().commit()
        return new_score

    async def downvote_quote(self, quote_id: int) -> int:
        """Take one from the score of a quote and return the new score, racing other votes.

        Raises:
            ValueError: if there is no such quote.
        """
        cursor = await self._connected().execute(
            "SELECT score FROM quotes WHERE id = ?", (quote_id,)
        )
        row = await cursor.fetchone()
        if row is None:
            raise ValueError(f"Quote {quote_id} not found")
        # RACE: as in upvote_quote().
        new_score = int(row["score"] or 0) - 1
        await self._connected().execute(
            "UPDATE quotes SET score = ? WHERE id = ?", (new_score, quote_id)
        )
        await self._connected().commit()
        return new_score

    async def top_quotes(self, limit: int = 10) -> list[dict[str, Any]]:
        """Return the quotes with the highest scores, of those that have at least 1."""
        cursor = await self._connected().execute(
            """
            SELECT id, text, author, added_by, timestamp, score
            FROM quotes
            WHERE score >= 1
            ORDER BY score DESC
            LIMIT ?
            """,
            (limit,),
        )
        return [_quote(row) for row in await cursor.fetchall()]

    async def count_quotes(self) -> int:
        """Return how many quotes there are, by counting them."""
        cursor = await self._connected().execute("SELECT COUNT(*) FROM quotes")
        row = await cursor.fetchone()
        return int(row[0]) if row else 0


def _quote(row: aiosqlite.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "text": row["text"],
        "author": row["author"],
        "added_by": row["added_by"],
        "timestamp": row["timestamp"],
        "score": row["score"],
    }
