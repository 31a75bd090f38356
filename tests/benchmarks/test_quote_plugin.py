"""The quote plugin on the in-process bus and a database in memory; with `--legacy` as it was.

Side by side, over a real server and on files, they are measured by `rosey bench compare`.
"""

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


async def test_upvote_and_downvote(quotes: QuoteDBPlugin, rosey_benchmark: RoseyBenchmark) -> None:
    quote_id = await quotes.add_quote("a quote", "Somebody", "somebody")

    async def there_and_back() -> int:
        await quotes.upvote_quote(quote_id)
        return await quotes.downvote_quote(quote_id)

    assert await rosey_benchmark(there_and_back) == 0


async def test_delete(quotes: QuoteDBPlugin, rosey_benchmark: RoseyBenchmark) -> None:
    async def a_quote() -> tuple[tuple[int], dict[str, object]]:
        return (await quotes.add_quote("a quote", "Somebody", "somebody"),), {}

    assert await rosey_benchmark(quotes.delete_quote, setup=a_quote)


async def test_random(quotes: QuoteDBPlugin, rosey_benchmark: RoseyBenchmark) -> None:
    assert await rosey_benchmark(quotes.random_quote) is not None


async def test_search(quotes: QuoteDBPlugin, rosey_benchmark: RoseyBenchmark) -> None:
    found = await rosey_benchmark(quotes.search_quotes, "just a show")
    assert len(found) == 1


async def test_ten_readers_of_the_cache(
    quotes: QuoteDBPlugin, rosey_benchmark: RoseyBenchmark
) -> None:
    await rosey_benchmark.concurrent(quotes.get_quote, 1, clients=10, each=50)
