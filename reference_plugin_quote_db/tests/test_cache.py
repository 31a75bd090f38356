"""The cache of quotes: how long, how many, and never what was before a write."""

from __future__ import annotations

from typing import Any

import pytest

from dbservice.runtime.clock import ManualClock
from reference_plugin_quote_db.parts.cache import QuoteCache


def quote(quote_id: int, **values: Any) -> dict[str, Any]:
    return {
        "id": quote_id,
        "text": f"Quote {quote_id}",
        "author": "Alice",
        "added_by": "bob",
        "timestamp": 1000 + quote_id,
        "score": 0,
        "tags": ["a"],
        **values,
    }


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000)


@pytest.fixture
def cache(clock: ManualClock) -> QuoteCache:
    return QuoteCache(clock, size=3)


def test_a_quote_stays_for_five_minutes(cache: QuoteCache, clock: ManualClock) -> None:
    cache.put([quote(1)], cache.moment())
    clock.advance(299.5)
    assert cache.get(1) == quote(1)
    assert cache.newest() == [quote(1)]
    clock.advance(0.5)
    assert cache.newest() == []
    assert cache.get(1) is None
    assert len(cache) == 0


def test_the_one_not_used_longest_makes_room(cache: QuoteCache) -> None:
    cache.put([quote(1), quote(2), quote(3)], cache.moment())
    cache.get(1)
    cache.put([quote(4)], cache.moment())
    assert [kept["id"] for kept in cache.newest()] == [4, 3, 1]


def test_what_was_read_before_a_write_is_not_kept_after_it(cache: QuoteCache) -> None:
    moment = cache.moment()
    cache.drop(1)
    cache.put([quote(1)], moment)
    assert cache.get(1) is None
    moment = cache.moment()
    cache.clear()
    cache.put([quote(1)], moment)
    assert cache.get(1) is None


def test_callers_get_copies(cache: QuoteCache) -> None:
    cache.put([quote(1)], cache.moment())
    mine = cache.get(1)
    assert mine is not None
    mine["tags"].append("b")
    mine["score"] = 9
    assert cache.get(1) == quote(1)


def test_rows_that_lack_columns_are_not_kept(cache: QuoteCache) -> None:
    cache.put([{"id": 1, "author": "Alice"}, quote(2)], cache.moment())
    assert [kept["id"] for kept in cache.newest()] == [2]
