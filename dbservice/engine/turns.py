"""Who may scan next: what can take long shares a few slots (SPEC 3.4)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from dbservice.engine.errors import StatementTimeoutError
from dbservice.engine.fair_queue import FairQueue

T = TypeVar("T")

SLICE: Final = 0.1
"""Seconds that a scan may take before it counts as a long one."""


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
        self._short: FairQueue[asyncio.Future[None]] = FairQueue()
        self._long: FairQueue[asyncio.Future[None]] = FairQueue()

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
        queue.charge(plugin, seconds)
        started = time.monotonic()
        try:
            return await attempt(seconds)
        finally:
            queue.charge(plugin, time.monotonic() - started - seconds)
            self._leave(queue)

    async def _enter(self, plugin: str, queue: FairQueue[asyncio.Future[None]]) -> None:
        if not queue and self._has_slot(queue):
            self._take(queue)
            return
        turn = asyncio.get_running_loop().create_future()
        queue.put(plugin, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(queue)  # the slot was handed over at the same moment
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
            _, turn = taken
            if not turn.done():
                self._take(queue)
                turn.set_result(None)
