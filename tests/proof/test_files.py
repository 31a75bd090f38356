"""The file of an SQLite database fails under load, and nothing acknowledged is lost.

`ROSEY_FILE_FAULTS` says how often each fault comes.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from dbservice.client import DatabaseUnavailable
from dbservice.engine.errors import UnavailableError
from dbservice.engine.sqlite import SqliteEngine
from dbservice.protocol.errors import ErrorCode
from tests import SEED
from tests.kill.replica import Replica
from tests.kill.system_calls import children_of, strace_problem
from tests.kill.writers import PLUGIN, Writers

pytestmark = [pytest.mark.kill, pytest.mark.process]

ROUNDS = int(os.environ.get("ROSEY_FILE_FAULTS", "3"))
LONGEST = 0.6
"""Seconds that a fault lasts."""


@contextmanager
def injected(fault: str, service: Replica, _file: Path) -> Iterator[None]:
    """Let system calls of the service fail, or take long.

    Args:
        fault: the calls and what becomes of them, as strace's `inject` has it.
        service: whose calls.
    """
    calls = fault.partition(":")[0]
    strace = ["strace", "-f", "-o", os.devnull, f"--attach={service.pid}"]
    asked = ["-e", f"trace={calls}", "-e", f"inject={fault}"]
    tracer = subprocess.Popen([*strace, *asked], stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    assert b"attached" in tracer.stderr.readline()
    yield
    tracer.terminate()
    tracer.communicate()


@contextmanager
def gone(_service: Replica, file: Path) -> Iterator[None]:
    """Move the file away, and back."""
    away = file.rename(file.with_suffix(".away"))
    yield
    away.replace(file)


@contextmanager
def replaced(service: Replica, file: Path) -> Iterator[None]:
    """Put an empty file in its place, while a worker starts anew."""
    with gone(service, file):
        file.touch()
        for worker in children_of(service.pid)[:1]:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        yield


FAULTS = {
    "full": partial(injected, "pwrite64:error=ENOSPC"),
    "read-only": partial(injected, "pwrite64:error=EROFS"),
    "broken": partial(injected, "fsync,fdatasync:error=EIO"),
    "slow": partial(injected, "pwrite64,fsync,fdatasync:delay_enter=20000"),
    "gone": gone,
    "replaced": replaced,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_is_acknowledged_while_the_file_fails_is_stored(
    fault: str, replica: Callable[..., Replica], disk: Path, writers: Writers
) -> None:
    problem = strace_problem() if isinstance(FAULTS[fault], partial) else None
    if problem:
        pytest.skip(problem)
    file, dice, met = disk / "failing.db", random.Random(SEED), set()
    service = replica(str(file), "--migrate")
    await asyncio.to_thread(service.start)
    await writers.prepare()
    for number in range(ROUNDS):
        async with writers.at_work():
            await asyncio.sleep(dice.uniform(0.1, LONGEST))
            with FAULTS[fault](service, file):
                await asyncio.sleep(dice.uniform(0.1, LONGEST))
            await served_again(writers)
            await asyncio.sleep(0.2)
        met |= {error.code for book in writers._books.values() for error in book.failed.values()}
        await writers.compare()
        assert not writers.findings.wrong, f"round {number}"
    assert ErrorCode.INTERNAL_ERROR not in met
    print(f"\n{ROUNDS} faults, {fault}, told as {sorted(met)}; {writers.findings}")


async def served_again(writers: Writers) -> None:
    """Wait until a write is taken; one that joins a commit from before is refused with the rest."""
    async with asyncio.timeout(10):
        while True:
            with suppress(DatabaseUnavailable):
                await writers._patient.kv.set("well", PLUGIN)
                return
            await asyncio.sleep(0.01)


async def test_a_file_that_was_truncated_is_refused(
    replica: Callable[..., Replica], disk: Path, writers: Writers
) -> None:
    """But for one without any byte left, which is a new database to SQLite, too."""
    file, dice = disk / "whole.db", random.Random(SEED)
    service = replica(str(file), "--migrate")
    await asyncio.to_thread(service.start)
    await writers.prepare()
    async with writers.at_work():
        await asyncio.sleep(0.5)
    await asyncio.to_thread(service.stop)
    content = file.read_bytes()
    for number in range(ROUNDS):
        cut = disk / f"cut-{number}.db"
        # What is not a whole page short, SQLite reads as if the rest were zeros.
        cut.write_bytes(content[: dice.randrange(100, len(content) - 4096)])
        engine = SqliteEngine(f"sqlite+aiosqlite:///{cut}")
        with pytest.raises(UnavailableError, match="malformed"):
            await engine.open()
    print(f"\n{ROUNDS} faults, truncated: refused")
