"""Every fault at every request of every public coroutine and every chat command.

The suites beside this one hold the paths that were thought of. Here each test is run again for
each fault at each of its requests, and judged is what the plugin did then.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio

from dbservice.client import StorageClient
from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.bus import MATRIX
from reference_plugin_quote_db.parts.breaker import CircuitState
from reference_plugin_quote_db.schema import QUOTES, TOTAL_COUNT

# A few places of each test, for those who only run the suite; 500 explores all of them.
PLACES = int(os.environ.get("ROSEY_EXPLORE_PLACES", "5"))

pytestmark = [
    pytest.mark.asyncio,
    # What is said in the chat is an answer whatever happens: that it did not work, in plain words.
    # The safe and degraded reads answer from the cache, or with nothing, while the service is away.
    pytest.mark.rosey_explore(
        places=PLACES,
        degrades=[
            "handle_command",
            "rosey.command.*",
            "get_quote_safe",
            "search_*_degraded",
            "add_quotes_batch_parallel",
        ],
        # What was counted against the limit stays counted; over the bus no plugin says so itself.
        partial=["kv:ratelimit:*"],
    ),
]


@pytest_asyncio.fixture(params=[MATRIX, 0], ids=["with repeats", "without"])
async def plugin(
    request: pytest.FixtureRequest, rosey_plugin: Any, rosey_explore: Any, storage: Any
) -> QuoteDBPlugin:
    plugin: QuoteDBPlugin = await rosey_plugin(
        QuoteDBPlugin, namespace="quote-db", retries=request.param
    )
    client: StorageClient = storage("quote-db")

    @rosey_explore.invariant  # type: ignore[untyped-decorator]
    async def the_total_is_the_number_of_quotes() -> None:
        assert await client.kv.get(TOTAL_COUNT) == await client.rows(QUOTES).count()

    return plugin


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("add_quote", ("A text", "An author", "ada")),
        ("add_quotes", ([{"text": "one", "added_by": "ada"}, {"text": "two", "added_by": "ada"}],)),
        ("delete_quote", (1,)),
        ("upvote_quote", (1,)),
        ("downvote_quote", (1,)),
        ("random_quote", ()),
        ("search_quotes", ("a",)),
        ("search_page", ("a",)),
        ("top_quotes", ()),
        ("count_quotes", ()),
        ("delete_quotes", ([1, 2],)),
        ("tag_quote", (1, "funny")),
        ("untag_quote", (1, "mst3k")),
        ("quotes_tagged", ("mst3k",)),
        ("stats", ()),
        ("choose_favourite", ("ada", 1)),
        ("favourite_quote", ("ada",)),
        ("add_quote_safe", ("A text", "An author", "ada")),
        ("add_quote_queued", ("A text", "An author", "ada")),
        ("get_quote_safe", (1,)),
        ("get_quote_with_fallback", (1,)),
        ("search_quotes_degraded", ("a",)),
        ("submit_quote", ("A text", "An author", "ada", "user")),
        ("add_quote_ratelimited", ("A text", "An author", "ada")),
        ("add_quote_authorized", ("A text", "An author", "ada", "moderator")),
        ("add_quote_moderated", ("A text", "An author", "ada")),
        ("add_quote_audited", ("A text", "An author", "ada")),
        ("delete_quote_authorized", (1, "ada", "admin")),
        ("get_quotes_paginated", ()),
        ("search_quotes_advanced", ()),
        ("find_popular_recent_quotes", ("Servo",)),
        ("search_multiple_authors", (["Servo"],)),
        ("exclude_low_scores", ()),
        ("add_quotes_batch_parallel", ([{"text": "one", "added_by": "ada"}],)),
        ("set_feature_flag", ("search_enabled", False)),
        ("is_search_enabled", ()),
        ("save_user_session", ("ada", {"page": 2})),
        ("get_user_session", ("ada",)),
        ("get_next_quote_id", ()),
        ("check_migrations", ()),
    ],
)
async def test_a_coroutine(plugin: QuoteDBPlugin, name: str, arguments: tuple[Any, ...]) -> None:
    await plugin.get_quote(1)  # so that it is in the cache
    await getattr(plugin, name)(*arguments)


@pytest.mark.parametrize(
    "command",
    [
        'add "A text" An author',
        "get 1",
        "random",
        "search a",
        "delete 1",
        "upvote 1",
        "downvote 1",
        "top",
        "count",
        "stats",
        "tag 1 funny",
        "tagged mst3k",
        "fav 1",
        "fav",
        "help",
    ],
)
async def test_a_command(plugin: QuoteDBPlugin, rosey_explore: Any, command: str) -> None:
    replies: list[str] = []

    @rosey_explore.invariant  # type: ignore[untyped-decorator]
    async def nothing_is_denied_that_is_there() -> None:
        assert not any(word in reply for reply in replies for word in ("No quote", "not found"))

    await plugin.upvote_quote(3)
    replies.append(await plugin.handle_command("ada", "admin", f"!quote {command}"))
    await plugin.get_quote(2)


async def test_a_switch(plugin: QuoteDBPlugin) -> None:
    await plugin.set_feature_flag("search_enabled", False)
    await plugin.is_search_enabled()


async def test_a_quote_that_is_moderated(plugin: QuoteDBPlugin) -> None:
    await plugin.set_feature_flag("moderation_enabled", True)
    await plugin.submit_quote("See https://spam.example **now**", "An author", "ada", "user")


async def test_a_write_that_never_left_costs_no_answer(
    plugin: QuoteDBPlugin, rosey_explore: Any
) -> None:
    shown = True

    @rosey_explore.invariant  # type: ignore[untyped-decorator]
    async def what_was_read_is_still_shown() -> None:
        assert shown

    await plugin.get_quote(1)
    for _ in range(5):  # while the service is gone, the circuit breaker opens
        with suppress(Exception):
            await plugin.top_quotes()
    never_leaves = plugin.circuit_breaker.state is CircuitState.OPEN
    with suppress(Exception):
        await plugin.upvote_quote(1)
    if never_leaves:
        shown = False
        shown = await plugin.get_quote_with_fallback(1) is not None


async def test_a_command_of_a_user_over_the_bus(plugin: QuoteDBPlugin, nats_client: Any) -> None:
    said = b'{"user": "ada", "role": "user", "args": "\\"A text\\" An author"}'
    await nats_client.request("rosey.command.quote-db.add", said, timeout=5)
    await plugin.count_quotes()
