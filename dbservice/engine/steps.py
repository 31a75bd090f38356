"""Work on a database, written once for every engine.

An operation is a generator: it yields the statements it wants executed, receives each result,
and returns its answer. It never sees a connection, so the same code runs on SQLite's own thread
without a single hop between event loop and driver, and over an asyncio driver on PostgreSQL.
Operations compose with `yield from`; the engine runs each inside one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")


class ReadPolicy(NamedTuple):
    """What SQL that a plugin wrote may touch; an engine that can enforces it, as a second lock.

    Attributes:
        prefix: what the names of all tables begin with that it may read.
        names: other names to read from: of WITH, of table functions.
        functions: lower-case names of the functions it may call.
    """

    prefix: str
    names: Collection[str]
    functions: Collection[str]


class Statement(msgspec.Struct, frozen=True):
    """One SQL statement with its bound parameters.

    Attributes:
        sql: text with `?` for each parameter, on every engine.
        parameters: values for the placeholders, in order.
        policy: for SQL that a plugin wrote; such a statement only reads.
        max_weight: the weight of rows after which no more are fetched; None fetches all.
    """

    sql: str
    parameters: Sequence[Any] = ()
    policy: ReadPolicy | None = None
    max_weight: int | None = None


class Result(msgspec.Struct, frozen=True):
    """What a statement gave back.

    Attributes:
        rows: all rows, as tuples, or as many as `max_weight` allows and one more.
        affected: how many rows an INSERT, UPDATE or DELETE touched; -1 for other statements.
        columns: the names of the columns, where the statement has a policy.
        weight: of the rows, where the statement has a `max_weight`.
        cut: there are more rows than it allows.
    """

    rows: list[tuple[Any, ...]]
    affected: int
    columns: Sequence[str] = ()
    weight: int = 0
    cut: bool = False


def weight(row: Sequence[Any]) -> int:
    """Return about how many characters the values of a row have."""
    return sum(len(value) if isinstance(value, str | bytes) else _PLAIN for value in row)


_PLAIN = 8
"""What a number weighs, or a null."""


Steps = Generator[Statement, Result, T]
"""An operation that returns a T."""
