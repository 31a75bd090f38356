"""Headers, large replies and faults below the service (SPEC 2.2, 2.7, 3.5)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import signal
import sqlite3
from collections.abc import Iterator

import asyncpg
import nats
import pytest

from dbservice.client import StorageClient
from dbservice.client.errors import DatabaseUnavailable, RequestTimeout, ValueTooLarge
from dbservice.engine.errors import EngineError, UnavailableError
from dbservice.runtime.clock import ManualClock, system_time
from dbservice.runtime.health import Unwell
from dbservice.runtime.logs import JsonFormatter
from dbservice.server.service import DatabaseService
from dbservice.server.settings import Settings
from dbservice.storage.database import Database
from dbservice.storage.keys import KeyStore
from pytest_rosey.servers.nats import BinaryServer, find_binary
from tests.dbservice.server.own_service import MEMORY, Gate, running

pytestmark = pytest.mark.asyncio

# -- headers --------------------------------------------------------------------------------------


async def _publish_incr(bus, **headers):
    """Send an increment whose answer nobody needs, and one that is surely served after it."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    await bus.client.publish(
        "rosey.db.kv.shop.incr", b'{"key": "n"}', reply="_INBOX.nobody", headers=sent
    )
    return (await bus.ask("kv.shop.incr", {"key": "n", "by": 100}))["value"]


async def test_a_request_whose_deadline_has_passed_is_not_executed():
    clock = ManualClock(1000.0)
    async with running() as bus:
        with system_time(clock.time):
            assert await _publish_incr(bus, Rosey_Deadline="999999") == 100
            assert await _publish_incr(bus, Rosey_Deadline="1000000") == 201
            clock.advance(1)
            assert await _publish_incr(bus, Rosey_Deadline="1000999") == 301


async def test_a_deadline_that_passes_while_a_request_waits_counts():
    clock = ManualClock(1000.0)
    async with running(max_in_flight=1) as bus:
        with system_time(clock.time):
            gate = Gate("other").stand_before(bus.service)
            other = bus.asking("kv.other.get", {"key": "k"})
            await gate.has_let_in(1)
            await bus.client.publish(
                "rosey.db.kv.shop.incr",
                b'{"key": "n"}',
                "_INBOX.nobody",
                headers={"Rosey-Deadline": "1000500"},
            )
            later = bus.asking("kv.shop.incr", {"key": "n", "by": 100})
            await bus.has_taken(3)
            clock.advance(1)
            gate.is_open.set()
            assert (await later)["value"] == 100
            await other


async def test_a_deadline_is_a_moment_of_the_machine_and_not_of_the_clock_of_lifetimes():
    clock = ManualClock()
    async with running(clock=clock) as bus:
        storage = StorageClient(bus.client, "shop", timeout=30)
        await storage.kv.set("short", 1, ttl_seconds=60)
        clock.advance(3600)
        assert await storage.kv.get("short") is None


async def test_what_its_caller_gave_up_is_not_executed():
    async with running(max_in_flight=1) as bus:
        gate = Gate("other").stand_before(bus.service)
        other = bus.asking("kv.other.get", {"key": "k"})
        await gate.has_let_in(1)
        storage = StorageClient(bus.client, "shop")
        with pytest.raises(RequestTimeout):
            await storage.kv.incr("n", timeout=0.01)
        gate.is_open.set()
        await other
        assert await storage.kv.get("n") is None


@pytest.mark.parametrize("deadline", ["", "soon", "-5", "1.5", "²", "٣", "1" * 5000])
async def test_a_malformed_deadline_is_no_deadline(deadline):
    async with running() as bus:
        assert await _publish_incr(bus, Rosey_Deadline=deadline) == 101


async def _reply_headers(bus, **headers):
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = await bus.client.request("rosey.db.ping", b"", headers=sent or None)
    return reply.headers


async def test_the_request_id_comes_back():
    async with running() as bus:
        assert await _reply_headers(bus, Rosey_Request_Id="abc-1") == {"Rosey-Request-Id": "abc-1"}
        assert await _reply_headers(bus) is None


async def test_a_request_id_that_is_not_trusted_is_replaced():
    async with running() as bus:
        echoed = await _reply_headers(bus, Rosey_Request_Id="x" * 5000)
        assert len(echoed["Rosey-Request-Id"]) == 32


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """What the service logs, as it stands in the log of a process."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("dbservice")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(level)


async def test_log_lines_carry_the_id_of_their_request(log_lines):
    async with running() as bus:
        await asyncio.gather(
            *(bus.ask("kv.shop.get", {"key": "k"}, Rosey_Request_Id=f"id-{n}") for n in range(5))
        )
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    answered = [line for line in lines if line["message"] == "answered"]
    assert sorted(line["request_id"] for line in answered) == [f"id-{n}" for n in range(5)]
    assert {line["subject"] for line in answered} == {"rosey.db.kv.shop.get"}


async def test_an_internal_error_says_under_which_id_the_log_has_it(log_lines, monkeypatch):
    async def broken(*_args: object, **_named: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Database, "execute", broken)
    async with running() as bus:
        reply = await bus.ask("kv.shop.get", {"key": "k"})
    request_id = reply["error"]["details"]["request_id"]
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    [told] = [line for line in lines if "a bug" in line.get("exception", "")]
    assert told["request_id"] == request_id


async def test_what_one_service_has_logged_silences_no_other(log_lines, monkeypatch):
    async def broken(*_args: object, **_named: object) -> None:
        raise RuntimeError("a bug of both")

    monkeypatch.setattr(Database, "execute", broken)
    for _ in range(2):
        async with running() as bus:
            await bus.ask("kv.shop.get", {"key": "k"})
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert len([line for line in lines if "a bug of both" in line.get("exception", "")]) == 2


# -- replies that the server would not take -------------------------------------------------------

SMALL = 4096


@pytest.fixture
def small_server(tmp_path) -> Iterator[BinaryServer]:
    """A nats-server of this test that takes messages up to 4 KiB."""
    path = find_binary().path
    assert path is not None
    config = tmp_path / "nats.conf"
    config.write_text(f"max_payload: {SMALL}\n", "utf-8")
    with BinaryServer(path, config=config) as server:
        yield server


@pytest.fixture
async def on_small(small_server):
    """A service and a client on that server."""
    own, client = await nats.connect(small_server.url), await nats.connect(small_server.url)
    service = DatabaseService(MEMORY, own, migrations=[])
    await service.start()
    yield service, client, own
    await service.stop()
    await client.close()
    await own.close()


async def test_a_list_over_the_servers_limit_is_read_in_pages(on_small):
    _, client, own = on_small
    items = StorageClient(client, "shop").rows("items")
    await items.register([{"name": "name", "type": "text"}])
    for number in range(10):
        await items.insert({"name": f"{number}" + "x" * 1000})
    assert [row["name"][0] for row in await items.select()] == list("0123456789")
    assert [row["name"][0] for row in await items.select(limit=7, offset=2)] == list("2345678")
    found = await items.search(limit=8)
    assert (len(found.rows), found.total, found.truncated) == (8, 10, True)
    assert own.stats["reconnects"] == 0


async def test_a_row_over_the_servers_limit_says_how_to_read_less(on_small):
    _, client, own = on_small
    items = StorageClient(client, "shop").rows("items")
    await items.register([{"name": "name", "type": "text"}])
    await items.insert({"name": "x" * 2000})
    await items.update({"id": 1}, data={"name": "x" * 3900})
    with pytest.raises(ValueTooLarge) as refused:
        await items.get(1)
    assert refused.value.details["limit"] == SMALL
    assert refused.value.details["got"] > SMALL
    assert own.stats["reconnects"] == 0
    await items.update({"id": 1}, data={"name": "x" * (SMALL // 2)})
    with pytest.raises(ValueTooLarge, match="by 'filters' once"):
        await items.get(1)
    assert (await items.select({"id": 1}))[0]["name"] == "x" * (SMALL // 2)


async def test_a_write_whose_reply_would_be_too_large_is_undone(on_small):
    _, client, _ = on_small
    items = StorageClient(client, "shop").rows("items")
    await items.register([{"name": "name", "type": "text"}, {"name": "n", "type": "integer"}])
    for _ in range(10):
        await items.insert({"name": "x" * 1000, "n": 0})
    with pytest.raises(ValueTooLarge) as refused:
        await items.update({}, {"n": {"$set": 1}}, returning=["name"], all=True)
    assert "Nothing was changed" in refused.value.message
    assert await items.count({"n": 1}) == 0


async def test_the_headers_of_a_reply_count_too(on_small):
    """The server ends a connection that sends one byte too much, header included."""
    _, client, own = on_small
    shop = StorageClient(client, "shop")
    answered = []
    for length in range(SMALL - 200, SMALL - 80, 7):
        await shop.kv.set("k", "x" * length)
        reply = await client.request(
            "rosey.db.kv.shop.get",
            b'{"key": "k"}',
            headers={"Rosey-Request-Id": "an-id-of-some-length"},
            timeout=30,
        )
        answered.append(json.loads(reply.data)["success"])
    assert True in answered
    assert False in answered
    assert answered == sorted(answered, reverse=True)
    assert own.stats["reconnects"] == 0


async def test_a_request_that_its_headers_make_too_large_never_leaves(on_small):
    _, client, _ = on_small
    shop = StorageClient(client, "shop")
    stored = []
    for length in range(SMALL - 120, SMALL):
        try:
            await shop.kv.set("k", "x" * length)
        except ValueTooLarge:
            stored.append(False)
        else:
            stored.append(True)
    assert True in stored
    assert False in stored
    assert stored == sorted(stored, reverse=True)
    assert client.stats["reconnects"] == 0
    assert client.is_connected


# -- a database that is not there ------------------------------------------------------------------


async def test_a_lost_database_is_told_and_forgotten_when_it_is_back(monkeypatch):
    async def lost(*_args: object, **_options: object) -> None:
        raise UnavailableError("disk I/O error")

    async with running() as bus:
        shop = StorageClient(bus.client, "shop")
        await shop.kv.set("k", 1)
        with monkeypatch.context() as patched:
            patched.setattr(bus.service.database.engine, "read", lost)
            with pytest.raises(DatabaseUnavailable) as told:
                await shop.kv.get("k")
            assert told.value.retryable
            assert "I/O" not in told.value.message
            with pytest.raises(Unwell, match="it cannot be reached"):
                await bus.service.checks["database"]()
        assert await shop.kv.get("k") == 1
        await bus.service.checks["database"]()


async def test_a_full_disk_refuses_writes_until_there_is_room(tmp_path):
    """SQLite itself reports the fault, in the middle of a write that others share."""
    async with running(f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}") as bus:
        shop = StorageClient(bus.client, "shop")
        await shop.kv.set("before", 1)
        pages = await _on_the_writer(bus, "PRAGMA page_count")
        await _on_the_writer(bus, f"PRAGMA max_page_count={pages}")
        outcomes = await asyncio.gather(
            *(shop.kv.set(f"k{n}", "x" * 20_000) for n in range(10)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
        assert await shop.kv.get("before") == 1
        await _on_the_writer(bus, "PRAGMA max_page_count=1073741823")
        await shop.kv.set("after", "x" * 20_000)
        assert sorted(await shop.kv.list()) == ["after", "before"]


async def _on_the_writer(bus, sql):
    def ask():
        from dbservice.engine.steps import Statement

        result = yield Statement(sql)
        return result.rows[0][0]

    return await bus.service.database.engine.write(ask)


async def test_a_lost_postgresql_is_told_and_reached_again_when_it_is_back(own_postgres):
    async with running(own_postgres.url()) as bus:
        shop = StorageClient(bus.client, "shop", timeout=30)
        await shop.kv.set("k", 1)
        os.kill(own_postgres.pid, signal.SIGINT)
        await asyncio.to_thread(own_postgres._process.wait)
        for _ in range(3):
            for request in (shop.kv.get("k"), shop.kv.set("k", 2)):
                with pytest.raises(DatabaseUnavailable):
                    await request
        with pytest.raises(Unwell, match="it cannot be reached"):
            await bus.service.checks["database"]()

        await asyncio.to_thread(own_postgres.restart)
        assert await shop.kv.get("k") == 1
        await shop.kv.set("k", 3)
        assert await shop.kv.get("k") == 3
        await bus.service.checks["database"]()


async def test_a_replica_leaves_the_sweep_to_the_one_that_is_at_it(own_postgres):
    clock = ManualClock()
    other = await asyncpg.connect(own_postgres.url().replace("+asyncpg", ""))
    async with running(own_postgres.url(), clock=clock) as bus:
        await bus.ask("kv.shop.set", {"key": "k", "value": 1, "ttl": 10})
        clock.advance(11)
        await other.execute("SELECT pg_advisory_lock(hashtextextended('sweep', 0))")
        assert await bus.service.database.sweep() == 0
        assert await other.fetchval("SELECT count(*) FROM _kv") == 1
        await other.execute("SELECT pg_advisory_unlock_all()")
        assert await bus.service.database.sweep() == 1
        assert await other.fetchval("SELECT count(*) FROM _kv") == 0
    await other.close()


# -- sweeping --------------------------------------------------------------------------------------


async def test_the_sweep_removes_what_has_expired_at_its_interval():
    clock = ManualClock()
    async with running(clock=clock, sweep_interval=0.001, start=False) as bus:
        swept: asyncio.Queue[int] = asyncio.Queue()
        sweep = bus.service.database.sweep

        async def told() -> int:
            count = await sweep()
            await swept.put(count)
            return count

        bus.service.database.sweep = told
        await bus.service.start()
        await bus.ask("kv.shop.set", {"key": "k", "value": 1, "ttl": 10})
        await bus.ask("kv.shop.set", {"key": "stays", "value": 1})
        clock.advance(11)
        while await swept.get() == 0:
            pass
        rows = await _on_the_writer(bus, "SELECT count(*) FROM _kv")
        assert rows == 1


async def test_a_sweep_that_fails_is_tried_again(caplog):
    async with running(sweep_interval=0.001, start=False) as bus:
        attempts: asyncio.Queue[None] = asyncio.Queue()

        async def failing() -> int:
            await attempts.put(None)
            raise UnavailableError("disk I/O error")

        bus.service.database.sweep = failing
        await bus.service.start()
        for _ in range(3):
            await attempts.get()
    assert "the next sweep tries again" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_in_flight", 0), ("max_queued", -1), ("statement_timeout", 0), ("drain_timeout", -1.0)],
)
async def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Settings(**{name: value})


async def test_info_tells_the_limits_of_this_service():
    async with running(max_in_flight=7, sweep_interval=9.0) as bus:
        limits = (await bus.ask("info"))["limits"]
        assert limits["max_in_flight"] == 7
        assert limits["sweep_interval"] == 9.0
        assert limits["max_kv_value"] == 65_536


async def test_an_error_of_the_driver_never_reaches_the_plugin(monkeypatch):
    """Whatever SQLite raises outside of a statement is an internal error, told by its id alone."""

    async def broken(*_args: object, **_options: object) -> None:
        raise sqlite3.OperationalError("no such table: secrets")

    async with running() as bus:
        monkeypatch.setattr(bus.service.database.engine, "read", broken)
        reply = await bus.ask("kv.shop.get", {"key": "k"})
    assert reply["error"]["code"] == "INTERNAL_ERROR"
    assert "secrets" not in json.dumps(reply)


async def test_a_fault_that_lasts_is_logged_once(caplog, monkeypatch):
    """A full disk fails each request; hundreds of tracebacks a second would fill another."""

    def fail(_self, _namespace, _request):
        yield from ()
        raise EngineError("disk I/O error")

    monkeypatch.setattr(KeyStore, "get", fail)
    async with running() as bus:
        for number in range(50):
            reply = await bus.ask("kv.shop.get", {"key": f"k{number}"})
            assert reply["error"]["code"] == "INTERNAL_ERROR"
    assert caplog.text.count("the database failed on") == 1
    assert caplog.text.count("Traceback") == 1
