"""JSON values as they are compared: the functions that both engines' answers are measured by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dbservice.protocol.codec import has_long_number
from dbservice.protocol.limits import MAX_INTEGER, MIN_INTEGER


def same_json(left: Any, right: Any) -> bool:
    """Return whether two JSON values are equal; unlike in Python, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            same_json(value, right[name]) for name, value in left.items()
        )
    return bool(left == right)


def same_as(wanted: Any) -> Callable[[Any], bool]:
    """Return the test whether a JSON value equals this one, for the elements of a long array."""
    if isinstance(wanted, bool):
        return lambda part: part is wanted
    if isinstance(wanted, int | float):
        return lambda part: part == wanted and not isinstance(part, bool)
    # What same_json takes for equal, Python does.
    return lambda part: part == wanted and same_json(part, wanted)


def is_among(wanted: Any, array: list[Any]) -> bool:
    """Return whether a JSON array has an element that equals this one."""
    return wanted in array and any(map(same_as(wanted), array))


def contains_json(document: str | None, element: str) -> bool | None:
    """Return whether a JSON array, given as text, has an element, given as text."""
    if document is None:
        return None
    array = read_json(document)
    wanted = msgspec.json.decode(element)
    return isinstance(array, list) and is_among(wanted, array)


def equal_json(left: str | None, right: str) -> bool | None:
    """Return whether two JSON texts mean the same value."""
    if left is None:
        return None
    return same_json(read_json(left), msgspec.json.decode(right))


def read_json(value: Any) -> Any:
    """Return a document; what a migration stored without asking for JSON is taken as it is."""
    try:
        decoded = msgspec.json.decode(value)
    except (msgspec.DecodeError, TypeError):
        return value
    return _as_sent(decoded) if has_long_number(value.encode()) else decoded


def _as_sent(value: Any) -> Any:
    """Return a JSON value with its large numbers as floats, which they were when they came.

    PostgreSQL writes 1e20 out as an integer; an integer beyond 64 bits is never stored.
    """
    match value:
        case int() if not MIN_INTEGER <= value <= MAX_INTEGER:
            return float(value)
        case list():
            return [_as_sent(part) for part in value]
        case dict():
            return {name: _as_sent(part) for name, part in value.items()}
        case _:
            return value
