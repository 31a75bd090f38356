"""The plugin over HTTP, through a real server."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from dbservice.cli.plugins import routes
from dbservice.runtime.clock import ManualClock
from dbservice.runtime.http_server import HttpServer
from reference_plugin_quote_db import QuoteDBPlugin
from reference_plugin_quote_db.errors import CircuitBreakerError

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
async def get(plugin: QuoteDBPlugin, nats_client: Any) -> Get:
    def fetch(url: str) -> Answer:
        try:
            with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    async def fetched(path: str) -> Answer:
        # A server for each question: answers about health are shared for a second.
        server = HttpServer(routes(plugin, nats_client, "quote-db"))
        await server.start()
        try:
            return await asyncio.to_thread(fetch, server.url + path)
        finally:
            await server.stop()

    return fetched


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
    assert json.loads(body)["reason"] == "plugin: unhealthy: no database service answers"
    status, _, body = await get("/plugin/quote-db/health")
    assert status == 503
    assert json.loads(body)["migrations"] == "no database service answers"
    status, headers, body = await get("/quotes/1")
    assert status == 503
    assert int(headers["Retry-After"]) == 60
    assert json.loads(body)["error"]["message"] == "Quote service temporarily unavailable"


async def test_a_probe_that_succeeds_ends_the_wait_of_the_breaker(
    plugin: QuoteDBPlugin, get: Get, nats_faults: Any
) -> None:
    """The service is back after a second; the breaker would wait for another 59."""
    await open_breaker(plugin, nats_faults)
    with pytest.raises(CircuitBreakerError):
        await plugin.upvote_quote(1)
    nats_faults.lift()
    assert (await get("/ready"))[0] == 200
    assert await plugin.upvote_quote(1)


async def test_a_probe_that_fails_leaves_the_breaker_open(
    plugin: QuoteDBPlugin, get: Get, nats_faults: Any
) -> None:
    await open_breaker(plugin, nats_faults)
    assert (await get("/ready"))[0] == 503
    with pytest.raises(CircuitBreakerError):
        await plugin.upvote_quote(1)


async def test_it_is_not_ready_when_its_tables_were_rolled_back(
    get: Get, rosey_migrations: Any
) -> None:
    await rosey_migrations.rollback_all("quote-db")
    for page in ("/ready", "/health", "/plugin/quote-db/health"):
        status, _, body = await get(page)
        assert status == 503, page
        assert b"migrations are not applied" in body


async def test_it_is_not_ready_when_nats_is_gone(get: Get, nats_client: Any) -> None:
    await nats_client.close()
    status, _, body = await get("/ready")
    assert status == 503
    cause = "unhealthy: not connected to the NATS server"
    assert json.loads(body)["reason"] == f"nats: {cause}; plugin: {cause}"


async def test_a_service_that_is_silent_is_the_one_cause(get: Get, nats_faults: Any) -> None:
    nats_faults.drop_request("rosey.db.>")
    status, _, body = await get("/ready")
    assert status == 503
    cause = "the database service does not answer in time"
    assert json.loads(body)["reason"] == f"plugin: unhealthy: {cause}"


async def test_health_with_a_pending_migration(get: Get, rosey_migrations: Any) -> None:
    await rosey_migrations.rollback("quote-db")
    status, _, body = await get("/plugin/quote-db/health")
    assert status == 503
    assert json.loads(body)["migrations"] == "migrations are not applied"


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
