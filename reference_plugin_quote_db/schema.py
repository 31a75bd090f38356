"""What the migrations made, by name: the table, its columns, and the key of the total."""

from __future__ import annotations

from typing import Any, Final

QUOTES: Final = "quotes"

ID: Final = "id"
TEXT: Final = "text"
AUTHOR: Final = "author"
ADDED_BY: Final = "added_by"
TIMESTAMP: Final = "timestamp"
SCORE: Final = "score"

TOTAL_COUNT: Final = "total_count"
"""The KV key that holds the number of quotes."""

Quote = dict[str, Any]
"""One row of the table: its columns by name."""
