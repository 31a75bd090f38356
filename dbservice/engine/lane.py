"""Ways to a database connection: a queue with a thread of its own, or directly."""

# ruff: noqa: D102 - what the methods do is said in Lane
from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from dbservice.engine.errors import UnavailableError

C = TypeVar("C")

_Order = tuple[Callable[[], None], Callable[[], None]]

log = logging.getLogger(__name__)


class Job(msgspec.Struct):
    """Something to do with a connection, and whoever waits for it.

    Attributes:
        work: what to do; what it means is the lane owner's business.
        future: resolved on its own event loop; None where the caller waits on the spot.
        value: the answer, once there is one.
        error: what went wrong instead.
        seconds: how long it has had the connection.
    """

    work: Any
    future: asyncio.Future[Any] | None = None
    value: Any = None
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future is not None and self.future.cancelled()

    def settle(self) -> None:
        """Hand the outcome to the waiter. Runs on the waiter's event loop."""
        if self.future is None or self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.value)
        else:
            self.future.set_exception(self.error)


def attempt(run: Callable[[C, Sequence[Job]], object], connection: C, jobs: Sequence[Job]) -> None:
    """Run jobs; whatever happens, each has an outcome afterwards."""
    try:
        run(connection, jobs)
    except Exception as error:
        log.exception("%d jobs failed as a whole", len(jobs))
        for job in jobs:
            job.error = job.error or error


class Lane(Protocol):
    """A way to one database connection."""

    @property
    def busy(self) -> int:
        """How many jobs were taken and not answered yet."""

    @property
    def waited(self) -> float:
        """For how many seconds the job has waited for its turn that waits longest."""

    async def open(self) -> None:
        """Open the connection; raise what opening it raised."""

    async def close(self) -> None:
        """Finish what was taken, and close the connection."""

    async def do(self, work: Any) -> Any:
        """Do something with the connection and return its answer, or raise its error.

        Raises:
            UnavailableError: the lane is closed, or was never opened.
        """


class LaneOnTheLoop(Generic[C]):
    """Works on the event loop's own thread, at once.

    Handing work to a thread and being woken again costs several times as much as looking up a
    row. So these are the lanes for what takes microseconds, and for a database in memory.

    Args:
        connect: opens the connection.
        disconnect: closes it.
    """

    def __init__(self, *, connect: Callable[[], C], disconnect: Callable[[C], None]) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._connection: C | None = None

    @property
    def busy(self) -> int:
        """Always 0: a job is done before anybody could ask."""
        return 0

    @property
    def waited(self) -> float:
        """Always 0, too."""
        return 0.0

    async def open(self) -> None:
        self._connection = self._connect()

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._disconnect(self._connection)
            self._connection = None

    @property
    def connection(self) -> C:
        """The open connection. Raises UnavailableError if the lane is closed."""
        if self._connection is None:
            raise UnavailableError("the database is closed")
        return self._connection


class DirectLane(LaneOnTheLoop[C]):
    """Does one job after the other, each by itself.

    Args:
        connect: opens the connection.
        disconnect: closes it.
        run: does the jobs of a list and leaves an outcome in each.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], C],
        disconnect: Callable[[C], None],
        run: Callable[[C, Sequence[Job]], object],
    ) -> None:
        super().__init__(connect=connect, disconnect=disconnect)
        self._run = run

    async def do(self, work: Any) -> Any:
        job = Job(work)
        self._run(self.connection, [job])
        if job.error is not None:
            raise job.error
        return job.value


class Workers:
    """Threads that are handed one thing after another to do.

    Args:
        name: the threads' name.
        number: how many.
    """

    def __init__(self, name: str, number: int = 1) -> None:
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=name, daemon=True) for _ in range(number)
        ]
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Start the threads; `then` of what is submitted runs on the event loop of this moment."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[[], None], then: Callable[[], None]) -> None:
        """Run a function on a thread and, whatever became of it, another one on the loop.

        Args:
            function: keeps its outcome, and its errors, to itself.
            then: runs on the event loop afterwards.
        """
        self._orders.put((function, then))

    def stop(self) -> None:
        """End the threads, once they have done what was submitted."""
        for _ in self._threads:
            self._orders.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            function, then = order
            try:
                function()
            except Exception:
                log.exception("%s failed", threading.current_thread().name)
            try:
                self._loop.call_soon_threadsafe(then)
            except RuntimeError:
                log.warning("a database thread has no event loop left to answer to")


class ThreadLane(Generic[C]):
    """A queue in front of a few connections, each job on a thread.

    Args:
        name: the threads' name.
        connect: opens a connection.
        disconnect: closes one.
        run: does the jobs of a list and leaves an outcome in each.
        number: of threads and connections.
    """

    def __init__(
        self,
        name: str,
        *,
        connect: Callable[[], C],
        disconnect: Callable[[C], None],
        run: Callable[[C, Sequence[Job]], object],
        number: int,
    ) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._run = run
        self._number = number
        self._workers = Workers(name, number)
        self._free: list[C] = []
        self._is_open = False
        self._idle = asyncio.Event()
        self._taken = 0

    @property
    def busy(self) -> int:
        """How many jobs were taken and not answered yet."""
        return self._taken

    @property
    def waited(self) -> float:
        """Always 0: whoever uses the lane takes turns before."""
        return 0.0

    async def open(self) -> None:
        try:
            for _ in range(self._number):
                self._free.append(self._connect())
        except BaseException:
            self._disconnect_all()
            raise
        self._workers.start()
        self._idle.set()
        self._is_open = True

    async def close(self) -> None:
        """Finish every queued job, close the connections, end the threads."""
        if not self._is_open:
            return
        self._is_open = False
        await self._idle.wait()
        self._workers.stop()
        self._disconnect_all()

    async def do(self, work: Any) -> Any:
        if not self._is_open:
            raise UnavailableError("the database is closed")
        job = Job(work, asyncio.get_running_loop().create_future())
        assert job.future is not None
        self._taken += 1
        self._idle.clear()
        self._workers.submit(lambda: self._attempt(job), lambda: self._done(job))
        return await job.future

    def _attempt(self, job: Job) -> None:
        connection = self._free.pop()  # there are as many as threads
        try:
            attempt(self._run, connection, [job])
        finally:
            self._free.append(connection)

    def _done(self, job: Job) -> None:
        self._taken -= 1
        if not self._taken:
            self._idle.set()
        job.settle()

    def _disconnect_all(self) -> None:
        while self._free:
            self._disconnect(self._free.pop())
