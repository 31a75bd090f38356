"""`python -m reference_plugin_quote_db import-legacy`: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dbservice.cli.boundary import run
from dbservice.embedded import Stack
from reference_plugin_quote_db import legacy
from reference_plugin_quote_db.__main__ import app
from reference_plugin_quote_db.legacy import command as import_command
from reference_plugin_quote_db.legacy.importer import Report


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the legacy plugin with 3 quotes, one of which is refused."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "quotes.db"
    asyncio.run(fill(path))
    return path


async def fill(path: Path) -> None:
    plugin = legacy.QuoteDBPlugin(str(path))
    await plugin.initialize()
    await plugin.add_quote("Keep the #tapes", "Joel", "bob")
    await plugin.add_quote("Refused", "Joel", "u" * 51)
    await plugin.add_quote("Two\x02 words", "Joel", "bob")
    await plugin.close()


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(sql).fetchall()


def status_of(file: Path, *, again: bool = False, **place: Path | str) -> int:
    where = [word for name, value in place.items() for word in (f"--{name}", str(value))]
    return run(app, ["import-legacy", str(file), *where, *(["--again"] if again else [])])


def test_a_file_that_is_imported_repaired_and_imported(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(file, database=Path("rosey.db")) == import_command.INCOMPLETE
    *shown, verified = capsys.readouterr().out.splitlines()
    assert shown == [
        "Read 3 quotes, 2 are in the service",
        "Removed 5 quotes that migration 001 had brought",
        "Cleaned as the plugin cleans what users type: #3",
        "Refused #2: Username too long (max 50 characters)",
    ]
    assert verified.startswith("Verified by count and checksum: sha256 ")

    ask(file, "UPDATE quotes SET added_by = 'bob'")
    assert status_of(file, again=True, database=Path("rosey.db")) == import_command.COMPLETE
    assert capsys.readouterr().out.startswith("Read 3 quotes, 3 are in the service\n")
    # Migration 003 came after the first import and found the hashtag.
    tags = ask(Path("rosey.db"), "SELECT id, tags FROM quote_db__quotes ORDER BY id")
    assert tags == [(1, '["tapes"]'), (2, "[]"), (3, "[]")]


def test_a_place_is_needed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(file) == 2
    assert "either --nats URL or --database FILE" in capsys.readouterr().err
    assert status_of(file, nats="nats://127.0.0.1:1", database=Path("rosey.db")) == 2


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "rosey.db"
    assert status_of(tmp_path / "quotes.db", database=place) == import_command.INCOMPLETE
    assert "There is no file" in capsys.readouterr().err


def test_no_server(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(file, nats="nats://127.0.0.1:1") == 3
    assert "No NATS server answers" in capsys.readouterr().err


def test_a_database_that_a_service_holds(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def hold_it_meanwhile() -> int | str | None:
        async with Stack(database_url=f"sqlite+aiosqlite:///{file.parent}/rosey.db"):
            return await asyncio.to_thread(status_of, file, database=Path("rosey.db"))

    assert asyncio.run(hold_it_meanwhile()) == 3
    assert "use --nats" in capsys.readouterr().err


def test_the_report_of_a_difference() -> None:
    report = Report(read=3, found=1, different=[2, 3], checksum="ab" * 32, resumed_after=1)
    report.service_checksum = "cd" * 32
    assert import_command.lines(report) == [
        "Read 3 quotes, 1 are in the service",
        "Went on after quote #1",
        "Missing or different in the service: #2, #3",
        "NOT verified: sha256 abababababababab in the file, cdcdcdcdcdcdcdcd in the service",
    ]
