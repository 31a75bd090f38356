"""The file of the legacy plugin, opened to read it.

The one module beside `legacy` that knows a database driver. It never writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

Row = dict[str, Any]

BATCH: Final = 200
"""Rows at a time: as many of the longest quotes as always fit into NATS's 1 MiB."""

_COLUMNS: Final = ("id", "text", "author", "added_by", "timestamp")
"""What every version of the legacy plugin has; the score came later."""


class LegacyFileError(RuntimeError):
    """The file cannot be read as one that the legacy plugin wrote."""


class LegacyFile:
    """The legacy plugin's table, read-only."""

    def __init__(self, connection: aiosqlite.Connection, score: str) -> None:
        self._connection = connection
        self._columns = f"id, text, author, added_by, timestamp, {score} AS score"

    async def count(self) -> int:
        """Return the number of quotes."""
        rows = await self._rows("SELECT COUNT(*) AS number FROM quotes")
        return int(rows[0]["number"])

    async def batches(self, after: int | None = None) -> AsyncIterator[list[Row]]:
        """Yield all quotes with greater ids than `after`, in the order of their ids."""
        select = f"SELECT {self._columns} FROM quotes"  # noqa: S608 - constants of this module
        limit = f"ORDER BY id LIMIT {BATCH}"
        while True:
            if after is None:
                batch = await self._rows(f"{select} {limit}")
            else:
                batch = await self._rows(f"{select} WHERE id > ? {limit}", after)
            if not batch:
                return
            yield batch
            after = batch[-1]["id"]

    async def _rows(self, query: str, *values: Any) -> list[Row]:
        cursor = await self._connection.execute(query, values)
        return [dict(row) for row in await cursor.fetchall()]


@asynccontextmanager
async def legacy_file(path: Path) -> AsyncIterator[LegacyFile]:
    """Open the legacy plugin's file to read it.

    Raises:
        LegacyFileError: if it is not there, is no SQLite database, or has no such table.
    """
    async with aiosqlite.connect(_read_only(path), uri=True) as connection:
        connection.row_factory = aiosqlite.Row
        # What is not UTF-8 is to be reported with its id; by default it would end the reading.
        connection.text_factory = lambda data: data.decode(errors="surrogateescape")
        try:
            cursor = await connection.execute("PRAGMA table_info(quotes)")
            columns = {row["name"] for row in await cursor.fetchall()}
        except aiosqlite.DatabaseError as error:
            raise LegacyFileError(f"'{path}' cannot be read as a SQLite file: {error}") from error
        missing = [name for name in _COLUMNS if name not in columns]
        if missing:
            raise LegacyFileError(
                f"'{path}' is not a file of the legacy plugin: expected a table 'quotes' with "
                f"{', '.join(_COLUMNS)}; missing: {', '.join(missing)}."
            )
        # Files from before voting have no scores.
        yield LegacyFile(connection, "score" if "score" in columns else "0")


def _read_only(path: Path) -> str:
    if not path.is_file():
        raise LegacyFileError(
            f"There is no file '{path}'. Name the one that the legacy plugin wrote (its db_path)."
        )
    return f"{path.absolute().as_uri()}?mode=ro"
