"""Who may hold the event loop next (SPEC 3.4)."""

from __future__ import annotations

import time
from asyncio import get_running_loop, sleep  # a test may have replaced asyncio.sleep
from collections.abc import Callable
from typing import Final, TypeVar

from dbservice.engine.turns import Places

T = TypeVar("T")


_PAUSE: Final = 3
"""How many times as long as the loop was held it is left to the others."""


class LoopTurns:
    """Turns for what holds the event loop for milliseconds, as parsing what is long.

    One is taken at a time, plugins in turn, and all of them together get a quarter of the loop's
    time.

    Args:
        least: seconds of the shortest pause between two of them.
    """

    def __init__(self, least: float = 0.0) -> None:
        self._places = Places(1)
        self._least = least

    async def run(self, turn: str, work: Callable[[], T]) -> T:
        """Do something when its turn has come; the next turn comes after a pause.

        The pause is for who waits for the loop: who was served does not wait for it.

        Args:
            turn: whose, as admission counts it.
            work: holds the loop.
        """
        await self._places.enter(turn)
        began = time.perf_counter()
        try:
            await sleep(0)  # what others do meanwhile lengthens the pause, too
            return work()
        finally:
            held = time.perf_counter() - began
            pause = max(self._least, _PAUSE * held)
            get_running_loop().call_later(pause, self._places.leave, turn, held)
