"""The filter language: what it is parsed into, and how each mistake is told (SPEC 2.5)."""

from __future__ import annotations

from typing import Any

import pytest

from dbservice.protocol import ErrorCode, RequestError
from dbservice.protocol.filters import (
    MEANINGS,
    AllOf,
    AnyOf,
    Condition,
    Logic,
    Not,
    Operator,
    conditions,
    parse_filters,
)


def refusal(filters: Any, **options: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse_filters(filters, **options)
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    return caught.value


def condition(column: str, operator: str, operand: Any, path: str) -> Condition:
    return Condition(column, Operator(operator), operand, path)


A1 = condition("a", "$eq", 1, "filters.a")
B2 = condition("b", "$eq", 2, "filters.b")


@pytest.mark.parametrize(
    ("filters", "tree"),
    [
        ({}, AllOf(())),
        ({"a": 1}, A1),
        ({"a": None}, condition("a", "$eq", None, "filters.a")),
        ({"a": [1, 2]}, condition("a", "$eq", [1, 2], "filters.a")),
        ({"a": {}}, condition("a", "$eq", {}, "filters.a")),
        ({"a": {"b": 1}}, condition("a", "$eq", {"b": 1}, "filters.a")),
        ({"a": {"$eq": {"$b": 1}}}, condition("a", "$eq", {"$b": 1}, "filters.a.$eq")),
        ({"a": 1, "b": 2}, AllOf((A1, B2))),
        (
            {"a": {"$gt": 1, "$lte": 5}},
            AllOf(
                (
                    condition("a", "$gt", 1, "filters.a.$gt"),
                    condition("a", "$lte", 5, "filters.a.$lte"),
                )
            ),
        ),
        ({"$and": [{"a": 1}]}, AllOf((condition("a", "$eq", 1, "filters.$and[0].a"),))),
        (
            {"$or": [{"a": 1}, {"b": 2}]},
            AnyOf(
                (
                    condition("a", "$eq", 1, "filters.$or[0].a"),
                    condition("b", "$eq", 2, "filters.$or[1].b"),
                )
            ),
        ),
        ({"$nor": [{"a": 1}]}, Not(AnyOf((condition("a", "$eq", 1, "filters.$nor[0].a"),)))),
        ({"$not": {"a": 1}}, Not(condition("a", "$eq", 1, "filters.$not.a"))),
        ({"$not": {}}, Not(AllOf(()))),
        ({"a": {"$not": {"$gt": 1}}}, Not(condition("a", "$gt", 1, "filters.a.$not.$gt"))),
        (
            {"a": 1, "$or": [{"b": 2}]},
            AllOf((A1, AnyOf((condition("b", "$eq", 2, "filters.$or[0].b"),)))),
        ),
    ],
)
def test_a_filter_becomes_a_tree(filters: dict[str, Any], tree: Any) -> None:
    assert parse_filters(filters) == tree


VALID_OPERANDS: dict[Operator, Any] = {
    Operator.EQ: None,
    Operator.NE: None,
    Operator.GT: 1,
    Operator.GTE: "a",
    Operator.LT: 1.5,
    Operator.LTE: True,
    Operator.IN: [],
    Operator.NIN: [None, 1],
    Operator.BETWEEN: [1, 2],
    Operator.LIKE: "a\\%b%\\\\",
    Operator.ILIKE: "",
    Operator.EXISTS: True,
    Operator.NULL: False,
    Operator.CONTAINS: {"a": 1},
}


@pytest.mark.parametrize("operator", list(Operator))
def test_every_operator_is_parsed(operator: Operator) -> None:
    operand = VALID_OPERANDS[operator]
    assert parse_filters({"a": {operator.value: operand}}) == Condition(
        "a", operator, operand, f"filters.a.{operator}"
    )


def test_every_operator_has_a_meaning() -> None:
    assert set(MEANINGS) == {*Operator, *Logic}


ALL_OPERATORS = ", ".join([*Operator, "$not"])
PATTERN_END = "a pattern that does not end in a lone '\\'"


@pytest.mark.parametrize(
    ("filters", "message", "field"),
    [
        (
            {"$orr": [{"a": 1}]},
            (
                "'$orr' is not a filter operator here: expected one of $and, $or, $nor, $not. "
                "Did you mean '$or'?"
            ),
            "filters.$orr",
        ),
        (
            {"$gt": 5},
            "'$gt' is not a filter operator here: expected one of $and, $or, $nor, $not.",
            "filters.$gt",
        ),
        (
            {"a": {"$gtt": 5}},
            (
                f"'$gtt' is not a filter operator here: expected one of {ALL_OPERATORS}. "
                "Did you mean '$gt'?"
            ),
            "filters.a.$gtt",
        ),
        (
            {"a": {"$or": [1]}},
            f"'$or' is not a filter operator here: expected one of {ALL_OPERATORS}.",
            "filters.a.$or",
        ),
        (
            {"a": {"$gt": 1, "b": 2}},
            f"'b' is not a filter operator here: expected one of {ALL_OPERATORS}.",
            "filters.a.b",
        ),
        (
            {"a": {"$where": "x"}},
            f"'$where' is not a filter operator here: expected one of {ALL_OPERATORS}.",
            "filters.a.$where",
        ),
    ],
)
def test_an_unknown_operator_is_named_with_the_nearest(
    filters: dict[str, Any], message: str, field: str
) -> None:
    error = refusal(filters)
    assert error.message == message
    assert error.details["reason"] == "UNKNOWN_OPERATOR"
    assert error.details["field"] == field


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (
            {"$or": []},
            "Expected a list with at least one filter at 'filters.$or', got an empty list.",
        ),
        (
            {"$and": {}},
            "Expected a list with at least one filter at 'filters.$and', got object.",
        ),
        (
            {"$nor": None},
            "Expected a list with at least one filter at 'filters.$nor', got null.",
        ),
        ({"$not": []}, "Expected a filter object at 'filters.$not', got array."),
        ({"$or": [{"a": 1}, 5]}, "Expected a filter object at 'filters.$or[1]', got integer."),
        (
            {"a": {"$not": 5}},
            (
                "Expected an object of operators at 'filters.a.$not', for example "
                '{"$gt": 5}, got integer.'
            ),
        ),
        (
            {"a": {"$not": {}}},
            (
                "Expected an object of operators at 'filters.a.$not', for example "
                '{"$gt": 5}, got object.'
            ),
        ),
        ({"a": {"$in": 5}}, "Expected a list at 'filters.a.$in', got integer."),
        ({"a": {"$nin": None}}, "Expected a list at 'filters.a.$nin', got null."),
        (
            {"a": {"$between": [1]}},
            (
                "'$between' at 'filters.a.$between' needs a list of two values, [low, high], "
                "got array."
            ),
        ),
        (
            {"a": {"$between": [1, None]}},
            (
                "'$between' at 'filters.a.$between' needs a list of two values, [low, high], "
                "got array."
            ),
        ),
        (
            {"a": {"$between": "ab"}},
            "'$between' at 'filters.a.$between' needs a list of two values, [low, high], got 'ab'.",
        ),
        (
            {"a": {"$gt": None}},
            "'$gt' at 'filters.a.$gt' needs a number, a datetime or a text, got null.",
        ),
        (
            {"a": {"$lte": None}},
            "'$lte' at 'filters.a.$lte' needs a number, a datetime or a text, got null.",
        ),
        (
            {"a": {"$like": 5}},
            "'$like' at 'filters.a.$like' needs a pattern (string), got integer.",
        ),
        (
            {"a": {"$ilike": None}},
            "'$ilike' at 'filters.a.$ilike' needs a pattern (string), got null.",
        ),
        (
            {"a": {"$like": "x\\"}},
            f"'$like' at 'filters.a.$like' needs {PATTERN_END}, got 'x\\\\'.",
        ),
        (
            {"a": {"$like": "x\\\\\\"}},
            f"'$like' at 'filters.a.$like' needs {PATTERN_END}, got 'x\\\\\\\\\\\\'.",
        ),
        (
            {"a": {"$exists": 1}},
            "'$exists' at 'filters.a.$exists' needs true or false, got integer.",
        ),
        ({"a": {"$null": "yes"}}, "'$null' at 'filters.a.$null' needs true or false, got 'yes'."),
    ],
)
def test_a_malformed_operand_is_told(filters: dict[str, Any], message: str) -> None:
    assert refusal(filters).message == message


@pytest.mark.parametrize("name", ["A", "a b", 'a"', "a__b", "_a", "", "a\0", "1a", "a" * 64])
def test_a_hostile_column_is_refused(name: str) -> None:
    error = refusal({"$or": [{name: 1}]})
    assert error.message.startswith(f"'{name}' is not a valid name: expected lower-case letters")
    assert error.details["field"] == f"filters.$or[0].{name}"


def test_long_words_are_echoed_in_part() -> None:
    unknown = refusal({"a": {"$" + "b" * 300: 1}})
    assert (len(unknown.details["field"]), len(unknown.details["got"])) == (200, 80)
    assert unknown.message.startswith(f"'${'b' * 79}' is not")
    assert refusal({"a": {"$between": "b" * 300}}).message.endswith(f"got '{'b' * 79}.")


def test_a_very_long_column_is_not_echoed_whole() -> None:
    error = refusal({"x" * 100_000: 1})
    assert len(error.message) + len(error.details["field"]) < 1_000


def nested(levels: int) -> dict[str, Any]:
    """Return a filter of this many levels."""
    tree: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        tree = {"$and": [tree]}
    return tree


@pytest.mark.parametrize("wrap", [lambda tree: tree, lambda tree: {"b": 1, **tree}])
def test_eight_levels_pass_and_nine_do_not(wrap: Any) -> None:
    assert len(list(conditions(parse_filters(nested(8))))) == 1
    error = refusal(wrap(nested(9)))
    assert error.message == "'filters' is nested deeper than 8 levels."
    assert error.details["reason"] == "LIMIT"
    assert error.details["limit"] == 8


def test_negated_filters_count_as_levels_too() -> None:
    def negated(levels: int) -> dict[str, Any]:
        tree: dict[str, Any] = {"a": 1}
        for _ in range(levels - 1):
            tree = {"$not": tree}
        return tree

    parse_filters(negated(8))
    assert refusal(negated(9)).message == "'filters' is nested deeper than 8 levels."


def test_negated_operators_count_as_levels_too() -> None:
    def negated(levels: int) -> dict[str, Any]:
        operators: dict[str, Any] = {"$gt": 1}
        for _ in range(levels - 1):
            operators = {"$not": operators}
        return {"a": operators}

    parse_filters(negated(8))
    assert refusal(negated(9)).message == "'filters' is nested deeper than 8 levels."


def test_two_hundred_conditions_pass_and_one_more_does_not() -> None:
    half = [{"a": number, "b": number} for number in range(100)]
    assert len(list(conditions(parse_filters({"$or": half})))) == 200
    error = refusal({"$or": [*half, {"a": 1}]}, field="having")
    assert error.message == (
        "'having' has more than 200 conditions. Use $in for long lists of values, or split the "
        "request."
    )
    assert error.details == {"reason": "LIMIT", "field": "having", "limit": 200}


@pytest.mark.parametrize("operator", ["$in", "$nin"])
def test_a_list_of_a_thousand_passes_and_one_more_does_not(operator: str) -> None:
    parse_filters({"a": {operator: list(range(1000))}})
    error = refusal({"a": {operator: list(range(1001))}})
    assert error.message == (
        f"The list at 'filters.a.{operator}' has 1001 values; the limit is 1000. Split the request."
    )


def test_a_pattern_of_4096_characters_passes_and_one_more_does_not() -> None:
    parse_filters({"a": {"$like": "é" * 4096}})
    assert refusal({"a": {"$ilike": "é" * 4097}}).message == (
        "The pattern at 'filters.a.$ilike' has 4097 characters; the limit is 4096."
    )
