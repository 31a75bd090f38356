"""The rows of one table."""
# ruff: noqa: ASYNC109 - the timeout is that of the request, and part of the contract

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, Required, TypedDict, TypeVar, overload

from msgspec import UNSET, UnsetType, structs

from dbservice.client.channel import Channel, given
from dbservice.client.errors import MalformedReply
from dbservice.client.reply_reader import ReplyReader
from dbservice.protocol import rows as messages
from dbservice.protocol.limits import DEFAULT_PAGE

__tracebackhide__ = True  # in a failing test pytest shows the line of the caller

Row = dict[str, Any]
Filters = Mapping[str, Any]
UpdateOperators = Mapping[str, Any]
Counters = Mapping[str, int]

RowId = int | Any
"""The key of a row: an integer in nearly every table, a text where the key is one, None where it
is not one column. `Any` keeps callers who know from having to prove it to a type checker."""


class SortBy(TypedDict):
    """A column to sort by: `{"field": "score", "order": "desc"}`; ascending by default."""

    field: Required[str]
    order: NotRequired[Literal["asc", "desc"]]


Sorting = SortBy | list[SortBy]


class FieldDefinition(TypedDict):
    """A column of a table to register; `type` is a value of the protocol's `ColumnType`."""

    name: Required[str]
    type: Required[str]
    required: NotRequired[bool]
    default: NotRequired[Any]
    max_length: NotRequired[int]
    unique: NotRequired[bool]
    search: NotRequired[bool]


@dataclass(frozen=True, slots=True)
class Page:
    """What a search found.

    Attributes:
        rows: the rows of this page.
        total: how many rows match in all.
        truncated: whether more rows match than this page has.
    """

    rows: list[Row]
    total: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Upserted:
    """What an upsert did.

    Attributes:
        id: the row's key.
        created: True if the row was inserted, False if it was there and was changed.
    """

    id: RowId
    created: bool


_Listed = TypeVar("_Listed", messages.Selected, messages.Found)

_INSERTED = ReplyReader(messages.Inserted, "id")
_INSERTED_MANY = ReplyReader(messages.InsertedMany, "ids")
_SELECTED = ReplyReader(messages.Selected, "rows")
_FOUND = ReplyReader(messages.Found, "rows")
_UPDATED = ReplyReader(messages.Updated)
_UPSERTED = ReplyReader(messages.Upserted)
_DELETED = ReplyReader(messages.Deleted)
_COUNTED = ReplyReader(messages.Counted)
_AGGREGATED = ReplyReader(messages.Aggregated)
_REGISTERED = ReplyReader(messages.Registered, "created")
_DESCRIBED = ReplyReader(messages.Described)


class Rows:
    """One table of the plugin, under its bare name.

    Every method takes `timeout`, the seconds to wait for the reply (by default the client's), and
    raises a `StorageError`. Writes take `idempotency_key`: a repeat with the same key within 24
    hours is answered, not executed again.

    Filters and operations are those of the contract: `{"score": {"$gte": 5}}`,
    `{"score": {"$inc": 1}}`.
    """

    def __init__(self, channel: Channel, table: str) -> None:
        self._channel = channel
        self._table = table

    async def insert(
        self,
        data: Mapping[str, Any],
        counters: Counters | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> RowId:
        """Insert a row and return its id.

        Args:
            data: the values by column.
            counters: KV increments made in the same transaction, by key.
            idempotency_key: names this write.
            timeout: seconds.

        Raises:
            ValidationError: an unknown column, or a value of the wrong type.
            ConstraintViolation: a constraint of the table refused the row.
        """
        request = messages.Insert(
            table=self._table,
            data=dict(data),
            counters=dict(counters or {}),
            idempotency_key=given(idempotency_key),
        )
        return (await self._channel.call(request, _INSERTED, timeout)).id

    async def insert_many(
        self,
        rows: Sequence[Mapping[str, Any]],
        counters: Counters | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> list[RowId]:
        """Insert 1 to 1,000 rows, all or nothing, and return their ids in the same order.

        Args:
            rows: the values of each row, by column.
            counters: KV increments made in the same transaction, by key; once, not for each row.
            idempotency_key: names this write.
            timeout: seconds.
        """
        request = messages.InsertBatch(
            table=self._table,
            rows=[dict(row) for row in rows],
            counters=dict(counters or {}),
            idempotency_key=given(idempotency_key),
        )
        return (await self._channel.call(request, _INSERTED_MANY, timeout)).ids

    async def get(
        self,
        id: int | str,  # noqa: A002 - the contract's word
        *,
        timeout: float | None = None,
    ) -> Row | None:
        """Return the row with this id, or None if there is none."""
        request = messages.Select(table=self._table, id=id)
        rows = (await self._channel.call(request, _SELECTED, timeout)).rows
        return rows[0] if rows else None

    async def select(
        self,
        filters: Filters | None = None,
        *,
        columns: list[str] | None = None,
        sort: Sorting | None = None,
        limit: int = DEFAULT_PAGE,
        offset: int = 0,
        timeout: float | None = None,
    ) -> list[Row]:
        """Return matching rows.

        Args:
            filters: by default every row matches.
            columns: what to return of each row; by default all.
            sort: by which columns; ties, and everything if not given, by primary key.
            limit: rows at the most, up to 1,000. For more, `iterate`.
            offset: rows to pass over.
            timeout: seconds.
        """
        request = messages.Select(
            table=self._table,
            filters=dict(filters or {}),
            columns=given(columns),
            sort=_sort(sort),
            limit=limit,
            offset=offset,
        )
        return (await self._whole(request, _SELECTED, timeout)).rows

    async def search(
        self,
        filters: Filters | None = None,
        *,
        columns: list[str] | None = None,
        sort: Sorting | None = None,
        limit: int = DEFAULT_PAGE,
        offset: int = 0,
        timeout: float | None = None,
    ) -> Page:
        """Return matching rows and how many match in all. Takes what `select` takes."""
        request = messages.Search(
            table=self._table,
            filters=dict(filters or {}),
            columns=given(columns),
            sort=_sort(sort),
            limit=limit,
            offset=offset,
        )
        found = await self._whole(request, _FOUND, timeout)
        total: int | UnsetType = found.total  # a hand-made reply may have left it out
        shown = len(found.rows) if total is UNSET else total
        return Page(found.rows, shown, found.truncated is True)

    async def _whole(
        self, request: messages.Select, answer: ReplyReader[_Listed], timeout: float | None
    ) -> _Listed:
        """Read a page, and what did not fit into its reply, until `limit` is reached.

        Rows of a megabyte come one in a reply; a list is never short without a word.
        """
        page = await self._channel.call(request, answer, timeout)
        rows = page.rows
        rest = request
        while page.cut == "size" and page.rows and len(rows) < request.limit:
            rest = structs.replace(_following(rest, page), limit=request.limit - len(rows))
            page = await self._channel.call(rest, answer, timeout)
            rows = rows + page.rows
        return structs.replace(page, rows=rows)

    async def iterate(
        self,
        filters: Filters | None = None,
        *,
        columns: list[str] | None = None,
        sort: Sorting | None = None,
        page_size: int = DEFAULT_PAGE,
        timeout: float | None = None,
    ) -> AsyncIterator[Row]:
        """Yield all matching rows, read page by page as they are asked for.

        Args:
            filters: by default every row matches.
            columns: what to return of each row; by default all.
            sort: by which columns; ties, and everything if not given, by primary key.
            page_size: rows in one request, up to 1,000.
            timeout: seconds, for each page.
        """
        request = messages.Select(
            table=self._table,
            filters=dict(filters or {}),
            columns=given(columns),
            sort=_sort(sort),
            limit=page_size,
        )
        while True:
            page = await self._channel.call(request, _SELECTED, timeout)
            for row in page.rows:
                yield row
            if page.truncated is not True or not page.rows:
                return
            request = _following(request, page)

    @overload
    async def update(
        self,
        filters: Filters,
        operations: UpdateOperators | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        returning: None = None,
        all: bool = False,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> int: ...

    @overload
    async def update(
        self,
        filters: Filters,
        operations: UpdateOperators | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        returning: list[str],
        all: bool = False,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> list[Row]: ...

    async def update(
        self,
        filters: Filters,
        operations: UpdateOperators | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        returning: list[str] | None = None,
        all: bool = False,  # noqa: A002 - the contract's word
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> int | list[Row]:
        """Change matching rows, atomically, and return how many were changed.

        Args:
            filters: which rows; `{"id": 42}` for one.
            operations: `{"score": {"$inc": 1}}`, one operator for a column.
            data: plain values, each as if under `$set`.
            returning: columns of the changed rows; with these the rows are returned instead.
            all: must be True when `filters` is empty.
            idempotency_key: names this write.
            timeout: seconds.

        Raises:
            ValidationError: an unknown column or operator, or an operator that does not fit.
            ConstraintViolation: a constraint refused the change; nothing was changed.
        """
        request = messages.Update(
            table=self._table,
            filters=UNSET if all and not filters else dict(filters),
            operations=dict(operations) if operations else UNSET,
            data=dict(data) if data else UNSET,
            returning=given(returning),
            all=all,
            idempotency_key=given(idempotency_key),
        )
        reply = await self._channel.call(request, _UPDATED, timeout)
        if returning is None:
            return reply.updated
        if reply.rows is not UNSET:
            return reply.rows
        if reply.updated:
            raise MalformedReply(
                f"The reply to an update with 'returning' has no 'rows', although it says that "
                f"{reply.updated} were updated. A hand-made mock may have left them out."
            )
        return []

    async def upsert(
        self,
        data: Mapping[str, Any],
        on: list[str],
        operations: UpdateOperators | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Upserted:
        """Insert a row, or change the one that has the same unique key.

        Args:
            data: the values by column.
            on: the columns of a unique key; `data` has a value for each.
            operations: what to do to the row that is there; by default `data` is set.
            idempotency_key: names this write.
            timeout: seconds.
        """
        request = messages.Upsert(
            table=self._table,
            data=dict(data),
            on=on,
            operations=UNSET if operations is None else dict(operations),
            idempotency_key=given(idempotency_key),
        )
        reply = await self._channel.call(request, _UPSERTED, timeout)
        return Upserted(reply.id, reply.created)

    async def delete(
        self,
        filters: Filters,
        *,
        counters: Counters | None = None,
        all: bool = False,  # noqa: A002 - the contract's word
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Delete matching rows and return how many there were.

        Args:
            filters: which rows; `{"id": 42}` for one.
            counters: KV increments made in the same transaction, once for each deleted row.
            all: must be True when `filters` is empty.
            idempotency_key: names this write.
            timeout: seconds.
        """
        request = messages.Delete(
            table=self._table,
            filters=UNSET if all and not filters else dict(filters),
            counters=dict(counters or {}),
            all=all,
            idempotency_key=given(idempotency_key),
        )
        return (await self._channel.call(request, _DELETED, timeout)).deleted

    async def count(self, filters: Filters | None = None, *, timeout: float | None = None) -> int:
        """Return how many rows match; by default, how many there are."""
        request = messages.Count(table=self._table, filters=dict(filters or {}))
        return (await self._channel.call(request, _COUNTED, timeout)).count

    async def aggregate(
        self,
        compute: Mapping[str, Any],
        filters: Filters | None = None,
        group_by: list[str] | None = None,
        having: Filters | None = None,
        sort: Sorting | None = None,
        limit: int = DEFAULT_PAGE,
        *,
        timeout: float | None = None,
    ) -> list[Row]:
        """Compute over groups of rows and return one row for each.

        Args:
            compute: `{"total": {"$sum": "score"}}`, with $count, $sum, $avg, $min, $max;
                `{"$count": "*"}` counts rows.
            filters: which rows; by default all.
            group_by: by which columns; by default all rows are one group.
            having: which groups, by alias or grouped column.
            sort: by which aliases or grouped columns.
            limit: groups at the most, up to 1,000.
            timeout: seconds.
        """
        request = messages.Aggregate(
            table=self._table,
            compute=dict(compute),
            filters=dict(filters or {}),
            group_by=given(group_by),
            having=dict(having or {}),
            sort=_sort(sort),
            limit=limit,
        )
        return (await self._channel.call(request, _AGGREGATED, timeout)).rows

    async def random(self, n: int = 1, *, timeout: float | None = None) -> list[Row]:
        """Return up to `n` different rows, each row being equally likely."""
        request = messages.Select(table=self._table, sort=messages.RANDOM, limit=n)
        return (await self._channel.call(request, _SELECTED, timeout)).rows

    async def register(
        self,
        fields: Sequence[FieldDefinition],
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Create the table if it is not there, and return whether it was created.

        Args:
            fields: its columns; `id`, `created_at` and `updated_at` are added to them.
            idempotency_key: names this write.
            timeout: seconds.

        Raises:
            ValidationError: the table is there with other columns; the details say which.
        """
        columns: Any = list(fields)
        request = messages.Register(
            table=self._table,
            schema=messages.TableSchema(fields=columns),
            idempotency_key=given(idempotency_key),
        )
        return (await self._channel.call(request, _REGISTERED, timeout)).created

    async def describe(self, *, timeout: float | None = None) -> messages.Described:
        """Return the columns and indexes of the table and the number of its rows."""
        return await self._channel.call(messages.Describe(table=self._table), _DESCRIBED, timeout)


def _sort(sort: Sorting | None) -> Any:
    # The contract's own type is a message; on the wire it is the dictionary that callers write.
    return given(sort)


def _following(request: messages.Select, page: _Listed) -> messages.Select:
    """Return the request for the page behind `page`: by its cursor, else by its place."""
    if page.next is not UNSET:
        return structs.replace(request, after=page.next, offset=0)
    return structs.replace(request, offset=request.offset + len(page.rows))
