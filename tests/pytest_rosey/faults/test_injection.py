"""Each fault, with one test body for the in-process bus and a real server (SPEC 5.4)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import nats.errors
import pytest

from dbservice.client import StorageClient
from pytest_rosey import NatsFaults, ServiceUnderTest
from pytest_rosey.servers.nats import find_binary

has_binary = find_binary().path is not None
on_both = pytest.mark.rosey_nats(*(["fake", "real"] if has_binary else ["fake"]))
pytestmark = on_both

Storage = Callable[..., StorageClient]
SET = "rosey.db.kv.notes.set"
GET = "rosey.db.kv.notes.get"
PATIENCE = 10
SHORT = 0.05
IN_TIME = 0.5
"""Of a request whose answer is lost: it carries its deadline, and is dropped when it comes late."""


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the condition is of many kinds
            await asyncio.sleep(0.001)


def executed(service: ServiceUnderTest) -> list[str]:
    return [request.subject for request in service.requests]


async def test_drop_request_is_never_executed(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, storage: Storage
) -> None:
    lost = nats_faults.drop_request("rosey.db.kv.*.set", times=1)
    with pytest.raises(TimeoutError):
        await storage("notes").kv.set("k", 1, timeout=SHORT)
    await storage("notes").kv.set("k", 2)
    assert lost.hits == [SET]
    assert executed(db_service) == [SET]


async def test_drop_reply_executes_and_loses_the_answer(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, storage: Storage
) -> None:
    lost = nats_faults.drop_reply("rosey.db.kv.*.incr", times=1)
    with pytest.raises(TimeoutError):
        await storage("notes").kv.incr("n", timeout=IN_TIME)
    assert lost.hits == ["rosey.db.kv.notes.incr"]
    assert await storage("notes").kv.incr("n") == 2


async def test_drop_reply_and_a_retry_with_an_idempotency_key(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, storage: Storage
) -> None:
    nats_faults.drop_reply("rosey.db.kv.*.incr", times=2)
    assert await storage("notes", timeout=IN_TIME, retries=5).kv.incr("n") == 1
    assert len(db_service.requests) == 3


async def test_delay_past_the_timeout(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, storage: Storage
) -> None:
    nats_faults.delay("rosey.db.kv.>", 30, times=1)
    with pytest.raises(TimeoutError):
        await storage("notes").kv.set("k", 1, timeout=SHORT)
    assert await storage("notes").kv.get("k") == 1


async def test_delay_within_the_timeout(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, storage: Storage
) -> None:
    slow = nats_faults.delay("rosey.db.kv.>", 0.02)
    asked = asyncio.create_task(storage("notes").kv.set("k", 1))
    await until(lambda: db_service.requests)
    assert not asked.done()
    await asked
    assert slow.hits == [SET]


async def test_late_is_executed_after_the_caller_gave_up(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, nats_client: Any
) -> None:
    nats_faults.late("rosey.db.kv.*.set", 2 * SHORT, times=1)
    payload = json.dumps({"key": "k", "value": 1}).encode()
    with pytest.raises(nats.errors.TimeoutError):
        await nats_client.request(SET, payload, timeout=SHORT)
    assert db_service.requests == []
    await until(lambda: executed(db_service) == [SET])


async def test_duplicate_is_executed_twice(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, storage: Storage
) -> None:
    nats_faults.duplicate("rosey.db.kv.*.incr", times=1)
    assert await storage("notes").kv.incr("n") in (1, 2)
    await until(lambda: len(db_service.requests) == 2)
    assert await storage("notes").kv.get("n") == 2


async def test_duplicate_of_an_event(nats_faults: NatsFaults, nats_client: Any) -> None:
    nats_faults.duplicate("quotes.added")
    heard: list[bytes] = []

    async def hear(message: Any) -> None:
        heard.append(message.data)

    await nats_client.subscribe("quotes.>", cb=hear)
    await nats_client.publish("quotes.added", b"1")
    await nats_client.publish("quotes.removed", b"2")
    await until(lambda: len(heard) == 3)
    assert heard == [b"1", b"1", b"2"]


async def test_malformed_and_wrong_shape_are_executed(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, nats_client: Any
) -> None:
    nats_faults.malformed("rosey.db.kv.*.incr", times=1)
    nats_faults.wrong_shape("rosey.db.kv.*.incr", times=1)
    payload = b'{"key": "n"}'
    answers = [
        (await nats_client.request("rosey.db.kv.notes.incr", payload)).data for _ in range(3)
    ]
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(answers[0])
    assert not isinstance(json.loads(answers[1])["success"], bool)
    assert json.loads(answers[2])["value"] == 3


async def test_the_client_refuses_both(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, storage: Storage
) -> None:
    from dbservice.client import MalformedReply

    nats_faults.malformed(GET, times=1)
    nats_faults.wrong_shape(GET, times=1)
    for _ in range(2):
        with pytest.raises(MalformedReply):
            await storage("notes").kv.get("k")
    assert await storage("notes").kv.get("k") is None


async def test_error_is_not_executed(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, storage: Storage
) -> None:
    from dbservice.client import Overloaded

    nats_faults.error("rosey.db.>", "OVERLOADED", "too much", times=1)
    with pytest.raises(Overloaded, match="too much"):
        await storage("notes").kv.set("k", 1)
    assert db_service.requests == []


async def test_no_responders(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, nats_client: Any
) -> None:
    nats_faults.no_responders("rosey.db.ping", times=1)
    with pytest.raises(nats.errors.NoRespondersError):
        await nats_client.request("rosey.db.ping", b"", timeout=PATIENCE)
    assert (await nats_client.request("rosey.db.ping", b"")).data


async def test_deny_goes_to_the_error_callback(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, nats_client: Any
) -> None:
    told: list[Exception] = []

    async def error_cb(error: Exception) -> None:
        told.append(error)

    nats_client._error_cb = error_cb
    nats_faults.deny("rosey.db.ping")
    with pytest.raises(nats.errors.TimeoutError):
        await nats_client.request("rosey.db.ping", b"", timeout=SHORT)
    assert [str(error) for error in told] == [
        'nats: permissions violation for publish to "rosey.db.ping"'
    ]
    assert nats_client.is_connected


async def test_slow_consumer_is_hung_up_on_and_comes_back(
    nats_faults: NatsFaults,
    nats_client: Any,
    _rosey: Any,  # noqa: PT019 - it has a value
) -> None:
    other = await _rosey.connect("publisher")
    heard: list[bytes] = []
    away = asyncio.Event()

    async def hear(message: Any) -> None:
        heard.append(message.data)

    async def disconnected() -> None:
        away.set()

    nats_client._disconnected_cb = disconnected
    await nats_client.subscribe("events.*", cb=hear)
    await nats_faults.reconnect()  # the server knows the subscription
    fault = nats_faults.slow_consumer("events.a", times=1)
    await other.publish("events.a", b"lost")
    async with asyncio.timeout(PATIENCE):
        await away.wait()
    await nats_faults.reconnect()
    await other.publish("events.a", b"heard")
    await until(lambda: heard)
    assert heard == [b"heard"]
    assert fault.hits == ["events.a"]
    assert other.stats["reconnects"] == 0


@pytest.mark.parametrize("how", ["disconnect", "kill_server"])
async def test_clients_know_and_come_back(
    how: str, nats_faults: NatsFaults, db_service: ServiceUnderTest, nats_client: Any
) -> None:
    await getattr(nats_faults, how)()
    assert not nats_client.is_connected
    with pytest.raises(nats.errors.TimeoutError):
        await nats_client.request("rosey.db.ping", b"", timeout=SHORT)
    await nats_faults.reconnect()
    assert (await nats_client.request("rosey.db.ping", b"")).data


async def test_pause_server_executes_afterwards(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, nats_client: Any
) -> None:
    await nats_faults.pause_server()
    payload = json.dumps({"key": "k", "value": 1}).encode()
    with pytest.raises(nats.errors.TimeoutError):
        await nats_client.request(SET, payload, timeout=SHORT)
    assert nats_client.is_connected
    assert db_service.requests == []
    await nats_faults.reconnect()
    await until(lambda: executed(db_service) == [SET])


async def test_kill_service(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, storage: Storage
) -> None:
    from dbservice.client import NoService

    nats_faults.slow_database(30)
    asked = asyncio.create_task(storage("notes").kv.set("k", 1, timeout=1))
    await until(lambda: db_service._tasks)
    await nats_faults.kill_service()
    with pytest.raises(TimeoutError):
        await asked
    with pytest.raises(NoService):
        await storage("notes").kv.get("k")


async def test_revive_service(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, storage: Storage
) -> None:
    await storage("notes").kv.set("k", 1)
    for stored in (1, 2):
        await nats_faults.kill_service()
        await nats_faults.revive_service()
        assert await storage("notes").kv.get("k") == stored
        await storage("notes").kv.set("k", stored + 1)
    assert len(executed(db_service)) == 5
    with pytest.raises(RuntimeError, match="kill_service"):
        await nats_faults.revive_service()


async def test_what_a_killed_service_had_begun_is_not_there_when_it_is_back(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, storage: Storage
) -> None:
    await storage("notes").kv.set("k", 1)
    nats_faults.slow_database(30)
    asked = asyncio.create_task(storage("notes").kv.set("k", 2, timeout=SHORT))
    await until(lambda: db_service._tasks)
    await nats_faults.kill_service()
    await nats_faults.revive_service()
    with pytest.raises(TimeoutError):
        await asked
    assert await storage("notes").kv.get("k") == 1


async def test_slow_database(
    nats_faults: NatsFaults,
    db_service: ServiceUnderTest,
    storage: Storage,
    cleanup_plugin_namespace: Any,
) -> None:
    nats_faults.slow_database(30)
    with pytest.raises(TimeoutError):
        await storage("notes").kv.set("k", 1, timeout=SHORT)
    async with asyncio.timeout(PATIENCE):
        await cleanup_plugin_namespace("notes")  # is not hit
    nats_faults.slow_database(0)
    await storage("notes").kv.set("k", 1)


async def test_fail_database(
    nats_faults: NatsFaults,
    db_service: ServiceUnderTest,
    storage: Storage,
    rosey_migrations: Any,
) -> None:
    from dbservice.client import DatabaseUnavailable

    nats_faults.fail_database(times=2)
    assert await rosey_migrations.tables("notes") == []  # is not hit
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await storage("notes").kv.set("k", 1)
    await storage("notes").kv.set("k", 2)
    assert await storage("notes").kv.get("k") == 2


async def test_what_fixtures_do_is_not_hit(
    nats_faults: NatsFaults,
    db_service: ServiceUnderTest,
    cleanup_plugin_namespace: Any,
    rosey_migrations: Any,
) -> None:
    everything = nats_faults.drop_request(">")
    await cleanup_plugin_namespace("quote-db")
    await rosey_migrations.status("quote-db")
    assert everything.hits == []


async def test_the_first_fault_that_fits_and_is_not_used_up(
    nats_faults: NatsFaults, db_service: ServiceUnderTest, nats_client: Any
) -> None:
    first = nats_faults.error("rosey.db.>", "OVERLOADED", times=1)
    second = nats_faults.error("rosey.db.ping", "TIMEOUT", times=1)
    codes = []
    for _ in range(3):
        reply = json.loads((await nats_client.request("rosey.db.ping", b"")).data)
        codes.append(reply.get("error", {}).get("code"))
    assert codes == ["OVERLOADED", "TIMEOUT", None]
    assert first.hits == second.hits == ["rosey.db.ping"]


async def test_answers_to_wildcards_are_not_requests(
    nats_faults: NatsFaults, nats_client: Any
) -> None:
    async def echo(message: Any) -> None:
        await message.respond(message.data)

    await nats_client.subscribe("echo", cb=echo)
    doubled = nats_faults.duplicate(">")
    assert (await nats_client.request("echo", b"x")).data == b"x"
    assert doubled.hits == ["echo"]


async def test_headers_and_large_payloads_pass(nats_faults: NatsFaults, nats_client: Any) -> None:
    async def echo(message: Any) -> None:
        await nats_client.publish(message.reply, message.data, headers=message.headers)

    await nats_client.subscribe("echo", cb=echo)
    nats_faults.duplicate("echo")
    large = b"\r\n".join([b"PUB x 3", b"y" * 300_000])
    answer = await nats_client.request("echo", large, headers={"a": "b"}, timeout=PATIENCE)
    assert (answer.data, answer.headers) == (large, {"a": "b"})


async def test_faults_of_answers_leave_events_alone(
    nats_faults: NatsFaults, nats_client: Any
) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def hear(message: Any) -> None:
        heard.set_result(message.data)

    await nats_client.subscribe("events.a", cb=hear)
    faults = [
        nats_faults.error("events.*", "TIMEOUT"),
        nats_faults.no_responders("events.*"),
        nats_faults.drop_reply("events.*"),
        nats_faults.malformed("events.*"),
        nats_faults.wrong_shape("events.*"),
        nats_faults.delay("events.*", 60),
    ]
    await nats_client.publish("events.a", b"1")
    assert await asyncio.wait_for(heard, 5) == b"1"
    assert [fault.hits for fault in faults] == [[]] * 6
