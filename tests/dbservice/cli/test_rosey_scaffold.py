"""`rosey scaffold --import --nats`: rows go to a running service, through its front door."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

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


def test_rows_are_imported_into_a_running_service(
    serve, nats_server, rosey, existing, tmp_path
) -> None:
    line = ("scaffold", str(existing), "--plugin", "jukebox", "--out", str(tmp_path / "roots"))
    written = rosey(*line)
    assert written.returncode == 0, written.stderr
    assert "note: triggers played: left out on PostgreSQL" in written.stdout
    (tmp_path / "none").mkdir()
    bare = serve(
        "--nats", nats_server.url, "--db", ":memory:", "--migrations", str(tmp_path / "none")
    )
    refused = rosey(*line, "--import", "--nats", nats_server.url)
    assert refused.returncode == 1
    assert "The service does not have 001_create_tables.sql of jukebox" in refused.stderr
    assert bare.stop() == 0
    serve("--nats", nats_server.url, "--db", ":memory:", "--migrations", str(tmp_path / "roots"))
    done = rosey(*line, "--import", "--nats", nats_server.url, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["imported"] == {"songs": 1500, "counted": 700, "plays": 700}
    status = rosey("migrate", "jukebox", "status", "--nats", nats_server.url)
    assert status.stdout == "Up to date: 2 migrations applied\n"
