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
    """

    def __init__(self) -> None:
        self._places = Places(1)

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
            get_running_loop().call_later(_PAUSE * held, self._places.leave, turn, held)
