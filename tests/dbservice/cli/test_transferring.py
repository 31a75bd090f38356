"""`rosey export` and `rosey import`: a namespace to a file and back, also between engines."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dbservice.client import StorageClient
from dbservice.embedded import Stack
from dbservice.protocol.system import Exported
from reference_plugin_quote_db.shipped import migration_root
from tests.dbservice.cli.conftest import Say

ROWS = int(os.environ.get("ROSEY_TRANSFER_ROWS", "3000"))
"""How many quotes go from engine to engine; a tenth as many keys."""

ROSEY = [sys.executable, "-m", "dbservice"]
PATIENCE = 120


async def fill(url: str, rows: int) -> None:
    async with Stack(database_url=url, migrations=[migration_root()]) as stack:
        storage = StorageClient(await stack.connect(), "quote-db", timeout=60)
        if not (await storage.migrations.status()).current_version:
            await storage.migrations.apply()
        quotes = storage.rows("quotes")
        for first in range(0, rows, 1000):
            await quotes.insert_many(
                [
                    {
                        "text": f'{n} \u2028 "it\'s" 🎬 #tag{n % 7}',
                        "author": f"Author {n % 100}",
                        "added_by": "ann",
                        "timestamp": 1_700_000_000 + n,
                        "tags": [f"tag{n % 7}"],
                    }
                    for n in range(first, min(first + 1000, rows))
                ]
            )
        for n in range(rows // 10):
            await storage.kv.set(f"key{n}", {"n": [n, None, n / 3]})


def sqlite(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


async def content(url: str) -> list[str]:
    """Return what a namespace has, as an export tells it, without what differs by engine."""
    async with Stack(database_url=url, migrations=[migration_root()]) as stack:
        storage = StorageClient(await stack.connect(), "quote-db", timeout=60)
        lines = [json.loads(line) async for line in storage.export()]
    data = [line for line in lines if line["is"] in ("row", "key")]
    return [json.dumps(decoded(line), sort_keys=True) for line in data]


def decoded(line: dict[str, Any]) -> dict[str, Any]:
    """JSON texts are equal when their values are: PostgreSQL writes a space behind a comma."""
    if line["is"] == "key":
        return {**line, "value": json.loads(line["value"])}
    *values, tags = line["values"]
    return {"values": [*values, json.loads(tags)]}


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with more quotes than one page of an export holds."""
    path = tmp_path_factory.mktemp("filled") / "a.db"
    asyncio.run(fill(sqlite(path), 2500))
    return path


@pytest.fixture
def filled(original: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return Path(shutil.copy(original, tmp_path))


def test_there_and_back(say: Say, filled: Path, tmp_path: Path) -> None:
    code, out, err = say("export", "quote-db", "a.jsonl", "--db", str(filled), "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    file = tmp_path / "a.jsonl"
    assert told["lines"] == file.read_text("utf-8").count("\n")
    assert [path.name for path in tmp_path.glob("*.part*")] == []
    code, out, err = say("import", "quote-db", "a.jsonl", "--db", "b.db")
    assert (code, err) == (0, "")
    assert out == "Imported 2505 rows of 1 table and 250 keys into quote-db, with 3 migrations\n"
    assert asyncio.run(content(sqlite(tmp_path / "b.db"))) == asyncio.run(content(sqlite(filled)))


def test_each_page_says_when_it_was_read(say: Say, filled: Path, tmp_path: Path) -> None:
    say("export", "quote-db", "a.jsonl", "--db", str(filled))
    lines = (tmp_path / "a.jsonl").read_text("utf-8").split("\n")[:-1]
    moments = [json.loads(line)["read_at"] for line in lines if '"is":"page"' in line]
    assert len(moments) >= 2
    assert moments == sorted(moments)
    assert json.loads(lines[0])["exported_at"] <= moments[0]


def test_nothing_is_overwritten(say: Say, filled: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("mine")
    code, _, err = say("export", "quote-db", "a.jsonl", "--db", str(filled))
    assert (code, "it is not overwritten" in err) == (1, True)
    assert (tmp_path / "a.jsonl").read_text("utf-8") == "mine"
    say("export", "quote-db", "b.jsonl", "--db", str(filled))
    code, _, err = say("import", "quote-db", "b.jsonl", "--db", str(filled))
    assert code == 1
    assert f"rosey import quote-db b.jsonl --clear --db {filled}" in err
    assert say("import", "quote-db", "b.jsonl", "--clear", "--db", str(filled))[0] == 0


def test_nothing_is_cleared_for_a_file_that_cannot_be_taken(
    say: Say, filled: Path, tmp_path: Path
) -> None:
    say("export", "quote-db", "a.jsonl", "--db", str(filled))
    before = asyncio.run(content(sqlite(filled)))
    others = tmp_path / "others" / "quote-db"
    shutil.copytree(migration_root() / "quote-db", others)
    changed = next(others.glob("001_*.sql"))
    changed.write_text(changed.read_text("utf-8") + "-- another\n", "utf-8")

    for root, told in ((others.parent, "CHECKSUM_MISMATCH"), (tmp_path, "MIGRATION_NOT_FOUND")):
        place = ("--db", str(filled), "--migrations", str(root))
        code, _, err = say("import", "quote-db", "a.jsonl", "--clear", *place)
        assert (code, told in err) == (1, True), err
        assert asyncio.run(content(sqlite(filled))) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text[: len(text) // 2], "cut off"),
        (lambda text: text.replace("Author 7", "Author 8"), "not as it was written"),
        (lambda text: text.replace('"is":"row"', '"is":"rwo"', 1), "not as it was written"),
        (lambda text: "", "cut off"),
        (lambda text: text[:300], "ends within line 1"),
        (lambda text: text[:-20], "ends within line"),
        (lambda text: text + text, "goes on behind it"),
        (lambda text: text.replace('"format":1', '"format":9,"new":1'), "has format 9"),
        (lambda text: "hello\n", "not a line of an export"),
        (lambda text: text.replace('"plugin":"quote-db"', '"plugin":"trivia"'), "of 'trivia'"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_before_anything_is_sent(
    say: Say, filled: Path, tmp_path: Path, change: Any, told: str
) -> None:
    say("export", "quote-db", "a.jsonl", "--db", str(filled))
    file = tmp_path / "a.jsonl"
    file.write_text(change(file.read_text("utf-8")), "utf-8")
    code, _, err = say("import", "quote-db", "a.jsonl", "--db", "b.db")
    assert code in (1, 2)
    assert told in err
    assert not (tmp_path / "b.db").exists()


def test_an_export_that_was_cut_goes_on(
    say: Say, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    whole = StorageClient.export_pages

    async def cut(self: StorageClient, *, after: str | None = None) -> AsyncIterator[Exported]:
        asked.append(after)
        pages = 0
        async for page in whole(self, after=after):
            yield page
            pages += 1
            if pages == 2:
                raise ConnectionError("cut")

    monkeypatch.setattr(StorageClient, "export_pages", cut)
    assert say("export", "quote-db", "a.jsonl", "--db", str(filled))[0] == 1
    part = tmp_path / "a.jsonl.part"
    with part.open("ab") as file:
        file.write(b"half a li")  # killed while it wrote
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert say("export", "quote-db", "a.jsonl", "--db", str(filled))[0] == 0
    assert asked == [None]
    assert say("import", "quote-db", "a.jsonl", "--db", "b.db")[0] == 0
    assert asyncio.run(content(sqlite(tmp_path / "b.db"))) == asyncio.run(content(sqlite(filled)))


@pytest.mark.process
def test_pipes(filled: Path, tmp_path: Path) -> None:
    out = subprocess.Popen(
        [*ROSEY, "export", "quote-db", "-", "--db", str(filled)],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    )
    into = subprocess.run(
        [*ROSEY, "import", "quote-db", "-", "--db", "b.db"],
        stdin=out.stdout,
        cwd=tmp_path,
        timeout=PATIENCE,
        check=False,
    )
    assert out.stdout is not None
    out.stdout.close()
    assert (out.wait(PATIENCE), into.returncode) == (0, 0)
    assert asyncio.run(content(sqlite(tmp_path / "b.db"))) == asyncio.run(content(sqlite(filled)))


def killed_in_the_middle(directory: Path, place: list[str], file: str) -> bool:
    """Run an import and kill it while it is at work; return whether it was."""
    work = subprocess.Popen([*ROSEY, "import", "quote-db", file, *place], cwd=directory)
    time.sleep(ROWS / 25_000 + 1.5)
    was_at_work = work.poll() is None
    work.kill()
    work.wait(PATIENCE)
    return was_at_work


@pytest.mark.process
def test_from_engine_to_engine_and_killed_in_the_middle(
    tmp_path: Path, empty_postgres: str
) -> None:
    asyncio.run(fill(sqlite(tmp_path / "a.db"), ROWS))

    def rosey(*words: str) -> None:
        ended = subprocess.run(
            [*ROSEY, *words], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
        )
        assert ended.returncode == 0, ended.stderr

    began = time.monotonic()
    rosey("export", "quote-db", "a.jsonl", "--db", "a.db")
    there = ["--db", empty_postgres]
    killed = killed_in_the_middle(tmp_path, there, "a.jsonl")
    if not is_imported(tmp_path, there):
        rosey("import", "quote-db", "a.jsonl", *there)
    rosey("export", "quote-db", "b.jsonl", *there)
    rosey("import", "quote-db", "b.jsonl", "--db", "b.db")
    print(f"{ROWS} rows: {time.monotonic() - began:.1f} s, killed at work: {killed}")
    expected = asyncio.run(content(sqlite(tmp_path / "a.db")))
    assert len(expected) == ROWS + 5 + ROWS // 10
    assert asyncio.run(content(empty_postgres)) == expected
    assert asyncio.run(content(sqlite(tmp_path / "b.db"))) == expected


def is_imported(directory: Path, place: list[str]) -> bool:
    """Whether the killed import had come to its end all the same."""
    status = subprocess.run(
        [*ROSEY, "export", "quote-db", "-", *place],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return status.returncode == 0 and '"is":"row"' in status.stdout


@pytest.mark.process
def test_others_are_served_while_a_namespace_is_restored(
    serve: Any, rosey: Any, nats_server: Any, filled: Path, tmp_path: Path
) -> None:
    """The recipe of a backup, and of its restoring into a service that runs."""
    serve("--nats", nats_server.url, "--db", str(filled))
    place = ("--nats", nats_server.url)
    assert rosey("export", "quote-db", "backup.jsonl", *place).returncode == 0
    assert rosey("import", "quote-db", "backup.jsonl", "--clear", *place).returncode == 0
    again = rosey("export", "quote-db", "again.jsonl", *place)
    assert again.returncode == 0, again.stderr
    kinds = ('"is":"row"', '"is":"key"', '"is":"table"')

    def data(name: str) -> list[str]:
        lines = (tmp_path / name).read_text("utf-8").split("\n")
        return [line for line in lines if line.startswith(tuple("{" + kind for kind in kinds))]

    assert data("again.jsonl") == data("backup.jsonl")
