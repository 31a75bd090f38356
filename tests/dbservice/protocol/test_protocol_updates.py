"""The update language: what it is parsed into, and how each mistake is told (SPEC 2.6)."""

from __future__ import annotations

from typing import Any

import pytest

from dbservice.protocol import ErrorCode, RequestError
from dbservice.protocol.updates import (
    ARRAY,
    BOUNDS,
    MEANINGS,
    NUMERIC,
    Assignment,
    UpdateOperator,
    parse_updates,
)


def refusal(operations: dict[str, Any], data: dict[str, Any] | None = None) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse_updates(operations, data)
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    return caught.value


@pytest.mark.parametrize("operator", list(UpdateOperator))
def test_every_operator_is_parsed(operator: UpdateOperator) -> None:
    assert parse_updates({"a": {operator.value: 1}}) == (
        Assignment("a", operator, 1, f"operations.a.{operator}"),
    )


def test_plain_values_are_set_behind_the_operations() -> None:
    assert parse_updates({"a": {"$inc": 1}}, {"b": None}) == (
        Assignment("a", UpdateOperator.INC, 1, "operations.a.$inc"),
        Assignment("b", UpdateOperator.SET, None, "data.b"),
    )


def test_every_operator_has_a_meaning() -> None:
    assert set(MEANINGS) == set(UpdateOperator)
    assert not NUMERIC & BOUNDS
    assert not NUMERIC & ARRAY


OPERATORS = ", ".join(UpdateOperator)


@pytest.mark.parametrize(
    ("operations", "data", "message", "field"),
    [
        (
            {},
            {},
            "The update changes nothing: 'operations' and 'data' are both empty.",
            "operations",
        ),
        (
            {"$inc": {"score": 1}},
            {},
            (
                "'$inc' stands where a column is expected. Write the column outside and the "
                "operator "
                'inside: {"score": {"$inc": 1}}.'
            ),
            "operations.$inc",
        ),
        (
            {"score": 5},
            {},
            (
                "Expected an operator object at 'operations.score', for example {\"$set\": "
                "...}, got "
                "integer. Plain values go into 'data'."
            ),
            "operations.score",
        ),
        (
            {"score": None},
            {},
            (
                "Expected an operator object at 'operations.score', for example {\"$set\": "
                "...}, got "
                "null. Plain values go into 'data'."
            ),
            "operations.score",
        ),
        (
            {"score": {}},
            {},
            "Expected one operator at 'operations.score', got 0.",
            "operations.score",
        ),
        (
            {"score": {"$inc": 1, "$mul": 2}},
            {},
            "Expected one operator at 'operations.score', got 2.",
            "operations.score",
        ),
        (
            {"score": {"$increment": 1}},
            {},
            f"'$increment' is not an update operator: expected one of {OPERATORS}.",
            "operations.score",
        ),
        (
            {"score": {"$addToset": 1}},
            {},
            (
                f"'$addToset' is not an update operator: expected one of {OPERATORS}. "
                "Did you mean '$addToSet'?"
            ),
            "operations.score",
        ),
        (
            {"score": {"$inc": 1}},
            {"score": 2},
            "Column 'score' stands in both 'operations' and 'data'. Name it once.",
            "data.score",
        ),
    ],
)
def test_a_mistake_is_told(
    operations: dict[str, Any], data: dict[str, Any], message: str, field: str
) -> None:
    error = refusal(operations, data)
    assert error.message == message
    assert error.details["field"] == field


@pytest.mark.parametrize("name", ["A", "a b", 'a" = 1 --', "a__b", "_a", "", "x" * 64])
def test_a_hostile_column_is_refused(name: str) -> None:
    for error in (refusal({name: {"$set": 1}}), refusal({}, {name: 1})):
        assert error.message.startswith(f"'{name}' is not a valid name: expected ")


def test_an_operator_in_data_is_not_a_column() -> None:
    assert refusal({}, {"$set": {"a": 1}}).message.startswith("'$set' is not a valid name")
