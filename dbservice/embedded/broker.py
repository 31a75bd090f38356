"""A NATS server inside the process, for nats-py's own unmodified client (SPEC 5.2)."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dbservice.bus import wire
from dbservice.embedded.client import EmbeddedClient
from dbservice.embedded.connection import (
    AUTHORIZATION,
    Connection,
    Link,
    ProtocolViolationError,
    Publication,
)
from dbservice.embedded.interest import ONE_OR_MORE_TOKENS, ONE_TOKEN, Interest, Subscription
from dbservice.embedded.permissions import User

SERVER_VERSION = "2.15.1"
"""The nats-server whose behaviour the broker reproduces; clients see it in INFO."""

DEFAULT_MAX_PAYLOAD = 1_048_576


class Interested(NamedTuple):
    """One subscription that would receive a subject.

    Attributes:
        pattern: What it subscribed to, wildcards included.
        queue: Its queue group, or None.
        client: The name the client gave itself; empty if none.
    """

    pattern: str
    queue: str | None
    client: str


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """One client as the broker sees it.

    Attributes:
        client_id: The number the broker gave it; equal to the client's own ``client_id``.
        name: The name the client gave itself; empty if none.
        user: The user it logged in as, or None.
        subscriptions: What it subscribed to, oldest first.
    """

    client_id: int
    name: str
    user: str | None
    subscriptions: tuple[Interested, ...]


class Broker:
    """An in-process NATS server: same protocol, same errors, no socket and no process.

    Clients of one broker may live on different event loops, but all in the same thread.

    Example:
        ::

            broker = Broker(seed=1)
            client = await broker.connect(name="trivia")

    Attributes:
        name: The server's name, and the host part of `url`.
        max_payload: Largest message, header block included, in bytes.
        url: What the clients believe to be connected to.
        intercept: Called with every publication before it is routed. Returning True takes the
            message out of the broker's hands; `deliver` puts it, or another one, back.
        unanswered: Called with every request that nobody subscribed to; what it returns is the
            answer of the server itself, and None leaves it at 503.
    """

    def __init__(
        self,
        *,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        seed: int | None = None,
        name: str = "embedded",
        users: Sequence[User] | None = None,
    ) -> None:
        """Create a running broker without clients.

        Args:
            max_payload: Largest message, header block included, in bytes.
            seed: Makes the choice among the members of a queue group repeatable.
            name: The server's name; must be usable as a host name in a URL.
            users: Who may connect; None lets everybody in, with every permission.
        """
        self.name = name
        self.max_payload = max_payload
        self.url = f"nats://{name}:4222"
        self.intercept: Callable[[Publication], bool] | None = None
        self.unanswered: Callable[[Publication], bytes | None] | None = None
        self._users = None if users is None else {user.name: user for user in users}
        self._random = random.Random(seed)  # noqa: S311 - a pick among equals, not a secret
        self._interest: Interest[Connection] = Interest()
        self._connections: dict[int, Connection] = {}
        self._running = True
        self._last_client_id = 0
        self._last_order = 0

    # -- for tests --------------------------------------------------------------------------------

    async def connect(self, **options: Any) -> EmbeddedClient:
        """Return a client connected to this broker.

        Args:
            **options: Those of ``nats.connect``: name, error_cb, no_echo, inbox_prefix, user …

        Raises:
            nats.errors.Error: As ``nats.connect`` does, for instance on a wrong password.
        """
        client = EmbeddedClient(self)
        await client.connect(**{"servers": self.url, **options})
        return client

    def stop(self) -> None:
        """Die as a killed server does: clients read EOF, and new connections are refused."""
        self._running = False
        self.disconnect(lambda _: True)

    def start(self) -> None:
        """Come back after `stop`, empty; clients reconnect when their own timing says so."""
        self._running = True

    def disconnect(self, which: int | Callable[[ConnectionInfo], bool]) -> int:
        """Hang up on clients; those that allow reconnecting come back by themselves.

        Args:
            which: A client id, or a predicate over `connections`.

        Returns:
            How many connections were closed.
        """
        wanted = (lambda info: info.client_id == which) if isinstance(which, int) else which
        chosen = [c for c in self._connections.values() if wanted(_describe(c))]
        for connection in chosen:
            connection.close()
        return len(chosen)

    @property
    def connections(self) -> list[ConnectionInfo]:
        """The clients that are connected now, in order of arrival."""
        return [_describe(connection) for connection in self._connections.values()]

    def interest(self, subject: str | None = None) -> list[Interested]:
        """Return who would receive `subject`, oldest subscription first.

        Args:
            subject: A literal subject; None returns every subscription.
        """
        found = self._interest if subject is None else self._interest.match(subject.encode())
        return [_interested(subscription) for subscription in found]

    # -- for the clients' transports --------------------------------------------------------------

    def accept(self, link: Link) -> Connection:
        """Take a new connection and greet it with INFO.

        Raises:
            ConnectionRefusedError: If the broker is stopped; same text as a refused socket.
        """
        if not self._running:
            raise ConnectionRefusedError(
                errno.ECONNREFUSED, f"Connect call failed ('{self.name}', 4222)"
            )
        self._last_client_id += 1
        connection = Connection(self, self._last_client_id, link)
        self._connections[connection.client_id] = connection
        connection.send(self._info(connection))
        return connection

    # -- for the connections ----------------------------------------------------------------------

    @property
    def requires_auth(self) -> bool:
        """Whether clients must name a user."""
        return self._users is not None

    def authenticate(self, name: str | None, password: str | None) -> User | None:
        """Return the user of these credentials, or None on a broker without users.

        Raises:
            ProtocolViolationError: If there is no such user, or the password is another.
        """
        if self._users is None:
            return None
        user = self._users.get(name or "")
        if user is None or user.password != (password or ""):
            raise ProtocolViolationError(AUTHORIZATION)
        return user

    def info(self, connection: Connection) -> bytes:
        """Return the INFO line that follows CONNECT."""
        return self._info(connection, connect_info=True, remote_account="$G")

    def subscribe(
        self, connection: Connection, pattern: bytes, queue: bytes | None, sid: bytes
    ) -> Subscription[Connection]:
        """Register interest in `pattern`, which must be valid."""
        self._last_order += 1
        subscription = Subscription(connection, pattern, queue, sid, self._last_order)
        self._interest.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription[Connection]) -> None:
        """Forget one subscription."""
        self._interest.remove(subscription)

    def forget(self, connection: Connection) -> None:
        """Forget a connection and all it subscribed to."""
        del self._connections[connection.client_id]
        for subscription in connection.subscriptions.values():
            self._interest.remove(subscription)
        connection.subscriptions.clear()

    def publish(self, publication: Publication) -> None:
        """Route what a client published, unless `intercept` takes it."""
        if self.intercept is None or not self.intercept(publication):
            self.deliver(publication)

    def deliver(self, publication: Publication) -> bool:
        """Route `publication` to all it reaches, and answer 503 if that is nobody.

        Returns:
            Whether anybody got it.
        """
        delivered = False
        groups: dict[bytes, list[Subscription[Connection]]] = {}
        for subscription in self._interest.match(publication.subject):
            if subscription.queue is not None:
                groups.setdefault(subscription.queue, []).append(subscription)
            elif subscription.connection.deliver(subscription, publication):
                delivered = True
        for members in groups.values():
            if self._deliver_to_one(members, publication):
                delivered = True
        if publication.reply and not delivered:
            self._answer_unanswered(publication)
        return delivered

    def _answer_unanswered(self, request: Publication) -> None:
        answer = None if self.unanswered is None else self.unanswered(request)
        if answer is None:
            _report_no_responders(request, self._interest)
        else:
            self.deliver(Publication(request.source, request.reply, b"", 0, answer))

    def _deliver_to_one(
        self, members: list[Subscription[Connection]], publication: Publication
    ) -> bool:
        """Deliver to a random member; those that may not have the message are passed over."""
        while members:
            chosen = members.pop(self._random.randrange(len(members)))
            if chosen.connection.deliver(chosen, publication):
                return True
        return False

    def _info(self, connection: Connection, **more: object) -> bytes:
        fields = {
            "server_id": self.name,
            "server_name": self.name,
            "version": SERVER_VERSION,
            "proto": 1,
            "host": self.name,
            "port": 4222,
            "headers": True,
            "max_payload": self.max_payload,
            "client_id": connection.client_id,
            "client_ip": "127.0.0.1",
            **({"auth_required": True} if self.requires_auth else {}),
            **more,
        }
        return wire.info(fields)


def _report_no_responders(publication: Publication, interest: Interest[Connection]) -> None:
    """Answer 503, but only to an inbox of the requesting connection itself, as a server does."""
    source = publication.source
    if not source.wants_no_responders:
        return
    inboxes = [
        subscription
        for subscription in interest.match(publication.reply)
        if subscription.connection is source and subscription.queue is None
    ]
    if inboxes:
        inbox = min(inboxes, key=_broadest_first)
        header = wire.no_responders_header(publication.subject)
        source.send(wire.message(publication.reply, inbox.sid, b"", header, len(header)))


def _broadest_first(subscription: Subscription[Connection]) -> list[int]:
    """Order the subscriptions that match one subject as a server's index lists them.

    It matters where a client listens to its inbox twice: a request of a no_echo client that
    subscribed to ``>`` times out, because ``>`` is told that nobody is there.
    """
    *tokens, last = subscription.pattern.split(b".")
    ranks = [0 if token == ONE_TOKEN else 1 for token in tokens]
    return [*ranks, -1 if last == ONE_OR_MORE_TOKENS else 1 if last == ONE_TOKEN else 0]


def _describe(connection: Connection) -> ConnectionInfo:
    return ConnectionInfo(
        client_id=connection.client_id,
        name=connection.name,
        user=connection.user.name if connection.user is not None else None,
        subscriptions=tuple(map(_interested, connection.subscriptions.values())),
    )


def _interested(subscription: Subscription[Connection]) -> Interested:
    queue = subscription.queue
    return Interested(
        pattern=subscription.pattern.decode(errors="replace"),
        queue=queue.decode(errors="replace") if queue is not None else None,
        client=subscription.connection.name,
    )
