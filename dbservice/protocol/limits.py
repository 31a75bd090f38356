"""Every limit of the contract, by name. Sizes are bytes, times are seconds."""

from __future__ import annotations

from typing import Final

MAX_NESTING: Final = 64
MAX_PLUGIN_NAME: Final = 64
MAX_IDENTIFIER: Final = 63
"""Bytes of a prefixed table name or a generated index name; PostgreSQL cuts longer ones."""

MAX_KEY_LENGTH: Final = 512
MAX_KV_VALUE: Final = 65_536
MAX_KEYS_LISTED: Final = 1_000
MAX_TTL: Final = 100 * 365 * 86_400

MAX_ROW: Final = 1_048_576
MAX_COLUMNS: Final = 500
"""Columns of a table to register, and computed values of one aggregation."""

MAX_TABLES: Final = 128
"""Tables of a plugin up to which it may register another: all connections read all schemas."""

MAX_BATCH: Final = 1_000
DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1_000
MAX_OFFSET: Final = 2**53

MAX_FILTER_DEPTH: Final = 8
MAX_CONDITIONS: Final = 200
MAX_LIST_OPERAND: Final = 1_000
MAX_PATTERN: Final = 4_096
MAX_MATCH: Final = 2**27
"""Characters of a text times characters of a pattern: an engine matches in time of the product."""

MAX_FREE_PATTERN: Final = MAX_MATCH // MAX_ROW
"""Characters of a pattern that is short enough for a text of any length."""

MAX_QUERY: Final = 10_000
"""Characters of a query of the SQL tier."""

MAX_QUERY_WORDS: Final = 1_000
"""Names, values and signs of a query: they are what reading it takes time for."""

MAX_QUERY_PARAMETERS: Final = 100
MAX_QUERY_NESTING: Final = 100
"""Queries in queries of a migration's statement; the engines' own limits are of this order."""

MAX_REPLY: Final = 1_048_576
"""Bytes of a reply where no connection says otherwise: what a NATS server takes by default."""

MAX_EXPORT_PAGE: Final = 131_072
"""Characters of one page of an export. As JSON it stays below NATS's usual 1 MiB in any script."""

MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1

STATEMENT_TIMEOUT: Final = 5.0
WRITE_TIMEOUT: Final = 0.25
"""How long a plugin's statements may hold the one writer of an SQLite database."""

MAX_IN_FLIGHT: Final = 256
MAX_QUEUED: Final = 4_096
MAX_BYTES_TAKEN: Final = 64 * 1024 * 1024
"""Bytes of all requests that are served or wait."""

MAX_PLUGIN_BYTES_TAKEN: Final = 16 * 1024 * 1024
"""Of these, those of one plugin."""

KV_SWEEP_INTERVAL: Final = 300.0
IDEMPOTENCY_WINDOW: Final = 86_400.0
MIGRATION_LOCK_TIMEOUT: Final = 5.0
