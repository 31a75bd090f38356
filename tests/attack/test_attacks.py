"""A few attacks, shortly: nothing is lost, memory stays bounded, and a neighbour is served.

Milliseconds on a machine that is shared say nothing, so the neighbour is measured against an echo
through the same server, beside the same attack. The whole table is printed by
`python -m tests.attack`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_rosey.servers.postgres import PostgresServer
from tests import SEED
from tests.attack.__main__ import heading, shown
from tests.attack.attacks import chosen
from tests.attack.fuzz import fuzzed
from tests.attack.stage import MEGABYTE, Line, end, staged

pytestmark = pytest.mark.process

SECONDS = float(os.environ.get("ROSEY_ATTACK_SECONDS", "2"))
CHOICE = os.environ.get(
    "ROSEY_ATTACKS",
    "$like with 2,SQL: instr,SQL: array_agg,ids of all long rows,update of every row",
)
FUZZED = int(os.environ.get("ROSEY_ATTACK_FUZZED", "1000"))
RATE = 60.0
MOST_MEMORY = 300 * MEGABYTE

SLOWER = 20
"""How many times the echo's median a get beside an attack may take; it is 2 to 3 if quiet."""


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[str, int | None]]:
    if engine == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}", None
        return
    server: PostgresServer = request.getfixturevalue("own_postgres")
    yield server.url(), server.pid


@pytest.mark.parametrize("accounts", [False, True], ids=["one account", "accounts"])
async def test_a_neighbour_is_served(
    engine: str, accounts: bool, database: tuple[str, int | None], tmp_path: Path
) -> None:
    url, server = database
    async with staged(tmp_path, url, accounts=accounts, rate=RATE, server=server) as stage:
        await stage.set_up()
        print(heading(), end="")
        attacks = chosen(CHOICE, engine)
        for attack in attacks:
            line = await stage.play(attack, SECONDS)
            print(shown(line), end="")
            check(line)
        print(f"{len(attacks)} attacks")


def check(line: Line) -> None:
    during = line.phases["during"]
    assert line.lost == 0, (line.attack, during)
    assert line.peak <= MOST_MEMORY, (line.attack, line.peak)
    assert during["get"]["p50"] <= SLOWER * max(during["echo"]["p50"], 1.0), (line.attack, during)


async def test_whatever_is_sent_is_answered(
    engine: str, database: tuple[str, int | None], tmp_path: Path
) -> None:
    url, server = database
    async with staged(tmp_path, url, accounts=False, rate=RATE, server=server) as stage:
        await stage.set_up()
        with stage.serving():
            got, neighbour = await stage.beside_neighbour(fuzzed(SEED), FUZZED, at_once=32)
    assert sum(got.values()) == FUZZED
    assert neighbour["sent"] > neighbour["lost"] == 0
    assert got.keys() <= {"OK", *REFUSALS}, got
    assert b"Traceback" not in stage.log.read_bytes()
    print(f"{FUZZED} requests")


REFUSALS = frozenset(
    {"INVALID_JSON", "INVALID_SUBJECT", "MISSING_FIELD", "VALIDATION_ERROR", "VALUE_TOO_LARGE"}
    | {"CONSTRAINT_VIOLATION", "NAMESPACE_CONFLICT", "FORBIDDEN", "IDEMPOTENCY_CONFLICT"}
    | {"MIGRATION_NOT_FOUND", "MIGRATION_ORDER", "LOCK_TIMEOUT", "TIMEOUT", "OVERLOADED"}
)
"""What a hostile request may get; INTERNAL_ERROR and no answer at all are not among it."""


async def test_an_attacker_ends_with_its_attack() -> None:
    async def obeys() -> None:
        await asyncio.Event().wait()

    async def swallows_a_cancellation() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(work()) for work in (obeys, swallows_a_cancellation)]
    await asyncio.sleep(0)
    await end(tasks)
    assert all(task.cancelled() for task in tasks)
