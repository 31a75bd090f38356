"""The plugin on a running service, in process or, with `--rosey-real-nats`, on a real server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio
from nats.errors import NoRespondersError

from dbservice.client import StorageClient
from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.errors import (
    MigrationsPending,
    QuoteNotFound,
    ScoreLimitReached,
)

pytestmark = pytest.mark.asyncio

SHIPPED = 5
"""Quotes that the first migration brings along."""


@pytest_asyncio.fixture
async def plugin(rosey_plugin: Any) -> QuoteDBPlugin:
    plugin: QuoteDBPlugin = await rosey_plugin(QuoteDBPlugin, namespace="quote-db", migrate=True)
    return plugin


@pytest.fixture
def client(plugin: QuoteDBPlugin, storage: Any) -> StorageClient:
    client: StorageClient = storage(plugin.namespace)
    return client


async def say(plugin: QuoteDBPlugin, text: str, *, user: str = "Alice", role: str = "user") -> str:
    return await plugin.handle_command(user, role, text)


async def ids(plugin: QuoteDBPlugin) -> list[int]:
    return [quote["id"] async for quote in plugin.iter_quotes()]


# -- the life of a quote ------------------------------------------------------------------------


async def test_the_life_of_a_quote(plugin: QuoteDBPlugin) -> None:
    quote_id = await plugin.add_quote("Integration test quote", "Test User", "test_system")

    quote = await plugin.get_quote(quote_id)
    assert quote is not None
    assert quote["text"] == "Integration test quote"
    assert quote["author"] == "Test User"
    assert quote["added_by"] == "test_system"
    assert quote["score"] == 0
    assert quote["tags"] == []

    assert quote in await plugin.search_quotes("Integration")
    assert await plugin.upvote_quote(quote_id) == 1
    assert quote_id in [top["id"] for top in await plugin.top_quotes()]
    assert await plugin.downvote_quote(quote_id) == 0

    assert await plugin.delete_quote(quote_id) is True
    assert await plugin.get_quote(quote_id) is None
    assert await plugin.delete_quote(quote_id) is False
    with pytest.raises(QuoteNotFound):
        await plugin.upvote_quote(quote_id)


async def test_the_time_is_that_of_the_plugins_clock(rosey_plugin: Any, rosey_clock: Any) -> None:
    plugin = await rosey_plugin(
        QuoteDBPlugin, namespace="quote-db", migrate=True, clock=rosey_clock
    )
    before = await plugin.get_quote(await plugin.add_quote("Before", None, "bob"))
    rosey_clock.advance(3600)
    after = await plugin.get_quote(await plugin.add_quote("After", None, "bob"))
    assert after["timestamp"] - before["timestamp"] == 3600


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE quotes; --",
        '{"$ne": null}',
        "%_\\",
        "<script>alert(1)</script>",
        "two\nlines",
        "¿Dónde está? 你好 👨‍👩‍👧",
        "€" * 1000,
    ],
)
async def test_any_text_comes_back_as_it_was_and_is_found(plugin: QuoteDBPlugin, text: str) -> None:
    quote_id = await plugin.add_quote(text, "Alice", "bob")
    quote = await plugin.get_quote(quote_id)
    assert quote is not None
    assert quote["text"] == text
    assert [found["id"] for found in await plugin.search_quotes(text)] == [quote_id]


# -- start --------------------------------------------------------------------------------------


async def test_the_plugin_does_not_start_without_its_tables(rosey_plugin: Any) -> None:
    with pytest.raises(MigrationsPending, match="rosey migrate quote-db apply"):
        await rosey_plugin(QuoteDBPlugin, namespace="quote-db", migrate=False)


async def test_the_plugin_does_not_start_on_an_older_version(
    rosey_plugin: Any, rosey_migrations: Any
) -> None:
    await rosey_migrations.apply("quote-db", target="002")
    with pytest.raises(MigrationsPending, match=r": 003_add_tags_column pending\."):
        await rosey_plugin(QuoteDBPlugin, namespace="quote-db", migrate=False)


async def test_namespaces_do_not_see_each_other(
    plugin: QuoteDBPlugin, rosey_plugin: Any, plugin_namespace: str
) -> None:
    other = await rosey_plugin(
        QuoteDBPlugin, namespace=plugin_namespace, migrate=True, migrations="quote-db"
    )
    quote_id = await plugin.add_quote("Only here", "Alice", "bob")
    assert await other.get_quote(quote_id) is None
    assert await other.search_quotes("Only here") == []
    assert await other.count_quotes() == SHIPPED


# -- the total ----------------------------------------------------------------------------------


async def test_the_total_follows_every_write(plugin: QuoteDBPlugin, client: StorageClient) -> None:
    assert await plugin.count_quotes() == SHIPPED
    quote_id = await plugin.add_quote("One", "Alice", "bob")
    await plugin.add_quotes([{"text": str(number), "added_by": "bob"} for number in range(10)])
    assert await plugin.count_quotes() == SHIPPED + 11
    await plugin.delete_quote(quote_id)
    await plugin.delete_quote(quote_id)
    assert await plugin.count_quotes() == SHIPPED + 10
    assert await client.kv.get("total_count") == await client.rows("quotes").count()


async def test_a_refused_write_does_not_move_the_total(
    plugin: QuoteDBPlugin, client: StorageClient
) -> None:
    row = {"text": "Test", "author": "Alice", "added_by": "bob", "timestamp": 0}
    with pytest.raises(Exception, match=r"(?i)timestamp|check|constraint"):
        await client.rows("quotes").insert(row, counters={"total_count": 1})
    assert await plugin.count_quotes() == SHIPPED


async def test_a_total_that_is_lost_is_counted_again(
    plugin: QuoteDBPlugin, client: StorageClient
) -> None:
    await client.kv.delete("total_count")
    assert await plugin.count_quotes() == SHIPPED
    assert await client.kv.get("total_count") == SHIPPED


@pytest.mark.parametrize("wrong", ["5", "41", 41, -1, None, {"total": 5}])
async def test_a_start_makes_the_total_right(
    rosey_plugin: Any, rosey_migrations: Any, storage: Any, wrong: Any
) -> None:
    await rosey_migrations.apply("quote-db")
    await storage("quote-db").kv.set("total_count", wrong)
    plugin = await rosey_plugin(QuoteDBPlugin, namespace="quote-db", migrate=True)
    await plugin.add_quote("One more", "Alice", "bob")
    assert await plugin.count_quotes() == SHIPPED + 1
    assert await storage("quote-db").kv.get("total_count") == SHIPPED + 1


async def test_the_text_of_an_older_plugin_is_read(
    nats_client: Any, plugin: QuoteDBPlugin, client: StorageClient
) -> None:
    await client.kv.set("total_count", "42")
    assert await QuoteDBPlugin(nats_client).count_quotes() == 42
    assert await plugin.count_quotes() == 5, "it knows better, because it counted when it started"


# -- finding ------------------------------------------------------------------------------------


async def test_search_ignores_case_and_looks_into_text_and_author(plugin: QuoteDBPlugin) -> None:
    in_text = await plugin.add_quote("All about ÉCLAIRS", "Alice", "bob")
    by_author = await plugin.add_quote("Something else", "Madame Éclairs", "bob")
    assert {quote["id"] for quote in await plugin.search_quotes("éclairs")} == {in_text, by_author}


@pytest.mark.parametrize(
    ("query", "text", "other"),
    [("100%", "100% sure", "100 sure"), ("a_b", "a_b", "axb"), ("c:\\x", "C:\\X", "c:x")],
)
async def test_search_takes_wildcards_literally(
    plugin: QuoteDBPlugin, query: str, text: str, other: str
) -> None:
    quote_id = await plugin.add_quote(text, "Alice", "bob")
    await plugin.add_quote(other, "Alice", "bob")
    assert [quote["id"] for quote in await plugin.search_quotes(query)] == [quote_id]


async def test_a_thousand_quotes_are_found_and_paged(plugin: QuoteDBPlugin) -> None:
    added = await plugin.add_quotes(
        [
            {"text": f"Quote {number} with TARGET", "author": "Many", "added_by": "bob"}
            for number in range(1000)
        ]
    )
    assert len(set(added)) == 1000
    assert len(await plugin.search_quotes("target")) == 10
    assert len(await plugin.search_quotes("target", limit=100)) == 100
    assert (await plugin.search_page("target")).total == 1000
    found = [quote["id"] async for quote in plugin.iter_quotes("target")]
    assert sorted(found) == sorted(added)


async def test_pages_cover_everything_once(plugin: QuoteDBPlugin) -> None:
    await plugin.add_quotes([{"text": str(number), "added_by": "bob"} for number in range(12)])
    pages = [await plugin.get_quotes_paginated(page, page_size=5) for page in (1, 2, 3, 4)]
    assert [quote["id"] for page in pages for quote in page["quotes"]] == await ids(plugin)
    assert [len(page["quotes"]) for page in pages] == [5, 5, 5, 2]
    assert [page["has_next"] for page in pages] == [True, True, True, False]
    assert {page["total_pages"] for page in pages} == {4}
    beyond = await plugin.get_quotes_paginated(5, page_size=5)
    assert (beyond["quotes"], beyond["has_next"], beyond["has_prev"]) == ([], False, True)


async def test_random_picks_among_what_is_there(plugin: QuoteDBPlugin) -> None:
    for quote_id in (await ids(plugin))[1:]:
        await plugin.delete_quote(quote_id)
    (left,) = await ids(plugin)
    far = (await plugin.add_quotes([{"text": "x", "added_by": "bob"}] * 20))[-1]
    for quote_id in await ids(plugin):
        if quote_id not in {left, far}:
            await plugin.delete_quote(quote_id)

    picked: set[int] = set()
    for _ in range(200):  # missing one of two in 200 draws: 1 in 10 ** 60
        quote = await plugin.random_quote()
        assert quote is not None
        picked.add(quote["id"])
    assert picked == {left, far}


async def test_random_of_an_empty_table(plugin: QuoteDBPlugin) -> None:
    for quote_id in await ids(plugin):
        await plugin.delete_quote(quote_id)
    assert await plugin.random_quote() is None
    assert (await say(plugin, "!quote")).startswith("There are no quotes yet.")


# -- scores -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "action", "limit"), [(100, "upvote", "maximum"), (-100, "downvote", "minimum")]
)
async def test_scores_have_limits(
    plugin: QuoteDBPlugin, client: StorageClient, score: int, action: str, limit: str
) -> None:
    quote_id = await plugin.add_quote("Loved or hated", "Alice", "bob")
    await client.rows("quotes").update({"id": quote_id}, {"score": {"$set": score}})

    answer = await say(plugin, f"!quote {action} {quote_id}")
    assert answer == f"Quote #{quote_id} is already at the {limit} score"
    with pytest.raises(ScoreLimitReached):
        await getattr(plugin, f"{action}_quote")(quote_id)
    quote = await plugin.get_quote(quote_id)
    assert quote is not None
    assert quote["score"] == score


async def test_top_quotes_are_in_order(plugin: QuoteDBPlugin, client: StorageClient) -> None:
    quotes = client.rows("quotes")
    await quotes.update({"id": {"$gte": 1}}, {"score": {"$set": 0}})
    assert await plugin.top_quotes() == []
    scores = {await plugin.add_quote(str(score), None, "bob"): score for score in (3, 9, -2, 0, 5)}
    for quote_id, score in scores.items():
        await quotes.update({"id": quote_id}, {"score": {"$set": score}})
    assert [quote["score"] for quote in await plugin.top_quotes()] == [9, 5, 3]
    assert [quote["score"] for quote in await plugin.top_quotes(2)] == [9, 5]


# -- chat ---------------------------------------------------------------------------------------


async def test_a_conversation(plugin: QuoteDBPlugin) -> None:
    added = await say(plugin, '!quote add "Watch out for snakes!" Eegah')
    number = added.removeprefix("Quote #").removesuffix(" added")
    shown = f"#{number}: 'Watch out for snakes!' — Eegah"

    assert await say(plugin, f"!quote {number}") == shown
    assert await say(plugin, "!quote search SNAKES") == f"Found 1 quote: #{number}\n{shown}"
    assert await say(plugin, f"!quote upvote {number}") == f"Quote #{number} score: 1 (+1)"
    assert await say(plugin, f"!quote downvote {number}") == f"Quote #{number} score: 0 (-1)"
    assert await say(plugin, "!quote count") == f"Total quotes: {SHIPPED + 1}"
    other = await say(plugin, f"!quote delete {number}", user="Mallory")
    assert other == "You can only delete your own quotes"
    own = await say(plugin, f"!quote delete {number}", user="ALICE")
    assert own == f"Quote #{number} deleted"
    assert await say(plugin, f"!quote get {number}") == f"Quote #{number} not found"


async def test_a_moderator_deletes_what_is_not_theirs(plugin: QuoteDBPlugin) -> None:
    quote_id = await plugin.add_quote("Spam", "Spammer", "spammer")
    answer = await say(plugin, f"!quote delete {quote_id}", user="Mike", role="moderator")
    assert answer == f"Quote #{quote_id} deleted"


# -- the bus ------------------------------------------------------------------------------------


async def command(
    nats_client: Any, action: str, user: str, args: str, role: str = "user"
) -> dict[str, Any]:
    payload = json.dumps({"user": user, "role": role, "args": args}).encode()
    reply = await nats_client.request(f"rosey.command.quote-db.{action}", payload, timeout=30)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


@pytest.mark.usefixtures("plugin")
async def test_commands_over_the_bus(nats_client: Any) -> None:
    answer = await command(nats_client, "add", "Alice", "Hi-keeba! -- Joel")
    assert answer["success"] is True
    number = answer["reply"].removeprefix("Quote #").removesuffix(" added")
    assert await command(nats_client, "get", "Bob", number) == {
        "success": True,
        "reply": f"#{number}: 'Hi-keeba!' — Joel",
    }
    assert await command(nats_client, "delete", "Bob", number) == {
        "success": False,
        "reply": "You can only delete your own quotes",
    }


async def test_a_closed_plugin_hears_nothing_even_if_it_was_started_twice(
    plugin: QuoteDBPlugin, nats_client: Any
) -> None:
    await plugin.initialize()
    await plugin.close()
    with pytest.raises(NoRespondersError):
        await command(nats_client, "help", "Alice", "")


async def test_of_two_replicas_one_carries_out_a_command(
    plugin: QuoteDBPlugin, rosey_plugin: Any, nats_client: Any
) -> None:
    await rosey_plugin(QuoteDBPlugin, namespace="quote-db", migrate=True)
    adds = (command(nats_client, "add", "Al", f"Quote {n}", "admin") for n in range(20))
    await asyncio.gather(*adds)
    assert await plugin.count_quotes() == SHIPPED + 20
    assert len(await ids(plugin)) == SHIPPED + 20


async def test_events_are_published(plugin: QuoteDBPlugin, nats_client: Any) -> None:
    events = await nats_client.subscribe("rosey.event.quote-db.*")
    await asyncio.sleep(0)  # nats-py sends the subscription in a task of its own
    await nats_client.flush()

    quote_id = await plugin.add_quote("Test", "Alice", "bob")
    await plugin.delete_quote_authorized(quote_id, "Bob", "user")

    heard = [await events.next_msg(timeout=30) for _ in range(2)]
    assert [(event.subject, json.loads(event.data)) for event in heard] == [
        ("rosey.event.quote-db.added", {"id": quote_id, "by": "bob"}),
        ("rosey.event.quote-db.deleted", {"id": quote_id, "by": "Bob"}),
    ]
