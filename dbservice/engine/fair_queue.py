"""A queue in which plugins take turns."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Serves the plugin that has been charged least, its requests in the order in which they came.

    What is charged is the user's choice: 1 for each request, so that a plugin with a thousand in
    the queue costs another one the time of one; or the seconds that each took, so that one whose
    requests are slow costs another one no more. Who was away has saved nothing up: a plugin that
    comes back begins with what the others have come to. This is start-time fair queueing.

    What a request costs may be known only when it is over. Until then the expected cost counts
    against its plugin's turn; but not for where others begin, who would wait for what nobody used.

    It does no I/O and knows no event loop. Not thread-safe.

    Args:
        expected: the cost of a request that was begun and not charged yet.
    """

    def __init__(self, expected: float = 0.0) -> None:
        self._expected = expected
        self._begun: Counter[str] = Counter()
        self._queues: OrderedDict[str, deque[tuple[float, T]]] = OrderedDict()
        self._length = 0
        self._charged: dict[str, float] = {}
        self._reached = 0.0
        """What had been charged to the plugin whose turn was last."""

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
        self._queue_of(plugin).append((time.monotonic(), item))
        self._length += 1

    def put_back(self, plugin: str, item: T) -> None:
        """Let a request that was taken wait again, before the others of its plugin."""
        self._end(plugin)
        self._queue_of(plugin).appendleft((time.monotonic(), item))
        self._length += 1

    def take(self, may: Callable[[str], bool] | None = None) -> tuple[str, T] | None:
        """Return the oldest request of the plugin whose turn it is, and its name, or None.

        It has begun then, until it is charged or put back.

        Args:
            may: passes over the plugins for which it returns false.
        """
        if not self._queues:
            return None
        names = self._queues if may is None else [name for name in self._queues if may(name)]
        turn = min(names, key=self._counted, default=None)
        if turn is None:
            return None
        self.begin(turn)
        self._reached = max(self._reached, self._charged[turn])
        queue = self._queues[turn]
        _, item = queue.popleft()
        self._forget_one(turn, queue)
        if queue:
            self._queues.move_to_end(turn)  # among those who were charged the same
        return turn, item

    def begin(self, plugin: str) -> None:
        """Take note of a request that need not wait."""
        self._begun[plugin] += 1

    def charge(self, plugin: str, cost: float) -> None:
        """Charge a plugin for a request that was begun; nothing for one that was given up."""
        self._end(plugin)
        self._charged[plugin] = self._charged.get(plugin, self._reached) + cost
        if len(self._charged) > 2 * len(self._queues) + _FEW:
            self._forget_the_absent()

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

    def _counted(self, plugin: str) -> float:
        return self._charged[plugin] + self._expected * self._begun[plugin]

    def _end(self, plugin: str) -> None:
        self._begun[plugin] -= 1
        if not self._begun[plugin]:
            del self._begun[plugin]

    def _queue_of(self, plugin: str) -> deque[tuple[float, T]]:
        queue = self._queues.get(plugin)
        if queue is None:
            queue = self._queues[plugin] = deque()
            self._charged[plugin] = max(self._charged.get(plugin, 0.0), self._reached)
        return queue

    def _forget_one(self, plugin: str, queue: deque[tuple[float, T]]) -> None:
        self._length -= 1
        if not queue:
            del self._queues[plugin]

    def _forget_the_absent(self) -> None:
        """Keep nothing of plugins that would begin like any other if they came now."""
        self._charged = {
            name: charged
            for name, charged in self._charged.items()
            if name in self._queues or charged > self._reached
        }


_FEW = 64
