"""Pages end before a reply would be too large, and a reader gets the rest (SPEC 2.4)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dbservice.engine.engine import Engine
from dbservice.runtime.clock import ManualClock
from dbservice.storage.database import Database
from tests.dbservice.conftest import NOON
from tests.dbservice.storage.caller import Caller, no_migrations

ROOM = 8_192
FIELDS = {
    "fields": [
        {"name": "text", "type": "text"},
        {"name": "n", "type": "integer"},
        {"name": "tags", "type": "json"},
    ]
}


@pytest.fixture
async def notes(engine: Engine) -> Caller:
    """Return a plugin with a table, whose replies may have 8 KiB."""
    database = Database(
        engine,
        ManualClock(NOON),
        forget_migrations=no_migrations,
        max_reply=lambda: ROOM,
    )
    await database.open()
    caller = Caller(database)
    await caller.row("schema.register", table="notes", schema=FIELDS)
    return caller


async def fill(notes: Caller, *texts: str) -> None:
    for number, text in enumerate(texts):
        await notes.row("insert", table="notes", data={"text": text, "n": number})


async def pages(notes: Caller, operation: str, **body: Any) -> list[dict[str, Any]]:
    found = [await notes.row(operation, table="notes", **body)]
    while found[-1]["truncated"]:
        found.append(await notes.row(operation, table="notes", **body, after=found[-1]["next"]))
    return found


@pytest.mark.parametrize("operation", ["select", "search"])
@pytest.mark.parametrize("text", ["x" * 1000, "\x01" * 400, "é" * 700, '"' * 900])
async def test_a_page_ends_before_the_reply_is_too_large(
    notes: Caller, operation: str, text: str
) -> None:
    await fill(notes, *[text] * 30)
    found = await pages(notes, operation, columns=["n", "text"])
    assert len(found) > 1
    for page in found:
        assert len(json.dumps(page, separators=(",", ":"), ensure_ascii=False).encode()) <= ROOM
        assert page["count"] == len(page["rows"])
    assert [page.get("cut") for page in found] == ["size"] * (len(found) - 1) + [None]
    assert [row["n"] for page in found for row in page["rows"]] == list(range(30))
    assert all(page["total"] == 30 for page in found if operation == "search")


async def test_a_page_that_its_limit_ends_is_not_cut(notes: Caller) -> None:
    await fill(notes, *["short"] * 10)
    page = await notes.row("select", table="notes", limit=3)
    assert page["truncated"] is True
    assert "cut" not in page


async def test_a_reader_by_offset_goes_on_behind_the_rows_it_got(notes: Caller) -> None:
    await fill(notes, *["x" * 1000] * 20)
    read: list[int] = []
    truncated = True
    while truncated:
        page = await notes.row("select", table="notes", columns=["n", "text"], offset=len(read))
        read += [row["n"] for row in page["rows"]]
        truncated = page["truncated"]
    assert read == list(range(20))


async def test_a_row_that_does_not_fit_alone_is_named_and_can_be_passed_by(notes: Caller) -> None:
    await fill(notes, "short", "x" * 9_000, "short")
    first = await notes.row("select", table="notes")
    assert [row["n"] for row in first["rows"]] == [0]
    error = await notes.refused_row("select", table="notes", after=first["next"])
    assert error["code"] == "VALUE_TOO_LARGE"
    assert error["details"]["key"] == {"id": 2}
    last = await notes.row("select", table="notes", after=error["details"]["next"])
    assert [row["n"] for row in last["rows"]] == [2]
    assert last["truncated"] is False


async def test_a_cursor_over_long_texts_is_left_out_of_what_has_to_fit(notes: Caller) -> None:
    await fill(notes, *[f"{number:02}" + "x" * 3_000 for number in range(8)])
    found = await pages(notes, "select", sort={"field": "text"}, columns=["n"])
    assert [row["n"] for page in found for row in page["rows"]] == list(range(8))


@pytest.mark.parametrize("field", ["text", "n"])
async def test_an_update_whose_returned_rows_do_not_fit_is_undone(
    notes: Caller, field: str
) -> None:
    await fill(notes, *["x" * 1000] * 20)
    error = await notes.refused_row(
        "update", table="notes", all=True, data={"n": -1}, returning=["text"]
    )
    assert error["code"] == "VALUE_TOO_LARGE"
    assert "Nothing was changed" in error["message"]
    assert (await notes.row("count", table="notes", filters={"n": -1}))["count"] == 0
    changed = await notes.row("update", table="notes", all=True, data={"n": -1}, returning=["n"])
    assert changed["updated"] == 20


async def test_an_update_of_arrays_whose_returned_rows_do_not_fit_is_undone(notes: Caller) -> None:
    await fill(notes, *["x" * 1000] * 20)
    push = {"tags": {"$push": "new"}}
    error = await notes.refused_row(
        "update", table="notes", all=True, operations=push, returning=["text"]
    )
    assert error["code"] == "VALUE_TOO_LARGE"
    filters = {"tags": {"$contains": "new"}}
    assert (await notes.row("count", table="notes", filters=filters))["count"] == 0


async def test_what_has_no_next_page_is_refused_when_it_does_not_fit(notes: Caller) -> None:
    await fill(notes, *[f"{number:02}" + "x" * 1000 for number in range(20)])
    sample = await notes.refused_row("select", table="notes", sort="$random", limit=20)
    grouped = await notes.refused_row(
        "aggregate", table="notes", group_by=["text"], compute={"c": {"$count": "*"}}
    )
    assert sample["code"] == grouped["code"] == "VALUE_TOO_LARGE"
    assert sample["details"]["limit"] == grouped["details"]["limit"] == ROOM


async def test_a_list_of_keys_is_cut_too(notes: Caller) -> None:
    keys = [f"{number:03}" + "k" * 500 for number in range(40)]
    for key in keys:
        await notes.kv("set", key=key, value=1)
    listed: list[str] = []
    truncated = True
    while truncated:
        page = await notes.kv("list", **({"after": listed[-1]} if listed else {}))
        assert len(json.dumps(page).encode()) <= ROOM
        assert (page.get("cut") == "size") is page["truncated"]
        listed += page["keys"]
        truncated = page["truncated"]
    assert listed == keys
