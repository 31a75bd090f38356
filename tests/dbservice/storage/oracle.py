"""What filters, orders and updates mean, in plain Python: SPEC 2.5 and 2.6 read literally.

Nothing of the service is used here, so that a misreading there cannot repeat itself.
"""

from __future__ import annotations

import functools
import math
import re
from datetime import UTC, datetime
from typing import Any

Row = dict[str, Any]
Types = dict[str, str]


class RefusedError(Exception):
    """The request is an error and must change nothing."""


# --- values --------------------------------------------------------------------------------------


def moment(text: str) -> datetime:
    """Return a datetime in UTC; a naive one is taken as UTC."""
    value = datetime.fromisoformat(text)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def comparable(of_type: str, value: Any) -> Any:
    """Return a value in the form in which it compares."""
    return moment(value) if of_type == "datetime" and value is not None else value


def same(left: Any, right: Any) -> bool:
    """Return whether two JSON values are equal: by kind first, numbers by value."""
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        return left is right
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return left == right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right


# --- filters -------------------------------------------------------------------------------------


def matches(filters: Row, row: Row, types: Types) -> bool:
    """Return whether a row matches a filter object; its entries are ANDed."""
    return all(_entry(name, operand, row, types) for name, operand in filters.items())


def _entry(name: str, operand: Any, row: Row, types: Types) -> bool:
    match name:
        case "$and":
            return all(matches(part, row, types) for part in operand)
        case "$or":
            return any(matches(part, row, types) for part in operand)
        case "$nor":
            return not any(matches(part, row, types) for part in operand)
        case "$not":
            return not matches(operand, row, types)
    if isinstance(operand, dict) and any(key.startswith("$") for key in operand):
        return _all_operators(operand, row[name], types[name])
    return _equal(row[name], operand, types[name])


def _all_operators(operators: Row, value: Any, of_type: str) -> bool:
    return all(
        not _all_operators(operand, value, of_type)
        if operator == "$not"
        else _holds(operator, operand, value, of_type)
        for operator, operand in operators.items()
    )


def _holds(operator: str, operand: Any, value: Any, of_type: str) -> bool:
    match operator:
        case "$eq":
            return _equal(value, operand, of_type)
        case "$ne":
            return not _equal(value, operand, of_type)
        case "$in":
            return any(_equal(value, one, of_type) for one in operand)
        case "$nin":
            return not any(_equal(value, one, of_type) for one in operand)
        case "$exists":
            return (value is not None) is operand
        case "$null":
            return (value is None) is operand
    return value is not None and _compares(operator, operand, value, of_type)


def _compares(operator: str, operand: Any, value: Any, of_type: str) -> bool:
    if operator == "$between":
        low, high = operand
        return _compares("$gte", low, value, of_type) and _compares("$lte", high, value, of_type)
    if operator == "$contains":
        return isinstance(value, list) and any(same(one, operand) for one in value)
    if operator == "$like":
        return _like(operand, value)
    if operator == "$ilike":
        return _like(_lower(operand), _lower(value))
    left, right = comparable(of_type, value), comparable(of_type, operand)
    return bool(
        {
            "$gt": left > right,
            "$gte": left >= right,
            "$lt": left < right,
            "$lte": left <= right,
        }[operator]
    )


def _equal(value: Any, operand: Any, of_type: str) -> bool:
    if value is None or operand is None:
        return value is operand
    if of_type == "json":
        return same(value, operand)
    return bool(comparable(of_type, value) == comparable(of_type, operand))


def _like(pattern: str, text: str) -> bool:
    expression = ""
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            expression += re.escape(next(characters))
        else:
            expression += {"%": ".*", "_": "."}.get(character) or re.escape(character)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _lower(text: str) -> str:
    lowered = ((character.lower(), character) for character in text)
    return "".join(small if len(small) == 1 else character for small, character in lowered)


# --- order ---------------------------------------------------------------------------------------


def ordered(rows: list[Row], sort: list[Row], types: Types) -> list[Row]:
    """Return rows in the order of a request: null before every value, ties by ascending id.

    A sort with `reverse` keeps equal rows as they were, and so by id.
    """
    result = sorted(rows, key=lambda row: row["id"])
    for key in reversed(sort):
        result.sort(
            key=functools.partial(_place, name=key["field"], of_type=types[key["field"]]),
            reverse=key.get("order") == "desc",
        )
    return result


def _place(row: Row, *, name: str, of_type: str) -> tuple[bool, Any]:
    value = comparable(of_type, row[name])
    return (value is not None, 0 if value is None else value)


# --- updates -------------------------------------------------------------------------------------

LOWEST, HIGHEST = -(2**63), 2**63 - 1


def updated(value: Any, operator: str, operand: Any, of_type: str) -> Any:
    """Return what a column holds after an operator.

    Raises:
        RefusedError: the result leaves its range, or the column holds no array.
    """
    match operator:
        case "$set":
            return operand
        case "$unset":
            return None
        case "$inc" | "$dec" | "$mul":
            return _calculated(value or 0, operator, operand, of_type)
        case "$max" | "$min":
            return _bounded(value, operator, operand, of_type)
    return _changed_array(value, operator, operand)


def _calculated(value: Any, operator: str, operand: Any, of_type: str) -> Any:
    result = {
        "$inc": lambda: value + operand,
        "$dec": lambda: value - operand,
        "$mul": lambda: value * operand,
    }[operator]()
    if of_type == "integer" and not LOWEST <= result <= HIGHEST:
        raise RefusedError
    if of_type == "float" and not math.isfinite(result):
        raise RefusedError
    if operator == "$mul" and not result and value and operand:
        raise RefusedError  # so small that nothing would be left of it
    return result


def _bounded(value: Any, operator: str, operand: Any, of_type: str) -> Any:
    if value is None:
        return operand
    pick = max if operator == "$max" else min
    return pick(value, operand, key=lambda one: comparable(of_type, one))


def _changed_array(value: Any, operator: str, operand: Any) -> list[Any]:
    array = [] if value is None else value
    if not isinstance(array, list):
        raise RefusedError
    if operator == "$pull":
        return [one for one in array if not same(one, operand)]
    if operator == "$addToSet" and any(same(one, operand) for one in array):
        return array
    return [*array, operand]
