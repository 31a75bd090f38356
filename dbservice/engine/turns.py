"""Who may scan next: what can take long shares a few slots (SPEC 3.4)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

from dbservice.engine.errors import StatementTimeoutError
from dbservice.engine.fair_queue import FairQueue

T = TypeVar("T")

SLICE: Final = 0.1
"""Seconds that a scan may take before it counts as a long one."""

_RESERVE: Final = 5
"""Of so many places, a plugin leaves one to the others."""


class Places:
    """A few places, in which plugins take turns; none alone holds them all.

    Args:
        number: how many there are.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._share = number - number // _RESERVE
        self._held: Counter[str] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    @property
    def waited(self) -> float:
        """For how many seconds has waited who waits longest."""
        return self._waiting.waited

    @asynccontextmanager
    async def place(self, plugin: str) -> AsyncIterator[None]:
        """Lend a place, and charge the plugin for the time."""
        await self.enter(plugin)
        started = time.monotonic()
        try:
            yield
        finally:
            self.leave(plugin, time.monotonic() - started)

    async def enter(self, plugin: str) -> None:
        """Wait for a place, which is taken until it is left."""
        if self._free and self._may(plugin):
            self._waiting.begin(plugin)
            self._take(plugin)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.put(plugin, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was handed over at the same moment
                self.leave(plugin, 0.0)
            raise

    def leave(self, plugin: str, seconds: float) -> None:
        """Give a place back.

        Args:
            plugin: who had it.
            seconds: what the plugin is charged for.
        """
        self._waiting.charge(plugin, seconds)
        self._free += 1
        self._held[plugin] -= 1
        if not self._held[plugin]:
            del self._held[plugin]
        while self._free and (taken := self._waiting.take(self._may)) is not None:
            turn_of, turn = taken
            if turn.done():
                self._waiting.charge(turn_of, 0)
            else:
                self._take(turn_of)
                turn.set_result(None)
        if not self._held:
            self._idle.set()

    async def all_free(self) -> None:
        """Wait until nobody has a place or waits for one."""
        await self._idle.wait()

    def _take(self, plugin: str) -> None:
        self._idle.clear()
        self._free -= 1
        self._held[plugin] += 1

    def _may(self, plugin: str) -> bool:
        return self._held[plugin] < self._share


class ScanTurns:
    """Slots for scans: plugins share their time, and short scans do not wait behind long ones.

    How long a scan takes is known when it is over. So each begins with a slice of time; one that
    needs more is stopped, waits among the long ones and is begun again. Long ones leave one slot
    to the others, so that a scan of milliseconds waits for a few slices and never for a scan of
    seconds. This is a multilevel feedback queue of two levels.

    Args:
        slots: how many scans run at a time; with less than two, short ones wait for long ones.
        timeout: seconds that a long one may take.

    Attributes:
        taken: how many scans run or wait.
    """

    def __init__(self, slots: int, timeout: float) -> None:
        self._timeout = timeout
        self._free = slots
        self._free_for_long = max(1, slots - 1)
        self._idle = asyncio.Event()
        self._idle.set()
        self.taken = 0
        self._short: FairQueue[asyncio.Future[None]] = FairQueue(SLICE)
        self._long: FairQueue[asyncio.Future[None]] = FairQueue(timeout)

    @property
    def waited(self) -> float:
        """For how many seconds the scan has waited that waits longest."""
        return max(self._short.waited, self._long.waited)

    async def run(
        self, plugin: str, attempt: Callable[[float], Awaitable[T]], *, tried: bool = True
    ) -> T:
        """Run a scan when its turn has come, and again if it turns out to be a long one.

        Args:
            plugin: whose it is.
            attempt: does it within so many seconds, else raises StatementTimeoutError.
            tried: within a slice at first; False for what should not be begun twice.

        Raises:
            StatementTimeoutError: a long one took longer than it may.
        """
        self.taken += 1
        self._idle.clear()
        try:
            if tried and self._timeout > SLICE:
                with suppress(StatementTimeoutError):
                    return await self._in_slot(plugin, self._short, attempt, SLICE)
            return await self._in_slot(plugin, self._long, attempt, self._timeout)
        finally:
            self.taken -= 1
            if not self.taken:
                self._idle.set()

    async def finished(self) -> None:
        """Wait until no scan runs or waits."""
        await self._idle.wait()

    async def _in_slot(
        self,
        plugin: str,
        queue: FairQueue[asyncio.Future[None]],
        attempt: Callable[[float], Awaitable[T]],
        seconds: float,
    ) -> T:
        await self._enter(plugin, queue)
        started = time.monotonic()
        try:
            return await attempt(seconds)
        finally:
            queue.charge(plugin, time.monotonic() - started)
            self._leave(queue)

    async def _enter(self, plugin: str, queue: FairQueue[asyncio.Future[None]]) -> None:
        if not queue and self._has_slot(queue):
            queue.begin(plugin)
            self._take(queue)
            return
        turn = asyncio.get_running_loop().create_future()
        queue.put(plugin, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was handed over at the same moment
                queue.charge(plugin, 0)
                self._leave(queue)
            raise

    def _has_slot(self, queue: FairQueue[asyncio.Future[None]]) -> bool:
        return self._free > 0 and (queue is self._short or self._free_for_long > 0)

    def _take(self, queue: FairQueue[asyncio.Future[None]]) -> None:
        self._free -= 1
        if queue is self._long:
            self._free_for_long -= 1

    def _leave(self, queue: FairQueue[asyncio.Future[None]]) -> None:
        self._free += 1
        if queue is self._long:
            self._free_for_long += 1
        self._hand_over(self._short)
        self._hand_over(self._long)

    def _hand_over(self, queue: FairQueue[asyncio.Future[None]]) -> None:
        while self._has_slot(queue) and (taken := queue.take()) is not None:
            turn_of, turn = taken
            if turn.done():
                queue.charge(turn_of, 0)
            else:
                self._take(queue)
                turn.set_result(None)
