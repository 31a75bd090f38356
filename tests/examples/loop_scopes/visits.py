"""How often somebody came."""

from dbservice.client import StorageClient


class Visits:
    def __init__(self, nats, namespace="visits"):
        self._kv = StorageClient(nats, namespace).kv

    async def note(self, name):
        return await self._kv.incr(name)
