"""Settings that are read often and change rarely, kept in the KV store."""

from __future__ import annotations

from typing import Any, Final

from dbservice.client import Nats, StorageClient

TTL: Final = 300


class ConfigCache:
    """Keeps settings for a while, for all replicas.

    Args:
        nats_client: a connected NATS client.
        namespace: the plugin's name.
        ttl: seconds that a setting is kept.
    """

    def __init__(self, nats_client: Nats, namespace: str, ttl: int = TTL) -> None:
        self._kv = StorageClient(nats_client, namespace).kv
        self._ttl = ttl

    async def get_config(self, key: str, default: Any = None) -> Any:
        """Return a setting, or `default` if it is not kept, or no longer."""
        return await self._kv.get(f"config_{key}", default)

    async def set_config(self, key: str, value: Any) -> None:
        """Keep a setting; `value` is anything with a JSON form."""
        await self._kv.set(f"config_{key}", value, self._ttl)

    async def invalidate(self, key: str) -> None:
        """Forget a setting, so that the next reader takes it from where it comes from."""
        await self._kv.delete(f"config_{key}")
