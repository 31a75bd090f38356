"""The key-value tier of a plugin."""
# ruff: noqa: ASYNC109 - the timeout is that of the request, and part of the contract

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from dbservice.client.channel import Channel, given
from dbservice.client.reply_reader import ReplyReader
from dbservice.protocol.kv import (
    KvDelete,
    KvDeleted,
    KvFound,
    KvGet,
    KvIncr,
    KvKeys,
    KvList,
    KvSet,
    KvStored,
    KvValue,
)

__tracebackhide__ = True  # in a failing test pytest shows the line of the caller

_STORED = ReplyReader(KvStored)
_FOUND = ReplyReader(KvFound)
_DELETED = ReplyReader(KvDeleted)
_KEYS = ReplyReader(KvKeys, "keys")
_VALUE = ReplyReader(KvValue)

Keys = list[str]


class KeyValues:
    """The plugin's keys and their values, which are any JSON.

    Every method takes `timeout`, the seconds to wait for the reply (by default the client's),
    and raises a `StorageError`. Writes take `idempotency_key`: a repeat with the same key within
    24 hours is answered, not executed again.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def get(self, key: str, default: Any = None, *, timeout: float | None = None) -> Any:
        """Return the value of a key, or `default` if there is none or it has expired.

        Args:
            key: 1 to 512 characters.
            default: what stands for "no such key"; a stored null is returned as None.
            timeout: seconds.
        """
        found = await self._channel.call(KvGet(key=key), _FOUND, timeout)
        return found.value if found.exists else default

    async def set(
        self,
        key: str,
        value: Any,
        ttl_seconds: int | None = None,
        if_absent: bool = False,
        *,
        if_value: Any = UNSET,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Store a value and return whether it was stored, which only a condition can prevent.

        Args:
            key: 1 to 512 characters.
            value: any JSON value, at most 65,536 bytes of it.
            ttl_seconds: lifetime in seconds; None is for ever, and clears an earlier lifetime.
            if_absent: store only if the key does not exist.
            if_value: store only if the present value equals this one (compare and set).
            idempotency_key: names this write.
            timeout: seconds.

        Raises:
            ValueTooLarge: the value is over its limit.
        """
        request = KvSet(
            key=key,
            value=value,
            ttl_seconds=given(ttl_seconds),
            if_absent=if_absent,
            if_value=if_value,
            idempotency_key=given(idempotency_key),
        )
        reply = await self._channel.call(request, _STORED, timeout)
        return reply.stored is not False

    async def delete(
        self, key: str, *, idempotency_key: str | None = None, timeout: float | None = None
    ) -> bool:
        """Remove a key and return whether it was there."""
        request = KvDelete(key=key, idempotency_key=given(idempotency_key))
        return (await self._channel.call(request, _DELETED, timeout)).deleted

    async def list(self, prefix: str = "", *, timeout: float | None = None) -> Keys:
        """Return all keys that start with a prefix, in code-point order.

        Args:
            prefix: literal, `_` and `%` mean themselves.
            timeout: seconds, for each thousand keys.
        """
        keys: Keys = []
        truncated = True
        while truncated:
            after = given(keys[-1] if keys else None)
            page = await self._channel.call(KvList(prefix=prefix, after=after), _KEYS, timeout)
            keys += page.keys
            truncated = page.truncated is True and bool(page.keys)
        return keys

    async def incr(
        self,
        key: str,
        by: int = 1,
        ttl_seconds: int | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Add to the number under a key, atomically, and return the new number.

        Args:
            key: 1 to 512 characters; an absent key counts as 0.
            by: what to add; may be negative.
            ttl_seconds: lifetime in seconds, applied only when the key is created.
            idempotency_key: names this write.
            timeout: seconds.
        """
        request = KvIncr(
            key=key,
            by=by,
            ttl_seconds=given(ttl_seconds),
            idempotency_key=given(idempotency_key),
        )
        return (await self._channel.call(request, _VALUE, timeout)).value
