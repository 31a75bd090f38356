"""Worker processes on a database file (SPEC 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from typing_extensions import override

from dbservice.engine.engine import Apart
from dbservice.engine.orders import COMMIT, Order, Way, reply_in
from dbservice.engine.sqlite_lanes import WriterLane
from dbservice.engine.turns import ScanTurns
from dbservice.engine.worker_pool import Template, WorkerPool

_GRACE: Final = 0.1
"""Seconds that a write has to stop by itself: all others wait."""

_COMMIT_TIMEOUT: Final = 30.0
"""Seconds that a disk may take; what became of the write after that, nobody knows."""


class SqliteApart(Apart):
    """Has scans run by a few processes, and writes that look for their rows by another one.

    Args:
        program: the command line of the template of workers.
        readers: how many processes read.
        turns: decides which read is next.
        writer: is kept from writing while the process writes.
        write_timeout: seconds that a write may take before it is committed.
        on_commit: told of every commit that one write was in it.
        check_files: raises FileGoneError if the file is not the one any more that was opened.
    """

    def __init__(
        self,
        program: Sequence[str],
        readers: int,
        *,
        turns: ScanTurns,
        writer: WriterLane,
        write_timeout: float,
        on_commit: Callable[[int], None] | None,
        check_files: Callable[[], None],
    ) -> None:
        self._turns = turns
        self._write_turns = ScanTurns(1, write_timeout)
        self._lane = writer
        self._on_commit = on_commit
        self._check_files = check_files
        self._template = Template(program)
        self._readers = WorkerPool(self._template, Way.READ, readers)
        self._writers = WorkerPool(self._template, Way.WRITE, 1)

    @property
    def busy(self) -> int:
        """How many operations run in a process or wait for one."""
        return self._turns.taken + self._write_turns.taken

    @property
    def waited(self) -> float:
        """For how many seconds the operation has waited that waits longest."""
        return max(self._turns.waited, self._write_turns.waited)

    def open(self) -> None:
        """Start the processes; the file is there."""
        self._readers.open()
        self._writers.open()

    async def close(self) -> None:
        """End the processes, whatever they do."""
        await self._writers.close()
        await self._readers.close()
        self._template.end()

    @override
    async def read(self, order: Order, turn: str) -> bytes:
        async def attempt(seconds: float) -> bytes:
            self._check_files()  # a process that opens the file now must find what is written
            return reply_in(await self._readers.do(order.within(seconds), seconds))

        return await self._turns.run(turn, attempt)

    async def write(self, order: Order, turn: str) -> bytes:
        """Have an operation run that writes; see Apart.

        It is committed in a second step, so that one that is killed has changed nothing.
        """

        async def attempt(seconds: float) -> bytes:
            async with self._writers.worker() as worker, self._lane.lent():
                self._check_files()
                reply = reply_in(await worker.ask(order.within(seconds), seconds, _GRACE))
                reply_in(await worker.ask(COMMIT, _COMMIT_TIMEOUT))
                self._check_files()
            return reply

        reply = await self._write_turns.run(turn, attempt)
        if self._on_commit is not None:
            self._on_commit(1)
        return reply
