"""The filter language, parsed into a small tree.

Nothing here knows a table: columns and operand types are checked where the schema is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dbservice.protocol.errors import Reason, RequestError, did_you_mean, invalid, nearest
from dbservice.protocol.limits import (
    MAX_CONDITIONS,
    MAX_FILTER_DEPTH,
    MAX_LIST_OPERAND,
    MAX_PATTERN,
)
from dbservice.protocol.names import identifier


class Operator(StrEnum):
    """Operators that compare one column."""

    EQ = "$eq"
    NE = "$ne"
    GT = "$gt"
    GTE = "$gte"
    LT = "$lt"
    LTE = "$lte"
    IN = "$in"
    NIN = "$nin"
    BETWEEN = "$between"
    LIKE = "$like"
    ILIKE = "$ilike"
    EXISTS = "$exists"
    NULL = "$null"
    CONTAINS = "$contains"


class Logic(StrEnum):
    """Operators that combine filters."""

    AND = "$and"
    OR = "$or"
    NOR = "$nor"
    NOT = "$not"


MEANINGS: dict[str, str] = {
    Operator.EQ: "equal; null means IS NULL",
    Operator.NE: "not equal; null means IS NOT NULL; matches rows where the column is null",
    Operator.GT: "greater (numbers, datetimes, text by code point)",
    Operator.GTE: "greater or equal",
    Operator.LT: "less",
    Operator.LTE: "less or equal",
    Operator.IN: "one of a list; an empty list matches nothing; null in the list matches null",
    Operator.NIN: "none of a list; an empty list matches everything; matches null",
    Operator.BETWEEN: "[low, high], both included",
    Operator.LIKE: "pattern with % and _, case-sensitive; the escape character is \\",
    Operator.ILIKE: "as $like, without regard to case",
    Operator.EXISTS: "true: not null; false: null",
    Operator.NULL: "true: null; false: not null",
    Operator.CONTAINS: "a JSON array column has this element",
    Logic.AND: "all filters of a list match",
    Logic.OR: "at least one filter of a list matches",
    Logic.NOR: "no filter of a list matches",
    Logic.NOT: "the filter, or the operators on a column, do not match",
}


_OPERATORS = {operator.value: operator for operator in Operator}


@dataclass(frozen=True, slots=True)
class Condition:
    """One column compared with one operand.

    Attributes:
        path: where it stands in the request, for errors: `filters.score.$gte`.
    """

    column: str
    operator: Operator
    operand: Any
    path: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """Matches where every part matches; with no parts, everywhere."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Matches where at least one part matches."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Matches where the part does not."""

    part: Filter


Filter = Condition | AllOf | AnyOf | Not


def parse_filters(filters: dict[str, Any], *, field: str = "filters") -> Filter:
    """Return the tree of a filter object.

    Args:
        filters: the object as it came.
        field: the name of the request field, for errors.

    Raises:
        RequestError: VALIDATION_ERROR for an unknown operator, a malformed operand, an empty
            logical list, nesting over 8 or more than 200 conditions.
    """
    return _Parser(field).parse_object(filters, field, depth=1)


def conditions(tree: Filter) -> Iterator[Condition]:
    """Yield every condition of a tree."""
    match tree:
        case Condition():
            yield tree
        case Not(part):
            yield from conditions(part)
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from conditions(part)


class _Parser:
    def __init__(self, field: str) -> None:
        self.field = field
        self.seen = 0

    def parse_object(self, value: Any, path: str, depth: int) -> Filter:
        self.check_depth(path, depth)
        if not isinstance(value, dict):
            raise invalid(
                f"Expected a filter object at '{path}', got {kind(value)}.",
                field=path,
                expected="object",
                got=kind(value),
            )
        parts = tuple(
            self.parse_entry(name, operand, f"{path}.{name}", depth)
            for name, operand in value.items()
        )
        return parts[0] if len(parts) == 1 else AllOf(parts)

    def parse_entry(self, name: str, operand: Any, path: str, depth: int) -> Filter:
        if not name.startswith("$"):
            return self.parse_column(name, operand, path, depth)
        match name:
            case Logic.AND:
                return AllOf(self.parse_list(operand, path, depth))
            case Logic.OR:
                return AnyOf(self.parse_list(operand, path, depth))
            case Logic.NOR:
                return Not(AnyOf(self.parse_list(operand, path, depth)))
            case Logic.NOT:
                return Not(self.parse_object(operand, path, depth + 1))
        raise self.unknown_operator(name, path, top_level=True)

    def parse_list(self, value: Any, path: str, depth: int) -> tuple[Filter, ...]:
        if not isinstance(value, list) or not value:
            raise invalid(
                f"Expected a list with at least one filter at '{path}', got "
                f"{'an empty list' if value == [] else kind(value)}.",
                field=path,
                expected="non-empty array",
                got=kind(value),
            )
        return tuple(
            self.parse_object(part, f"{path}[{position}]", depth + 1)
            for position, part in enumerate(value)
        )

    def parse_column(self, name: str, operand: Any, path: str, depth: int) -> Filter:
        identifier(name, field=path)
        if isinstance(operand, dict) and any(key.startswith("$") for key in operand):
            return self.parse_operators(name, operand, path, depth)
        return self.condition(name, Operator.EQ, operand, path)

    def parse_operators(
        self, column: str, operators: dict[str, Any], path: str, depth: int
    ) -> Filter:
        self.check_depth(path, depth)
        parts: list[Filter] = []
        for name, operand in operators.items():
            here = f"{path}.{name}"
            if name == Logic.NOT:
                parts.append(Not(self.parse_negated(column, operand, here, depth)))
            elif operator := _OPERATORS.get(name):
                parts.append(self.condition(column, operator, operand, here))
            else:
                raise self.unknown_operator(name, here, top_level=False)
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def parse_negated(self, column: str, operand: Any, path: str, depth: int) -> Filter:
        if not isinstance(operand, dict) or not operand:
            raise invalid(
                f"Expected an object of operators at '{path}', for example "
                f'{{"$gt": 5}}, got {kind(operand)}.',
                field=path,
                expected="object of operators",
                got=kind(operand),
            )
        return self.parse_operators(column, operand, path, depth + 1)

    def condition(self, column: str, operator: Operator, operand: Any, path: str) -> Condition:
        self.seen += 1
        if self.seen > MAX_CONDITIONS:
            raise invalid(
                f"'{self.field}' has more than {MAX_CONDITIONS} conditions. Use $in for long "
                "lists of values, or split the request.",
                reason=Reason.LIMIT,
                field=self.field,
                limit=MAX_CONDITIONS,
            )
        _check_operand(operator, operand, path)
        return Condition(column, operator, operand, path)

    def check_depth(self, path: str, depth: int) -> None:
        if depth > MAX_FILTER_DEPTH:
            raise invalid(
                f"'{self.field}' is nested deeper than {MAX_FILTER_DEPTH} levels.",
                reason=Reason.LIMIT,
                field=path,
                limit=MAX_FILTER_DEPTH,
            )

    def unknown_operator(self, name: str, path: str, *, top_level: bool) -> RequestError:
        known = [*Logic] if top_level else [*Operator, Logic.NOT]
        return invalid(
            f"'{name[:80]}' is not a filter operator here: expected one of "
            f"{', '.join(known)}.{did_you_mean(name, known)}",
            reason=Reason.UNKNOWN_OPERATOR,
            field=path[:200],
            got=name[:80],
            nearest=nearest(name, known),
        )


def _check_operand(operator: Operator, operand: Any, path: str) -> None:
    match operator:
        case Operator.IN | Operator.NIN:
            _check_list(operand, path)
        case Operator.BETWEEN:
            if not isinstance(operand, list) or len(operand) != 2 or None in operand:
                raise _operand_error(operator, "a list of two values, [low, high]", operand, path)
        case Operator.LIKE | Operator.ILIKE:
            _check_pattern(operator, operand, path)
        case Operator.EXISTS | Operator.NULL:
            if not isinstance(operand, bool):
                raise _operand_error(operator, "true or false", operand, path)
        case Operator.GT | Operator.GTE | Operator.LT | Operator.LTE if operand is None:
            raise _operand_error(operator, "a number, a datetime or a text", operand, path)


def _check_list(operand: Any, path: str) -> None:
    if not isinstance(operand, list):
        raise invalid(
            f"Expected a list at '{path}', got {kind(operand)}.",
            field=path,
            expected="array",
            got=kind(operand),
        )
    if len(operand) > MAX_LIST_OPERAND:
        raise invalid(
            f"The list at '{path}' has {len(operand)} values; the limit is {MAX_LIST_OPERAND}. "
            "Split the request.",
            reason=Reason.LIMIT,
            field=path,
            limit=MAX_LIST_OPERAND,
            got=len(operand),
        )


def _check_pattern(operator: Operator, pattern: Any, path: str) -> None:
    if not isinstance(pattern, str):
        raise _operand_error(operator, "a pattern (string)", pattern, path)
    if len(pattern) > MAX_PATTERN:
        raise invalid(
            f"The pattern at '{path}' has {len(pattern)} characters; the limit is {MAX_PATTERN}.",
            reason=Reason.LIMIT,
            field=path,
            limit=MAX_PATTERN,
            got=len(pattern),
        )
    bare = pattern.replace("\\\\", "")
    if bare.endswith("\\"):
        raise _operand_error(operator, "a pattern that does not end in a lone '\\'", pattern, path)


def _operand_error(operator: Operator, expected: str, got: Any, path: str) -> RequestError:
    shown = repr(got)[:80] if isinstance(got, str) else kind(got)
    return invalid(
        f"'{operator}' at '{path}' needs {expected}, got {shown}.",
        field=path,
        expected=expected,
        got=kind(got),
    )


def kind(value: Any) -> str:
    """Return the JSON name of a decoded value's type, for errors."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
