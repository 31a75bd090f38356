"""The filters and orders in which quotes are asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal

from dbservice.client import SortBy
from dbservice.protocol.errors import did_you_mean
from reference_plugin_quote_db import schema, validation
from reference_plugin_quote_db.errors import ValidationError

NEWEST_FIRST: Final[SortBy] = {"field": schema.TIMESTAMP, "order": "desc"}
BEST_FIRST: Final[SortBy] = {"field": schema.SCORE, "order": "desc"}
UPVOTED: Final = {schema.SCORE: {"$gte": 1}}
ALL: Final[dict[str, Any]] = {}

SORTABLE: Final = (
    schema.ID,
    schema.TEXT,
    schema.AUTHOR,
    schema.ADDED_BY,
    schema.TIMESTAMP,
    schema.SCORE,
)


def with_id(quote_id: int) -> dict[str, Any]:
    """Return the filter for one quote.

    Raises:
        ValidationError: if `quote_id` is not a positive integer.
    """
    return {schema.ID: {"$eq": validation.quote_id(quote_id)}}


def matching(query: str) -> dict[str, Any]:
    """Return the filter for quotes with `query` in their text or author, whatever its case.

    Raises:
        ValidationError: if there is nothing to look for.
    """
    return {"$or": [containing(schema.AUTHOR, query), containing(schema.TEXT, query)]}


def containing(column: str, query: str) -> dict[str, Any]:
    """Return the filter for quotes with `query` in one column, whatever its case.

    Raises:
        ValidationError: if there is nothing to look for.
    """
    literal = re.sub(r"([\\%_])", r"\\\1", validation.search_query(query))
    return {column: {"$ilike": f"%{literal}%"}}


def all_of(conditions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the filter for quotes that meet all conditions; all quotes, if there are none."""
    if len(conditions) > 1:
        return {"$and": list(conditions)}
    return conditions[0] if conditions else ALL


def sorted_by(column: str, order: Literal["asc", "desc"]) -> SortBy:
    """Return an order.

    Raises:
        ValidationError: if there is no such column, or no such order.
    """
    if column not in SORTABLE:
        known = ", ".join(SORTABLE)
        hint = did_you_mean(column, SORTABLE)
        raise ValidationError(f"Invalid sort_by '{column[:40]}' (must be one of {known}).{hint}")
    if order not in ("asc", "desc"):
        raise ValidationError(f"Invalid sort_order '{order[:40]}' (must be asc or desc)")
    return {"field": column, "order": order}
