"""Time that a test can move (SPEC 2.3, 5.1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time in seconds."""

    def time(self) -> float:
        """Return the present moment in seconds; Unix seconds where it is shown or kept."""


class SystemClock:
    """The machine's clock, or the one that `system_time()` has put in its place."""

    def time(self) -> float:
        """Return the present moment in Unix seconds."""
        return _source()


class SteadyClock:
    """Tells how long something took: it counts from any moment, and nobody can set it.

    The machine's clock jumps when it is set; what lasts a minute by it may then last hours. In the
    place of `SystemClock`, `system_time()` moves this one, too.
    """

    def time(self) -> float:
        """Return the present moment in seconds."""
        return time.monotonic() if _source is _machine else _source()


def _machine() -> float:
    # Looked up at each call, so that a test that replaces time.time is followed.
    return time.time()


_source: Callable[[], float] = _machine


@contextmanager
def system_time(source: Callable[[], float]) -> Generator[None]:
    """Let every `SystemClock` and `SteadyClock` of this process tell another time.

    Args:
        source: returns the present moment in Unix seconds.
    """
    global _source
    before, _source = _source, source
    try:
        yield
    finally:
        _source = before


class ManualClock:
    """A clock that stands still until it is told to advance.

    Args:
        start: the moment it shows at first, in Unix seconds; by default the present.
    """

    def __init__(self, start: float | None = None) -> None:
        self._now = time.time() if start is None else start

    def time(self) -> float:
        """Return the moment this clock shows, in Unix seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock forward.

        Raises:
            ValueError: if `seconds` is negative; time does not run backwards.
        """
        if seconds < 0:
            raise ValueError(f"a clock only moves forward, got {seconds} seconds")
        self._now += seconds


def timestamp(moment: float) -> str:
    """Return Unix seconds as ISO-8601 in UTC, in a form that sorts as text.

    For example `2026-11-21T22:42:22.000000Z`.
    """
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
