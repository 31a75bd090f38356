"""FastStream's NATS broker, connected: what its own suite calls its connected tests."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest

pytest.importorskip("faststream", reason="FastStream is not installed: run tox -e foreign")

from faststream import FastStream, Path, TestApp
from faststream.nats import (
    JStream,
    KvWatch,
    NatsBroker,
    NatsMessage,
    NatsResponse,
    NatsRouter,
    PullSub,
)
from pydantic import BaseModel


class Heard(asyncio.Queue[Any]):
    """What handlers were given."""

    async def next(self) -> Any:
        async with asyncio.timeout(5):
            return await self.get()


class Order(BaseModel):
    name: str
    number: int = 1


@pytest.fixture
def broker(nats_url: str) -> NatsBroker:
    return NatsBroker(nats_url)


@pytest.fixture
def heard() -> Heard:
    return Heard()


async def test_a_message_becomes_a_model(broker: NatsBroker, heard: Heard) -> None:
    @broker.subscriber("orders")
    async def handle(order: Order) -> None:
        await heard.put(order)

    async with broker:
        await broker.start()
        await broker.publish({"name": "tea"}, "orders")
        assert await heard.next() == Order(name="tea")


async def test_parts_of_the_subject(broker: NatsBroker, heard: Heard) -> None:
    @broker.subscriber("logs.{level}.{host}")
    async def handle(
        body: str, level: Annotated[str, Path()], host: Annotated[str, Path()]
    ) -> None:
        await heard.put((body, level, host))

    async with broker:
        await broker.start()
        await broker.publish("disk", "logs.warning.web")
        assert await heard.next() == ("disk", "warning", "web")


async def test_a_wildcard(broker: NatsBroker, heard: Heard) -> None:
    @broker.subscriber("all.>")
    async def handle(message: NatsMessage) -> None:
        await heard.put(message.raw_message.subject)

    async with broker:
        await broker.start()
        await broker.publish("", "all.of.them")
        assert await heard.next() == "all.of.them"


async def test_request_and_reply(broker: NatsBroker) -> None:
    @broker.subscriber("double")
    async def handle(number: int) -> int:
        return 2 * number

    async with broker:
        await broker.start()
        reply = await broker.request(21, "double", timeout=5)
        assert await reply.decode() == 42


async def test_a_request_that_nobody_answers(broker: NatsBroker) -> None:
    from nats.errors import NoRespondersError

    async with broker:
        await broker.start()
        with pytest.raises(NoRespondersError):
            await broker.request(1, "nobody", timeout=5)


async def test_a_reply_with_headers(broker: NatsBroker) -> None:
    @broker.subscriber("with-headers")
    async def handle() -> NatsResponse:
        return NatsResponse("body", headers={"x-own": "1"}, correlation_id="abc")

    async with broker:
        await broker.start()
        reply = await broker.request("", "with-headers", timeout=5)
        assert reply.headers["x-own"] == "1"
        assert reply.correlation_id == "abc"


async def test_reply_to(broker: NatsBroker, heard: Heard) -> None:
    @broker.subscriber("question")
    async def question() -> str:
        return "answer"

    @broker.subscriber("answers")
    async def answers(body: str) -> None:
        await heard.put(body)

    async with broker:
        await broker.start()
        await broker.publish("", "question", reply_to="answers")
        assert await heard.next() == "answer"


async def test_a_chain_of_publishers(broker: NatsBroker, heard: Heard) -> None:
    @broker.subscriber("first")
    @broker.publisher("second")
    async def first(body: str) -> str:
        return body.upper()

    @broker.subscriber("second")
    async def second(body: str) -> None:
        await heard.put(body)

    async with broker:
        await broker.start()
        await broker.publish("quiet", "first")
        assert await heard.next() == "QUIET"


async def test_members_of_a_queue_share(broker: NatsBroker, heard: Heard) -> None:
    @broker.subscriber("work", "workers")
    @broker.subscriber("work", "workers")
    async def handle(body: int) -> None:
        await heard.put(body)

    async with broker:
        await broker.start()
        for number in range(10):
            await broker.publish(number, "work")
        assert sorted([await heard.next() for _ in range(10)]) == list(range(10))
        assert heard.empty()


async def test_several_workers_of_one_subscriber(broker: NatsBroker, heard: Heard) -> None:
    gate = asyncio.Event()

    @broker.subscriber("slow", max_workers=3)
    async def handle(body: int) -> None:
        await heard.put(body)
        await gate.wait()

    async with broker:
        await broker.start()
        for number in range(3):
            await broker.publish(number, "slow")
        assert sorted([await heard.next() for _ in range(3)]) == [0, 1, 2]
        gate.set()


async def test_a_router_with_a_prefix(broker: NatsBroker, heard: Heard) -> None:
    router = NatsRouter(prefix="shop.")

    @router.subscriber("orders")
    async def handle(body: str) -> None:
        await heard.put(body)

    broker.include_router(router)
    async with broker:
        await broker.start()
        await broker.publish("tea", "shop.orders")
        assert await heard.next() == "tea"


async def test_a_handler_that_raises_is_called_again(broker: NatsBroker, heard: Heard) -> None:
    @broker.subscriber("fragile")
    async def handle(body: str) -> None:
        await heard.put(body)
        if body == "bad":
            raise ValueError(body)

    async with broker:
        await broker.start()
        await broker.publish("bad", "fragile")
        await broker.publish("good", "fragile")
        assert [await heard.next(), await heard.next()] == ["bad", "good"]


async def test_a_filter(broker: NatsBroker, heard: Heard) -> None:
    subscriber = broker.subscriber("mixed")

    @subscriber(filter=lambda message: message.content_type == "application/json")
    async def of_json(body: Any) -> None:
        await heard.put(("json", body))

    @subscriber
    async def of_text(body: str) -> None:
        await heard.put(("text", body))

    async with broker:
        await broker.start()
        await broker.publish({"a": 1}, "mixed")
        await broker.publish("a", "mixed")
        assert [await heard.next(), await heard.next()] == [("json", {"a": 1}), ("text", "a")]


async def test_a_subscriber_that_is_iterated(broker: NatsBroker) -> None:
    subscriber = broker.subscriber("by-hand", persistent=False)
    async with broker:
        await broker.start()
        await subscriber.start()
        waiting = asyncio.create_task(subscriber.get_one(timeout=5))
        await asyncio.sleep(0)
        await broker.publish("one", "by-hand")
        message = await waiting
        assert message is not None
        assert await message.decode() == "one"
        await subscriber.stop()


async def test_ping_and_the_life_of_an_app(broker: NatsBroker) -> None:
    app = FastStream(broker)
    states = []

    @app.after_startup
    async def started() -> None:
        states.append(await broker.ping(timeout=5))

    async with TestApp(app):
        assert states == [True]


async def test_a_pull_subscriber(jetstream: str, broker: NatsBroker, heard: Heard) -> None:
    @broker.subscriber(
        "pulled", stream=JStream("pulls"), pull_sub=PullSub(batch_size=1), durable="puller"
    )
    async def handle(body: str, message: NatsMessage) -> None:
        await heard.put(body)

    async with broker:
        await broker.start()
        await broker.publish("kept", "pulled", stream="pulls")
        assert await heard.next() == "kept"


async def test_a_watch_of_a_bucket(jetstream: str, broker: NatsBroker, heard: Heard) -> None:
    @broker.subscriber("key", kv_watch=KvWatch("bucket", declare=True))
    async def handle(value: int) -> None:
        await heard.put(value)

    async with broker:
        await broker.start()
        bucket = await broker.key_value("bucket")
        await bucket.put("key", b"1")
        assert await heard.next() == 1


async def test_an_object_store(jetstream: str, broker: NatsBroker) -> None:
    async with broker:
        await broker.start()
        store = await broker.object_storage("files")
        await store.put("file", b"x" * 300_000)
        assert len((await store.get("file")).data or b"") == 300_000
