"""A service that is killed at any instant loses nothing it acknowledged, and doubles nothing.

`ROSEY_KILL_ROUNDS=200 pytest -m kill -s tests/kill/test_service_kills.py` makes the long run and
prints its figures. A killed process leaves the page cache alive, so this shows nothing about the
disk: `test_fsync_order.py` does.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import nats
import pytest

from pytest_rosey.servers.postgres import PostgresServer
from tests import SEED
from tests.kill.replica import Death, Replica
from tests.kill.traced_service import Marks
from tests.kill.writers import PLUGIN, TABLE, Writers

pytestmark = [pytest.mark.kill, pytest.mark.process]

ROUNDS = int(os.environ.get("ROSEY_KILL_ROUNDS", "6"))
POSTGRES_ROUNDS = max(6, ROUNDS // 4)
LONGEST_LIFE = 0.4
"""Seconds from the readiness of a service to its end."""


@pytest.fixture
async def writers(real_nats: str) -> AsyncIterator[Writers]:
    client = await nats.connect(real_nats)
    yield Writers(client)
    await client.close()


async def test_a_killed_service_keeps_what_it_acknowledged(
    replica: Callable[..., Replica], disk: Path, writers: Writers
) -> None:
    database = disk / "killed.db"
    service, dice, deaths = replica(str(database)), random.Random(SEED), []
    began = time.perf_counter()
    await asyncio.to_thread(service.start)
    await writers.prepare()
    for number in range(ROUNDS):
        async with writers.at_work():
            # Now and then once more, while the writers repeat what the first kill cost them.
            for _ in range(dice.choice((1, 1, 1, 2))):
                deaths.append(await killed_somewhere(service, number, dice))
                await asyncio.to_thread(service.start)
        await writers.compare()
        assert not writers.findings.wrong, f"round {number}"
    await asyncio.to_thread(service.stop)
    report("SQLite file", deaths, writers, time.perf_counter() - began)
    assert examined(database) == ("ok", writers.findings.rows)
    places = Counter(death.place for death in deaths)
    assert places["inside"] >= len(deaths) // 4, "too few kills landed inside a commit"


async def test_one_of_two_replicas_is_killed(
    replica: Callable[..., Replica], durable_postgres: PostgresServer, writers: Writers
) -> None:
    url = durable_postgres.url()
    replicas, dice, deaths = [replica(url), replica(url)], random.Random(SEED), []
    began = time.perf_counter()
    for each in replicas:
        await asyncio.to_thread(each.start)
    await writers.prepare()
    for number in range(POSTGRES_ROUNDS):
        killed, other = dice.sample(replicas, 2)
        async with writers.at_work():
            deaths.append(await killed_somewhere(killed, number, dice))
            await other.has(Marks.COMMITTED, more_than=other.marks[Marks.COMMITTED] + 5)
            await asyncio.to_thread(killed.start)
        await writers.compare()
        assert not writers.findings.wrong, f"round {number}"
    for each in replicas:
        await asyncio.to_thread(each.stop)
    report("two replicas on PostgreSQL", deaths, writers, time.perf_counter() - began)
    places = Counter(death.place for death in deaths)
    assert places["inside"] >= len(deaths) // 4, "too few kills landed inside a commit"


async def killed_somewhere(service: Replica, number: int, dice: random.Random) -> Death:
    """Kill at a random instant; two of three times go on to the next place of interest."""
    await asyncio.sleep(dice.uniform(0, LONGEST_LIFE))
    place = (None, Marks.COMMITTING, Marks.OPEN)[number % 3]
    if place is not None:
        await service.has(place)
    return service.kill()


def examined(database: Path) -> tuple[str, int]:
    """Return what SQLite itself says about the file, and how many rows are in the table."""
    connection = sqlite3.connect(database)
    try:
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        (table,) = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE ?",
            (f"{PLUGIN}%{TABLE}",),
        ).fetchone()
        return verdict, connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
    finally:
        connection.close()


def report(what: str, deaths: list[Death], writers: Writers, seconds: float) -> None:
    findings = writers.findings
    places = Counter(death.place for death in deaths)
    sys.stdout.write(
        f"\n{what}: {len(deaths)} kills in {seconds:.0f} s; before a commit {places['before']}, "
        f"inside {places['inside']}, after {places['after']}; transactions committed "
        f"{sum(death.committed for death in deaths)}, cut off open "
        f"{sum(death.open for death in deaths)}, cut off within COMMIT "
        f"{sum(death.committing for death in deaths)}\n"
        f"  writes acknowledged {findings.acknowledged}, lost {len(findings.lost)}, doubled "
        f"{len(findings.doubled)}; reported failed {findings.failed}, of these stored once "
        f"{findings.failed_but_stored}; repeats answered from the first execution "
        f"{writers.nats.replayed}\n"
    )
