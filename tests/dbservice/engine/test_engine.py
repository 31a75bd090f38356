"""What an engine promises: group commit, isolation of failures, time limits (SPEC 3.1 to 3.4)."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dbservice.engine.engine import Engine
from dbservice.engine.errors import (
    ConstraintError,
    EngineError,
    StatementTimeoutError,
    UnavailableError,
)
from dbservice.engine.sqlite import SqliteEngine
from dbservice.engine.steps import Statement, Steps
from dbservice.protocol import ErrorCode, RequestError
from tests.dbservice.storage.caller import ONLY_ON_SQLITE, MakeEngine

FOREVER = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT 1 FROM c) SELECT COUNT(*) FROM c"
A_WHILE = (
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 50000) "
    "SELECT COUNT(*) FROM c"
)


def create() -> Steps[None]:
    yield Statement("CREATE TABLE t (n INTEGER PRIMARY KEY)")


def add(*numbers: int) -> Callable[[], Steps[int]]:
    def steps() -> Steps[int]:
        for number in numbers:
            yield Statement("INSERT INTO t (n) VALUES (?)", (number,))
        return numbers[0]

    return steps


def add_then_fail(number: int) -> Callable[[], Steps[int]]:
    def steps() -> Steps[int]:
        yield from add(number)()
        raise RequestError(ErrorCode.VALIDATION_ERROR, f"no to {number}")

    return steps


def everything() -> Steps[list[int]]:
    result = yield Statement("SELECT n FROM t ORDER BY n")
    return [row[0] for row in result.rows]


@pytest.fixture
async def opened(engine: Engine) -> Engine:
    """Return an open engine with an empty table `t`."""
    await engine.open()
    await engine.exclusive(create)
    return engine


@pytest.fixture
async def on_file(tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    """Return an open engine on a file, whose statements may take as long as they like."""
    engine = SqliteEngine(f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}", statement_timeout=600)
    await engine.open()
    await engine.exclusive(create)
    yield engine
    await engine.close()


class Gate:
    """An operation that holds the writer's thread until it is told to go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> Steps[int]:
        self.reached.set()
        assert self.released.wait(30)
        yield Statement("SELECT 1")
        return 0


async def queued(engine: SqliteEngine, *works: Callable[[], Steps[Any]]) -> list[asyncio.Task[Any]]:
    """Queue writes while the writer is busy, so that they are taken as one batch."""
    gate = Gate()
    busy = asyncio.create_task(engine.write(gate))
    await asyncio.to_thread(gate.reached.wait)
    tasks = [asyncio.create_task(engine.write(work)) for work in works]
    await asyncio.sleep(0)  # each task has now put its job into the queue
    gate.released.set()
    await busy
    return tasks


# --- what is written -----------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
async def test_failures_among_a_hundred_concurrent_writes_take_back_only_themselves(
    opened: Engine, quick: bool
) -> None:
    await opened.write(add(1000), quick=quick)
    works = {number: add(number) for number in range(100)}
    works[20] = add_then_fail(20)
    works[40] = add(40, 1000)
    outcomes = await asyncio.gather(
        *(opened.write(work, quick=quick) for work in works.values()), return_exceptions=True
    )
    failed = {number: outcome for number, outcome in enumerate(outcomes) if outcome != number}
    assert {number: type(error) for number, error in failed.items()} == {
        20: RequestError,
        40: ConstraintError,
    }
    expected = [number for number in range(100) if number not in failed]
    assert await opened.read(everything) == [*expected, 1000]


async def test_writes_that_wait_together_share_one_commit(tmp_path: Path) -> None:
    commits: list[int] = []
    engine = SqliteEngine(f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}", on_commit=commits.append)
    await engine.open()
    await engine.exclusive(create)
    commits.clear()
    last = Gate()
    tasks = await queued(engine, *map(add, range(50)), add_then_fail(50), last)
    await asyncio.to_thread(last.reached.wait)
    assert await engine.read(everything) == []
    assert not any(task.done() for task in tasks)
    last.released.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[:50] == list(range(50))
    assert isinstance(outcomes[50], RequestError)
    assert await engine.read(everything) == list(range(50))
    assert len(commits) == 2
    await engine.close()


async def test_a_write_that_runs_out_of_time_costs_no_other_its_commit(tmp_path: Path) -> None:
    """SQLite answers the interruption of a write by undoing the whole transaction."""
    engine = SqliteEngine(f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}", statement_timeout=0.2)
    await engine.open()
    await engine.exclusive(create)

    def slow() -> Steps[None]:
        yield from add(77)()
        yield Statement(f"INSERT INTO t (n) {FOREVER}")

    tasks = await queued(engine, add(1), add_then_fail(2), slow, add(3))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [outcomes[0], outcomes[3]] == [1, 3]
    assert isinstance(outcomes[1], RequestError)
    assert isinstance(outcomes[2], StatementTimeoutError)
    assert await engine.read(everything) == [1, 3]
    await engine.close()


async def test_a_constraint_found_broken_by_the_commit_costs_no_other_its_commit(
    on_file: SqliteEngine,
) -> None:
    def deferred() -> Steps[None]:
        yield Statement("CREATE TABLE c (n INTEGER REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)")

    def orphan() -> Steps[None]:
        yield Statement("INSERT INTO c (n) VALUES (99)")

    await on_file.exclusive(deferred)
    outcomes = await asyncio.gather(
        *await queued(on_file, add(1), orphan, add(2)), return_exceptions=True
    )
    assert [outcomes[0], outcomes[2]] == [1, 2]
    assert isinstance(outcomes[1], ConstraintError)
    assert outcomes[1].kind == "foreign key"
    assert await on_file.read(everything) == [1, 2]


# --- quick writes, whose statements run on the event loop -----------------------------------------


async def test_quick_writes_of_one_turn_share_one_commit(tmp_path: Path) -> None:
    commits: list[int] = []
    engine = SqliteEngine(f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}", on_commit=commits.append)
    await engine.open()
    await engine.exclusive(create)
    commits.clear()
    numbers = range(100)
    answers = await asyncio.gather(*(engine.write(add(number), quick=True) for number in numbers))
    assert answers == list(numbers)
    assert sum(commits) == 100
    assert len(commits) < 10
    await engine.close()


async def test_a_quick_write_that_is_not_quick_is_made_anew_where_it_holds_nobody_up(
    on_file: SqliteEngine,
) -> None:
    threads: list[str] = []

    def slow() -> Steps[int]:
        yield from add(1)()
        yield Statement(A_WHILE.replace("50000", "2000000"))
        threads.append(threading.current_thread().name)
        return 1

    outcomes = await asyncio.gather(
        *(on_file.write(work, quick=True) for work in (add(0), slow, add_then_fail(2), add(3))),
        return_exceptions=True,
    )
    assert [outcomes[0], outcomes[1], outcomes[3]] == [0, 1, 3]
    assert isinstance(outcomes[2], RequestError)
    assert threads == ["rosey-db-writer"]
    assert await on_file.read(everything) == [0, 1, 3]


async def test_a_write_alone_is_made_on_the_spot_where_commits_are_quick(
    on_file: SqliteEngine,
) -> None:
    threads: list[str] = []

    def steps() -> Steps[int]:
        threads.append(threading.current_thread().name)
        yield Statement(A_WHILE.replace("50000", "2000000") if len(threads) == 2 else "SELECT 1")
        return len(threads)

    here = threading.current_thread().name
    on_file._writer._commit_seconds = 0.0
    writing = asyncio.create_task(on_file.write(steps, quick=True, alone=True))
    await asyncio.sleep(0)
    assert writing.done()
    assert await on_file.write(steps, quick=True, alone=True) > 2  # was tried, and took too long
    assert threads[:2] == [here, here]
    assert threads[-1] == "rosey-db-writer"


async def test_quick_writes_that_together_take_long_make_way_in_between(
    on_file: SqliteEngine,
) -> None:
    """What is not begun within a slice of time waits for the next round, in its order."""
    order: list[int] = []

    def slowly(number: int) -> Callable[[], Steps[int]]:
        def steps() -> Steps[int]:
            yield from add(number)()
            yield Statement(A_WHILE)
            order.append(number)
            return number

        return steps

    answers = await asyncio.gather(*(on_file.write(slowly(n), quick=True) for n in range(30)))
    assert answers == list(range(30))
    assert await on_file.read(everything) == list(range(30))
    assert list(dict.fromkeys(order)) == list(range(30))


@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize("alone", [False, True])
async def test_a_quick_write_whose_commit_fails_costs_no_other_its_commit(
    on_file: SqliteEngine, others: int, alone: bool
) -> None:
    await on_file.exclusive(
        lambda: iter_statement(
            "CREATE TABLE c (n INTEGER REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)"
        )
    )
    on_file._writer._commit_seconds = 0.0  # so that a write alone is committed on the event loop
    orphan = "INSERT INTO c (n) VALUES (99)"
    outcomes = await asyncio.gather(
        on_file.write(lambda: iter_statement(orphan), quick=True, alone=alone),
        *(on_file.write(add(number), quick=True) for number in range(others)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], ConstraintError)
    assert outcomes[0].kind == "foreign key"
    assert outcomes[1:] == list(range(others))
    assert await on_file.read(everything) == list(range(others))
    assert await on_file.write(add(50), quick=True, alone=alone) == 50


@pytest.mark.parametrize("alone", [False, True])
async def test_a_quick_write_waits_for_a_lock_without_holding_up_reads(
    on_file: SqliteEngine, tmp_path: Path, alone: bool
) -> None:
    on_file._writer._commit_seconds = 0.0
    await on_file.write(add(1))
    other = sqlite3.connect(tmp_path / "rosey.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(on_file.write(add(2), quick=True, alone=alone))
    for _ in range(20):
        assert await on_file.read(everything) == [1]
        await asyncio.sleep(0)
    assert not writing.done()
    other.execute("ROLLBACK")
    other.close()
    assert await writing == 2


async def test_slow_and_fast_commits_alike_are_durable_when_they_are_acknowledged(
    on_file: SqliteEngine, tmp_path: Path
) -> None:
    """Another connection sees a write as soon as it is acknowledged, wherever it was committed."""
    with closing(sqlite3.connect(tmp_path / "rosey.db")) as other:
        for number, seconds in enumerate([0.0, 1.0] * 5):
            on_file._writer._commit_seconds = seconds
            await on_file.write(add(number), quick=True, alone=True)
            seen = other.execute("SELECT n FROM t ORDER BY n").fetchall()
            assert seen == [(n,) for n in range(number + 1)]


# --- reads after writes ---------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
async def test_a_read_sees_every_acknowledged_write(opened: Engine, quick: bool) -> None:
    for number in range(50):
        await opened.write(add(number), quick=quick)
        expected = list(range(number + 1))
        assert await opened.read(everything) == expected
        assert await opened.read(everything, scan=True) == expected


async def test_it_tells_how_many_operations_it_has(on_file: SqliteEngine) -> None:
    def one() -> Steps[int]:
        return (yield Statement("SELECT 1")).rows[0][0]

    asked = [asyncio.create_task(on_file.read(one, scan=True)) for _ in range(5)]
    await asyncio.sleep(0)
    assert on_file.busy == 5
    assert await asyncio.gather(*asked) == [1] * 5
    assert on_file.busy == 0


@pytest.mark.parametrize("how", [{}, {"quick": True}, {"quick": True, "alone": True}], ids=str)
async def test_an_operation_that_fails_leaves_nothing(opened: Engine, how: dict[str, bool]) -> None:
    for _ in range(2):  # the first commit tells whether commits are quick
        with pytest.raises(RequestError, match="no to 5"):
            await opened.write(add_then_fail(5), **how)
        with pytest.raises(ConstraintError):
            await opened.write(add(6, 7, 6), **how)
    assert await opened.read(everything) == []


async def test_an_error_that_an_operation_survives_is_its_own_business(opened: Engine) -> None:
    def careful() -> Steps[str]:
        try:
            yield Statement("SELECT * FROM nowhere")
        except EngineError as error:
            return type(error).__name__
        return "found"

    assert (await opened.read(careful)).endswith("Error")


async def test_reads_on_a_file_cannot_write(on_file: SqliteEngine) -> None:
    for scan in (False, True):
        with pytest.raises(EngineError):
            await on_file.read(add(1), scan=scan)
    assert await on_file.read(everything) == []


# --- schema changes ------------------------------------------------------------------------------


async def test_a_failed_schema_change_leaves_nothing(opened: Engine) -> None:
    def change() -> Steps[None]:
        yield Statement("CREATE TABLE more (n INTEGER)")
        yield Statement("INSERT INTO t (n) VALUES (1)")
        yield Statement("THIS IS NOT SQL")

    with pytest.raises(EngineError):
        await opened.exclusive(change)
    assert await opened.read(everything) == []
    await opened.exclusive(lambda: iter_statement("CREATE TABLE more (n INTEGER)"))


def iter_statement(sql: str) -> Steps[None]:
    yield Statement(sql)


async def test_a_dry_run_answers_and_leaves_nothing(opened: Engine) -> None:
    def change() -> Steps[list[int]]:
        yield Statement("CREATE TABLE more (n INTEGER)")
        yield from add(5)()
        return (yield from everything())

    assert await opened.exclusive(change, keep=False) == [5]
    assert await opened.read(everything) == []
    assert await opened.exclusive(change) == [5]
    assert await opened.read(everything) == [5]


@ONLY_ON_SQLITE
async def test_foreign_keys_rest_during_a_schema_change_and_are_checked_at_its_end(
    opened: Engine,
) -> None:
    def setup() -> Steps[None]:
        yield Statement("CREATE TABLE c (n INTEGER NOT NULL REFERENCES t (n) ON DELETE CASCADE)")
        yield Statement("INSERT INTO t (n) VALUES (1)")
        yield Statement("INSERT INTO c (n) VALUES (1)")

    def rebuild() -> Steps[int]:
        yield Statement("CREATE TABLE t_new (n INTEGER PRIMARY KEY, more TEXT)")
        yield Statement("INSERT INTO t_new (n) SELECT n FROM t")
        yield Statement("DROP TABLE t")
        yield Statement("ALTER TABLE t_new RENAME TO t")
        count = yield Statement("SELECT COUNT(*) FROM c")
        return int(count.rows[0][0])

    await opened.exclusive(setup)
    assert await opened.exclusive(rebuild) == 1
    with pytest.raises(ConstraintError) as caught:
        await opened.exclusive(lambda: iter_statement("DROP TABLE t"))
    assert caught.value.kind == "foreign key"
    with pytest.raises(ConstraintError):
        await opened.write(lambda: iter_statement("INSERT INTO c (n) VALUES (9)"))
    assert await opened.read(everything) == [1]


# --- time limits ---------------------------------------------------------------------------------


async def test_a_statement_that_takes_too_long_is_stopped_and_the_engine_goes_on(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine(statement_timeout=0.2)
    await engine.open()
    await engine.exclusive(create)
    for scan in (False, True):
        with pytest.raises(StatementTimeoutError):
            await engine.read(lambda: iter_statement(FOREVER), scan=scan)
    with pytest.raises(StatementTimeoutError):
        await engine.write(lambda: iter_statement(f"INSERT INTO t (n) {FOREVER}"))
    assert await engine.write(add(1)) == 1
    assert await engine.read(everything) == [1]
    assert await engine.read(everything, scan=True) == [1]
    await engine.close()


@pytest.mark.parametrize("scan", [True, False])
async def test_nobody_waits_for_a_slow_search_on_a_file(on_file: SqliteEngine, scan: bool) -> None:
    """The search goes on until it is told to stop, which happens after all the rest was done."""
    started, stopped = threading.Event(), threading.Event()

    def search() -> Steps[str]:
        while not stopped.is_set():
            yield Statement(A_WHILE)
            started.set()
        return "stopped"

    searching = asyncio.create_task(on_file.read(search, scan=scan))
    await asyncio.to_thread(started.wait)
    for number in range(20):
        assert await on_file.write(add(number)) == number
        assert await on_file.read(everything) == list(range(number + 1))
        assert await on_file.read(everything, scan=True) == list(range(number + 1))
    assert not searching.done()
    stopped.set()
    assert await searching == "stopped"


# --- waiters that give up, and closing -----------------------------------------------------------


@pytest.mark.parametrize(("limit", "is_stopped"), [(600.0, False), (0.2, True)])
async def test_a_scan_is_told_from_a_long_one_by_its_work_and_not_by_the_wait(
    tmp_path: Path, limit: float, is_stopped: bool
) -> None:
    engine = SqliteEngine(f"sqlite+aiosqlite:///{tmp_path / 'rosey.db'}", statement_timeout=limit)
    await engine.open()
    begun = 0

    def kept_waiting() -> Steps[Any]:
        nonlocal begun
        begun += 1
        time.sleep(0.3)  # as on a busy machine: longer than a short scan may take
        return (yield Statement(A_WHILE)).rows

    scan = engine.read(kept_waiting, scan=True)
    if is_stopped:
        with pytest.raises(StatementTimeoutError):
            await scan
    else:
        assert await scan == [(50_000,)]
        assert begun == 1
    await engine.close()


async def test_a_write_whose_waiter_gave_up_before_its_turn_is_not_made(
    on_file: SqliteEngine,
) -> None:
    gate = Gate()
    busy = asyncio.create_task(on_file.write(gate))
    await asyncio.to_thread(gate.reached.wait)
    given_up, kept = (asyncio.create_task(on_file.write(add(number))) for number in (1, 2))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    gate.released.set()
    assert await busy == 0
    assert await kept == 2
    assert await on_file.read(everything) == [2]


async def test_a_waiter_that_gives_up_in_the_middle_leaves_the_engine_working(
    on_file: SqliteEngine,
) -> None:
    gate = Gate()
    busy = asyncio.create_task(on_file.write(gate))
    await asyncio.to_thread(gate.reached.wait)
    busy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await busy
    gate.released.set()
    assert await on_file.write(add(1)) == 1
    assert await on_file.read(everything) == [1]


async def test_closing_finishes_what_was_taken(on_file: SqliteEngine) -> None:
    gate = Gate()
    busy = asyncio.create_task(on_file.write(gate))
    await asyncio.to_thread(gate.reached.wait)
    tasks = [asyncio.create_task(on_file.write(add(number))) for number in range(20)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(on_file.close())
    await asyncio.sleep(0)
    gate.released.set()
    await closing
    assert await asyncio.gather(busy, *tasks) == [0, *range(20)]


async def test_a_closed_engine_says_so(opened: Engine) -> None:
    await opened.close()
    for work in (opened.read(everything), opened.write(add(1)), opened.exclusive(create)):
        with pytest.raises(UnavailableError):
            await work
    await opened.close()


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.process
async def test_a_second_engine_on_the_same_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rosey.db"
    first = SqliteEngine(f"sqlite+aiosqlite:///{path}")
    await first.open()
    second = SqliteEngine(f"sqlite+aiosqlite:///{path}")
    with pytest.raises(UnavailableError) as caught:
        await second.open()
    assert str(caught.value) == (
        f"A service holds the database file '{path}'. SQLite has one writing process: reach it "
        "over NATS instead (use --nats), or stop it first."
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(path), stdin=PIPE, stdout=PIPE
    )
    printed, _ = await child.communicate(b"start\n")
    assert printed.decode().splitlines()[1] == f"refused: {caught.value}"
    await first.close()
    third = SqliteEngine(f"sqlite+aiosqlite:///{path}")
    await third.open()
    await third.close()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (
            lambda path: None,
            (
                "The database file '{}' cannot be opened: No such file or directory. Check "
                "that its "
                "folder exists and may be written."
            ),
        ),
        (
            lambda path: path.mkdir(parents=True),
            (
                "The database file '{}' cannot be opened: Is a directory. Check that its folder "
                "exists and may be written."
            ),
        ),
        (
            lambda path: (path.parent.mkdir(), path.write_bytes(b"not a database" * 100)),
            (
                "The database file '{}' cannot be opened: file is not a database. Check that its "
                "folder exists, that it may be written, and that the file is an SQLite database."
            ),
        ),
    ],
)
async def test_a_file_that_cannot_be_opened_is_told(
    tmp_path: Path, prepare: Callable[[Path], Any], message: str
) -> None:
    path = tmp_path / "folder" / "rosey.db"
    prepare(path)
    engine = SqliteEngine(f"sqlite+aiosqlite:///{path}")
    with pytest.raises(UnavailableError) as caught:
        await engine.open()
    assert str(caught.value) == message.format(path)
    await engine.close()


CHILD = """
import asyncio, os, sys
from dbservice.engine.errors import UnavailableError
from dbservice.engine.sqlite import SqliteEngine
from dbservice.engine.steps import Statement

def create():
    yield Statement("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, half TEXT)")

def add():
    inserted = yield Statement("INSERT INTO t (half) VALUES (NULL) RETURNING n")
    yield Statement("UPDATE t SET half = 'whole' WHERE n = ?", (inserted.rows[0][0],))
    return inserted.rows[0][0]

def say(what):
    os.write(1, f"{what}\\n".encode())  # in one piece, whatever happens next

async def write_for_ever(engine):
    while True:
        say(await engine.write(add))

async def main(path):
    engine = SqliteEngine(f"sqlite+aiosqlite:///{path}")
    try:
        await engine.open()
    except UnavailableError as error:
        say(f"refused: {error}")
        return
    await engine.exclusive(create)
    await asyncio.gather(*(write_for_ever(engine) for _ in range(10)))

for _ in sys.stdin:  # each line starts one process; the modules are loaded once
    if (started := os.fork()) == 0:
        say(os.getpid())
        asyncio.run(main(sys.argv[1]))
        os._exit(0)
    os.waitpid(started, 0)
    say("gone")
"""


@pytest.mark.process
async def test_an_acknowledged_write_survives_a_kill_at_any_instant(tmp_path: Path) -> None:
    """Ten times a process is killed in the middle of its writes, each time at another point."""
    path = tmp_path / "rosey.db"
    acknowledged: set[int] = set()
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(path), stdin=PIPE, stdout=PIPE
    )
    assert starter.stdin is not None
    assert starter.stdout is not None
    for round_number in range(10):
        starter.stdin.write(b"start\n")
        writer = int(await starter.stdout.readline())
        for _ in range(20 + 7 * round_number):
            acknowledged.add(int(await starter.stdout.readline()))
        os.kill(writer, signal.SIGKILL)
        while (line := await starter.stdout.readline()) != b"gone\n":
            acknowledged.add(int(line))
    starter.stdin.close()
    assert await starter.wait() == 0
    stored = await stored_in(path)
    assert acknowledged <= stored.keys()
    assert set(stored.values()) == {"whole"}
    assert len(acknowledged) >= sum(20 + 7 * round_number for round_number in range(10))


async def stored_in(path: Path) -> dict[int, str]:
    engine = SqliteEngine(f"sqlite+aiosqlite:///{path}")
    await engine.open()

    def rows() -> Steps[dict[int, str]]:
        check = yield Statement("PRAGMA integrity_check")
        assert check.rows == [("ok",)]
        result = yield Statement("SELECT n, half FROM t")
        return dict(result.rows)

    stored = await engine.read(rows, scan=True)
    await engine.close()
    return stored
