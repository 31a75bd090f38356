"""What the tests of isolation look at: whose connection saw what, and whether data was touched."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from dbservice.server.permissions import ADMIN, GATEWAY
from dbservice.server.service import DatabaseService

SECRET = "the-answer-is-forty-two"
"""Stands in every row, key and event of the plugin that is attacked."""

Json = dict[str, Any]


@dataclass
class World:
    """A service and who talks to it.

    Attributes:
        service: answers.
        connections: by user.
    """

    service: DatabaseService
    connections: dict[str, Client]
    before: str = field(default="")

    @property
    def attacker(self) -> Client:
        return self.connections["quote-db"]

    @property
    def victim(self) -> Client:
        return self.connections["trivia"]

    @property
    def admin(self) -> Client:
        return self.connections[ADMIN]

    @property
    def gateway(self) -> Client:
        return self.connections[GATEWAY]

    async def prepare(self) -> None:
        """Give both plugins tables, and the victim something to lose."""
        await self.directly("rosey.db.migrate.quote-db.apply")
        fields = [{"name": "question", "type": "text"}, {"name": "answer", "type": "text"}]
        await self.directly(
            "rosey.db.row.trivia.schema.register", table="questions", schema={"fields": fields}
        )
        row = {"question": "What is it?", "answer": SECRET}
        await self.directly("rosey.db.row.trivia.insert", table="questions", data=row)
        await self.directly("rosey.db.kv.trivia.set", key="answer", value=SECRET)
        self.before = await self.belongings("trivia")
        # The event of the migration leaves before anybody can subscribe to it.
        await settled(self.service._nats)

    async def directly(self, subject: str, **body: Any) -> Json:
        """Return the service's answer to a request that no server stands before."""
        answer: Json = json.loads(await self.service.execute(subject, json.dumps(body).encode()))
        assert answer["success"], answer
        return answer

    async def belongings(self, plugin: str) -> str:
        """Return all that a plugin has: its export without the lines about the export itself."""
        answer = await self.directly(f"rosey.db.namespace.{plugin}.export")
        assert "next" not in answer
        _about, *lines, _end = answer["text"].splitlines()
        return "\n".join(lines)

    async def assert_victim_is_untouched(self, attempt: object = None) -> None:
        """Check that the victim has what it had."""
        assert await self.belongings("trivia") == self.before, attempt


async def ask(client: Client, subject: str, **body: Any) -> Json:
    """Return the decoded answer to a request."""
    reply = await client.request(subject, json.dumps(body).encode(), timeout=10)
    answer: Json = json.loads(reply.data)
    return answer


async def listen(client: Client, subject: str, queue: str = "") -> list[Msg]:
    """Subscribe, and return the list that messages are put into."""
    seen: list[Msg] = []

    async def note(message: Msg) -> None:
        seen.append(message)

    await client.subscribe(subject, queue=queue, cb=note)
    await settled(client)
    return seen


async def settled(*clients: Client) -> None:
    """Return when the server has taken what was sent, and what it had for them was handed over."""
    for client in clients:
        await asyncio.sleep(0)  # nats-py lets a PING overtake what was not yet written
        await client.flush(10)
        while any(  # noqa: ASYNC110 - nothing tells when they are empty
            subscription.pending_msgs for subscription in client._subs.values()
        ):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
