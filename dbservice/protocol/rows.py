"""Messages of the row tier and of table schemas."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from dbservice.protocol.limits import (
    DEFAULT_PAGE,
    MAX_BATCH,
    MAX_COLUMNS,
    MAX_INTEGER,
    MAX_OFFSET,
    MIN_INTEGER,
)
from dbservice.protocol.messages import Cut, NonEmpty, Reply, Request, Write

Row = dict[str, Any]
Filters = dict[str, Any]
UpdateOperators = dict[str, Any]
RowId = int | str
Columns = Annotated[list[str], Meta(min_length=1)]
Limit = Annotated[int, Meta(ge=1)]
Delta = Annotated[int, Meta(ge=MIN_INTEGER, le=MAX_INTEGER)]
Counters = dict[str, Delta]
RANDOM: Literal["$random"] = "$random"


class SortKey(Struct, frozen=True, forbid_unknown_fields=True):
    """One column to sort by."""

    field: str
    order: Literal["asc", "desc"] = "asc"


Sort = SortKey | list[SortKey] | Literal["$random"]


class Insert(Write, frozen=True, kw_only=True):
    """Insert one row, or several as one: an array in `data` is all or nothing.

    Attributes:
        counters: KV increments made in the same transaction, once for the request.
    """

    table: NonEmpty
    data: Row | Annotated[list[Row], Meta(min_length=1, max_length=MAX_BATCH)]
    counters: Counters = {}


class InsertBatch(Write, frozen=True, kw_only=True):
    """Insert 1 to 1,000 rows, all or nothing.

    Attributes:
        counters: KV increments made in the same transaction, once for the request.
    """

    table: NonEmpty
    rows: Annotated[list[Row], Meta(min_length=1, max_length=MAX_BATCH)]
    counters: Counters = {}


class Select(Request, frozen=True, kw_only=True):
    """Read rows: by filters, or the one with this `id`.

    Attributes:
        limit: rows at the most; more than 1,000 is taken as 1,000.
        after: the cursor `next` of the page before (keyset paging).
    """

    table: NonEmpty
    id: RowId | UnsetType = UNSET
    filters: Filters = {}
    columns: Columns | UnsetType = UNSET
    sort: Sort | UnsetType = UNSET
    limit: Limit = DEFAULT_PAGE
    offset: Annotated[int, Meta(ge=0, le=MAX_OFFSET)] = 0
    after: NonEmpty | UnsetType = UNSET


class Search(Select, frozen=True, kw_only=True):
    """As `select`, with the number of all matching rows."""


class Update(Write, frozen=True, kw_only=True):
    """Change rows: by filters, or the one with this `id`.

    Attributes:
        operations: `{"score": {"$inc": 1}}`, one operator for a column.
        data: plain values, each as if under `$set`.
        returning: columns to send back from the changed rows.
        all: must be true when there are neither filters nor an id.
    """

    table: NonEmpty
    id: RowId | UnsetType = UNSET
    filters: Filters | UnsetType = UNSET
    operations: UpdateOperators | UnsetType = UNSET
    data: Row | UnsetType = UNSET
    returning: Columns | UnsetType = UNSET
    all: bool = False


class Upsert(Write, frozen=True, kw_only=True):
    """Insert a row, or change the one that has the same unique key.

    Attributes:
        on: the columns of a unique key; `data` has a value for each.
        operations: what to do to the row that is there; by default `data` is set.
    """

    table: NonEmpty
    data: Row
    on: Columns
    operations: UpdateOperators | UnsetType = UNSET


class Delete(Write, frozen=True, kw_only=True):
    """Delete rows: by filters, or the one with this `id`.

    Attributes:
        counters: KV increments made in the same transaction, once for each deleted row.
        all: must be true when there are neither filters nor an id.
    """

    table: NonEmpty
    id: RowId | UnsetType = UNSET
    filters: Filters | UnsetType = UNSET
    counters: Counters = {}
    all: bool = False


class Count(Request, frozen=True, kw_only=True):
    """Count the matching rows."""

    table: NonEmpty
    filters: Filters = {}


class Aggregate(Request, frozen=True, kw_only=True):
    """Compute over groups of rows.

    Attributes:
        compute: `{"alias": {"$sum": "column"}}`, with $count, $sum, $avg, $min, $max;
            `{"$count": "*"}` counts rows.
        having: a filter over the aliases and the grouped columns.
    """

    table: NonEmpty
    filters: Filters = {}
    group_by: Columns | UnsetType = UNSET
    compute: Annotated[dict[str, Any], Meta(min_length=1, max_length=MAX_COLUMNS)]
    having: Filters = {}
    sort: SortKey | list[SortKey] | UnsetType = UNSET
    limit: Limit = DEFAULT_PAGE


class ColumnType(StrEnum):
    """The types a column can have on the wire."""

    STRING = "string"
    TEXT = "text"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    JSON = "json"


class Field(Struct, frozen=True, forbid_unknown_fields=True):
    """One column of a table to register.

    Attributes:
        search: `$like` and `$ilike` on it are answered from a search index.
    """

    name: str
    type: ColumnType
    required: bool = False
    default: Any = UNSET
    max_length: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    unique: bool = False
    search: bool = False


class TableSchema(Struct, frozen=True, forbid_unknown_fields=True):
    """The columns of a table; `id`, `created_at` and `updated_at` are added to them."""

    fields: Annotated[list[Field], Meta(min_length=1, max_length=MAX_COLUMNS)]


class Register(Write, frozen=True, kw_only=True):
    """Create a table if it is not there; refuse with a diff if it is there with other columns."""

    table: NonEmpty
    schema: TableSchema


class Describe(Request, frozen=True, kw_only=True):
    """Describe a table."""

    table: NonEmpty


class Drop(Write, frozen=True, kw_only=True):
    """Drop a table that was made by `schema.register`."""

    table: NonEmpty


class Inserted(Reply, frozen=True, kw_only=True):
    """Answer to an insert of one row; `id` is null where the key is not one column."""

    id: RowId | None
    created: Literal[True] = True


class InsertedMany(Reply, frozen=True, kw_only=True):
    """Answer to an insert of several rows."""

    ids: list[RowId | None]
    created: int


class Selected(Reply, frozen=True, kw_only=True):
    """Answer to `select` by filters; `next` is the cursor of the page behind this one."""

    rows: list[Row]
    count: int
    truncated: bool
    next: str | UnsetType = UNSET
    cut: Cut | UnsetType = UNSET


class SelectedById(Reply, frozen=True, kw_only=True):
    """Answer to `select` by id; no `data` where there is no such row."""

    rows: list[Row]
    count: int
    truncated: bool
    exists: bool
    data: Row | UnsetType = UNSET


class Found(Reply, frozen=True, kw_only=True):
    """Answer to `search`; `total` counts all matching rows."""

    rows: list[Row]
    count: int
    truncated: bool
    total: int
    next: str | UnsetType = UNSET
    cut: Cut | UnsetType = UNSET


class Updated(Reply, frozen=True, kw_only=True):
    """Answer to `update` by filters."""

    updated: int
    rows: list[Row] | UnsetType = UNSET


class UpdatedById(Reply, frozen=True, kw_only=True):
    """Answer to `update` by id of a row that is there."""

    id: RowId
    updated: Literal[True] = True
    rows: list[Row] | UnsetType = UNSET


class NoSuchRow(Reply, frozen=True, kw_only=True):
    """Answer to `update` by id where there is no such row."""

    exists: Literal[False] = False


class Upserted(Reply, frozen=True, kw_only=True):
    """Answer to `upsert`; `created` is false where a row was changed."""

    id: RowId | None
    created: bool


class Deleted(Reply, frozen=True, kw_only=True):
    """Answer to `delete`: a number by filters, a boolean by id."""

    deleted: int | bool


class Counted(Reply, frozen=True, kw_only=True):
    """Answer to `count`."""

    count: int


class Aggregated(Reply, frozen=True, kw_only=True):
    """Answer to `aggregate`: one row a group."""

    rows: list[Row]


class Registered(Reply, frozen=True, kw_only=True):
    """Answer to `schema.register`; `created` is false where the table was there already."""

    table: str
    created: bool


class Column(Struct, frozen=True):
    """One column in a description."""

    name: str
    type: str
    nullable: bool
    default: Any
    primary_key: bool


class Index(Struct, frozen=True):
    """One index in a description; `search` is there, and true, where it is a search index."""

    name: str
    columns: list[str]
    unique: bool
    search: bool | UnsetType = UNSET


class Described(Reply, frozen=True, kw_only=True):
    """Answer to `schema.describe`."""

    columns: list[Column]
    indexes: list[Index]
    row_count: int


class Dropped(Reply, frozen=True, kw_only=True):
    """Answer to `schema.drop`; false where there was no such table."""

    dropped: bool
