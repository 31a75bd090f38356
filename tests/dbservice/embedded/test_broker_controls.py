"""What the broker offers to tests beyond being a server: death, disconnection, insight."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from dbservice.embedded.broker import Broker
from dbservice.embedded.connection import Publication
from dbservice.embedded.permissions import Responses, User
from tests.dbservice.embedded.worlds import PATIENCE, barrier, until


async def ignore(_: Exception) -> None:
    """Swallow what a client reports about a connection that the test cuts."""


async def echo(message: Msg) -> None:
    await message.respond(message.data)


async def test_stop_refuses_and_start_lets_back_in() -> None:
    broker = Broker()
    client = await broker.connect(reconnect_time_wait=0.01, error_cb=ignore)
    broker.stop()
    assert broker.connections == []
    await until(lambda: client.is_reconnecting, "the client notices")
    with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
        broker.accept(_Nowhere())
    broker.start()
    await until(lambda: client.is_connected, "the client comes back")
    assert [info.client_id for info in broker.connections] == [client.client_id]
    await client.close()
    assert broker.connections == []


class _Nowhere:
    """A link that nobody reads."""

    def feed(self, data: bytes) -> None: ...
    def feed_eof(self) -> None: ...


async def test_disconnect_by_id_and_by_predicate() -> None:
    broker = Broker()
    back = asyncio.Queue[str]()

    async def connect(name: str):
        async def reconnected() -> None:
            back.put_nowait(name)

        return await broker.connect(
            name=name, reconnect_time_wait=0, reconnected_cb=reconnected, error_cb=ignore
        )

    async with await connect("a") as a, await connect("b"):
        await a.subscribe("echo", cb=echo)
        await barrier(a)
        assert broker.disconnect(a.client_id) == 1
        assert await asyncio.wait_for(back.get(), PATIENCE) == "a"
        assert [found.pattern for found in broker.interest("echo")] == ["echo"]
        assert broker.disconnect(lambda info: info.name == "b") == 1
        assert await asyncio.wait_for(back.get(), PATIENCE) == "b"
        assert broker.disconnect(10_000) == 0
        assert sorted(info.name for info in broker.connections) == ["a", "b"]


async def test_connections_and_interest_show_who_listens() -> None:
    broker = Broker()
    async with await broker.connect(name="quotes") as quotes, await broker.connect() as other:
        await quotes.subscribe("rosey.db.row.*.insert", queue="db", cb=echo)
        await barrier(quotes)
        limited = await other.subscribe("rosey.>")
        await limited.unsubscribe(limit=1)
        await barrier(other)
        assert broker.interest("rosey.db.row.trivia.insert") == [
            ("rosey.db.row.*.insert", "db", "quotes"),
            ("rosey.>", None, ""),
        ]
        assert broker.interest("rosey") == []
        assert len(broker.interest()) == 2
        first = broker.connections[0]
        assert (first.name, first.user, first.client_id) == ("quotes", None, quotes.client_id)
        assert first.subscriptions == (("rosey.db.row.*.insert", "db", "quotes"),)
        await quotes.publish("rosey.x", b"")
        await barrier(quotes)
        assert [found.pattern for found in broker.interest()] == ["rosey.db.row.*.insert"]
    assert broker.interest() == []


async def _picks(seed: int) -> list[int]:
    broker = Broker(seed=seed)
    async with await broker.connect() as client:
        members = [await client.subscribe("a", queue="q") for _ in range(3)]
        for number in range(60):
            await client.publish("a", b"%d" % number)
        await barrier(client)
        order = {}
        for index, member in enumerate(members):
            for _ in range(member.pending_msgs):
                order[int((await member.next_msg(timeout=PATIENCE)).data)] = index
        return [order[number] for number in range(60)]


async def test_a_seed_repeats_the_choice_in_a_queue_group() -> None:
    first = await _picks(1)
    assert set(first) == {0, 1, 2}
    assert first == await _picks(1)
    assert first != await _picks(2)


async def test_intercept_may_take_change_and_repeat_messages() -> None:
    broker = Broker()
    taken: list[Publication] = []

    def intercept(publication: Publication) -> bool:
        if publication.subject == b"echo":
            taken.append(publication)
        return publication.subject == b"echo"

    async with await broker.connect() as client:
        await client.subscribe("echo", cb=echo)
        inbox = await client.subscribe("inbox")
        broker.intercept = intercept
        await client.publish("echo", b"hi", reply="inbox", headers={"a": "b"})
        await barrier(client)
        (message,) = taken
        assert (message.payload, message.reply) == (b"hi", b"inbox")
        assert inbox.pending_msgs == 0
        assert broker.deliver(message)
        reply = await inbox.next_msg(timeout=PATIENCE)
        assert (reply.data, reply.headers) == (b"hi", {"a": "b"})


def test_clients_of_a_finished_loop_do_not_disturb() -> None:
    """A broker may outlive a test's event loop, with clients that the test forgot to close."""
    broker = Broker()

    async def leave_behind() -> None:
        forgotten = await broker.connect()
        await forgotten.subscribe("a", cb=echo)
        await barrier(forgotten)

    async def come_later() -> None:
        async with await broker.connect() as client:
            # This message finds the dead subscriber's loop closed, which ends its connection.
            await client.publish("a", b"")
            await barrier(client)
            with pytest.raises(NoRespondersError):
                await client.request("a", b"", timeout=PATIENCE)
            assert [info.client_id for info in broker.connections] == [client.client_id]

    asyncio.run(leave_behind())
    asyncio.run(come_later())


async def test_an_idle_client_is_no_longer_scheduled() -> None:
    """Nothing of the broker runs on its own: no task of ours beside nats-py's."""
    before = asyncio.all_tasks()
    async with await Broker().connect():
        names = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}
    assert names == {"Client._read_loop", "Client._flusher", "Client._ping_interval"}


async def test_permission_to_respond_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("dbservice.embedded.connection.time", clock)
    service = User("service", "p", allow_responses=Responses(limit=0, expires=5))
    broker = Broker(users=[service, User("caller", "p")])
    errors: asyncio.Queue[Exception] = asyncio.Queue()

    async with (
        await broker.connect(user="service", password="p", error_cb=errors.put) as responder,
        await broker.connect(user="caller", password="p") as caller,
    ):
        questions = await responder.subscribe("question")
        answers = await caller.subscribe("answer")
        await barrier(responder)
        await barrier(caller)
        await caller.publish("question", b"", reply="answer")
        question = await questions.next_msg(timeout=PATIENCE)
        for later in (0, 5):
            now[0] += later
            await question.respond(b"in time")
            assert (await answers.next_msg(timeout=PATIENCE)).data == b"in time"
        now[0] += 0.5
        await question.respond(b"too late")
        error = await asyncio.wait_for(errors.get(), PATIENCE)
        assert str(error) == 'nats: permissions violation for publish to "answer"'
        assert answers.pending_msgs == 0
