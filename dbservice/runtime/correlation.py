"""The correlation id of the request at hand (SPEC 2.7).

The id lives in a context variable: every task started while it is bound inherits it, so that the
client sends it on and every log line carries it without being told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import uuid4

from dbservice.protocol.headers import REQUEST_ID

_current: ContextVar[str | None] = ContextVar("rosey_request_id", default=None)
_WELL_FORMED = re.compile(r"[!-~]{1,128}")


def new_request_id() -> str:
    """Return a fresh id: 32 hexadecimal digits."""
    return uuid4().hex


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


@contextmanager
def bound_request_id(request_id: str) -> Iterator[str]:
    """Make `request_id` the current id within the `with` block, and give it to the block."""
    token = _current.set(request_id)
    try:
        yield request_id
    finally:
        _current.reset(token)
