"""Rights, rate limits, moderation and the security log, on a running service."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import pytest_asyncio

from dbservice.client import StorageClient
from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.errors import RateLimitError, ValidationError

pytestmark = pytest.mark.asyncio

SHIPPED = 5


@pytest_asyncio.fixture
async def plugin(rosey_plugin: Any, rosey_clock: Any) -> QuoteDBPlugin:
    plugin: QuoteDBPlugin = await rosey_plugin(
        QuoteDBPlugin, namespace="quote-db", migrate=True, clock=rosey_clock
    )
    return plugin


@pytest.fixture
def client(plugin: QuoteDBPlugin, storage: Any) -> StorageClient:
    client: StorageClient = storage(plugin.namespace)
    return client


async def add_many(plugin: QuoteDBPlugin, number: int, role: str, user: str = "bob") -> list[Any]:
    adds = (plugin.add_quote_authorized(f"{n}", None, user, role) for n in range(number))
    return await asyncio.gather(*adds, return_exceptions=True)


# -- rate limits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "asked", "added"), [("user", 30, 10), ("moderator", 60, 50), ("guest", 12, 10)]
)
async def test_of_many_at_once_as_many_get_through_as_may(
    plugin: QuoteDBPlugin, client: StorageClient, role: str, asked: int, added: int
) -> None:
    results = await add_many(plugin, asked, role)
    assert sum(isinstance(result, int) for result in results) == added
    assert sum(isinstance(result, RateLimitError) for result in results) == asked - added
    assert await client.rows("quotes").count() == SHIPPED + added


async def test_admins_have_no_limit(plugin: QuoteDBPlugin, client: StorageClient) -> None:
    assert all(isinstance(result, int) for result in await add_many(plugin, 60, "admin"))
    assert await client.kv.list("ratelimit") == []


async def test_the_limit_says_when_it_ends_and_ends_then(
    plugin: QuoteDBPlugin, rosey_clock: Any
) -> None:
    await plugin.add_quote_ratelimited("First", None, "bob", max_per_hour=1)
    rosey_clock.advance(600)
    with pytest.raises(RateLimitError) as refused:
        await plugin.add_quote_ratelimited("Second", None, "BOB", max_per_hour=1)
    assert str(refused.value) == "Rate limit exceeded (1/hour). Try again in 50 min"
    assert refused.value.retry_after == pytest.approx(3000, abs=1)
    assert refused.value.limit == 1
    assert isinstance(refused.value, ValueError)
    await plugin.add_quote_ratelimited("Another user's", None, "alice", max_per_hour=1)
    rosey_clock.advance(3000)
    await plugin.add_quote_ratelimited("Third", None, "bob", max_per_hour=1)


async def test_a_limit_whose_end_is_lost_ends_within_the_hour(
    plugin: QuoteDBPlugin, client: StorageClient
) -> None:
    await plugin.add_quote_ratelimited("First", None, "bob", max_per_hour=1)
    await client.kv.delete("ratelimit:bob:until")
    with pytest.raises(RateLimitError) as refused:
        await plugin.add_quote_ratelimited("Second", None, "bob", max_per_hour=1)
    assert refused.value.retry_after == 3600


@pytest.mark.parametrize(
    ("setting", "added"), [(3, 3), ("3", 3), (0, 10), (-1, 10), ("many", 10), (True, 10)]
)
async def test_the_limit_of_users_is_a_setting(
    plugin: QuoteDBPlugin, client: StorageClient, setting: Any, added: int
) -> None:
    await client.kv.set("max_quotes_per_user", setting)
    results = await add_many(plugin, 12, "user")
    assert sum(isinstance(result, int) for result in results) == added


async def test_the_setting_is_for_users_alone(plugin: QuoteDBPlugin, client: StorageClient) -> None:
    await client.kv.set("max_quotes_per_user", 1)
    for role, added in (("moderator", 3), ("admin", 3), ("guest", 1), ("user", 1)):
        results = await add_many(plugin, 3, role, user=role)
        assert sum(isinstance(result, int) for result in results) == added, role


async def test_what_is_not_valid_does_not_count(
    plugin: QuoteDBPlugin, client: StorageClient
) -> None:
    with pytest.raises(ValidationError):
        await plugin.add_quote_ratelimited("", None, "bob")
    assert await client.kv.get("ratelimit:bob") is None


async def test_the_chat_is_limited(plugin: QuoteDBPlugin) -> None:
    say = [await plugin.handle_command("Al", "user", f"!quote add {n}") for n in range(11)]
    assert all(answer.endswith(" added") for answer in say[:10])
    assert say[10] == "Rate limit exceeded (10/hour). Try again in 60 min"


# -- rights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["banned", "BANNED", " banned ", "\uff42anned"])
async def test_the_banned_change_nothing(
    plugin: QuoteDBPlugin, client: StorageClient, role: str
) -> None:
    mine = await plugin.add_quote("Mine", None, "Mallory")
    with pytest.raises(PermissionError, match="User is banned from adding quotes"):
        await plugin.add_quote_authorized("x", None, "Mallory", role)
    with pytest.raises(PermissionError, match="User is banned from deleting quotes"):
        await plugin.delete_quote_authorized(mine, "Mallory", role)
    for line in ("add x", f"delete {mine}", f"upvote {mine}", f"downvote {mine}"):
        answer = await plugin.handle_command("Mallory", role, f"!quote {line}")
        assert answer.startswith("User is banned from ")
    assert (await client.rows("quotes").get(mine) or {})["score"] == 0
    assert (await plugin.handle_command("Mallory", role, f"!quote {mine}")).startswith(f"#{mine}")


@pytest.mark.parametrize(
    ("user", "role", "may"),
    [
        ("Alice", "user", True),
        ("aLICE", "user", True),
        ("Bob", "user", False),
        ("Bob", "moderator", True),
        ("Bob", "admin", True),
        ("Bob", "ADMIN", False),
        ("Bob", "admin ", False),
        ("Bob", "", False),
    ],
)
async def test_who_may_delete(plugin: QuoteDBPlugin, user: str, role: str, may: bool) -> None:
    quote_id = await plugin.add_quote("Mine", None, "Alice")
    if may:
        assert await plugin.delete_quote_authorized(quote_id, user, role) is True
    else:
        with pytest.raises(PermissionError, match="You can only delete your own quotes"):
            await plugin.delete_quote_authorized(quote_id, user, role)
    assert (await plugin.get_quote(quote_id) is None) is may
    assert await plugin.delete_quote_authorized(999, user, role) is False


# -- moderation ---------------------------------------------------------------------------------


async def test_moderated_quotes_are_cleaned_or_refused(plugin: QuoteDBPlugin) -> None:
    quote_id = await plugin.add_quote_moderated("*See* http://x.example", "Joel", "bob")
    quote = await plugin.get_quote(quote_id)
    assert quote is not None
    assert quote["text"] == "See [URL removed]"
    for text, author in [("a badw0rd1", "Joel"), ("fine", "B.a.d.w.o.r.d.1")]:
        with pytest.raises(ValidationError, match="inappropriate content"):
            await plugin.add_quote_moderated(text, author, "bob")
    with pytest.raises(ValidationError, match="empty"):
        await plugin.add_quote_moderated("***", "Joel", "bob")
    assert plugin._sanitize_text("*x*") == "x"  # noqa: SLF001 - the product document's name
    assert plugin._contains_profanity("b a d w o r d 2")  # noqa: SLF001


async def test_plain_quotes_are_never_changed(plugin: QuoteDBPlugin) -> None:
    quote_id = await plugin.add_quote("*badword1* http://x.example", None, "bob")
    quote = await plugin.get_quote(quote_id)
    assert quote is not None
    assert quote["text"] == "*badword1* http://x.example"


async def test_the_switch_moderates_the_chat(plugin: QuoteDBPlugin) -> None:
    async def say(text: str) -> str:
        return await plugin.handle_command("Al", "admin", text)

    assert (await say("!quote add badword1")).endswith("added")
    await plugin.set_feature_flag("moderation_enabled", True)
    assert (await say("!quote add badword1")).startswith("Quote contains inappropriate content")
    added = (await say("!quote add *hi* -- Joel")).removeprefix("Quote #").removesuffix(" added")
    assert await say(f"!quote {added}") == f"#{added}: 'hi' — Joel"


# -- the security log ---------------------------------------------------------------------------


def events(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.name == "quote_db.security"]


async def test_each_outcome_is_an_event_with_fields(
    plugin: QuoteDBPlugin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    quote_id = await plugin.add_quote_audited("Test", "Joel", "bob", ip_address="192.0.2.1")
    with pytest.raises(ValidationError):
        await plugin.add_quote_audited("", "Joel", "bob\nadmin")
    for role in ("user", "banned"):
        await plugin.handle_command("Eve", role, f"!quote delete {quote_id}")
    await plugin.handle_command("Eve", "banned", "!quote add x")
    for _ in range(11):
        await plugin.handle_command("Al", "user", "!quote add x")
    await plugin.handle_command("Mod", "moderator", f"!quote delete {quote_id}")

    logged = events(caplog)
    assert [event["event"] for event in logged] == [
        "quote.add.success",
        "quote.add.validation_failed",
        "quote.delete.forbidden",
        "quote.delete.forbidden",
        "quote.add.forbidden",
        *["quote.add.success"] * 10,
        "quote.add.ratelimited",
        "quote.delete.success",
    ]
    assert logged[0]["quote_id"] == quote_id
    assert all(event["quote_id"] for event in logged if event["event"].endswith("success"))
    assert logged[0]["added_by"] == "bob"
    assert logged[0]["ip_address"] == "192.0.2.1"
    assert (logged[0]["text_length"], logged[1]["text_length"]) == (len("Test"), 0)
    assert logged[0]["timestamp"].endswith("Z")
    assert logged[1]["error"] == "Quote text cannot be empty"
    assert logged[1]["added_by"] == "bob\nadmin"
    assert "admin" not in logged[1]["message"]
