"""The service under load: fairness, a full queue, an ending, a long search (SPEC 3.2, 3.4, 3.5)."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from nats.errors import NoRespondersError

from dbservice.client import StorageClient
from dbservice.client.errors import Overloaded, ShuttingDown
from dbservice.storage.queries import QueryStore
from tests.dbservice.server.own_service import Gate, Running, running

pytestmark = pytest.mark.asyncio


async def test_a_quiet_plugin_is_answered_while_a_noisy_one_holds_all_it_can_get():
    async with running(max_in_flight=16, max_queued=1000) as bus:
        gate = Gate("noisy").stand_before(bus.service)
        noisy = [bus.asking("kv.noisy.get", {"key": str(number)}) for number in range(200)]
        await gate.has_let_in(14)
        for _ in range(20):
            assert (await bus.ask("kv.quiet.get", {"key": "k"}))["exists"] is False
        assert len(gate.entered) == 14
        assert not any(request.done() for request in noisy)
        gate.is_open.set()
        replies = await asyncio.gather(*noisy)
        assert all(reply["success"] for reply in replies)
        assert [request.key for request in gate.entered] == [str(number) for number in range(200)]


async def test_plugins_of_the_global_form_take_turns_too():
    async with running(max_in_flight=1, max_queued=1000) as bus:
        gate = Gate("noisy").stand_before(bus.service)
        order: list[str] = []

        async def ask(plugin: str) -> None:
            await bus.ask("kv.get", {"plugin_name": plugin, "key": "k"})
            order.append(plugin)

        noisy = [asyncio.create_task(ask("noisy")) for _ in range(50)]
        await gate.has_let_in(1)
        quiet = asyncio.create_task(ask("quiet"))
        await bus.has_taken(51)
        gate.is_open.set()
        await asyncio.gather(quiet, *noisy)
        assert order.index("quiet") <= 2


async def test_made_up_names_have_a_few_turns_together():
    async with running(max_in_flight=1, max_queued=1000) as bus:
        await bus.ask("kv.quiet.set", {"key": "k", "value": 1})
        gate = Gate("first").stand_before(bus.service)
        first = bus.asking("kv.first.get", {"key": "k"})
        await gate.has_let_in(1)
        order: list[str] = []

        async def ask(plugin: str) -> None:
            await bus.ask(f"kv.{plugin}.get", {"key": "k"})
            order.append(plugin)

        made_up = [asyncio.create_task(ask(f"made-up-{number}")) for number in range(100)]
        await bus.has_taken(101)
        quiet = [asyncio.create_task(ask("quiet")) for _ in range(3)]
        await bus.has_taken(104)
        gate.is_open.set()
        await asyncio.gather(first, *quiet, *made_up)
        assert [place for place, name in enumerate(order) if name == "quiet"][-1] <= 3 * 17


async def test_what_finds_no_place_is_told_when_to_come_back():
    async with running(max_in_flight=1, max_queued=2) as bus:
        gate = Gate("shop").stand_before(bus.service)
        first = bus.asking("kv.shop.incr", {"key": "n"})
        await gate.has_let_in(1)
        waiting = [bus.asking("kv.shop.incr", {"key": "n"}) for _ in range(2)]
        await bus.has_taken(3)
        with pytest.raises(Overloaded) as refused:
            await StorageClient(bus.client, "shop").kv.get("n")
        assert refused.value.details == {"retry_after_ms": 100}
        assert refused.value.retryable
        gate.is_open.set()
        replies = await asyncio.gather(first, *waiting)
        assert [reply["value"] for reply in replies] == [1, 2, 3]


async def test_a_flood_loses_no_reply():
    async with running(max_in_flight=4, max_queued=50) as bus:
        replies = await asyncio.gather(
            *(bus.ask(f"kv.plugin-{n % 5}.incr", {"key": "n"}) for n in range(1000))
        )
        served = sum(reply["success"] for reply in replies)
        refused = [reply["error"]["code"] for reply in replies if not reply["success"]]
        assert set(refused) <= {"OVERLOADED"}
        counts = [(await bus.ask(f"kv.plugin-{n}.get", {"key": "n"}))["value"] for n in range(5)]
        assert sum(counts) == served
        assert len(refused) + served == 1000


async def test_stopping_answers_what_was_taken_and_turns_away_what_comes_later():
    async with running(max_in_flight=16, max_queued=100) as bus:
        gate = Gate("shop").stand_before(bus.service)
        taken = [bus.asking("kv.shop.incr", {"key": "n"}) for _ in range(20)]
        await gate.has_let_in(14)
        stopping = asyncio.create_task(bus.service.stop())
        with pytest.raises(NoRespondersError):
            await _ask_for_ever(bus)
        assert not stopping.done()
        gate.is_open.set()
        replies = await asyncio.gather(*taken)
        assert sorted(reply["value"] for reply in replies) == list(range(1, 21))
        await stopping


async def _ask_for_ever(bus: Running) -> None:
    while True:
        await bus.ask("ping")


async def test_stopping_ends_when_its_time_is_over():
    async with running(max_in_flight=1, max_queued=100, drain_timeout=0.05) as bus:
        gate = Gate("shop").stand_before(bus.service)
        shop = StorageClient(bus.client, "shop", timeout=30)
        held = asyncio.create_task(shop.kv.incr("n"))
        await gate.has_let_in(1)
        waiting = [asyncio.create_task(shop.kv.incr("n")) for _ in range(3)]
        await bus.has_taken(4)
        await bus.service.stop()
        for request in waiting:
            with pytest.raises(ShuttingDown) as refused:
                await request
            assert refused.value.retryable
        assert not held.done()
        held.cancel()


async def test_stopping_ends_when_its_time_is_over_within_the_draining_of_nats_py(monkeypatch):
    """Its drain() swallows the cancellation that a timeout consists of."""
    async with running(max_in_flight=1, drain_timeout=0.05) as bus:
        gate = Gate("shop").stand_before(bus.service)
        held = asyncio.create_task(StorageClient(bus.client, "shop", timeout=30).kv.incr("n"))
        await gate.has_let_in(1)
        nats = bus.service._nats
        unsubscribe = nats._send_unsubscribe

        async def longer_than_the_time(*arguments: int, **named: int) -> None:
            await unsubscribe(*arguments, **named)
            time.sleep(0.1)  # noqa: ASYNC251 - as if the event loop were busy

        monkeypatch.setattr(nats, "_send_unsubscribe", longer_than_the_time)
        async with asyncio.timeout(20):
            await bus.service.stop()
        assert not held.done()
        held.cancel()


async def test_the_server_hears_of_the_unsubscribing_before_it_is_asked_for_a_pong():
    """nats-py's own drain() sends the PING first: what comes in between would be lost."""
    async with running() as bus:
        nats = bus.service._nats
        written: list[bytes] = []
        transport = nats._transport
        write, writelines = transport.write, transport.writelines
        transport.write = lambda data: (written.append(data), write(data))[1]
        transport.writelines = lambda data: (written.extend(data), writelines(data))[1]
        await bus.service.stop()
        commands = [data.split()[0] for data in written]
        assert commands.index(b"UNSUB") < commands.index(b"PING")


async def test_a_second_stop_does_nothing():
    async with running() as bus:
        await bus.service.stop()
        await bus.service.stop()


# -- a long search --------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}"


async def test_gets_and_writes_overtake_a_search_that_does_not_end(database, monkeypatch):
    begun, may_end = threading.Event(), threading.Event()
    search = QueryStore.search

    def held(self, namespace, request):
        begun.set()
        may_end.wait()
        return search(self, namespace, request)

    monkeypatch.setattr(QueryStore, "search", held)
    async with running(database) as bus:
        shop = StorageClient(bus.client, "shop", timeout=30)
        await shop.rows("items").register([{"name": "name", "type": "string"}])
        key = await shop.rows("items").insert({"name": "pen"})
        searching = asyncio.create_task(shop.rows("items").search({}))
        try:
            await asyncio.to_thread(begun.wait)
            for number in range(10):
                assert (await shop.rows("items").get(key))["name"] == "pen"
                await shop.kv.set("k", number)
                assert await shop.kv.get("k") == number
            assert not searching.done()
        finally:
            may_end.set()
        assert (await searching).total == 1


async def test_gets_overtake_a_search_through_many_rows(database):
    async with running(database) as bus:
        shop = StorageClient(bus.client, "shop", timeout=30)
        items = shop.rows("items")
        await items.register([{"name": "name", "type": "text"}])
        rows = [{"name": "é" * 900} for _ in range(500)]
        for _ in range(10):
            await items.insert_many(rows)
        searching = asyncio.create_task(items.search({"name": {"$ilike": "%Ж%"}}))
        first = await items.get(1)
        second = await items.get(2)
        assert not searching.done()
        assert first["id"], second["id"]
        searching.cancel()  # on a busy machine it may take longer than a statement may
