"""Runs the queries of the SQL tier (SPEC 3.8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from dbservice.engine.dialect import dialect_of
from dbservice.engine.errors import (
    EngineError,
    InvalidValueError,
    OutOfSchemaError,
    TooLargeError,
)
from dbservice.engine.steps import ReadPolicy, Result, Statement, Steps
from dbservice.engine.type_map import from_stored
from dbservice.protocol.codec import check_json
from dbservice.protocol.errors import Reason, RequestError, invalid
from dbservice.protocol.filters import kind
from dbservice.protocol.limits import MAX_PAGE, MAX_REPLY
from dbservice.protocol.names import Namespace
from dbservice.protocol.sql import ExecuteQuery, QueryResult
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.policy import POLICIES
from dbservice.storage.catalog import Catalog
from dbservice.storage.pages import too_large, values_that_fit

if TYPE_CHECKING:
    from dbservice.sql.query import CheckedQuery, Query


_OF_THE_QUERY = (EngineError, InvalidValueError, OutOfSchemaError, TooLargeError)
"""What the engine says of the query itself; everything else is not its author's business."""

_FEWER = "Ask for fewer rows or shorter values."


class SqlTier:
    """Answers queries that plugins wrote.

    Args:
        dialect: the engine whose SQL they are in.
        max_reply: tells how many bytes a reply may have.
    """

    def __init__(self, dialect: Dialect, max_reply: Callable[[], int] = lambda: MAX_REPLY) -> None:
        self._dialect = dialect
        self._max_reply = max_reply
        self._catalog = Catalog(dialect_of(dialect))

    def execute(self, namespace: Namespace, request: ExecuteQuery) -> Steps[QueryResult]:
        """Run one query.

        Raises:
            RequestError: VALIDATION_ERROR or FORBIDDEN; the message says what is wrong with it.
                VALUE_TOO_LARGE if the rows do not fit into a reply.
        """
        return (yield from self.prepared(request)(namespace, request))

    def prepared(
        self, request: ExecuteQuery
    ) -> Callable[[Namespace, ExecuteQuery], Steps[QueryResult]]:
        """Read a query, which takes milliseconds; return what runs it.

        Raises:
            RequestError: as for `execute`.
        """
        # The parser takes long to import, and most plugins never send a query.
        from dbservice.sql.query import Query

        return partial(self._run, Query(request.query, self._dialect))

    def _run(self, read: Query, namespace: Namespace, request: ExecuteQuery) -> Steps[QueryResult]:
        query = yield from self._checked(read, namespace, request)
        limit = min(request.limit, MAX_PAGE)
        statement = Statement(
            f"SELECT * FROM ({query.sql}) AS answer LIMIT ?",  # noqa: S608 - query.py built it
            (*_bound(query.numbers, request.params), limit + 1),
            ReadPolicy(namespace.prefix, query.names, POLICIES[self._dialect].functions),
            max_weight=self._max_reply(),
        )
        try:
            result = yield statement
        except EngineError as error:
            if type(error) not in _OF_THE_QUERY:
                raise
            raise _refused(error, namespace) from error
        _check_names(result.columns)
        max_reply = self._max_reply()
        if result.cut:
            raise too_large(max_reply, _FEWER)
        rows = [_as_object(query, result, row) for row in result.rows[:limit]]
        if values_that_fit(rows, max_reply) < len(rows):
            raise too_large(max_reply, _FEWER)
        return QueryResult(
            columns=list(result.columns),
            rows=rows,
            count=len(rows),
            truncated=len(result.rows) > limit,
        )

    def _checked(
        self, query: Query, namespace: Namespace, request: ExecuteQuery
    ) -> Steps[CheckedQuery]:
        tables = {}
        for name in query.tables:
            tables[name] = yield from self._catalog.table(namespace, name)
        return query.checked(tables, request.params)


def _bound(numbers: Sequence[int], params: Sequence[Any]) -> list[Any]:
    for position, value in enumerate(params):
        path = f"params[{position}]"
        if isinstance(value, list | dict):
            raise invalid(
                f"'{path}' is {kind(value)}: a parameter is a text, a number, a boolean or null.",
                field=path,
                got=kind(value),
            )
        check_json(value, path)
    if len(params) != max(numbers, default=0):
        raise invalid(
            f"The query has parameters up to ${max(numbers, default=0)}, and 'params' has "
            f"{len(params)} values.",
            field="params",
            expected=max(numbers, default=0),
            got=len(params),
        )
    return [params[number - 1] for number in numbers]


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        # SQLite tells the second of two equal names apart by a number.
        first, _, number = name.rpartition(":")
        if names.count(name) > 1 or (number.isdigit() and first in names):
            raise invalid(
                f"Two columns of the result are called '{(first or name)[:80]}'. Give one another "
                "name with AS.",
                field="query",
                got=(first or name)[:80],
            )


def _as_object(query: CheckedQuery, result: Result, row: tuple[Any, ...]) -> dict[str, Any]:
    told = {}
    for name, value in zip(result.columns, row, strict=True):
        column = query.types.get(name)
        told[name] = _plain(value, name) if column is None else from_stored(column, value)
    return told


def _plain(value: Any, name: str) -> Any:
    """Return what an engine computed as a JSON value; bytes become base64."""
    match value:
        case Decimal():
            return _plain(int(value) if value == value.to_integral_value() else float(value), name)
        case datetime():
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            return aware.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"
        case float() if not math.isfinite(value):
            raise invalid(
                f"The result has {value} in column '{name[:80]}', which JSON does not have.",
                field="query",
            )
        case None | bool() | int() | float() | str() | bytes():
            return value
        case _:
            return str(value)


def _refused(error: EngineError, namespace: Namespace) -> RequestError:
    """Return the engine's words: the query is the author's own, so they help here."""
    words = str(error).splitlines()[0].replace(namespace.prefix, "")[:200]
    is_name = "no such column" in words or "does not exist" in words
    return invalid(
        f"The database refused the query: {words}.",
        reason=Reason.UNKNOWN_COLUMN if is_name else None,
        field="query",
    )
