"""A published message on its way to the server, on either bus, and what a fault can do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dbservice.bus import wire
from dbservice.embedded.interest import covers


class Publisher(Protocol):
    """The connection that a message came from."""

    def send(self, data: bytes) -> None:
        """Write protocol bytes to the client, between two that the server wrote."""

    def inbox(self, subject: bytes) -> bytes | None:
        """Return the id of the client's own subscription that would receive `subject`."""


@dataclass(slots=True)
class Message:
    """One message that a client has published and that the server has not seen yet.

    Attributes:
        subject: where to.
        reply: where answers should go; empty for none.
        header_size: bytes of `body` that are the NATS header block; 0 for none.
        body: header block and payload.
        publisher: whose it is.
        route: hands it to the server.
    """

    subject: bytes
    reply: bytes
    header_size: int
    body: bytes
    publisher: Publisher
    route: Callable[[Message], None]

    def forward(self) -> None:
        """Let it go on to the server."""
        self.route(self)

    def replace_payload(self, payload: bytes) -> None:
        """Put another payload behind the same headers."""
        self.body = self.body[: self.header_size] + payload

    def answer(self, payload: bytes, *, header: bytes = b"") -> None:
        """Answer its publisher in place of whoever would have."""
        sid = self.publisher.inbox(self.reply)
        if sid is None:
            return
        self.publisher.send(wire.message(self.reply, sid, b"", header + payload, len(header)))

    def refuse(self) -> None:
        """Tell its publisher that it may not publish there, in the words of a server."""
        self.publisher.send(wire.error(wire.denied_publication(self.subject)))


Interceptor = Callable[[Message], bool]
"""Looks at a message before the server does; True takes it out of the server's way."""


def subscription_to(subject: bytes, patterns: dict[bytes, bytes]) -> bytes | None:
    """Return the id of the first subscription that would receive a subject.

    Args:
        subject: a literal subject; empty for none.
        patterns: subscription ids and what they subscribed to.
    """
    for sid, pattern in patterns.items():
        if covers(pattern, subject):
            return sid
    return None
