"""The SQLite engine: one writer with group commit, readers beside it (SPEC 3.1 to 3.4).

On a file, writes that wait together share one transaction, a savepoint each, and one fsync; each
is acknowledged after the shared commit. Readers have connections of their own, so that neither a
long search nor a write holds up a quick read, which is answered on the event loop itself. A
database in memory is one connection, used on the event loop.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from dbservice.protocol.limits import STATEMENT_TIMEOUT
from dbservice.storage.dialect import Dialect
from dbservice.storage.errors import (
    ConstraintError,
    EngineError,
    OutOfRangeError,
    StatementTimeoutError,
    UnavailableError,
)
from dbservice.storage.lane import DirectLane, Job, Lane, QueuedLane
from dbservice.storage.sqlite_guard import guarded
from dbservice.storage.steps import Result, Statement, Steps, T
from dbservice.storage.text import lowered
from dbservice.storage.values import contains_json, equal_json

WRITE_BATCH = 128
_INSTRUCTIONS_BETWEEN_CLOCK_LOOKS = 10_000
_QUICK = 0.02
"""Seconds that a read may hold the event loop."""

_UNLIMITED = float("inf")

_CONSTRAINTS = {
    "SQLITE_CONSTRAINT_UNIQUE": "unique",
    "SQLITE_CONSTRAINT_PRIMARYKEY": "unique",
    "SQLITE_CONSTRAINT_ROWID": "unique",
    "SQLITE_CONSTRAINT_NOTNULL": "not null",
    "SQLITE_CONSTRAINT_CHECK": "check",
    "SQLITE_CONSTRAINT_FOREIGNKEY": "foreign key",
    "SQLITE_CONSTRAINT_TRIGGER": "trigger",
    "SQLITE_CONSTRAINT_DATATYPE": "type",
}
_UNAVAILABLE = ("BUSY", "LOCKED", "IOERR", "FULL", "CANTOPEN", "READONLY", "CORRUPT", "NOTADB")


@dataclass(frozen=True, slots=True)
class _Work:
    operation: Callable[[], Steps[Any]]
    timeout: float
    exclusive: bool = False
    keep: bool = True


@dataclass(slots=True)
class _Connection:
    """A raw connection and the deadline of the statement that runs on it."""

    raw: sqlite3.Connection
    on_commit: Callable[[int], None] | None = None
    deadline: float = field(default=float("inf"))

    def is_late(self) -> bool:
        return time.monotonic() > self.deadline

    def execute(self, sql: str) -> None:
        self.raw.execute(sql)

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
                    statement = steps.throw(_translated(error))
                else:
                    statement = steps.send(result)
        except StopIteration as stop:
            answer: T = stop.value
            return answer
        finally:
            self.deadline = float("inf")

    def _result(self, statement: Statement) -> Result:
        if statement.guard is None:
            cursor = self.raw.execute(statement.sql, statement.parameters)
            return Result(cursor.fetchall(), cursor.rowcount)
        with guarded(self.raw, statement.guard):
            cursor = self.raw.execute(statement.sql, statement.parameters)
            names = [column[0] for column in cursor.description]
            return Result(cursor.fetchall(), cursor.rowcount, names)


class SqliteEngine:
    """A SQLite database, in memory or in a file.

    Args:
        url: `sqlite+aiosqlite:///file.db`, `sqlite:///file.db`, or with no path for memory.
        statement_timeout: seconds after which a statement is interrupted.
        on_commit: told, on the writer's thread, how many writes shared each commit.

    A file is opened by one process at a time: the second is refused with UnavailableError.
    """

    dialect = Dialect.SQLITE

    def __init__(
        self,
        url: str | sa.URL,
        *,
        statement_timeout: float = STATEMENT_TIMEOUT,
        on_commit: Callable[[int], None] | None = None,
    ) -> None:
        self.url = sa.make_url(url).set(drivername="sqlite")
        self.path = None if self.url.database in (None, "", ":memory:") else self.url.database
        self._timeout = statement_timeout
        self._on_commit = on_commit
        self._pool = sa.create_engine(
            self.url,
            poolclass=NullPool,
            connect_args={
                "isolation_level": None,
                "check_same_thread": False,
                "cached_statements": 512,
                "timeout": 5.0,
            },
        )
        self._lock: IO[str] | None = None
        self._writer: Lane
        self._reader: Lane
        self._scanner: Lane
        if self.path is None:
            self._writer = self._reader = self._scanner = self._direct(_run_writes, writes=True)
        else:
            self._writer = self._queued("rosey-db-writer", _run_writes, WRITE_BATCH, writes=True)
            self._reader = self._direct(_run_reads, writes=False)
            self._scanner = self._queued("rosey-db-scanner", _run_reads, 1, writes=False)

    @property
    def busy(self) -> int:
        """How many operations have a connection or wait for one; see Engine.busy."""
        return sum(lane.busy for lane in self._lanes())

    async def open(self) -> None:
        """Take the file for this process and connect.

        Raises:
            UnavailableError: the file cannot be opened, or another process holds it.
        """
        if self.path is not None:
            self._lock = _take_file(Path(self.path))
        opened: list[Lane] = []
        try:
            for lane in self._lanes():
                await lane.open()
                opened.append(lane)
        except sqlite3.Error as error:
            for lane in reversed(opened):
                await lane.close()
            self._release_file()
            raise UnavailableError(
                f"The database file '{self.path}' cannot be opened: {error}. Check that its folder "
                "exists, that it may be written, and that the file is an SQLite database."
            ) from error

    async def close(self) -> None:
        """Finish what has been taken, then close the file and let go of it."""
        for lane in reversed(self._lanes()):
            await lane.close()
        self._pool.dispose()
        self._release_file()

    async def read(self, operation: Callable[[], Steps[T]], *, scan: bool = False) -> T:
        """Run an operation that only reads; see Engine.read."""
        if not scan and self._reader is not self._scanner:
            # What turns out not to be quick starts anew where it holds nobody up.
            with suppress(StatementTimeoutError):
                quick: T = await self._reader.do(_Work(operation, _QUICK))
                return quick
        answer: T = await self._scanner.do(_Work(operation, self._timeout))
        return answer

    async def write(self, operation: Callable[[], Steps[T]]) -> T:
        """Run an operation that writes; see Engine.write."""
        answer: T = await self._writer.do(_Work(operation, self._timeout))
        return answer

    async def exclusive(self, operation: Callable[[], Steps[T]], *, keep: bool = True) -> T:
        """Run an operation that changes schemas; see Engine.exclusive."""
        work = _Work(operation, _UNLIMITED, exclusive=True, keep=keep)
        answer: T = await self._writer.do(work)
        return answer

    def snapshot(self) -> bytes:
        """Return all that is in the database, for `restore`.

        Raises:
            ValueError: the database is a file.
            UnavailableError: it is not open.
        """
        connection = self._in_memory()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        return connection.serialize() if pages else b""  # SQLite cannot serialize nothing

    def restore(self, snapshot: bytes) -> None:
        """Replace all that is in the database, which takes as long as copying the bytes twice.

        Args:
            snapshot: what `snapshot()` returned, of this engine or another one.

        Raises:
            ValueError: the database is a file.
            UnavailableError: it is not open.
        """
        # Not deserialized in place: that leaves prepared statements with freed schemas, and the
        # process crashes when one of them runs (SQLite 3.40). A backup moves the schema version.
        with closing(sqlite3.connect(":memory:")) as source:
            if snapshot:
                source.deserialize(snapshot)
            source.backup(self._in_memory())

    def _in_memory(self) -> sqlite3.Connection:
        if self.path is not None:
            raise ValueError(f"'{self.path}' is a file; only a database in memory can be copied")
        assert isinstance(self._writer, DirectLane)  # as every lane of a database in memory
        connection: _Connection = self._writer.connection
        return connection.raw

    def _lanes(self) -> list[Lane]:
        # The writer comes first: it makes a new file a WAL file, which readers cannot.
        return list(dict.fromkeys((self._writer, self._reader, self._scanner)))

    def _direct(
        self, run: Callable[[_Connection, Sequence[Job]], None], *, writes: bool
    ) -> DirectLane[_Connection]:
        return DirectLane(
            connect=lambda: self._connect(writes=writes), disconnect=_disconnect, run=run
        )

    def _queued(
        self,
        name: str,
        run: Callable[[_Connection, Sequence[Job]], None],
        batch: int,
        *,
        writes: bool,
    ) -> QueuedLane[_Connection]:
        return QueuedLane(
            name,
            connect=lambda: self._connect(writes=writes),
            disconnect=_disconnect,
            run=run,
            batch=batch,
        )

    def _connect(self, *, writes: bool) -> _Connection:
        pooled = self._pool.raw_connection()
        raw = pooled.driver_connection
        pooled.detach()
        assert isinstance(raw, sqlite3.Connection)
        connection = _Connection(raw, self._on_commit)
        raw.create_function("rosey_lower", 1, lowered, deterministic=True)
        raw.create_function("rosey_json_equal", 2, equal_json, deterministic=True)
        raw.create_function("rosey_json_contains", 2, contains_json, deterministic=True)
        raw.set_progress_handler(connection.is_late, _INSTRUCTIONS_BETWEEN_CLOCK_LOOKS)
        if self.path is not None:
            raw.execute("PRAGMA journal_mode=WAL")
            raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")
        if not writes:
            raw.execute("PRAGMA query_only=ON")
        return connection

    def _release_file(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _disconnect(connection: _Connection) -> None:
    connection.raw.close()


def _take_file(path: Path) -> IO[str]:
    """Lock a side file for as long as this process lives, so that nobody else writes."""
    try:
        lock = Path(f"{path}.lock").open("a")  # noqa: SIM115 - held until the engine closes
    except OSError as error:
        raise UnavailableError(
            f"The database file '{path}' cannot be opened: {error.strerror}. Check that its folder "
            "exists and may be written."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise UnavailableError(
            f"A service holds the database file '{path}'. SQLite has one writing process: reach "
            "it over NATS instead (use --nats), or stop it first."
        ) from error
    os.set_inheritable(lock.fileno(), False)
    return lock


def _run_reads(connection: _Connection, jobs: Sequence[Job]) -> None:
    """Answer a batch of reads from one snapshot."""
    try:
        connection.execute("BEGIN")
        for job in jobs:
            if not job.is_abandoned:
                _attempt(connection, job)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        _fail_all(connection, jobs, error)


def _run_writes(connection: _Connection, jobs: Sequence[Job]) -> None:
    """Split a batch at the exclusive jobs and run each part."""
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


def _commit_together(connection: _Connection, jobs: Sequence[Job]) -> None:
    """Run writes in one transaction; one that fails takes back only its own part."""
    if not jobs:
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        _fail_all(connection, jobs, error)
        return
    try:
        for job in jobs:
            _attempt_within_savepoint(connection, job)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        _undo(connection)
        _part_company(connection, jobs, error)
        return
    if connection.on_commit is not None:
        connection.on_commit(len(jobs))


def _part_company(connection: _Connection, jobs: Sequence[Job], error: sqlite3.Error) -> None:
    """Find the job that cost the others their transaction by running each again, alone.

    SQLite undoes a whole transaction, savepoints and all, when it interrupts a write in it; and a
    deferred foreign key is only found broken by the commit.
    """
    if len(jobs) == 1:
        jobs[0].error = jobs[0].error or _translated(error)
        return
    for job in jobs:
        if job.error is None:
            _commit_together(connection, [job])


def _fail_all(connection: _Connection, jobs: Sequence[Job], error: sqlite3.Error) -> None:
    """The transaction is lost, and with it what its jobs had done."""
    _undo(connection)
    for job in jobs:
        job.error = job.error or UnavailableError(str(error))


def _attempt_within_savepoint(connection: _Connection, job: Job) -> None:
    connection.execute("SAVEPOINT request")
    _attempt(connection, job)
    if job.error is not None:
        connection.execute("ROLLBACK TO request")
    connection.execute("RELEASE request")


def _attempt(connection: _Connection, job: Job) -> None:
    try:
        job.value = connection.drive(job.work.operation, job.work.timeout)
    except Exception as error:  # noqa: BLE001 - handed to whoever awaits the job
        job.error = error


def _run_exclusive(connection: _Connection, job: Job) -> None:
    """Run a schema change alone.

    SQLite rewrites a table by dropping it, which would delete the rows that refer to it; foreign
    keys can only be switched off outside a transaction, and are checked before the commit.
    """
    try:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("BEGIN IMMEDIATE")
        job.value = connection.drive(job.work.operation, job.work.timeout)
        _check_foreign_keys(connection)
        connection.execute("COMMIT" if job.work.keep else "ROLLBACK")
    except Exception as error:  # noqa: BLE001 - handed to whoever awaits the job
        _undo(connection)
        job.error = _translated(error) if isinstance(error, sqlite3.Error) else error
    finally:
        connection.execute("PRAGMA foreign_keys=ON")


def _check_foreign_keys(connection: _Connection) -> None:
    broken = connection.raw.execute("PRAGMA foreign_key_check").fetchone()
    if broken is not None:
        raise ConstraintError(
            f"rows of {broken[0]} refer to rows of {broken[2]} that are not there",
            kind="foreign key",
            subject=str(broken[0]),
        )


def _undo(connection: _Connection) -> None:
    if connection.raw.in_transaction:
        connection.execute("ROLLBACK")


def _translated(error: Exception) -> EngineError:
    """Return a driver's error in words that do not depend on the driver."""
    text = str(error)
    name = getattr(error, "sqlite_errorname", "") or ""
    if isinstance(error, OverflowError) or "integer overflow" in text:
        return OutOfRangeError(text)
    if name in _CONSTRAINTS:
        _, _, subject = text.partition("constraint failed: ")
        return ConstraintError(text, kind=_CONSTRAINTS[name], subject=subject or None)
    if name == "SQLITE_INTERRUPT":
        return StatementTimeoutError(text)
    if any(part in name for part in _UNAVAILABLE):
        return UnavailableError(text)
    return EngineError(text)
