"""A suite that has drifted away from the contract: whatever is wrong in it is said (SPEC 5.2-5.6).

Each of these tests would pass with a mock that answers anything.
"""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

HEAD = """
import asyncio, pytest
from dbservice.client import StorageClient

async def first_text(nats):
    return (await StorageClient(nats, "quote-db").rows("quotes").get(1))["text"]
"""
SELECT = "rosey.db.row.quote-db.select"

DRIFTS = {
    "wrong reply keys": (
        f"""
async def test_it(fake_nats):
    fake_nats.respond("{SELECT}", {{"success": True, "results": []}})
""",
        [
            f"*could not send this reply to {SELECT}: fields are missing: 'rows' (array*",
            "*The nearest reply of 'select' is *\"rows\": array of object*",
        ],
    ),
    "missing success": (
        f"""
async def test_it(fake_nats):
    fake_nats.respond("{SELECT}", b'{{"rows": [], "count": 0, "truncated": false}}')
""",
        ["*field 'success' is missing, expected true or false. The service always sends it*"],
    ),
    "wrong type": (
        """
async def test_it(fake_nats):
    fake_nats.respond("rosey.db.row.quote-db.count", {"success": True, "count": "3"})
""",
        ["*reply to rosey.db.row.quote-db.count: field 'count'*integer*"],
    ),
    "unknown request fields": (
        """
async def test_it(fake_nats):
    fake_nats.respond("rosey.db.kv.quote-db.get", {"success": True, "exists": False})
    await fake_nats.request("rosey.db.kv.quote-db.get", b'{"key": "total", "kee": 1}')
""",
        ["*would refuse this request on rosey.db.kv.quote-db.get*kee*"],
    ),
    "wrong subject": (
        f"""
async def test_it(fake_nats):
    fake_nats.respond("{SELECT}s", {{"success": True}})
""",
        ["*does not serve *: 'selects' is not an operation of 'row'*Did you mean 'select'*"],
    ),
    "a request to another subject than the stub": (
        """
@pytest.mark.rosey_fake(assert_all_called=False)
async def test_it(fake_nats):
    fake_nats.respond("rosey.db.row.trivia.select", {"success": True, "rows": []}, contract=False)
    await first_text(fake_nats)
""",
        [
            f"*No stub answers the request on {SELECT}*",
            f"*Nearest: rosey.db.row.trivia.select, but the request is on {SELECT}.",
        ],
    ),
    "unused stub": (
        """
async def test_it(fake_nats):
    fake_nats.respond("rosey.db.kv.quote-db.get", {"success": True, "exists": False})
""",
        ["*rosey.db.kv.quote-db.get (never used)"],
    ),
    "leaked task": (
        """
async def forgotten(): await asyncio.sleep(60)
async def test_it(nats_client):
    task = asyncio.create_task(forgotten(), name="refresh")
    await asyncio.sleep(0)
""",
        ["The test left behind:", "*task 'refresh', forgotten()*test_trivia*"],
    ),
    "leftover rows": (
        """
async def test_it(storage, rosey_migrations):
    await rosey_migrations.apply("quote-db")
    await storage("quote-db").rows("quotes").insert(
        {"text": "left", "added_by": "me", "timestamp": 1}
    )
""",
        [
            "The test left data in the database*",
            "*namespace 'quote-db': table quote_db__quotes: 6 rows*",
        ],
    ),
}


@pytest.fixture
def suite(project: pytest.Pytester) -> pytest.Pytester:
    """A project of a plugin author."""
    return project


@pytest.mark.parametrize(("test", "said"), DRIFTS.values(), ids=DRIFTS)
def test_it_is_caught(suite: pytest.Pytester, test: str, said: list[str]) -> None:
    suite.makepyfile(test_trivia=HEAD + test)
    options = ["--rosey-db=./kept.db"] if "storage" in test else []
    result = suite.runpytest_inprocess("-q", *options)
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) == 1, result.stdout.str()
    result.stdout.fnmatch_lines(said)


def test_a_foreign_table_in_a_migration(suite: pytest.Pytester) -> None:
    directory = suite.mkdir("migrations") / "trivia"
    directory.mkdir()
    (directory / "001_scores.sql").write_text(
        "-- UP\nUPDATE quote_db__quotes SET score = 0 WHERE id = 1;\n-- DOWN\nSELECT 1;\n"
    )
    result = suite.runpytest_inprocess("--rosey-check-migrations", "-k", "foreign")
    result.assert_outcomes(failed=1, deselected=9)
    result.stdout.fnmatch_lines(
        [
            "001_scores.sql line 2: 'quote_db__quotes' *",
            "    >*2 UPDATE quote_db__quotes SET score = 0 WHERE id = 1;",
        ]
    )


def test_a_direct_import(suite: pytest.Pytester) -> None:
    suite.makepyfile(trivia="import json\nimport sqlite3\n")
    result = suite.runpytest_inprocess("--rosey-check-storage-access", "--rosey-check-paths=.")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*- trivia.py:2: imports sqlite3*; use dbservice.client.StorageClient: *"]
    )
