"""The plugin on `fake_nats`: what it asks of the service, and what it makes of the replies."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from nats.aio.msg import Msg

from dbservice.client import MalformedReply, Overloaded, RequestTimeout
from dbservice.runtime.clock import ManualClock
from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.errors import (
    MigrationsPending,
    QuoteNotFound,
    ScoreLimitReached,
    ValidationError,
)

pytestmark = pytest.mark.asyncio

INSERT = "rosey.db.row.quote-db.insert"
INSERT_BATCH = "rosey.db.row.quote-db.insert_batch"
SELECT = "rosey.db.row.quote-db.select"
SEARCH = "rosey.db.row.quote-db.search"
UPDATE = "rosey.db.row.quote-db.update"
DELETE = "rosey.db.row.quote-db.delete"
COUNT = "rosey.db.row.quote-db.count"
AGGREGATE = "rosey.db.row.quote-db.aggregate"
KV_GET = "rosey.db.kv.quote-db.get"
KV_SET = "rosey.db.kv.quote-db.set"
KV_INCR = "rosey.db.kv.quote-db.incr"
STATUS = "rosey.db.migrate.quote-db.status"
COMMANDS = "rosey.command.quote-db"

NOW = 1_732_291_200
QUOTE = {
    "id": 42,
    "text": "Keep circulating the tapes",
    "author": "MST3K",
    "added_by": "Bob",
    "timestamp": NOW,
    "score": 5,
    "tags": [],
}
ABSENT = {"success": True, "exists": False}
INSERTED = {"success": True, "id": 42, "created": True}


@pytest.fixture
def plugin(fake_nats: Any) -> QuoteDBPlugin:
    return QuoteDBPlugin(fake_nats, clock=ManualClock(NOW + 0.75))


def selected(*rows: dict[str, Any], truncated: bool = False) -> dict[str, Any]:
    return {"success": True, "rows": list(rows), "count": len(rows), "truncated": truncated}


def found(*rows: dict[str, Any], total: int | None = None) -> dict[str, Any]:
    total = len(rows) if total is None else total
    return {**selected(*rows, truncated=total > len(rows)), "total": total}


def voted(*scores: int) -> dict[str, Any]:
    rows = [{"score": score} for score in scores]
    return {"success": True, "updated": len(rows), "rows": rows}


def deleted(number: int) -> dict[str, Any]:
    return {"success": True, "deleted": number}


def stored(value: Any) -> dict[str, Any]:
    return {"success": True, "exists": True, "value": value}


def status(*pending: str, version: int = 3) -> dict[str, Any]:
    return {
        "success": True,
        "up_to_date": not pending,
        "current_version": version,
        "pending_count": len(pending),
        "applied_migrations": [],
        "pending_migrations": list(pending),
        "history": [],
        "checksum_mismatches": [],
    }


def let_add(fake_nats: Any, count: int = 2) -> None:
    """Answer what the chat asks before it adds a quote: the switches, and the rate limit."""
    fake_nats.respond(KV_GET, ABSENT)
    fake_nats.respond(KV_INCR, {"success": True, "value": count})


# -- adding -------------------------------------------------------------------------------------


async def test_add_quote_inserts_and_counts_in_one_request(
    plugin: QuoteDBPlugin, fake_nats: Any
) -> None:
    fake_nats.respond(INSERT, INSERTED)

    assert await plugin.add_quote("  Test quote ", "Alice", "bob") == 42

    assert [request.json for request in fake_nats.requests] == [
        {
            "table": "quotes",
            "data": {
                "text": "Test quote",
                "author": "Alice",
                "added_by": "bob",
                "timestamp": NOW,
            },
            "counters": {"total_count": 1},
        }
    ]


async def test_add_quote_without_author(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(INSERT, INSERTED)
    await plugin.add_quote("Test", None, "bob")
    fake_nats.assert_requested(INSERT, json={"data": {"author": "Unknown"}})


@pytest.mark.parametrize(
    ("text", "author", "added_by", "message"),
    [
        ("", "Alice", "bob", "Quote text cannot be empty"),
        ("x" * 1001, "Alice", "bob", "Quote text too long"),
        ("Test", "x" * 101, "bob", "Author name too long"),
        ("Test", "Alice", "", "Username cannot be empty"),
    ],
)
async def test_add_quote_asks_nothing_when_it_is_not_valid(
    plugin: QuoteDBPlugin, fake_nats: Any, text: str, author: str, added_by: str, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        await plugin.add_quote(text, author, added_by)
    fake_nats.assert_no_requests()


async def test_strict_authors(fake_nats: Any) -> None:
    with pytest.raises(ValidationError, match="invalid characters"):
        await QuoteDBPlugin(fake_nats, strict_authors=True).add_quote("Test", "Zoë", "bob")


async def test_add_quotes_is_one_request(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(INSERT_BATCH, {"success": True, "ids": [7, 8], "created": 2})

    quotes = [
        {"text": "One", "author": "Alice", "added_by": "bob"},
        {"text": "Two", "added_by": "bob"},
    ]
    assert await plugin.add_quotes(quotes) == [7, 8]

    (request,) = fake_nats.requests
    assert [row["author"] for row in request.json["rows"]] == ["Alice", "Unknown"]
    assert request.json["counters"] == {"total_count": 2}


async def test_add_quotes_of_nothing_asks_nothing(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    assert await plugin.add_quotes([]) == []
    fake_nats.assert_no_requests()


@pytest.mark.parametrize(
    ("quotes", "message"),
    [
        ([{"text": "One", "added_by": "bob"}, {"text": "", "added_by": "bob"}], "Quote 2: Quote t"),
        ([{"text": "One"}], "Quote 1: Username cannot be empty"),
        ([{"text": "One", "added_by": "bob", "autor": "x"}], "Quote 1: unknown autor; expected"),
        ([{"text": "One", "added_by": "bob"}] * 1001, r"Too many quotes at once \(max 1000\)"),
    ],
)
async def test_add_quotes_names_the_one_that_is_not_valid(
    plugin: QuoteDBPlugin, fake_nats: Any, quotes: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        await plugin.add_quotes(quotes)
    fake_nats.assert_no_requests()


# -- reading ------------------------------------------------------------------------------------


async def test_get_quote(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(SELECT, {**selected(QUOTE), "exists": True, "data": QUOTE})
    assert await plugin.get_quote(42) == QUOTE
    fake_nats.assert_requested(SELECT, json={"table": "quotes", "id": 42}, times=1)


async def test_get_quote_that_is_not_there(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(SELECT, {**selected(), "exists": False})
    assert await plugin.get_quote(999) is None


@pytest.mark.parametrize("quote_id", [0, -1, True, "42"])
async def test_get_quote_with_an_invalid_id(
    plugin: QuoteDBPlugin, fake_nats: Any, quote_id: int
) -> None:
    with pytest.raises(ValidationError, match="positive integer"):
        await plugin.get_quote(quote_id)
    fake_nats.assert_no_requests()


async def test_random_quote_is_picked_by_the_service(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(SELECT, selected(QUOTE))
    assert await plugin.random_quote() == QUOTE
    fake_nats.assert_requested(SELECT, json={"sort": "$random", "limit": 1}, times=1)


async def test_random_quote_of_none(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(SELECT, selected())
    assert await plugin.random_quote() is None


async def test_search_looks_into_author_and_text(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(SEARCH, found(QUOTE, {**QUOTE, "id": 7}))

    assert [quote["id"] for quote in await plugin.search_quotes("MST3K")] == [42, 7]

    contains = {"$ilike": "%MST3K%"}
    fake_nats.assert_requested(
        SEARCH,
        json={
            "filters": {"$or": [{"author": contains}, {"text": contains}]},
            "sort": [{"field": "timestamp", "order": "desc"}, {"field": "id", "order": "desc"}],
            "limit": 10,
        },
    )


async def test_search_takes_wildcards_literally(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(SEARCH, found())
    assert await plugin.search_quotes(r"100%_\ ", limit=99) == []
    (request,) = fake_nats.requests
    assert request.json["filters"]["$or"][1] == {"text": {"$ilike": r"%100\%\_\\%"}}
    assert request.json["limit"] == 99


@pytest.mark.parametrize(("query", "limit"), [("", 10), ("  ", 10), ("tapes", 0), ("tapes", 101)])
async def test_search_asks_nothing_when_it_is_not_valid(
    plugin: QuoteDBPlugin, fake_nats: Any, query: str, limit: int
) -> None:
    with pytest.raises(ValidationError):
        await plugin.search_quotes(query, limit)
    fake_nats.assert_no_requests()


async def test_iter_quotes_reads_page_by_page(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    first = {**selected({"id": 1}, {"id": 2}, truncated=True), "next": "cursor"}
    fake_nats.respond(SELECT, [first, selected({"id": 3})])

    assert [quote["id"] async for quote in plugin.iter_quotes("tapes")] == [1, 2, 3]

    after = [request.json.get("after") for request in fake_nats.requests]
    assert after == [None, "cursor"]
    assert "$or" in fake_nats.requests[1].json["filters"]


async def test_iter_quotes_without_a_query_has_no_filter(
    plugin: QuoteDBPlugin, fake_nats: Any
) -> None:
    fake_nats.respond(SELECT, selected(QUOTE))
    assert [quote async for quote in plugin.iter_quotes()] == [QUOTE]
    assert "filters" not in fake_nats.requests[0].json


@pytest.mark.parametrize(
    ("page", "total", "pages", "has_next", "has_prev"),
    [(1, 41, 3, True, False), (2, 40, 2, False, True), (1, 0, 0, False, False)],
)
async def test_pages(
    plugin: QuoteDBPlugin,
    fake_nats: Any,
    page: int,
    total: int,
    pages: int,
    has_next: bool,
    has_prev: bool,
) -> None:
    rows = [QUOTE] if total else []
    fake_nats.respond(SEARCH, found(*rows, total=total))

    assert await plugin.get_quotes_paginated(page) == {
        "quotes": rows,
        "page": page,
        "page_size": 20,
        "total_count": total,
        "total_pages": pages,
        "has_next": has_next,
        "has_prev": has_prev,
    }
    (request,) = fake_nats.requests
    assert (request.json["limit"], request.json.get("offset", 0)) == (20, 20 * (page - 1))


@pytest.mark.parametrize(("page", "page_size"), [(0, 20), (1, 0), (1, 101)])
async def test_pages_out_of_range(
    plugin: QuoteDBPlugin, fake_nats: Any, page: int, page_size: int
) -> None:
    with pytest.raises(ValidationError):
        await plugin.get_quotes_paginated(page, page_size)
    fake_nats.assert_no_requests()


async def test_top_quotes(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(SELECT, selected({"id": 1, "score": 10}, {"id": 2, "score": 5}))

    assert [quote["score"] for quote in await plugin.top_quotes(5)] == [10, 5]

    fake_nats.assert_requested(
        SELECT,
        json={
            "filters": {"score": {"$gte": 1}},
            "sort": {"field": "score", "order": "desc"},
            "limit": 5,
        },
    )


# -- voting and deleting ------------------------------------------------------------------------


@pytest.mark.parametrize(("vote", "by"), [("upvote_quote", 1), ("downvote_quote", -1)])
async def test_a_vote_is_one_atomic_request(
    plugin: QuoteDBPlugin, fake_nats: Any, vote: str, by: int
) -> None:
    fake_nats.respond(UPDATE, voted(6))

    assert await getattr(plugin, vote)(42) == 6

    assert [request.json for request in fake_nats.requests] == [
        {
            "table": "quotes",
            "filters": {"id": {"$eq": 42}},
            "operations": {"score": {"$inc": by}},
            "returning": ["score"],
        }
    ]


async def test_a_vote_for_nothing(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(UPDATE, voted())
    with pytest.raises(QuoteNotFound, match="Quote #999 not found") as raised:
        await plugin.upvote_quote(999)
    assert raised.value.quote_id == 999
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize(
    ("vote", "message"),
    [
        ("upvote_quote", "Quote #42 is already at the maximum score"),
        ("downvote_quote", "Quote #42 is already at the minimum score"),
    ],
)
async def test_a_vote_at_the_limit(
    plugin: QuoteDBPlugin, fake_nats: Any, vote: str, message: str
) -> None:
    fake_nats.fail(UPDATE, "CONSTRAINT_VIOLATION")
    with pytest.raises(ScoreLimitReached) as raised:
        await getattr(plugin, vote)(42)
    assert str(raised.value) == message


@pytest.mark.parametrize(("number", "was_there"), [(1, True), (0, False)])
async def test_delete_quote(
    plugin: QuoteDBPlugin, fake_nats: Any, number: int, was_there: bool
) -> None:
    fake_nats.respond(DELETE, deleted(number))

    assert await plugin.delete_quote(42) is was_there

    fake_nats.assert_requested(
        DELETE, json={"filters": {"id": {"$eq": 42}}, "counters": {"total_count": -1}}, times=1
    )


# -- the total ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [42, "42"])
async def test_count_reads_one_key(plugin: QuoteDBPlugin, fake_nats: Any, value: Any) -> None:
    fake_nats.respond(KV_GET, stored(value))
    assert await plugin.count_quotes() == 42
    fake_nats.assert_requested(KV_GET, json={"key": "total_count"}, times=1)
    assert len(fake_nats.requests) == 1


async def test_count_of_no_total_counts_and_stores(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(KV_GET, {"success": True, "exists": False})
    fake_nats.respond(COUNT, {"success": True, "count": 2})
    fake_nats.respond(KV_SET, {"success": True, "stored": True})

    assert await plugin.count_quotes() == 2

    fake_nats.assert_requested(
        KV_SET, json={"key": "total_count", "value": 2, "if_absent": True}, times=1
    )


@pytest.mark.parametrize("value", ["many", "", -3, 4.5, True, None, [42]])
async def test_count_repairs_what_is_no_total(
    plugin: QuoteDBPlugin, fake_nats: Any, value: Any
) -> None:
    fake_nats.respond(KV_GET, stored(value))
    fake_nats.respond(COUNT, {"success": True, "count": 2})
    fake_nats.respond(KV_SET, {"success": True, "stored": True})

    assert await plugin.count_quotes() == 2

    fake_nats.assert_requested(KV_SET, json={"value": 2, "if_value": value}, times=1)


async def test_a_repair_counts_again_when_somebody_wrote_meanwhile(
    plugin: QuoteDBPlugin, fake_nats: Any
) -> None:
    fake_nats.respond(KV_GET, [{"success": True, "exists": False}] * 2 + [stored(1)] * 2)
    fake_nats.respond(COUNT, [{"success": True, "count": n} for n in (5, 6, 7)])
    fake_nats.respond(KV_SET, [{"success": True, "stored": done} for done in (False, False, True)])

    assert await plugin.count_quotes() == 7

    kept = [request.json for request in fake_nats.requests_to(KV_SET)]
    assert [(request["value"], request.get("if_value")) for request in kept] == [
        (5, None),
        (6, 1),
        (7, 1),
    ]


async def test_a_repair_beside_endless_writes_gives_up(
    plugin: QuoteDBPlugin, fake_nats: Any
) -> None:
    fake_nats.respond(KV_GET, stored("many"))
    fake_nats.respond(COUNT, {"success": True, "count": 2})
    fake_nats.respond(KV_SET, {"success": True, "stored": False})
    assert await plugin.count_quotes() == 2
    assert len(fake_nats.requests_to(KV_SET)) == 10


# -- what can go wrong --------------------------------------------------------------------------


async def test_timeout(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.timeout(SELECT)
    with pytest.raises(asyncio.TimeoutError) as raised:
        await plugin.get_quote(42)
    assert isinstance(raised.value, RequestTimeout)


async def test_malformed_reply(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.malformed(SELECT)
    with pytest.raises(json.JSONDecodeError) as raised:
        await plugin.get_quote(42)
    assert isinstance(raised.value, MalformedReply)


async def test_an_error_of_the_service_is_passed_on(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.fail(INSERT, "OVERLOADED")
    with pytest.raises(Overloaded) as raised:
        await plugin.add_quote("Test", "Alice", "bob")
    assert raised.value.retryable


# -- start and events ---------------------------------------------------------------------------


async def test_initialize_refuses_a_database_that_is_behind(
    plugin: QuoteDBPlugin, fake_nats: Any
) -> None:
    fake_nats.respond(STATUS, status("002_add_score_column", "003_add_tags_column", version=1))
    with pytest.raises(MigrationsPending) as raised:
        await plugin.initialize()
    assert str(raised.value) == (
        "Migrations not up to date: 002_add_score_column, 003_add_tags_column pending. "
        "Apply them before starting the plugin: rosey migrate quote-db apply"
    )
    assert isinstance(raised.value, RuntimeError)


async def test_initialize_refuses_a_service_without_the_migrations(
    plugin: QuoteDBPlugin, fake_nats: Any
) -> None:
    fake_nats.respond(STATUS, status(version=0))
    with pytest.raises(MigrationsPending, match="none of them is applied"):
        await plugin.initialize()


async def test_initialize_leaves_a_right_total_alone(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(STATUS, status())
    fake_nats.respond(KV_GET, stored(5))
    fake_nats.respond(COUNT, {"success": True, "count": 5})
    await plugin.initialize()
    await plugin.close()
    fake_nats.assert_no_requests(KV_SET)


async def test_events_tell_what_happened(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    events = await fake_nats.subscribe("rosey.event.quote-db.*")
    fake_nats.respond(INSERT, INSERTED)
    fake_nats.respond(DELETE, [deleted(1), deleted(0)])

    await plugin.add_quote("Test", "Alice", "bob")
    await plugin.delete_quote(42, by="Alice")
    await plugin.delete_quote(42, by="Alice")

    heard = [await events.next_msg(timeout=30) for _ in range(2)]
    assert [(event.subject, json.loads(event.data)) for event in heard] == [
        ("rosey.event.quote-db.added", {"id": 42, "by": "bob"}),
        ("rosey.event.quote-db.deleted", {"id": 42, "by": "Alice"}),
    ]
    assert events.pending_msgs == 0


async def test_an_event_that_is_not_published_does_not_undo_the_write(
    plugin: QuoteDBPlugin,
    fake_nats: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publish = fake_nats.publish

    async def refuse_events(subject: str, *args: Any, **options: Any) -> None:
        if subject.startswith("rosey.event."):
            raise ConnectionError("gone")
        await publish(subject, *args, **options)

    monkeypatch.setattr(fake_nats, "publish", refuse_events)
    fake_nats.respond(INSERT, INSERTED)
    with caplog.at_level(logging.ERROR):
        assert await plugin.add_quote("Test", "Alice", "bob") == 42
    assert "quote #42 was not published" in caplog.text


# -- chat ---------------------------------------------------------------------------------------


async def say(plugin: QuoteDBPlugin, text: str, *, user: str = "Alice", role: str = "user") -> str:
    return await plugin.handle_command(user, role, text)


@pytest.mark.parametrize(
    ("line", "text", "author"),
    [
        ('!quote add "Keep circulating" Joel', "Keep circulating", "Joel"),
        ("!quote add Keep circulating -- Joel", "Keep circulating", "Joel"),
        ("!quote add Keep circulating", "Keep circulating", "Unknown"),
    ],
)
async def test_command_add(
    plugin: QuoteDBPlugin, fake_nats: Any, line: str, text: str, author: str
) -> None:
    let_add(fake_nats)
    fake_nats.respond(INSERT, INSERTED)
    assert await say(plugin, line) == "Quote #42 added"
    fake_nats.assert_requested(
        INSERT, json={"data": {"text": text, "author": author, "added_by": "Alice"}}
    )


@pytest.mark.parametrize("line", ["!quote get 42", "!quote 42", "!quote #42", "get #42"])
async def test_command_get(plugin: QuoteDBPlugin, fake_nats: Any, line: str) -> None:
    fake_nats.respond(SELECT, {**selected(QUOTE), "exists": True, "data": QUOTE})
    assert await say(plugin, line) == "#42: 'Keep circulating the tapes' — MST3K"


async def test_command_get_of_nothing(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(SELECT, {**selected(), "exists": False})
    assert await say(plugin, "!quote get 999") == "Quote #999 not found"


@pytest.mark.parametrize("line", ["!quote", "!quote random"])
async def test_command_random(plugin: QuoteDBPlugin, fake_nats: Any, line: str) -> None:
    fake_nats.respond(SELECT, selected({**QUOTE, "author": None}))
    assert await say(plugin, line) == "#42: 'Keep circulating the tapes' — Unknown"


async def test_command_random_of_none(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(SELECT, selected())
    assert (
        await say(plugin, "!quote random")
        == 'There are no quotes yet. Type: !quote add "text" Author'
    )


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (
            found(QUOTE, {**QUOTE, "id": 43}, {**QUOTE, "id": 44}),
            "Found 3 quotes: #42, #43, #44\n#42: 'Keep circulating the tapes' — MST3K",
        ),
        (found(QUOTE), "Found 1 quote: #42\n#42: 'Keep circulating the tapes' — MST3K"),
        (
            found(QUOTE, total=57),
            "Found 57 quotes: #42, …\n#42: 'Keep circulating the tapes' — MST3K",
        ),
        (found(), "No quotes found for 'the tapes'"),
    ],
)
async def test_command_search(
    plugin: QuoteDBPlugin, fake_nats: Any, reply: dict[str, Any], answer: str
) -> None:
    fake_nats.respond(KV_GET, ABSENT)
    fake_nats.respond(SEARCH, reply)
    assert await say(plugin, '!quote search "the tapes"') == answer


@pytest.mark.parametrize(
    ("user", "role"),
    [("Alice", "admin"), ("Alice", "moderator"), ("Bob", "user"), ("bOB", "user")],
)
async def test_command_delete(plugin: QuoteDBPlugin, fake_nats: Any, user: str, role: str) -> None:
    fake_nats.respond(SELECT, {**selected(QUOTE), "exists": True, "data": QUOTE})
    fake_nats.respond(DELETE, deleted(1))
    assert await say(plugin, "!quote delete 42", user=user, role=role) == "Quote #42 deleted"


@pytest.mark.parametrize("role", ["user", "", "Admin", "administrator"])
async def test_command_delete_of_another_users_quote(
    plugin: QuoteDBPlugin, fake_nats: Any, role: str
) -> None:
    fake_nats.respond(SELECT, {**selected(QUOTE), "exists": True, "data": QUOTE})
    answer = await say(plugin, "!quote delete 42", user="Alice", role=role)
    assert answer == "You can only delete your own quotes"
    fake_nats.assert_no_requests(DELETE)


async def test_command_delete_of_nothing(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(SELECT, {**selected(), "exists": False})
    assert await say(plugin, "!quote delete 999") == "Quote #999 not found"


async def test_command_count(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(KV_GET, stored(42))
    assert await say(plugin, "!quote count") == "Total quotes: 42"


async def test_command_stats(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(KV_GET, stored(42))
    rows = [
        {"author": "MST3K", "quotes": 5, "score": 25},
        {"author": None, "quotes": 1, "score": -3},
    ]
    fake_nats.respond(AGGREGATE, {"success": True, "rows": rows})
    assert await say(plugin, "!quote stats") == (
        "Total quotes: 42\nMST3K: 5 quotes, score 25\nUnknown: 1 quote, score -3"
    )


@pytest.mark.parametrize(
    ("action", "answer"),
    [("upvote", "Quote #42 score: 5 (+1)"), ("downvote", "Quote #42 score: 5 (-1)")],
)
async def test_command_vote(
    plugin: QuoteDBPlugin, fake_nats: Any, action: str, answer: str
) -> None:
    fake_nats.respond(UPDATE, voted(5))
    assert await say(plugin, f"!quote {action} 42") == answer


async def test_command_upvote_at_the_limit(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.fail(UPDATE, "CONSTRAINT_VIOLATION")
    answer = await say(plugin, "!quote upvote 42")
    assert answer == "Quote #42 is already at the maximum score"


@pytest.mark.parametrize(
    ("line", "limit", "rows", "answer"),
    [
        ("!quote top", 10, [{"id": 42, "score": 10}], "Top 1 quote: #42 (score: 10)"),
        (
            "!quote top 2",
            2,
            [{"id": 42, "score": 10}, {"id": 43, "score": 8}],
            "Top 2 quotes: #42 (score: 10), #43 (score: 8)",
        ),
        ("!quote top", 10, [], "No quote has been upvoted yet. Type: !quote upvote <id>"),
    ],
)
async def test_command_top(
    plugin: QuoteDBPlugin,
    fake_nats: Any,
    line: str,
    limit: int,
    rows: list[dict[str, Any]],
    answer: str,
) -> None:
    fake_nats.respond(SELECT, selected(*rows))
    assert await say(plugin, line) == answer
    fake_nats.assert_requested(SELECT, json={"limit": limit})


async def test_command_help_lists_every_command(plugin: QuoteDBPlugin) -> None:
    lines = (await say(plugin, "!quote help")).splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == [
        "add",
        "get",
        "random",
        "search",
        "tagged",
        "tag",
        "untag",
        "delete",
        "count",
        "stats",
        "upvote",
        "downvote",
        "top",
        "fav",
        "help",
    ]
    assert await say(plugin, "!quote help get") == lines[1]


INVALID_ID = "Invalid quote ID (must be positive integer)"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("!quote add", 'Quote text cannot be empty. Type: !quote add "text" Author'),
        ('!quote add "half', 'The closing " is missing. Type: !quote add "text" Author'),
        ("!quote get", f"{INVALID_ID}. Type: !quote get <id>"),
        ("!quote get ten", f"{INVALID_ID}. Type: !quote get <id>"),
        ("!quote get 0", f"{INVALID_ID}. Type: !quote get <id>"),
        ("!quote delete -1", f"{INVALID_ID}. Type: !quote delete <id>"),
        ("!quote upvote 1 2", f"{INVALID_ID}. Type: !quote upvote <id>"),
        ("!quote downvote x", f"{INVALID_ID}. Type: !quote downvote <id>"),
        ("!quote search", "Search query cannot be empty. Type: !quote search <words>"),
        ("!quote top 101", "Invalid limit (must be 1-100). Type: !quote top [limit]"),
        ("!quote top ten", "Invalid limit (must be 1-100). Type: !quote top [limit]"),
        ("!quote serch x", "Unknown command 'serch'. Did you mean 'search'? Type: !quote help"),
        ("!quote 42 43", "Unknown command '42'. Type: !quote help"),
    ],
)
async def test_a_wrong_command_is_told_what_to_type(
    plugin: QuoteDBPlugin, fake_nats: Any, line: str, answer: str
) -> None:
    assert await say(plugin, line) == answer
    fake_nats.assert_no_requests()


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("OVERLOADED", "The quote database does not answer. Please try again in a moment."),
        ("INTERNAL_ERROR", "That did not work, and it is not your fault. The log has the reason."),
    ],
)
async def test_a_storage_error_is_not_shown_in_the_chat(
    plugin: QuoteDBPlugin, fake_nats: Any, code: str, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    fake_nats.fail(SELECT, code, "a sentence for the log")
    assert await say(plugin, "!quote get 42") == answer
    assert "a sentence for the log" in caplog.text


# -- chat over the bus --------------------------------------------------------------------------


async def listening(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(STATUS, status())
    fake_nats.respond(KV_GET, stored(5))
    fake_nats.respond(COUNT, {"success": True, "count": 5})
    await plugin.initialize()


async def send(fake_nats: Any, action: str, payload: bytes) -> dict[str, Any]:
    reply = await fake_nats.request(f"{COMMANDS}.{action}", payload, timeout=30)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


@pytest.mark.parametrize(
    ("args", "text"), [("One two -- Joel", "One two"), (["One two", "Joel"], "One two")]
)
async def test_a_command_over_the_bus(
    plugin: QuoteDBPlugin, fake_nats: Any, args: Any, text: str
) -> None:
    await listening(plugin, fake_nats)
    fake_nats.respond(KV_INCR, {"success": True, "value": 2})
    fake_nats.respond(INSERT, INSERTED)
    payload = json.dumps({"user": "bob", "role": "user", "args": args, "channel": "main"}).encode()

    assert await send(fake_nats, "add", payload) == {"success": True, "reply": "Quote #42 added"}

    fake_nats.assert_requested(INSERT, json={"data": {"text": text, "author": "Joel"}})
    await plugin.close()


async def test_a_command_over_the_bus_that_is_wrong(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    await listening(plugin, fake_nats)
    assert await send(fake_nats, "get", b'{"user": "bob", "args": "ten"}') == {
        "success": False,
        "reply": f"{INVALID_ID}. Type: !quote get <id>",
    }
    await plugin.close()


@pytest.mark.parametrize("payload", [b"", b"not json", b"\xff", b"[]", b'{"user": 7}', b"{}"])
async def test_a_payload_that_is_no_command(
    plugin: QuoteDBPlugin, fake_nats: Any, payload: bytes
) -> None:
    await listening(plugin, fake_nats)
    answer = await send(fake_nats, "get", payload)
    assert answer["success"] is False
    assert answer["reply"].startswith("Expected {'user', 'role', 'args'} as JSON: ")
    await plugin.close()


async def test_a_bug_is_answered_and_logged(
    plugin: QuoteDBPlugin,
    fake_nats: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("a bug")

    await listening(plugin, fake_nats)
    monkeypatch.setattr(plugin, "random_quote", broken)
    answer = await send(fake_nats, "random", b'{"user": "bob"}')
    assert answer == {
        "success": False,
        "reply": "That did not work, and it is not your fault. The log has the reason.",
    }
    assert "ZeroDivisionError: a bug" in caplog.text
    await plugin.close()


async def test_close_finishes_what_was_begun(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    await listening(plugin, fake_nats)
    begun, finish = asyncio.Event(), asyncio.Event()
    fake_nats.respond(KV_INCR, {"success": True, "value": 2})

    async def slow(_: Any) -> dict[str, Any]:
        begun.set()
        await finish.wait()
        return INSERTED

    fake_nats.respond(INSERT, slow)
    answer = asyncio.create_task(send(fake_nats, "add", b'{"user": "bob", "args": "x"}'))
    await begun.wait()
    closing = asyncio.create_task(plugin.close())
    for _ in range(100):  # more turns of the loop than the end of a subscription takes
        await asyncio.sleep(0)
    assert not closing.done()
    finish.set()
    await closing
    assert await answer == {"success": True, "reply": "Quote #42 added"}


async def test_a_command_that_wants_no_answer(
    plugin: QuoteDBPlugin, fake_nats: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await listening(plugin, fake_nats)
    events = await fake_nats.subscribe("rosey.event.quote-db.added")
    fake_nats.respond(KV_GET, stored(False), when={"key": "moderation_enabled"})
    fake_nats.respond(KV_INCR, {"success": True, "value": 2})
    fake_nats.respond(INSERT, INSERTED)
    await fake_nats.publish(f"{COMMANDS}.add", b'{"user": "bob", "args": "x"}')
    assert json.loads((await events.next_msg(timeout=30)).data) == {"id": 42, "by": "bob"}
    await plugin.close()
    assert not caplog.records


async def test_an_answer_that_cannot_be_sent_is_logged(
    plugin: QuoteDBPlugin,
    fake_nats: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def gone(*_: Any) -> None:
        raise ConnectionError("gone")

    await listening(plugin, fake_nats)
    monkeypatch.setattr(Msg, "respond", gone)
    await fake_nats.publish(f"{COMMANDS}.help", b'{"user": "bob"}', reply="nobody.listens")
    await fake_nats.flush()
    await plugin.close()
    assert "A command on rosey.command.quote-db.help was not answered" in caplog.text


async def test_closing_twice_or_without_a_start_is_fine(
    plugin: QuoteDBPlugin, fake_nats: Any
) -> None:
    await plugin.close()
    await listening(plugin, fake_nats)
    await plugin.close()
    await plugin.close()


# -- older suites -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "given", "kept"),
    [
        ("_validate_text", "  Test  ", "Test"),
        ("_validate_author", None, "Unknown"),
        ("_validate_username", "bob", "bob"),
        ("_validate_quote_id", 42, 42),
        ("_validate_limit", 10, 10),
    ],
)
async def test_the_rules_have_the_names_of_the_product_document(
    plugin: QuoteDBPlugin, rule: str, given: Any, kept: Any
) -> None:
    assert getattr(plugin, rule)(given) == kept


async def test_hand_made_replies_need_only_what_the_plugin_reads(
    mock_nats: Any, make_nats_response: Any
) -> None:
    plugin = QuoteDBPlugin(mock_nats)
    mock_nats.request.side_effect = [
        make_nats_response({"id": 42}),
        make_nats_response({"rows": [{"id": 42, "text": "Test"}]}),
        make_nats_response({"rows": [{"id": 1, "author": "Alice"}, {"id": 2, "author": "Alice"}]}),
        make_nats_response({"rows": [{"id": 1, "score": 10}]}),
        make_nats_response({"exists": True, "value": "42"}),
        make_nats_response({"deleted": 1}),
    ]

    assert await plugin.add_quote("Test", "Alice", "bob") == 42
    quote = await plugin.get_quote(42)
    assert quote is not None
    assert quote["text"] == "Test"
    assert len(await plugin.search_quotes("Alice")) == 2
    assert len(await plugin.top_quotes(5)) == 1
    assert await plugin.count_quotes() == 42
    assert await plugin.delete_quote(42) is True
