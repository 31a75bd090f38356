"""nats-py's client on an in-memory transport (SPEC 5.2)."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol
from urllib.parse import ParseResult

from nats.aio.client import Client, Srv
from nats.aio.transport import Transport
from nats.errors import Error

from dbservice.bus.connection import SurvivingClient
from dbservice.embedded.connection import Connection, Link


class Listener(Protocol):
    """What a client connects to: a `Broker`."""

    def accept(self, link: Link) -> Connection:
        """Take a new connection; raise ConnectionRefusedError if there is nobody."""


class MemoryTransport(Transport):
    """The client's end of a connection to a `Broker` in the same thread.

    Written bytes reach the broker at once; what the broker answers waits here until the client's
    own read loop fetches it, so a publish never runs a callback.
    """

    def __init__(self, broker: Listener) -> None:
        self._broker = broker
        self._connection: Connection | None = None
        self._closed: asyncio.Future[None] | None = None

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Open a connection, or a new one after the last was closed.

        Raises:
            ConnectionRefusedError: If the broker is stopped.
        """
        del uri, buffer_size, connect_timeout
        self._loop = asyncio.get_running_loop()
        self._chunks: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._ending = self._ended = False
        await asyncio.sleep(0)  # opening a socket suspends, too
        self._connection = self._broker.accept(self)
        self._closed = self._loop.create_future()

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,
        connect_timeout: int,
    ) -> None:
        """Refuse: nothing leaves the process, so there is nothing to encrypt.

        Raises:
            Error: Always.
        """
        del uri, ssl_context, buffer_size, connect_timeout
        raise Error("nats: the embedded broker has no TLS; connect to its url without tls options")

    # -- what the broker calls --------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Queue bytes for the client and wake its read loop."""
        self._chunks.append(data)
        if self._waiter is not None:
            self._wake(self._waiter)

    def feed_eof(self) -> None:
        """Let the client read EOF once it has read all that came before."""
        self._ending = True
        if self._waiter is not None:
            self._wake(self._waiter)

    def _wake(self, waiter: asyncio.Future[None]) -> None:
        self._waiter = None
        if self._loop.is_closed():
            # The client was left behind by a loop that has ended: nobody will ever read this.
            if self._connection is not None:
                self._connection.close()
        elif not waiter.done():
            waiter.set_result(None)

    # -- what the client calls --------------------------------------------------------------------

    def write(self, payload: bytes) -> None:
        """Hand bytes to the broker, which acts on them at once."""
        if self._connection is not None:
            self._connection.receive(payload)

    def writelines(self, payload: list[bytes]) -> None:
        """Hand several commands to the broker."""
        for command in payload:
            self.write(command)

    async def drain(self) -> None:
        """Return at once: nothing is ever left to be written."""

    async def read(self, buffer_size: int) -> bytes:
        """Return what the broker sent, at most `buffer_size` bytes, or ``b""`` at EOF."""
        await self._wait_for_data()
        data = self._take()
        if len(data) > buffer_size:
            self._chunks.insert(0, data[buffer_size:])
            data = data[:buffer_size]
        return data

    async def readline(self) -> bytes:
        """Return one line with its line end, or whatever is left at EOF."""
        line = b""
        while not line.endswith(b"\n"):
            await self._wait_for_data()
            if not self._chunks:
                break
            data = line + self._take()
            line, end, rest = data.partition(b"\n")
            line += end
            if rest:
                self._chunks.append(rest)
        return line

    def _take(self) -> bytes:
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        return data

    async def _wait_for_data(self) -> None:
        """Return when there is data, or EOF."""
        while not self._chunks:
            if self._ending:
                # On a socket EOF is a separate event after the last bytes. A client that was told
                # to close by an -ERR gets to run its closing task in between and never sees it.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                self._ended = True
                return
            self._waiter = self._loop.create_future()
            await self._waiter

    def close(self) -> None:
        """Hang up. The broker forgets the client at once, the client learns of it a turn later."""
        if self._connection is not None and self._closed is not None:
            self._connection.close()
            self._connection = None
            self._loop.call_soon(_finish, self._closed)

    async def wait_closed(self) -> None:
        """Wait for the end of the connection; as on a socket, this always suspends."""
        if self._closed is not None:
            await self._closed

    def at_eof(self) -> bool:
        """Tell whether the client has read everything there will ever be."""
        return self._ended

    def __bool__(self) -> bool:
        return True


def _finish(closed: asyncio.Future[None]) -> None:
    if not closed.done():  # whoever waited may have been cancelled
        closed.set_result(None)


class EmbeddedClient(Client):
    """nats-py's client, connected to a `Broker` instead of a socket.

    Everything but the transport is the client's own. `_connect_to_server` is the one private
    method of nats-py that is overridden; `tests/dbservice/embedded/test_client_hook.py` guards it.
    """

    def __init__(self, broker: Listener) -> None:
        super().__init__()
        self._broker = broker

    async def _connect_to_server(self, s: Srv) -> None:
        if self._transport is None:
            self._transport = MemoryTransport(self._broker)
        await super()._connect_to_server(s)


class SurvivingEmbeddedClient(SurvivingClient, EmbeddedClient):
    """The same, for a service that has to go on whatever a test publishes."""
