"""The plugin over HTTP, through a real server."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from dbservice.runtime.clock import ManualClock
from dbservice.runtime.http import HttpServer
from reference_plugin_quote_db import QuoteDBPlugin

pytestmark = pytest.mark.asyncio

Answer = tuple[int, dict[str, str], bytes]
Get = Callable[[str], Awaitable[Answer]]


@pytest_asyncio.fixture
async def plugin(rosey_plugin: Any) -> QuoteDBPlugin:
    plugin: QuoteDBPlugin = await rosey_plugin(
        QuoteDBPlugin, namespace="quote-db", migrate=True, clock=ManualClock()
    )
    return plugin


@pytest_asyncio.fixture
async def get(plugin: QuoteDBPlugin) -> AsyncIterator[Get]:
    server = HttpServer(plugin.http_routes())
    await server.start()

    def fetch(path: str) -> Answer:
        try:
            with urllib.request.urlopen(server.url + path, timeout=30) as response:  # noqa: S310
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    async def fetched(path: str) -> Answer:
        return await asyncio.to_thread(fetch, path)

    yield fetched
    await server.stop()


async def open_breaker(plugin: QuoteDBPlugin, nats_faults: Any) -> None:
    nats_faults.no_responders("rosey.db.>")
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await plugin.upvote_quote(1)


async def test_a_quote_is_safe_in_a_page(plugin: QuoteDBPlugin, get: Get) -> None:
    quote_id = await plugin.add_quote('<script>alert("x")</script>', "<b>Joel</b>", "'bob'")
    status, headers, body = await get(f"/quotes/{quote_id}")
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert headers["Content-Security-Policy"] == "default-src 'self'; script-src 'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Rosey-Request-Id"]
    assert b"<" not in body
    quote = json.loads(body)
    assert quote["text"] == "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;"
    assert quote["author"] == "&lt;b&gt;Joel&lt;/b&gt;"
    assert quote["added_by"] == "&#x27;bob&#x27;"
    assert quote["id"] == quote_id


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/quotes/999", 404, "Quote #999 not found"),
        ("/quotes/", 400, "Invalid quote ID"),
        ("/quotes/1/../2", 400, "Invalid quote ID"),
        ("/quotes/%3Cscript%3E", 400, "Invalid quote ID"),
        ("/quotes/99999999999999999999", 400, "Invalid quote ID"),
        ("/nothing", 404, "Nothing is served at '/nothing'"),
    ],
)
async def test_what_is_no_quote(get: Get, path: str, status: int, message: str) -> None:
    got, headers, body = await get(path)
    assert got == status
    assert message in json.loads(body)["error"]["message"]
    assert b"script" not in body
    assert headers["Content-Security-Policy"] == "default-src 'self'; script-src 'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


async def test_health_when_all_is_well(get: Get) -> None:
    status, headers, body = await get("/health")
    assert status == 200
    assert json.loads(body) == {
        "status": "healthy",
        "checks": {"nats": "healthy", "database": "healthy", "circuit_breaker": "healthy"},
    }
    assert headers["X-Frame-Options"] == "DENY"
    assert (await get("/ready"))[0] == 200
    assert json.loads((await get("/plugin/quote-db/health"))[2]) == {
        "status": "healthy",
        "migrations": "up_to_date",
    }


async def test_health_while_the_service_is_away(
    plugin: QuoteDBPlugin, get: Get, nats_faults: Any
) -> None:
    await open_breaker(plugin, nats_faults)
    status, _, body = await get("/health")
    assert status == 503
    assert json.loads(body)["checks"]["circuit_breaker"] == "unhealthy: circuit breaker open"
    status, _, body = await get("/ready")
    assert status == 503
    assert "circuit breaker open" in json.loads(body)["reason"]
    status, _, body = await get("/plugin/quote-db/health")
    assert status == 503
    assert json.loads(body)["migrations"].startswith("unknown: ")
    status, headers, body = await get("/quotes/1")
    assert status == 503
    assert int(headers["Retry-After"]) == 60
    assert json.loads(body)["error"]["message"] == "Quote service temporarily unavailable"


async def test_health_with_a_pending_migration(get: Get, rosey_migrations: Any) -> None:
    await rosey_migrations.rollback("quote-db")
    status, _, body = await get("/plugin/quote-db/health")
    assert status == 503
    assert "rosey migrate quote-db apply" in json.loads(body)["migrations"]


async def test_a_plugin_that_was_not_started_is_not_ready(plugin: QuoteDBPlugin, get: Get) -> None:
    await plugin.close()
    status, _, body = await get("/ready")
    assert status == 503
    assert "not initialized" in json.loads(body)["reason"]


async def test_metrics(plugin: QuoteDBPlugin, get: Get) -> None:
    await plugin.get_quote(1)
    status, headers, body = await get("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    assert b'quote_operations_total{operation="get",status="success"} 1.0' in body
    assert b'quote_system_info{plugin="quote-db"' in body
