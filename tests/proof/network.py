"""Three nats-servers in a cluster whose routes can be cut."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Self

from pytest_rosey.servers.nats import BinaryServer, find_binary

LOOPBACK = "127.0.0.1"
NODES = (0, 1, 2)

CONFIGURATION = """
server_name: node-{node}
cluster {{
  name: rosey
  listen: {loopback}:{port}
  # Nobody comes in but by the cables.
  advertise: {loopback}:1
  routes: [{routes}]
}}
"""


class Cable:
    """Carries bytes to a port of this machine, until it is cut.

    Args:
        port: where it leads to.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_cut = False
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def plug(self) -> int:
        """Return the port where it begins."""
        self._server = await asyncio.start_server(self._carry, LOOPBACK, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Let nothing through until `mend()`."""
        self._is_cut = True
        for end in self._ends:
            end.transport.abort()

    def mend(self) -> None:
        """Let new connections through."""
        self._is_cut = False

    async def unplug(self) -> None:
        """Take it away."""
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._ends.add(writer)
        with suppress(OSError):
            if not self._is_cut:
                await self._both_ways(reader, writer)
        writer.transport.abort()
        self._ends.discard(writer)

    async def _both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(LOOPBACK, self._port)
        self._ends.add(back)
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            back.transport.abort()
            self._ends.discard(back)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    raise ConnectionResetError("one side has hung up")


class Cluster:
    """Three nodes, with a cable from each to each other.

    Args:
        directory: for their configurations.

    Attributes:
        nodes: the servers.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cables: dict[tuple[int, int], Cable] = {}
        self._stack = AsyncExitStack()
        self.nodes: list[BinaryServer] = []

    async def __aenter__(self) -> Self:
        ports = _free_ports(len(NODES))
        path = find_binary().path
        assert path is not None
        for node in NODES:
            routes = []
            for other in NODES:
                if other != node:
                    cable = self._cables[node, other] = Cable(ports[other])
                    routes.append(f'"nats://{LOOPBACK}:{await cable.plug()}"')
                    self._stack.push_async_callback(cable.unplug)
            file = self._directory / f"node-{node}.conf"
            how = {"node": node, "port": ports[node], "routes": ", ".join(routes)}
            file.write_text(CONFIGURATION.format(loopback=LOOPBACK, **how), "utf-8")
            server = BinaryServer(path, config=file)
            await asyncio.to_thread(server.start)
            self._stack.callback(server.stop)
            self.nodes.append(server)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def urls(self) -> list[str]:
        """Where clients connect, node by node."""
        return [node.url for node in self.nodes]

    def part(self, alone: int) -> None:
        """Cut a node off from the others; its clients stay with it."""
        for cable in self._between(alone):
            cable.cut()

    def join(self, alone: int) -> None:
        """Mend what `part` has cut."""
        for cable in self._between(alone):
            cable.mend()

    def _between(self, alone: int) -> list[Cable]:
        return [cable for ends, cable in self._cables.items() if alone in ends]


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
