"""The correlation id of the request at hand (SPEC 2.7).

The id lives in a context variable: every task started while it is bound inherits it, so that the
client sends it on and every log line carries it without being told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextvars import ContextVar, Token

from dbservice.protocol.headers import REQUEST_ID

_current: ContextVar[str | None] = ContextVar("rosey_request_id", default=None)
_WELL_FORMED = re.compile(r"[!-~]{1,128}")


def new_request_id() -> str:
    """Return a fresh id: 32 hexadecimal digits."""
    # Not from `random`: that belongs to the plugin, which may have seeded it.
    return os.urandom(16).hex()


def current_request_id() -> str | None:
    """Return the id of the request at hand, or None outside of any."""
    return _current.get()


def request_id_of(headers: Mapping[str, str] | None) -> str:
    """Return the id that came with a message, or a fresh one.

    Args:
        headers: the headers as they came; None if there were none. An id that is not 1 to 128
            visible ASCII characters is not trusted and replaced.
    """
    claimed = (headers or {}).get(REQUEST_ID, "")
    return claimed if _WELL_FORMED.fullmatch(claimed) else new_request_id()


class bound_request_id:  # noqa: N801 - reads as the function it is used like
    """Make `request_id` the current id within the `with` block, and give it to the block."""

    __slots__ = ("_request_id", "_token")

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._token: Token[str | None]

    def __enter__(self) -> str:
        self._token = _current.set(self._request_id)
        return self._request_id

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
