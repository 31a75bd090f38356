"""Tags on things; no SQL, which `--rosey-check-storage-access` would find."""

from dbservice.client import StorageClient


class Tags:
    def __init__(self, nats, namespace="tags"):
        self._tags = StorageClient(nats, namespace).rows("tags")

    async def add(self, thing, tag):
        return await self._tags.insert({"thing": thing, "tag": tag})
