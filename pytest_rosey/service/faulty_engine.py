"""An engine that is slow or fails, for the requests that come over the bus (SPEC 5.4)."""

# ruff: noqa: D102 - what the methods do is said in Engine
from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

from dbservice.engine.engine import Apart, Engine
from dbservice.engine.errors import UnavailableError
from dbservice.engine.steps import Steps

T = TypeVar("T")

_TRANSACTION = "a transaction"

_spared: ContextVar[bool] = ContextVar("rosey_spared", default=False)


@contextmanager
def spared() -> Iterator[None]:
    """Keep the faults of the database away: what fixtures do for a test is not to be hit."""
    token = _spared.set(True)
    try:
        yield
    finally:
        _spared.reset(token)


class FaultyEngine:
    """Another engine behind faults.

    Args:
        engine: the engine that does the work.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.dialect = engine.dialect
        self.apart: Apart | None = None
        self._failures: int | None = 0
        self._failed: list[str] = []
        self._seconds = 0.0
        self._slowed: list[str] = []
        self._quick_again = asyncio.Event()

    @property
    def busy(self) -> int:
        return self.engine.busy

    @property
    def waited(self) -> float:
        return self.engine.waited

    def fail(self, times: int | None, failed: list[str]) -> None:
        """Let the next transactions fail, or all if `times` is None; each is noted in `failed`."""
        self._failures, self._failed = times, failed

    def slow_down(self, seconds: float, slowed: list[str]) -> None:
        """Make each transaction take so much longer; those that wait already go on.

        Each is noted in `slowed`.
        """
        self._seconds, self._slowed = seconds, slowed
        self._quick_again.set()
        self._quick_again = asyncio.Event()

    async def open(self) -> None:
        await self.engine.open()

    async def close(self) -> None:
        await self.engine.close()

    async def read(self, operation: Callable[[], Steps[T]], **options: Any) -> T:
        await self._strike()
        return await self.engine.read(operation, **options)

    async def write(self, operation: Callable[[], Steps[T]], **options: Any) -> T:
        await self._strike()
        return await self.engine.write(operation, **options)

    async def exclusive(self, operation: Callable[[], Steps[T]], **options: Any) -> T:
        await self._strike()
        return await self.engine.exclusive(operation, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def _strike(self) -> None:
        if _spared.get():
            return
        if self._seconds:
            self._slowed.append(_TRANSACTION)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._quick_again.wait()
        if self._failures is None or len(self._failed) < self._failures:
            self._failed.append(_TRANSACTION)
            raise UnavailableError("nats_faults.fail_database() was asked for")
