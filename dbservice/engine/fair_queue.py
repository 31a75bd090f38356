"""A queue in which plugins take turns."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Serves the plugins that wait one request each in turn, those of one plugin as they came.

    So a plugin with a thousand requests in the queue costs another one the time of one request.
    It does no I/O and knows no event loop. Not thread-safe.
    """

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[tuple[float, T]]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return (item for queue in self._queues.values() for _, item in queue)

    @property
    def waited(self) -> float:
        """For how many seconds the request has waited that waits longest; 0 if none does."""
        heads = [queue[0][0] for queue in self._queues.values()]
        return time.monotonic() - min(heads) if heads else 0.0

    @property
    def longest(self) -> str | None:
        """The plugin that has most requests here; None if nobody waits."""
        return max(self._queues, key=self.waiting, default=None)

    def waiting(self, plugin: str) -> int:
        """Return how many requests of a plugin wait."""
        return len(self._queues.get(plugin, ()))

    def put(self, plugin: str, item: T) -> None:
        """Let a request wait behind the others of its plugin."""
        self._queues.setdefault(plugin, deque()).append((time.monotonic(), item))
        self._length += 1

    def put_back(self, plugin: str, item: T) -> None:
        """Let a request that was taken wait again, before all others."""
        self._queues.setdefault(plugin, deque()).appendleft((time.monotonic(), item))
        self._queues.move_to_end(plugin, last=False)
        self._length += 1

    def take(self, may: Callable[[str], bool] | None = None) -> tuple[str, T] | None:
        """Return the next plugin's oldest request and the plugin's name, or None.

        Args:
            may: passes over the plugins for which it returns false.
        """
        turn = next((name for name in self._queues if may is None or may(name)), None)
        if turn is None:
            return None
        queue = self._queues[turn]
        _, item = queue.popleft()
        self._forget_one(turn, queue)
        if queue:
            self._queues.move_to_end(turn)
        return turn, item

    def drop_newest(self, plugin: str) -> T:
        """Return the newest request of a plugin that waits, which gives way."""
        queue = self._queues[plugin]
        _, item = queue.pop()
        self._forget_one(plugin, queue)
        return item

    def clear(self) -> list[T]:
        """Empty the queue and return who was waiting in it."""
        waiting = list(self)
        self._queues.clear()
        self._length = 0
        return waiting

    def _forget_one(self, plugin: str, queue: deque[tuple[float, T]]) -> None:
        self._length -= 1
        if not queue:
            del self._queues[plugin]
