"""What is kept of a user for a while."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Final

from dbservice.client import KeyValues
from reference_plugin_quote_db.validation import user_key, username

HOUR: Final = 3600


class Sessions:
    """Keeps one object for each user until it expires.

    Args:
        kv: the plugin's keys.
    """

    def __init__(self, kv: KeyValues) -> None:
        self._kv = kv

    async def save(self, user_id: str, data: dict[str, Any], ttl_seconds: int = HOUR) -> None:
        """Keep an object, instead of the one that was kept before.

        Args:
            user_id: whose it is; case does not count.
            data: anything with a JSON form, at most 65,536 bytes of it.
            ttl_seconds: how long.

        Raises:
            ValidationError: if that cannot be the name of a user.
        """
        await self._kv.set(_key(user_id), data, ttl_seconds)

    async def load(self, user_id: str) -> dict[str, Any] | None:
        """Return what is kept of a user, or None if that is nothing, or has expired."""
        data = await self._kv.get(_key(user_id))
        if isinstance(data, str):  # older plugins put the JSON text there
            with suppress(json.JSONDecodeError):
                data = json.loads(data)
        return data if isinstance(data, dict) else None


def _key(user_id: str) -> str:
    return f"session_{user_key(username(user_id))}"
