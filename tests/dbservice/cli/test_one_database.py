"""One bus, one database; one file, one service: `rosey` as operators run it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import asyncpg
import pytest

PATIENCE = 30


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Two databases of an engine."""
    if request.param == "sqlite":
        yield "a.db", "b.db"
        return
    first, server = request.getfixturevalue("empty_postgres"), request.getfixturevalue("postgres")
    asyncio.run(execute(first, "CREATE DATABASE one_more"))
    yield first, server.url("one_more")
    asyncio.run(execute(first, "DROP DATABASE one_more WITH (FORCE)"))


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(statement)
    await connection.close()


def test_a_second_database_does_not_get_on_the_bus(serve, rosey, own_server, databases):
    """Nor does it migrate there, neither its own nor the one that is served."""
    first, second = databases
    serve("--nats", own_server.url, "--db", first)
    refused = rosey("serve", "--nats", own_server.url, "--db", second, "--migrate")
    assert refused.returncode == 4
    assert "rosey: ready" not in refused.stdout
    assert "A service of another database answers on this bus" in refused.stderr
    assert "Traceback" not in refused.stderr
    for where in (("--nats", own_server.url), ("--db", second)):
        status = rosey("migrate", "quote-db", "status", *where)
        assert status.stdout.startswith("0 migrations applied, 3 pending"), status


def test_one_that_was_silent_is_noticed_when_it_speaks_again(serve, own_server, databases):
    first = serve("--nats", own_server.url, "--db", databases[0])
    first.process.send_signal(signal.SIGSTOP)
    try:
        second = serve("--nats", own_server.url, "--db", databases[1], "--peer-interval", "0.2")
    finally:
        first.process.send_signal(signal.SIGCONT)
    assert second.process.wait(PATIENCE) == 4
    assert "answers on this bus" in second.log.read_text("utf-8")
    assert first.process.poll() is None


def test_migrate_migrates_its_own_database_before_it_takes_requests(
    serve, rosey, own_server, databases
):
    served = serve("--nats", own_server.url, "--db", databases[0], "--migrate")
    assert served.stop() == 0
    status = rosey("migrate", "quote-db", "status", "--db", databases[0])
    assert status.returncode == 0, status.stderr


def test_replicas_of_one_database_share_a_bus(serve, rosey, own_server, empty_postgres):
    for _ in range(2):
        serve("--nats", own_server.url, "--db", empty_postgres, "--migrate")
    status = rosey("migrate", "quote-db", "status", "--nats", own_server.url)
    assert status.stdout.startswith("Up to date: 3 migrations applied")
