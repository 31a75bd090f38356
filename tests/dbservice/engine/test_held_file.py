"""A database file has one process, whatever it is called and whatever lies beside it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dbservice.cli.connecting import _tables_in
from dbservice.engine.errors import FileGoneError, FullError, NotWritableError, UnavailableError
from dbservice.engine.sqlite import SqliteEngine
from dbservice.engine.steps import Statement, Steps


def insert() -> Steps[None]:
    yield Statement("INSERT INTO t VALUES (1)", ())


def create() -> Steps[None]:
    yield Statement("CREATE TABLE t (a)", ())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


def engine_at(path: Path) -> SqliteEngine:
    return SqliteEngine(f"sqlite+aiosqlite:///{path}")


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[SqliteEngine]:
    engine = engine_at(path)
    await engine.open()
    await engine.exclusive(create)
    await engine.write(insert)
    yield engine
    await engine.close()


async def refused(path: Path) -> None:
    with pytest.raises(UnavailableError, match="A service holds the database file"):
        await engine_at(path).open()


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_file_that_is_away_leaves_its_log_to_who_holds_it(
    engine, path, tmp_path, is_replaced
):
    """SQLite removes what lies beside an empty file, whoever still writes to it."""
    log, away = tmp_path / "a.db-wal", tmp_path / "away.db"
    before = log.stat().st_ino
    path.rename(away)
    if is_replaced:
        path.touch()
        assert _tables_in(path) == set()
    with pytest.raises(UnavailableError, match="holds writes that were acknowledged"):
        await engine_at(path).open()
    assert path.exists() == is_replaced
    assert log.stat().st_ino == before
    away.rename(path)
    await engine.write(insert)


async def test_a_file_is_refused_under_every_name(engine, path, tmp_path):
    (tmp_path / "hard.db").hardlink_to(path)
    (tmp_path / "soft.db").symlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path)
    for name in ("a.db", "hard.db", "soft.db", "folder/a.db"):
        await refused(tmp_path / name)
    await engine.write(insert)


async def test_it_is_free_again_when_it_was_closed(path):
    for _ in range(2):
        engine = engine_at(path)
        await engine.open()
        await refused(path)
        await engine.close()


async def test_what_is_no_database_is_let_go(path):
    path.write_bytes(b"this is no database, and long enough to be told from one" * 100)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="cannot be opened"):
            await engine_at(path).open()


@pytest.mark.process
async def test_being_refused_drops_no_lock_of_the_one_that_holds_it(engine, path):
    """Else the next process to close the file removes the log under an acknowledged write."""
    await refused(path)
    log = path.with_name("a.db-wal")
    before = log.stat().st_ino
    reading = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
    reading += "assert c.execute('SELECT count(*) FROM t').fetchone() == (1,); c.close()"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", reading, str(path))
    assert await child.wait() == 0
    assert log.stat().st_ino == before
    await engine.write(insert)


def removed(path: Path) -> None:
    path.unlink()


def moved(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replaced(path: Path) -> None:
    other = path.with_name("other.db")
    other.write_bytes(path.read_bytes() if not path.name.endswith("-wal") else b"")
    other.replace(path)


def create_another() -> Steps[None]:
    yield Statement("CREATE TABLE u (a)", ())


WAYS: dict[str, Callable[[SqliteEngine], Awaitable[Any]]] = {
    "quick and alone": lambda engine: engine.write(insert, quick=True, alone=True),
    "shared": lambda engine: engine.write(insert, quick=True),
    "on the thread": lambda engine: engine.write(insert),
    "schema": lambda engine: engine.exclusive(create_another),
}


@pytest.mark.parametrize("side", ["", "-wal"])
@pytest.mark.parametrize("change", [removed, moved, replaced])
@pytest.mark.parametrize("way", WAYS)
async def test_no_write_is_acknowledged_that_will_not_be_found(path, change, side, way):
    engine = engine_at(path)
    await engine.open()
    await engine.exclusive(create)
    await engine.check_writable()
    change(path.with_name(path.name + side))
    with pytest.raises(FileGoneError):
        await WAYS[way](engine)
    with pytest.raises(FileGoneError):
        await engine.check_writable()
    await engine.close()


@pytest.mark.parametrize("change", [removed, replaced])
async def test_no_process_opens_the_file_beside_another_index_of_the_log(engine, path, change):
    """Each would write over what the other has written since."""
    await engine.check_writable()
    change(path.with_name("a.db-shm"))
    with pytest.raises(FileGoneError, match="-shm"):
        await engine.check_writable()


@pytest.mark.parametrize("side", ["", "-wal", "-shm"])
async def test_the_files_that_a_link_leads_to_are_watched(path, tmp_path, side):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "b.db").touch()
    path.symlink_to(tmp_path / "far" / "b.db")
    engine = engine_at(path)
    await engine.open()
    await engine.exclusive(create)
    await engine.check_writable()
    removed(tmp_path / "far" / f"b.db{side}")
    with pytest.raises(FileGoneError):
        await engine.check_writable()
    await engine.close()


async def test_a_folder_that_was_renamed_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    engine = engine_at(Path("a.db"))
    await engine.open()
    await engine.exclusive(create)
    (tmp_path / "here").rename(tmp_path / "elsewhere")
    with pytest.raises(FileGoneError):
        await engine.write(insert)
    await engine.close()


@pytest.mark.parametrize(
    ("system", "wrong"),
    [({"f_bfree": 0, "f_bavail": 0}, FullError), ({"f_flag": os.ST_RDONLY}, NotWritableError)],
)
async def test_a_file_system_that_takes_no_more_is_not_writable(engine, monkeypatch, system, wrong):
    await engine.check_writable()
    well = {"f_bfree": 1, "f_bavail": 1, "f_flag": 0}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**well | system))
    with pytest.raises(wrong):
        await engine.check_writable()


async def test_a_file_that_is_put_back_is_served_again(engine, path):
    moved(path)
    with pytest.raises(FileGoneError):
        await engine.write(insert)
    path.with_name("moved.db").rename(path)
    await engine.write(insert)
    await engine.check_writable()
