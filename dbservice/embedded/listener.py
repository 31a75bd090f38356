"""A broker on a TCP port of this machine, for clients that connect by themselves."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, cast

from typing_extensions import override

if TYPE_CHECKING:
    from dbservice.embedded.broker import Broker
    from dbservice.embedded.connection import Connection

LOOPBACK = "127.0.0.1"


def refuse(transport: asyncio.WriteTransport) -> None:
    """Reset a TCP connection that was just accepted, as the nearest thing to refusing it.

    nats-py forgets to close its socket when it reads EOF in place of a greeting; a reset closes
    it without its doing.
    """
    if not transport.is_closing():
        no_lingering = struct.pack("ii", 1, 0)
        accepted = transport.get_extra_info("socket")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_lingering)
    transport.abort()


class Listener:
    """Lets clients of other libraries, threads and processes connect to a `Broker`.

    They are served by the loop that opened it: while that stands still, nobody gets an answer.

    Args:
        broker: the broker.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._server: asyncio.Server | None = None
        self._peers: set[_Peer] = set()

    async def open(self) -> str:
        """Listen on a free port of loopback and return the URL."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Peer(self._broker, self._peers), LOOPBACK, 0
        )
        _, port = self._server.sockets[0].getsockname()
        return f"nats://{LOOPBACK}:{port}"

    async def close(self) -> None:
        """Hang up on everybody and listen no more."""
        if self._server is None:
            return
        self._server.close()
        for peer in list(self._peers):
            peer.hang_up()
        await self._server.wait_closed()


class _Peer(asyncio.Protocol):
    """One connection over TCP: what comes goes to the broker, what the broker says goes out."""

    def __init__(self, broker: Broker, peers: set[_Peer]) -> None:
        self._broker = broker
        self._peers = peers
        self._connection: Connection | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no subclasses, so that nothing can be asserted here.
        self._transport = cast("asyncio.Transport", transport)
        self._peers.add(self)
        try:
            self._connection = self._broker.accept(self)
        except ConnectionRefusedError:  # stopped
            refuse(self._transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.receive(data)

    @override
    def connection_lost(self, error: Exception | None) -> None:
        self._peers.discard(self)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def feed(self, data: bytes) -> None:
        """Write what the broker says."""
        self._transport.write(data)

    def feed_eof(self) -> None:
        """Hang up once that is written."""
        self._transport.close()

    def hang_up(self) -> None:
        """End the connection."""
        self._transport.abort()
