"""Nobody sends the service to a place where they may not publish themselves."""

from __future__ import annotations

import json

import pytest

from dbservice.runtime.barrier import barrier
from tests.dbservice.server.own_service import running

SUBJECTS = ["rosey.db.ping", "rosey.db.kv.quiz.set", "rosey.db.nothing", "$SRV.PING", "$SRV.INFO"]


async def _victim(bus, subject):
    """Return what comes to a subject that only others may publish to."""
    came = []

    async def take(message):
        came.append(message.data)

    await bus.client.subscribe(subject, cb=take)
    await barrier(bus.client)
    return came


@pytest.mark.parametrize("asked", SUBJECTS)
@pytest.mark.parametrize(
    "place",
    ["rosey.command.trivia.add", "rosey.event.trivia.added", "rosey.db.kv.trivia.set", "_R"],
)
async def test_no_answer_goes_where_somebody_listens(asked, place):
    async with running() as bus:
        came = await _victim(bus, place)
        await bus.client.publish(asked, b'{"key": "k", "value": 1}', reply=place)
        assert (await bus.ask("kv.quiz.get", {"key": "k"}))["exists"] is False
        await barrier(bus.client)
        assert came == []


@pytest.mark.parametrize("place", ["_INBOX.x", "_INBOX_quiz.x", "_R_.abc.def"])
async def test_an_inbox_is_answered(place):
    async with running() as bus:
        came = await _victim(bus, place)
        await bus.client.publish("rosey.db.ping", b"", reply=place)
        await bus.ask("ping")
        await barrier(bus.client)
        assert [json.loads(answer)["success"] for answer in came] == [True]


async def test_another_prefix_can_be_set():
    async with running(inbox_prefix="_MINE") as bus:
        came = await _victim(bus, "_MINE.x")
        await bus.client.publish("rosey.db.ping", b"", reply="_MINE.x")
        await bus.client.publish("rosey.db.ping", b"", reply="_INBOX.x")
        await barrier(bus.client)
        while not came:
            await barrier(bus.client)
        assert [json.loads(answer)["success"] for answer in came] == [True]


async def test_a_request_that_wants_no_answer_is_executed():
    async with running() as bus:
        await bus.client.publish("rosey.db.kv.quiz.set", b'{"key": "k", "value": 1}')
        assert (await bus.ask("kv.quiz.get", {"key": "k"}))["value"] == 1


async def test_it_is_told_once(caplog):
    async with running() as bus:
        for _ in range(50):
            await bus.client.publish("rosey.db.ping", b"", reply="rosey.command.trivia.add")
        await bus.ask("ping")
    assert caplog.text.count("its reply subject is no inbox") <= 1
