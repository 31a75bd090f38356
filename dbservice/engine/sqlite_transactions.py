"""The transactions that are run on a connection to SQLite (SPEC 3.2)."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

import msgspec

from dbservice.engine.errors import ConstraintError
from dbservice.engine.lane import Job
from dbservice.engine.sqlite_connection import Connection
from dbservice.engine.sqlite_errors import translated
from dbservice.engine.steps import Statement, Steps


class Work(msgspec.Struct, frozen=True):
    """Something to do on a connection.

    Attributes:
        operation: makes the generator of its statements.
        timeout: seconds that all of them may take together.
        quick: it touches a few rows that keys find, so that it may be tried on the event loop.
        alone: nobody else waits for anything at this moment.
        exclusive: it changes schemas and runs in a transaction of its own.
        keep: False undoes everything at the end.
        checks_references: an exclusive one ends with a look at all foreign keys.
        plugin: whose turn it is where work waits.
    """

    operation: Callable[[], Steps[Any]]
    timeout: float
    quick: bool = False
    alone: bool = False
    exclusive: bool = False
    keep: bool = True
    checks_references: bool = True
    plugin: str = ""


def run_reads(connection: Connection, jobs: Sequence[Job]) -> None:
    """Answer reads from one snapshot."""
    try:
        connection.begin()
        for job in jobs:
            if not job.is_abandoned:
                _attempt(connection, job)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        _fail_all(connection, jobs, error)


def run_writes(
    connection: Connection, jobs: Sequence[Job], limit: float = float("inf")
) -> Sequence[Job]:
    """Split a batch at the exclusive jobs, and run and commit each part.

    Args:
        connection: not in a transaction.
        jobs: the writes.
        limit: seconds after which no further one is begun.

    Returns:
        Those that were not begun.
    """
    end = time.monotonic() + limit
    left = [job for job in jobs if not job.is_abandoned]
    while left:
        if left[0].work.exclusive:
            _run_exclusive(connection, left[0])
            left = left[1:]
        else:
            shared = list(takewhile(lambda job: not job.work.exclusive, left))
            left = left[_commit_together(connection, shared, end) :]
        if time.monotonic() > end:
            break
    return left


def perform(
    connection: Connection, jobs: Sequence[Job], end: float, limit: float = float("inf")
) -> int:
    """Run writes in the open transaction; one that fails takes back only its own part.

    Args:
        connection: is in a transaction.
        jobs: the writes.
        end: the moment after which no further one is begun.
        limit: seconds that each may take at the most.

    Returns:
        How many were run: the first at least.

    Raises:
        sqlite3.Error: the transaction is lost.
    """
    if len(jobs) == 1:
        _attempt(connection, jobs[0], limit)
        if jobs[0].error is not None:
            connection.undo()
        return 1
    for position, job in enumerate(jobs):
        if position and time.monotonic() > end:
            return position
        connection.execute("SAVEPOINT request")
        _attempt(connection, job, limit)
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
    missed = connection.missed()
    if missed is not None:
        for job in jobs:
            job.error = job.error or missed
    if connection.on_commit is not None:
        connection.on_commit(len(jobs))
    return True


def _commit_together(connection: Connection, jobs: Sequence[Job], end: float) -> int:
    """Run writes in one transaction; return how many were run, all or those before `end`."""
    try:
        connection.begin("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        _fail_all(connection, jobs, error)
        return len(jobs)
    try:
        performed = perform(connection, jobs, end)
        commit(connection, jobs[:performed])
    except sqlite3.Error as error:
        connection.undo()
        return _part_company(connection, jobs, error, end)
    return performed


def _part_company(
    connection: Connection, jobs: Sequence[Job], error: sqlite3.Error, end: float
) -> int:
    """Find the job that cost the others their transaction by running each again, alone.

    SQLite undoes a whole transaction, savepoints and all, when it interrupts a write in it; and a
    deferred foreign key is only found broken by the commit.
    """
    if len(jobs) == 1:
        jobs[0].error = jobs[0].error or translated(error)
        return 1
    for position, job in enumerate(jobs):
        if position and time.monotonic() > end:
            return position
        if job.error is None:
            _commit_together(connection, [job], end)
    return len(jobs)


def _fail_all(connection: Connection, jobs: Sequence[Job], error: sqlite3.Error) -> None:
    """The transaction is lost, and with it what its jobs had done."""
    connection.undo()
    for job in jobs:
        job.error = job.error or translated(error)


def _run_exclusive(connection: Connection, job: Job) -> None:
    """Run a schema change alone.

    SQLite rewrites a table by dropping it, which would delete the rows that refer to it; foreign
    keys can only be switched off outside a transaction, and are checked before the commit. Rows
    that were orphans before are no fault of this change; where there are some, it runs once more.
    """
    started = time.monotonic()
    try:
        connection.execute("PRAGMA foreign_keys=OFF")
        orphans = _change_schema(connection, job, Counter())
        if orphans:
            before = _orphans(connection, job)
            if orphans <= before:
                orphans = _change_schema(connection, job, before)
        if orphans:
            job.error = _broken(*next(iter(orphans)))
    except Exception as error:  # noqa: BLE001 - handed to whoever awaits the job
        connection.undo()
        job.error = translated(error) if isinstance(error, sqlite3.Error) else error
    finally:
        connection.changes_schema = False
        connection.execute("PRAGMA foreign_keys=ON")
        job.seconds += time.monotonic() - started


def _change_schema(
    connection: Connection, job: Job, tolerated: Counter[tuple[str, str]]
) -> Counter[tuple[str, str]]:
    """Run the change; undo it and return the orphans if there are more than were tolerated."""
    connection.begin("BEGIN IMMEDIATE")
    connection.changes_schema = True
    job.value = connection.drive(job.work.operation, job.work.timeout)
    orphans = _orphans(connection, job) if job.work.checks_references else Counter()
    if not orphans <= tolerated:
        connection.undo()
        return orphans - tolerated
    connection.execute("COMMIT" if job.work.keep else "ROLLBACK")
    missed = connection.missed()
    if missed is not None:
        raise missed
    return Counter()


def _orphans(connection: Connection, job: Job) -> Counter[tuple[str, str]]:
    """Count the rows that refer to rows that are not there, by table and table referred to."""

    def steps() -> Steps[Counter[tuple[str, str]]]:
        found = yield Statement("PRAGMA foreign_key_check")
        return Counter((str(table), str(parent)) for table, _, parent, _ in found.rows)

    return connection.drive(steps, job.work.timeout)


def _broken(table: str, parent: str) -> ConstraintError:
    return ConstraintError(
        f"rows of {table} refer to rows of {parent} that are not there",
        kind="foreign key",
        subject=table,
    )


def _attempt(connection: Connection, job: Job, limit: float = float("inf")) -> None:
    """Do a job within its time, at most `limit` seconds, and leave the outcome in it."""
    started = time.monotonic()
    try:
        job.value = connection.drive(job.work.operation, min(job.work.timeout, limit))
    except Exception as error:  # noqa: BLE001 - handed to whoever awaits the job
        job.error = error
    job.seconds += time.monotonic() - started
