"""Ways to a database connection: a queue with a thread of its own, or directly."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from dbservice.storage.errors import UnavailableError

C = TypeVar("C")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Job:
    """Something to do with a connection, and whoever waits for it.

    Attributes:
        work: what to do; what it means is the lane owner's business.
        future: resolved on its own event loop; None where the caller waits on the spot.
        value: the answer, once there is one.
        error: what went wrong instead.
    """

    work: Any
    future: asyncio.Future[Any] | None = None
    value: Any = None
    error: BaseException | None = None

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


class Lane(Protocol):
    """A way to one database connection."""

    @property
    def busy(self) -> int:
        """How many jobs were taken and not answered yet."""

    async def open(self) -> None:
        """Open the connection; raise what opening it raised."""

    async def close(self) -> None:
        """Finish what was taken, and close the connection."""

    async def do(self, work: Any) -> Any:
        """Do something with the connection and return its answer, or raise its error.

        Raises:
            UnavailableError: the lane is closed, or was never opened.
        """


class DirectLane(Generic[C]):
    """Works on the event loop's own thread, at once.

    Handing work to a thread and being woken again costs several times as much as looking up a
    row. So this is the lane for what takes microseconds, and for a database in memory.

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
        run: Callable[[C, Sequence[Job]], None],
    ) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._run = run
        self._connection: C | None = None

    @property
    def busy(self) -> int:
        """Always 0: a job is done before anybody could ask."""
        return 0

    async def open(self) -> None:
        """Open the connection; raise what opening it raised."""
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

    async def do(self, work: Any) -> Any:
        """Do the work and return its answer, or raise its error.

        Raises:
            UnavailableError: the lane is closed, or was never opened.
        """
        job = Job(work)
        self._run(self.connection, [job])
        if job.error is not None:
            raise job.error
        return job.value


class QueuedLane(Generic[C]):
    """A queue in front of one connection on a thread of its own.

    Jobs that wait while the thread is busy are handed over together, so that they can share a
    transaction; a lone job never waits for company.

    Args:
        name: the thread's name.
        connect: opens the connection; runs on the thread.
        disconnect: closes it; runs on the thread.
        run: works through a batch and leaves an outcome in each job.
        batch: how many jobs are handed over together at the most.
    """

    def __init__(
        self,
        name: str,
        *,
        connect: Callable[[], C],
        disconnect: Callable[[C], None],
        run: Callable[[C, Sequence[Job]], None],
        batch: int,
    ) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._run = run
        self._batch = batch
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._opened: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._takes_jobs = False
        self._taken = 0

    @property
    def busy(self) -> int:
        """How many jobs were taken and not answered yet."""
        return self._taken

    async def open(self) -> None:
        """Start the thread and its connection; raise what opening it raised."""
        loop = asyncio.get_running_loop()
        self._opened, self._closed = loop.create_future(), loop.create_future()
        self._thread.start()
        await self._opened
        self._takes_jobs = True

    async def close(self) -> None:
        """Finish every queued job, close the connection, end the thread."""
        if self._closed is None:
            return
        self._takes_jobs = False
        self._queue.put(None)
        await self._closed
        self._thread.join()

    async def do(self, work: Any) -> Any:
        """Queue a job and return its answer, or raise its error.

        Raises:
            UnavailableError: the lane is closed, or was never opened.
        """
        if not self._takes_jobs:
            raise UnavailableError("the database is closed")
        future = asyncio.get_running_loop().create_future()
        self._taken += 1
        try:
            self._queue.put(Job(work, future))
            return await future
        finally:
            self._taken -= 1

    def _work(self) -> None:
        assert self._opened is not None
        assert self._closed is not None
        try:
            connection = self._connect()
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits open()
            _call(self._opened, _fail, self._opened, error)
            _call(self._closed, _finish, self._closed)
            return
        _call(self._opened, _finish, self._opened)
        while jobs := self._take():
            self._attempt(connection, jobs)
            _deliver(jobs)
        try:
            self._disconnect(connection)
        except Exception:
            log.exception("closing the database connection failed")
        _call(self._closed, _finish, self._closed)

    def _attempt(self, connection: C, jobs: Sequence[Job]) -> None:
        """Run a batch; whatever happens, every waiter gets an answer and the thread lives on."""
        try:
            self._run(connection, jobs)
        except Exception as error:
            log.exception("a batch of %d jobs failed as a whole", len(jobs))
            for job in jobs:
                job.error = job.error or error

    def _take(self) -> list[Job]:
        """Return the jobs at hand, at least one; an empty list means that the lane closes."""
        first = self._queue.get()
        if first is None:
            return []
        jobs = [first]
        while len(jobs) < self._batch and not self._queue.empty():
            job = self._queue.get()
            if job is None:
                self._queue.put(None)
                break
            jobs.append(job)
        return jobs


def _deliver(jobs: Sequence[Job]) -> None:
    """Wake each event loop once for all of its jobs."""
    future = jobs[0].future
    assert future is not None, "a queued job has a waiter"
    try:
        future.get_loop().call_soon_threadsafe(_settle, jobs)
    except RuntimeError:
        log.warning("%d answers have no event loop left to go to", len(jobs))


def _settle(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()


def _call(future: asyncio.Future[None], function: Callable[..., None], *args: Any) -> None:
    try:
        future.get_loop().call_soon_threadsafe(function, *args)
    except RuntimeError:
        log.warning("the event loop ended before its database lane")


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
