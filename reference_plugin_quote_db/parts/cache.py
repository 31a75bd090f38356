"""Quotes that were read lately, kept in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from dbservice.runtime.clock import Clock
from reference_plugin_quote_db import schema
from reference_plugin_quote_db.schema import Quote

SIZE: Final = 1000
TTL: Final = 300.0
"""Seconds."""

_WHOLE: Final = {
    schema.ID,
    schema.TEXT,
    schema.AUTHOR,
    schema.ADDED_BY,
    schema.TIMESTAMP,
    schema.SCORE,
}


class QuoteCache:
    """Keeps the quotes that were used last, each for a while.

    Whoever fills it takes a `moment()` before asking the service and gives it to `put()`: what was
    read before a write became known is then not kept after it.

    Args:
        clock: tells when a quote is too old.
        size: quotes at the most; the one that was not used longest makes room.
        ttl: seconds that a quote is kept.
    """

    def __init__(self, clock: Clock, *, size: int = SIZE, ttl: float = TTL) -> None:
        self._clock = clock
        self._size = size
        self._ttl = ttl
        self._kept: OrderedDict[int, tuple[float, Quote]] = OrderedDict()
        self._drops = 0

    def moment(self) -> int:
        """Return a mark of this moment, for `put()`."""
        return self._drops

    def get(self, quote_id: int) -> Quote | None:
        """Return a copy of a quote, or None if it is not here or too old."""
        kept = self._kept.get(quote_id)
        if kept is None:
            return None
        expires_at, quote = kept
        if expires_at <= self._clock.time():
            del self._kept[quote_id]
            return None
        self._kept.move_to_end(quote_id)
        return _copy(quote)

    def put(self, quotes: Iterable[Quote], moment: int) -> None:
        """Keep quotes that were read since `moment`, unless one was dropped meanwhile.

        Rows that lack columns are passed over.
        """
        if moment != self._drops:
            return
        expires_at = self._clock.time() + self._ttl
        for quote in quotes:
            if quote.keys() >= _WHOLE:
                self._kept[quote[schema.ID]] = expires_at, _copy(quote)
                self._kept.move_to_end(quote[schema.ID])
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def drop(self, quote_id: int) -> None:
        """Forget a quote."""
        self._drops += 1
        self._kept.pop(quote_id, None)

    def clear(self) -> None:
        """Forget all quotes."""
        self._drops += 1
        self._kept.clear()

    def newest(self) -> list[Quote]:
        """Return copies of all quotes that are not too old, the newest first."""
        now = self._clock.time()
        quotes = [_copy(quote) for expires_at, quote in self._kept.values() if expires_at > now]
        return sorted(quotes, key=lambda quote: -quote[schema.TIMESTAMP])

    def __len__(self) -> int:
        return len(self._kept)


def _copy(quote: Quote) -> Quote:
    # Callers may change what they get; lists (the tags) are the only values that can be changed.
    return {name: value[:] if type(value) is list else value for name, value in quote.items()}
