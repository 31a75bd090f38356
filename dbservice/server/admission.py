"""Who is served next, who waits, and who is turned away (SPEC 3.4)."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_RESERVE = 8


class Admission(Generic[T]):
    """Starts requests up to a limit and keeps the rest waiting, in a queue for each plugin.

    Free places go round the plugins that wait, one request each. One plugin alone never holds
    all places: an eighth of them is left to the others, so that a plugin whose requests are slow
    does not hold up one whose requests are quick. When the waiting room is full, the plugin with
    the longest queue gives way.

    It does no I/O and knows no event loop. Not thread-safe.

    Args:
        in_flight: how many requests are served at a time.
        queued: how many wait at the most.
        start: called with a plugin and its request when its turn has come; `finished` has to be
            called once it is done.

    Attributes:
        active: how many requests are being served.
        waiting: how many wait.
    """

    def __init__(self, in_flight: int, queued: int, start: Callable[[str, T], None]) -> None:
        self._in_flight = in_flight
        self._queued = queued
        self._start = start
        self._share = in_flight - in_flight // _RESERVE
        self._serving: dict[str, int] = {}
        self._queues: OrderedDict[str, deque[T]] = OrderedDict()
        self.active = 0
        self.waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether no further request can wait."""
        return self.waiting >= self._queued

    def offer(self, plugin: str, request: T) -> T | None:
        """Start a request or let it wait; return the one that has to be turned away, if any."""
        serving = self._serving.get(plugin, 0)
        if self.active < self._in_flight and serving < self._share:
            self._begin(plugin, request, serving)
            return None
        return self._enqueue(plugin, request)

    def finished(self, plugin: str) -> None:
        """Give back the place of a plugin's request, and start the one whose turn it is."""
        self.active -= 1
        serving = self._serving[plugin] - 1
        if serving:
            self._serving[plugin] = serving
        else:
            del self._serving[plugin]
        if self.waiting:
            self._start_next()

    def dismiss(self) -> list[T]:
        """Empty the queues and return who was waiting in them."""
        dismissed = [request for queue in self._queues.values() for request in queue]
        self._queues.clear()
        self.waiting = 0
        return dismissed

    def _begin(self, plugin: str, request: T, serving: int) -> None:
        self.active += 1
        self._serving[plugin] = serving + 1
        self._start(plugin, request)

    def _enqueue(self, plugin: str, request: T) -> T | None:
        refused: T | None = None
        if self.is_full:
            longest = max(self._queues.values(), key=len, default=deque[T]())
            if len(longest) <= len(self._queues.get(plugin, ())) + 1:
                return request
            refused = longest.pop()
            self.waiting -= 1
        self._queues.setdefault(plugin, deque()).append(request)
        self.waiting += 1
        return refused

    def _start_next(self) -> None:
        share, serving = self._share, self._serving
        turn = next((name for name in self._queues if serving.get(name, 0) < share), None)
        if turn is None:
            return
        queue = self._queues[turn]
        request = queue.popleft()
        self.waiting -= 1
        if queue:
            self._queues.move_to_end(turn)
        else:
            del self._queues[turn]
        self._begin(turn, request, serving.get(turn, 0))
