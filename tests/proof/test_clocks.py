"""The machine's clock jumps under load, and nothing acknowledged is lost or stored twice.

`ROSEY_CLOCK_JUMPS` says how often. It jumps by hours either way, and never so far that a repeated
request is a day old: that long its answer is remembered.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

from dbservice.client import RequestTimeout
from dbservice.embedded.stack import Stack
from dbservice.runtime.clock import system_time
from tests import SEED
from tests.kill.writers import Writers

JUMPS = int(os.environ.get("ROSEY_CLOCK_JUMPS", "20"))
HOURS = 10
ROUND = 20
"""Jumps until what is stored is compared."""


async def test_the_clock_jumps(tmp_path: Path) -> None:
    dice, ahead, met = random.Random(SEED), 0.0, set()
    with system_time(lambda: time.time() + ahead):
        async with Stack(database_url=f"sqlite+aiosqlite:///{tmp_path / 'jumped.db'}") as stack:
            writers = Writers(await stack.connect())  # type: ignore[arg-type]
            await writers.prepare()
            for start in range(0, JUMPS, ROUND):
                async with writers.at_work():
                    for _ in range(start, min(start + ROUND, JUMPS)):
                        await asyncio.sleep(dice.uniform(0, 0.1))
                        ahead = dice.uniform(-HOURS, HOURS) * 3600
                for book in writers._books.values():
                    met |= {error.code for error in book.failed.values()}
                await writers.compare()
                assert not writers.findings.wrong
            assert met <= {RequestTimeout.code}, "but for a slow machine nothing fails"
            lifetimes = writers._patient.kv
            await lifetimes.set("short", 1, ttl_seconds=3600)
            ahead += 2 * 3600
            assert await lifetimes.get("short") is None
            ahead -= 20 * 3600
            await lifetimes.set("short", 2, ttl_seconds=3600)
            assert await lifetimes.get("short") == 2
    print(f"\n{JUMPS} jumps; {writers.findings}")
