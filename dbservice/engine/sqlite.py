"""The SQLite engine: one writer with group commit, readers beside it (SPEC 3.1 to 3.4).

On a file, writes that wait together share one transaction, a savepoint each, and one fsync; each
is acknowledged after the shared commit. Readers have connections of their own, so that neither a
long search nor a write holds up a quick read, which is answered on the event loop itself. A
database in memory is one connection, used on the event loop.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

import sqlalchemy as sa
from typing_extensions import override

from dbservice.engine.engine import Engine
from dbservice.engine.errors import FileGoneError, StatementTimeoutError, UnavailableError
from dbservice.engine.held_file import HeldFile
from dbservice.engine.lane import DirectLane, Lane, ThreadLane
from dbservice.engine.sqlite_apart import SqliteApart
from dbservice.engine.sqlite_connection import OPTIONS, Connection, prepared
from dbservice.engine.sqlite_lanes import BRIEF, QUICK, ReaderLane, WriterLane
from dbservice.engine.sqlite_transactions import Work, run_reads, run_writes
from dbservice.engine.steps import Steps, T
from dbservice.engine.turns import ScanTurns
from dbservice.protocol.limits import STATEMENT_TIMEOUT, WRITE_TIMEOUT
from dbservice.sqltext.dialects import Dialect

_UNLIMITED: Final = float("inf")

SCANNERS: Final = max(2, min(4, (os.cpu_count() or 1) // 2))
"""Threads for searches: one that takes seconds leaves room for the others."""


class SqliteEngine(Engine):
    """A SQLite database, in memory or in a file.

    Args:
        url: `sqlite+aiosqlite:///file.db`, `sqlite:///file.db`, or with no path for memory.
        statement_timeout: seconds after which a statement is interrupted.
        write_timeout: seconds that a plugin's statements may hold the writer of a file.
        workers: how many processes read a file beside this one; 0 for none, and none that writes.
        worker: the command line of their template, up to the path of the file.
        on_commit: told, on the writer's thread, how many writes shared each commit.

    A file is opened by one process at a time: the second is refused with UnavailableError.
    """

    dialect = Dialect.SQLITE

    def __init__(
        self,
        url: str | sa.URL,
        *,
        statement_timeout: float = STATEMENT_TIMEOUT,
        write_timeout: float = WRITE_TIMEOUT,
        workers: int = 0,
        worker: Sequence[str] = (),
        on_commit: Callable[[int], None] | None = None,
    ) -> None:
        self.url = sa.make_url(url).set(drivername="sqlite")
        self.path = None if self.url.database in (None, "", ":memory:") else self.url.database
        self._identity = uuid4().hex
        self._timeout = statement_timeout
        self._on_commit = on_commit
        self._file: HeldFile | None = None
        self._writer: Lane
        self._reader: Lane
        self._scanner: Lane
        self._write_timeout = statement_timeout
        self._turns = ScanTurns(SCANNERS, statement_timeout)
        self._slow: set[str] = set()
        self.apart: SqliteApart | None = None
        if self.path is None:
            self._writer = self._reader = self._scanner = DirectLane(
                connect=self._connect_writer, disconnect=_disconnect, run=run_writes
            )
            return
        self._write_timeout = min(write_timeout, statement_timeout)
        writer = self._writer = WriterLane(
            "rosey-db-writer", connect=self._connect_writer, disconnect=_disconnect
        )
        self._reader = ReaderLane(connect=self._connect_reader, disconnect=_disconnect)
        self._scanner = ThreadLane(
            "rosey-db-scanner",
            connect=self._connect_scanner,
            disconnect=_disconnect,
            run=run_reads,
            number=SCANNERS,
        )
        if workers:
            self.apart = SqliteApart(
                (*worker, self.path),
                workers,
                turns=ScanTurns(workers, statement_timeout),
                writer=writer,
                write_timeout=self._write_timeout,
                on_commit=on_commit,
                check_files=self._check_files,
            )

    @property
    @override
    def busy(self) -> int:
        apart = 0 if self.apart is None else self.apart.busy
        return self._writer.busy + self._reader.busy + self._turns.taken + apart

    @property
    @override
    def waited(self) -> float:
        apart = 0.0 if self.apart is None else self.apart.waited
        return max(self._turns.waited, self._writer.waited, apart)

    async def identity(self) -> str:
        """Return what no other service says; see Engine.identity.

        One process holds a file at a time, so whoever else answers serves another one.
        """
        return self._identity

    async def open(self) -> None:
        """Take the file for this process and connect.

        Raises:
            UnavailableError: the file cannot be opened, or another process holds it.
        """
        if self.path is not None:
            self._file = HeldFile(Path(self.path))
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
        if self.apart is not None:
            self.apart.open()

    async def close(self) -> None:
        """Finish what has been taken, then close the file and let go of it."""
        if self.apart is not None:
            await self.apart.close()
        await self._turns.finished()
        for lane in reversed(self._lanes()):
            await lane.close()
        self._release_file()

    @override
    async def check_writable(self) -> None:
        self._check_files()
        full = None if self._file is None else self._file.takes_no_more()
        if full is not None:
            raise full

    @override
    async def read(
        self, operation: Callable[[], Steps[T]], *, scan: bool = False, plugin: str = ""
    ) -> T:
        if self._reader is self._scanner:
            return await self._scan(operation, self._timeout)
        if not scan:
            operation = self._watched(operation, plugin)
            if plugin not in self._slow:
                # What turns out not to be quick starts anew where it holds nobody up.
                with suppress(StatementTimeoutError):
                    quick: T = await self._reader.do(Work(operation, QUICK))
                    return quick
        return await self._turns.run(plugin, lambda seconds: self._scan(operation, seconds))

    def _watched(self, operation: Callable[[], Steps[T]], plugin: str) -> Callable[[], Steps[T]]:
        """Remember whose reads took long for all that they are held to be quick.

        One of some milliseconds holds nobody up. Dozens of them, one after another, do.
        """

        def steps() -> Steps[T]:
            began = time.thread_time()
            try:
                return (yield from operation())
            finally:
                if plugin and time.thread_time() - began > BRIEF:
                    self._slow.add(plugin)
                else:
                    self._slow.discard(plugin)

        return steps

    async def _scan(self, operation: Callable[[], Steps[T]], seconds: float) -> T:
        answer: T = await self._scanner.do(Work(operation, seconds))
        return answer

    @override
    async def write(
        self,
        operation: Callable[[], Steps[T]],
        *,
        quick: bool = False,
        scan: bool = False,
        alone: bool = False,
        plugin: str = "",
    ) -> T:
        timeout = self._write_timeout if plugin else self._timeout
        work = Work(operation, timeout, quick=quick, alone=alone, plugin=plugin)
        answer: T = await self._writer.do(work)
        return answer

    @override
    async def exclusive(
        self,
        operation: Callable[[], Steps[T]],
        *,
        keep: bool = True,
        checks_references: bool = True,
        plugin: str = "",
    ) -> T:
        work = Work(
            operation,
            self._write_timeout if plugin else _UNLIMITED,
            exclusive=True,
            keep=keep,
            checks_references=checks_references,
            plugin=plugin,
        )
        answer: T = await self._writer.do(work)
        return answer

    @property
    def can_be_copied(self) -> bool:
        """Whether it has `snapshot` and `restore`: in memory, by an SQLite that has them."""
        return self.path is None and hasattr(sqlite3.Connection, "serialize")

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
        connection: Connection = self._writer.connection
        return connection.raw

    def _lanes(self) -> list[Lane]:
        # The writer comes first: it makes a new file a WAL file, which readers cannot.
        return list(dict.fromkeys((self._writer, self._reader, self._scanner)))

    def _connect_writer(self) -> Connection:
        connection = self._connect()
        connection.execute("PRAGMA busy_timeout=0")
        # A write is told from a long one by what it does, not by how busy the machine is.
        connection.clock = time.thread_time
        connection.missed = self._missed
        return connection

    def _connect_reader(self) -> Connection:
        connection = self._connect()
        connection.execute("PRAGMA query_only=ON")
        return connection

    def _connect_scanner(self) -> Connection:
        connection = self._connect_reader()
        # A long scan is told from a short one likewise; but a slow disk shall not keep a thread.
        connection.clock, connection.patience = time.thread_time, self._timeout
        return connection

    def _connect(self) -> Connection:
        return prepared(sqlite3.connect(self.path or ":memory:", **OPTIONS), self._on_commit)

    def _release_file(self) -> None:
        if self._file is not None:
            self._file.release()
            self._file = None

    def _check_files(self) -> None:
        missed = None if self._file is None else self._file.missed(by_others=True)
        if missed is not None:
            raise missed

    def _missed(self) -> FileGoneError | None:
        return None if self._file is None else self._file.missed()


def _disconnect(connection: Connection) -> None:
    connection.raw.close()
