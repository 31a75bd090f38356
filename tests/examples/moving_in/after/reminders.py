"""Reminders and karma on the storage service."""

import time

from dbservice.client import StorageClient


class Reminders:
    def __init__(self, nats, namespace="reminders"):
        self._storage = StorageClient(nats, namespace, retries=2)
        self._karma = self._storage.rows("karma")
        self._reminders = self._storage.rows("reminders")

    async def give(self, user):
        await self._karma.upsert(
            {"user": user, "points": 1}, on=["user"], operations={"points": {"$inc": 1}}
        )

    async def remind(self, user, text, seconds):
        due = int(time.time()) + seconds
        return await self._reminders.insert({"user": user, "text": text, "due": due})

    async def find(self, word):
        escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return await self._reminders.select(
            {"text": {"$ilike": f"%{escaped}%"}}, columns=["id", "text"], sort={"field": "due"}
        )

    async def busiest(self):
        return await self._storage.sql(
            "SELECT k.user, k.points, count(*) AS reminders FROM karma k"
            " JOIN reminders r ON r.user = k.user"
            " GROUP BY k.user, k.points ORDER BY count(*) DESC, k.user LIMIT 3"
        )
