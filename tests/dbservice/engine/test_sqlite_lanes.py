"""What is done to a database file on the event loop, and what on a thread."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from functools import partial
from pathlib import Path

from dbservice.engine.sqlite import SqliteEngine
from dbservice.engine.sqlite_connection import OPTIONS, prepared
from dbservice.engine.sqlite_lanes import WriterLane
from dbservice.engine.sqlite_transactions import Work
from dbservice.engine.steps import Statement, Steps


def test_a_plugin_whose_writes_take_long_holds_the_loop_up_once(tmp_path: Path) -> None:
    lane = WriterLane(
        "writer",
        connect=lambda: prepared(sqlite3.connect(tmp_path / "rosey.db", **OPTIONS)),
        disconnect=lambda connection: connection.raw.close(),
    )

    async def write() -> list[bool]:
        await lane.open()
        try:
            return [
                await lane.do(
                    Work(partial(_on_the_loop, seconds), 5, quick=True, alone=alone, plugin=plugin)
                )
                for alone in (False, True)
                for plugin, seconds in (("long", 0.01), ("long", 0.01), ("other", 0.0))
            ]
        finally:
            await lane.close()

    assert asyncio.run(write()) == [True, False, True] * 2


def _on_the_loop(seconds: float) -> Steps[bool]:
    time.sleep(seconds)  # as a long value takes in a single call
    yield Statement("SELECT 1")
    return threading.current_thread() is threading.main_thread()


async def test_a_plugin_whose_reads_take_long_holds_the_loop_up_once(tmp_path: Path) -> None:
    engine = SqliteEngine(f"sqlite:///{tmp_path / 'rosey.db'}")
    await engine.open()
    try:
        on_the_loop = [
            await engine.read(partial(_busy_on_the_loop, seconds), plugin=plugin)
            for plugin, seconds in (
                ("long", 0.01), ("long", 0.01), ("other", 0.0), ("long", 0.0), ("long", 0.0)
            )
        ]  # fmt: skip
    finally:
        await engine.close()
    assert on_the_loop == [True, False, True, False, True]


def _busy_on_the_loop(seconds: float) -> Steps[bool]:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    yield Statement("SELECT 1")
    return threading.current_thread() is threading.main_thread()
