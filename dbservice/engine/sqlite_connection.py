"""One connection to SQLite, and the transactions that are run on it (SPEC 3.2)."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dbservice.engine.dialect import SqliteDialect
from dbservice.engine.errors import ConstraintError
from dbservice.engine.lane import Job
from dbservice.engine.sqlite_authorizer import guarded
from dbservice.engine.sqlite_errors import translated
from dbservice.engine.steps import Result, Statement, Steps, T


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do on a connection.

    Attributes:
        operation: makes the generator of its statements.
        timeout: seconds that all of them may take together.
        quick: it touches a few rows that keys find, so that it may be tried on the event loop.
        alone: nobody else waits for anything at this moment.
        exclusive: it changes schemas and runs in a transaction of its own.
        keep: False undoes everything at the end.
    """

    operation: Callable[[], Steps[Any]]
    timeout: float
    quick: bool = False
    alone: bool = False
    exclusive: bool = False
    keep: bool = True


@dataclass(slots=True)
class Connection:
    """A raw connection and the deadline of the statements that run on it.

    Attributes:
        raw: the driver's connection; used by one thread at a time.
        on_commit: told of every commit how many writes shared it.
        deadline: the moment, by the monotonic clock, at which a statement is interrupted.
        changes_schema: the transaction may change schemas.
    """

    raw: sqlite3.Connection
    on_commit: Callable[[int], None] | None = None
    deadline: float = field(default=float("inf"))
    changes_schema: bool = False
    _schema_version: Result | None = None

    def is_late(self) -> bool:
        """Return whether the running statement has to end."""
        return time.monotonic() > self.deadline

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
        self.deadline = time.monotonic() + timeout
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
            self.deadline = float("inf")

    def attempt(self, job: Job, limit: float = float("inf")) -> None:
        """Do a job within its time, at most `limit` seconds, and leave the outcome in it."""
        try:
            job.value = self.drive(job.work.operation, min(job.work.timeout, limit))
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits the job
            job.error = error

    def _result(self, statement: Statement) -> Result:
        if statement is SqliteDialect.schema_version:
            return self._version_of_schema(statement)
        if statement.guard is None:
            cursor = self.raw.execute(statement.sql, statement.parameters)
            return Result(cursor.fetchall(), cursor.rowcount)
        with guarded(self.raw, statement.guard):
            cursor = self.raw.execute(statement.sql, statement.parameters)
            names = [column[0] for column in cursor.description]
            return Result(cursor.fetchall(), cursor.rowcount, names)

    def _version_of_schema(self, statement: Statement) -> Result:
        """Ask once in a transaction, unless that itself may change the answer."""
        if self._schema_version is None or self.changes_schema:
            cursor = self.raw.execute(statement.sql)
            self._schema_version = Result(cursor.fetchall(), cursor.rowcount)
        return self._schema_version


def run_reads(connection: Connection, jobs: Sequence[Job]) -> None:
    """Answer reads from one snapshot."""
    try:
        connection.begin()
        for job in jobs:
            if not job.is_abandoned:
                connection.attempt(job)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        _fail_all(connection, jobs, error)


def run_writes(connection: Connection, jobs: Sequence[Job]) -> None:
    """Split a batch at the exclusive jobs, and run and commit each part."""
    shared: list[Job] = []
    for job in jobs:
        if job.is_abandoned:
            continue
        if not job.work.exclusive:
            shared.append(job)
            continue
        _commit_together(connection, shared)
        shared = []
        _run_exclusive(connection, job)
    _commit_together(connection, shared)


def perform(connection: Connection, jobs: Sequence[Job], limit: float = float("inf")) -> int:
    """Run writes in the open transaction; one that fails takes back only its own part.

    Args:
        connection: is in a transaction.
        jobs: the writes.
        limit: seconds that each may take at the most, and after which no further one is begun.

    Returns:
        How many were run: the first at least.

    Raises:
        sqlite3.Error: the transaction is lost.
    """
    if len(jobs) == 1:
        connection.attempt(jobs[0], limit)
        if jobs[0].error is not None:
            connection.undo()
        return 1
    end = time.monotonic() + limit
    for position, job in enumerate(jobs):
        if position and time.monotonic() > end:
            return position
        connection.execute("SAVEPOINT request")
        connection.attempt(job, limit)
        if job.error is not None:
            connection.execute("ROLLBACK TO request")
        connection.execute("RELEASE request")
    return len(jobs)


def commit(connection: Connection, jobs: Sequence[Job]) -> bool:
    """Make durable what was performed; return whether there was anything left of it.

    Raises:
        sqlite3.Error: the transaction is lost.
    """
    if not connection.raw.in_transaction:
        return False  # the only write failed
    connection.execute("COMMIT")
    if connection.on_commit is not None:
        connection.on_commit(len(jobs))
    return True


def _commit_together(connection: Connection, jobs: Sequence[Job]) -> None:
    if not jobs:
        return
    try:
        connection.begin("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        _fail_all(connection, jobs, error)
        return
    try:
        perform(connection, jobs)
        commit(connection, jobs)
    except sqlite3.Error as error:
        connection.undo()
        _part_company(connection, jobs, error)


def _part_company(connection: Connection, jobs: Sequence[Job], error: sqlite3.Error) -> None:
    """Find the job that cost the others their transaction by running each again, alone.

    SQLite undoes a whole transaction, savepoints and all, when it interrupts a write in it; and a
    deferred foreign key is only found broken by the commit.
    """
    if len(jobs) == 1:
        jobs[0].error = jobs[0].error or translated(error)
        return
    for job in jobs:
        if job.error is None:
            _commit_together(connection, [job])


def _fail_all(connection: Connection, jobs: Sequence[Job], error: sqlite3.Error) -> None:
    """The transaction is lost, and with it what its jobs had done."""
    connection.undo()
    for job in jobs:
        job.error = job.error or translated(error)


def _run_exclusive(connection: Connection, job: Job) -> None:
    """Run a schema change alone.

    SQLite rewrites a table by dropping it, which would delete the rows that refer to it; foreign
    keys can only be switched off outside a transaction, and are checked before the commit.
    """
    try:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.begin("BEGIN IMMEDIATE")
        connection.changes_schema = True
        job.value = connection.drive(job.work.operation, job.work.timeout)
        _check_foreign_keys(connection)
        connection.execute("COMMIT" if job.work.keep else "ROLLBACK")
    except Exception as error:  # noqa: BLE001 - handed to whoever awaits the job
        connection.undo()
        job.error = translated(error) if isinstance(error, sqlite3.Error) else error
    finally:
        connection.changes_schema = False
        connection.execute("PRAGMA foreign_keys=ON")


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.raw.execute("PRAGMA foreign_key_check").fetchone()
    if broken is not None:
        raise ConstraintError(
            f"rows of {broken[0]} refer to rows of {broken[2]} that are not there",
            kind="foreign key",
            subject=str(broken[0]),
        )
