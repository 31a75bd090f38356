"""Favourites: one row a user, inserted or changed by one request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from reference_plugin_quote_db import QuoteDBPlugin

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def plugin(rosey_plugin: Any) -> QuoteDBPlugin:
    plugin: QuoteDBPlugin = await rosey_plugin(QuoteDBPlugin, namespace="quote-db")
    return plugin


async def test_a_user_has_one_favourite_in_any_spelling_of_the_name(
    plugin: QuoteDBPlugin, storage: Any
) -> None:
    async def say(user: str, line: str) -> str:
        return await plugin.handle_command(user, "user", f"!quote {line}")

    none = "You have no favourite quote. Type: !quote fav <id>"
    second = await plugin.get_quote(2)
    assert await say("Ada", "fav") == none
    assert await say("Ada", "fav 1") == "Quote #1 is your favourite"
    assert await say("Bob", "fav 2") == "Quote #2 is your favourite"
    assert await say("ADA", "fav #2") == "Quote #2 is your favourite"
    assert second is not None
    assert await say("ada", "fav") == f"#2: '{second['text']}' — {second['author']}"
    rows = await storage("quote-db").rows("favourites").select(columns=["username", "quote_id"])
    assert rows == [{"username": "ada", "quote_id": 2}, {"username": "bob", "quote_id": 2}]
    assert await say("ada", "fav 999") == "Quote #999 not found"
    assert (await say("ada", "fav x")).endswith("Type: !quote fav [id]")
    await plugin.delete_quote(2)
    assert await say("ada", "fav") == none


async def test_choices_at_once_leave_one_row(plugin: QuoteDBPlugin, storage: Any) -> None:
    await asyncio.gather(*(plugin.choose_favourite("Ada", 1 + n % 5) for n in range(20)))
    assert await storage("quote-db").rows("favourites").count() == 1
    assert await plugin.favourite_quote("ada") is not None
