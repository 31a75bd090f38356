"""Seats that are held for ten minutes."""

from dbservice.client import StorageClient


class Seats:
    def __init__(self, nats, namespace="seats"):
        storage = StorageClient(nats, namespace)
        self._seats, self._kv = storage.rows("seats"), storage.kv

    async def free(self):
        return await self._seats.count({"taken_by": None})

    async def hold(self, seat, who):
        """Return whether nobody else holds the seat."""
        return await self._kv.set(f"hold:{seat}", who, ttl_seconds=600, if_absent=True)
