"""Who deserves how much: `!karma-board give alice`."""

import json

from dbservice.client import StorageClient, StorageError


class KarmaBoard:
    def __init__(self, nats, namespace="karma-board"):
        self._nats, self._namespace = nats, namespace
        self._people = StorageClient(nats, namespace).rows("people")

    async def initialize(self):
        """Listen to the chat. Of several of these processes, one gets each command."""
        await self._nats.subscribe(
            f"rosey.command.{self._namespace}.*", queue=self._namespace, cb=self._answer
        )

    async def give(self, name):
        """Return the points of a person after one more."""
        await self._people.upsert(
            {"name": name, "points": 1}, on=["name"], operations={"points": {"$inc": 1}}
        )
        return await self.points(name)

    async def points(self, name):
        rows = await self._people.select({"name": name})
        return rows[0]["points"] if rows else 0

    async def best(self):
        rows = await self._people.select(sort={"field": "points", "order": "desc"}, limit=1)
        return rows[0]["name"] if rows else None

    async def _answer(self, message):
        action, name = message.subject.rpartition(".")[2], json.loads(message.data)["args"]
        try:
            success, reply = await self._reply(action, name)
        except StorageError:
            success, reply = False, "The points cannot be reached right now."
        await message.respond(json.dumps({"success": success, "reply": reply}).encode())

    async def _reply(self, action, name):
        if action == "give" and name:
            return True, f"{name}: {await self.give(name)}"
        if action == "best":
            return True, await self.best() or "nobody yet"
        return False, "Try: give NAME, best"
