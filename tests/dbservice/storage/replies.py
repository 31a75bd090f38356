"""Replies of several engines to one request, compared."""

from __future__ import annotations

from typing import Any

from dbservice.protocol import ErrorCode

UNDER_PRESSURE = (
    ErrorCode.TIMEOUT,
    ErrorCode.LOCK_TIMEOUT,
    ErrorCode.OVERLOADED,
    ErrorCode.SHUTTING_DOWN,
    ErrorCode.DATABASE_UNAVAILABLE,
    ErrorCode.INTERNAL_ERROR,
)
"""Refusals that need time, company or a fault: `test_engines_under_pressure.py` makes them come."""


def without_times(value: Any) -> None:
    """Remove how long things took."""
    if isinstance(value, dict):
        value.pop("duration_ms", None)
        value.pop("execution_ms", None)
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list):
            without_times(part)


def alike(left: Any, right: Any) -> bool:
    """Return whether two JSON values are the same: numbers by value and, up to 1e16, by form."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(alike(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(alike, left, right))
    if type(left) is not type(right):
        # A document may hold 1e16, which PostgreSQL writes out: it is the same JSON number.
        are_numbers = {type(left), type(right)} == {int, float}
        return are_numbers and abs(left) >= 1e16 and bool(left == right)
    return bool(left == right)
