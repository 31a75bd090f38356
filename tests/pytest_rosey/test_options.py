"""Counts and paths mean what their author meant, however they are spelled (SPEC 5.3, 5.5)."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from pytest_rosey.databases.sqlite import SqliteDatabases
from pytest_rosey.provision import _number
from tests.pytest_rosey.conftest import INI

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("execution", "number"),
    [("popen", 1), ("2*popen", 2), ("10*popen//python=python3", 10), ("ssh=a*b", 1), ("*popen", 1)],
)
def test_workers_of_one_tx(execution: str, number: int) -> None:
    assert _number(execution) == number


def test_a_path_in_the_ini_file_is_beside_it(pytester: pytest.Pytester) -> None:
    pytester.makeini(f"{INI}rosey_db = kept.db\n")
    inner = pytester.mkdir("inner")
    pytester.makepyfile(
        **{"inner/test_x": "async def test_x(plugin_namespace, storage): storage(plugin_namespace)"}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(inner)
        pytester.runpytest_inprocess("test_x.py").assert_outcomes(passed=1)
    assert (pytester.path / "kept.db").is_file()
    assert not (inner / "kept.db").exists()


@pytest.mark.parametrize("name", ["plain.db", "a b.db", "50%20.db", "what?.db", "a#b.db"])
async def test_a_path_in_a_url_is_that_path(
    project: pytest.Pytester, tmp_path: Path, name: str
) -> None:
    from dbservice.engine.urls import engine_for

    url = await SqliteDatabases(lambda: tmp_path / name).take()
    engine = engine_for(url)
    await engine.open()
    await engine.close()
    assert (tmp_path / name).is_file()


def test_the_database_of_a_failed_test_is_kept(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        async def test_fails(storage):
            await storage("notes").kv.set("k", "kept")
            assert False

        async def test_passes(storage):
            await storage("notes").kv.set("k", 1)
        """
    )
    result = project.runpytest_inprocess("--rosey-keep")
    result.assert_outcomes(passed=1, failed=1)
    (line,) = [line for line in result.outlines if "The database is kept in" in line]
    found = re.search(r"test_fails: The database is kept in (\S+)\. Open it: sqlite3 \1", line)
    assert found is not None, line
    with sqlite3.connect(found[1]) as database:
        assert "kept" in "\n".join(database.iterdump())
    database.close()
    Path(found[1]).unlink()
    Path(found[1]).parent.rmdir()


def test_a_clock_that_nobody_froze_runs(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio, time

        async def test_runs(storage, db_service):
            before = db_service.clock.time()
            assert abs(before - time.time()) < 60
            await storage("notes").kv.set("k", 1, ttl_seconds=1)
            await asyncio.sleep(1.1)
            assert await storage("notes").kv.get("k") is None
            await storage("notes").kv.set("k", 1, ttl_seconds=60)
            db_service.clock.advance(61)
            assert await storage("notes").kv.get("k") is None

        async def test_frozen(storage, db_service, rosey_clock):
            assert db_service.clock is rosey_clock
            before = rosey_clock.time()
            await asyncio.sleep(0.01)
            assert rosey_clock.time() == before
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=2)
