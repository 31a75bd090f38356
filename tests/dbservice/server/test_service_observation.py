"""Metrics, discovery, spans and health of the service (SPEC 3.7, 2.1)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable

import nats.micro
import pytest
from nats.errors import NoRespondersError
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.parser import text_string_to_metric_families

from dbservice.client import StorageClient
from dbservice.engine.errors import FileGoneError, FullError, NotWritableError, UnavailableError
from dbservice.protocol.operations import OPERATIONS
from dbservice.runtime import tracing
from dbservice.runtime.health import Unwell
from dbservice.server.discovery import _semantic
from dbservice.server.metrics import ServiceMetrics
from dbservice.storage.database import Database
from tests.dbservice.server.own_service import Gate, running

# -- metrics ---------------------------------------------------------------------------------------


def value(metrics: ServiceMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def counted(metrics: ServiceMetrics, family: str, operation: str, code: str) -> float | None:
    labels = {"family": family, "operation": operation, "code": code}
    return value(metrics, "rosey_db_requests_total", **labels)


async def test_requests_are_counted_by_family_operation_and_code():
    metrics = ServiceMetrics()
    async with running(metrics=metrics) as bus:
        for _ in range(3):
            await bus.ask("kv.shop.get", {"key": "k"})
        await bus.ask("kv.shop.get", {})
        await bus.ask("kv.shop.gett")
    assert counted(metrics, "kv", "get", "OK") == 3
    assert counted(metrics, "kv", "get", "MISSING_FIELD") == 1
    assert counted(metrics, "unknown", "unknown", "INVALID_SUBJECT") == 1
    seconds = {"family": "kv", "operation": "get"}
    assert value(metrics, "rosey_db_request_duration_seconds_count", **seconds) == 4


async def test_labels_never_hold_what_a_message_chose():
    metrics = ServiceMetrics()
    async with running(metrics=metrics) as bus:
        shop = StorageClient(bus.client, "secretplugin")
        await shop.rows("secrettable").register([{"name": "name", "type": "string"}])
        await shop.rows("secrettable").insert({"name": "secretvalue"})
        await shop.kv.set("secretkey", 1)
        await bus.ask("kv.secretplugin.secretoperation")
    page = metrics.page().decode()
    assert "secret" not in page
    names = {
        label
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        for label in sample.labels
    }
    assert names == {"family", "operation", "code", "le"}


async def test_what_is_in_flight_and_what_waits_is_read_at_the_scrape():
    metrics = ServiceMetrics()
    async with running(metrics=metrics, max_in_flight=2, max_queued=3) as bus:
        gate = Gate("shop").stand_before(bus.service)
        asked = [bus.asking("kv.shop.get", {"key": "k"}) for _ in range(6)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result()["error"]["code"] for task in done] == ["OVERLOADED"]
        assert value(metrics, "rosey_db_requests_in_flight") == 2
        assert value(metrics, "rosey_db_requests_queued") == 3
        assert value(metrics, "rosey_db_nats_connected") == 1
        gate.is_open.set()
        await asyncio.gather(*asked)
    assert value(metrics, "rosey_db_requests_in_flight") == 0
    assert counted(metrics, "kv", "get", "OVERLOADED") == 1
    assert counted(metrics, "kv", "get", "OK") == 5


async def test_writes_that_share_a_commit_are_counted_together(tmp_path):
    metrics = ServiceMetrics()
    async with running(f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}", metrics=metrics) as bus:
        await bus.ask("kv.shop.set", {"key": "k", "value": 0})
        assert value(metrics, "rosey_db_pool_busy") == 0
        before = value(metrics, "rosey_db_commit_batch_size_sum")
        commits = value(metrics, "rosey_db_commit_batch_size_count")
        await asyncio.gather(
            *(bus.ask("kv.shop.set", {"key": f"k{n}", "value": n}) for n in range(50))
        )
    assert before is not None
    assert commits is not None
    assert value(metrics, "rosey_db_commit_batch_size_sum") == before + 50
    shared = value(metrics, "rosey_db_commit_batch_size_count")
    assert shared is not None
    assert shared < commits + 50


async def test_late_requests_and_sweeps_are_counted():
    metrics = ServiceMetrics()
    async with running(metrics=metrics, sweep_interval=0.001, start=False) as bus:
        outcomes = iter([3, UnavailableError("gone")])
        both = asyncio.Event()

        async def sweep() -> int:
            outcome = next(outcomes, None)
            if isinstance(outcome, int):
                return outcome
            if outcome is None:
                both.set()
                await asyncio.Event().wait()
            raise UnavailableError("gone")

        bus.service.database.sweep = sweep
        await bus.service.start()
        await bus.client.publish(
            "rosey.db.ping", b"", "_INBOX.nobody", headers={"Rosey-Deadline": "1"}
        )
        await bus.ask("ping")
        await both.wait()
    assert value(metrics, "rosey_db_requests_late_total") == 1
    assert value(metrics, "rosey_db_swept_keys_total") == 3
    assert value(metrics, "rosey_db_sweeps_total", outcome="done") == 1
    assert value(metrics, "rosey_db_sweeps_total", outcome="failed") == 1


async def test_two_services_in_a_process_count_apart():
    one, two = ServiceMetrics(), ServiceMetrics()
    async with running(metrics=one) as bus, running(metrics=two):
        await bus.ask("ping")
    assert counted(one, "service", "ping", "OK") == 1
    assert counted(two, "service", "ping", "OK") == 0


@pytest.mark.process
def test_what_is_not_used_is_not_imported():
    script = """
import sys, dbservice.client, dbservice.runtime.tracing, pytest_rosey.plugin
before = {"prometheus_client", "opentelemetry"} & set(sys.modules)
import dbservice.server.service
after = {"prometheus_client", "opentelemetry"} & set(sys.modules)
print(before, after)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["set()", "set()"], done.stderr


# -- discovery -------------------------------------------------------------------------------------

both_buses = pytest.mark.rosey_nats("fake", "real")


@pytest.fixture
def ask_service(nats_client, db_service):
    async def ask(subject: str) -> dict:
        reply = await nats_client.request(f"$SRV.{subject}", b"", timeout=30)
        return json.loads(reply.data)

    return ask


@both_buses
async def test_every_verb_is_answered_for_all_for_the_name_and_for_the_id(ask_service):
    id_ = (await ask_service("PING"))["id"]
    for verb, kind in (("PING", ServicePing), ("INFO", ServiceInfo), ("STATS", ServiceStats)):
        for whom in ("", ".rosey-db", f".rosey-db.{id_}"):
            told = await ask_service(verb + whom)
            assert told["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
            read = kind.from_dict(told)
            assert (read.name, read.id) == ("rosey-db", id_)
            nats.micro.service.ServiceConfig(name=read.name, version=read.version)


@both_buses
async def test_nobody_else_is_answered_for(ask_service):
    for subject in ("PING.other", "INFO.rosey-db.other-id", "STATS.rosey"):
        with pytest.raises(NoRespondersError):
            await ask_service(subject)


async def test_info_lists_every_operation(ask_service):
    endpoints = (await ask_service("INFO"))["endpoints"]
    subjects = {endpoint["subject"] for endpoint in endpoints}
    assert len(subjects) == len(OPERATIONS)
    assert {"rosey.db.kv.*.get", "rosey.db.row.*.schema.register", "rosey.db.ping"} <= subjects
    for endpoint in endpoints:
        assert nats.micro.service.NAME_REGEX.match(endpoint["name"])
        assert endpoint["queue_group"] == "rosey-db"


async def test_stats_count_requests_and_errors(ask_service, nats_client):
    for payload in (b'{"key": "k"}', b'{"key": "k"}', b"{}"):
        await nats_client.request("rosey.db.kv.shop.get", payload, timeout=30)
    endpoints = {entry["name"]: entry for entry in (await ask_service("STATS"))["endpoints"]}
    get = endpoints["kv-get"]
    assert (get["num_requests"], get["num_errors"], get["last_error"]) == (3, 1, "MISSING_FIELD")
    assert get["average_processing_time"] == get["processing_time"] // 3 > 0
    assert endpoints["kv-set"]["num_requests"] == 0


async def test_a_stopped_service_is_not_found(ask_service, db_service):
    await db_service.stop()
    with pytest.raises(NoRespondersError):
        await ask_service("PING")


@pytest.mark.parametrize(
    ("version", "semantic"),
    [("1.2.3", "1.2.3"), ("1.2", "1.2.0"), ("0.1.0.dev3+g12", "0.1.0-dev3-g12"), ("x", "0.0.0")],
)
def test_versions_have_the_form_that_the_protocol_asks_for(version, semantic):
    assert _semantic(version) == semantic
    assert nats.micro.service.SEMVER_REGEX.match(semantic)


# -- spans -----------------------------------------------------------------------------------------

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch) -> InMemorySpanExporter:
    """The spans of this test, through a provider that only this test has."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


async def test_a_request_is_a_span_with_its_database_work_inside(spans):
    async with running() as bus:
        items = StorageClient(bus.client, "shop").rows("items")
        await items.register([{"name": "name", "type": "string"}])
        spans.clear()
        await bus.ask("row.shop.select", {"table": "items"})
    work, request = spans.get_finished_spans()
    assert request.name == "process rosey.db.row.*.select"
    assert request.kind is SpanKind.CONSUMER
    assert request.attributes["messaging.system"] == "nats"
    assert request.attributes["messaging.destination.name"] == "rosey.db.row.shop.select"
    assert request.attributes["messaging.destination.template"] == "rosey.db.row.*.select"
    assert request.attributes["messaging.message.body.size"] == len(b'{"table": "items"}')
    assert work.name == "select items"
    assert work.kind is SpanKind.CLIENT
    assert work.parent.span_id == request.context.span_id
    assert dict(work.attributes) == {
        "db.system.name": "sqlite",
        "db.operation.name": "select",
        "db.namespace": "shop",
        "db.collection.name": "items",
    }


async def test_the_trace_of_the_caller_is_continued(spans):
    async with running() as bus:
        await bus.ask("ping", traceparent=PARENT)
        await bus.ask("ping", traceparent="nonsense")
        await bus.ask("ping")
    continued, *others = spans.get_finished_spans()
    assert f"{continued.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{continued.parent.span_id:016x}" == PARENT.split("-")[2]
    assert [span.parent for span in others] == [None, None]


async def test_a_refused_request_is_no_fault_of_the_service(spans, monkeypatch):
    async def lost(*_args: object, **_named: object) -> None:
        raise UnavailableError("disk I/O error in /secret/path")

    async with running() as bus:
        await bus.ask("kv.shop.get", {})
        await bus.ask("no.such.subject")
        monkeypatch.setattr(bus.service.database.engine, "read", lost)
        await bus.ask("kv.shop.get", {"key": "k"})
    refused, unknown, work, failed = spans.get_finished_spans()
    assert refused.attributes["error.type"] == "MISSING_FIELD"
    assert refused.status.status_code is StatusCode.UNSET
    assert unknown.attributes["messaging.destination.template"] == "rosey.db.>"
    assert work.attributes["error.type"] == "UnavailableError"
    assert not work.events
    assert failed.attributes["error.type"] == "DATABASE_UNAVAILABLE"
    assert failed.status.status_code is StatusCode.ERROR


async def test_without_a_provider_there_are_no_spans():
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert tracing.configured() is None


async def test_without_the_api_there_are_no_spans(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "sdk_tracer_provider")
    assert tracing.configured() is None


# -- health ----------------------------------------------------------------------------------------


async def test_a_service_that_is_well_passes_every_check():
    async with running() as bus:
        await bus.service.check_serving()
        for check in bus.service.checks.values():
            await check()


async def test_a_service_says_that_it_starts_and_that_it_drains():
    async with running(start=False) as bus:
        with pytest.raises(RuntimeError, match="starting"):
            await bus.service.check_serving()
        await bus.service.start()
        await bus.service.check_serving()
        await bus.service.stop()
        with pytest.raises(RuntimeError, match="draining"):
            await bus.service.check_serving()


def _setting(event: asyncio.Event) -> Callable[[], Awaitable[None]]:
    async def callback() -> None:
        event.set()

    return callback


async def test_a_lost_connection_fails_the_check_until_it_is_back():
    lost = asyncio.Event()
    async with running() as bus:
        bus.service._nats._disconnected_cb = _setting(lost)
        bus.broker.stop()
        await lost.wait()
        with pytest.raises(Unwell, match="not connected"):
            await bus.service.checks["nats"]()


async def test_a_full_queue_fails_the_check():
    async with running(max_in_flight=1, max_queued=1) as bus:
        gate = Gate("shop").stand_before(bus.service)
        asked = [bus.asking("kv.shop.get", {"key": "k"}) for _ in range(3)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(RuntimeError, match="full: 1 requests wait"):
            await bus.service.checks["queue"]()
        gate.is_open.set()
        await asyncio.gather(*asked)
        await bus.service.checks["queue"]()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnavailableError, "it cannot be reached"),
        (FileGoneError, "its file is not the one any more"),
        (NotWritableError, "it is read-only"),
        (FullError, "it has no room left"),
    ],
)
async def test_a_failing_database_fails_the_check(monkeypatch, error, told):
    async def lost(_self: Database) -> None:
        raise error("gone")

    monkeypatch.setattr(Database, "probe", lost)
    async with running() as bus:
        with pytest.raises(Unwell, match=told):
            await bus.service.checks["database"]()
