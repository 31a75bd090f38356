"""The plugin when the service is slow, failing or away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from dbservice.client import InternalError, RequestTimeout, RetryPolicy
from dbservice.runtime.clock import ManualClock
from reference_plugin_quote_db import QuoteDBPlugin, patterns
from reference_plugin_quote_db.bus import MATRIX
from reference_plugin_quote_db.errors import (
    CircuitBreakerError,
    ServiceUnavailableError,
    ValidationError,
)
from reference_plugin_quote_db.parts.breaker import CircuitState
from reference_plugin_quote_db.parts.degradation import DegradationLevel

pytestmark = pytest.mark.asyncio

INSERT = "rosey.db.row.quote-db.insert"
INSERT_BATCH = "rosey.db.row.quote-db.insert_batch"
SELECT = "rosey.db.row.quote-db.select"
SEARCH = "rosey.db.row.quote-db.search"
UPDATE = "rosey.db.row.quote-db.update"
NOW = 1_732_291_200
QUOTE = {
    "id": 42,
    "text": "Keep <circulating> the tapes",
    "author": "Joel & Mike",
    "added_by": "Bob",
    "timestamp": NOW,
    "score": 5,
    "tags": ["<b>"],
}
SELECTED = {"success": True, "rows": [QUOTE], "count": 1, "truncated": False}
FOUND = {**SELECTED, "total": 1}
INSERTED = {"success": True, "id": 42, "created": True}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def plugin(fake_nats: Any, clock: ManualClock) -> QuoteDBPlugin:
    return QuoteDBPlugin(fake_nats, clock=clock)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the waits between repeats instead of waiting."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    def at_most(repeats: int) -> RetryPolicy:
        return RetryPolicy(limit=repeats, sleep=sleep)

    monkeypatch.setattr(patterns, "at_most", at_most)
    return waited


def level(plugin: QuoteDBPlugin) -> DegradationLevel:
    return plugin.degradation_level


async def open_breaker(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.timeout(UPDATE)
    for _ in range(5):
        with pytest.raises(RequestTimeout):
            await plugin.upvote_quote(1)
    assert plugin.circuit_breaker.state is CircuitState.OPEN


# -- repeats ------------------------------------------------------------------------------------


async def test_plain_methods_ask_once(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.timeout(INSERT)
    with pytest.raises(TimeoutError):
        await plugin.add_quote("Test", None, "bob")
    assert len(fake_nats.requests) == 1


@pytest.mark.parametrize("name", ["add_quote_safe", "add_quote_with_retry"])
async def test_safe_methods_repeat_with_one_key(
    plugin: QuoteDBPlugin, fake_nats: Any, waits: list[float], name: str
) -> None:
    fake_nats.respond(INSERT, [TimeoutError(), TimeoutError(), INSERTED])
    assert await getattr(plugin, name)("Test", None, "bob") == 42
    assert waits == [0.1, 0.2]
    assert len({request.json["idempotency_key"] for request in fake_nats.requests}) == 1


@pytest.mark.parametrize(("repeats", "tries"), [(0, 1), (1, 2), (3, 4)])
async def test_repeats_end(
    plugin: QuoteDBPlugin, fake_nats: Any, waits: list[float], repeats: int, tries: int
) -> None:
    fake_nats.timeout(INSERT)
    with pytest.raises(RequestTimeout):
        await plugin.add_quote_safe("Test", None, "bob", max_retries=repeats)
    assert len(fake_nats.requests) == tries
    assert len(waits) == repeats


@pytest.mark.usefixtures("waits")
async def test_an_open_breaker_ends_the_repeats(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.fail(INSERT, "DATABASE_UNAVAILABLE")
    with pytest.raises(CircuitBreakerError):
        await plugin.add_quote_safe("Test", None, "bob", max_retries=9)
    assert len(fake_nats.requests) == 5


async def test_production_has_the_matrix(fake_nats: Any) -> None:
    assert MATRIX.timeout == (0.1, 0.2, 0.4)
    assert MATRIX.connection == (0.5, 1.0, 2.0, 4.0, 8.0)
    assert MATRIX.server_error == (1.0, 2.0)
    fake_nats.respond(INSERT, [TimeoutError(), INSERTED])
    assert await QuoteDBPlugin.for_production(fake_nats).add_quote("Test", None, "bob") == 42


async def test_a_lost_reply_does_not_double_a_quote(rosey_plugin: Any, nats_faults: Any) -> None:
    plugin = await rosey_plugin(QuoteDBPlugin, namespace="quote-db", migrate=True)
    plugin.TIMEOUT_ADD = 0.2
    before = await plugin.count_quotes()
    lost = nats_faults.drop_reply(INSERT, times=1)
    quote_id = await plugin.add_quote_safe("Only once", None, "bob")
    assert len(lost.hits) == 1
    assert [quote["id"] for quote in await plugin.search_quotes("Only once")] == [quote_id]
    assert await plugin.count_quotes() == before + 1


async def test_timeouts_go_with_each_operation(mock_nats: Any, make_nats_response: Any) -> None:
    plugin = QuoteDBPlugin(mock_nats)
    mock_nats.request.side_effect = [
        make_nats_response({"id": 42}),
        make_nats_response({"rows": []}),
        make_nats_response({"rows": [], "total": 0}),
        make_nats_response({"updated": 1, "rows": [{"score": 1}]}),
        make_nats_response({"deleted": 1}),
    ]
    await plugin.add_quote("Test", None, "bob")
    await plugin.get_quote(42)
    await plugin.search_quotes("x")
    await plugin.upvote_quote(42)
    await plugin.delete_quote(42)
    used = [call.kwargs["timeout"] for call in mock_nats.request.call_args_list]
    assert used == [5.0, 2.0, 10.0, 3.0, 3.0]


# -- the cache ----------------------------------------------------------------------------------


async def test_a_quote_is_read_once_until_it_is_old(
    plugin: QuoteDBPlugin, fake_nats: Any, clock: ManualClock
) -> None:
    fake_nats.respond(SELECT, SELECTED)
    assert await plugin.get_quote(42) == await plugin.get_quote(42) == QUOTE
    assert len(fake_nats.requests) == 1
    clock.advance(300)
    await plugin.get_quote(42)
    assert len(fake_nats.requests) == 2


@pytest.mark.parametrize("hours", [-10, 10])
async def test_setting_the_clock_ages_no_quote_and_keeps_no_breaker_open(
    fake_nats: Any, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    plugin, now = QuoteDBPlugin(fake_nats), time.time
    fake_nats.respond(SELECT, SELECTED)
    await plugin.get_quote(42)
    for _ in range(5):
        plugin.circuit_breaker.leave(plugin.circuit_breaker.enter(), failed=True)
    monkeypatch.setattr(time, "time", lambda: now() + hours * 3600)
    assert await plugin.get_quote(42) == QUOTE
    assert len(fake_nats.requests) == 1, "the quote is fresh for five minutes"
    assert 0 < plugin.circuit_breaker.retry_after() <= 60


@pytest.mark.parametrize("vote", [{"updated": 1, "rows": [{"score": 6}]}, TimeoutError()])
async def test_a_vote_drops_the_quote_even_if_it_seems_to_fail(
    plugin: QuoteDBPlugin, fake_nats: Any, vote: Any
) -> None:
    fake_nats.respond(SELECT, SELECTED)
    fake_nats.respond(UPDATE, vote if isinstance(vote, Exception) else {"success": True, **vote})
    await plugin.get_quote(42)
    try:
        await plugin.upvote_quote(42)
    except TimeoutError:
        assert isinstance(vote, TimeoutError)
    await plugin.get_quote(42)
    assert len(fake_nats.requests_to(SELECT)) == 2


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


def kept(plugin: QuoteDBPlugin) -> int:
    return len(plugin._cache)  # noqa: SLF001 - what is to be seen has no other sign


async def test_what_another_replica_does_is_seen(rosey_plugin: Any) -> None:
    one = await rosey_plugin(QuoteDBPlugin, namespace="quote-db", migrate=True)
    other = await rosey_plugin(QuoteDBPlugin, namespace="quote-db", migrate=True)
    quote_id = await one.add_quote("Here", None, "bob")
    assert (await one.get_quote(quote_id))["score"] == 0
    await other.upvote_quote(quote_id)
    await until(lambda: kept(one) == 0)
    assert (await one.get_quote(quote_id))["score"] == 1
    await other.delete_quote(quote_id)
    await until(lambda: kept(one) == 0)
    assert await one.get_quote(quote_id) is None


@pytest.mark.parametrize(
    "subject", ["rosey.event.quote-db.voted", "rosey.db.event.quote-db.schema_changed"]
)
async def test_a_migration_or_an_event_that_is_none_clear_the_cache(
    rosey_plugin: Any, nats_client: Any, subject: str
) -> None:
    plugin = await rosey_plugin(QuoteDBPlugin, namespace="quote-db", migrate=True)
    await plugin.get_quote(1)
    await plugin.get_quote(2)
    assert kept(plugin) == 2
    await nats_client.publish(subject, b"nonsense")
    await until(lambda: kept(plugin) == 0)


# -- fallbacks ----------------------------------------------------------------------------------


async def test_a_cached_quote_is_served_while_the_breaker_is_open(
    plugin: QuoteDBPlugin, fake_nats: Any
) -> None:
    fake_nats.respond(SEARCH, FOUND)
    await plugin.search_quotes("tapes")
    assert level(plugin) is DegradationLevel.NORMAL
    await open_breaker(plugin, fake_nats)
    assert level(plugin) is DegradationLevel.LIMITED
    assert await plugin.get_quote_with_fallback(42) == QUOTE
    with pytest.raises(ServiceUnavailableError, match="temporarily unavailable"):
        await plugin.get_quote_with_fallback(7)
    with pytest.raises(CircuitBreakerError):
        await plugin.get_quote(7)


async def test_search_falls_back_to_the_cache(
    plugin: QuoteDBPlugin, fake_nats: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake_nats.respond(SEARCH, [FOUND, TimeoutError(), TimeoutError()])
    await plugin.search_quotes("tapes")
    assert await plugin.search_quotes_degraded("JOEL") == [QUOTE]
    assert await plugin.search_quotes_degraded("nothing") == []
    assert "Degraded mode: searching cached quotes only" in caplog.text
    with pytest.raises(ValidationError):
        await plugin.search_quotes_degraded("")


async def test_a_quote_that_arrives_while_waiting_is_the_fallback(
    plugin: QuoteDBPlugin, fake_nats: Any
) -> None:
    fake_nats.respond(SEARCH, FOUND)

    async def slow(_: Any) -> Any:
        await plugin.search_quotes("tapes")
        return TimeoutError()

    fake_nats.respond(SELECT, slow)
    assert await plugin.get_quote_with_fallback(42) == QUOTE


async def test_errors_that_are_no_outage_are_raised(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.fail(SELECT, "INTERNAL_ERROR")
    fake_nats.fail(SEARCH, "INTERNAL_ERROR")
    with pytest.raises(InternalError):
        await plugin.get_quote_with_fallback(42)
    with pytest.raises(InternalError):
        await plugin.search_quotes_degraded("x")


async def test_get_quote_safe_is_safe_for_html_and_for_errors(
    plugin: QuoteDBPlugin, fake_nats: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake_nats.respond(SELECT, [SELECTED, TimeoutError(), b"nonsense"], contract=False)
    quote = await plugin.get_quote_safe(42)
    assert quote is not None
    assert quote["text"] == "Keep &lt;circulating&gt; the tapes"
    assert quote["author"] == "Joel &amp; Mike"
    assert quote["tags"] == ["&lt;b&gt;"]
    assert quote["id"] == 42
    with caplog.at_level(logging.ERROR):
        assert await plugin.get_quote_safe(1) is None
        assert await plugin.get_quote_safe(1) is None
    assert "No answer getting quote #1" in caplog.text
    assert "Invalid reply getting quote #1" in caplog.text


# -- the queue ----------------------------------------------------------------------------------


async def test_a_queued_write_is_acknowledged_when_it_is_stored(
    plugin: QuoteDBPlugin, fake_nats: Any, clock: ManualClock
) -> None:
    fake_nats.respond(INSERT, INSERTED)
    assert await plugin.add_quote_queued("Test", None, "bob") == 42
    await open_breaker(plugin, fake_nats)
    with pytest.raises(CircuitBreakerError):
        await plugin.add_quote("Test", None, "bob")
    clock.advance(60)
    assert await plugin.add_quote_queued("Test", None, "bob") == 42


async def test_closing_does_not_wait_for_the_service(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    await open_breaker(plugin, fake_nats)
    by_chat = plugin.handle_command("bob", "admin", '!quote add "Test" Joel')
    told = asyncio.create_task(by_chat)
    waiting = asyncio.create_task(plugin.add_quote_queued("Test", None, "bob"))
    await until(lambda: b"quote_queued_writes 2.0" in plugin.metrics_page()[1])
    await plugin.close()
    with pytest.raises(ServiceUnavailableError, match="closing"):
        await waiting
    assert (await told).startswith("The quote database does not answer.")


async def test_batches(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    ok = {"success": True, "ids": [1], "created": 1}
    fake_nats.respond(INSERT_BATCH, [ok, {**ok, "ids": [2]}, TimeoutError()])
    assert await plugin.add_quotes_batch([{"text": "x", "added_by": "bob"}]) == [1]
    quotes = [{"text": "ok", "added_by": "b"}, {"text": "", "added_by": "b"}]
    quotes.append({"text": "late", "added_by": "b"})
    assert await plugin.add_quotes_batch_parallel(quotes) == [2]


async def test_adding_and_counting_are_one_request(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(INSERT, INSERTED)
    assert await plugin.add_quote_with_counter("Test", None, "bob") == 42
    fake_nats.assert_requested(INSERT, json={"counters": {"total_count": 1}}, times=1)
    assert len(fake_nats.requests) == 1


async def test_the_chat_is_told_to_try_again(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    await open_breaker(plugin, fake_nats)
    told = "The quote database does not answer. Please try again in a moment."
    assert await plugin.handle_command("bob", "user", "!quote get 7") == told
    assert await plugin.handle_command("bob", "user", "!quote random") == told
