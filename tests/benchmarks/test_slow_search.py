"""How much longer gets take beside a search of five seconds, on a file (SPEC 3.2).

`ROSEY_BENCH=1 pytest -s tests/benchmarks/test_slow_search.py` measures it. Nothing is asserted
about seconds: the figures are for the reader.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from dbservice.client import StorageClient
from pytest_rosey.servers.nats import BinaryServer, find_binary

if not os.environ.get("ROSEY_BENCH"):
    pytest.skip("a benchmark: set ROSEY_BENCH=1", allow_module_level=True)

pytestmark = pytest.mark.benchmark_long

ROWS = 40_000
LENGTH = 600
SEARCH_SECONDS = 5.0
MOST_CONDITIONS = 200
WORD = {"in SQLite": "nowhere to be found", "through a function of Python": "nirgendwo zu höRen"}
OPERATOR = {"in SQLite": "$like", "through a function of Python": "$ilike"}


@pytest.fixture
def nats_url() -> Iterator[str]:
    found = find_binary()
    if found.path is None:
        pytest.skip("no nats-server binary")
    server = BinaryServer(found.path)
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def service(nats_url: str, tmp_path: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "dbservice", "serve", "--nats", nats_url, "--db", "rows.db"]
    # The search is to end by itself.
    command += ["--statement-timeout", "60", "--log-level", "warning"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"rosey: ready")
    yield
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.fixture
async def storage(nats_url: str, service: None) -> AsyncIterator[StorageClient]:
    client = await nats.connect(nats_url)
    storage = StorageClient(client, "bench", timeout=60)
    notes = storage.rows("notes")
    await notes.register([{"name": "text", "type": "text"}])
    for start in range(0, ROWS, 1_000):
        await notes.insert_many([{"text": text_of(start + number)} for number in range(1_000)])
    await storage.kv.set("key", "value")
    yield storage
    await client.close()


@pytest.mark.parametrize("where", list(WORD))
async def test_gets_beside_a_slow_search(storage: StorageClient, where: str) -> None:
    conditions = await enough_conditions(storage, where)
    alone = await gets(storage, asyncio.create_task(asyncio.sleep(SEARCH_SECONDS / 2)))
    began = time.perf_counter()
    search = asyncio.create_task(searched(storage, conditions))
    beside = await gets(storage, search)
    seconds = time.perf_counter() - began
    assert search.result() == 0
    alone += await gets(storage, asyncio.create_task(asyncio.sleep(SEARCH_SECONDS / 2)))
    report(where, seconds, alone, beside)


async def enough_conditions(storage: StorageClient, where: str) -> list[dict[str, Any]]:
    """Return so many conditions that one search for them takes about five seconds."""
    one = [{"text": {OPERATOR[where]: f"%{WORD[where]} {number}%"}} for number in range(4)]
    began = time.perf_counter()
    await searched(storage, one)
    seconds = (time.perf_counter() - began) / len(one)
    number = min(MOST_CONDITIONS, round(SEARCH_SECONDS / seconds))
    return [{"text": {OPERATOR[where]: f"%{WORD[where]} {place}%"}} for place in range(number)]


async def searched(storage: StorageClient, conditions: list[dict[str, Any]]) -> int:
    return (await storage.rows("notes").search({"$or": conditions}, limit=10)).total


async def gets(storage: StorageClient, until: asyncio.Task[Any]) -> list[float]:
    """Get rows and keys one after another until a task has ended; return seconds."""
    notes, took = storage.rows("notes"), []
    while not until.done():
        began = time.perf_counter()
        if len(took) % 2:
            assert await storage.kv.get("key") == "value"
        else:
            assert await notes.get(len(took) % ROWS + 1) is not None
        took.append(time.perf_counter() - began)
    assert len(took) > 100, "too few gets to speak of a percentile"
    return took


def text_of(number: int) -> str:
    """Return a text in which every pattern nearly matches, over and over."""
    return (f"note {number} " + "nowher nirgendwo zu " * LENGTH)[:LENGTH]


def report(where: str, seconds: float, alone: list[float], beside: list[float]) -> None:
    sys.stdout.write(f"\nbeside a search of {seconds:.1f} s, matching {where}:\n")
    for name, took in (("gets alone", alone), ("beside the search", beside)):
        cuts = statistics.quantiles(took, n=100)
        sys.stdout.write(
            f"  {name:18} {len(took):6} of them, p50 {cuts[49] * 1e3:.2f} ms, p95 "
            f"{cuts[94] * 1e3:.2f} ms, p99 {cuts[98] * 1e3:.2f} ms, longest "
            f"{max(took) * 1e3:.1f} ms\n"
        )
    ratio = statistics.quantiles(beside, n=20)[18] / statistics.quantiles(alone, n=20)[18]
    sys.stdout.write(f"  p95 beside / alone: {ratio:.2f}\n")
