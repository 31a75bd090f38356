"""A day of an operator: each part breaks in turn, and nobody says yes when nothing can be done.

The tests of a part tell what it says when it is asked alone; here all are asked at the same moment,
and each moment says beforehand what a request would meet.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from dbservice.cli.failure import OTHER_SERVICE
from pytest_rosey.servers.postgres import PostgresServer
from tests.operating.installation import Installation, install_polls

pytestmark = pytest.mark.process

FILE = "rosey.db"

PATIENCE = 40.0
"""Seconds in which a state has to settle; it bounds a broken run and measures nothing."""

COUNTED = "Total quotes: 5"
UP_TO_DATE = "Up to date: 3 migrations applied"
BEHIND = "0 migrations applied, 3 pending:"
FAILED = "That did not work"
REFUSED = "The quote database does not answer. Please try again"

Obstacles = frozenset[str]
WELL: Obstacles = frozenset()
CUT_OFF: Obstacles = frozenset({"not connected to the NATS server"})
GONE: Obstacles = frozenset({"no database service answers"})
SLOW: Obstacles = frozenset({"the database service does not answer in time"})
NO_TABLES: Obstacles = frozenset({"migrations are not applied"})
NO_FILE: Obstacles = frozenset({"its file is not the one any more that was opened"})
NO_DATABASE: Obstacles = frozenset({"the database service answers DATABASE_UNAVAILABLE"})
LEFT_ALONE = "circuit breaker open"
"""What quote-db may say besides: requests failed, and it sends no more."""


class Moment(NamedTuple):
    """What an operator does, and what is true then.

    Attributes:
        name: what has happened.
        do: makes it happen.
        service: what keeps the service from serving, in the words of its pages; nothing if it does.
        quotes: the same of the plugin quote-db.
        polls: the same of the plugin of another package.
        count: a part of what `!quote count` says.
        status: a part of what `rosey migrate quote-db status` says.
        reads: reads are answered although writes are not.
    """

    name: str
    do: Callable[[Installation], object]
    service: Obstacles = WELL
    quotes: Obstacles = WELL
    polls: Obstacles = WELL
    count: str = COUNTED
    status: str = UP_TO_DATE
    reads: bool = False

    def is_true(self, who: str, yes: bool, words: str) -> bool:
        """Return whether an answer is what a request would meet."""
        match who.split():
            case ["!quote", "count"]:
                return yes is (self.reads or not self.quotes) and self.count in words
            case ["migrate", "quote-db", "status"]:
                return yes is not bool(self.quotes) and self.status in words
            case ["polls", "read"]:
                return yes is (self.reads or not self.polls)
            case ["polls", "write"]:
                return yes is not bool(self.polls or self.service)
            case ["service", _]:
                return is_true_page(self.service, yes, words)
            case ["quote-db", _]:
                return is_true_page(self.quotes and self.quotes | {LEFT_ALONE}, yes, words)
            case _:
                return is_true_page(self.polls, yes, words)


def is_true_page(obstacles: Obstacles, yes: bool, words: str) -> bool:
    """Return whether a page says yes when nothing is in the way, and blames nothing else."""
    blamed = {part.rpartition(": ")[2] for part in words.split("; ")}
    return yes if not obstacles else not yes and blamed <= obstacles


def start(here: Installation) -> None:
    here.serve()
    here.start("polls")
    refused = here.rosey("plugin", "start", "quote-db")
    assert refused.returncode == 1, refused
    assert "rosey migrate quote-db apply" in refused.stderr


def migrate(here: Installation) -> None:
    for plugin in ("quote-db", "polls"):
        assert here.rosey("migrate", plugin, "apply").returncode == 0
    here.start("quote-db")


def serve_another_database(here: Installation) -> None:
    here.kill()
    here.serve("another.db")


def serve_a_second_database(here: Installation) -> None:
    """Whoever comes later withdraws, and says so with an exit code of its own."""
    refused = here.rosey("serve", "--db", "second.db")
    assert refused.returncode == OTHER_SERVICE, refused
    assert "another database" in refused.stderr


def restart(here: Installation) -> None:
    here.kill()
    here.serve()


def move(here: Installation, source: str, target: str) -> None:
    (here.directory / source).replace(here.directory / target)


def copy_back(here: Installation) -> None:
    shutil.copy(here.directory / "aside.db", here.directory / FILE)


MIGRATED = [
    Moment(
        "service started, nothing migrated",
        start,
        quotes=NO_TABLES,
        polls=NO_TABLES,
        count="NoRespondersError",
        status=BEHIND,
    ),
    Moment("migrated", migrate),
]
ON_A_FILE = [
    *MIGRATED,
    Moment(
        "nats-server stopped",
        lambda here: here.server.kill(),
        service=CUT_OFF,
        quotes=CUT_OFF,
        polls=CUT_OFF,
        count="no NATS server",
        status="No NATS server answers",
    ),
    Moment("nats-server back", lambda here: here.server.start()),
    Moment(
        "service killed",
        lambda here: here.kill(),
        service=frozenset({"nobody listens"}),
        quotes=GONE,
        polls=GONE,
        count=REFUSED,
        status="No database service answers",
    ),
    Moment("service started again", lambda here: here.serve()),
    Moment(
        "service paused",
        lambda here: here.signal(signal.SIGSTOP),
        service=frozenset({"no answer"}),
        quotes=SLOW,
        polls=SLOW,
        count=REFUSED,
        status="No reply on",
    ),
    Moment("service resumed", lambda here: here.signal(signal.SIGCONT)),
    Moment(
        "tables rolled back",
        lambda here: here.rosey("migrate", "quote-db", "rollback", "--all"),
        quotes=NO_TABLES,
        count=FAILED,
        status=BEHIND,
    ),
    Moment("tables applied again", lambda here: here.rosey("migrate", "quote-db", "apply")),
    # Reads are still answered, from the file that is open, and writes are refused: not ready.
    Moment(
        "database file gone",
        lambda here: move(here, FILE, "aside.db"),
        service=NO_FILE,
        quotes=NO_DATABASE,
        polls=NO_DATABASE,
        status="DATABASE_UNAVAILABLE",
        reads=True,
    ),
    Moment(
        "database file replaced",
        copy_back,
        service=NO_FILE,
        quotes=NO_DATABASE,
        polls=NO_DATABASE,
        status="DATABASE_UNAVAILABLE",
        reads=True,
    ),
    Moment("database file put back", lambda here: move(here, "aside.db", FILE)),
    Moment("a second database on the bus", serve_a_second_database),
    Moment(
        "served from another database",
        serve_another_database,
        quotes=NO_TABLES,
        polls=NO_TABLES,
        count=FAILED,
        status=BEHIND,
    ),
    Moment("served from its own again", restart),
]


async def test_everybody_says_what_a_request_would_meet(
    own_server: Any, rosey: Any, start: Any, tmp_path: Path
) -> None:
    install_polls(tmp_path / "packages")
    await live_through(ON_A_FILE, Installation(own_server, tmp_path, FILE, rosey, start))


def on_postgresql(server: PostgresServer) -> list[Moment]:
    """Return what is different there: the database is a process of its own."""

    def stop(here: Installation) -> None:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGQUIT)

    return [
        *MIGRATED,
        Moment(
            "PostgreSQL stopped",
            stop,
            service=frozenset({"it cannot be reached"}),
            quotes=NO_DATABASE,
            polls=NO_DATABASE,
            count=REFUSED,
            status="DATABASE_UNAVAILABLE",
        ),
        Moment("PostgreSQL back", lambda here: server.restart()),
        # Reads are still answered, as where the file is gone.
        Moment(
            "PostgreSQL set to read only",
            lambda here: set_read_only(server, "on"),
            service=frozenset({"it is read-only"}),
            quotes=NO_DATABASE,
            polls=NO_DATABASE,
            status="DATABASE_UNAVAILABLE",
            reads=True,
        ),
        Moment("PostgreSQL writable again", lambda here: set_read_only(server, "off")),
    ]


def set_read_only(server: PostgresServer, value: str) -> None:
    async def alter() -> None:
        connection = await asyncpg.connect(server.url().replace("+asyncpg", ""))
        await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    asyncio.run(alter())


async def test_everybody_says_it_on_postgresql_too(
    own_server: Any, own_postgres: PostgresServer, rosey: Any, start: Any, tmp_path: Path
) -> None:
    install_polls(tmp_path / "packages")
    here = Installation(own_server, tmp_path, own_postgres.url(), rosey, start)
    await live_through(on_postgresql(own_postgres), here)


async def live_through(moments: list[Moment], here: Installation) -> None:
    """Let all of it happen, and fail for whoever said what was not true."""
    untrue = []
    with (here.directory / "operating.md").open("w", buffering=1) as table:
        for moment in moments:
            await asyncio.to_thread(moment.do, here)
            for who, (yes, words) in (await settled(here, moment)).items():
                true = "true" if moment.is_true(who, yes, words) else "UNTRUE"
                line = f"| {moment.name} | {who} | {'yes' if yes else 'no'}: {words} | {true} |"
                table.write(f"{line}\n")
                print(line, flush=True)
                if true != "true":
                    untrue.append(line)
    assert not untrue, "\n".join(untrue)


async def settled(here: Installation, moment: Moment) -> dict[str, tuple[bool, str]]:
    """Return what all say once all agree with what is true, or the last answers if they do not.

    They are asked once more then: what is true stays so.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answers = await here.answers()
        if all(moment.is_true(who, *said) for who, said in answers.items()):
            break
    return await here.answers()
