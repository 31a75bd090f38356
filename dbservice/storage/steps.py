"""Work on a database, written once for every engine.

An operation is a generator: it yields the statements it wants executed, receives each result,
and returns its answer. It never sees a connection, so the same code runs on SQLite's own thread
without a single hop between event loop and driver, and over an asyncio driver on PostgreSQL.
Operations compose with `yield from`; the engine runs each inside one transaction.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Statement(NamedTuple):
    """One SQL statement with its bound parameters.

    Attributes:
        sql: text with `?` for each parameter, on every engine.
        parameters: values for the placeholders, in order.
    """

    sql: str
    parameters: Sequence[Any] = ()


class Result(NamedTuple):
    """What a statement gave back.

    Attributes:
        rows: all rows, as tuples.
        affected: how many rows an INSERT, UPDATE or DELETE touched; -1 for other statements.
    """

    rows: list[tuple[Any, ...]]
    affected: int


Steps = Generator[Statement, Result, T]
"""An operation that returns a T."""
