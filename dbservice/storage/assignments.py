"""Update operators as SQL, and those on arrays as Python (SPEC 2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import filterfalse
from typing import Any

from dbservice.engine.columns import NUMBERS, Column
from dbservice.engine.json_values import is_among, same_as
from dbservice.engine.tables import CREATED_AT, Table
from dbservice.engine.type_map import check_size, from_stored, to_operand, to_stored
from dbservice.protocol.errors import Reason, RequestError, invalid
from dbservice.protocol.rows import ColumnType
from dbservice.protocol.updates import ARRAY, BOUNDS, NUMERIC, Assignment, UpdateOperator
from dbservice.storage.where import operator_type

_SIGNS = {UpdateOperator.INC: "+", UpdateOperator.DEC: "-", UpdateOperator.MUL: "*"}


class Assignments:
    """The parts of an update of one table.

    Args:
        table: resolves and types the columns.
        assignments: what the request asks for.

    Attributes:
        parameters: values for the placeholders in `sql`.
        names: of the columns that the request assigns to.
        on_arrays: the assignments that need the row's present value; they are not in `sql`.

    Raises:
        RequestError: VALIDATION_ERROR for an unknown or immutable column, an operand of the
            wrong type, or an operator that the column's type does not have; VALUE_TOO_LARGE for
            values over 1 MiB.
    """

    def __init__(self, table: Table, assignments: Sequence[Assignment]) -> None:
        self.parameters: list[Any] = []
        self.on_arrays: list[tuple[Column, Assignment]] = []
        self.names = frozenset(assignment.column for assignment in assignments)
        self._parts: list[str] = []
        self._dialect = table.dialect
        for assignment in assignments:
            column = table.written_column(assignment.column, assignment.path)
            _check(column, assignment)
            if assignment.operator in ARRAY:
                self.on_arrays.append((column, assignment))
            else:
                self._parts.append(f"{column.sql} = {self._expression(column, assignment)}")
        check_size(self.parameters, "operations")

    @property
    def sql(self) -> str:
        """What stands behind SET; empty if there are only array operators."""
        return ", ".join(self._parts)

    def also_set(self, column: Column, value: Any) -> None:
        """Add a plain value, already in its stored form."""
        self._parts.append(f"{column.sql} = ?")
        self.parameters.append(value)

    def _expression(self, column: Column, assignment: Assignment) -> str:
        operator, operand, path = assignment.operator, assignment.operand, assignment.path
        if operator is UpdateOperator.UNSET:
            return "NULL"
        if operator is UpdateOperator.SET:
            self.parameters.append(to_stored(column, operand, path))
            return self._dialect.written(column)
        value = to_operand(column, operand, path)
        if operator in BOUNDS:
            return self._bound(column, operator, to_stored(column, operand, path))
        computed = self._dialect.computed(column, _SIGNS[operator], value)
        self.parameters += computed.parameters
        return computed.sql

    def _bound(self, column: Column, operator: UpdateOperator, value: Any) -> str:
        sign = "<" if operator is UpdateOperator.MAX else ">"
        operand = self._dialect.operand(column)
        compared = self._dialect.compared(column)
        test = f"{column.sql} IS NULL OR {compared} {sign} {operand}"
        self.parameters += (value, value)
        return f"CASE WHEN {test} THEN {self._dialect.written(column)} ELSE {column.sql} END"


def changed_array(column: Column, assignment: Assignment, stored: str | None) -> str:
    """Return a JSON array column's new text.

    Args:
        column: the column.
        assignment: `$push`, `$pull` or `$addToSet`.
        stored: the present text; null counts as [].

    Raises:
        RequestError: VALIDATION_ERROR if the present value is not an array, VALUE_TOO_LARGE if
            it would grow over 1 MiB.
    """
    array = [] if stored is None else from_stored(column, stored)
    if not isinstance(array, list):
        raise invalid(
            f"'{assignment.operator}' needs an array; column '{column.name}' of a matching row "
            "holds something else.",
            reason=Reason.OPERATOR_TYPE,
            field=assignment.path,
            expected="array",
        )
    element = assignment.operand
    match assignment.operator:
        case UpdateOperator.PULL:
            array = list(filterfalse(same_as(element), array))
        case UpdateOperator.PUSH:
            array.append(element)
        case _ if not is_among(element, array):
            array.append(element)
    text = str(to_stored(column, array, assignment.path))
    check_size([text], assignment.path)
    return text


def _check(column: Column, assignment: Assignment) -> None:
    operator, path = assignment.operator, assignment.path
    if column.primary_key or column.name == CREATED_AT:
        raise _immutable(column, path)
    if operator in NUMERIC and column.type not in NUMBERS:
        raise operator_type(operator, "a numeric type", column, path)
    if operator in BOUNDS and column.type not in NUMBERS | {ColumnType.DATETIME}:
        raise operator_type(operator, "a numeric or datetime type", column, path)
    if operator in ARRAY and column.type is not ColumnType.JSON:
        raise operator_type(operator, "a json type", column, path)


def _immutable(column: Column, path: str) -> RequestError:
    return invalid(
        f"Column '{column.name}' is immutable: it is set when the row is made and never changes.",
        reason=Reason.IMMUTABLE_COLUMN,
        field=path,
        got=column.name,
    )
