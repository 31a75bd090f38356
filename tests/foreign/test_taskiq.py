"""taskiq on NATS: tasks that one side kicks and a worker runs."""

# ruff: noqa: ASYNC110 - neither taskiq nor its brokers tell when they are ready

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any, Self

import pytest

pytest.importorskip("taskiq_nats", reason="taskiq-nats is not installed: run tox -e foreign")

import nats
from taskiq import AsyncBroker, ScheduledTask, TaskiqResult
from taskiq.api import run_receiver_task
from taskiq_nats import (
    NatsBroker,
    NATSKeyValueScheduleSource,
    NATSObjectStoreResultBackend,
    PullBasedJetStreamBroker,
    PushBasedJetStreamBroker,
)


class Worked:
    """A worker of a broker, and what its tasks did."""

    def __init__(self, broker: AsyncBroker) -> None:
        self.broker = broker
        self.did: list[Any] = []

        @broker.task(task_name="note")
        async def note(what: Any) -> None:
            self.did.append(what)

        self.note = note

    async def __aenter__(self) -> Self:
        self.broker.is_worker_process = True
        self.worker = asyncio.create_task(run_receiver_task(self.broker, run_startup=True))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.worker.cancel()
        await asyncio.gather(self.worker, return_exceptions=True)
        await self.broker.shutdown()

    async def kick(self, what: Any) -> None:
        while not self.broker.client.is_connected:
            await asyncio.sleep(0.01)
        await self.note.kiq(what)
        await asyncio.sleep(0.01)


async def test_a_task_is_done(nats_url: str) -> None:
    async with asyncio.timeout(10), Worked(NatsBroker(nats_url, subject="tasks")) as worked:
        # NATS itself keeps nothing for who subscribes later.
        while not worked.did:
            await worked.kick({"a": 1})
        assert worked.did[0] == {"a": 1}


async def test_of_a_queue_one_worker_does_it(nats_url: str) -> None:
    def worker() -> Worked:
        return Worked(NatsBroker(nats_url, subject="tasks", queue="workers"))

    async with asyncio.timeout(10), worker() as one, worker() as other:
        last = 0
        while not (one.did and other.did):
            last += 1
            await one.kick(last)
        while last not in one.did + other.did:
            await asyncio.sleep(0.01)
        assert len(set(one.did + other.did)) == len(one.did + other.did)


async def test_a_broker_that_only_kicks(nats_url: str) -> None:
    broker = NatsBroker(nats_url, subject="tasks")
    await broker.startup()
    async with await nats.connect(nats_url) as listener:
        kicked = await listener.subscribe("tasks")
        await listener.flush()

        @broker.task(task_name="far")
        async def far() -> None: ...

        await far.kiq()
        message = await kicked.next_msg(5)
        assert json.loads(message.data)["task_name"] == "far"
    await broker.shutdown()


@pytest.mark.parametrize("kind", [PushBasedJetStreamBroker, PullBasedJetStreamBroker])
async def test_a_task_on_a_stream(jetstream: str, kind: Any) -> None:
    broker = kind(jetstream, subject="tasks", stream_name="tasks", durable="worker")
    async with asyncio.timeout(10), Worked(broker) as worked:
        await worked.kick("kept")
        while not worked.did:
            await asyncio.sleep(0.01)
        assert worked.did == ["kept"]


async def test_a_result_in_an_object_store(jetstream: str) -> None:
    backend: Any = NATSObjectStoreResultBackend(servers=jetstream)
    await backend.startup()
    result = TaskiqResult(is_err=False, log=None, return_value="done", execution_time=0.1)
    await backend.set_result(task_id="one", result=result)
    assert await backend.is_result_ready("one")
    assert (await backend.get_result("one")).return_value == "done"
    await backend.shutdown()


async def test_schedules_in_a_bucket(jetstream: str) -> None:
    source = NATSKeyValueScheduleSource(servers=jetstream, bucket_name=f"s{uuid.uuid4().hex[:8]}")
    await source.startup()
    schedule = ScheduledTask(
        schedule_id="one", task_name="note", labels={}, args=[1], kwargs={}, cron="* * * * *"
    )
    await source.add_schedule(schedule)
    assert [s.schedule_id for s in await source.get_schedules()] == ["one"]
    await source.delete_schedule("one")
    assert await source.get_schedules() == []
    await source.shutdown()
