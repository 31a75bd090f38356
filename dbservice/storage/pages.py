"""Replies that fit into one message (SPEC 2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dbservice.engine.columns import Column
from dbservice.engine.steps import Result
from dbservice.protocol.codec import encode_json
from dbservice.protocol.errors import ErrorCode, RequestError

_FRAME: Final = 512
"""Bytes of a reply besides its rows and its cursor, with room to spare."""

_LONGEST: Final = 6
"""Bytes that a character of a text takes in JSON at the most, as `\\u0001` does."""


def number_that_fits(
    columns: Sequence[Column], rows: Sequence[dict[str, Any]], result: Result, max_reply: int
) -> int:
    """Return how many rows, from the first on, a reply has room for.

    Args:
        columns: what the rows have.
        rows: as they are sent.
        result: where they come from.
        max_reply: bytes that the reply may have.
    """
    names = sum(len(column.name) + len('"":,') for column in columns) + len("{},")
    if _LONGEST * result.weight + names * len(rows) <= max_reply - _FRAME:
        return len(rows)
    return values_that_fit(rows, max_reply)


def values_that_fit(values: Sequence[Any], max_reply: int) -> int:
    """Return how many JSON values, from the first on, a reply has room for."""
    left = max_reply - _FRAME
    for number, value in enumerate(values):
        left -= len(encode_json(value)) + len(",")
        if left < 0:
            return number
    return len(values)


def check_fits(
    columns: Sequence[Column],
    rows: Sequence[dict[str, Any]],
    result: Result,
    max_reply: int,
    advice: str,
) -> None:
    """Refuse a reply that cannot be continued and has no room for all of its rows.

    Raises:
        RequestError: VALUE_TOO_LARGE with the advice.
    """
    if result.cut or number_that_fits(columns, rows, result, max_reply) < len(rows):
        raise too_large(max_reply, advice)


def too_large(max_reply: int, advice: str) -> RequestError:
    """Return the error for a reply that would have more bytes than there is room for."""
    return RequestError(
        ErrorCode.VALUE_TOO_LARGE,
        f"The reply would have more than the {max_reply} bytes that a message may have here. "
        f"{advice}",
        limit=max_reply,
    )
