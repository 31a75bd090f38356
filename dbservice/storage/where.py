"""A filter tree as SQL (SPEC 2.5).

The logic of filters is two-valued, that of SQL three-valued. A tree without negation is true in
the one exactly where it is true in the other, so only `Not` has to pull unknown down to false.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dbservice.engine.columns import Column
from dbservice.engine.dialect import Fragment
from dbservice.engine.tables import Table
from dbservice.engine.type_map import rule_of, to_operand
from dbservice.protocol.codec import check_json
from dbservice.protocol.errors import Reason, RequestError, invalid
from dbservice.protocol.filters import AllOf, AnyOf, Condition, Filter, Not, Operator
from dbservice.protocol.limits import MAX_FREE_PATTERN, MAX_MATCH
from dbservice.protocol.rows import ColumnType

TRUE, FALSE = "TRUE", "FALSE"
_COMPARISONS = {
    Operator.GT: ">",
    Operator.GTE: ">=",
    Operator.LT: "<",
    Operator.LTE: "<=",
}
_OPERATORS = frozenset(Operator)
_NULLNESS = frozenset({Operator.EXISTS, Operator.NULL})
_ON_JSON = frozenset({Operator.EQ, Operator.NE, Operator.CONTAINS}) | _NULLNESS
_NEEDS_ORDER = frozenset({Operator.GT, Operator.GTE, Operator.LT, Operator.LTE, Operator.BETWEEN})
_NEEDS_TEXT = frozenset({Operator.LIKE, Operator.ILIKE})


class Where:
    """Renders filter trees over one table, collecting the parameters.

    Args:
        table: resolves and types the columns.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._dialect = table.dialect
        self.parameters: list[Any] = []

    def render(self, tree: Filter) -> str:
        """Return the SQL of a tree; its parameters are appended to `parameters`.

        Raises:
            RequestError: VALIDATION_ERROR for an unknown column, an operand of the wrong type,
                or an operator that the column's type does not have.
        """
        match tree:
            case AllOf(parts):
                return _joined(map(self.render, parts), " AND ", TRUE)
            case AnyOf(parts):
                return _joined(map(self.render, parts), " OR ", FALSE)
            case Not(part):
                return f"({self.render(part)}) IS NOT TRUE"
            case Condition():
                return self._condition(tree)

    def _condition(self, condition: Condition) -> str:
        column = self._table.column(condition.column, condition.path)
        operator, operand, path = condition.operator, condition.operand, condition.path
        _check_operator(column, operator, path)
        if operator in _NULLNESS:
            return _null_test(column, is_null=operand is (operator is Operator.NULL))
        if operator in (Operator.EQ, Operator.NE) and operand is None:
            return _null_test(column, is_null=operator is Operator.EQ)
        if isinstance(operand, dict) and column.type is not ColumnType.JSON:
            _check_no_operator_without_its_sign(operand, path)
        if column.type is ColumnType.JSON:
            return self._on_json(column, operator, operand, path)
        if operator is Operator.EQ:
            return f"{self._dialect.compared(column)} = {self._bind(column, operand, path)}"
        if operator in _COMPARISONS:
            left = self._dialect.ordered(column)
            return f"{left} {_COMPARISONS[operator]} {self._bind(column, operand, path)}"
        return self._other(column, operator, operand, path)

    def _other(self, column: Column, operator: Operator, operand: Any, path: str) -> str:
        if operator in _NEEDS_TEXT:
            check_json(operand, path)
            like = self._dialect.like if operator is Operator.LIKE else self._dialect.ilike
            test = self._bounded(column, operand, like(column, operand))
            return self._narrowed(column, operand, test)
        match operator:
            case Operator.NE:
                self.parameters.append(to_operand(column, operand, path))
                return self._dialect.differs(column)
            case Operator.IN:
                return self._member(column, operand, path)
            case Operator.NIN:
                return f"({self._member(column, operand, path)}) IS NOT TRUE"
            case _:
                low = self._bind(column, operand[0], f"{path}[0]")
                high = self._bind(column, operand[1], f"{path}[1]")
                return f"{self._dialect.ordered(column)} BETWEEN {low} AND {high}"

    def _on_json(self, column: Column, operator: Operator, operand: Any, path: str) -> str:
        text = to_operand(column, operand, path)
        match operator:
            case Operator.EQ:
                return self._add(self._dialect.json_equal(column, text))
            case Operator.NE:
                return f"({self._add(self._dialect.json_equal(column, text))}) IS NOT TRUE"
            case _:
                return self._add(self._dialect.json_contains(column, text))

    def _member(self, column: Column, operands: list[Any], path: str) -> str:
        values = [
            to_operand(column, value, f"{path}[{position}]")
            for position, value in enumerate(operands)
            if value is not None
        ]
        parts = [self._add(self._dialect.member(column, values))] if values else []
        if len(values) < len(operands):
            parts.append(f"{column.sql} IS NULL")
        return _joined(parts, " OR ", FALSE)

    def _bind(self, column: Column, operand: Any, path: str) -> str:
        self.parameters.append(to_operand(column, operand, path))
        return self._dialect.operand(column)

    def _bounded(self, column: Column, pattern: str, test: Fragment) -> Fragment:
        """Return a test that fails for a long text and a long pattern: their product takes time."""
        if len(pattern) <= MAX_FREE_PATTERN:
            return test
        otherwise = f"THEN {self._dialect.too_long(column)} ELSE {test.sql} END"
        return Fragment(
            f"CASE WHEN length({column.sql}) > ? {otherwise}",
            (MAX_MATCH // len(pattern), *test.parameters),
        )

    def _narrowed(self, column: Column, pattern: str, test: Fragment) -> str:
        """Look at the rows that a search index finds, if there is one; the test decides."""
        index, key = self._table.search_index(column), self._table.id_column
        candidates = self._dialect.candidates(index, key, column, pattern) if index else None
        if candidates is None:
            return self._add(test)
        return f"({self._add(candidates)} AND {self._add(test)})"

    def _add(self, fragment: Fragment) -> str:
        self.parameters += fragment.parameters
        return fragment.sql


def _null_test(column: Column, *, is_null: bool) -> str:
    return f"{column.sql} IS NULL" if is_null else f"{column.sql} IS NOT NULL"


def _joined(parts: Iterable[str], glue: str, empty: str) -> str:
    rendered = list(parts)
    if len(rendered) < 2:
        return rendered[0] if rendered else empty
    return "(" + glue.join(rendered) + ")"


def _check_operator(column: Column, operator: Operator, path: str) -> None:
    if operator in _NEEDS_TEXT and not rule_of(column).patterned:
        raise operator_type(operator, "a text type", column, path)
    if operator in _NEEDS_ORDER and not rule_of(column).ordered:
        raise operator_type(operator, "a numeric or datetime type, or text", column, path)
    if operator is Operator.CONTAINS and column.type is not ColumnType.JSON:
        raise operator_type(operator, "a json type", column, path)
    if column.type is ColumnType.JSON and operator not in _ON_JSON:
        raise operator_type(operator, "a type other than json", column, path)


def _check_no_operator_without_its_sign(operand: dict[str, Any], path: str) -> None:
    for name in operand:
        if f"${name}" in _OPERATORS:
            raise invalid(
                f"'{name}' is no filter operator at '{path}'. Did you mean '${name}'?",
                reason=Reason.UNKNOWN_OPERATOR,
                field=f"{path}.{name}",
                got=name,
                nearest=f"${name}",
            )


def operator_type(operator: str, needs: str, column: Column, path: str) -> RequestError:
    """Return the error for an operator that a column's type does not have."""
    return invalid(
        f"'{operator}' requires {needs}; column '{column.name}' is {column.type}.",
        reason=Reason.OPERATOR_TYPE,
        field=path,
        expected=needs,
        got=str(column.type),
    )
