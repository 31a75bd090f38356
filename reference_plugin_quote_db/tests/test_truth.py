"""Nothing derived is in the way, what protects is not off by accident, answers say what they are.

Every test here met a plugin once that said something else.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from dbservice.client import StorageClient, StorageError
from dbservice.runtime.clock import ManualClock
from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.errors import (
    CircuitBreakerError,
    QuoteNotFound,
    ServiceUnavailableError,
    ValidationError,
)
from reference_plugin_quote_db.validation import same_user

pytestmark = pytest.mark.asyncio

SHIPPED = 5
"""Quotes that come with the migrations."""

BEGUN = 1_800_000_000


@pytest_asyncio.fixture
async def plugin(rosey_plugin: Any) -> QuoteDBPlugin:
    plugin: QuoteDBPlugin = await rosey_plugin(
        QuoteDBPlugin, namespace="quote-db", clock=ManualClock(BEGUN)
    )
    return plugin


@pytest.fixture
def client(plugin: QuoteDBPlugin, storage: Any) -> StorageClient:
    client: StorageClient = storage(plugin.namespace)
    return client


async def say(plugin: QuoteDBPlugin, line: str, user: str = "ada", role: str = "user") -> str:
    return await plugin.handle_command(user, role, f"!quote {line}")


# -- what is derived never gates what is primary ------------------------------------------------

GARBAGE = ["42", "many", None, True, 4.5, [42], {"n": 42}, 2**63 - 1]


@pytest.mark.parametrize("kept", GARBAGE, ids=repr)
async def test_whatever_stands_under_the_total_adds_and_deletes_go_on(
    plugin: QuoteDBPlugin, client: StorageClient, kept: Any
) -> None:
    await client.kv.set("total_count", kept)
    added = await plugin.add_quote("One", "Joel", "ada")
    assert await plugin.count_quotes() == SHIPPED + 1
    await client.kv.set("total_count", kept)
    assert await plugin.add_quotes([{"text": "Two", "added_by": "ada"}])
    assert await plugin.count_quotes() == SHIPPED + 2
    await client.kv.set("total_count", kept)
    assert await plugin.delete_quote(added) is True
    assert await plugin.count_quotes() == SHIPPED + 1
    assert await client.kv.get("total_count") == SHIPPED + 1


@pytest.mark.parametrize("kept", [*GARBAGE, 1000, -7, 0], ids=repr)
async def test_the_next_count_is_right_whatever_stands_there(
    plugin: QuoteDBPlugin, client: StorageClient, kept: Any
) -> None:
    await client.kv.set("total_count", kept)
    assert await plugin.count_quotes() == SHIPPED


async def test_a_total_that_was_removed_does_not_count_from_one(
    plugin: QuoteDBPlugin, client: StorageClient
) -> None:
    await client.kv.delete("total_count")
    await plugin.add_quote("One", "Joel", "ada")
    assert await plugin.count_quotes() == SHIPPED + 1
    await client.kv.delete("total_count")
    await plugin.delete_quote(1)
    assert await plugin.count_quotes() == SHIPPED


async def test_a_total_of_before_a_rollback_is_not_told(
    plugin: QuoteDBPlugin, rosey_migrations: Any
) -> None:
    for number in range(3):
        await plugin.add_quote(f"Quote {number}", "Joel", "ada")
    await rosey_migrations.rollback_all("quote-db")
    await rosey_migrations.apply("quote-db")
    assert await plugin.count_quotes() == SHIPPED
    await plugin.add_quote("After it", "Joel", "ada")
    assert await plugin.count_quotes() == SHIPPED + 1


async def test_a_total_is_in_doubt_until_it_was_counted(
    plugin: QuoteDBPlugin, rosey_migrations: Any
) -> None:
    await rosey_migrations.rollback_all("quote-db")
    for _ in range(2):  # the first failure is no count
        with pytest.raises(StorageError):
            await plugin.count_quotes()


async def test_a_total_that_nobody_told_of_is_counted_again_in_time(
    rosey_plugin: Any, storage: Any
) -> None:
    clock = ManualClock(BEGUN)
    plugin = await rosey_plugin(QuoteDBPlugin, namespace="quote-db", clock=clock)
    await storage("quote-db").rows("quotes").delete({"id": 1})
    clock.advance(300)
    assert await plugin.count_quotes() == SHIPPED - 1


async def test_the_chat_counts_beside_another_replica(rosey_plugin: Any) -> None:
    one = await rosey_plugin(QuoteDBPlugin, namespace="quote-db")
    other = await rosey_plugin(QuoteDBPlugin, namespace="quote-db")
    await other.add_quote("There", "Joel", "ada")
    assert await one.count_quotes() == SHIPPED + 1
    await one.add_quote("Here", "Joel", "ada")
    assert await other.count_quotes() == await one.count_quotes() == SHIPPED + 2


@pytest.mark.parametrize(("kept", "first"), [("41", 42), ("many", SHIPPED + 1), ([1], SHIPPED + 1)])
async def test_the_last_id_may_be_text(
    plugin: QuoteDBPlugin, client: StorageClient, kept: Any, first: int
) -> None:
    await client.kv.set("last_id", kept)
    numbers = await asyncio.gather(*(plugin.get_next_quote_id() for _ in range(5)))
    assert sorted(numbers) == list(range(first, first + 5))


async def test_the_limit_of_users_may_be_text(plugin: QuoteDBPlugin, client: StorageClient) -> None:
    await client.kv.set("max_quotes_per_user", "1")
    assert (await say(plugin, "add One -- Joel")).endswith("added")
    assert "Rate limit exceeded (1/hour)" in await say(plugin, "add Two -- Joel")


@pytest.mark.parametrize("kept", ["3", {"count": 3}, None], ids=repr)
async def test_a_count_of_a_user_that_is_none_does_not_shut_them_out(
    plugin: QuoteDBPlugin, client: StorageClient, kept: Any
) -> None:
    await client.kv.set("ratelimit:ada", kept)
    assert (await say(plugin, "add One -- Joel")).endswith("added")
    assert await client.kv.get("ratelimit:ada") == 1


async def test_a_session_that_is_no_json_is_none(
    plugin: QuoteDBPlugin, client: StorageClient
) -> None:
    await client.kv.set("session_ada", "{not json")
    assert await plugin.get_user_session("Ada") is None
    await plugin.save_user_session("Ada", {"page": 2})
    assert await plugin.get_user_session("ADA") == {"page": 2}


async def test_an_event_that_is_none_does_not_end_the_others(
    plugin: QuoteDBPlugin, client: StorageClient, nats_client: Any
) -> None:
    await plugin.get_quote(1)
    await nats_client.publish("rosey.event.quote-db.voted", b"\xff not json")
    await client.rows("quotes").update({"id": 1}, {"score": {"$set": 9}})
    await nats_client.publish("rosey.event.quote-db.voted", b'{"id": 1}')
    async with asyncio.timeout(10):
        while (await plugin.get_quote(1) or {})["score"] != 9:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.001)


# -- what protects fails closed -----------------------------------------------------------------

UNWANTED = "add so badword1 then -- Joel"
REFUSED = "Quote contains inappropriate content"


async def test_moderation_is_on_when_its_flag_cannot_be_read(
    plugin: QuoteDBPlugin, nats_faults: Any
) -> None:
    nats_faults.error("rosey.db.kv.quote-db.get", "INTERNAL_ERROR", times=1)
    assert REFUSED in await say(plugin, UNWANTED)


async def test_moderation_is_on_even_if_it_was_off_a_moment_ago(
    plugin: QuoteDBPlugin, nats_faults: Any
) -> None:
    await plugin.set_feature_flag("moderation_enabled", False)
    assert (await say(plugin, UNWANTED)).endswith("added")
    nats_faults.error("rosey.db.kv.quote-db.get", "INTERNAL_ERROR", times=1)
    assert REFUSED in await say(plugin, UNWANTED)


@pytest.mark.parametrize("kept", ["maybe", "", 42, [], {}, None, 0.5], ids=repr)
async def test_moderation_is_on_when_its_flag_is_neither_yes_nor_no(
    plugin: QuoteDBPlugin, client: StorageClient, kept: Any
) -> None:
    await client.kv.set("moderation_enabled", kept)
    assert REFUSED in await say(plugin, UNWANTED)


async def test_a_moderated_author_is_judged_too(plugin: QuoteDBPlugin) -> None:
    await plugin.set_feature_flag("moderation_enabled", True)
    assert await say(plugin, "add Hello -- badword1") == (
        'Quote contains inappropriate content (author). Type: !quote add "text" Author'
    )


async def test_a_tag_is_judged_too(plugin: QuoteDBPlugin) -> None:
    assert await say(plugin, "tag 1 badword1", role="admin") == (
        "Quote #1 tags: #mst3k #classic #badword1"
    )
    await plugin.set_feature_flag("moderation_enabled", True)
    for word in ("badword1", "b4dword1"):
        refused = await say(plugin, f"tag 1 {word}", role="admin")
        assert refused.startswith("Tag contains inappropriate content")
    assert await say(plugin, "untag 1 badword1", role="admin") == "Quote #1 tags: #mst3k #classic"


async def test_a_switch_that_does_not_protect_keeps_what_was_known(
    plugin: QuoteDBPlugin, client: StorageClient
) -> None:
    await plugin.set_feature_flag("search_enabled", False)
    assert await plugin.is_search_enabled() is False
    await client.kv.set("search_enabled", "maybe")
    assert await plugin.is_search_enabled() is False


@pytest.mark.parametrize("enabled", ["false", 0, None])
async def test_a_switch_is_set_to_true_or_false(plugin: QuoteDBPlugin, enabled: Any) -> None:
    with pytest.raises(ValidationError, match="True or False"):
        await plugin.set_feature_flag("moderation_enabled", enabled)


@pytest.mark.parametrize(
    "role",
    ["banned", "BANNED", " banned", "banned\u200b", "ban\u00adned", "b\u0430nned", "\uff42anned"],
    ids=ascii,
)
@pytest.mark.parametrize(
    ("line", "doing"),
    [
        ("add x -- y", "adding quotes"),
        ("upvote 1", "voting"),
        ("downvote 1", "voting"),
        ("delete 1", "deleting quotes"),
        ("tag 1 x", "tagging quotes"),
        ("untag 1 x", "tagging quotes"),
        ("fav 1", "choosing a favourite"),
    ],
)
async def test_banned_is_banned_in_any_spelling(
    plugin: QuoteDBPlugin, role: str, line: str, doing: str
) -> None:
    told = await say(plugin, line, user="system", role=role)
    assert told == f"User is banned from {doing}"
    assert await plugin.count_quotes() == SHIPPED


@pytest.mark.parametrize(
    "role", ["admin\u200b", "\uff41dmin", "Admin", " admin", "moderator,admin"]
)
async def test_rights_are_given_for_exact_names(plugin: QuoteDBPlugin, role: str) -> None:
    assert await say(plugin, "delete 1", role=role) == "You can only delete your own quotes"
    assert await say(plugin, "tag 1 x", role=role) == "You can only tag your own quotes"


# -- who is who ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("boss", "BOSS", True),
        ("\u00e9mile", "E\u0301MILE", True),
        ("bo\u017f\u017f", "boss", False),
        ("stra\u00dfe", "strasse", False),
        ("\ufb01n", "fin", False),
        ("\u0130da", "ida", False),
        ("\u03a3", "\u03c2", False),
        ("\uff42oss", "boss", False),
    ],
    ids=ascii,
)
async def test_two_users_are_the_same_only_if_their_letters_are(
    one: str, other: str, same: bool
) -> None:
    assert same_user(one, other) is same
    assert same_user(other, one) is same


async def test_nobody_deletes_the_quotes_of_a_name_that_looks_alike(
    plugin: QuoteDBPlugin,
) -> None:
    added = await plugin.add_quote("Mine", "Joel", "boss")
    assert "only delete your own" in await say(plugin, f"delete {added}", user="bo\u017f\u017f")
    assert await say(plugin, f"delete {added}", user="BOSS") == f"Quote #{added} deleted"


async def test_limits_and_sessions_are_of_one_user_too(plugin: QuoteDBPlugin) -> None:
    await plugin.add_quote_ratelimited("One", "Joel", "boss", max_per_hour=1)
    await plugin.add_quote_ratelimited("Two", "Joel", "bo\u017f\u017f", max_per_hour=1)
    await plugin.save_user_session("boss", {"page": 2})
    assert await plugin.get_user_session("bo\u017f\u017f") is None
    assert await plugin.get_user_session("BOSS") == {"page": 2}


@pytest.mark.parametrize(
    "line",
    ["search \x1b[31mred\x07", "\x1b[2Jnothing", "help \x00x", "tagged \x9b2J", "get \u202e1"],
    ids=ascii,
)
async def test_control_characters_are_not_echoed(plugin: QuoteDBPlugin, line: str) -> None:
    reply = await say(plugin, line)
    assert not {*reply} & {*"\x00\x07\x1b\x9b\u202e"}


async def test_an_echo_does_not_begin_a_line_of_its_own(plugin: QuoteDBPlugin) -> None:
    assert "\n" not in await say(plugin, "search no\n#42: 'forged' — Joel")


# -- answers say what they are ------------------------------------------------------------------


async def go_away(plugin: QuoteDBPlugin, nats_faults: Any) -> None:
    """Let the service be gone, and the plugin know it."""
    nats_faults.no_responders("rosey.db.>")
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await plugin.upvote_quote(5)


NOT_ALL = "(The quote database does not answer: only quotes seen lately were searched.)"
AS_IT_WAS = "(The quote database does not answer: this is how the quote was last seen.)"
TRY_AGAIN = "The quote database does not answer. Please try again in a moment."


async def test_a_search_of_the_cache_says_so(plugin: QuoteDBPlugin, nats_faults: Any) -> None:
    await plugin.get_quote(1)
    await go_away(plugin, nats_faults)
    found = await say(plugin, "search tapes")
    assert found.startswith("Found 1 quote: #1\n")
    assert found.endswith(NOT_ALL)
    assert await say(plugin, "search nothing") == f"No quotes found for 'nothing'\n{NOT_ALL}"


async def test_an_empty_cache_is_not_searched(plugin: QuoteDBPlugin, nats_faults: Any) -> None:
    await go_away(plugin, nats_faults)
    assert await say(plugin, "search tapes") == TRY_AGAIN
    with pytest.raises(ServiceUnavailableError):
        await plugin.search_quotes_degraded("tapes")


async def test_a_quote_from_the_cache_says_so(plugin: QuoteDBPlugin, nats_faults: Any) -> None:
    await plugin.get_quote(1)
    shown = await say(plugin, "get 1")
    assert AS_IT_WAS not in shown
    await go_away(plugin, nats_faults)
    assert await say(plugin, "get 1") == f"{shown}\n{AS_IT_WAS}"


async def test_a_quote_is_not_told_to_be_old_when_the_service_is_back(
    plugin: QuoteDBPlugin, client: StorageClient, nats_faults: Any
) -> None:
    """Nor is one told that was changed meanwhile: the cache is not believed in doubt."""
    await plugin.get_quote(1)
    await go_away(plugin, nats_faults)
    nats_faults.lift()
    await client.rows("quotes").update({"id": 1}, {"text": {"$set": "Changed"}})
    plugin.circuit_breaker.half_open()
    assert await say(plugin, "get 1") == "#1: 'Changed' — MST3K"


async def test_the_first_quote_from_the_cache_says_so(rosey_plugin: Any, nats_faults: Any) -> None:
    """The breaker has not opened yet, but the service was asked in vain."""
    clock = ManualClock(BEGUN)
    plugin = await rosey_plugin(QuoteDBPlugin, namespace="quote-db", clock=clock)
    shown = await say(plugin, "get 1")
    clock.advance(86_400)
    nats_faults.no_responders("rosey.db.>")
    assert await say(plugin, "get 1") == f"{shown}\n{AS_IT_WAS}"


async def test_old_is_better_than_nothing_however_old(rosey_plugin: Any, nats_faults: Any) -> None:
    clock = ManualClock(BEGUN)
    plugin = await rosey_plugin(QuoteDBPlugin, namespace="quote-db", clock=clock)
    quote = await plugin.get_quote(1)
    nats_faults.no_responders("rosey.db.>")
    clock.advance(86_400)
    assert await plugin.get_quote_with_fallback(1) == quote
    assert await plugin.search_quotes_degraded("tapes") == [quote]


async def test_a_vote_that_nobody_received_leaves_the_cache_alone(
    plugin: QuoteDBPlugin, nats_faults: Any
) -> None:
    quote = await plugin.get_quote(1)
    await go_away(plugin, nats_faults)
    for change in (plugin.upvote_quote, plugin.downvote_quote, plugin.delete_quote):
        with pytest.raises(CircuitBreakerError):
            await change(1)
    assert await plugin.get_quote_with_fallback(1) == quote


async def test_a_vote_without_a_service_leaves_the_cache_alone(
    plugin: QuoteDBPlugin, nats_faults: Any
) -> None:
    quote = await plugin.get_quote(1)
    nats_faults.no_responders("rosey.db.>")
    with pytest.raises(ConnectionError):
        await plugin.upvote_quote(1)
    assert await plugin.get_quote_with_fallback(1) == quote


async def test_limited_is_not_told_when_nothing_can_be_read(
    plugin: QuoteDBPlugin, nats_faults: Any
) -> None:
    await go_away(plugin, nats_faults)
    assert plugin.degradation_level.name == "UNAVAILABLE"


async def test_limited_is_told_when_something_can(plugin: QuoteDBPlugin, nats_faults: Any) -> None:
    await plugin.get_quote(1)
    await go_away(plugin, nats_faults)
    assert plugin.degradation_level.name == "LIMITED"


async def test_a_service_that_is_back_is_asked_before_the_minute_is_over(
    plugin: QuoteDBPlugin, nats_faults: Any
) -> None:
    """The clock of the breaker stands still: its minute never ends."""
    await go_away(plugin, nats_faults)
    nats_faults.lift()
    async with asyncio.timeout(30):
        while True:
            try:
                assert await plugin.upvote_quote(1)
            except CircuitBreakerError:
                await asyncio.sleep(0.05)
            else:
                break


async def test_a_quote_that_waits_is_stored_as_soon_as_the_service_is_back(
    plugin: QuoteDBPlugin, nats_faults: Any
) -> None:
    await go_away(plugin, nats_faults)
    waiting = asyncio.create_task(say(plugin, "add Waiting -- Joel", role="admin"))
    await asyncio.sleep(0)
    nats_faults.lift()
    async with asyncio.timeout(30):
        assert (await waiting).endswith("added")


# -- newest first, deletes in one request -------------------------------------------------------


async def test_of_quotes_of_one_second_the_last_one_is_the_newest(plugin: QuoteDBPlugin) -> None:
    ids = [await plugin.add_quote(f"Same second {n}", "Joel", "ada") for n in range(3)]
    assert [quote["id"] for quote in await plugin.search_quotes("Same second")] == ids[::-1]


async def test_quotes_are_deleted_together(plugin: QuoteDBPlugin) -> None:
    assert await plugin.delete_quotes([]) == 0
    assert await plugin.delete_quotes([1, 2, 99]) == 2
    assert await plugin.count_quotes() == SHIPPED - 2
    assert await plugin.get_quote(1) is None
    with pytest.raises(ValidationError):
        await plugin.delete_quotes([3, 0])
    with pytest.raises(ValidationError):
        await plugin.delete_quotes(range(1, 102))
    with pytest.raises(QuoteNotFound):
        await plugin.upvote_quote(2)


@pytest.mark.parametrize(("matching", "truncated"), [(9, False), (10, False), (11, True)])
async def test_a_search_of_the_cache_tells_whether_it_shows_all(
    plugin: QuoteDBPlugin, nats_faults: Any, matching: int, truncated: bool
) -> None:
    ids = await plugin.add_quotes([{"text": "needle", "added_by": "ada"}] * matching)
    await plugin.search_quotes("e", limit=100)
    await go_away(plugin, nats_faults)
    page, complete = await plugin.fallback.search("NEEDLE", 10)
    assert complete is False
    assert (page.total, page.truncated) == (matching, truncated)
    assert [quote["id"] for quote in page.rows] == ids[::-1][:10]
    assert (", …\n" in await say(plugin, "search needle")) is truncated


async def test_a_search_of_the_cache_looks_into_texts_and_authors_alone(
    plugin: QuoteDBPlugin, nats_faults: Any
) -> None:
    await plugin.get_quote(await plugin.add_quote("Text", "Author", "somebody"))
    await go_away(plugin, nats_faults)
    for query, found in (("tex", 1), ("AUTH", 1), ("somebody", 0), ("text author", 0)):
        assert len(await plugin.search_quotes_degraded(query)) == found, query
