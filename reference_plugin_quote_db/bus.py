"""What the plugin needs of a NATS client, and how often it asks.

Any client that has it will do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from dbservice.client import Nats, RetryPolicy


class Message(Protocol):
    """A message as a subscription delivers it."""

    subject: str
    reply: str
    data: bytes

    @property
    def headers(self) -> Mapping[str, str] | None:
        """The headers, or None if there were none."""

    async def respond(self, data: bytes) -> None:
        """Send the answer."""


class Subscription(Protocol):
    """What `Bus.subscribe()` returns."""

    async def drain(self) -> None:
        """Take no new messages, and return when those that had come were delivered."""


class Bus(Nats, Protocol):
    """What the storage client needs, and the way to hear and to tell. nats-py's `Client` has it."""

    @property
    def is_closed(self) -> bool:
        """Whether the connection is gone for good."""

    @property
    def is_connected(self) -> bool:
        """Whether the server is there at this moment."""

    async def publish(self, subject: str, payload: bytes = b"") -> None:
        """Send a message that nobody answers."""

    async def subscribe(
        self, subject: str, queue: str = "", cb: Callable[[Any], Awaitable[None]] | None = None
    ) -> Subscription:
        """Deliver to `cb` what is sent to `subject`, to one subscriber of the same queue."""

    async def flush(self) -> None:
        """Return when the server has read what was sent."""


MATRIX: Final = RetryPolicy(
    timeout=(0.1, 0.2, 0.4),
    connection=(0.5, 1.0, 2.0, 4.0, 8.0),
    overloaded=(0.5, 1.0),
    server_error=(1.0, 2.0),
)
"""When a request is repeated: by kind of failure, the seconds before each repeat. The storage
client does it, nobody else. What is wrong with a request stays wrong: it is not repeated. Writes
carry an idempotency key, so that none is carried out twice."""


def at_most(repeats: int, policy: RetryPolicy = MATRIX) -> RetryPolicy:
    """Return a policy with fewer repeats of one request, whatever its failures."""
    return replace(policy, limit=repeats)
