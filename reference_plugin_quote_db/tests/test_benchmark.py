"""The two sides of `rosey bench` do the same things, so that their times can be compared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from reference_plugin_quote_db import benchmark

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture(params=["legacy", "modern"])
async def side(
    request: pytest.FixtureRequest, tmp_path: Path, nats_client: Any, rosey_migrations: Any
) -> AsyncIterator[Any]:
    """A side that was started, without any quotes that the migrations brought."""
    await rosey_migrations.apply("quote-db")
    if request.param == "legacy":
        contestant = benchmark.legacy(tmp_path / "quotes.db")
    else:
        contestant = benchmark.modern(nats_client)
    await contestant.initialize()
    yield contestant
    await contestant.close()


async def test_a_side_fills_its_table(side: Any) -> None:
    before = await side.count()
    keys = await side.fill(1_005)
    assert len(set(keys)) == 1_005
    assert await side.count() == before + 1_005
    assert (await side.get(keys[41]))["text"] == "quote number 42"


async def test_a_side_adds_votes_and_deletes(side: Any) -> None:
    key = await side.add(7)
    assert await side.upvote(key) == 1
    for get in (side.get, side.hot_get):
        quote = await get(key)
        assert (quote["text"], quote["author"], quote["score"]) == ("quote number 7", "author 7", 1)
    assert await side.delete(key) is True
    assert await side.get(key) is None


async def test_a_side_finds_the_same(side: Any) -> None:
    keys = await side.fill(100)
    assert [quote["text"] for quote in await side.search()] == [
        f"quote number {number}" for number in (*range(59, 49, -1),)
    ]
    await side.upvote(keys[0])
    for _ in range(100):
        await side.upvote(keys[1])
    assert (await side.top())[0]["id"] == keys[1]
    assert "text" in await side.random()
