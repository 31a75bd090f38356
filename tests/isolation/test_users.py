"""The variant for servers with one account: users with permissions (SPEC 3.6, `--users`)."""

from __future__ import annotations

import asyncio
import json

import pytest
from nats.errors import NoRespondersError

from dbservice.client import StorageClient
from tests.isolation.world import SECRET, ask, listen, settled


async def refused(client, subject: str) -> bool:
    """Return whether the server complained about a use of a subject, and no answer came."""
    await settled(client)
    return any(f'"{subject.lower()}"' in complaint for complaint in client.complaints)


async def test_a_plugin_works_as_ever(users_world):
    storage = StorageClient(users_world.attacker, "quote-db")
    assert await storage.rows("quotes").count() == 5
    await storage.kv.set("a", 1)
    assert await storage.kv.incr("a") == 2
    assert await storage.sql("SELECT count(*) AS n FROM quotes") == [{"n": 5}]
    assert (await storage.migrations.status()).up_to_date
    assert users_world.attacker.complaints == []


@pytest.mark.parametrize(
    "subject",
    [
        "rosey.db.row.trivia.select",
        "rosey.db.kv.trivia.get",
        "rosey.db.kv.get",
        "rosey.db.sql.trivia.execute",
        "rosey.db.namespace.trivia.export",
        "rosey.db.namespace.quote-db.clear",
        "rosey.db.namespace.quote-db.import",
        "rosey.db.migrate.quote-db.apply",
        "rosey.db.migrate.quote-db.rollback",
        "rosey.db.info",
        "rosey.command.trivia.add",
        "rosey.command.quote-db.add",
        "rosey.event.trivia.added",
        "rosey.db.event.quote-db.schema_changed",
        "_INBOX.trivia.known",
    ],
)
async def test_other_subjects_cannot_be_published_to(users_world, subject):
    heard = await listen(users_world.victim, "_INBOX.trivia.known")
    body = {"plugin_name": "trivia", "key": "answer", "table": "questions"}
    await users_world.attacker.publish(subject, json.dumps(body).encode())
    assert await refused(users_world.attacker, subject)
    await settled(users_world.victim)
    assert heard == []
    await users_world.assert_victim_is_untouched()


@pytest.mark.parametrize(
    ("subject", "queue"),
    [
        (">", ""),
        ("rosey.>", ""),
        ("rosey.db.>", "rosey-db"),
        ("rosey.db.row.trivia.select", "rosey-db"),
        ("rosey.command.trivia.*", ""),
        ("rosey.event.trivia.>", ""),
        ("rosey.db.event.trivia.>", ""),
        ("_INBOX.>", ""),
        ("_INBOX.trivia.>", ""),
        ("_INBOX.*.>", ""),
    ],
)
async def test_others_cannot_be_listened_to(users_world, subject, queue):
    heard = await listen(users_world.attacker, subject, queue)
    assert await refused(users_world.attacker, subject)
    found = await ask(users_world.victim, "rosey.db.row.trivia.select", table="questions")
    assert found["rows"][0]["answer"] == SECRET
    await settled(users_world.attacker)
    assert heard == []


@pytest.mark.parametrize("reply", ["rosey.command.trivia.add", "rosey.db.namespace.trivia.clear"])
async def test_an_answer_cannot_be_sent_to_anothers_subject(users_world, reply):
    """The service may publish to inboxes only, whatever reply subject a request names."""
    heard = await listen(users_world.victim, "rosey.command.trivia.*")
    await users_world.attacker.publish(
        "rosey.db.kv.quote-db.set", b'{"key": "a", "value": 1}', reply=reply
    )
    await ask(users_world.attacker, "rosey.db.kv.quote-db.set", key="later", value=1)
    await settled(users_world.victim)
    assert heard == []
    await users_world.assert_victim_is_untouched()


async def test_gateway_and_plugin_talk(users_world):
    async def answer(message):
        await message.respond(b'{"success": true, "reply": "done"}')

    await users_world.attacker.subscribe("rosey.command.quote-db.*", cb=answer)
    heard = await listen(users_world.gateway, "rosey.event.quote-db.>")
    await settled(users_world.attacker)
    reply = await ask(users_world.gateway, "rosey.command.quote-db.add")
    assert reply["reply"] == "done"
    await users_world.attacker.publish("rosey.event.quote-db.added", b"{}")
    await settled(users_world.attacker)
    await settled(users_world.gateway)
    assert len(heard) == 1


async def test_the_admin_migrates_and_the_plugin_hears_of_it(users_world):
    heard = await listen(users_world.attacker, "rosey.db.event.quote-db.>")
    admin = StorageClient(users_world.admin, "quote-db")
    assert (await admin.migrations.rollback()).current_version == 2
    await settled(users_world.attacker)
    assert len(heard) == 1
    assert users_world.connections["ROSEY_ADMIN"].complaints == []


async def test_the_gateway_reaches_no_storage(users_world):
    with pytest.raises((asyncio.TimeoutError, NoRespondersError)):
        await users_world.gateway.request("rosey.db.row.quote-db.select", b"{}", timeout=0.2)
    assert await refused(users_world.gateway, "rosey.db.row.quote-db.select")
