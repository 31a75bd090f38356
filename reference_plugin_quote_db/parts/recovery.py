"""Learns that a service which was given up is back, without waiting for the breaker's minute."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from dbservice.runtime.health import Unwell
from reference_plugin_quote_db.parts.breaker import CircuitBreaker, CircuitState

EVERY: Final = 1.0
"""Seconds between two questions."""


class Recovery:
    """Asks every second while a breaker is open, past it, and lets it try at once on an answer.

    Args:
        breaker: calls this when it opens.
        ask: asks the service; raises `Unwell` while it does not answer.
    """

    def __init__(self, breaker: CircuitBreaker, ask: Callable[[], Awaitable[None]]) -> None:
        self._breaker = breaker
        self._ask = ask
        self._asking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask whenever the breaker is open from now on."""
        self._breaker.on_open = self._begin

    async def stop(self) -> None:
        """Ask no more."""
        self._breaker.on_open = None
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def _begin(self) -> None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._until_it_answers())

    async def _until_it_answers(self) -> None:
        while self._breaker.state is CircuitState.OPEN:
            await asyncio.sleep(EVERY)
            try:
                await self._ask()
            except Unwell:
                continue
            self._breaker.half_open()
