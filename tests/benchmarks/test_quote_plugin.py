"""The quote plugin on the in-process bus and a database in memory."""

from __future__ import annotations

from itertools import count

from pytest_rosey import RoseyBenchmark
from reference_plugin_quote_db import QuoteDBPlugin

# What the plugin does beside storing (rate limits, moderation) is in these figures, too.


async def test_get_from_the_cache(quotes: QuoteDBPlugin, rosey_benchmark: RoseyBenchmark) -> None:
    quote = await rosey_benchmark(quotes.get_quote, 1)
    assert quote is not None
    assert quote["id"] == 1


async def test_add(quotes: QuoteDBPlugin, rosey_benchmark: RoseyBenchmark) -> None:
    numbers = count(1)

    async def add() -> int:
        return await quotes.add_quote(f"quote number {next(numbers)}", "Somebody", "somebody")

    assert await rosey_benchmark(add) > 5


async def test_search(quotes: QuoteDBPlugin, rosey_benchmark: RoseyBenchmark) -> None:
    found = await rosey_benchmark(quotes.search_quotes, "just a show")
    assert len(found) == 1


async def test_ten_readers_of_the_cache(
    quotes: QuoteDBPlugin, rosey_benchmark: RoseyBenchmark
) -> None:
    await rosey_benchmark.concurrent(quotes.get_quote, 1, clients=10, each=50)
