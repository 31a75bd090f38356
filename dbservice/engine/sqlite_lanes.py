"""The two quick ways into a database file: reads of one snapshot, writes of one commit (SPEC 3.2).

Both work on the event loop as far as that holds nobody up: waking a thread and being woken by it
costs several times as much as looking up a row.
"""

# ruff: noqa: D102 - what the methods do is said in Lane
from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec.structs import replace

from dbservice.engine.errors import StatementTimeoutError, UnavailableError
from dbservice.engine.fair_queue import FairQueue
from dbservice.engine.lane import Job, LaneOnTheLoop, Workers, attempt
from dbservice.engine.sqlite_connection import Connection
from dbservice.engine.sqlite_errors import translated
from dbservice.engine.sqlite_transactions import commit, perform, run_writes

WRITE_BATCH: Final = 128

QUICK: Final = 0.02
"""Seconds that statements may hold the event loop."""

BRIEF: Final = 0.002
"""Seconds: a plugin whose newest write or quick read took longer has the next made on a thread."""

_QUICK_COMMIT: Final = 0.001
"""Seconds: where commits take longer, they are left to the thread."""

_ROUND: Final = 0.05
"""Seconds after which a round on the thread begins nothing more: the others' turn comes."""

_UNLIMITED: Final = float("inf")

_WRITE: Final = 0.001
"""Seconds that a write is counted for in the queue until it is known how long it takes."""

_PATIENCE: Final = 5_000
"""Milliseconds to wait for a file that another process has locked."""

_WEIGHT: Final = 0.1
"""Of the newest commit in the running mean of their seconds."""


class ReaderLane(LaneOnTheLoop[Connection]):
    """Answers reads on the event loop; those of one turn of the loop share a snapshot.

    The snapshot ends before anything that the turn scheduled: whoever learns of a commit reads
    it, because that news takes a turn of its own.

    Args:
        connect: opens the connection.
        disconnect: closes it.
    """

    async def close(self) -> None:
        """Close the connection."""
        self._end_snapshot()
        await super().close()

    async def do(self, work: Any) -> Any:
        connection = self.connection
        try:
            if not connection.raw.in_transaction:
                connection.begin()
                asyncio.get_running_loop().call_soon(self._end_snapshot)
        except sqlite3.Error as error:
            raise translated(error) from None
        return connection.drive(work.operation, work.timeout)

    def _end_snapshot(self) -> None:
        if self._connection is not None:
            self._connection.undo()  # nothing was written


class WriterLane:
    """Writes in rounds: what waits when a round begins shares its commit.

    The statements of quick writes run on the event loop; those of the others on a thread, and those
    of a plugin whose newest write took long for all that. So does the commit, which waits for the
    disk. Where commits have been quick, a write that is alone is made and committed on the spot:
    handing it over would take as long again.

    Args:
        name: the thread's name.
        connect: opens the connection.
        disconnect: closes it; runs on the thread.
    """

    def __init__(
        self,
        name: str,
        *,
        connect: Callable[[], Connection],
        disconnect: Callable[[Connection], None],
    ) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._worker = Workers(name)
        self._connection: Connection | None = None
        self._waiting: FairQueue[Job] = FairQueue(_WRITE)
        self._borrower: asyncio.Future[None] | None = None
        self._was_lent = False
        self._idle: asyncio.Event = asyncio.Event()
        self._commit_seconds = _QUICK_COMMIT
        self._slow: frozenset[str] = frozenset()
        self._taken = 0

    @property
    def busy(self) -> int:
        """How many jobs were taken and not answered yet."""
        return self._taken

    @property
    def waited(self) -> float:
        """For how many seconds the write has waited for its round that waits longest."""
        return self._waiting.waited

    async def open(self) -> None:
        self._connection = self._connect()
        self._idle.set()
        self._worker.start()

    async def close(self) -> None:
        """Finish what was taken, close the connection, end the thread."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        await self._idle.wait()
        closed = asyncio.Event()
        self._worker.submit(lambda: self._disconnect(connection), closed.set)
        await closed.wait()
        self._worker.stop()

    async def do(self, work: Any) -> Any:
        connection = self._connection
        if connection is None:
            raise UnavailableError("the database is closed")
        if work.alone and self._idle.is_set() and self._commits_are_quick:
            job = Job(work)
            if self._is_done_at_once(connection, job):
                self._note_slow([job])
                if job.error is not None:
                    raise job.error
                return job.value
            work = replace(work, quick=False)
        job = Job(work, asyncio.get_running_loop().create_future())
        assert job.future is not None
        self._waiting.put(work.plugin, job)
        self._wake(connection)
        self._taken += 1
        try:
            return await job.future
        finally:
            self._taken -= 1

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """Write nothing while the caller writes by other means; one caller at a time.

        Between two loans there is a round of what waits here, so that quick writes wait for one
        loan at the most.

        Raises:
            UnavailableError: the lane is closed, or was never opened.
        """
        connection = self._connection
        if connection is None:
            raise UnavailableError("the database is closed")
        turn = self._borrower = asyncio.get_running_loop().create_future()
        self._wake(connection)
        self._taken += 1
        try:
            await turn
            yield
        finally:
            self._taken -= 1
            self._borrower = None
            if turn.done() and not turn.cancelled():
                self._begin_round(connection)

    def _wake(self, connection: Connection) -> None:
        if self._idle.is_set():
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._begin_round, connection)

    @property
    def _commits_are_quick(self) -> bool:
        return self._commit_seconds < _QUICK_COMMIT

    def _is_done_at_once(self, connection: Connection, job: Job) -> bool:
        """Make a write and commit it; return whether it is over, or was undone."""
        if not self._perform_here(connection, [job]):
            return False
        try:
            self._timed_commit(connection, [job])
        except sqlite3.Error:
            self._forget(connection, [job])
            return False
        return True

    def _begin_round(self, connection: Connection) -> None:
        self._was_lent = not self._was_lent and self._lend()
        if self._was_lent:
            return
        jobs = self._next_jobs()
        if not jobs:
            if self._lend():
                self._was_lent = True
            else:
                self._idle.set()
            return
        performed = self._perform_here(connection, jobs)
        if not performed:
            self._hand_over(connection, jobs)
            return
        self._put_back(jobs[performed:])
        del jobs[performed:]
        self._worker.submit(
            lambda: attempt(self._commit, connection, jobs),
            lambda: self._end_round(connection, jobs),
        )

    def _end_round(self, connection: Connection, jobs: list[Job]) -> None:
        for job in jobs:
            self._waiting.charge(job.work.plugin, job.seconds)
            job.settle()
        self._note_slow(jobs)
        # Behind those who were just answered.
        asyncio.get_running_loop().call_soon(self._begin_round, connection)

    def _note_slow(self, jobs: Sequence[Job]) -> None:
        """Remember whose writes took long for all that keys find their rows, as long values do.

        The loop reads a few hundred kilobytes between two rounds. If each of them held it up for
        as long as it may, whoever asks for anything would wait for many rounds behind one request
        of a megabyte.
        """
        self._slow = frozenset(job.work.plugin for job in jobs if job.seconds > BRIEF)

    def _lend(self) -> bool:
        """Let the borrower write, if there is one."""
        if self._borrower is None or self._borrower.done():
            return False
        self._borrower.set_result(None)
        return True

    def _next_jobs(self) -> list[Job]:
        jobs: list[Job] = []
        while len(jobs) < WRITE_BATCH and (taken := self._waiting.take()) is not None:
            plugin, job = taken
            if job.is_abandoned:
                self._waiting.charge(plugin, 0)
            else:
                jobs.append(job)
        return jobs

    def _put_back(self, jobs: Sequence[Job]) -> None:
        for job in reversed(jobs):
            job.value = job.error = None
            self._waiting.put_back(job.work.plugin, job)

    def _perform_here(self, connection: Connection, jobs: list[Job]) -> int:
        """Run the statements of quick writes; return how many have only to be committed.

        That is none if one of them turns out not to be quick, or cannot be run now.
        """
        if not all(job.work.quick and job.work.plugin not in self._slow for job in jobs):
            return 0
        try:
            connection.begin("BEGIN IMMEDIATE")
            performed = perform(connection, jobs, time.monotonic() + QUICK, QUICK)
        except sqlite3.Error:
            performed = 0
        if performed and not any(isinstance(job.error, StatementTimeoutError) for job in jobs):
            return performed
        self._forget(connection, jobs)
        return 0

    def _hand_over(self, connection: Connection, jobs: list[Job]) -> None:
        """Have everything done on the thread, where it may wait for whatever it has to."""
        left: list[Job] = []

        def end() -> None:
            self._put_back(left)
            self._end_round(connection, jobs[: len(jobs) - len(left)])

        self._worker.submit(
            lambda: attempt(lambda *them: left.extend(_run_patiently(*them)), connection, jobs),
            end,
        )

    def _commit(self, connection: Connection, jobs: Sequence[Job]) -> None:
        try:
            self._timed_commit(connection, jobs)
        except sqlite3.Error:
            self._forget(connection, jobs)
            _run_patiently(connection, jobs, _UNLIMITED)

    def _timed_commit(self, connection: Connection, jobs: Sequence[Job]) -> None:
        started = time.perf_counter()
        if commit(connection, jobs):
            seconds = time.perf_counter() - started
            self._commit_seconds += _WEIGHT * (seconds - self._commit_seconds)

    @staticmethod
    def _forget(connection: Connection, jobs: Sequence[Job]) -> None:
        """Undo what was done, to do it again."""
        connection.undo()
        for job in jobs:
            job.value = job.error = None


def _run_patiently(
    connection: Connection, jobs: Sequence[Job], limit: float = _ROUND
) -> Sequence[Job]:
    """Run writes on the thread, waiting for a lock that another process may hold.

    Returns:
        Those that were not begun when the round had taken long enough.
    """
    connection.execute(f"PRAGMA busy_timeout={_PATIENCE}")
    try:
        return run_writes(connection, jobs, limit)
    finally:
        connection.execute("PRAGMA busy_timeout=0")
