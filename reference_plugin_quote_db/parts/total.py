"""The number of rows of a table, kept under a key so that asking for it never counts rows.

Inserts and deletes move it in their own transaction (`counters`). It is a cache: whatever anybody
wrote under the key, or whoever removed it, no write fails for it, and the next `read()` is right.
"""

from __future__ import annotations

from typing import Any, Final

from dbservice.client import KeyValues, Rows, ValidationError
from dbservice.runtime.clock import Clock
from reference_plugin_quote_db.validation import whole_number

TRUSTED_FOR: Final = 300.0
"""Seconds after which rows are counted again, for whatever nobody was told of."""

_ABSENT: Final = object()
_ATTEMPTS: Final = 10


class KeptTotal:
    """Reads, moves and repairs a total.

    This process knows what it should be: what it saw last, and what its own writes changed. A
    number that cannot be explained so is not trusted (`counters` creates a key that is absent, so
    that after a removal it would count from 1): then the rows are counted.

    Args:
        kv: where the key is.
        rows: what is counted.
        key: its name.
        clock: tells when it is time to count again.

    Attributes:
        moved: what the writes of this process have moved the total by, since it was counted.
    """

    def __init__(self, kv: KeyValues, rows: Rows, key: str, clock: Clock) -> None:
        self._kv = kv
        self._rows = rows
        self._key = key
        self._clock = clock
        self._expected: int | None = None
        self.moved = 0
        self._trusted_until = float("inf")
        self._doubted = False

    async def read(self) -> int:
        """Return the total; count first if what is kept is no number, or not to be trusted.

        Raises:
            StorageError: if the service cannot be asked.
        """
        kept = whole_number(await self._kv.get(self._key))
        if kept is None or self._doubted or self._clock.time() >= self._trusted_until:
            return await self.repair()
        if self._expected is None or kept == self._expected + self.moved:
            return kept
        return await self.repair()

    def doubt(self) -> None:
        """Count before the total is told again: something happened to the rows."""
        self._doubted = True

    async def give_way(self, error: ValidationError) -> None:
        """Drop what is under the key, if that is why a write was refused, so that it can go on.

        Raises:
            ValidationError: the same, if it is about something else.
        """
        if error.details.get("field") != "counters":
            raise error
        await self._kv.delete(self._key)
        self.doubt()

    async def repair(self) -> int:
        """Count the rows and keep their number. Return it.

        Raises:
            StorageError: if the service cannot be asked.
        """
        self._doubted = False
        try:
            return await self._counted()
        except BaseException:
            self._doubted = True  # nothing was counted, so the doubt stays
            raise

    async def _counted(self) -> int:
        self.moved = 0
        total = 0
        for _ in range(_ATTEMPTS):
            kept = await self._kv.get(self._key, _ABSENT)
            total = await self._rows.count()
            if (type(kept) is int and kept == total) or await self._replace(kept, total):
                break
        self._expected = total
        self._trusted_until = self._clock.time() + TRUSTED_FOR
        return total

    async def _replace(self, kept: Any, total: int) -> bool:
        """Keep the total unless it moved since it was read: then somebody wrote meanwhile."""
        if kept is _ABSENT:
            return await self._kv.set(self._key, total, if_absent=True)
        return await self._kv.set(self._key, total, if_value=kept)
