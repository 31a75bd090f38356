"""How much memory a PostgreSQL backend takes, and what ends one that takes too much (SPEC 3.4).

PostgreSQL has no limit for it: `work_mem` binds sorts and hashes, and nothing binds what an
aggregate like `string_agg` builds, or a text that a recursion doubles. So the service looks at
its backends while they scan, where the server runs on this machine. Elsewhere the server's own
limits have to do, as those of its cgroup.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dbservice.engine.errors import EngineError

MOST: Final = 256 * 1024 * 1024
"""Bytes that a backend may have for itself."""

_INTERVAL: Final = 0.02
"""Seconds between two looks: a backend can take a megabyte each millisecond."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(eq=False, slots=True)
class Look:
    """A backend that is looked at.

    Attributes:
        process: its number.
        has_ended: it took too much memory, and was ended.
    """

    process: int
    has_ended: bool = False


class MemoryWatch:
    """Looks at backends while they work.

    Args:
        end: ends one, by the number of its process.
    """

    def __init__(self, end: Callable[[int], Awaitable[object]]) -> None:
        self._end = end
        self._looks: set[Look] = set()
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def over(self, process: int) -> Iterator[Look]:
        """Look at a backend meanwhile."""
        look = Look(process)
        self._looks.add(look)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="rosey-db memory")
        try:
            yield look
        finally:
            self._looks.discard(look)

    async def close(self) -> None:
        """Look no longer."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        while self._looks:
            await asyncio.sleep(_INTERVAL)
            for look in [each for each in self._looks if taken(each.process) > MOST]:
                look.has_ended = True
                with suppress(EngineError):  # it may be gone by itself
                    await self._end(look.process)
        self._looking = None


def taken(process: int) -> int:
    """Return how many bytes a backend has for itself; 0 for one that is not on this machine."""
    place = Path("/proc", str(process))
    try:
        if not (place / "cmdline").read_bytes().startswith(b"postgres"):
            return 0
        _, resident, shared, *_ = (place / "statm").read_text().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * _PAGE
