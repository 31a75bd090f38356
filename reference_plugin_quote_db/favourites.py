"""The favourite quote of each user: a row that one request inserts or changes."""

from __future__ import annotations

from typing import Final

from dbservice.client import FieldDefinition, Rows, StorageClient
from reference_plugin_quote_db.validation import user_key, username

TABLE: Final = "favourites"
USERNAME: Final = "username"
QUOTE_ID: Final = "quote_id"

FIELDS: Final[list[FieldDefinition]] = [
    {"name": USERNAME, "type": "text", "required": True, "unique": True},
    {"name": QUOTE_ID, "type": "integer", "required": True},
]
"""Registered, not migrated: nobody has to apply anything before the first use."""


class Favourites:
    """Keeps one quote for each user.

    Args:
        storage: the plugin's storage client.
    """

    def __init__(self, storage: StorageClient) -> None:
        self._rows = storage.rows(TABLE)

    async def choose(self, user: str, quote_id: int) -> None:
        """Keep a quote for a user, instead of the one that was kept before.

        Raises:
            ValidationError: if that cannot be the name of a user.
        """
        row = {USERNAME: user_key(username(user)), QUOTE_ID: quote_id}
        await (await self._registered()).upsert(row, on=[USERNAME])

    async def of(self, user: str) -> int | None:
        """Return the id of a user's quote, or None if they have chosen none."""
        wanted = {USERNAME: user_key(username(user))}
        rows = await (await self._registered()).select(wanted, columns=[QUOTE_ID])
        return int(rows[0][QUOTE_ID]) if rows else None

    async def _registered(self) -> Rows:
        await self._rows.register(FIELDS)  # nothing, if the table is there
        return self._rows
