"""SQLite's own lock on SQL that a plugin wrote (SPEC 3.8).

The query was checked before it came here. This is the second opinion: while it is prepared and
runs, SQLite asks for every table it reads and every function it calls, after its own parser has
understood it, and refuses what is not the plugin's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from dbservice.engine.steps import ReadPolicy
from dbservice.protocol.limits import MAX_ROW

_MAX_VALUE = 4 * MAX_ROW
"""Bytes of the largest text that a query may compute; SQLite itself would go to a gigabyte."""

_OPERATORS = frozenset({"->", "->>", "like", "glob", "match", "regexp"})
_MOMENTS = frozenset({"current_date", "current_time", "current_timestamp"})
_ALWAYS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE})

# SQLite declares a table function the first time that a connection uses it, which looks like a
# change of the schema.
_WARM_UP = "SELECT 1 FROM json_each('[]'), json_tree('[]')"


@contextmanager
def authorized(connection: sqlite3.Connection, policy: ReadPolicy) -> Iterator[None]:
    """Let only what the policy allows be prepared on a connection."""

    def decide(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        return sqlite3.SQLITE_OK if _is_allowed(policy, action, first, second) else _NO

    connection.execute(_WARM_UP).fetchall()
    longest = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
    connection.set_authorizer(decide)
    try:
        yield
    finally:
        connection.set_authorizer(None)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)


_NO = sqlite3.SQLITE_DENY


def _is_allowed(policy: ReadPolicy, action: int, first: str | None, second: str | None) -> bool:
    if action == sqlite3.SQLITE_READ:
        table = (first or "").lower()
        return table.startswith(policy.prefix) or table in policy.names
    if action == sqlite3.SQLITE_FUNCTION:
        name = (second or "").lower()
        return name in policy.functions or name in _OPERATORS or name in _MOMENTS
    return action in _ALWAYS
