"""Processes for work that has to be ended whatever it is in the middle of (SPEC 3.4).

SQLite looks at its clock between the instructions of its virtual machine, and one LIKE or instr()
is one instruction. A thread in it cannot be stopped; a process can be killed.

The service itself is never forked: a copy of an open connection would drop the file's locks when
it ends. It spawns one process, the template, which loads what workers need and opens nothing. A
worker is a fork of the template, so that one that was killed is replaced in milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from dbservice.engine.errors import StatementTimeoutError, UnavailableError
from dbservice.engine.orders import LENGTH, Way, framed

log = logging.getLogger(__name__)

GRACE: Final = 0.4
"""Seconds that a process has to stop by itself, before it is killed.

It counts the time that it works, and the machine may be busy: killed in haste, a scan of
milliseconds would be taken for a long one.
"""

_START_TIMEOUT: Final = 30.0
_END_TIMEOUT: Final = 5.0
_PAUSE: Final = 1.0
"""Seconds between two attempts to start a process that does not start."""

_BUFFER: Final = 1 << 20


class Template:
    """The process that workers are forked from.

    Args:
        program: its command line; it takes sockets from its standard input, one for each worker
            and with it the way that it works, and ends when that input does.
    """

    def __init__(self, program: Sequence[str]) -> None:
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket

    def fork(self, way: Way) -> socket.socket:
        """Have a worker made; return our end of its socket.

        Raises:
            OSError: no process can be started.
        """
        if self._process is None or self._process.poll() is not None:
            self._spawn()
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [way.encode()], [theirs.fileno()])
        ours.setblocking(False)
        return ours

    def end(self) -> None:
        """End the process; workers end when their sockets do."""
        if self._process is not None:
            self._control.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def _spawn(self) -> None:
        self.end()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - the service's own program
                self._program, stdin=theirs.fileno(), stdout=subprocess.DEVNULL
            )


class Worker:
    """One process, which answers one order after another.

    Args:
        process: a file descriptor that stands for the process.
        reader: its answers.
        writer: its orders. Both are blocks of bytes behind their length.
    """

    def __init__(
        self, process: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.is_sound = True
        """Whether it waits for the next order."""

    @classmethod
    async def start(cls, template: Template, way: Way) -> Worker:
        """Start a process and wait until it says that it is ready.

        Raises:
            UnavailableError: it does not.
        """
        try:
            ours = template.fork(way)
        except OSError as error:
            raise UnavailableError(f"no worker process can be started: {error}") from None
        reader, writer = await asyncio.open_connection(sock=ours, limit=_BUFFER)
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                return cls(os.pidfd_open(int(await _received(reader))), reader, writer)
        except (TimeoutError, OSError, EOFError) as error:
            writer.close()
            raise UnavailableError(f"a worker process did not start: {error}") from None
        except asyncio.CancelledError:
            writer.close()  # which ends it
            raise

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return bool(select.select([self._process], [], [], 0)[0])

    async def ask(self, order: bytes, seconds: float, grace: float = GRACE) -> bytes:
        """Return the answer to an order.

        Args:
            order: what to do.
            seconds: after which it should have stopped by itself.
            grace: seconds after which it is killed then.

        Raises:
            StatementTimeoutError: it was killed.
            UnavailableError: it ended.
        """
        self.is_sound = False
        try:
            async with asyncio.timeout(seconds + grace):
                self._writer.write(framed(order))
                answer = await _received(self._reader)
        except TimeoutError:
            self.kill()
            raise StatementTimeoutError(f"a worker process was killed after {seconds} s") from None
        except (OSError, EOFError):
            raise UnavailableError("a worker process ended in the middle of its work") from None
        except BaseException:
            self.kill()
            raise
        self.is_sound = True
        return answer

    def kill(self) -> None:
        """End the process at once."""
        self.is_sound = False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)

    async def end(self) -> None:
        """End the process, and return when it is gone."""
        self.kill()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
        await asyncio.to_thread(select.select, [self._process], [], [], _END_TIMEOUT)
        os.close(self._process)


class WorkerPool:
    """A few processes of one kind, started beforehand and replaced when one was killed.

    Args:
        template: what they are forked from.
        way: what they do.
        number: how many.
    """

    def __init__(self, template: Template, way: Way, number: int) -> None:
        self._template = template
        self._way = way
        self._number = number
        self._ready: asyncio.LifoQueue[Worker] = asyncio.LifoQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = False

    def open(self) -> None:
        """Start the processes, without waiting for them."""
        self._is_open = True
        for _ in range(self._number):
            self._start_one()

    async def close(self) -> None:
        """End the processes, whatever they do."""
        self._is_open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while not self._ready.empty():
            await self._ready.get_nowait().end()

    async def do(self, order: bytes, seconds: float) -> bytes:
        """Have a process do something; see `Worker.ask`."""
        async with self.worker() as worker:
            return await worker.ask(order, seconds)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """Lend a process that is ready; nobody else gives it orders meanwhile.

        Raises:
            UnavailableError: there is none, and none comes up in time.
        """
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while (worker := await self._ready.get()).has_ended:
                    self._start_one(instead_of=worker)
        except TimeoutError:
            raise UnavailableError("no worker process is there") from None
        try:
            yield worker
        finally:
            if worker.is_sound and self._is_open:
                self._ready.put_nowait(worker)
            else:
                worker.kill()
                self._start_one(instead_of=worker)

    def _start_one(self, instead_of: Worker | None = None) -> None:
        task = asyncio.create_task(self._started(instead_of), name="rosey-db worker")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _started(self, instead_of: Worker | None) -> None:
        if instead_of is not None:
            await instead_of.end()
        while self._is_open:
            try:
                worker = await Worker.start(self._template, self._way)
            except UnavailableError as error:
                log.error("%s; trying again in %g s", error, _PAUSE)  # noqa: TRY400
                await asyncio.sleep(_PAUSE)
            else:
                self._ready.put_nowait(worker)
                return


async def _received(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(LENGTH)))
