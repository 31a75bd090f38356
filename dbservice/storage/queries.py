"""The row tier: selecting, paging, sampling, aggregating (SPEC 2.4)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from dbservice.engine.columns import NUMBERS, Column
from dbservice.engine.dialect import SqlDialect
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.tables import Table
from dbservice.engine.type_map import BINARY, UNTYPED, rule_of, to_operand
from dbservice.protocol.codec import encode_json
from dbservice.protocol.errors import Reason, RequestError, did_you_mean, invalid, nearest
from dbservice.protocol.filters import AllOf, AnyOf, Condition, Filter, Operator, parse_filters
from dbservice.protocol.limits import MAX_PAGE
from dbservice.protocol.names import Namespace, identifier
from dbservice.protocol.rows import (
    RANDOM,
    Aggregate,
    Aggregated,
    ColumnType,
    Found,
    Search,
    Select,
    Selected,
    SelectedById,
    SortKey,
)
from dbservice.storage.catalog import Catalog
from dbservice.storage.pages import check_fits, number_that_fits, too_large
from dbservice.storage.rows import (
    Matching,
    as_objects,
    counted,
    matching_rows,
    named_columns,
)
from dbservice.storage.where import operator_type

Row = dict[str, Any]

_GUESSES = 32
"""How often a random id is tried before the gaps between ids count as too wide."""

_LONGEST_CURSOR = 65_536

_FEWER = "Ask for fewer rows with 'limit', or name fewer 'columns'."


class QueryStore:
    """Operations that read rows.

    Args:
        catalog: knows the tables.
        dice: picks random rows.
        max_reply: tells how many bytes a reply may have.
    """

    def __init__(
        self, catalog: Catalog, dice: random.Random | None, max_reply: Callable[[], int]
    ) -> None:
        self._catalog = catalog
        self._dice = dice or random.SystemRandom()
        self._max_reply = max_reply

    def select(self, namespace: Namespace, request: Select) -> Steps[Selected | SelectedById]:
        """Read rows, or the one with an id.

        Raises:
            RequestError: VALIDATION_ERROR.
        """
        table = yield from self._catalog.table(namespace, request.table)
        page = yield from (self._row if _is_whole_row(request) else self._page)(table, request)
        if request.id is UNSET:
            return Selected(
                rows=page.rows,
                count=len(page.rows),
                truncated=page.more,
                next=page.next,
                cut=page.cut,
            )
        return SelectedById(
            rows=page.rows,
            count=len(page.rows),
            truncated=False,
            exists=bool(page.rows),
            data=page.rows[0] if page.rows else UNSET,
        )

    def search(self, namespace: Namespace, request: Search) -> Steps[Found]:
        """Read rows and count all that match.

        Raises:
            RequestError: VALIDATION_ERROR.
        """
        table = yield from self._catalog.table(namespace, request.table)
        page = yield from self._page(table, request)
        total = len(page.rows)
        if page.more or request.offset or request.after is not UNSET:
            # A cursor leaves out rows that match.
            matching = page.matching if request.after is UNSET else None
            total = yield from counted(
                table, matching or matching_rows(table, request.id, request.filters)
            )
        return Found(
            rows=page.rows,
            count=len(page.rows),
            truncated=page.more,
            total=total,
            next=page.next,
            cut=page.cut,
        )

    def aggregate(self, namespace: Namespace, request: Aggregate) -> Steps[Aggregated]:
        """Compute over groups of rows.

        Raises:
            RequestError: VALIDATION_ERROR, or VALUE_TOO_LARGE for what does not fit into a reply.
        """
        table = yield from self._catalog.table(namespace, request.table)
        groups = _groups(table, request.group_by)
        computed = [_Computed.parse(table, *item) for item in request.compute.items()]
        matching = Matching(table, parse_filters(request.filters))
        result_table = _result_table(table, groups, computed)
        having = Matching(result_table, parse_filters(request.having, field="having"))
        compared = [table.dialect.compared(group) for group in groups]
        named = [f"{sql} AS {group.sql}" for sql, group in zip(compared, groups, strict=True)]
        inner = ", ".join([*named, *(part.sql for part in computed)])
        grouping = f" GROUP BY {', '.join(compared)}" if groups else ""
        order = _ordering(result_table, request.sort, tie_break=groups)
        source = f"FROM {table.sql} WHERE {matching.sql}{grouping}"
        # Materialized, and IS TRUE, so that every engine computes each group before `having` leaves
        # it out: SQLite would see that `a = 1 AND a > 1` never holds, and compute nothing.
        result = yield Statement(
            f"WITH grouped AS MATERIALIZED (SELECT {inner} {source}) "
            f"SELECT * FROM grouped WHERE ({having.sql}) IS TRUE{_order_by(table, order)} LIMIT ?",
            (*matching.parameters, *having.parameters, min(request.limit, MAX_PAGE)),
            max_weight=self._max_reply(),
        )
        columns = list(result_table.columns.values())
        rows = as_objects(columns, result.rows)
        check_fits(columns, rows, result, self._max_reply(), "Ask for fewer groups with 'limit'.")
        return Aggregated(rows=rows)

    def _row(self, table: Table, request: Select) -> Steps[_Page]:
        """Read the row with an id: what plugins ask for most, with the query at hand."""
        key = table.required_id_column()
        result = yield Statement(table.select_by_id, (to_operand(key, request.id, "id"),))
        rows = as_objects(list(table.columns.values()), result.rows)
        return _Page(rows, more=False)

    def _page(self, table: Table, request: Select) -> Steps[_Page]:
        columns = _columns(table, request.columns, "columns")
        if request.sort == RANDOM:
            return (yield from self._sample(table, request, columns))
        is_one_row = request.id is not UNSET and request.sort is UNSET
        order = [] if is_one_row else _ordering(table, request.sort, tie_break=table.primary_key)
        limit = min(request.limit, MAX_PAGE)
        matching = _behind_cursor(table, request, order)
        shown_names = {column.name for column in columns}
        hidden = (part.column for part in order if part.column.name not in shown_names)
        fetched = [*columns, *hidden]
        max_reply = self._max_reply()
        result = yield Statement(
            f"SELECT {_list(table, fetched)} FROM {table.sql} WHERE {matching.sql}"
            f"{_order_by(table, order)} LIMIT ? OFFSET ?",
            (*matching.parameters, limit + 1, request.offset),
            max_weight=max_reply,
        )
        shown = result.rows[:limit]
        rows = as_objects(columns, [row[: len(columns)] for row in shown])
        number = number_that_fits(columns, rows, result, max_reply)
        more = result.cut or number < len(result.rows)
        cursor: str | UnsetType = UNSET
        while more and number:
            cursor = _cursor(table, request, order, fetched, shown[number - 1])
            fitting = number_that_fits(
                columns, rows[:number], result, max_reply - len(cursor or "")
            )
            if fitting == number:
                break
            number = fitting
        if rows and not number:
            raise _row_too_large(table, request, order, fetched, shown[0], max_reply)
        cut: Any = "size" if more and number < limit else UNSET
        return _Page(rows[:number], more, cursor, matching, cut)

    def _sample(self, table: Table, request: Select, columns: list[Column]) -> Steps[_Page]:
        """Pick random rows, every matching row equally likely."""
        if request.after is not UNSET or request.offset:
            raise invalid(
                f"Pages of a '{RANDOM}' order do not exist: leave out 'offset' and 'after'.",
                field="sort",
            )
        limit = min(request.limit, MAX_PAGE)
        if limit == 1 and not request.filters and request.id is UNSET:
            page = yield from self._guess(table, columns)
            if page is not None:
                return page
        matching = matching_rows(table, request.id, request.filters)
        result = yield Statement(
            f"SELECT {_list(table, columns)} FROM {table.sql} WHERE {matching.sql} "
            "ORDER BY random() LIMIT ?",
            (*matching.parameters, limit + 1),
            max_weight=self._max_reply(),
        )
        more = len(result.rows) > limit
        rows = as_objects(columns, result.rows[:limit])
        check_fits(columns, rows, result, self._max_reply(), _FEWER)
        return _Page(rows, more, matching=matching)

    def _guess(self, table: Table, columns: list[Column]) -> Steps[_Page | None]:
        """Try random ids until one is there.

        This takes the same time in a table of any size, and favours no row, unlike the row
        nearest to a random id. Returns None where the ids have too many gaps.
        """
        key = table.id_column
        if key is None or key.type is not ColumnType.INTEGER:
            return None
        lowest, highest = (
            yield Statement(
                f"SELECT (SELECT MIN({key.sql}) FROM {table.sql}), "
                f"(SELECT MAX({key.sql}) FROM {table.sql})"
            )
        ).rows[0]
        if lowest is None:
            return None
        for _ in range(_GUESSES):
            result = yield Statement(
                f"SELECT {_list(table, columns)} FROM {table.sql} WHERE {key.sql} = ?",
                (self._dice.randint(lowest, highest),),
            )
            if result.rows:
                return _Page(as_objects(columns, result.rows), lowest < highest)
        return None


@dataclass(frozen=True, slots=True)
class _Page:
    """Rows that were read.

    Attributes:
        more: whether more rows match.
        next: the cursor to those.
        matching: what the rows match.
        cut: whether there would be more of them if they had fitted into the reply.
    """

    rows: list[Row]
    more: bool
    next: str | UnsetType = UNSET
    matching: Matching | None = None
    cut: Literal["size"] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class _Order:
    """One column of an ordering. A null comes before every value, on every engine."""

    column: Column
    descending: bool

    def sql(self, dialect: SqlDialect) -> str:
        direction = "DESC NULLS LAST" if self.descending else "ASC NULLS FIRST"
        return f"{dialect.ordered(self.column)} {direction}"

    def beyond(self, value: Any, path: str) -> Filter:
        """Return the filter for rows that this column alone puts behind a value."""
        name = self.column.name
        if self.column.type is ColumnType.BOOLEAN and value is not None:
            return self._beyond_boolean(value, path)
        if not self.descending:
            operator = Operator.GT if value is not None else Operator.NE
            return Condition(name, operator, value, path)
        if value is None:
            return AnyOf(())
        return AnyOf(
            (
                Condition(name, Operator.LT, value, path),
                Condition(name, Operator.EQ, None, path),
            )
        )

    def _beyond_boolean(self, value: Any, path: str) -> Filter:
        """Booleans have an order to sort by, false before true, but no `$gt` and `$lt`."""
        name = self.column.name
        parts: list[Filter] = []
        if value is self.descending:
            parts.append(Condition(name, Operator.EQ, not value, path))
        if self.descending:
            parts.append(Condition(name, Operator.EQ, None, path))
        return AnyOf(tuple(parts))


@dataclass(frozen=True, slots=True)
class _Computed:
    """One computed value of an aggregation."""

    alias: str
    sql: str
    type: ColumnType
    kind: str = ""

    @classmethod
    def parse(cls, table: Table, alias: str, value: Any) -> _Computed:
        path = f"compute.{alias[:80]}"
        identifier(alias, field=path)
        if not isinstance(value, dict) or len(value) != 1:
            raise invalid(
                f'Expected one function at \'{path}\', for example {{"$sum": "score"}}.',
                field=path,
                expected="object with one function",
            )
        function, name = next(iter(value.items()))
        return cls._of(table, alias, function, name, f"{path}.{function[:80]}")

    @classmethod
    def _of(cls, table: Table, alias: str, function: str, name: Any, path: str) -> _Computed:
        known = ("$count", "$sum", "$avg", "$min", "$max")
        if function not in known:
            raise invalid(
                f"'{function[:80]}' is not a function of 'compute': expected one of "
                f"{', '.join(known)}.{did_you_mean(function, known)}",
                reason=Reason.UNKNOWN_OPERATOR,
                field=path,
                nearest=nearest(function, known),
            )
        if function == "$count" and name in ("*", True):
            return cls(alias, f'COUNT(*) AS "{alias}"', ColumnType.INTEGER)
        if not isinstance(name, str):
            raise invalid(f"Expected a column name at '{path}'.", field=path, expected="string")
        column = table.column(name, path)
        return cls(alias, *_computed_sql(table.dialect, function, column, alias, path))


def _computed_sql(
    dialect: SqlDialect, function: str, column: Column, alias: str, path: str
) -> tuple[str, ColumnType, str]:
    if function == "$count":
        return f'COUNT({column.sql}) AS "{alias}"', ColumnType.INTEGER, ""
    if function in ("$sum", "$avg"):
        if column.type not in NUMBERS:
            raise operator_type(function, "a numeric type", column, path)
        if function == "$sum":
            return f'{dialect.total(column)} AS "{alias}"', column.type, ""
        return f'{dialect.average(column)} AS "{alias}"', ColumnType.FLOAT, ""
    if not rule_of(column).ordered:
        raise operator_type(function, "a numeric or datetime type, or text", column, path)
    sql = f'{function[1:].upper()}({dialect.extreme(column)}) AS "{alias}"'
    return sql, column.type, column.kind if column.rule == UNTYPED else ""


def _result_table(table: Table, groups: Sequence[Column], computed: Sequence[_Computed]) -> Table:
    columns = {group.name: group for group in groups}
    for part in computed:
        if part.alias in columns:
            raise invalid(
                f"The alias '{part.alias}' is also a column of 'group_by'.",
                field=f"compute.{part.alias}",
            )
        columns[part.alias] = Column(part.alias, part.type, kind=part.kind)
    return Table(table.name, table.full_name, columns, table.dialect)


def _is_whole_row(request: Select) -> bool:
    shaped = request.filters or request.offset
    given = (request.columns, request.sort, request.after)
    return request.id is not UNSET and not shaped and given == (UNSET, UNSET, UNSET)


def _columns(table: Table, names: Sequence[str] | UnsetType, field: str) -> list[Column]:
    return list(table.columns.values()) if names is UNSET else named_columns(table, names, field)


def _groups(table: Table, names: Sequence[str] | UnsetType) -> list[Column]:
    groups = [] if names is UNSET else named_columns(table, names, "group_by")
    for column in groups:
        if column.type is ColumnType.JSON:
            path = f"group_by.{column.name}"
            raise operator_type("group_by", "a type other than json", column, path)
    return groups


def _ordering(
    table: Table,
    sort: SortKey | list[SortKey] | UnsetType,
    *,
    tie_break: Sequence[Column],
) -> list[_Order]:
    keys = [sort] if isinstance(sort, SortKey) else (sort or [])
    order: list[_Order] = []
    for key in keys:
        column = table.column(key.field, f"sort.{key.field}")
        if column.type is ColumnType.JSON or column.rule == BINARY:
            needs = f"a type other than {column.rule}"
            raise operator_type("sort", needs, column, f"sort.{key.field}")
        if all(column != earlier.column for earlier in order):
            order.append(_Order(column, key.order == "desc"))
    sorted_by = {part.column.name for part in order}
    order += [_Order(column, False) for column in tie_break if column.name not in sorted_by]
    return order


def _order_by(table: Table, order: Sequence[_Order]) -> str:
    parts = ", ".join(part.sql(table.dialect) for part in order)
    return f" ORDER BY {parts}" if parts else ""


def _list(table: Table, columns: Sequence[Column]) -> str:
    return ", ".join(map(table.dialect.shown, columns))


def _behind_cursor(table: Table, request: Select, order: Sequence[_Order]) -> Matching:
    if request.after is UNSET:
        return matching_rows(table, request.id, request.filters)
    if request.id is not UNSET or request.offset:
        raise invalid("'after' goes with 'filters' and 'sort' only.", field="after")
    values = _cursor_values(table, request, order)
    steps: list[Filter] = []
    for position, part in enumerate(order):
        same: list[Filter] = [
            Condition(earlier.column.name, Operator.EQ, value, "after")
            for earlier, value in zip(order[:position], values, strict=False)
        ]
        steps.append(AllOf((*same, part.beyond(values[position], "after"))))
    return Matching(table, AllOf((parse_filters(request.filters), AnyOf(tuple(steps)))))


def _row_too_large(
    table: Table,
    request: Select,
    order: Sequence[_Order],
    fetched: Sequence[Column],
    row: tuple[Any, ...],
    max_reply: int,
) -> RequestError:
    """Return the error for a row that no page has room for: which one, and how to pass it by."""
    error = too_large(
        max_reply,
        "This is one row, so that no page has room for it: name fewer 'columns', or pass it by "
        "with 'after'.",
    )
    values = as_objects(fetched, [row])[0]
    error.details["key"] = {
        column.name: values[column.name] for column in table.primary_key if column in fetched
    }
    cursor = _cursor(table, request, order, fetched, row)
    if cursor is not UNSET:
        error.details["next"] = cursor
    return error


def _cursor(
    table: Table,
    request: Select,
    order: Sequence[_Order],
    fetched: Sequence[Column],
    row: tuple[Any, ...],
) -> str | UnsetType:
    """Return the cursor behind a row.

    None where nothing is sorted, or by texts that are long; nor where rows have no key, because
    those that are equal in every column sorted by would be lost between pages.
    """
    if not order or not table.primary_key:
        return UNSET
    values = as_objects(fetched, [row])[0]
    position = [_query_digest(table, request, order)]
    position += [values[part.column.name] for part in order]
    cursor = base64.urlsafe_b64encode(encode_json(position)).decode()
    return cursor if len(cursor) <= _LONGEST_CURSOR else UNSET


def _query_digest(table: Table, request: Select, order: Sequence[_Order]) -> str:
    """Return what tells a query's cursors from those of another table, filter or sort."""
    sort = [(part.column.name, part.descending) for part in order]
    query = [table.full_name, request.filters, sort]
    return hashlib.sha256(msgspec.json.encode(query, order="deterministic")).hexdigest()[:16]


def _cursor_values(table: Table, request: Select, order: Sequence[_Order]) -> list[Any]:
    assert isinstance(request.after, str)
    try:
        position = msgspec.json.decode(base64.urlsafe_b64decode(request.after.encode()))
    except (binascii.Error, ValueError, RecursionError):
        position = None
    is_of_this_query = (
        isinstance(position, list)
        and len(position) == len(order) + 1
        and position[0] == _query_digest(table, request, order)
    )
    if not is_of_this_query:
        raise invalid(
            "'after' is not a cursor of this query: send the 'next' of the page before, with the "
            "same 'filters' and 'sort'.",
            field="after",
        )
    assert isinstance(position, list)
    return position[1:]
