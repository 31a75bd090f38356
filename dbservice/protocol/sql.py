"""Messages of the SQL tier."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from dbservice.protocol.limits import MAX_PAGE, MAX_QUERY, MAX_QUERY_PARAMETERS
from dbservice.protocol.messages import Reply, Request
from dbservice.protocol.rows import Limit, Row


class ExecuteQuery(Request, frozen=True, kw_only=True):
    """Run one SELECT over the plugin's own tables. Reads only.

    Attributes:
        query: one `SELECT` or `WITH … SELECT`, tables under their bare names.
        params: values for `$1`, `$2` and so on; texts, numbers, booleans or null.
        limit: rows at the most; more than 1,000 is taken as 1,000.
    """

    query: Annotated[str, Meta(min_length=1, max_length=MAX_QUERY)]
    params: Annotated[list[Any], Meta(max_length=MAX_QUERY_PARAMETERS)] = []
    limit: Limit = MAX_PAGE


class QueryResult(Reply, frozen=True, kw_only=True):
    """Answer to `execute`; `columns` keeps their order, and is there without rows too."""

    columns: list[str]
    rows: list[Row]
    count: int
    truncated: bool
