"""The two base classes of every message, and the types they share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from dbservice.protocol.limits import MAX_KEY_LENGTH, MAX_TTL


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The payload of a request. Unknown fields are refused."""


IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=256)]


class Write(Request, frozen=True, kw_only=True):
    """A request that changes something.

    Attributes:
        idempotency_key: a repeat with the same key within 24 hours is answered with the first
            reply and not executed again.
    """

    idempotency_key: IdempotencyKey | UnsetType = UNSET


class Reply(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload of a successful reply. Fields that are UNSET do not appear on the wire."""

    success: Literal[True] = True
    replayed: Literal[True] | UnsetType = UNSET


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands under `error` in a failed reply."""

    code: str
    message: str
    details: dict[str, Any] = {}


class Failure(Struct, frozen=True, kw_only=True):
    """The payload of a failed reply."""

    success: Literal[False] = False
    error: Problem


Key = Annotated[str, Meta(min_length=1, max_length=MAX_KEY_LENGTH)]
Seconds = Annotated[int, Meta(ge=1, le=MAX_TTL)]
NonEmpty = Annotated[str, Meta(min_length=1)]
Cut = Literal["size"]
"""Why a page is shorter than its `limit` although there is more: the reply was full."""
