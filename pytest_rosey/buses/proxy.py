"""A loopback proxy before a real nats-server that understands the NATS protocol (SPEC 5.4).

Whatever the clients publish is looked at before the server sees it; everything else goes through
as it is, one protocol message at a time, so that something of our own fits in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from typing_extensions import override

from dbservice.bus import wire
from dbservice.embedded.listener import refuse
from pytest_rosey.buses.message import Interceptor, Message, Publisher, subscription_to
from pytest_rosey.servers.address import LOOPBACK, Address

_CHUNK = 65536


class Proxy:
    """Stands between the clients of a test and a server. Lives on one event loop.

    Args:
        target: where the server listens now.
        intercept: looks at every published message.
    """

    def __init__(self, target: Callable[[], Address], intercept: Interceptor) -> None:
        self._lets_in = True
        self._target = target
        self._intercept = intercept
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
        self.cut()  # who is on the way to the server now would stay
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
            refuse(writer.transport)
            return
        try:
            from_server, to_server = await asyncio.open_connection(*self._target())
        except OSError:
            refuse(writer.transport)
            return
        connection = _Connection(writer, to_server, self._intercept)
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


class _Connection(Publisher):
    """One client and its connection to the server."""

    def __init__(
        self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, intercept: Interceptor
    ) -> None:
        self._client = client
        self._server = server
        self._intercept = intercept
        self._subscriptions: dict[bytes, bytes] = {}
        self._is_greeted = False

    def close(self) -> None:
        """Hang up on both sides; what is on its way is lost."""
        if self._is_greeted:
            self._client.transport.abort()
        else:
            refuse(self._client.transport)
        self._server.transport.abort()

    @override
    def send(self, data: bytes) -> None:
        if not self._client.is_closing():
            self._client.write(data)

    @override
    def inbox(self, subject: bytes) -> bytes | None:
        return subscription_to(subject, self._subscriptions)

    async def pump(
        self,
        source: asyncio.StreamReader,
        act: Callable[[wire.Frame], None],
        sink: asyncio.StreamWriter,
    ) -> None:
        """Read one side until it ends, then hang up on both."""
        frames = wire.Frames()
        try:
            while data := await source.read(_CHUNK):
                for frame in frames.feed(data):
                    act(frame)
                await sink.drain()
        except OSError:
            pass  # reset instead of closed: the same to us
        finally:
            self.close()

    def on_server(self, frame: wire.Frame) -> None:
        """Hand on what the server says."""
        self._is_greeted = True
        self.send(frame.raw)

    def on_client(self, frame: wire.Frame) -> None:
        """Look at what the client says, and hand it on."""
        if frame.verb in wire.PUBLICATIONS and frame.head is not None:
            if not self._intercept(self._message(frame.head, frame.body)):
                self._to_server(frame.raw)
            return
        words = wire.words(frame.arguments)
        if frame.verb == b"SUB":
            self._subscriptions[words[-1]] = words[0]
        elif frame.verb == b"UNSUB" and len(words) == 1:
            self._subscriptions.pop(words[0], None)
        self._to_server(frame.raw)

    def _to_server(self, data: bytes) -> None:
        if not self._server.is_closing():
            self._server.write(data)

    def _message(self, head: wire.Head, body: bytes) -> Message:
        return Message(head.subject, head.reply, head.header_size, body, self, self._publish)

    def _publish(self, message: Message) -> None:
        self._to_server(
            wire.publication(message.subject, message.reply, message.body, message.header_size)
        )
