"""The legacy plugin: what both plugins do alike, what the legacy one does worse, and the switch."""

from __future__ import annotations

import ast
import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import pytest_asyncio

import reference_plugin_quote_db
from dbservice.runtime.http import Request, Response
from reference_plugin_quote_db import legacy, plugin
from reference_plugin_quote_db.legacy import switch
from reference_plugin_quote_db.legacy.chat import LegacyChat

pytestmark = pytest.mark.asyncio

Plugin = Any
"""Either of the two."""


@pytest_asyncio.fixture
async def old(tmp_path: Path) -> AsyncIterator[legacy.QuoteDBPlugin]:
    started = legacy.QuoteDBPlugin(str(tmp_path / "quotes.db"))
    await started.initialize()
    yield started
    await started.close()


@pytest_asyncio.fixture
async def new(rosey_plugin: Any) -> plugin.QuoteDBPlugin:
    started: plugin.QuoteDBPlugin = await rosey_plugin(plugin.QuoteDBPlugin, namespace="quote-db")
    for quote in await started.search_quotes("MST3K"):  # the first quotes of the migrations
        await started.delete_quote(quote["id"])
    return started


@pytest_asyncio.fixture(params=["old", "new"])
async def quotes(old: Plugin, new: Plugin, request: pytest.FixtureRequest) -> Plugin:
    """Each of the two in turn, without quotes."""
    return {"old": old, "new": new}[request.param]


async def score(quotes: Plugin, quote_id: int) -> int:
    quote = await quotes.get_quote(quote_id)
    assert quote is not None
    return int(quote["score"])


def texts(found: list[dict[str, Any]]) -> set[str]:
    return {quote["text"] for quote in found}


# -- what both do alike -------------------------------------------------------------------------


async def test_the_life_of_a_quote(quotes: Plugin) -> None:
    quote_id = await quotes.add_quote("Watch out for snakes!", "Eegah", "joel")
    quote = await quotes.get_quote(quote_id)
    assert quote["id"] == quote_id
    assert quote["timestamp"] > 1_700_000_000
    assert (quote["text"], quote["author"], quote["added_by"], quote["score"]) == (
        "Watch out for snakes!",
        "Eegah",
        "joel",
        0,
    )
    assert await quotes.count_quotes() == 1
    assert (await quotes.random_quote())["id"] == quote_id
    assert await quotes.delete_quote(quote_id) is True
    assert await quotes.delete_quote(quote_id) is False
    assert await quotes.get_quote(quote_id) is None
    assert await quotes.count_quotes() == 0
    assert await quotes.random_quote() is None


async def test_an_id_is_not_used_again(quotes: Plugin) -> None:
    first = await quotes.add_quote("One", "Alice", "bob")
    await quotes.delete_quote(first)
    assert await quotes.add_quote("Two", "Alice", "bob") == first + 1


async def test_an_unknown_author(quotes: Plugin) -> None:
    quote = await quotes.get_quote(await quotes.add_quote("Anonymous", "", "bob"))
    assert quote["author"] == "Unknown"


@pytest.mark.parametrize(("text", "author"), [("", "A"), ("x" * 1001, "A"), ("x", "A" * 101)])
async def test_what_neither_takes(quotes: Plugin, text: str, author: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)quote text|author name"):
        await quotes.add_quote(text, author, "bob")
    assert await quotes.count_quotes() == 0


@pytest.mark.parametrize(
    "text", ["x" * 1000, "'; DROP TABLE quotes; --", "你好 👨‍👩‍👧", "two\nlines"]
)
async def test_what_both_take(quotes: Plugin, text: str) -> None:
    quote_id = await quotes.add_quote(text, "A" * 100, "bob")
    assert (await quotes.get_quote(quote_id))["text"] == text


async def test_search_in_text_and_author_without_case(quotes: Plugin) -> None:
    await quotes.add_quote("All about eclairs", "Alice", "bob")
    await quotes.add_quote("Something else", "Madame ECLAIRS", "bob")
    await quotes.add_quote("Nothing of it", "Carol", "bob")
    assert texts(await quotes.search_quotes("Eclair")) == {"All about eclairs", "Something else"}
    assert len(await quotes.search_quotes("e", limit=2)) == 2
    assert await quotes.search_quotes("not there") == []


async def test_votes_and_the_top_list(quotes: Plugin) -> None:
    ids = await quotes.add_quotes(
        [{"text": text, "author": "A", "added_by": "bob"} for text in ("low", "high", "none")]
    )
    assert len(set(ids)) == 3
    low, high, none = ids
    assert await quotes.upvote_quote(low) == 1
    assert [await quotes.upvote_quote(high) for _ in range(3)] == [1, 2, 3]
    assert await quotes.downvote_quote(high) == 2
    assert await quotes.downvote_quote(none) == -1
    assert [quote["id"] for quote in await quotes.top_quotes()] == [high, low]
    assert [quote["id"] for quote in await quotes.top_quotes(1)] == [high]


@pytest.mark.parametrize("vote", ["upvote_quote", "downvote_quote"])
async def test_a_vote_for_nothing(quotes: Plugin, vote: str) -> None:
    with pytest.raises(ValueError, match="not found"):
        await getattr(quotes, vote)(42)


# -- the race -----------------------------------------------------------------------------------


async def test_two_votes_at_once_are_one_to_the_legacy_plugin(
    old: legacy.QuoteDBPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both read the score before either writes it: here always, in production now and then."""
    quote_id = await old.add_quote("Race", "Alice", "bob")
    both_have_read = asyncio.Barrier(2)
    assert old.connection is not None
    execute = old.connection.execute

    async def execute_after_both_reads(sql: str, *values: Any) -> Any:
        if sql.startswith("UPDATE"):
            await both_have_read.wait()
        return await execute(sql, *values)

    monkeypatch.setattr(old.connection, "execute", execute_after_both_reads)
    answers = await asyncio.gather(old.upvote_quote(quote_id), old.upvote_quote(quote_id))
    monkeypatch.undo()
    assert list(answers) == [1, 1]
    assert await score(old, quote_id) == 1


async def test_a_hundred_votes_at_once(
    old: legacy.QuoteDBPlugin,
    new: plugin.QuoteDBPlugin,
    record_property: Any,
) -> None:
    scores = {}
    for name, quotes in (("legacy", old), ("modern", new)):
        quote_id = await quotes.add_quote("Race", "Alice", "bob")
        await asyncio.gather(*(quotes.upvote_quote(quote_id) for _ in range(100)))
        scores[name] = await score(quotes, quote_id)
        record_property(f"{name} score after 100 concurrent upvotes", scores[name])
    print(f"100 concurrent upvotes: {scores}")  # noqa: T201 - shown with -rP
    assert 1 <= scores["legacy"] <= 100
    assert scores["modern"] == 100


async def test_calls_of_the_legacy_plugin_share_a_transaction(old: legacy.QuoteDBPlugin) -> None:
    """The commit of one call commits what another has begun, even if that one then fails."""
    quote_id = await old.add_quote("One", "Alice", "bob")
    assert old.connection is not None
    await old.connection.execute("DELETE FROM quotes WHERE id = ?", (quote_id,))
    await old.add_quote("Two", "Alice", "bob")
    await old.connection.rollback()
    assert await old.get_quote(quote_id) is None


# -- where the modern plugin differs on purpose ---------------------------------------------------


async def test_wildcards(old: Plugin, new: Plugin) -> None:
    for quotes in (old, new):
        await quotes.add_quotes(
            [{"text": text, "author": "A", "added_by": "b"} for text in ("100% sure", "100 sure")]
        )
    assert texts(await old.search_quotes("100%s")) == {"100% sure", "100 sure"}
    assert texts(await new.search_quotes("100% s")) == {"100% sure"}


async def test_case_beyond_ascii(old: Plugin, new: Plugin) -> None:
    for quotes in (old, new):
        await quotes.add_quote("ÉCLAIRS", "A", "b")
    assert await old.search_quotes("éclairs") == []
    assert texts(await new.search_quotes("éclairs")) == {"ÉCLAIRS"}


async def test_a_bad_quote_among_many(old: Plugin, new: Plugin) -> None:
    many = [{"text": text, "author": "A", "added_by": "b"} for text in ("good", "", "too late")]
    for quotes in (old, new):
        with pytest.raises(ValueError, match="Quote"):
            await quotes.add_quotes(many)
    assert await old.count_quotes() == 1
    assert await new.count_quotes() == 0


async def test_scores_without_limit(old: Plugin, new: Plugin) -> None:
    for quotes in (old, new):
        quote_id = await quotes.add_quote("Loved", "A", "b")
        for _ in range(100):
            await quotes.upvote_quote(quote_id)
    assert await old.upvote_quote(1) == 101
    with pytest.raises(ValueError, match="already at the maximum score"):
        await new.upvote_quote(quote_id)


# -- the file -----------------------------------------------------------------------------------


async def test_a_file_from_before_voting(tmp_path: Path) -> None:
    path = tmp_path / "older.db"
    async with aiosqlite.connect(path) as connection:
        await connection.execute(
            "CREATE TABLE quotes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, "
            "author TEXT DEFAULT 'Unknown', added_by TEXT NOT NULL, timestamp INTEGER NOT NULL)"
        )
        await connection.execute("INSERT INTO quotes VALUES (7, 'Old', 'A', 'b', 1500000000)")
        await connection.commit()
    for _ in range(2):  # what is in the file outlives the plugin
        quotes = legacy.QuoteDBPlugin(str(path))
        await quotes.initialize()
        voted = await quotes.upvote_quote(7)
        await quotes.close()
    assert voted == 2


async def test_a_legacy_plugin_that_is_not_connected() -> None:
    quotes = legacy.QuoteDBPlugin()
    assert quotes.db_path == "quotes.db"
    with pytest.raises(RuntimeError, match="initialize"):
        await quotes.count_quotes()
    await quotes.close()


# -- the switch ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["true", "TRUE", "1", "yes", "on", " true "])
@pytest.mark.parametrize("name", ["QUOTE_DB_LEGACY", "QUOTE_DB_USE_LEGACY", "USE_LEGACY_STORAGE"])
async def test_the_way_back(
    name: str, value: str, fake_nats: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert isinstance(plugin.QuoteDBPlugin.for_production(fake_nats), LegacyChat)


@pytest.mark.parametrize("value", ["false", "0", "", "no", "off", "never"])
async def test_the_modern_plugin_is_the_rule(
    value: str, fake_nats: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUOTE_DB_LEGACY", value)
    assert type(plugin.QuoteDBPlugin.for_production(fake_nats)) is plugin.QuoteDBPlugin


@pytest.mark.parametrize(("value", "told"), [("ture", True), ("", False), ("off", False)])
async def test_a_switch_that_says_neither_is_told(
    value: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert not switch.legacy_wanted({"QUOTE_DB_USE_LEGACY": value})
    assert ("QUOTE_DB_USE_LEGACY is neither true nor false" in caplog.text) is told


async def test_the_newest_spelling_wins() -> None:
    assert not switch.legacy_wanted({"QUOTE_DB_LEGACY": "false", "QUOTE_DB_USE_LEGACY": "true"})
    assert not switch.legacy_wanted({})


async def test_the_file_is_named_by_the_environment() -> None:
    assert switch.legacy_file({}) == Path("quotes.db")
    assert switch.legacy_file({"QUOTE_DB_LEGACY_FILE": " "}) == Path("quotes.db")
    assert switch.legacy_file({"QUOTE_DB_LEGACY_FILE": "/a/b.db"}) == Path("/a/b.db")


@pytest_asyncio.fixture
async def chat(old: legacy.QuoteDBPlugin, nats_client: Any) -> AsyncIterator[LegacyChat]:
    await old.add_quote("Movie sign!", "Crow", "ada")
    started = LegacyChat(nats_client, Path(old.db_path))
    await started.initialize()
    yield started
    await started.close()


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ('add "Hikeeba!" Joel', "Quote #2 added"),
        ("get 1", "#1: 'Movie sign!' — Crow"),
        ("get 9", "Quote #9 not found"),
        ("random", "#1: 'Movie sign!' — Crow"),
        ("search MOVIE", "Found 1 quote: #1\n#1: 'Movie sign!' — Crow"),
        ("search nothing", "No quotes found for 'nothing'"),
        ("upvote 1", "Quote #1 score: 1 (+1)"),
        ("downvote 1", "Quote #1 score: -1 (-1)"),
        ("upvote 9", "Quote #9 not found"),
        ("top", "No quote has been upvoted yet. Type: !quote upvote <id>"),
        ("count", "Total quotes: 1"),
        ("delete 1", "Quote #1 deleted"),
        ("delete 9", "Quote #9 not found"),
        ("stats", "The quote database runs as it was before tags, statistics and favourites."),
        (
            "tag 1 funny",
            "The quote database runs as it was before tags, statistics and favourites.",
        ),
        ("fav", "The quote database runs as it was before tags, statistics and favourites."),
        ("fav 1", "The quote database runs as it was before tags, statistics and favourites."),
        (
            "tagged funny",
            "The quote database runs as it was before tags, statistics and favourites.",
        ),
    ],
)
async def test_the_chat_of_today_on_the_file_of_yesterday(
    chat: LegacyChat, line: str, reply: str
) -> None:
    assert await chat.handle_command("Ada", "user", f"!quote {line}") == reply


async def test_its_pages_tell_whether_its_file_and_the_bus_are_there(
    chat: LegacyChat, nats_client: Any
) -> None:
    async def ready() -> Response:
        # Routes of their own for each question: an answer is shared for a second.
        return await chat.http_routes()["/ready"](Request("/ready"))

    assert (await ready()).status == 200
    aside = chat.path.rename(chat.path.with_name("aside.db"))
    assert b"its file is not the one any more" in (await ready()).body
    aside.rename(chat.path)
    assert (await ready()).status == 200
    await nats_client.close()
    assert b"not connected to the NATS server" in (await ready()).body


async def test_rights_hold_after_the_way_back_too(chat: LegacyChat) -> None:
    refused = "You can only delete your own quotes"
    assert await chat.handle_command("bob", "user", "delete 1") == refused
    banned = "User is banned from deleting quotes"
    assert await chat.handle_command("ada", "banned", "delete 1") == banned
    assert "banned" in await chat.handle_command("ada", "banned", "add x -- y")
    assert await chat.handle_command("bob", "moderator", "delete 1") == "Quote #1 deleted"


async def test_commands_reach_it_over_the_bus(chat: LegacyChat, nats_client: Any) -> None:
    subject = f"rosey.command.{chat.namespace}.count"
    reply = await nats_client.request(subject, b'{"user": "ada"}', timeout=30)
    assert json.loads(reply.data) == {"success": True, "reply": "Total quotes: 1"}


async def test_the_start_says_what_is_not_in_the_file(
    old: legacy.QuoteDBPlugin, caplog: pytest.LogCaptureFixture
) -> None:
    chat = LegacyChat(None, Path(old.db_path))
    await chat.initialize()
    await chat.close()
    assert "since the switch to the database service are not in that file" in caplog.text
    assert "rosey export quote-db quote-db.jsonl" in caplog.text


async def test_no_file_is_made_where_none_is(tmp_path: Path) -> None:
    path = tmp_path / "mistyped.db"
    with pytest.raises(RuntimeError, match="QUOTE_DB_LEGACY_FILE=") as told:
        await LegacyChat(None, path).initialize()
    assert str(path) in str(told.value)
    assert not path.exists()


# -- the arrows ---------------------------------------------------------------------------------


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


async def test_only_the_legacy_side_knows_a_database_driver() -> None:
    drivers = {"aiosqlite", "sqlite3", "sqlalchemy", "asyncpg"}
    package = Path(reference_plugin_quote_db.__file__).parent
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if imported(path) & drivers and "tests" not in path.parts
    }
    assert found == {"legacy/plugin.py", "legacy/file.py"}


async def test_the_legacy_plugin_stands_alone() -> None:
    assert imported(Path(legacy.__file__).with_name("plugin.py")) == {
        "__future__",
        "aiosqlite",
        "logging",
        "time",
        "typing",
    }
