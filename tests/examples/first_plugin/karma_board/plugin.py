"""Who deserves how much: `alice++`."""

from dbservice.client import StorageClient


class KarmaBoard:
    def __init__(self, nats, namespace="karma-board"):
        self._people = StorageClient(nats, namespace).rows("people")

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
