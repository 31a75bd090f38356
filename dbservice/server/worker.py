"""A worker process: runs what can take long on a database file, and can be killed (SPEC 3.4).

`python -m dbservice.server.worker FILE` is the template of all workers: it takes a socket for each
from its standard input and forks. Through that socket orders come in and answers go back, one at a
time. It imports neither an event loop, nor NATS, nor SQLAlchemy, and opens no database.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import socket
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

import dbservice.sql.query  # noqa: F401 - once, and not within the time of each first query
from dbservice.engine.errors import EngineError, MemoryExceededError, UnavailableError
from dbservice.engine.held_file import check_held
from dbservice.engine.orders import (
    COMMIT,
    Order,
    Way,
    framed,
    order_of,
    received,
    with_error,
    with_reply,
)
from dbservice.engine.sqlite_connection import OPTIONS, Connection, prepared
from dbservice.engine.sqlite_errors import translated
from dbservice.engine.steps import Steps
from dbservice.protocol.codec import encode_reply
from dbservice.protocol.errors import RequestError
from dbservice.protocol.names import Namespace, namespace
from dbservice.protocol.operations import OPERATIONS
from dbservice.protocol.subjects import Family
from dbservice.sql.tier import SqlTier
from dbservice.sqltext.dialects import Dialect
from dbservice.storage.operations import OperationSteps, Work

_MEMORY: Final = 64 * 1024 * 1024
"""Bytes that a process may take beyond what it has when it is ready."""

_NICENESS: Final = 5
"""How far a process that reads stands back: a third of the service's weight for a processor."""

_PR_SET_PDEATHSIG: Final = 1
_LONGEST_WAY: Final = 16
_BUSY_TIMEOUT: Final = 100
"""Milliseconds to wait for a file that a foreign process has locked."""


def main() -> None:
    """Fork a worker for every socket that comes, until the service is gone."""
    # Whoever ends the service ends its processes too, by closing the sockets.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no worker is waited for
    path, template = Path(sys.argv[1]), os.getpid()
    gc.freeze()
    with socket.socket(fileno=sys.stdin.fileno()) as control:
        while True:
            way, sockets, _, _ = socket.recv_fds(control, _LONGEST_WAY, 1)
            if not way:
                return
            if os.fork():
                os.close(sockets[0])
            else:
                control.close()
                _end_with(template)
                work(path, Way(way.decode()), socket.socket(fileno=sockets[0]))
                return


def work(path: Path, way: Way, channel: socket.socket) -> None:
    """Serve orders until the other end of the socket is closed."""
    try:
        worker = _Worker(path, reads_only=way is Way.READ)
    except UnavailableError as error:
        sys.exit(f"rosey: a worker process did not start: {error}")
    _limit_memory()
    if way is Way.READ:  # one that writes keeps everybody's writes waiting
        os.nice(_NICENESS)
    with channel, channel.makefile("rb") as orders, suppress(BrokenPipeError):
        channel.sendall(framed(str(os.getpid()).encode()))
        for answer in worker.answers(orders):
            channel.sendall(framed(answer))


class _Worker:
    """A connection, and the operations that run on it.

    Args:
        path: of the database file, which is there.
        reads_only: it takes no writes.
    """

    def __init__(self, path: Path, *, reads_only: bool) -> None:
        self._reads_only = reads_only
        self._connection = _connect(path, reads_only=reads_only)
        self._clock = _ServicesClock()
        self._max_reply = 0
        self._operations = OperationSteps(
            Dialect.SQLITE,
            self._clock,
            forget_migrations=_keep_migrations,
            max_reply=lambda: self._max_reply,
        )
        self._table: Mapping[tuple[Family, str], Work] = {
            **self._operations.table,
            (Family.SQL, "execute"): SqlTier(Dialect.SQLITE, lambda: self._max_reply).execute,
        }

    def answers(self, orders: BinaryIO) -> Iterator[bytes]:
        """Yield the answer to each order that comes."""
        while (order := received(orders)) is not None:
            yield self._answer(self._commit if order == COMMIT else lambda: self._serve(order))

    def _answer(self, serve: Callable[[], bytes]) -> bytes:
        failure: Exception
        try:
            return with_reply(serve())
        except sqlite3.Error as error:
            failure = translated(error)
        except (RequestError, EngineError) as error:
            failure = error
        except MemoryError:
            failure = MemoryExceededError(f"more than {_MEMORY} bytes")
        except Exception as error:  # noqa: BLE001 - the service logs what it says
            failure = EngineError("".join(traceback.format_exception(error)))
        self._connection.undo()
        return with_error(failure)

    def _serve(self, sent: bytes) -> bytes:
        order = order_of(sent)
        self._clock.now, self._max_reply = order.now, order.max_reply
        self._connection.begin("BEGIN" if self._reads_only else "BEGIN IMMEDIATE")
        reply = encode_reply(self._connection.drive(lambda: self._steps(order), order.seconds))
        if self._reads_only:
            self._connection.undo()
        return reply

    def _steps(self, order: Order) -> Steps[Any]:
        at = (order.family, order.operation)
        operation = OPERATIONS[at]
        request = msgspec.json.decode(order.request, type=operation.request)
        owner = namespace(order.plugin)
        return self._operations.steps(self._table[at], owner, operation, request, order.key)

    def _commit(self) -> bytes:
        self._connection.execute("COMMIT")
        return b""


class _ServicesClock:
    """Shows what the service's clock showed when the order was given."""

    now = 0.0

    def time(self) -> float:
        """Return that moment in Unix seconds."""
        return self.now


def _connect(path: Path, *, reads_only: bool) -> Connection:
    # SQLite would make a file that is not there, and remove the service's log beside an empty one.
    check_held(path)
    connection = prepared(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, **OPTIONS)
    )
    connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT}")
    if reads_only:
        connection.execute("PRAGMA query_only=ON")
        connection.clock = time.thread_time  # nobody waits for it but whoever asked
    return connection


def _end_with(template: int) -> None:
    """Be killed when the template ends, which ends with the service, however that ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != template:  # it ended before it was asked for
        os.kill(os.getpid(), signal.SIGKILL)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _keep_migrations(_namespace: Namespace) -> Steps[int]:
    """Stands for what is never asked of a worker: namespaces are cleared by the service."""
    yield from ()
    return 0


if __name__ == "__main__":
    main()
