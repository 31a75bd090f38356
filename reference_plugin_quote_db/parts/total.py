"""The number of quotes, kept in the KV store so that asking for it never counts rows.

Inserts and deletes move it in their own transaction (`counters`, SPEC 2.4), so it stays right
once it is right. `repair()` makes it right: after the migrations put quotes there, after an
import, after the keys were cleared.
"""

from __future__ import annotations

from typing import Any, Final

from dbservice.client import StorageClient
from reference_plugin_quote_db.schema import QUOTES, TOTAL_COUNT

ADDED_ONE: Final = {TOTAL_COUNT: 1}
DELETED_ONE: Final = {TOTAL_COUNT: -1}

_ABSENT: Final = object()
_ATTEMPTS: Final = 10


class TotalCount:
    """Reads and repairs the total of one plugin."""

    def __init__(self, storage: StorageClient) -> None:
        self._kv = storage.kv
        self._quotes = storage.rows(QUOTES)

    async def read(self) -> int:
        """Return the total; repair it first if there is none or if it is no number.

        Raises:
            StorageError: if the service cannot be asked.
        """
        total = _number(await self._kv.get(TOTAL_COUNT))
        return await self.repair() if total is None else total

    async def repair(self) -> int:
        """Count the quotes and store the total if it is not that. Return the count.

        Raises:
            StorageError: if the service cannot be asked.
        """
        total = 0
        for _ in range(_ATTEMPTS):
            stored = await self._kv.get(TOTAL_COUNT, _ABSENT)
            total = await self._quotes.count()
            if type(stored) is int and stored == total:
                break
            if await self._replace(stored, total):
                break
        return total

    async def _replace(self, stored: Any, total: int) -> bool:
        """Store the total unless it moved since it was read: then somebody wrote meanwhile."""
        if stored is _ABSENT:
            return await self._kv.set(TOTAL_COUNT, total, if_absent=True)
        return await self._kv.set(TOTAL_COUNT, total, if_value=stored)


def _number(value: Any) -> int | None:
    """Return a stored total; older plugins wrote it as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if type(value) is int and value >= 0 else None
