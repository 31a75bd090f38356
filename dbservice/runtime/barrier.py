"""Waits until a NATS server has read what a client has written."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Generator
from typing import Protocol


class Flushable(Protocol):
    """What is needed of a NATS client. nats-py's `Client` has it."""

    def flush(self) -> Awaitable[None]:
        """Ask the server for a PONG and wait for it."""


async def barrier(nats: Flushable) -> None:
    """Return when the server has read all that `nats` was told to send, subscriptions included.

    `flush()` alone does not do that: nats-py writes its PING at once, before what still waits to
    be written. Yielding first lets that go ahead.
    """
    await _turn()
    await nats.flush()


@types.coroutine
def _turn() -> Generator[None]:
    """Let the loop turn once, as asyncio.sleep(0) does where no test has replaced it."""
    yield
