"""PostgreSQL with a streaming standby: the primary is killed under load, and the standby promoted.

The standby is synchronous, as it has to be where nothing acknowledged may be lost; the service
finds the primary under an address that moves, as it would by a name or a virtual address.
`ROSEY_FAILOVERS` says how often.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typing_extensions import override

from pytest_rosey.servers.command import answered
from pytest_rosey.servers.postgres import PostgresServer, binary
from tests import SEED
from tests.kill.replica import Replica
from tests.kill.system_calls import children_of
from tests.kill.writers import PLUGIN, Writers

pytestmark = [pytest.mark.kill, pytest.mark.process]

FAILOVERS = int(os.environ.get("ROSEY_FAILOVERS", "1"))
LONGEST_LIFE = 1.0


class Standby(PostgresServer):
    """A server that begins as a copy of another one, and follows it.

    Args:
        primary: the other one.
    """

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__(durable=True)
        self._primary = primary

    @override
    def _make_cluster(self, directory: Path) -> None:
        command: list[str | Path] = [self._binary("pg_basebackup"), "-R", "-c", "fast"]
        command += ["-h", sockets_of(self._primary), "-U", "rosey", "-D", directory / "data"]
        done = answered(command, 60, cwd=directory, **binary._as_unprivileged())
        assert done.returncode == 0, done.stdout


def sockets_of(server: PostgresServer) -> Path:
    """Return the directory in which a server listens."""
    return server._started_directory()


async def ask(server: PostgresServer, *statements: str) -> Any:
    """Run some statements; return the value of the last."""
    connection = await asyncpg.connect(server.url().replace("+asyncpg", ""))
    try:
        return [await connection.fetchval(each) for each in statements][-1]
    finally:
        await connection.close()


async def followed(primary: PostgresServer, stack: ExitStack) -> Standby:
    """Return a standby without which the primary acknowledges nothing from now on."""
    standby = Standby(primary)
    stack.callback(standby.stop)
    await asyncio.to_thread(standby.start)
    await ask(
        primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"
    )
    async with asyncio.timeout(30):
        while not await ask(  # noqa: ASYNC110 - the server sends no event for this
            primary, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        ):
            await asyncio.sleep(0.05)
    return standby


def point(address: Path, server: PostgresServer) -> None:
    """Let the address of the primary lead to a server."""
    beside = address.with_suffix(".next")
    beside.symlink_to(sockets_of(server))
    beside.replace(address)


async def test_a_standby_is_promoted(
    replica: Callable[..., Replica],
    durable_postgres: PostgresServer,
    writers: Writers,
    tmp_path: Path,
) -> None:
    dice, address, primary = random.Random(SEED), tmp_path / "primary", durable_postgres
    point(address, primary)
    url = primary.url().replace(str(sockets_of(primary)), str(address))
    replicas = [replica(url), replica(url)]
    for each in replicas:
        await asyncio.to_thread(each.start)
    await writers.prepare()
    with ExitStack() as stack:
        for number in range(FAILOVERS):
            standby = await followed(primary, stack)
            async with writers.at_work():
                await asyncio.sleep(dice.uniform(0.2, LONGEST_LIFE))
                assert primary.pid is not None
                for process in (primary.pid, *children_of(primary.pid)):
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                await asyncio.sleep(dice.uniform(0, LONGEST_LIFE))
                await ask(standby, "SELECT pg_promote()")
                point(address, standby)
                await writers._patient.kv.set("well", PLUGIN)
            await writers.compare()
            assert not writers.findings.wrong, f"failover {number}"
            primary = standby
        for each in replicas:
            await asyncio.to_thread(each.stop)
    print(f"\n{FAILOVERS} failovers; {writers.findings}")
