"""`rosey serve` and `rosey migrate` as processes, asked by an ordinary NATS client."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any

import nats
import pytest

pytestmark = [pytest.mark.asyncio, pytest.mark.process]


@pytest.fixture
async def client(nats_server):
    connected = await nats.connect(nats_server.url, max_reconnect_attempts=1)
    yield connected
    await connected.close()


@pytest.fixture
def ask(client):
    async def send(subject: str, payload: dict[str, Any]) -> dict[str, Any]:
        reply = await client.request(
            f"rosey.db.{subject}", json.dumps(payload).encode(), timeout=30
        )
        return json.loads(reply.data)

    return send


@pytest.fixture
def database(tmp_path):
    return str(tmp_path / "rosey.db")


async def test_the_printed_key_value_examples(serve, nats_server, database, ask):
    served = serve("--nats", nats_server.url, "--db", database)
    assert nats_server.url in served.ready_line
    name = {"plugin_name": "my-plugin"}
    printed = {**name, "key": "config", "value": {"theme": "dark"}, "ttl_seconds": 3600}
    assert await ask("kv.set", printed) == {"success": True, "data": {}}
    assert await ask("kv.get", {**name, "key": "config"}) == {
        "success": True,
        "data": {"exists": True, "value": {"theme": "dark"}},
    }
    assert await ask("kv.delete", {**name, "key": "config"}) == {
        "success": True,
        "data": {"deleted": True},
    }
    for user in ("user:alice", "user:bob"):
        await ask("kv.set", {**name, "key": user, "value": 1})
    assert await ask("kv.list", {**name, "prefix": "user:", "limit": 100}) == {
        "success": True,
        "data": {"keys": ["user:alice", "user:bob"], "count": 2, "truncated": False},
    }
    missing = await ask("kv.get", name)
    assert missing["success"] is False
    assert missing["error"]["code"] == "MISSING_FIELD"
    assert missing["error"]["message"] == "Required field 'key' is missing"
    assert served.stop() == 0


async def test_the_printed_row_and_migration_examples(serve, nats_server, database, ask, rosey):
    serve("--nats", nats_server.url, "--db", database)
    applied = await ask("migrate.quote-db.apply", {"version": "002_add_score_column"})
    assert applied["applied"] is True
    assert applied["version"] == "002"
    assert applied["duration_ms"] > 0
    done = rosey("migrate", "quote-db", "apply", "--nats", nats_server.url)
    assert done.returncode == 0, done.stderr
    status = rosey("migrate", "quote-db", "status", ROSEY_NATS=nats_server.url)
    assert status.stdout == "Up to date: 3 migrations applied\n"

    quote = {
        "text": "Keep circulating the tapes",
        "author": "MST3K",
        "added_by": "groberts",
        "timestamp": 1732291200,
    }
    inserted = await ask("row.quote-db.insert", {"table": "quotes", "data": quote})
    assert inserted["created"] is True
    key = inserted["id"]
    selected = await ask(
        "row.quote-db.select",
        {"table": "quotes", "filters": {"id": {"$eq": key}}, "limit": 1},
    )
    assert selected["rows"] == [{"id": key, **quote, "score": 0, "tags": []}]
    found = await ask(
        "row.quote-db.search",
        {
            "table": "quotes",
            "filters": {"$or": [{"author": {"$like": "%MST3K%"}}, {"text": {"$like": "%tapes%"}}]},
            "limit": 10,
        },
    )
    assert found["total"] == len(found["rows"]) == 6
    updated = await ask(
        "row.quote-db.update",
        {
            "table": "quotes",
            "filters": {"id": {"$eq": key}},
            "operations": {"score": {"$inc": 1}},
        },
    )
    assert updated["updated"] == 1
    counted = await ask("kv.quote-db.get", {"key": "total_count"})
    assert counted == {"success": True, "exists": False}
    deleted = await ask("row.quote-db.delete", {"table": "quotes", "filters": {"id": {"$eq": key}}})
    assert deleted["deleted"] == 1


async def test_what_was_acknowledged_is_there_after_a_restart(serve, nats_server, database, ask):
    first = serve("--nats", nats_server.url, "--db", database, "--migrate")
    await ask("kv.quote-db.set", {"key": "k", "value": 1})
    before = await ask("row.quote-db.count", {"table": "quotes"})
    assert first.stop() == 0
    serve("--nats", nats_server.url, "--db", database)
    assert (await ask("kv.quote-db.get", {"key": "k"}))["value"] == 1
    assert await ask("row.quote-db.count", {"table": "quotes"}) == before


async def test_sigterm_answers_what_was_taken(serve, nats_server, database, client, ask):
    served = serve("--nats", nats_server.url, "--db", database)
    asked = [
        asyncio.create_task(ask("kv.shop.incr", {"key": f"k{number}"})) for number in range(200)
    ]
    await asyncio.sleep(0)
    # nats-py lets a PING overtake what was published before it, but only once.
    await client.flush()
    await client.flush()
    assert await asyncio.to_thread(served.stop) == 0
    replies = await asyncio.gather(*asked, return_exceptions=True)
    answered = [reply for reply in replies if isinstance(reply, dict)]
    assert all(reply["success"] for reply in answered)
    serve("--nats", nats_server.url, "--db", database)
    kept = await ask("kv.shop.list", {"prefix": ""})
    assert kept["count"] == len(answered) == 200


async def test_a_file_that_a_service_holds_is_refused(serve, nats_server, database, rosey):
    serve("--nats", nats_server.url, "--db", database)
    refused = rosey("migrate", "quote-db", "apply", "--db", database)
    assert refused.returncode == 3
    assert "A service holds the database file" in refused.stderr
    assert "use --nats" in refused.stderr


async def test_migrating_a_file_directly(rosey, database):
    applied = rosey("migrate", "quote-db", "apply", "2", "--db", database)
    assert applied.returncode == 0, applied.stderr
    assert "Applied 001_create_quotes_table" in applied.stdout
    assert applied.stdout.endswith("Now at version 2.\n")
    status = rosey("migrate", "quote-db", "status", "--db", database, "--json")
    assert json.loads(status.stdout)["pending_migrations"] == ["003_add_tags_column"]
    dry = rosey("migrate", "quote-db", "apply", "--db", database, "--dry-run")
    assert "Would have applied 003_add_tags_column" in dry.stdout
    back = rosey("migrate", "quote-db", "rollback", "--all", "--db", database)
    assert back.returncode == 0, back.stderr
    assert back.stdout.endswith("Now at version 0.\n")


async def test_health_over_http(serve, nats_server, database):
    served = serve("--nats", nats_server.url, "--db", database, "--http", "127.0.0.1:0")
    place = served.ready_line.rpartition("http=")[2].strip()

    def get(path: str) -> Any:
        with urllib.request.urlopen(place + path, timeout=30) as response:
            return json.loads(response.read())

    assert await asyncio.to_thread(get, "/health") == {
        "status": "healthy",
        "checks": {"nats": "healthy", "database": "healthy", "queue": "healthy"},
    }
    assert await asyncio.to_thread(get, "/ready") == {"status": "ready"}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (
            ("serve", "--nats", "nats://127.0.0.1:1", "--db", ":memory:"),
            3,
            "No NATS server answers at",
        ),
        (("migrate", "quote-db", "status", "--nats", "nats://127.0.0.1:1"), 3, "No NATS server"),
        (("migrate", "quote-db", "status"), 2, "Say where: --nats nats://"),
        (("migrate", "quote-db", "apply", "99", "--db", ":memory:"), 1, "MIGRATION_NOT_FOUND"),
        (("migrate", "Quote DB", "status", "--db", ":memory:"), 1, "is not a plugin name"),
        (
            ("migrate", "quote-db", "status", "--db", "no/such/folder/x.db"),
            3,
            "There is no database",
        ),
        (("migrate", "quote-db", "status", "--db", "mysql://x/y"), 2, "'mysql' is not an engine"),
    ],
)
async def test_failures_have_a_sentence_and_a_code(rosey, monkeypatch, arguments, code, told):
    monkeypatch.delenv("ROSEY_NATS", raising=False)
    monkeypatch.delenv("ROSEY_DB", raising=False)
    failed = rosey(*arguments)
    assert failed.returncode == code
    assert told in failed.stderr
    assert "Traceback" not in failed.stderr
