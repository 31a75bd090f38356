"""Services of different databases never share a bus: the one that came later withdraws."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from dbservice.embedded import Broker
from dbservice.embedded.client import SurvivingEmbeddedClient
from dbservice.runtime.barrier import barrier
from dbservice.runtime.health import Unwell
from dbservice.server import peers
from dbservice.server.peers import OtherServiceError
from dbservice.server.service import DatabaseService
from dbservice.server.settings import Settings
from tests.dbservice.server.own_service import MEMORY

Make = Callable[..., Awaitable[DatabaseService]]

QUESTION = "$SRV.INFO.rosey-db"


@pytest.fixture
def broker() -> Broker:
    return Broker(seed=1)


@pytest.fixture
async def make(broker: Broker) -> AsyncIterator[Make]:
    """Return a function that makes a service on the bus; it is stopped after the test."""
    async with AsyncExitStack() as stack:

        async def make(url: str = MEMORY, **options: Any) -> DatabaseService:
            client = SurvivingEmbeddedClient(broker)
            await client.connect(broker.url, reconnect_time_wait=0.01, max_reconnect_attempts=-1)
            stack.push_async_callback(client.close)
            interval = options.pop("peer_interval", 30.0)
            settings = Settings(peer_interval=interval)
            service = DatabaseService(url, client, migrations=[], settings=settings, **options)
            stack.push_async_callback(service.stop)
            return service

        yield make


async def asked(broker: Broker, subject: str) -> dict[str, Any]:
    client = await broker.connect()
    reply = json.loads((await client.request(subject, b"", timeout=10)).data)
    await client.close()
    return reply


async def serves(service: DatabaseService) -> bool:
    try:
        await service.check_serving()
    except Unwell:
        return False
    return True


async def test_a_service_of_another_database_does_not_start(broker, make):
    first, second = await make(), await make()
    await first.start()
    with pytest.raises(OtherServiceError) as refused:
        await second.start()
    assert refused.value.peer.id == first._discovery.id
    assert peers.place() in str(refused.value)
    assert first._discovery.metadata.started in str(refused.value)
    assert (await serves(first), await serves(second)) == (True, False)
    found = broker.interest("rosey.db.ping")
    assert len(found) == 1


async def test_a_free_bus_is_known_at_once(broker, make, monkeypatch):
    monkeypatch.setattr(peers, "_FIRST_ANSWER", 1e9)
    await (await make()).start()


async def test_of_two_that_start_at_once_one_stays(broker, make):
    services = [await make(), await make()]
    outcomes = await asyncio.gather(*(one.start() for one in services), return_exceptions=True)
    assert sorted(type(outcome) for outcome in outcomes if outcome) == [OtherServiceError]
    assert [await serves(one) for one in services] == [outcome is None for outcome in outcomes]
    assert len(broker.interest("rosey.db.ping")) == 1


async def test_the_later_one_withdraws_when_the_first_comes_back(broker, make):
    """As after a broken network: both started, each alone on its side."""
    first = await make()
    await first.start()
    back = asyncio.Event()
    hold = first._nats._process_connect_init

    async def held() -> None:
        await back.wait()
        await hold()

    first._nats._process_connect_init = held
    broker.disconnect(first._nats.client_id)
    second = await make(peer_interval=0.02)
    await second.start()
    back.set()
    async with asyncio.timeout(20):
        reason = await second.withdrawn()
    assert reason.peer.id == first._discovery.id
    assert (await serves(first), await serves(second)) == (True, False)
    with pytest.raises(Unwell, match="another database"):
        await second.check_serving()
    async with asyncio.timeout(20):
        while len(broker.interest("rosey.db.ping")) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_it_looks_after_each_reconnect(broker, make):
    service = await make()
    await service.start()
    watcher, questions = await broker.connect(), asyncio.Queue()

    async def noted(message: Any) -> None:
        await questions.put(message)

    await watcher.subscribe(QUESTION, cb=noted)
    await barrier(watcher)
    broker.disconnect(service._nats.client_id)
    async with asyncio.timeout(20):
        await questions.get()
    await watcher.close()


async def test_a_version_that_says_nothing_of_its_database_is_another_one(broker, make):
    old = await broker.connect()

    async def answer(message: Any) -> None:
        await message.respond(
            b'{"name": "rosey-db", "id": "old", "version": "0.1.0", "metadata": {}}'
        )

    await old.subscribe(QUESTION, cb=answer)
    await barrier(old)
    with pytest.raises(OtherServiceError, match="older version"):
        await (await make()).start()
    await old.close()


async def test_what_is_no_answer_of_a_service_is_passed_over(broker, make):
    odd = await broker.connect()

    async def answer(message: Any) -> None:
        for payload in (b"", b"[]", b"{", b"\xff", b'{"id": 5}'):
            await message.respond(payload)

    await odd.subscribe(QUESTION, cb=answer)
    await barrier(odd)
    service = await make()
    await service.start()
    await service.check_serving()
    await odd.close()


async def test_where_nobody_else_can_be_nobody_is_asked(broker, make):
    published: list[bytes] = []
    broker.intercept = lambda publication: bool(published.append(publication.subject))
    await (await make(private_bus=True)).start()
    assert not [subject for subject in published if subject.startswith(b"$SRV")]


async def test_info_tells_the_identity(broker, make):
    service = await make()
    await service.start()
    info, told = await asked(broker, "rosey.db.info"), await asked(broker, QUESTION)
    assert info["identity"] == told["metadata"]["identity"] == service._discovery.metadata.identity


# -- PostgreSQL ------------------------------------------------------------------------------------


async def test_replicas_of_one_database_share_a_bus(make, empty_postgres):
    replicas = [await make(empty_postgres), await make(empty_postgres)]
    for replica in replicas:
        await replica.start()
    for replica in replicas:
        await replica.check_serving()


async def test_a_clone_is_another_database(make, postgres, empty_postgres):
    first = await make(empty_postgres)
    await first.start()
    await first.stop()
    inside = await asyncpg.connect(empty_postgres.replace("+asyncpg", ""))
    name = await inside.fetchval("SELECT current_database()")
    await inside.close()
    connection = await asyncpg.connect(postgres.url("postgres").replace("+asyncpg", ""))
    await connection.execute(f'CREATE DATABASE peers_clone TEMPLATE "{name}"')
    try:
        second = await make(empty_postgres)
        await second.start()
        with pytest.raises(OtherServiceError):
            await (await make(postgres.url("peers_clone"))).start()
        await second.stop()
    finally:
        await connection.execute("DROP DATABASE peers_clone WITH (FORCE)")
        await connection.close()


async def test_a_version_that_says_nothing_may_be_a_replica(broker, make, empty_postgres, caplog):
    old = await broker.connect()

    async def answer(message: Any) -> None:
        await message.respond(b'{"name": "rosey-db", "id": "old", "version": "0.1.0"}')

    await old.subscribe(QUESTION, cb=answer)
    await barrier(old)
    await (await make(empty_postgres)).start()
    assert "does not say what its database is" in caplog.text
    await old.close()
