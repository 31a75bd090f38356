"""Rows that were read lately, kept in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from dbservice.runtime.clock import Clock

Row = dict[str, Any]

SIZE: Final = 1000
TTL: Final = 300.0
"""Seconds."""


class RowCache:
    """Keeps the rows that were used last. Each is fresh for a while, and of use when it is not.

    Whoever fills it takes a `moment()` before asking the service and gives it to `put()`: what was
    read before a write became known is then not kept after it.

    Args:
        clock: tells when a row is not fresh any more.
        columns: what a whole row has; rows that lack one of these are not kept.
        key: the column that tells rows apart.
        size: rows at the most; the one that was not used longest makes room.
        ttl: seconds that a row is fresh.
    """

    def __init__(
        self,
        clock: Clock,
        columns: Collection[str],
        *,
        key: str = "id",
        size: int = SIZE,
        ttl: float = TTL,
    ) -> None:
        self._clock = clock
        self._columns = frozenset(columns)
        self._key = key
        self._size = size
        self._ttl = ttl
        self._kept: OrderedDict[int, tuple[float, Row]] = OrderedDict()
        self._drops = 0

    def moment(self) -> int:
        """Return a mark of this moment, for `put()`."""
        return self._drops

    def get(self, key: int) -> Row | None:
        """Return a copy of a row, or None if it is not here or not fresh."""
        kept = self._kept.get(key)
        if kept is None or kept[0] <= self._clock.time():
            return None
        self._kept.move_to_end(key)
        return _copy(kept[1])

    def get_stale(self, key: int) -> Row | None:
        """Return a copy of a row however old it is, or None: for when nobody else can be asked."""
        kept = self._kept.get(key)
        return None if kept is None else _copy(kept[1])

    def put(self, rows: Iterable[Row], moment: int) -> None:
        """Keep rows that were read since `moment`, unless one was dropped meanwhile."""
        if moment != self._drops:
            return
        fresh_until = self._clock.time() + self._ttl
        for row in rows:
            if row.keys() >= self._columns:
                self._kept[row[self._key]] = fresh_until, _copy(row)
                self._kept.move_to_end(row[self._key])
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def drop(self, key: int) -> None:
        """Forget a row."""
        self._drops += 1
        self._kept.pop(key, None)

    @contextmanager
    def dropping(self, keys: Iterable[int], reached: Callable[[], int]) -> Iterator[None]:
        """Forget rows after a write: also one that failed may have been carried out.

        Args:
            keys: of the rows that are written.
            reached: how many requests somebody has received. A write that nobody did drops
                nothing: what is here may be all there is.
        """
        before = reached()
        try:
            yield
        finally:
            for key in keys if reached() != before else ():
                self.drop(key)

    def clear(self) -> None:
        """Forget all rows."""
        self._drops += 1
        self._kept.clear()

    def all(self) -> list[Row]:
        """Return copies of all rows, however old they are."""
        return [_copy(row) for _, row in self._kept.values()]

    def __len__(self) -> int:
        return len(self._kept)


def _copy(row: Row) -> Row:
    # Callers may change what they get; lists are the only values that can be changed.
    return {name: value[:] if type(value) is list else value for name, value in row.items()}
