"""Who is served next, who waits, and who is turned away (SPEC 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar
from zlib import crc32

import msgspec

from dbservice.engine.fair_queue import FairQueue
from dbservice.protocol.names import Namespace
from dbservice.storage.database import NEWCOMERS

T = TypeVar("T")

NOBODY: Final = ""
"""Stands for the plugin of a request that names none."""

_NEWCOMERS: Final = 16

_RESERVE: Final = 8


class Limits(NamedTuple):
    """How much is taken at a time.

    Attributes:
        in_flight: requests that are served.
        queued: requests that wait.
        size: bytes of all of them together.
        plugin_size: bytes of those of one plugin.
    """

    in_flight: int
    queued: int
    size: int
    plugin_size: int


class Admission(Generic[T]):
    """Starts requests up to a limit and keeps the rest waiting, in a queue for each plugin.

    Free places go round the plugins that wait, one request each. One plugin alone never holds
    all places: an eighth of them is left to the others, so that a plugin whose requests are slow
    does not hold up one whose requests are quick; all who own no namespace yet leave a sixteenth,
    together. When the waiting room is full, the plugin with the longest queue gives way; when
    the bytes are used up, the one that has most of them waiting.

    It does no I/O and knows no event loop. Not thread-safe.

    Args:
        limits: how much it takes.
        start: called with a plugin and its request when its turn has come; `finished` has to be
            called once it is done.

    Attributes:
        active: how many requests are being served.
    """

    def __init__(self, limits: Limits, start: Callable[[str, T], None]) -> None:
        self._limits = limits
        self._start = start
        reserve = limits.in_flight // _RESERVE
        self._share = limits.in_flight - reserve
        self._newcomers_share = limits.in_flight - reserve // 2
        self._queue: FairQueue[tuple[T, int]] = FairQueue()
        self._taken: dict[str, _Taken] = {}
        self._size = 0
        self._newcomers = 0
        self.active = 0

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    @property
    def waited(self) -> float:
        """For how many seconds the request has waited that waits longest."""
        return self._queue.waited

    @property
    def is_full(self) -> bool:
        """Whether no further request can wait."""
        return len(self._queue) >= self._limits.queued or self._size >= self._limits.size

    def offer(self, plugin: str, request: T, size: int) -> list[T]:
        """Start a request or let it wait; return those that have to be turned away.

        Args:
            plugin: whose it is.
            request: what `start` is given.
            size: its bytes; no request has none.
        """
        limits = self._limits
        taken = self._taken.get(plugin) or _Taken()
        if taken.size + size > limits.plugin_size:
            return [request]
        refused: list[T] = []
        if self._size + size > limits.size:
            refused = self._make_room(taken.size + size, size)
            if self._size + size > limits.size:
                return [*refused, request]
        if self.active < limits.in_flight and self._has_place(plugin, taken):
            self._hold(plugin, taken, size)
            self._begin(plugin, taken, request)
            return refused
        if len(self._queue) >= limits.queued:
            longest = self._queue.longest
            if longest is None or self._queue.waiting(longest) <= self._queue.waiting(plugin) + 1:
                return [*refused, request]
            refused.append(self._drop_newest(longest))
        self._hold(plugin, taken, size)
        taken.waiting += size
        self._queue.put(plugin, (request, size))
        return refused

    def finished(self, plugin: str, size: int) -> None:
        """Give back the place of a plugin's request, and start the one whose turn it is."""
        self.active -= 1
        self._newcomers -= _is_newcomer(plugin)
        self._taken[plugin].serving -= 1
        self._release(plugin, size)
        if self._queue and (drawn := self._queue.take(self._may_begin)) is not None:
            turn, (request, waited_size) = drawn
            self._queue.charge(turn, 1)
            taken = self._taken[turn]
            taken.waiting -= waited_size
            self._begin(turn, taken, request)

    def dismiss(self) -> list[T]:
        """Empty the queues and return who was waiting in them."""
        for plugin, taken in list(self._taken.items()):
            size, taken.waiting = taken.waiting, 0
            self._release(plugin, size)
        return [request for request, _ in self._queue.clear()]

    def _may_begin(self, plugin: str) -> bool:
        return self._has_place(plugin, self._taken[plugin])

    def _has_place(self, plugin: str, taken: _Taken) -> bool:
        if _is_newcomer(plugin) and self._newcomers >= self._newcomers_share:
            return False
        return taken.serving < self._share

    def _begin(self, plugin: str, taken: _Taken, request: T) -> None:
        self.active += 1
        self._newcomers += _is_newcomer(plugin)
        taken.serving += 1
        self._start(plugin, request)

    def _make_room(self, held: int, size: int) -> list[T]:
        """Turn away what waits of those who have more waiting than somebody has in all."""
        refused: list[T] = []
        while self._size + size > self._limits.size and self._taken:
            largest = max(self._taken, key=lambda plugin: self._taken[plugin].waiting)
            if self._taken[largest].waiting <= held:
                break
            refused.append(self._drop_newest(largest))
        return refused

    def _drop_newest(self, plugin: str) -> T:
        request, size = self._queue.drop_newest(plugin)
        self._taken[plugin].waiting -= size
        self._release(plugin, size)
        return request

    def _hold(self, plugin: str, taken: _Taken, size: int) -> None:
        self._size += size
        taken.size += size
        self._taken[plugin] = taken

    def _release(self, plugin: str, size: int) -> None:
        taken = self._taken[plugin]
        self._size -= size
        taken.size -= size
        if not taken.size:
            del self._taken[plugin]


def newcomers_with(namespace: Namespace) -> str:
    """Return what stands for a plugin that owns no namespace yet, and a sixteenth of all others."""
    return f"{NEWCOMERS}{crc32(namespace.prefix.encode()) % _NEWCOMERS}"


def _is_newcomer(plugin: str) -> bool:
    return plugin.startswith(NEWCOMERS)


class _Taken(msgspec.Struct):
    """What one plugin has here.

    Attributes:
        serving: requests that are being served.
        size: bytes of all its requests.
        waiting: bytes of those that wait.
    """

    serving: int = 0
    size: int = 0
    waiting: int = 0
