"""The update language, parsed into a list of assignments."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dbservice.protocol.errors import Reason, did_you_mean, invalid, nearest
from dbservice.protocol.filters import kind
from dbservice.protocol.names import identifier


class UpdateOperator(StrEnum):
    """What can be done to a column of a row that is there."""

    SET = "$set"
    UNSET = "$unset"
    INC = "$inc"
    DEC = "$dec"
    MUL = "$mul"
    MAX = "$max"
    MIN = "$min"
    PUSH = "$push"
    PULL = "$pull"
    ADD_TO_SET = "$addToSet"


MEANINGS: dict[UpdateOperator, str] = {
    UpdateOperator.SET: "set the value",
    UpdateOperator.UNSET: "set to null; the operand is `true`",
    UpdateOperator.INC: "add; null counts as 0",
    UpdateOperator.DEC: "subtract; null counts as 0",
    UpdateOperator.MUL: "multiply; null counts as 0",
    UpdateOperator.MAX: "set if the operand is greater, or the column is null",
    UpdateOperator.MIN: "set if the operand is less, or the column is null",
    UpdateOperator.PUSH: "append to a JSON array; null counts as []",
    UpdateOperator.PULL: "remove every equal element of a JSON array",
    UpdateOperator.ADD_TO_SET: "append to a JSON array unless an equal element is there",
}

_OPERATORS = {operator.value: operator for operator in UpdateOperator}

NUMERIC = frozenset({UpdateOperator.INC, UpdateOperator.DEC, UpdateOperator.MUL})
BOUNDS = frozenset({UpdateOperator.MAX, UpdateOperator.MIN})
ARRAY = frozenset({UpdateOperator.PUSH, UpdateOperator.PULL, UpdateOperator.ADD_TO_SET})


@dataclass(frozen=True, slots=True)
class Assignment:
    """One operator applied to one column; `path` says where it stood in the request."""

    column: str
    operator: UpdateOperator
    operand: Any
    path: str


def parse_updates(
    operations: dict[str, Any], data: dict[str, Any] | None = None
) -> tuple[Assignment, ...]:
    """Return the assignments of an update, in the order of the request.

    Args:
        operations: `{"score": {"$inc": 1}}`.
        data: plain values, each as if under `$set`.

    Raises:
        RequestError: VALIDATION_ERROR if there is nothing to do, for an unknown operator, more
            than one operator on a column, or a column that stands in both places.
    """
    assignments = [_parse_operation(column, value) for column, value in operations.items()]
    for column, value in (data or {}).items():
        if column in operations:
            raise invalid(
                f"Column '{column[:80]}' stands in both 'operations' and 'data'. Name it once.",
                field=f"data.{column[:80]}",
            )
        identifier(column, field=f"data.{column[:80]}")
        assignments.append(Assignment(column, UpdateOperator.SET, value, f"data.{column}"))
    if not assignments:
        raise invalid(
            "The update changes nothing: 'operations' and 'data' are both empty.",
            field="operations",
            expected='{"column": {"$operator": value}}',
        )
    return tuple(assignments)


def _parse_operation(column: str, value: Any) -> Assignment:
    path = f"operations.{column[:80]}"
    if column.startswith("$"):
        raise invalid(
            f"'{column[:80]}' stands where a column is expected. Write the column outside and the "
            f'operator inside: {{"score": {{"$inc": 1}}}}.',
            reason=Reason.UNKNOWN_OPERATOR,
            field=path,
            got=column[:80],
        )
    identifier(column, field=path)
    if not isinstance(value, dict):
        raise invalid(
            f"Expected an operator object at '{path}', for example "
            f"{{\"$set\": ...}}, got {kind(value)}. Plain values go into 'data'.",
            field=path,
            expected="object with one operator",
            got=kind(value),
        )
    if len(value) != 1:
        raise invalid(
            f"Expected one operator at '{path}', got {len(value)}.",
            field=path,
            expected="object with one operator",
            got=sorted(value)[:10],
        )
    name, operand = next(iter(value.items()))
    return Assignment(column, _operator(name, path), operand, f"{path}.{name}")


def _operator(name: str, path: str) -> UpdateOperator:
    operator = _OPERATORS.get(name)
    if operator is None:
        raise invalid(
            f"'{name[:80]}' is not an update operator: expected one of {', '.join(_OPERATORS)}."
            f"{did_you_mean(name, _OPERATORS)}",
            reason=Reason.UNKNOWN_OPERATOR,
            field=path,
            got=name[:80],
            nearest=nearest(name, _OPERATORS),
        )
    return operator
