"""What hostile people type and send: it stays text, stays theirs, and stays bounded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio

from dbservice.client import StorageClient
from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.errors import ValidationError

pytestmark = pytest.mark.asyncio

SHIPPED = 5
INJECTIONS = [
    "'; DROP TABLE quotes; --",
    "' OR '1'='1",
    '" OR 1=1 --',
    "x'); DELETE FROM quotes WHERE ('1'='1",
    "%' UNION SELECT sql FROM sqlite_master --",
    '{"$ne": null}',
    '{"$or": [{}]}',
    "$where: function() { return true }",
    "../../etc/passwd",
    "{{7*7}} ${7*7} %s %(id)s",
    "rosey.db.>",
]


@pytest_asyncio.fixture
async def plugin(rosey_plugin: Any) -> QuoteDBPlugin:
    plugin: QuoteDBPlugin = await rosey_plugin(QuoteDBPlugin, namespace="quote-db", migrate=True)
    return plugin


@pytest.fixture
def client(plugin: QuoteDBPlugin, storage: Any) -> StorageClient:
    client: StorageClient = storage(plugin.namespace)
    return client


async def send(nats_client: Any, action: str, payload: Any) -> dict[str, Any]:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    reply = await nats_client.request(f"rosey.command.quote-db.{action}", data, timeout=30)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


# -- injection ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", INJECTIONS)
async def test_injections_are_text(plugin: QuoteDBPlugin, client: StorageClient, text: str) -> None:
    quote_id = await plugin.add_quote(text, text[:100], text[:50])
    quote = await plugin.get_quote(quote_id)
    assert quote is not None
    assert (quote["text"], quote["author"]) == (text, text[:100])
    assert [found["id"] for found in await plugin.search_quotes(text)] == [quote_id]
    advanced = await plugin.search_quotes_advanced(author=text[:100], text_contains=text)
    assert [found["id"] for found in advanced] == [quote_id]
    popular = await plugin.find_popular_recent_quotes(text[:100], min_score=0)
    assert [found["id"] for found in popular] == [quote_id]
    answer = await plugin.handle_command("Eve", "user", f"!quote search {text}")
    assert answer.startswith(f"Found 1 quote: #{quote_id}")
    assert await client.rows("quotes").count() == SHIPPED + 1


@pytest.mark.parametrize("text", INJECTIONS)
async def test_ids_and_names_cannot_be_injected(
    plugin: QuoteDBPlugin, client: StorageClient, text: str
) -> None:
    for action in ("get", "delete", "upvote", "downvote"):
        answer = await plugin.handle_command("Eve", "admin", f"!quote {action} {text}")
        assert answer.startswith("Invalid quote ID")
    with pytest.raises(ValidationError):
        await plugin.search_quotes_advanced(sort_by=text)
    with pytest.raises(ValidationError):
        await plugin.set_feature_flag(text, True)
    await plugin.save_user_session(text, {"mine": True})
    assert await plugin.get_user_session(text) == {"mine": True}
    assert await plugin.get_user_session("admin") is None
    assert await client.rows("quotes").count() == SHIPPED


@pytest.mark.parametrize(
    "values",
    [
        {"text": {"$ne": None}},
        {"text": ["a"]},
        {"author": {"$gt": ""}},
        {"added_by": {"$exists": True}},
        {"text": 7},
    ],
)
async def test_objects_are_no_texts(plugin: QuoteDBPlugin, values: dict[str, Any]) -> None:
    given: dict[str, Any] = {"text": "Test", "author": "Alice", "added_by": "bob", **values}
    with pytest.raises(ValidationError, match="must be text"):
        await plugin.add_quote(**given)


# -- characters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\x00b", None),
        ("\ud800", None),
        ("\u200b\ufeff", None),
        (" \x01\x1b ", None),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("bell\x07, \x9bCSI", "bell, CSI"),
        ("tab\tand\nline", "tab\tand\nline"),
    ],
)
async def test_control_characters(plugin: QuoteDBPlugin, text: str, kept: str | None) -> None:
    if kept is None:
        with pytest.raises(ValidationError):
            await plugin.add_quote(text, None, "bob")
    else:
        quote = await plugin.get_quote(await plugin.add_quote(text, None, "bob"))
        assert quote is not None
        assert quote["text"] == kept


@pytest.mark.parametrize(
    "name", ["ad\u200bmin", "admin\u202e", "ad\nmin", "ad\x00min", "\ufeffadmin"]
)
async def test_names_cannot_be_disguised_by_invisible_characters(
    plugin: QuoteDBPlugin, name: str
) -> None:
    with pytest.raises(ValidationError, match="invalid characters"):
        await plugin.add_quote("Test", name, "bob")
    with pytest.raises(ValidationError, match="invalid characters"):
        await plugin.add_quote("Test", "Alice", name)


@pytest.mark.parametrize("size", [1001, 100_000, 900_000])
async def test_what_is_too_large_is_refused(
    plugin: QuoteDBPlugin, client: StorageClient, nats_client: Any, size: int
) -> None:
    with pytest.raises(ValidationError, match="too long"):
        await plugin.add_quote("x" * size, None, "bob")
    for action, field in (("add", "text"), ("search", "query")):
        answer = await send(nats_client, action, {"user": "bob", "args": "x" * size})
        assert answer["success"] is False
        assert "too long" in answer["reply"], field
        assert len(answer["reply"]) < 300
    answer = await send(nats_client, "add", {"user": "b" * size, "args": "x"})
    assert "Username too long" in answer["reply"]
    assert await client.rows("quotes").count() == SHIPPED


# -- spoofing and abuse -------------------------------------------------------------------------


async def test_the_name_is_that_of_the_gateway_not_of_the_text(
    plugin: QuoteDBPlugin, nats_client: Any
) -> None:
    args = '"Test" Joel", "added_by": "admin", "role": "admin'
    await send(nats_client, "add", {"user": "Eve", "role": "user", "args": args, "by": "admin"})
    (quote,) = (await plugin.get_quotes_paginated(page_size=1))["quotes"]
    assert quote["added_by"] == "Eve"


@pytest.mark.parametrize(
    "role", ["Admin", "ADMIN", "admin\u200b", " admin", "root", "moderator,admin"]
)
async def test_roles_are_taken_literally(
    plugin: QuoteDBPlugin, nats_client: Any, role: str
) -> None:
    answer = await send(nats_client, "delete", {"user": "Eve", "role": role, "args": "1"})
    assert answer == {"success": False, "reply": "You can only delete your own quotes"}
    assert await plugin.get_quote(1) is not None


@pytest.mark.parametrize(
    "payload",
    [
        b'{"user": "Eve", "role": ["admin"], "args": "1"}',
        b'{"user": "Eve", "role": {"$ne": ""}, "args": "1"}',
        b'{"user": null, "role": "admin", "args": "1"}',
        b'{"role": "admin", "args": "1"}',
        b"[" * 10_000,
        b'{"user": "Eve", "args": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
async def test_malformed_commands_do_nothing(
    plugin: QuoteDBPlugin, nats_client: Any, payload: bytes
) -> None:
    answer = await send(nats_client, "delete", payload)
    assert answer["success"] is False
    assert answer["reply"].startswith("Expected {'user', 'role', 'args'} as JSON")
    assert await plugin.get_quote(1) is not None


async def test_a_flood_of_a_user_stops_at_their_limit_and_nobody_elses(
    plugin: QuoteDBPlugin, client: StorageClient, nats_client: Any
) -> None:
    spellings = ["Eve", "EVE", "eve", " eve "]
    flood = [
        send(nats_client, "add", {"user": spellings[number % 4], "args": f"{number}"})
        for number in range(40)
    ]
    answers = await asyncio.gather(*flood)
    assert sum(answer["success"] for answer in answers) == 10
    assert (await send(nats_client, "add", {"user": "Joel", "args": "x"}))["success"] is True
    assert await plugin.count_quotes() == await client.rows("quotes").count() == SHIPPED + 11


async def test_sessions_and_limits_cannot_reach_other_keys(
    plugin: QuoteDBPlugin, client: StorageClient
) -> None:
    await plugin.save_user_session("../total_count", {"x": 1})
    await plugin.add_quote_ratelimited("Test", None, "total_count")
    await plugin.set_feature_flag("total_count", True)
    assert await client.kv.get("total_count") == SHIPPED + 1
