"""What the migrations made, by name: the table, its columns, orders and filters; and the keys."""

from __future__ import annotations

from typing import Any, Final

from dbservice.client import SortBy

QUOTES: Final = "quotes"

ID: Final = "id"
TEXT: Final = "text"
AUTHOR: Final = "author"
ADDED_BY: Final = "added_by"
TIMESTAMP: Final = "timestamp"
SCORE: Final = "score"
TAGS: Final = "tags"

COLUMNS: Final = (ID, TEXT, AUTHOR, ADDED_BY, TIMESTAMP, SCORE)
"""What a quote has since migration 002; tags came with 003."""

NEWEST_FIRST: Final[list[SortBy]] = [
    {"field": TIMESTAMP, "order": "desc"},
    {"field": ID, "order": "desc"},
]
BEST_FIRST: Final[SortBy] = {"field": SCORE, "order": "desc"}

ALL: Final[dict[str, Any]] = {}
UPVOTED: Final = {SCORE: {"$gte": 1}}
PER_AUTHOR: Final = {"quotes": {"$count": "*"}, "score": {"$sum": SCORE}}

TOTAL_COUNT: Final = "total_count"
"""The KV key that holds the number of quotes."""

LAST_ID: Final = "last_id"
"""The KV key that `get_next_quote_id()` counts under."""

QUOTES_AN_HOUR: Final = "max_quotes_per_user"
"""The KV key that holds another limit for users; it works without a restart."""

Quote = dict[str, Any]
"""One row of the table: its columns by name."""

Filters = dict[str, Any]
Sorting = SortBy | list[SortBy]
