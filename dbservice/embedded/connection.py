"""The server's side of one connection: the NATS client protocol, parsed and answered (SPEC 5.2)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from dbservice.bus import wire
from dbservice.embedded.interest import Subscription, is_literal, is_valid_pattern
from dbservice.embedded.permissions import User

MAX_CONTROL_LINE = 4096
"""Bytes that the arguments of one protocol line may have."""


class ProtocolViolationError(Exception):
    """The client broke the protocol: the server answers -ERR with `text`, if any, and hangs up."""

    def __init__(self, text: str | None = None) -> None:
        super().__init__(text)
        self.text = text


UNKNOWN_OPERATION = "Unknown Protocol Operation"
AUTHORIZATION = "Authorization Violation"
CONTROL_LINE = "maximum control line exceeded"
PAYLOAD = "Maximum Payload Violation"
INVALID_SUBJECT = "Invalid Subject"
INVALID_PUBLISH_SUBJECT = "Invalid Publish Subject"
NO_RESPONDERS_NEEDS_HEADERS = "no responders requires headers support"


class Publication(msgspec.Struct, frozen=True, eq=False):
    """One message on its way through the broker.

    Attributes:
        source: The connection that published it.
        subject: Where to.
        reply: Where answers should go; empty for none.
        header_size: Bytes of `body` that are the NATS header block; 0 for a message without one.
        body: Header block and payload.
    """

    source: Connection
    subject: bytes
    reply: bytes
    header_size: int
    body: bytes

    @property
    def payload(self) -> bytes:
        """The message without its header block."""
        return self.body[self.header_size :]


class Link(Protocol):
    """The client's end of an in-memory connection."""

    def feed(self, data: bytes) -> None:
        """Hand bytes to the client; it reads them in its own time."""

    def feed_eof(self) -> None:
        """Tell the client that the server hung up."""


class Server(Protocol):
    """What a connection needs from its broker."""

    max_payload: int

    def authenticate(self, name: str | None, password: str | None) -> User | None:
        """Return the user, or None on a server without users; raise ProtocolViolationError."""

    def subscribe(
        self, connection: Connection, pattern: bytes, queue: bytes | None, sid: bytes
    ) -> Subscription[Connection]:
        """Register interest."""

    def unsubscribe(self, subscription: Subscription[Connection]) -> None:
        """Take interest back."""

    def publish(self, publication: Publication) -> None:
        """Route a message."""

    def forget(self, connection: Connection) -> None:
        """Let go of a connection that ended."""

    def info(self, connection: Connection) -> bytes:
        """Return the INFO line for `connection`."""

    @property
    def requires_auth(self) -> bool:
        """Whether CONNECT must name a user."""


class Connection:
    """Parses what one client sends and writes what the broker answers.

    Nothing here awaits: bytes in, routing done, bytes out to the links of whoever is concerned.
    The clients' own read loops take them from there, so no callback ever runs inside a publish.
    """

    def __init__(self, server: Server, client_id: int, link: Link) -> None:
        self.client_id = client_id
        self.name = ""
        self.user: User | None = None
        self.subscriptions: dict[bytes, Subscription[Connection]] = {}
        self.wants_no_responders = False
        self._server = server
        self._link = link
        self._open = True
        self._rest = b""
        self._authenticated = not server.requires_auth
        # What a server assumes of a client until CONNECT says otherwise.
        self._verbose = self._pedantic = self._echo = True
        self._headers = False
        self._info_due = False
        self._open_replies: dict[bytes, tuple[int, float]] = {}
        self._operations: dict[bytes, Callable[[bytes], None]] = {
            b"SUB": self._on_sub,
            b"UNSUB": self._on_unsub,
            b"CONNECT": self._on_connect,
            b"INFO": self._ignore,
            b"-ERR": self._on_client_error,
        }

    # -- ending -----------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether either side has hung up."""
        return self._open

    def close(self) -> None:
        """End the connection, whoever wanted it, and drop its subscriptions."""
        if self._open:
            self._open = False
            self._server.forget(self)
            self._link.feed_eof()

    def _refuse(self, violation: ProtocolViolationError) -> None:
        if violation.text is not None:
            self._send_error(violation.text)
        self.close()

    # -- sending ----------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Write protocol bytes to the client."""
        self._link.feed(data)

    def _send_error(self, text: str) -> None:
        # Subjects arrive as UTF-8, but nothing obliges a client to send valid UTF-8.
        self.send(wire.error(text.encode(errors="surrogateescape")))

    def _send_ok(self) -> None:
        if self._verbose:
            self.send(wire.OK)

    def deliver(self, subscription: Subscription[Connection], publication: Publication) -> bool:
        """Hand `publication` to one of this connection's subscriptions.

        Returns:
            False if it may not have it: its own message without echo, or a denied subject.
        """
        if publication.source is self and not self._echo:
            return False
        user = self.user
        if user is not None:
            if not user.may_receive(subscription.pattern, publication.subject):
                return False
            if user.allow_responses is not None and publication.reply:
                self._open_reply(publication.reply, user)
        subscription.delivered += 1
        self.send(self._message(subscription, publication))
        if subscription.limit and subscription.delivered >= subscription.limit:
            self._drop(subscription)
        return True

    def _message(self, subscription: Subscription[Connection], publication: Publication) -> bytes:
        subject, sid, reply = publication.subject, subscription.sid, publication.reply
        if not self._headers:
            return wire.message(subject, sid, reply, publication.payload)
        return wire.message(subject, sid, reply, publication.body, publication.header_size)

    # -- receiving --------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes from the client, in chunks of any size, and act on each complete command."""
        if not self._open:
            return
        if self._rest:
            data, self._rest = self._rest + data, b""
        try:
            self._rest = data[self._parse(data) :]
        except ProtocolViolationError as violation:
            self._refuse(violation)
        except wire.MalformedError:
            self.close()

    def _parse(self, data: bytes) -> int:
        """Act on the complete commands in `data` and return where the incomplete rest begins."""
        position = 0
        while position < len(data) and self._open:
            line = wire.line_at(data, position)
            if line is None:
                _check_line(data[position:].partition(b" ")[2])
                break
            if not self._authenticated and line.verb[:1] not in (b"C", b"c"):
                raise ProtocolViolationError(AUTHORIZATION)
            verb = line.verb.upper()
            if verb in wire.PUBLICATIONS and not line.is_bare:
                following = self._on_publish(verb, line.arguments, data, line.end)
            else:
                self._on_other(verb, line)
                following = line.end
            if not following:
                break
            position = following
        return position

    def _on_other(self, verb: bytes, line: wire.Line) -> None:
        if verb[:4] == b"PING":
            self._on_ping()
            return
        if verb[:4] == b"PONG" or verb[:3] == b"+OK":
            return
        handler = self._operations.get(verb)
        if handler is None or (line.is_bare and verb != b"CONNECT"):
            raise ProtocolViolationError(UNKNOWN_OPERATION)
        _check_line(line.arguments)
        handler(line.arguments)

    def _on_publish(self, verb: bytes, arguments: bytes, data: bytes, start: int) -> int:
        """Act on one PUB or HPUB whose payload begins at `start`.

        Returns:
            Where the next command begins, or 0 if the payload is not complete yet.
        """
        _check_line(arguments)
        if verb == b"HPUB" and not self._headers:
            raise ProtocolViolationError
        head = wire.head_of(verb, [verb, *wire.words(arguments)])
        if head.size > self._server.max_payload:
            raise ProtocolViolationError(PAYLOAD)
        end = start + head.size
        if len(data) < end + len(wire.CRLF):
            return 0
        if data[end : end + len(wire.CRLF)] != wire.CRLF:
            raise ProtocolViolationError(UNKNOWN_OPERATION)
        self._publish(
            Publication(self, head.subject, head.reply, head.header_size, data[start:end])
        )
        return end + len(wire.CRLF)

    def _publish(self, publication: Publication) -> None:
        subject = publication.subject
        if self._pedantic and not is_literal(subject):
            self._send_error(INVALID_PUBLISH_SUBJECT)
        if self.user is not None and not self._may_publish(subject, self.user):
            self.send(wire.error(wire.denied_publication(subject)))
            return
        if self._verbose:
            self.send(wire.OK)
        self._server.publish(publication)

    def _on_ping(self) -> None:
        self.send(wire.PONG)
        if self._info_due:
            self._info_due = False
            self.send(self._server.info(self))

    def _on_sub(self, arguments: bytes) -> None:
        fields = wire.words(arguments)
        if not 2 <= len(fields) <= 3:
            raise ProtocolViolationError
        pattern, sid = fields[0], fields[-1]
        queue = fields[1] if len(fields) == 3 else None
        if self.user is not None and not self.user.may_subscribe(pattern, queue):
            group = f' using queue "{_text(queue)}"' if queue is not None else ""
            self._send_error(f'Permissions Violation for Subscription to "{_text(pattern)}"{group}')
            return
        if not is_valid_pattern(pattern):
            self._send_error(INVALID_SUBJECT)
            return
        if sid not in self.subscriptions:
            self.subscriptions[sid] = self._server.subscribe(self, pattern, queue, sid)
        self._send_ok()

    def _on_unsub(self, arguments: bytes) -> None:
        fields = wire.words(arguments)
        if not 1 <= len(fields) <= 2:
            raise ProtocolViolationError
        subscription = self.subscriptions.get(fields[0])
        if subscription is not None:
            subscription.limit = int(fields[1]) if fields[1:] and fields[1].isdigit() else 0
            if subscription.delivered >= subscription.limit:
                self._drop(subscription)
        self._send_ok()

    def _drop(self, subscription: Subscription[Connection]) -> None:
        del self.subscriptions[subscription.sid]
        self._server.unsubscribe(subscription)

    def _on_connect(self, arguments: bytes) -> None:
        options = _connect_options(arguments)
        self._verbose = options.get("verbose", self._verbose)
        self._pedantic = options.get("pedantic", self._pedantic)
        self._echo = options.get("echo", self._echo)
        self._headers = options.get("headers", False)
        self.wants_no_responders = options.get("no_responders", False)
        self.name = options.get("name", "")
        self._info_due = options.get("protocol", 0) >= 1
        if self.wants_no_responders and not self._headers:
            raise ProtocolViolationError(NO_RESPONDERS_NEEDS_HEADERS)
        self.user = self._server.authenticate(options.get("user"), options.get("pass"))
        self._authenticated = True
        self._send_ok()

    def _on_client_error(self, _: bytes) -> None:
        raise ProtocolViolationError

    def _ignore(self, _: bytes) -> None:
        """Accept a line that only servers have a reason to send."""

    # -- replies that allow_responses lets through ------------------------------------------------

    def _open_reply(self, reply: bytes, user: User) -> None:
        if user.allow_responses is not None and not user.may_publish(reply):
            limit = user.allow_responses.limit
            self._open_replies[reply] = (limit if limit > 0 else sys.maxsize, time.monotonic())

    def _may_publish(self, subject: bytes, user: User) -> bool:
        if user.may_publish(subject):
            return True
        responses, opened = user.allow_responses, self._open_replies.get(subject)
        if responses is None or opened is None:
            return False
        left, opened_at = opened
        if responses.expires > 0 and time.monotonic() - opened_at > responses.expires:
            left = 0
        if left > 1:
            self._open_replies[subject] = (left - 1, opened_at)
        else:
            del self._open_replies[subject]
        return left > 0


def _check_line(arguments: bytes) -> None:
    if len(arguments) > MAX_CONTROL_LINE:
        raise ProtocolViolationError(CONTROL_LINE)


def _text(subject: bytes) -> str:
    return subject.decode(errors="surrogateescape")


_OPTION_TYPES: dict[str, type] = {
    "verbose": bool,
    "pedantic": bool,
    "echo": bool,
    "headers": bool,
    "no_responders": bool,
    "name": str,
    "protocol": int,
    "user": str,
    "pass": str,
}


def _connect_options(arguments: bytes) -> dict[str, Any]:
    """Read the JSON of CONNECT; a server hangs up, saying nothing, on one it cannot read."""
    try:
        options = json.loads(arguments)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolationError from error
    if not isinstance(options, dict):
        raise ProtocolViolationError
    known = {name: options[name] for name in _OPTION_TYPES if options.get(name) is not None}
    if any(not isinstance(value, _OPTION_TYPES[name]) for name, value in known.items()):
        raise ProtocolViolationError
    return known
