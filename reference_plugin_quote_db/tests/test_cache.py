"""The cache of quotes: how long, how many, and never what was before a write."""

from __future__ import annotations

from typing import Any

import pytest

from dbservice.runtime.clock import ManualClock
from reference_plugin_quote_db.parts.cache import RowCache


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
def cache(clock: ManualClock) -> RowCache:
    return RowCache(clock, ("id", "author", "score"), size=3)


def test_a_quote_is_fresh_for_five_minutes(cache: RowCache, clock: ManualClock) -> None:
    cache.put([quote(1)], cache.moment())
    clock.advance(299.5)
    assert cache.get(1) == quote(1)
    clock.advance(0.5)
    assert cache.get(1) is None


def test_one_that_is_not_fresh_is_better_than_none(cache: RowCache, clock: ManualClock) -> None:
    cache.put([quote(1)], cache.moment())
    clock.advance(100_000)
    assert cache.get(1) is None
    assert cache.get_stale(1) == quote(1)
    assert cache.all() == [quote(1)]
    assert cache.get_stale(2) is None
    cache.drop(1)
    assert cache.get_stale(1) is None


def test_the_one_not_used_longest_makes_room(cache: RowCache) -> None:
    cache.put([quote(1), quote(2), quote(3)], cache.moment())
    cache.get(1)
    cache.put([quote(4)], cache.moment())
    assert sorted(kept["id"] for kept in cache.all()) == [1, 3, 4]


def test_what_was_read_before_a_write_is_not_kept_after_it(cache: RowCache) -> None:
    moment = cache.moment()
    cache.drop(1)
    cache.put([quote(1)], moment)
    assert cache.get(1) is None
    moment = cache.moment()
    cache.clear()
    cache.put([quote(1)], moment)
    assert cache.get(1) is None


def test_callers_get_copies(cache: RowCache) -> None:
    cache.put([quote(1)], cache.moment())
    mine = cache.get(1)
    assert mine is not None
    mine["tags"].append("b")
    mine["score"] = 9
    assert cache.get(1) == quote(1)


def test_rows_that_lack_columns_are_not_kept(cache: RowCache) -> None:
    cache.put([{"id": 1, "author": "Alice"}, quote(2)], cache.moment())
    assert [kept["id"] for kept in cache.all()] == [2]
