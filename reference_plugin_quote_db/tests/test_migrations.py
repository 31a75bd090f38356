"""The migrations of the plugin, up and down, on tables that have something in them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dbservice.client import ConstraintViolation, Rows, StorageClient
from reference_plugin_quote_db import QuoteDBPlugin

pytestmark = pytest.mark.asyncio

PLUGIN = "quote-db"
TABLE = "quote_db__quotes"
NAMES = ["001_create_quotes_table", "002_add_score_column", "003_add_tags_column"]
COLUMNS = ["id", "text", "author", "added_by", "timestamp", "score", "tags"]

LONG_AGO = 1_500_000_000


@pytest.fixture
def client(storage: Any) -> StorageClient:
    client: StorageClient = storage(PLUGIN)
    return client


@pytest.fixture
def quotes(client: StorageClient) -> Rows:
    return client.rows("quotes")


def row(text: str, *, author: str = "Alice", timestamp: int = LONG_AGO) -> dict[str, Any]:
    return {"text": text, "author": author, "added_by": "bob", "timestamp": timestamp}


async def contents(quotes: Rows) -> dict[int, dict[str, Any]]:
    return {quote["id"]: quote async for quote in quotes.iterate()}


def without(table: dict[int, dict[str, Any]], *columns: str) -> dict[int, dict[str, Any]]:
    return {
        key: {name: value for name, value in quote.items() if name not in columns}
        for key, quote in table.items()
    }


# -- up -----------------------------------------------------------------------------------------


async def test_001_makes_the_table_with_five_quotes(rosey_migrations: Any) -> None:
    await rosey_migrations.apply(PLUGIN, target="001")
    assert TABLE in await rosey_migrations.tables(PLUGIN)
    assert list(await rosey_migrations.columns(PLUGIN, "quotes")) == COLUMNS[:5]
    assert len(await rosey_migrations.rows(PLUGIN, "quotes")) == 5


async def test_002_gives_old_quotes_a_better_score(rosey_migrations: Any, quotes: Rows) -> None:
    await rosey_migrations.apply(PLUGIN, target="001")
    old = await quotes.insert(row("Old"))
    new = await quotes.insert(row("New", timestamp=int(time.time())))
    before = await contents(quotes)

    await rosey_migrations.apply(PLUGIN, target="002")

    after = await contents(quotes)
    assert without(after, "score") == before
    assert (after[old]["score"], after[new]["score"]) == (5, 0)
    assert list(await rosey_migrations.columns(PLUGIN, "quotes")) == COLUMNS[:6]


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("No tags", []),
        ("Keep #circulating the #tapes", ["circulating", "tapes"]),
        ("#Tapes, #TAPES and #tapes!", ["tapes"]),
        ("#b before #a", ["b", "a"]),
        ("A # alone", []),
    ],
)
async def test_003_collects_all_hashtags(
    rosey_migrations: Any, quotes: Rows, text: str, tags: list[str]
) -> None:
    await rosey_migrations.apply(PLUGIN, target="002")
    quote_id = await quotes.insert(row(text))
    before = await contents(quotes)

    await rosey_migrations.apply(PLUGIN, target="003")

    after = await contents(quotes)
    assert without(after, "tags") == before
    assert after[quote_id]["tags"] == tags
    assert list(await rosey_migrations.columns(PLUGIN, "quotes")) == COLUMNS


async def test_003_tags_mst3k_besides_its_hashtags(rosey_migrations: Any, quotes: Rows) -> None:
    await rosey_migrations.apply(PLUGIN, target="002")
    plain = await quotes.insert(row("Movie sign", author="MST3K"))
    tagged = await quotes.insert(row("#Tapes and #classic cars", author="MST3K"))
    await rosey_migrations.apply(PLUGIN, target="003")
    after = await contents(quotes)
    assert sorted(after[plain]["tags"]) == ["classic", "mst3k"]
    assert sorted(after[tagged]["tags"]) == ["classic", "mst3k", "tapes"]


async def test_applying_again_changes_nothing(
    rosey_migrations: Any, client: StorageClient, quotes: Rows
) -> None:
    await rosey_migrations.apply(PLUGIN)
    await quotes.insert(row("Mine"))
    before = await contents(quotes)
    await rosey_migrations.apply(PLUGIN)
    await rosey_migrations.apply(PLUGIN, target="001")
    assert await contents(quotes) == before
    assert (await client.migrations.status()).applied_migrations == NAMES


async def test_a_dry_run_leaves_no_trace(
    rosey_migrations: Any, client: StorageClient, quotes: Rows
) -> None:
    await rosey_migrations.apply(PLUGIN, target="001")
    before = await quotes.describe(), await contents(quotes)
    await rosey_migrations.apply(PLUGIN, dry_run=True)
    assert (await quotes.describe(), await contents(quotes)) == before
    status = await client.migrations.status()
    assert (status.applied_migrations, status.pending_migrations) == (NAMES[:1], NAMES[1:])


# -- down ---------------------------------------------------------------------------------------


async def test_001_down_removes_the_table(rosey_migrations: Any, client: StorageClient) -> None:
    await rosey_migrations.apply(PLUGIN, target="001")
    await rosey_migrations.rollback(PLUGIN, version="001")
    assert TABLE not in await rosey_migrations.tables(PLUGIN)
    assert (await client.migrations.status()).applied_migrations == []


@pytest.mark.parametrize(("version", "column"), [("002", "score"), ("003", "tags")])
async def test_a_rollback_takes_one_column_and_keeps_the_rest(
    rosey_migrations: Any, client: StorageClient, quotes: Rows, version: str, column: str
) -> None:
    below = f"{int(version) - 1:03}"
    await rosey_migrations.apply(PLUGIN, target=below)
    lower = await quotes.describe()
    await rosey_migrations.apply(PLUGIN, target=version)
    gone = await quotes.insert(row("Deleted"))
    kept = await quotes.insert(row("Keep #this", author="Zoë"))
    await quotes.delete({"id": gone})
    await quotes.update({"id": kept}, {"score": {"$set": 7}})
    before = await contents(quotes)

    await rosey_migrations.rollback(PLUGIN, version=version)

    assert await contents(quotes) == without(before, column)
    described = await quotes.describe()
    assert described.columns == lower.columns
    assert described.indexes == lower.indexes
    assert (await client.migrations.status()).applied_migrations == NAMES[: int(below)]


async def test_a_rollback_keeps_the_rules_of_the_table(rosey_migrations: Any, quotes: Rows) -> None:
    await rosey_migrations.apply(PLUGIN)
    await rosey_migrations.rollback(PLUGIN, version="003")
    for wrong in (
        row(""),
        row("x" * 1001),
        row("x", author="x" * 101),
        row("x", timestamp=0),
        {**row("x"), "score": 101},
        {**row("x"), "added_by": None},
    ):
        with pytest.raises(ConstraintViolation):
            await quotes.insert(wrong)
    quote_id = await quotes.insert({"text": "x", "added_by": "bob", "timestamp": LONG_AGO})
    quote = await quotes.get(quote_id)
    assert quote is not None
    assert (quote["author"], quote["score"]) == ("Unknown", 0)


async def test_down_and_up_again_is_the_same_table(rosey_migrations: Any, quotes: Rows) -> None:
    await rosey_migrations.apply(PLUGIN)
    before = await quotes.describe(), await contents(quotes)
    await rosey_migrations.rollback_all(PLUGIN)
    assert TABLE not in await rosey_migrations.tables(PLUGIN)
    await rosey_migrations.apply(PLUGIN)
    described, table = await quotes.describe(), await contents(quotes)
    assert (described.columns, described.indexes) == (before[0].columns, before[0].indexes)
    assert table == before[1]


async def test_a_running_plugin_survives_the_rollback_of_tags(
    rosey_plugin: Any, rosey_migrations: Any
) -> None:
    plugin = await rosey_plugin(QuoteDBPlugin, namespace=PLUGIN, migrate=True)
    quote_id = await plugin.add_quote("Test", "Alice", "test")
    await rosey_migrations.rollback(PLUGIN, version="003")
    quote = await plugin.get_quote(quote_id)
    assert quote["text"] == "Test"
    assert "tags" not in quote
