"""What the product document claims about speed (its section 14), as data.

Those figures are claims, not measurements; the report puts ours beside them.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Times(NamedTuple):
    """A line of the table of latencies: mean and p95 in ms, before and after."""

    title: str
    operation: str
    legacy: float
    legacy_p95: float
    modern: float
    modern_p95: float


LATENCY: Final = (
    Times("Add Quote", "add", 12.3, 18.5, 8.7, 12.1),
    Times("Get Quote", "get", 5.4, 8.2, 4.1, 6.3),
    Times("Search (100 quotes)", "search", 45.2, 68.5, 28.6, 41.2),
    Times("Update (upvote)", "upvote", 8.9, 13.1, 6.2, 9.4),
    Times("Delete Quote", "delete", 7.1, 10.3, 5.3, 7.8),
    Times("Random Quote", "random", 22.4, 35.7, 15.8, 23.1),
)


class Change(NamedTuple):
    """What was and what is to be: operations a second, or seconds for many of them."""

    title: str
    operation: str
    legacy: float
    modern: float


THROUGHPUT: Final = (
    Change("Writes (add)", "add", 81, 115),
    Change("Reads (get)", "get", 185, 244),
    Change("Searches", "search", 22, 35),
    Change("Updates", "upvote", 112, 161),
    Change("Deletes", "delete", 141, 189),
)


CONCURRENCY: Final = (
    Change("Concurrent Writes", "add", 18.5, 11.2),
    Change("Concurrent Reads", "get", 7.3, 5.1),
    Change("Mixed Workload", "mixed", 12.8, 8.4),
)
CONCURRENT_OPERATIONS: Final = 1_000
"""Of 10 clients, 100 each."""

VOTES: Final = 100
RACE: Final = {"legacy": 87, "plugin": 100}
"""The score after so many votes at the same time."""


class Stage(NamedTuple):
    """A line of the table of memory, in MB."""

    title: str
    stage: str
    legacy: float
    modern: float


MEMORY_ROWS: Final = 10_000
MEMORY: Final = (
    Stage("Initial (empty)", "empty", 42, 38),
    Stage("Quotes loaded", "filled", 125, 98),
    Stage("Peak (heavy search)", "peak", 187, 142),
)


class Size(NamedTuple):
    """A line of the table of projections: p95 of a search in ms."""

    rows: int
    legacy: float
    modern: float


SIZES: Final = (
    Size(1_000, 68, 41),
    Size(10_000, 145, 78),
    Size(100_000, 520, 215),
    Size(1_000_000, 2_800, 890),
)

REASONS: Final = {
    "get": "each get crosses NATS and a second process, where the legacy plugin reads its own "
    "file in its own process; `get_quote` of a quote that was read lately does not",
    "random": "the way over NATS is longer than the scan of a small table; the scan of the legacy "
    "plugin grows with the table, the service's pick does not",
    "search": "the service also counts all quotes that match, ignores case in every script and "
    "answers over NATS",
    "add": "a quote is stored together with its idempotency key and the total, in one transaction, "
    "and crosses NATS",
    "upvote": "a vote is counted under its idempotency key, so that a repeat counts once, and "
    "crosses NATS",
    "delete": "the total moves in the same transaction, under an idempotency key, and the request "
    "crosses NATS",
    "mixed": "six of ten operations of the mixture are gets past the cache",
}
"""Why a claim about an operation does not hold, where it does not."""

SHARED_COMMITS: Final = (
    "All clients of the legacy plugin share one connection: a commit of one stores what the others "
    "have begun, and their own commits then find nothing to do. So under load it waits for the "
    "disk far less than once a call, which the product document did not know; the price is that "
    "nobody can roll back, and that votes are lost."
)

SIDES: Final = (
    (
        "The legacy plugin is on aiosqlite, with a commit a call and SQLite's defaults (rollback "
        "journal, synchronous=FULL): it waits for the disk, too. All of its clients share one "
        "instance and its one connection, as the product document has it."
    ),
    (
        "The plugin runs as `rosey plugin start` runs it, with events and with repeats, so that "
        "each write has an idempotency key, but with timeouts of 30 s on every side; gets go past "
        "its cache, except for *hot get*."
    ),
)
"""What has to be known of the two sides to believe that they are compared fairly."""

SIDES_IN_SHORT: Final = (
    "Both sides wait for the disk before they say that something is stored; the clients of the "
    "legacy plugin share one connection, and so each other's commits."
)

LAYER_OF_WRITES: Final = (
    "In writes, the plugin's layer includes the idempotency key and, in adds and deletes, the "
    "counter of the total: the plain client sends neither."
)

RACING: Final = (
    "The legacy plugin reads a score and writes it back; whoever read the same one is overwritten. "
    "The service adds in the database."
)

LOST_VOTES: Final = {
    "legacy": ", because they read the score before others have written theirs",
}
"""Why a side loses votes, where it does."""

NOT_MEASURABLE: Final = (
    "### 14.6, 14.7, 14.9",
    (
        "The claimed saving in lines of code does not hold: see "
        "[acceptance](../reference/generated/acceptance.md). The times to implement a feature "
        "(14.7) and the figures of production (14.9) are estimates about people and a system "
        "that do not exist; nothing here confirms them."
    ),
)
"""What of it no benchmark can show."""
