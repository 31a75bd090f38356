"""Messages of the key-value tier."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from dbservice.protocol.errors import invalid
from dbservice.protocol.limits import MAX_INTEGER, MAX_KEYS_LISTED, MIN_INTEGER
from dbservice.protocol.messages import Cut, Key, NonEmpty, Reply, Request, Seconds, Write


class KvSet(Write, frozen=True, kw_only=True):
    """Store a value under a key.

    Attributes:
        plugin_name: required on the global subjects; elsewhere it must match the subject.
        key: 1 to 512 characters, no control characters.
        value: any JSON value, null included; at most 65,536 bytes as compact JSON.
        ttl_seconds: lifetime in seconds; null or absent means for ever.
        ttl: another spelling of `ttl_seconds`.
        if_absent: store only if the key does not exist.
        if_value: store only if the present value equals this one.
    """

    plugin_name: NonEmpty | UnsetType = UNSET
    key: Key
    value: Any
    ttl_seconds: Seconds | UnsetType | None = UNSET
    ttl: Seconds | UnsetType | None = UNSET
    if_absent: bool = False
    if_value: Any = UNSET


class KvGet(Request, frozen=True, kw_only=True):
    """Read the value of a key."""

    plugin_name: NonEmpty | UnsetType = UNSET
    key: Key


class KvDelete(Write, frozen=True, kw_only=True):
    """Remove a key."""

    plugin_name: NonEmpty | UnsetType = UNSET
    key: Key


class KvList(Request, frozen=True, kw_only=True):
    """List the keys that start with a prefix, in code-point order.

    Attributes:
        prefix: literal, `_` and `%` mean themselves. Null, here and below, is as good as absent.
        limit: how many keys at the most.
        after: list the keys behind this one: the last key of the page before.
    """

    plugin_name: NonEmpty | UnsetType = UNSET
    prefix: str | None = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_KEYS_LISTED)] | None = MAX_KEYS_LISTED
    after: str | UnsetType | None = UNSET


class KvIncr(Write, frozen=True, kw_only=True):
    """Add to the number under a key, atomically; an absent key counts as 0.

    Attributes:
        by: what to add; may be negative.
        ttl_seconds: lifetime in seconds, applied only when the key is created.
        ttl: another spelling of `ttl_seconds`.
    """

    plugin_name: NonEmpty | UnsetType = UNSET
    key: Key
    by: Annotated[int, Meta(ge=MIN_INTEGER, le=MAX_INTEGER)] = 1
    ttl_seconds: Seconds | UnsetType | None = UNSET
    ttl: Seconds | UnsetType | None = UNSET


class KvStored(Reply, frozen=True, kw_only=True):
    """Answer to `set`; `stored` is there only when the request had a condition."""

    stored: bool | UnsetType = UNSET


class KvFound(Reply, frozen=True, kw_only=True):
    """Answer to `get`; an absent or expired key has no `value`."""

    exists: bool
    value: Any = UNSET


class KvDeleted(Reply, frozen=True, kw_only=True):
    """Answer to `delete`."""

    deleted: bool


class KvKeys(Reply, frozen=True, kw_only=True):
    """Answer to `list`; `cut` tells that more would have been listed if they had fitted."""

    keys: list[str]
    count: int
    truncated: bool
    cut: Cut | UnsetType = UNSET


class KvValue(Reply, frozen=True, kw_only=True):
    """Answer to `incr`: the value afterwards."""

    value: int


def lifetime(request: KvSet | KvIncr) -> int | None:
    """Return the lifetime a request asks for, in seconds, or None for ever.

    Raises:
        RequestError: VALIDATION_ERROR if both spellings are there and differ.
    """
    ttl_seconds, ttl = request.ttl_seconds, request.ttl
    if ttl is UNSET:
        return None if ttl_seconds is UNSET else ttl_seconds
    if ttl_seconds is UNSET or ttl_seconds == ttl:
        return ttl
    raise invalid(
        f"'ttl_seconds' ({ttl_seconds}) and 'ttl' ({ttl}) are two spellings of one field and "
        "differ. Send only 'ttl_seconds'.",
        field="ttl",
        expected=ttl_seconds,
        got=ttl,
    )
