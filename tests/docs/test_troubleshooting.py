"""The messages in docs/how-to/troubleshooting.md are what the failing thing really says."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dbservice.client import StorageClient, StorageError
from dbservice.embedded import Stack
from dbservice.engine.errors import UnavailableError
from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.legacy.file import legacy_file
from reference_plugin_quote_db.legacy.importer import LegacyImport
from tests.docs import documents

pytestmark = pytest.mark.asyncio

GUIDE = "how-to/troubleshooting.md"

QUOTE = {"text": "Hi-keeba!", "author": "Joel", "added_by": "alice", "timestamp": 1_700_000_000}

Fails = Callable[[StorageClient], Awaitable[object]]

WITH_THE_SERVICE: dict[str, Fails] = {
    "unknown column": lambda quotes: quotes.rows("quotes").select({"auther": "Joel"}),
    "unknown table": lambda quotes: quotes.rows("quote").count(),
    "unknown operator": lambda quotes: quotes.rows("quotes").select({"text": {"$regex": "tapes"}}),
    "wrong type": lambda quotes: quotes.rows("quotes").select({"score": {"$gte": "5"}}),
    "not null": lambda quotes: quotes.rows("quotes").insert({"text": "Hi-keeba!", "timestamp": 1}),
    "check": lambda quotes: quotes.rows("quotes").insert({**QUOTE, "score": 101}),
    "empty filter": lambda quotes: quotes.rows("quotes").delete({}),
    "fixed column": lambda quotes: quotes.rows("quotes").update({"id": 1}, {"id": {"$set": 2}}),
    "text column": lambda quotes: quotes.rows("quotes").update({"id": 1}, {"text": {"$inc": 1}}),
    "large value": lambda quotes: quotes.kv.set("all_quotes", "x" * 70_000),
}


def shown(name: str) -> str:
    """Return a message as the guide prints it, in one line."""
    found = [
        block
        for block in documents.blocks(GUIDE)
        if (block.kind, block.argument) == ("message", name)
    ]
    assert len(found) == 1, f"the guide has {len(found)} messages '{name}'"
    return " ".join(found[0].source.split())


def assert_shown(name: str, error: BaseException) -> None:
    message = str(error)
    assert documents.matches(shown(name), message), f"the guide should print: {message}"


@pytest.fixture
async def quotes(rosey_migrations: Any, cleanup_plugin_namespace: Any, storage: Any) -> Any:
    cleanup_plugin_namespace.after_the_test("quote-db")
    await rosey_migrations.apply("quote-db")
    return storage("quote-db")


@pytest.mark.parametrize("name", WITH_THE_SERVICE)
async def test_what_the_service_says(quotes: StorageClient, name: str) -> None:
    with pytest.raises(StorageError) as caught:
        await WITH_THE_SERVICE[name](quotes)
    assert_shown(name, caught.value)


async def test_what_the_plugin_says_without_tables(rosey_plugin: Any) -> None:
    with pytest.raises(RuntimeError) as caught:
        await rosey_plugin(QuoteDBPlugin, namespace="quote-db", migrate=False)
    assert_shown("migrations pending", caught.value)


async def test_what_the_client_says_without_a_service(nats_client: Any) -> None:
    with pytest.raises(ConnectionError) as caught:
        await StorageClient(nats_client, "quote-db").rows("quotes").count()
    assert_shown("no service", caught.value)


async def test_what_the_client_says_when_no_reply_comes(fake_nats: Any) -> None:
    fake_nats.timeout("rosey.db.row.quote-db.insert")
    with pytest.raises(TimeoutError) as caught:
        await StorageClient(fake_nats, "quote-db").rows("quotes").insert(QUOTE)
    assert_shown("timeout", caught.value)


async def test_what_the_second_process_on_a_file_hears(tmp_path: Any) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/rosey.db"
    async with Stack(database_url=url):
        with pytest.raises(UnavailableError) as caught:
            await Stack(database_url=url).__aenter__()
    assert_shown("file in use", caught.value)


async def test_what_the_import_says_about_other_quotes(
    quotes: StorageClient, tmp_path: Any
) -> None:
    from reference_plugin_quote_db.legacy import QuoteDBPlugin as Legacy

    old = Legacy(str(tmp_path / "quotes.db"))
    await old.initialize()
    for number in range(6):
        await old.add_quote(f"Old {number}", "Joel", "alice")
    await old.close()
    await quotes.rows("quotes").insert({**QUOTE, "id": 6})
    with pytest.raises(RuntimeError) as caught:
        async with legacy_file(tmp_path / "quotes.db") as file:
            await LegacyImport(quotes, file).run()
    assert_shown("conflict", caught.value)


IN_A_TEST = {
    "unstubbed": """
        async def test_unstubbed(fake_nats):
            await StorageClient(fake_nats, "polls").kv.get("visits")
        """,
    "unused stub": """
        async def test_unused(fake_nats):
            fake_nats.respond("rosey.db.kv.polls.get", {"success": True, "exists": False})
        """,
    "contract": """
        async def test_wrong(fake_nats):
            fake_nats.respond("rosey.db.kv.polls.get", {"success": True, "value": 1})
            await StorageClient(fake_nats, "polls").kv.get("visits")
        """,
    "left behind": """
        async def test_a_task(nats_client):
            async def forever():
                await asyncio.sleep(1e9)

            asyncio.create_task(forever())
        """,
}


@pytest.mark.process
async def test_what_a_test_says(pytester: Any) -> None:
    """All of them in one run, of which the error's name and pytest's margins are left out."""
    tests = map(textwrap.dedent, IN_A_TEST.values())
    imports = "import asyncio\nfrom dbservice.client import StorageClient\n"
    pytester.makepyfile(test_it=imports + "".join(tests))
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    ran = pytester.runpytest_subprocess("-q", "--tb=line", "-p", "no:randomly")
    printed = " ".join(ran.stdout.str().split())
    for name in IN_A_TEST:
        told = ".*?".join(re.escape(part) for part in shown(name).split("…"))
        assert re.search(told, printed), f"{name}: the run printed\n{ran.stdout.str()}"


async def test_every_message_is_tried() -> None:
    tried = {*WITH_THE_SERVICE, *IN_A_TEST, "migrations pending", "no service", "timeout"}
    tried |= {"file in use", "conflict"}
    printed = [block for block in documents.blocks(GUIDE) if block.kind == "message"]
    assert {block.argument for block in printed} == tried
    assert len(tried) >= 8


async def test_the_seeds_json_error_is_a_storage_error(fake_nats: Any) -> None:
    """What code written for raw NATS catches is still what is raised."""
    fake_nats.malformed("rosey.db.row.quote-db.count")
    with pytest.raises(json.JSONDecodeError):
        await StorageClient(fake_nats, "quote-db").rows("quotes").count()
