"""Metrics, traces, request ids; and that the monitoring asks for metrics that exist."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dbservice.runtime.clock import ManualClock
from reference_plugin_quote_db import QuoteDBPlugin, tracing
from reference_plugin_quote_db.errors import QuoteNotFound
from reference_plugin_quote_db.metrics import USERS_AT_MOST, Metrics

pytestmark = pytest.mark.asyncio

MONITORING = Path(tracing.__file__).with_name("monitoring")
INSERT = "rosey.db.row.quote-db.insert"
SELECT = "rosey.db.row.quote-db.select"
UPDATE = "rosey.db.row.quote-db.update"
ROW = {"id": 1, "text": "x", "author": "a", "added_by": "b", "timestamp": 1, "score": 0, "tags": []}
SELECTED = {"success": True, "rows": [ROW], "count": 1, "truncated": False}
INSERTED = {"success": True, "id": 42, "created": True}


@pytest.fixture
def plugin(fake_nats: Any) -> QuoteDBPlugin:
    return QuoteDBPlugin(fake_nats, clock=ManualClock(1000))


def samples(plugin: QuoteDBPlugin) -> dict[tuple[str, ...], float]:
    """Return each sample by its name and the values of its labels."""
    _, page = plugin.metrics_page()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


# -- metrics ------------------------------------------------------------------------------------


async def test_operations_are_counted_by_outcome(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(INSERT, [INSERTED, INSERTED, TimeoutError()])
    fake_nats.respond(UPDATE, {"success": True, "updated": 0, "rows": []})
    await plugin.add_quote("x", None, "b")
    await plugin.add_quote("x", None, "b")
    with pytest.raises(TimeoutError):
        await plugin.add_quote("x", None, "b")
    with pytest.raises(QuoteNotFound):
        await plugin.upvote_quote(1)

    found = samples(plugin)
    assert found["quote_operations_total", "add", "success"] == 2
    assert found["quote_operations_total", "add", "error"] == 1
    assert found["quote_operations_total", "update", "refused"] == 1
    assert found["quote_operations_total", "update", "error"] == 0
    assert found["quote_operation_duration_seconds_count", "add"] == 3
    assert found["quote_active_operations", "add"] == 0


async def test_operations_in_progress(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    seen: list[float] = []

    def look(_: Any) -> Any:
        seen.append(samples(plugin)["quote_active_operations", "add"])
        return INSERTED

    fake_nats.respond(INSERT, look)
    await plugin.add_quote("x", None, "b")
    assert seen == [1]


async def test_cache_and_breaker(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    fake_nats.respond(SELECT, SELECTED)
    for _ in range(3):
        await plugin.get_quote(1)
    found = samples(plugin)
    assert found["quote_cache_hits_total",] == 2
    assert found["quote_cache_misses_total",] == 1
    assert found["quote_circuit_breaker_state", "closed"] == 1
    assert found["quote_degradation_level",] == 1

    fake_nats.timeout(UPDATE)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await plugin.upvote_quote(2)
    found = samples(plugin)
    assert found["quote_circuit_breaker_state", "open"] == 1
    assert found["quote_circuit_breaker_state", "closed"] == 0
    assert found["quote_degradation_level",] == 2
    assert found["quote_queued_writes",] == 0


async def test_each_plugin_counts_for_itself(plugin: QuoteDBPlugin, fake_nats: Any) -> None:
    other = QuoteDBPlugin(fake_nats)
    fake_nats.respond(INSERT, INSERTED)
    await plugin.add_quote("x", None, "b")
    assert ("quote_operations_total", "add", "success") not in samples(other)


async def test_users_cannot_fill_the_memory_with_series() -> None:
    metrics = Metrics("quote-db")
    for number in range(USERS_AT_MOST + 5):
        metrics.rate_limited(f"user{number}")
    metrics.rate_limited("user0")
    _, page = metrics.page()
    assert b'quote_ratelimit_exceeded_total{user="user0"} 2.0' in page
    assert b'quote_ratelimit_exceeded_total{user="other"} 5.0' in page


# -- monitoring ---------------------------------------------------------------------------------


def asked_for() -> set[str]:
    """Return the names of the metrics in the expressions of the dashboard and the rules."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = (MONITORING / "alert_rules.yml").read_text("utf-8").partition("rules:")[2]
    return set(re.findall(r"\bquote_[a-z_]+", "\n".join([*expressions, rules])))


async def test_the_monitoring_asks_for_metrics_that_exist(
    plugin: QuoteDBPlugin, fake_nats: Any
) -> None:
    fake_nats.respond(INSERT, INSERTED)
    await plugin.add_quote("x", None, "b")
    plugin._observer.metrics.rate_limited("bob")  # noqa: SLF001 - series appear when counted
    existing = {name for name, *_ in samples(plugin)}
    assert asked_for() - existing == set()
    assert len(asked_for()) >= 8


async def test_every_alert_of_the_product_document_is_there() -> None:
    rules = (MONITORING / "alert_rules.yml").read_text("utf-8")
    named = set(re.findall(r"- alert: (\w+)", rules))
    assert named >= {
        "QuoteDBHighErrorRate",
        "QuoteDBHighLatency",
        "QuoteDBCircuitBreakerOpen",
        "QuoteDBRateLimitAbuse",
        "QuoteDBLowCacheHitRate",
    }


# -- traces -------------------------------------------------------------------------------------


async def test_spans_and_the_trace_context(fake_nats: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    traces = tracing.Tracing(provider.get_tracer("test"))
    monkeypatch.setattr(tracing, "configured", lambda: traces)

    fake_nats.respond(INSERT, INSERTED)
    await QuoteDBPlugin(fake_nats).add_quote("x", None, "b")

    validate, request, operation = exporter.get_finished_spans()
    assert (operation.name, request.name) == ("quote.add", "quote.nats_request")
    assert validate.name == "quote.validate"
    assert validate.parent.span_id == request.parent.span_id == operation.context.span_id
    assert operation.attributes == {
        "quote.author": "Unknown",
        "quote.added_by": "b",
        "quote.text_length": 1,
        "quote.id": 42,
    }
    assert request.attributes["nats.subject"] == INSERT
    trace_id = f"{operation.context.trace_id:032x}"
    assert trace_id in fake_nats.requests[0].headers["traceparent"]


async def test_without_a_provider_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    monkeypatch.delenv("OTEL_PYTHON_TRACER_PROVIDER", raising=False)
    assert tracing.configured() is None
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "sdk_tracer_provider")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert tracing.configured() is None


# -- request ids --------------------------------------------------------------------------------


async def test_everything_done_for_a_command_has_one_request_id(
    plugin: QuoteDBPlugin, fake_nats: Any
) -> None:
    absent = {"success": True, "exists": False}
    fake_nats.respond("rosey.db.kv.quote-db.get", absent)
    fake_nats.respond("rosey.db.kv.quote-db.incr", {"success": True, "value": 2})
    fake_nats.respond(INSERT, INSERTED)
    await plugin.handle_command("bob", "user", "!quote add x")
    await plugin.handle_command("bob", "admin", "!quote add y")
    ids = [request.headers["Rosey-Request-Id"] for request in fake_nats.requests]
    assert len(ids) == 5 + 3
    assert len(set(ids[:5])) == len(set(ids[5:])) == 1
    assert ids[0] != ids[5]


async def test_the_gateways_request_id_is_kept(rosey_plugin: Any, nats_client: Any) -> None:
    plugin = await rosey_plugin(QuoteDBPlugin, namespace="quote-db", migrate=True)
    seen: list[str] = []
    request = plugin._bus.request  # noqa: SLF001 - the way to the bus

    async def spy(*args: Any, **options: Any) -> Any:
        seen.append(options["headers"]["Rosey-Request-Id"])
        return await request(*args, **options)

    plugin._bus.request = spy  # noqa: SLF001
    await nats_client.request(
        "rosey.command.quote-db.get",
        b'{"user": "bob", "args": "1"}',
        timeout=10,
        headers={"Rosey-Request-Id": "from-the-gateway"},
    )
    assert seen == ["from-the-gateway"]


async def test_failures_are_logged_with_their_kind(
    plugin: QuoteDBPlugin, fake_nats: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake_nats.timeout(INSERT)
    fake_nats.fail(SELECT, "INTERNAL_ERROR")
    with caplog.at_level(logging.DEBUG):
        for doing in (plugin.add_quote("x", None, "b"), plugin.get_quote(1)):
            with pytest.raises(Exception, match=r"No reply|stubbed failure"):
                await doing
    logged = [vars(record).get("event") for record in caplog.records]
    assert logged.index("quote.add.start") < logged.index("quote.add.timeout")
    assert "quote.get.error" in logged
