"""Many at once: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio

from dbservice.client import StorageClient
from dbservice.runtime.clock import SystemClock
from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.errors import ScoreLimitReached
from reference_plugin_quote_db.parts.total import KeptTotal

pytestmark = pytest.mark.asyncio


class Patient(QuoteDBPlugin):
    """The plugin with more patience than a busy machine asks for: nothing is lost, however late."""

    TIMEOUT_ADD = TIMEOUT_GET = TIMEOUT_SEARCH = TIMEOUT_UPDATE = TIMEOUT_DELETE = 60.0


@pytest_asyncio.fixture
async def plugin(rosey_plugin: Any) -> QuoteDBPlugin:
    plugin: QuoteDBPlugin = await rosey_plugin(Patient, namespace="quote-db", migrate=True)
    return plugin


@pytest.fixture
def client(plugin: QuoteDBPlugin, storage: Any) -> StorageClient:
    client: StorageClient = storage(plugin.namespace)
    return client


async def score(plugin: QuoteDBPlugin, quote_id: int) -> int:
    quote = await plugin.get_quote(quote_id)
    assert quote is not None
    return int(quote["score"])


async def add(plugin: QuoteDBPlugin, number: int) -> int:
    return await plugin.add_quote(f"Quote {number}", "Alice", "bob")


async def assert_total(plugin: QuoteDBPlugin, client: StorageClient, expected: int) -> None:
    assert await plugin.count_quotes() == expected
    assert await client.rows("quotes").count() == expected
    assert await client.kv.get("total_count") == expected


async def test_a_hundred_upvotes_at_once_are_a_hundred(plugin: QuoteDBPlugin) -> None:
    quote_id = await add(plugin, 0)
    scores = await asyncio.gather(*(plugin.upvote_quote(quote_id) for _ in range(100)))
    # Each saw a score of its own: nothing was read before it was changed.
    assert sorted(scores) == list(range(1, 101))
    assert await score(plugin, quote_id) == 100
    with pytest.raises(ScoreLimitReached):
        await plugin.upvote_quote(quote_id)
    assert await score(plugin, quote_id) == 100


async def test_upvotes_past_the_limit_fail_alone(plugin: QuoteDBPlugin) -> None:
    quote_id = await add(plugin, 0)
    votes = [plugin.upvote_quote(quote_id) for _ in range(120)]
    results = await asyncio.gather(*votes, return_exceptions=True)
    assert sum(isinstance(result, int) for result in results) == 100
    assert sum(isinstance(result, ScoreLimitReached) for result in results) == 20
    assert await score(plugin, quote_id) == 100


async def test_votes_up_and_down_cancel_out(plugin: QuoteDBPlugin) -> None:
    quote_id = await add(plugin, 0)
    votes = [
        vote(quote_id) for _ in range(50) for vote in (plugin.upvote_quote, plugin.downvote_quote)
    ]
    await asyncio.gather(*votes)
    assert await score(plugin, quote_id) == 0


async def test_quotes_added_at_once_have_ids_of_their_own(
    plugin: QuoteDBPlugin, client: StorageClient
) -> None:
    before = await plugin.count_quotes()
    added = await asyncio.gather(*(add(plugin, number) for number in range(50)))
    assert len(set(added)) == 50
    await assert_total(plugin, client, before + 50)


async def test_a_quote_deleted_twice_at_once_counts_once(
    plugin: QuoteDBPlugin, client: StorageClient
) -> None:
    before = await plugin.count_quotes()
    quote_id = await add(plugin, 0)
    deleted = await asyncio.gather(*(plugin.delete_quote(quote_id) for _ in range(10)))
    assert deleted.count(True) == 1
    await assert_total(plugin, client, before)


async def test_adding_and_deleting_at_once(plugin: QuoteDBPlugin, client: StorageClient) -> None:
    before = await plugin.count_quotes()
    old = await asyncio.gather(*(add(plugin, number) for number in range(20)))
    await asyncio.gather(
        *(plugin.delete_quote(quote_id) for quote_id in old),
        *(add(plugin, number) for number in range(30)),
        plugin.add_quotes([{"text": "x", "added_by": "bob"}] * 10),
    )
    await assert_total(plugin, client, before + 40)


@pytest.mark.parametrize("lost", [True, False])
async def test_repairs_beside_writes_leave_the_total_right(
    plugin: QuoteDBPlugin, client: StorageClient, lost: bool
) -> None:
    total = KeptTotal(client.kv, client.rows("quotes"), "total_count", SystemClock())
    before = await plugin.count_quotes()
    if lost:
        await client.kv.delete("total_count")
    else:
        await client.kv.set("total_count", 1000)
    await asyncio.gather(
        *(add(plugin, number) for number in range(15)),
        *(total.repair() for _ in range(3)),
        *(add(plugin, number) for number in range(15)),
    )
    await assert_total(plugin, client, before + 30)


async def test_more_commands_than_are_carried_out_at_once(
    plugin: QuoteDBPlugin, client: StorageClient, nats_client: Any
) -> None:
    before = await plugin.count_quotes()
    payload = json.dumps({"user": "bob", "role": "admin", "args": "Me too"}).encode()
    sent = [
        nats_client.request("rosey.command.quote-db.add", payload, timeout=60) for _ in range(300)
    ]
    replies = [json.loads(reply.data)["reply"] for reply in await asyncio.gather(*sent)]
    assert len(set(replies)) == 300
    await assert_total(plugin, client, before + 300)
