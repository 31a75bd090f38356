"""The twelve patterns of the storage API, as the plugin has them, on a running service."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from dbservice.client import StorageClient
from dbservice.runtime.clock import ManualClock
from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.errors import ValidationError
from reference_plugin_quote_db.patterns import ConfigCache

pytestmark = pytest.mark.asyncio

NOW = 1_764_000_000
DAY = 86_400


@pytest_asyncio.fixture
async def plugin(rosey_plugin: Any) -> QuoteDBPlugin:
    plugin: QuoteDBPlugin = await rosey_plugin(
        QuoteDBPlugin, namespace="quote-db", migrate=True, clock=ManualClock(NOW)
    )
    return plugin


@pytest.fixture
def client(plugin: QuoteDBPlugin, storage: Any) -> StorageClient:
    client: StorageClient = storage(plugin.namespace)
    return client


@pytest_asyncio.fixture
async def quotes(client: StorageClient) -> dict[str, int]:
    """Five quotes by name; those that came with the migrations are gone."""
    table = client.rows("quotes")
    await table.delete({}, all=True)
    rows = {
        "old": {"author": "Alice", "score": 9, "timestamp": NOW - 31 * DAY},
        "best": {"author": "Alice", "score": 8, "timestamp": NOW - 20 * DAY},
        "good": {"author": "Alice", "score": 5, "timestamp": NOW - 10 * DAY},
        "poor": {"author": "ALICE", "score": -3, "timestamp": NOW - DAY},
        "other": {"author": "Bob_", "score": 7, "timestamp": NOW},
    }
    return {
        name: await table.insert({"text": f"The {name} one", "added_by": "joel", **row})
        for name, row in rows.items()
    }


def names(found: list[dict[str, Any]]) -> list[str]:
    return [quote["text"].split()[1] for quote in found]


# -- 1 counters ---------------------------------------------------------------------------------


async def test_a_counter_never_gives_a_number_twice(plugin: QuoteDBPlugin) -> None:
    numbers = await asyncio.gather(*(plugin.get_next_quote_id() for _ in range(20)))
    assert sorted(numbers) == list(range(1, 21))


# -- 2 feature flags ----------------------------------------------------------------------------


async def test_flags_work_without_a_restart(plugin: QuoteDBPlugin, client: StorageClient) -> None:
    assert await plugin.is_search_enabled() is True
    await plugin.set_feature_flag("search_enabled", False)
    assert await plugin.is_search_enabled() is False
    assert await client.kv.get("search_enabled") is False
    answer = await plugin.handle_command("bob", "user", "!quote search tapes")
    assert answer == "Searching is switched off at the moment."
    await plugin.set_feature_flag("search", True)
    assert (await plugin.handle_command("bob", "user", "!quote search tapes")).startswith("Found 1")
    assert await client.kv.list() == ["search_enabled", "total_count"]


@pytest.mark.parametrize(
    ("value", "enabled"),
    [("true", True), ("ON", True), ("1", True), ("yes", True), ("false", False)],
)
async def test_the_older_spelling_is_read_where_there_is_no_newer(
    plugin: QuoteDBPlugin, client: StorageClient, value: str, enabled: bool
) -> None:
    await client.kv.set("feature_search_enabled", value)
    assert await plugin.is_search_enabled() is enabled
    await plugin.set_feature_flag("feature_search_enabled", not enabled)
    assert await plugin.is_search_enabled() is not enabled
    assert await client.kv.get("feature_search_enabled") == value


@pytest.mark.parametrize("name", ["", "Search", "a b", "total_count\n", "x" * 101, "1st"])
async def test_what_cannot_be_a_flag(plugin: QuoteDBPlugin, name: str) -> None:
    with pytest.raises(ValidationError, match="Invalid flag"):
        await plugin.set_feature_flag(name, True)


async def test_a_flag_is_remembered_while_the_service_is_away(
    plugin: QuoteDBPlugin, client: StorageClient, nats_faults: Any
) -> None:
    await client.kv.set("search_enabled", False)
    assert await plugin.is_search_enabled() is False
    await plugin.set_feature_flag("of_your_own", True)
    nats_faults.no_responders("rosey.db.kv.>")
    assert await plugin.is_search_enabled() is False
    assert await plugin.flags.is_enabled("of_your_own") is True
    assert await plugin.flags.is_enabled("unheard_of") is False


# -- 3 sessions, 4 configuration ----------------------------------------------------------------


async def test_sessions_expire(
    plugin: QuoteDBPlugin, client: StorageClient, rosey_clock: Any
) -> None:
    await plugin.save_user_session("Bob", {"page": 3}, ttl_seconds=60)
    assert await plugin.get_user_session("bob") == {"page": 3}
    rosey_clock.advance(60)
    assert await plugin.get_user_session("bob") is None
    await client.kv.set("session_joel", '{"page": 1}')
    assert await plugin.get_user_session("joel") == {"page": 1}


@pytest.mark.usefixtures("plugin")
async def test_configuration_is_kept_for_five_minutes(nats_client: Any, rosey_clock: Any) -> None:
    cache = ConfigCache(nats_client, "quote-db")
    assert await cache.get_config("command_cooldown", default=30) == 30
    await cache.set_config("command_cooldown", {"seconds": 60})
    assert await cache.get_config("command_cooldown") == {"seconds": 60}
    rosey_clock.advance(300)
    assert await cache.get_config("command_cooldown") is None
    await cache.set_config("command_cooldown", 60)
    await cache.invalidate("command_cooldown")
    assert await cache.get_config("command_cooldown", 30) == 30


# -- 7 filters, 10 logic (5 CRUD, 6 pages, 8 batches, 9 counters: test_integration, test_resilience)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, ["other", "poor", "good", "best", "old"]),
        ({"author": "alice"}, ["poor", "good", "best", "old"]),
        ({"author": "b_"}, ["other"]),
        ({"min_score": 7}, ["other", "best", "old"]),
        ({"min_score": 7, "author": "Alice"}, ["best", "old"]),
        ({"text_contains": "O", "min_score": 7}, ["other", "best", "old"]),
        ({"text_contains": "POOR"}, ["poor"]),
        ({"sort_by": "score"}, ["old", "best", "other", "good", "poor"]),
        ({"sort_by": "score", "sort_order": "asc", "limit": 2}, ["poor", "good"]),
    ],
)
@pytest.mark.usefixtures("quotes")
async def test_filters_are_combined(
    plugin: QuoteDBPlugin, options: dict[str, Any], found: list[str]
) -> None:
    assert names(await plugin.search_quotes_advanced(**options)) == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sort_by": "scor"}, "Did you mean 'score'"),
        ({"sort_by": "score; DROP TABLE quotes"}, "Invalid sort_by"),
        ({"sort_order": "up"}, "must be asc or desc"),
        ({"limit": 0}, "Invalid limit"),
        ({"author": " "}, "cannot be empty"),
    ],
)
async def test_filters_that_are_none(
    plugin: QuoteDBPlugin, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        await plugin.search_quotes_advanced(**options)


@pytest.mark.usefixtures("quotes")
async def test_popular_and_recent(plugin: QuoteDBPlugin) -> None:
    assert names(await plugin.find_popular_recent_quotes("Alice")) == ["best", "good"]
    assert names(await plugin.find_popular_recent_quotes("Alice", 6, 365)) == ["old", "best"]
    assert await plugin.find_popular_recent_quotes("alice") == []


@pytest.mark.usefixtures("quotes")
async def test_several_authors_and_no_low_scores(plugin: QuoteDBPlugin) -> None:
    assert names(await plugin.search_multiple_authors(["Bob_", "ALICE"])) == ["other", "poor"]
    assert await plugin.search_multiple_authors([]) == []
    assert names(await plugin.exclude_low_scores()) == ["other", "good", "best", "old"]
    assert names(await plugin.exclude_low_scores(6, limit=1)) == ["other"]
