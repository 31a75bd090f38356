"""A database file has one service, and what that acknowledges is in the file of that name."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

PATIENCE = 30


@pytest.mark.parametrize("name", ["a.db", "hard link.db", "soft link.db"])
@pytest.mark.parametrize("side_file", ["kept", "removed"])
def test_a_second_writer_of_a_file_is_refused(serve, rosey, own_server, tmp_path, name, side_file):
    serve("--nats", own_server.url, "--db", "a.db")
    if name.startswith("hard"):
        (tmp_path / name).hardlink_to(tmp_path / "a.db")
    elif name.startswith("soft"):
        (tmp_path / name).symlink_to(tmp_path / "a.db")
    if side_file == "removed":
        for side in tmp_path.glob("*.lock"):
            side.unlink()
    for command in (
        ("migrate", "quote-db", "status", "--db", name),
        ("migrate", "quote-db", "apply", "--db", name),
        ("serve", "--nats", own_server.url, "--db", name),
    ):
        refused = rosey(*command)
        assert refused.returncode == 3, (command, refused.stdout, refused.stderr)
        assert "A service holds the database file" in refused.stderr
        assert "--nats" in refused.stderr


def test_what_is_acknowledged_is_in_the_file_of_that_name(serve, own_server, tmp_path):
    """A file that is taken away, or replaced, is noticed before the next answer."""
    serve("--nats", own_server.url, "--db", "a.db")
    client = [sys.executable, "-c", _SETS, own_server.url]
    before = subprocess.run(client, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert json.loads(before.stdout) == {"acknowledged": 5, "refused": []}
    (tmp_path / "a.db").rename(tmp_path / "moved.db")
    after = subprocess.run(client, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert json.loads(after.stdout) == {"acknowledged": 0, "refused": ["DATABASE_UNAVAILABLE"] * 5}
    (tmp_path / "moved.db").rename(tmp_path / "a.db")
    back = subprocess.run(client, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert json.loads(back.stdout) == {"acknowledged": 5, "refused": []}


_SETS = """
import asyncio, json, sys, nats
async def main():
    client = await nats.connect(sys.argv[1])
    told = {"acknowledged": 0, "refused": []}
    for number in range(5):
        payload = json.dumps({"key": f"k{number}", "value": 1}).encode()
        reply = json.loads((await client.request("rosey.db.kv.shop.set", payload, timeout=20)).data)
        if reply["success"]:
            told["acknowledged"] += 1
        else:
            told["refused"].append(reply["error"]["code"])
    print(json.dumps(told))
    await client.close()
asyncio.run(main())
"""


def test_the_file_is_opened_once_beside_sqlite_and_closed_after_it(tmp_path):
    """Whoever closes any descriptor of the file drops the locks that SQLite has on it."""
    child = [sys.executable, "-c", _LIFE, str(tmp_path / "a.db")]
    told = subprocess.run(child, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr
    opened, open_at_the_end, left = json.loads(told.stdout)
    assert opened[0] == "open"
    assert opened.count("open") == 1
    assert opened.count("sqlite3.connect") > 1
    assert open_at_the_end >= 1
    assert left == 0


_LIFE = """
import asyncio, json, os, sys
path, opened = os.path.realpath(sys.argv[1]), []

def note(event, arguments):
    if event == "sqlite3.connect" or (
        event == "open"
        and isinstance(arguments[0], (str, bytes))
        and os.path.realpath(os.fsdecode(arguments[0])) == path
    ):
        opened.append(event)

sys.addaudithook(note)

def descriptors():
    own = "/proc/self/fd"
    return sum(os.path.realpath(f"{own}/{each}") == path for each in os.listdir(own))

async def live():
    from dbservice.client import StorageClient
    from dbservice.embedded import Stack
    async with Stack(database_url=f"sqlite+aiosqlite:///{path}") as stack:
        await stack.migrate("quote-db")
        storage = StorageClient(await stack.connect(), "quote-db")
        await storage.rows("quotes").search({"text": {"$like": "%a%"}})
        lines = [line async for line in storage.export()]
        await storage.migrations.verify()
        await storage.migrations.rollback(all=True)
        await storage.clear()
        await stack.service.database.sweep()
        await stack.service.database.probe()
        return descriptors()

at_the_end = asyncio.run(live())
print(json.dumps([opened, at_the_end, descriptors()]))
"""
