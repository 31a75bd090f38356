"""What `rosey scaffold` writes goes to a running service through its front door."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing

import nats
import pytest

from dbservice.client import StorageClient

pytestmark = pytest.mark.process


@pytest.fixture
def existing(tmp_path):
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript("""
        CREATE TABLE songs (id INTEGER PRIMARY KEY, title TEXT NOT NULL);
        CREATE TABLE plays (song INTEGER REFERENCES songs (id), who TEXT);
        CREATE TABLE counted (n INTEGER);
        CREATE TRIGGER played AFTER INSERT ON plays BEGIN INSERT INTO counted VALUES (1); END;
        """)
        db.executemany("INSERT INTO songs VALUES (?, ?)", [(n, f"song {n}") for n in range(1500)])
        db.executemany("INSERT INTO plays VALUES (?, ?)", [(n % 99, "ann") for n in range(700)])
        db.commit()
    return path


async def test_rows_are_imported_into_a_running_service(
    serve, nats_server, rosey, existing, tmp_path
) -> None:
    line = ("scaffold", str(existing), "--plugin", "jukebox", "--out", str(tmp_path / "roots"))
    written = rosey(*line)
    assert written.returncode == 0, written.stderr
    assert "note: triggers played: left out on PostgreSQL" in written.stdout
    serve("--nats", nats_server.url, "--db", ":memory:", "--migrations", str(tmp_path / "roots"))
    client = await nats.connect(nats_server.url)
    storage = StorageClient(client, "jukebox", timeout=30)
    imported = await storage.import_((tmp_path / "jukebox.jsonl").read_text("utf-8").splitlines())
    assert (imported.rows, imported.migrations) == (1500 + 700 + 700, 2)
    await client.close()
    status = rosey("migrate", "jukebox", "status", "--nats", nats_server.url)
    assert status.stdout == "Up to date: 2 migrations applied\n"


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
@pytest.mark.parametrize("served", [False, True], ids=["at hand", "served"])
def test_its_import_is_repeated_by_what_is_advised(
    serve, nats_server, say, tmp_path, request, engine, served
) -> None:
    """Tables that are there and empty; then an old file that has changed since."""
    database = "new.db" if engine == "sqlite" else request.getfixturevalue("empty_postgres")
    where = ("--nats", nats_server.url) if served else ("--db", database)
    add_a_row(tmp_path)
    assert say("scaffold", "old.db", "--plugin", "game")[0] == 0
    if served:
        serve("--nats", nats_server.url, "--db", database)
    assert say("migrate", "game", "apply", *where)[0] == 0
    for rows in ("1 row", "2 rows"):
        code, _, told = say("import", "game", "game.jsonl", *where)
        assert code == 1
        _, _, advice = told.strip().rpartition("import the file: rosey ")
        _, out, told = say(*shlex.split(advice))
        assert out.startswith(f"Imported {rows} of 1 table "), told
        add_a_row(tmp_path)
        assert say("scaffold", "old.db", "--plugin", "game")[0] == 0


def add_a_row(directory) -> None:
    with closing(sqlite3.connect(directory / "old.db")) as old:
        old.execute("CREATE TABLE IF NOT EXISTS scores (id INTEGER PRIMARY KEY, r REAL)")
        old.execute("INSERT INTO scores (r) VALUES (0.5)")
        old.commit()
