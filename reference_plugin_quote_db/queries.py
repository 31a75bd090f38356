"""The filters and orders in which quotes are asked for."""

from __future__ import annotations

import re
from typing import Any, Final

from dbservice.client import SortBy
from reference_plugin_quote_db import schema, validation

NEWEST_FIRST: Final[SortBy] = {"field": schema.TIMESTAMP, "order": "desc"}
BEST_FIRST: Final[SortBy] = {"field": schema.SCORE, "order": "desc"}
UPVOTED: Final = {schema.SCORE: {"$gte": 1}}
ALL: Final[dict[str, Any]] = {}


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
    literal = re.sub(r"([\\%_])", r"\\\1", validation.search_query(query))
    contains = {"$ilike": f"%{literal}%"}
    return {"$or": [{schema.AUTHOR: contains}, {schema.TEXT: contains}]}
