"""Tags: found in texts when quotes are added, given and taken by chat, and searched."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.errors import QuoteNotFound, ValidationError
from reference_plugin_quote_db.validation import hashtags

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def plugin(rosey_plugin: Any) -> QuoteDBPlugin:
    plugin: QuoteDBPlugin = await rosey_plugin(QuoteDBPlugin, namespace="quote-db")
    return plugin


async def say(plugin: QuoteDBPlugin, line: str, user: str = "ada", role: str = "user") -> str:
    return await plugin.handle_command(user, role, f"!quote {line}")


async def tags_of(plugin: QuoteDBPlugin, quote_id: int) -> list[str]:
    quote = await plugin.get_quote(quote_id)
    assert quote is not None
    tags: list[str] = quote["tags"]
    return tags


# Latin, Greek, Cyrillic, Chinese, emoji; punctuation and spaces of theirs end a hashtag.
TEXTS = [
    "Keep #Circulating the #tapes",
    "#a#b ##c #",
    "no tags, C# 4 and # 5",
    "#Twice #twice #TWICE",
    "#under_score-dash #2nd",
    "#\u00c9t\u00e9 #\u039a\u03b1\u03bb\u03ac #\u0421\u043d\u0435\u0433 #\u4f60\u597d #\U0001f600",
    "#caf\u00e9\u3000wide #end\u2014dash #q\u00bfno",
    "#I\u0307stanbul #\u0130 #\u1e9e",
]


async def test_a_quote_is_tagged_when_it_is_added_as_the_migration_would_tag_it(
    rosey_migrations: Any, cleanup_plugin_namespace: Any, storage: Any
) -> None:
    cleanup_plugin_namespace.after_the_test("quote-db")
    await rosey_migrations.apply("quote-db", "002")
    quotes = storage("quote-db").rows("quotes")
    rows = [{"text": text, "author": "Joel", "added_by": "ada", "timestamp": 1} for text in TEXTS]
    ids = await quotes.insert_many(rows)
    await rosey_migrations.apply("quote-db")
    found = {row["id"]: row["tags"] for row in await quotes.select({"id": {"$in": ids}})}
    assert [found[quote_id] for quote_id in ids] == [hashtags(text) for text in TEXTS]


async def test_both_ways_of_adding_find_hashtags(plugin: QuoteDBPlugin) -> None:
    one = await plugin.add_quote("Keep #Circulating the #tapes", "Joel", "ada")
    assert await tags_of(plugin, one) == ["circulating", "tapes"]
    many = await plugin.add_quotes(
        [{"text": "#Sign", "added_by": "ada"}, {"text": "plain", "added_by": "ada"}]
    )
    assert [await tags_of(plugin, quote_id) for quote_id in many] == [["sign"], []]
    said = await say(plugin, "add Movie #sign -- Crow")
    assert await tags_of(plugin, int(said.split()[1][1:])) == ["sign"]


async def test_the_chat_gives_finds_and_takes_tags(plugin: QuoteDBPlugin) -> None:
    added = await plugin.add_quote("Hikeeba!", "Joel", "ada")
    assert await say(plugin, f"tag {added} #Funny") == f"Quote #{added} tags: #funny"
    assert await say(plugin, f"tag #{added} funny") == f"Quote #{added} tags: #funny"
    assert await say(plugin, f"tag {added} loud") == f"Quote #{added} tags: #funny #loud"
    assert await say(plugin, "tagged FUNNY") == (
        f"Found 1 quote: #{added}\n#{added}: 'Hikeeba!' — Joel"
    )
    assert await say(plugin, "tagged fun") == "No quotes are tagged #fun"
    assert await say(plugin, f"untag {added} funny") == f"Quote #{added} tags: #loud"
    assert await say(plugin, f"untag {added} funny") == f"Quote #{added} tags: #loud"
    assert await say(plugin, "tagged funny") == "No quotes are tagged #funny"


async def test_rights_are_those_of_deleting(plugin: QuoteDBPlugin) -> None:
    added = await plugin.add_quote("Mine", "Joel", "Ada")
    for verb in ("tag", "untag"):
        refused = "You can only tag your own quotes"
        assert await say(plugin, f"{verb} {added} x", user="bob") == refused
        banned = "User is banned from tagging quotes"
        assert await say(plugin, f"{verb} {added} x", role="banned") == banned
        for user, role in (("ADA", "user"), ("bob", "moderator"), ("bob", "admin")):
            assert (await say(plugin, f"{verb} {added} x", user, role)).startswith("Quote #")


@pytest.mark.parametrize("line", ["tag 1", "tag 1 two words", "tag 1 #", "untag 1 a-b", "tagged"])
async def test_what_is_no_tag(plugin: QuoteDBPlugin, line: str) -> None:
    usage = line.split()[0]
    assert await say(plugin, line, role="admin") == (
        "Invalid tag (1-50 letters, digits or _). Type: !quote "
        + {"tag": "tag <id> <tag>", "untag": "untag <id> <tag>", "tagged": "tagged <tag>"}[usage]
    )


async def test_what_is_no_quote(plugin: QuoteDBPlugin) -> None:
    for role in ("admin", "user"):
        assert await say(plugin, "tag 99 x", role=role) == "Quote #99 not found"
        assert await say(plugin, "delete 99", role=role) == "Quote #99 not found"
    assert "Invalid quote ID" in await say(plugin, "tag x y", role="admin")
    with pytest.raises(QuoteNotFound):
        await plugin.untag_quote(99, "x")
    for wrong in ("", "#", "a b", "x" * 51, "a-b"):
        with pytest.raises(ValidationError, match="Invalid tag"):
            await plugin.tag_quote(1, wrong)


async def test_tags_given_at_once_are_all_kept(plugin: QuoteDBPlugin) -> None:
    names = [f"tag{number}" for number in range(20)]
    await asyncio.gather(*(plugin.tag_quote(1, name) for name in names))
    assert set(await tags_of(plugin, 1)) >= set(names)


async def test_another_replica_sees_tags(rosey_plugin: Any) -> None:
    one = await rosey_plugin(QuoteDBPlugin, namespace="quote-db")
    other = await rosey_plugin(QuoteDBPlugin, namespace="quote-db")
    await one.get_quote(1)
    await other.tag_quote(1, "seen")
    async with asyncio.timeout(10):
        while "seen" not in await tags_of(one, 1):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.001)


async def test_statistics_of_authors(plugin: QuoteDBPlugin) -> None:
    for number in range(2):
        await plugin.add_quote(f"Quote {number}", "Joel", "ada")
    await plugin.upvote_quote(await plugin.add_quote("Third", "Joel", "ada"))
    await plugin.add_quote("Only", None, "ada")
    shipped = sum([row["score"] for row in await plugin.search_quotes("MST3K")])
    assert await plugin.stats() == [
        {"author": "MST3K", "quotes": 5, "score": shipped},
        {"author": "Joel", "quotes": 3, "score": 1},
        {"author": "Unknown", "quotes": 1, "score": 0},
    ]
    assert await say(plugin, "stats") == (
        f"Total quotes: 9\nMST3K: 5 quotes, score {shipped}\nJoel: 3 quotes, score 1\n"
        "Unknown: 1 quote, score 0"
    )
    with pytest.raises(ValidationError):
        await plugin.stats(limit=0)
