"""Brings what SQL wrote into the form that requests write (`dbservice.engine.type_map`).

Migrations and imports write as they like. Afterwards, in their own transaction, every value in
another spelling is rewritten, so that comparisons stay as simple as they are and use indexes; and
a value that its column's type cannot stand for is found before anybody reads it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dbservice.engine.columns import Column
from dbservice.engine.dialect import Fragment
from dbservice.engine.errors import EngineError
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.tables import Table


class Misfit(NamedTuple):
    """What a column cannot carry.

    Attributes:
        table: the bare name.
        column: the column.
        value: the first value, or the default's text.
        is_default: it is the column's default, and no row has it yet.
    """

    table: str
    column: Column
    value: Any
    is_default: bool = False


class Rewritten(NamedTuple):
    """Values that were brought into normal form: in which column, and how many rows."""

    table: str
    column: Column
    rows: int


_QUOTED = (
    "CASE WHEN typeof({c}) <> 'text' OR rosey_is_utf8(CAST({c} AS BLOB)) THEN quote({c}) "
    "ELSE quote(CAST({c} AS BLOB)) END"
)
"""A value of SQLite's as text, also where it is a text that is none."""


EVERY_ROW = Fragment("TRUE")


def normalise(table: Table, rows: Fragment = EVERY_ROW) -> Steps[list[Misfit | Rewritten]]:
    """Rewrite the values of a table that are not in normal form.

    Args:
        table: which.
        rows: the condition for those of its rows that are looked at.

    Returns:
        What cannot be carried, and what was rewritten; nothing if all was in order.
    """
    if table.is_view:
        return []
    found: list[Misfit | Rewritten] = []
    for column in (yield from _not_normal(table, rows)):
        misfit = yield from _misfit(table, column, rows)
        if misfit is not None:
            found.append(misfit)
        elif not column.generated:
            found.append((yield from _rewrite(table, column, rows)))
    found += yield from _defaults(table)
    return found


def _not_normal(table: Table, rows: Fragment) -> Steps[list[Column]]:
    """Return the columns in which some value is not in normal form, after one look at the rows."""
    tests = {column: table.dialect.is_normal(column) for column in table.columns.values()}
    tested = {column: test for column, test in tests.items() if test}
    if not tested:
        return []
    missed = ", ".join(
        f"MAX(CASE WHEN {_misses(c, test)} THEN 1 END)" for c, test in tested.items()
    )
    result = yield Statement(f"SELECT {missed} FROM {table.sql} WHERE {rows.sql}", rows.parameters)
    return [column for column, seen in zip(tested, result.rows[0], strict=True) if seen]


def _misses(column: Column, test: str) -> str:
    return f"{column.sql} IS NOT NULL AND ({test}) IS NOT TRUE"


def _misfit(table: Table, column: Column, rows: Fragment) -> Steps[Misfit | None]:
    carried = table.dialect.is_carried(column, column.sql) or "TRUE"
    shown = f"CAST({column.sql} AS TEXT)" if column.native else _QUOTED.format(c=column.sql)
    result = yield Statement(
        f"SELECT {shown} FROM {table.sql} WHERE {rows.sql} AND {_misses(column, carried)} LIMIT 1",
        rows.parameters,
    )
    return Misfit(table.name, column, result.rows[0][0]) if result.rows else None


def _rewrite(table: Table, column: Column, rows: Fragment) -> Steps[Rewritten]:
    dialect = table.dialect
    result = yield Statement(
        f"UPDATE {table.sql} SET {column.sql} = {dialect.normalised(column)} "
        f"WHERE {rows.sql} AND {_misses(column, dialect.is_normal(column))}",
        rows.parameters,
    )
    return Rewritten(table.name, column, result.affected)


def _defaults(table: Table) -> Steps[list[Misfit]]:
    """Return the defaults that a row could not have."""
    found = []
    for column in table.columns.values():
        default = column.default_sql
        test = table.dialect.is_carried(column, f"({default})") if default else ""
        if default is None or not test:
            continue
        try:
            result = yield Statement(f"SELECT ({default}) IS NULL OR ({test})")
            is_carried = bool(result.rows[0][0])
        except EngineError:
            is_carried = False
        if not is_carried:
            found.append(Misfit(table.name, column, default, is_default=True))
    return found
