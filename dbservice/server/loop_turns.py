"""Who may hold the event loop next (SPEC 3.4)."""

from __future__ import annotations

import time
from asyncio import sleep  # a test may have replaced asyncio.sleep
from collections.abc import Callable
from typing import TypeVar

from dbservice.engine.turns import Places

T = TypeVar("T")


class LoopTurns:
    """Turns for what holds the event loop for milliseconds, as parsing what is long.

    One is taken at a time, plugins in turn, and all of them together get half of the loop's time.
    """

    def __init__(self) -> None:
        self._places = Places(1)

    async def run(self, turn: str, work: Callable[[], T]) -> T:
        """Do something when its turn has come, and wait for as long again as that has taken.

        Args:
            turn: whose, as admission counts it.
            work: holds the loop.
        """
        async with self._places.place(turn):
            began = time.perf_counter()
            await sleep(0)  # what others do meanwhile lengthens the pause, too
            try:
                return work()
            finally:
                await sleep(time.perf_counter() - began)
