"""A loopback proxy before a real nats-server that understands the NATS protocol (SPEC 5.4).

Whatever the clients publish is looked at before the server sees it; everything else goes through
as it is, one protocol message at a time, so that something of our own fits in between.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pytest_rosey.faults.message import Message, Take, subscription_to
from pytest_rosey.servers.address import Address

LOOPBACK = "127.0.0.1"
_CHUNK = 65536
_HEADED = (b"HPUB", b"HMSG")
_WITH_PAYLOAD = (b"PUB", b"MSG", *_HEADED)


class Frame(NamedTuple):
    """One protocol message, of either direction.

    Attributes:
        verb: the operation in capitals, for example `PUB`.
        fields: the words after it; what is no list of words is cut into words, too.
        body: header block and payload; empty for operations that have none.
        raw: all of it as it came.
    """

    verb: bytes
    fields: list[bytes]
    body: bytes
    raw: bytes


class Frames:
    """Cuts a stream into protocol messages, in whatever chunks it comes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the messages that are complete with `data`.

        Raises:
            ValueError: this is not the NATS protocol.
        """
        self._rest += data
        while (end := self._rest.find(b"\n")) >= 0:
            verb, *fields = self._rest[:end].split() or [b""]
            verb, start = verb.upper(), end + 1
            size = int(fields[-1]) if verb in _WITH_PAYLOAD else 0
            following = start + size + 2 if verb in _WITH_PAYLOAD else start
            if len(self._rest) < following:
                return
            body, raw = self._rest[start : start + size], self._rest[:following]
            self._rest = self._rest[following:]
            yield Frame(verb, fields, body, raw)


class Proxy:
    """Stands between the clients of a test and a server. Lives on one event loop.

    Args:
        target: where the server listens now.
        take: looks at every published message.
    """

    def __init__(self, target: Callable[[], Address], take: Take) -> None:
        self._lets_in = True
        self._target = target
        self._take = take
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> Address:
        """Listen on a free loopback port and return where."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        return Address(*self._server.sockets[0].getsockname())

    async def close(self) -> None:
        """Hang up on everyone and stop listening."""
        if self._server is not None:
            self._server.close()
        self.hang_up()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Hang up on everyone and let nobody in until `mend()`."""
        self._lets_in = False
        self.hang_up()

    def mend(self) -> None:
        """Let clients in again."""
        self._lets_in = True

    def _is_cut(self) -> bool:
        return not self._lets_in

    def hang_up(self, subject: bytes | None = None) -> None:
        """Hang up on those who subscribed to a subject; by default on everyone."""
        for connection in list(self._connections):
            if subject is None or connection.inbox(subject) is not None:
                connection.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # the server makes one for each connection
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._is_cut():
            _refuse(writer)
            return
        try:
            from_server, to_server = await asyncio.open_connection(*self._target())
        except OSError:
            _refuse(writer)
            return
        connection = _Connection(writer, to_server, self._take)
        if self._is_cut():
            connection.close()
        self._connections.add(connection)
        try:
            await asyncio.gather(
                connection.pump(reader, connection.on_client, to_server),
                connection.pump(from_server, connection.on_server, writer),
            )
        finally:
            self._connections.discard(connection)


def _refuse(writer: asyncio.StreamWriter) -> None:
    """Reset a connection that was just accepted.

    nats-py forgets to close its socket when it reads EOF in place of a greeting; a reset closes
    it without its doing.
    """
    no_lingering = struct.pack("ii", 1, 0)
    if not writer.is_closing():
        accepted = writer.get_extra_info("socket")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_lingering)
    writer.transport.abort()


class _Connection:
    """One client and its connection to the server."""

    def __init__(
        self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, take: Take
    ) -> None:
        self._client = client
        self._server = server
        self._take = take
        self._subscriptions: dict[bytes, bytes] = {}
        self._is_greeted = False

    def close(self) -> None:
        """Hang up on both sides; what is on its way is lost."""
        if self._is_greeted:
            self._client.transport.abort()
        else:
            _refuse(self._client)
        self._server.transport.abort()

    def send(self, data: bytes) -> None:
        """Write to the client; see `Publisher`."""
        if not self._client.is_closing():
            self._client.write(data)

    def inbox(self, subject: bytes) -> bytes | None:
        """Return which subscription receives a subject; see `Publisher`."""
        return subscription_to(subject, self._subscriptions)

    async def pump(
        self,
        source: asyncio.StreamReader,
        act: Callable[[Frame], None],
        sink: asyncio.StreamWriter,
    ) -> None:
        """Read one side until it ends, then hang up on both."""
        frames = Frames()
        try:
            while data := await source.read(_CHUNK):
                for frame in frames.feed(data):
                    act(frame)
                await sink.drain()
        except OSError:
            pass  # reset instead of closed: the same to us
        finally:
            self.close()

    def on_server(self, frame: Frame) -> None:
        """Hand on what the server says."""
        self._is_greeted = True
        self.send(frame.raw)

    def on_client(self, frame: Frame) -> None:
        """Look at what the client says, and hand it on."""
        if frame.verb in (b"PUB", b"HPUB"):
            message = self._message(frame)
            if not self._take(message):
                self._to_server(frame.raw)
            return
        if frame.verb == b"SUB":
            self._subscriptions[frame.fields[-1]] = frame.fields[0]
        elif frame.verb == b"UNSUB" and len(frame.fields) == 1:
            self._subscriptions.pop(frame.fields[0], None)
        self._to_server(frame.raw)

    def _to_server(self, data: bytes) -> None:
        if not self._server.is_closing():
            self._server.write(data)

    def _message(self, frame: Frame) -> Message:
        subject, *more = frame.fields
        header_size = int(more.pop(-2)) if frame.verb in _HEADED else 0
        reply = more[0] if len(more) == 2 else b""
        return Message(subject, reply, header_size, frame.body, self, self._publish)

    def _publish(self, message: Message) -> None:
        reply = message.reply + b" " if message.reply else b""
        verb, sizes = b"PUB", b"%d" % len(message.body)
        if message.header_size:
            verb, sizes = b"HPUB", b"%d %d" % (message.header_size, len(message.body))
        self._to_server(
            b"%b %b %b%b\r\n%b\r\n" % (verb, message.subject, reply, sizes, message.body)
        )
