"""The row tier: writing rows of a plugin's tables, and counting them (SPEC 2.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from dbservice.engine.columns import Column
from dbservice.engine.errors import ConflictError, ConstraintError, ExhaustedError, FullError
from dbservice.engine.steps import Result, Statement, Steps, weight
from dbservice.engine.tables import CREATED_AT, UPDATED_AT, Table
from dbservice.engine.type_map import (
    check_size,
    from_stored,
    is_stored_as_it_is,
    moment_of,
    to_operand,
    to_stored,
)
from dbservice.protocol.errors import ErrorCode, RequestError, absent, invalid
from dbservice.protocol.filters import Filter, parse_filters
from dbservice.protocol.names import Namespace
from dbservice.protocol.rows import (
    Count,
    Counted,
    Delete,
    Deleted,
    Insert,
    InsertBatch,
    Inserted,
    InsertedMany,
    NoSuchRow,
    RowId,
    Update,
    Updated,
    UpdatedById,
    Upsert,
    Upserted,
)
from dbservice.protocol.updates import parse_updates
from dbservice.runtime.clock import Clock, timestamp
from dbservice.storage.assignments import Assignments, changed_array
from dbservice.storage.catalog import Catalog
from dbservice.storage.keys import KeyStore
from dbservice.storage.pages import check_fits
from dbservice.storage.where import Where

Row = dict[str, Any]

_UPSERT_TURNS = 10
"""How often an upsert that finds no row and then cannot insert one looks again."""


_ARRAYS = 16 * 1024 * 1024
"""Bytes of arrays that one update may read and change."""

_UNDONE = "Nothing was changed. Change fewer rows at a time, or name fewer columns in 'returning'."


class RecordStore:
    """Operations that write rows, and the ones that count them.

    Args:
        catalog: knows the tables.
        keys: keeps the counters that a write may take along.
        clock: stamps rows.
        max_reply: tells how many bytes a reply may have.
    """

    def __init__(
        self, catalog: Catalog, keys: KeyStore, clock: Clock, max_reply: Callable[[], int]
    ) -> None:
        self._catalog = catalog
        self._keys = keys
        self._clock = clock
        self._max_reply = max_reply

    def insert(self, namespace: Namespace, request: Insert) -> Steps[Inserted | InsertedMany]:
        """Insert one row, or several as one.

        Raises:
            RequestError: VALIDATION_ERROR or VALUE_TOO_LARGE.
        """
        table = yield from self._catalog.written_table(namespace, request.table)
        if isinstance(request.data, list):
            ids = yield from self._insert_all(table, request.data, "data")
            yield from self._keys.count(namespace, request.counters)
            return InsertedMany(ids=ids, created=len(ids))
        inserted = yield from self._insert_one(table, request.data, "data")
        yield from self._keys.count(namespace, request.counters)
        return Inserted(id=inserted)

    def insert_batch(self, namespace: Namespace, request: InsertBatch) -> Steps[InsertedMany]:
        """Insert several rows, all or nothing.

        Raises:
            RequestError: as `insert`.
        """
        table = yield from self._catalog.written_table(namespace, request.table)
        ids = yield from self._insert_all(table, request.rows, "rows")
        yield from self._keys.count(namespace, request.counters)
        return InsertedMany(ids=ids, created=len(ids))

    def update(
        self, namespace: Namespace, request: Update
    ) -> Steps[Updated | UpdatedById | NoSuchRow]:
        """Change rows.

        Raises:
            RequestError: VALIDATION_ERROR, or VALUE_TOO_LARGE where what is to be returned does not
                fit into a reply.
        """
        table = yield from self._catalog.written_table(namespace, request.table)
        wanted = request.returning
        returned = [] if wanted is UNSET else named_columns(table, wanted, "returning")
        if request.operations is UNSET and request.data is UNSET:
            raise absent("data", "An update needs 'data' or 'operations'.")
        matching = _aimed_at(table, request)
        changed, rows = yield from self._change(
            table,
            matching,
            Assignments(table, parse_updates(request.operations or {}, request.data or {})),
            returned,
        )
        shown = UNSET if request.returning is UNSET else rows
        if request.id is UNSET:
            return Updated(updated=changed, rows=shown)
        return UpdatedById(id=request.id, rows=shown) if changed else NoSuchRow()

    def upsert(self, namespace: Namespace, request: Upsert) -> Steps[Upserted]:
        """Insert a row, or change the one with the same unique key.

        Raises:
            RequestError: VALIDATION_ERROR.
        """
        table = yield from self._catalog.written_table(namespace, request.table)
        values = stored_row(table, request.data, "data")
        matching = _same_key(table, request, values)
        for turn in range(_UPSERT_TURNS):
            found = yield from self._first_id(table, matching)
            if found is not None:
                yield from self._change(table, matching, _on_conflict(table, request), [])
                return Upserted(id=found[0], created=False)
            # The last turn lets the engine say what stands in the way: a key that a collation
            # takes for the same, or a row that came and went every time.
            is_last = turn == _UPSERT_TURNS - 1
            inserted = yield from self._insert_unless(table, request, told=is_last)
            if inserted is not None:
                return Upserted(id=inserted[0], created=True)
        raise ConflictError(f"the row to upsert came and went {_UPSERT_TURNS} times")

    def delete(self, namespace: Namespace, request: Delete) -> Steps[Deleted]:
        """Delete rows.

        Raises:
            RequestError: VALIDATION_ERROR.
        """
        table = yield from self._catalog.written_table(namespace, request.table)
        matching = _aimed_at(table, request)
        try:
            result = yield Statement(
                f"DELETE FROM {table.sql} WHERE {matching.sql}", matching.parameters
            )
        except ConstraintError as error:
            raise _explained(error, is_missing=False) from error
        yield from self._keys.count(namespace, request.counters, result.affected)
        by_id = request.id is not UNSET
        return Deleted(deleted=result.affected > 0 if by_id else result.affected)

    def count(self, namespace: Namespace, request: Count) -> Steps[Counted]:
        """Count rows.

        Raises:
            RequestError: VALIDATION_ERROR.
        """
        table = yield from self._catalog.table(namespace, request.table)
        matching = Matching(table, parse_filters(request.filters))
        return Counted(count=(yield from counted(table, matching)))

    def _insert_all(
        self, table: Table, rows: Sequence[Row], field: str
    ) -> Steps[list[RowId | None]]:
        ids: list[RowId | None] = []
        for position, row in enumerate(rows):
            ids.append((yield from self._insert_one(table, row, f"{field}[{position}]")))
        return ids

    def _insert_one(self, table: Table, row: Row, path: str) -> Steps[RowId | None]:
        return _key_of(table, (yield from self._insert(table, row, path)))

    def _insert_unless(
        self, table: Table, request: Upsert, *, told: bool
    ) -> Steps[tuple[RowId | None] | None]:
        """Insert a row unless another one with its unique key came first; `told` fails then."""
        columns = ", ".join(table.columns[name].sql for name in request.on)
        unless = "" if told else f" ON CONFLICT ({columns}) DO NOTHING"
        result = yield from self._insert(table, request.data, "data", unless=unless)
        return (_key_of(table, result),) if result.rows or result.affected == 1 else None

    def _insert(self, table: Table, row: Row, path: str, unless: str = "") -> Steps[Result]:
        values = stored_row(table, row, path)
        self._stamp(table, values)
        key = table.id_column
        if key is not None and values.get(key.name, "") is None:
            del values[key.name]  # an explicit null asks for a generated key, as none does
        returning = f" RETURNING {table.dialect.shown(key)}" if key else ""
        insertion = table.insertion(tuple(values))
        try:
            result = yield Statement(f"{insertion}{unless}{returning}", tuple(values.values()))
        except ConstraintError as error:
            raise _explained(error, is_missing=True) from error
        except FullError as error:
            if (yield from table.dialect.ids_are_used_up(table.full_name)):
                raise ExhaustedError(str(error)) from error
            raise
        if key is not None and key.name in values:
            yield from table.dialect.key_was_given(table.full_name, key, values[key.name])
        return result

    def _stamp(self, table: Table, values: Row) -> None:
        stamps = table.stamps
        if stamps:
            now = timestamp(self._clock.time())
            for column in stamps:
                values.setdefault(column.name, moment_of(column, now))

    def _change(
        self, table: Table, matching: Matching, assignments: Assignments, returned: list[Column]
    ) -> Steps[tuple[int, list[Row]]]:
        if table.is_stamped and UPDATED_AT not in assignments.names:
            column = table.columns[UPDATED_AT]
            assignments.also_set(column, moment_of(column, timestamp(self._clock.time())))
        max_reply = self._max_reply()
        if assignments.on_arrays:
            return (
                yield from _change_one_by_one(table, matching, assignments, returned, max_reply)
            )
        changes = assignments.sql
        if not changes:
            return 0, []
        sql = f"UPDATE {table.sql} SET {changes} WHERE {matching.sql}"
        try:
            result = yield Statement(
                sql + _returning(table, returned),
                (*assignments.parameters, *matching.parameters),
                max_weight=max_reply if returned else None,
            )
        except ConstraintError as error:
            referring = yield from table.dialect.referring_columns(table.full_name)
            is_missing = not assignments.names.isdisjoint(referring)
            raise _explained(error, is_missing=is_missing) from error
        rows = as_objects(returned, result.rows)
        check_fits(returned, rows, result, max_reply, _UNDONE)
        return (len(rows) if returned else result.affected), rows

    def _first_id(self, table: Table, matching: Matching) -> Steps[tuple[RowId | None] | None]:
        key = table.id_column
        shown = table.dialect.shown(key) if key else "NULL"
        result = yield Statement(
            f"SELECT {shown} FROM {table.sql} WHERE {matching.sql} LIMIT 1"
            f"{table.dialect.for_update}",
            matching.parameters,
        )
        if not result.rows:
            return None
        return (from_stored(key, result.rows[0][0]),) if key else (None,)


class Matching:
    """A WHERE clause over a table, with its parameters."""

    def __init__(self, table: Table, tree: Filter) -> None:
        where = Where(table)
        self.sql = where.render(tree)
        self.parameters = where.parameters


class _ByKey(Matching):
    """Matches the row whose columns have these stored values."""

    def __init__(self, table: Table, columns: Sequence[Column], values: Sequence[Any]) -> None:
        compared, operand = table.dialect.compared, table.dialect.operand
        self.sql = " AND ".join(f"{compared(column)} = {operand(column)}" for column in columns)
        self.parameters = list(values)


def matching_rows(
    table: Table,
    row_id: RowId | UnsetType,
    filters: Mapping[str, Any],
    *,
    everything: bool = True,
) -> Matching:
    """Return the WHERE clause of a request that takes an id or filters.

    Empty filters stand for all rows only where `everything` allows it.

    Raises:
        RequestError: VALIDATION_ERROR if both are there, or neither and `everything` is false.
    """
    if row_id is not UNSET:
        if filters:
            raise invalid("Send either 'id' or 'filters', not both.", field="id")
        column = table.required_id_column()
        return _ByKey(table, [column], [to_operand(column, row_id, "id")])
    if not filters and not everything:
        raise invalid(
            "This would touch every row of the table. Name the rows in 'filters', or send "
            '"all": true if every row is meant.',
            field="filters",
            expected='filters, an id, or "all": true',
        )
    return Matching(table, parse_filters(dict(filters)))


def _aimed_at(table: Table, request: Update | Delete) -> Matching:
    """Return the WHERE clause of a request that changes the rows it names, or all."""
    if request.id is UNSET and request.filters is UNSET and not request.all:
        raise absent("filters", "Name the rows by 'id' or 'filters', or send \"all\": true.")
    filters = request.filters or {}
    return matching_rows(table, request.id, filters, everything=request.all)


def named_columns(table: Table, names: Sequence[str], field: str) -> list[Column]:
    """Return the columns that a field of a request names.

    Raises:
        RequestError: VALIDATION_ERROR if the table does not have one of them, or one is there
            twice.
    """
    if len(set(names)) < len(names):
        raise invalid(f"'{field}' names a column twice.", field=field)
    return [table.column(name, f"{field}.{name}") for name in names]


def stored_row(table: Table, row: Row, path: str) -> Row:
    """Return a row's values as they are bound to an INSERT.

    Raises:
        RequestError: VALIDATION_ERROR for an unknown column or a value of the wrong type,
            VALUE_TOO_LARGE for a row over 1 MiB.
    """
    values: Row = {}
    for name, value in row.items():
        field = f"{path}.{name}"
        values[name] = to_stored(table.written_column(name, field), value, field)
    check_size(values.values(), path)
    return values


def as_objects(columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> list[Row]:
    """Return rows as JSON objects, in the order of the columns."""
    names = [column.name for column in columns]
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    for column in columns:
        if is_stored_as_it_is(column):
            continue
        name = column.name
        for row_object in objects:
            row_object[name] = from_stored(column, row_object[name])
    return objects


def counted(table: Table, matching: Matching) -> Steps[int]:
    """Return how many rows match."""
    result = yield Statement(
        f"SELECT COUNT(*) FROM {table.sql} WHERE {matching.sql}", matching.parameters
    )
    return int(result.rows[0][0])


def _explained(error: ConstraintError, *, is_missing: bool) -> ConstraintError:
    """Say of a foreign key which of its two ends was broken, where the engine does not."""
    if error.kind == "foreign key" and error.is_missing is None:
        error.is_missing = is_missing
    return error


def _key_of(table: Table, result: Result) -> RowId | None:
    key = table.id_column
    return from_stored(key, result.rows[0][0]) if key else None


def _returning(table: Table, columns: Sequence[Column]) -> str:
    return " RETURNING " + ", ".join(map(table.dialect.shown, columns)) if columns else ""


def _same_key(table: Table, request: Upsert, values: Row) -> Matching:
    columns = [table.column(name, f"on.{name}") for name in request.on]
    if not table.is_unique_key(request.on):
        raise invalid(
            f"The columns {', '.join(request.on)} are not a unique key of table '{table.name}'. "
            "An upsert needs a primary key or a unique index over exactly these columns.",
            field="on",
            got=request.on,
        )
    for name in request.on:
        if values.get(name) is None:
            raise invalid(
                f"'data' has no value for '{name}', which 'on' names.", field=f"data.{name}"
            )
    return _ByKey(table, columns, [values[column.name] for column in columns])


def _on_conflict(table: Table, request: Upsert) -> Assignments:
    if request.operations is not UNSET:
        return Assignments(table, parse_updates(request.operations))
    kept = {*request.on, CREATED_AT, *(column.name for column in table.primary_key)}
    data = {name: value for name, value in request.data.items() if name not in kept}
    return Assignments(table, parse_updates({}, data) if data else ())


def _change_one_by_one(
    table: Table,
    matching: Matching,
    assignments: Assignments,
    returned: list[Column],
    max_reply: int,
) -> Steps[tuple[int, list[Row]]]:
    """Update rows whose new values depend on arrays they hold.

    Read, check and write happen within the one write transaction, so nothing comes between.
    """
    key = table.primary_key
    if not key:
        raise invalid(
            f"Table '{table.name}' has no primary key; array operators need one.",
            field="operations",
        )
    arrays = [column for column, _ in assignments.on_arrays]
    wanted = ", ".join(map(table.dialect.shown, (*key, *arrays)))
    order = ", ".join(map(table.dialect.ordered, key))
    found = yield Statement(
        f"SELECT {wanted} FROM {table.sql} WHERE {matching.sql} ORDER BY {order}"
        f"{table.dialect.for_update}",
        matching.parameters,
        max_weight=_ARRAYS,
    )
    if found.cut:
        raise RequestError(
            ErrorCode.VALUE_TOO_LARGE,
            f"The arrays of the matching rows have more than {_ARRAYS} bytes together; nothing "
            "was changed. Select the ids of the rows first, and change them in pages.",
            limit=_ARRAYS,
        )
    parts = [assignments.sql] if assignments.sql else []
    parts += [f"{column.sql} = ?" for column in arrays]
    one = _ByKey(table, key, [])
    sql = f"UPDATE {table.sql} SET {', '.join(parts)} WHERE {one.sql}{_returning(table, returned)}"
    # All arrays first: which of several reasons refuses the update does not depend on the engine.
    changed = [
        [
            changed_array(column, assignment, stored)
            for (column, assignment), stored in zip(
                assignments.on_arrays, row[len(key) :], strict=True
            )
        ]
        for row in found.rows
    ]
    rows: list[Row] = []
    weighed = 0
    for row, texts in zip(found.rows, changed, strict=True):
        result = yield Statement(sql, (*assignments.parameters, *texts, *row[: len(key)]))
        rows += as_objects(returned, result.rows)
        weighed += sum(map(weight, result.rows))
        if weighed > max_reply:
            break
    check_fits(
        returned, rows, Result([], 0, weight=weighed, cut=weighed > max_reply), max_reply, _UNDONE
    )
    return len(found.rows), rows
