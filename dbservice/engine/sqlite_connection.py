"""One connection to SQLite, and how an operation's statements run on it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from dbservice.engine.dialect import SqliteDialect
from dbservice.engine.errors import FileGoneError
from dbservice.engine.folding import lowered
from dbservice.engine.json_values import contains_json, equal_json
from dbservice.engine.sqlite_authorizer import authorized
from dbservice.engine.sqlite_errors import translated
from dbservice.engine.steps import Result, Statement, Steps, T, weight
from dbservice.engine.type_map import is_carried, is_normal, is_utf8, normal_form

_INSTRUCTIONS_BETWEEN_CLOCK_LOOKS: Final = 10_000
_FOR_EVER: Final = float("inf")

OPTIONS: Final[Mapping[str, Any]] = {
    "isolation_level": None,
    "check_same_thread": False,
    "cached_statements": 512,
    "timeout": 5.0,
}
"""How the driver opens every connection."""


@dataclass(slots=True)
class Connection:
    """A raw connection and the deadline of the statements that run on it.

    Attributes:
        raw: the driver's connection; used by one thread at a time.
        on_commit: told of every commit how many writes shared it.
        clock: tells the seconds that statements take; within one operation, on one thread.
        patience: seconds that an operation may take at the most, whatever that clock says.
        deadline: the moment, by that clock, at which a statement is interrupted.
        end: the moment, by the machine's clock, at which it is interrupted at the latest.
        changes_schema: the transaction may change schemas.
        missed: tells, after a commit, why what was written will not be found again.
    """

    raw: sqlite3.Connection
    on_commit: Callable[[int], None] | None = None
    clock: Callable[[], float] = time.monotonic
    patience: float = _FOR_EVER
    deadline: float = field(default=_FOR_EVER)
    end: float = field(default=_FOR_EVER)
    changes_schema: bool = False
    missed: Callable[[], FileGoneError | None] = lambda: None
    _schema_version: Result | None = None

    def is_late(self) -> bool:
        """Return whether the running statement has to end."""
        return self.clock() > self.deadline or time.monotonic() > self.end

    def execute(self, sql: str) -> None:
        """Execute a statement without parameters, for its effect."""
        self.raw.execute(sql)

    def begin(self, how: str = "BEGIN") -> None:
        """Begin a transaction."""
        self.execute(how)
        self._schema_version = None

    def undo(self) -> None:
        """Roll back, if there is something to roll back."""
        if self.raw.in_transaction:
            self.execute("ROLLBACK")

    def drive(self, operation: Callable[[], Steps[T]], timeout: float) -> T:
        """Run an operation's statements one after another and return its answer."""
        self.deadline = self.clock() + timeout
        if self.patience < _FOR_EVER:
            self.end = time.monotonic() + self.patience
        steps = operation()
        try:
            statement = next(steps)
            while True:
                try:
                    result = self._result(statement)
                except (sqlite3.Error, OverflowError) as error:
                    statement = steps.throw(translated(error))
                else:
                    statement = steps.send(result)
        except StopIteration as stop:
            answer: T = stop.value
            return answer
        finally:
            self.deadline = self.end = _FOR_EVER

    def _result(self, statement: Statement) -> Result:
        if statement is SqliteDialect.schema_version:
            return self._version_of_schema(statement)
        if statement.policy is None:
            return _fetched(self.raw.execute(statement.sql, statement.parameters), statement)
        with authorized(self.raw, statement.policy):
            cursor = self.raw.execute(statement.sql, statement.parameters)
            names = [column[0] for column in cursor.description]
            return replace(_fetched(cursor, statement), columns=names)

    def _version_of_schema(self, statement: Statement) -> Result:
        """Ask once in a transaction, unless that itself may change the answer."""
        if self._schema_version is None or self.changes_schema:
            cursor = self.raw.execute(statement.sql)
            self._schema_version = Result(cursor.fetchall(), cursor.rowcount)
        return self._schema_version


def prepared(raw: sqlite3.Connection, on_commit: Callable[[int], None] | None = None) -> Connection:
    """Return a connection that the driver has just opened, set up as all of ours are.

    Args:
        raw: opened with OPTIONS.
        on_commit: told of every commit how many writes shared it.
    """
    connection = Connection(raw, on_commit)
    raw.create_function("rosey_lower", 1, lowered, deterministic=True)
    raw.create_function("rosey_normal", 2, normal_form, deterministic=True)
    raw.create_function("rosey_is_carried", 2, is_carried, deterministic=True)
    raw.create_function("rosey_is_normal", 2, is_normal, deterministic=True)
    raw.create_function("rosey_is_utf8", 1, is_utf8, deterministic=True)
    raw.create_function("rosey_json_equal", 2, equal_json, deterministic=True)
    raw.create_function("rosey_json_contains", 2, contains_json, deterministic=True)
    raw.set_progress_handler(connection.is_late, _INSTRUCTIONS_BETWEEN_CLOCK_LOOKS)
    (_, _, path) = raw.execute("PRAGMA database_list").fetchone()
    if path:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")
    raw.execute("PRAGMA foreign_keys=ON")
    return connection


def _fetched(cursor: sqlite3.Cursor, statement: Statement) -> Result:
    if statement.max_weight is None:
        return Result(cursor.fetchall(), cursor.rowcount)
    rows: list[tuple[Any, ...]] = []
    weighed = 0
    for row in cursor:
        rows.append(row)
        weighed += weight(row)
        if weighed > statement.max_weight:
            break
    cut = cursor.fetchone() is not None
    affected = cursor.rowcount
    cursor.close()
    return Result(rows, affected, weight=weighed, cut=cut)
