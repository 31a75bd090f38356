"""A plugin that speaks to the service in JSON, as it did before there was a StorageClient."""

import json


class Reminders:
    def __init__(self, nats):
        self._nats = nats

    async def _ask(self, operation, **fields):
        reply = await self._nats.request(
            f"rosey.db.kv.reminders.{operation}", json.dumps(fields).encode(), timeout=2.0
        )
        answer = json.loads(reply.data)
        if not answer["success"]:
            raise RuntimeError(answer["error"]["message"])
        return answer

    async def remember(self, what, seconds):
        await self._ask("set", key=what, value=True, ttl_seconds=seconds)

    async def is_due(self, what):
        return not (await self._ask("get", key=what))["exists"]
