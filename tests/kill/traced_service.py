"""Runs `rosey serve`, again and again, and marks in shared memory where it is around a commit.

Run as `python traced_service.py MARKS`, where MARKS is an inherited file descriptor of
`Marks.SIZE` bytes. Each line on stdin is a JSON list: the arguments of the next `rosey serve`. It
is served by a fork of this process, so that a restart does not cost the imports. Told on stdout:
`pid N` when it was forked, and `ended STATUS`. What is served ends with stdin.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dbservice.cli import serving  # noqa: F401 - imported once, before the forks
from dbservice.cli.app import run
from dbservice.engine import postgres
from dbservice.engine.sqlite_connection import Connection

with suppress(ImportError):
    import asyncpg  # noqa: F401


class Marks:
    """How many writing transactions are where; the memory outlives the process that counts.

    Args:
        descriptor: of a file of `SIZE` bytes, shared between the service and the test.
    """

    SIZE = 3 * 8
    OPEN, COMMITTING, COMMITTED = range(3)

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, self.SIZE)

    def __getitem__(self, place: int) -> int:
        """Return how many have begun (OPEN), are within COMMIT (COMMITTING), or are COMMITTED."""
        number: int = struct.unpack_from("q", self._memory, place * 8)[0]
        return number

    def move(self, place: int | None, following: int | None) -> None:
        """Count a transaction at its next place; None is nowhere."""
        if following is not None:
            struct.pack_into("q", self._memory, following * 8, self[following] + 1)
        if place is not None:
            struct.pack_into("q", self._memory, place * 8, self[place] - 1)

    def clear(self) -> None:
        self._memory[:] = bytes(self.SIZE)


class Follower:
    """Follows the transactions of all connections.

    Args:
        marks: where to count them.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._places: dict[int, int] = {}

    def begins(self, connection: object) -> None:
        self._go(connection, Marks.OPEN)

    @contextmanager
    def committing(self, connection: object) -> Iterator[None]:
        """Surround a COMMIT; one of a connection that only reads does not count."""
        writes = id(connection) in self._places
        if writes:
            self._go(connection, Marks.COMMITTING)
        yield
        if writes:
            self._marks.move(self._places.pop(id(connection)), Marks.COMMITTED)

    def undoes(self, connection: object) -> None:
        self._marks.move(self._places.pop(id(connection), None), None)

    def _go(self, connection: object, place: int) -> None:
        self._marks.move(self._places.get(id(connection)), place)
        self._places[id(connection)] = place


def follow_sqlite(follower: Follower) -> None:
    execute = Connection.execute

    def followed(connection: Any, sql: str) -> None:
        if sql == "COMMIT":
            with follower.committing(connection):
                execute(connection, sql)
            return
        if sql == "BEGIN IMMEDIATE":
            follower.begins(connection)
        execute(connection, sql)
        if sql == "ROLLBACK":
            follower.undoes(connection)

    Connection.execute = followed  # type: ignore[method-assign]


def follow_postgres(follower: Follower) -> None:
    command = postgres._Connection._command

    async def followed(connection: Any, sql: str) -> None:
        if sql == "COMMIT":
            with follower.committing(connection):
                await command(connection, sql)
            return
        if sql == postgres._WRITE:
            follower.begins(connection)
        await command(connection, sql)
        if sql == "ROLLBACK":
            follower.undoes(connection)

    postgres._Connection._command = followed  # type: ignore[method-assign]


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def keep_serving() -> None:
    """Fork a service for each line, one after the other."""
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            sys.exit(run(["serve", *json.loads(line)]))
        say(f"pid {child}")
        end_with_stdin(child)
        _, status = os.waitpid(child, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")


def end_with_stdin(child: int) -> None:
    """Wait until the child has ended, or kill it because nobody is there to do so."""
    watched = os.pidfd_open(child)
    ready, _, _ = select.select([watched, 0], [], [])
    if watched not in ready:
        os.kill(child, signal.SIGKILL)
    os.close(watched)


if __name__ == "__main__":
    watching = Follower(Marks(int(sys.argv[1])))
    follow_sqlite(watching)
    follow_postgres(watching)
    keep_serving()
