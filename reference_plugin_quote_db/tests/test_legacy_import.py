"""From the legacy plugin's file into the service: nothing lost, nothing twice, nothing silent."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from dbservice.client import ConstraintViolation, RequestTimeout, StorageClient
from reference_plugin_quote_db import QuoteDBPlugin, legacy
from reference_plugin_quote_db.errors import MigrationsPending
from reference_plugin_quote_db.legacy.file import BATCH, LegacyFileError, legacy_file
from reference_plugin_quote_db.legacy.importer import (
    CHECKPOINT,
    ImportConflict,
    LegacyImport,
    Refused,
    Report,
)

pytestmark = pytest.mark.asyncio

MANY = 2000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quotes.db"


@pytest_asyncio.fixture
async def file(path: Path) -> Path:
    """A file as the legacy plugin makes it, without quotes."""
    plugin = legacy.QuoteDBPlugin(str(path))
    await plugin.initialize()
    await plugin.close()
    return path


@pytest_asyncio.fixture
async def service(rosey_migrations: Any, cleanup_plugin_namespace: Any, storage: Any) -> Any:
    """The plugin's storage, migrated."""
    cleanup_plugin_namespace.after_the_test("quote-db")
    await rosey_migrations.apply("quote-db")
    return storage("quote-db")


def change(path: Path, sql: str, rows: Sequence[Sequence[Any]] = ((),)) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(sql, rows)
        connection.commit()


def fill(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    change(
        path,
        "INSERT INTO quotes (id, text, author, added_by, timestamp, score) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        rows,
    )


def many(path: Path, count: int = MANY) -> list[tuple[Any, ...]]:
    """Fill a file with quotes whose ids have gaps; return the rows."""
    rows = [
        (
            3 * number,
            f"Quote {number} — ünïcode",
            "Alice",
            "bob",
            1_500_000_000 + number,
            number % 9,
        )
        for number in range(1, count + 1)
    ]
    fill(path, rows)
    return rows


async def stored(service: StorageClient) -> list[tuple[Any, ...]]:
    return [
        tuple(row[name] for name in ("id", "text", "author", "added_by", "timestamp", "score"))
        async for row in service.rows("quotes").iterate(page_size=BATCH)
    ]


def content(path: Path) -> bytes:
    return path.read_bytes()


def make(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def batches_sent(db_service: Any) -> list[Any]:
    return [
        request
        for request in db_service.requests
        if request.subject == "rosey.db.row.quote-db.insert_batch"
    ]


async def run(service: Any, path: Path, *, again: bool = False, progress: Any = None) -> Report:
    async with legacy_file(path) as opened:
        return await LegacyImport(service, opened, progress).run(again=again)


class Interruption(Exception):  # noqa: N818 - as if it were a signal
    """Ctrl-C between two batches."""


def after_batches(number: int) -> Callable[[str, int, int], None]:
    """Interrupt an import after so many batches were written and noted."""

    def progress(phase: str, done: int, _total: int) -> None:
        if phase == "import" and done >= number * BATCH:
            raise Interruption

    return progress


# -- all is well --------------------------------------------------------------------------------


async def test_two_thousand_quotes(service: StorageClient, file: Path) -> None:
    rows = many(file)
    steps: list[tuple[str, int, int]] = []
    report = await run(service, file, progress=lambda *step: steps.append(step))
    assert await stored(service) == rows
    assert report.verified
    assert (report.read, report.found, report.first_quotes_removed) == (MANY, MANY, 5)
    assert (report.refused, report.cleaned, report.different) == ([], [], [])
    assert await service.kv.get("total_count") == MANY
    batches = range(BATCH, MANY + 1, BATCH)
    assert steps == [(phase, done, MANY) for phase in ("import", "verify") for done in batches]


async def test_the_plugin_goes_on_where_the_legacy_one_stopped(
    service: StorageClient, file: Path, rosey_plugin: Any
) -> None:
    old = legacy.QuoteDBPlugin(str(file))
    await old.initialize()
    quote_id = await old.add_quote("Hi-keeba!", "Joel", "alice")
    for _ in range(3):
        await old.upvote_quote(quote_id)
    before = await old.get_quote(quote_id)
    await old.close()
    await run(service, file)
    new = await rosey_plugin(QuoteDBPlugin, namespace="quote-db")
    assert await new.get_quote(quote_id) == {**(before or {}), "tags": []}
    assert await new.upvote_quote(quote_id) == 4
    assert await new.count_quotes() == 1
    assert await new.add_quote("Next", "Joel", "alice") > quote_id


async def test_a_total_that_was_wrong(service: StorageClient, file: Path) -> None:
    many(file, 10)
    await service.kv.set("total_count", 77)
    await run(service, file)
    assert await service.kv.get("total_count") == 10


async def test_an_empty_file(service: StorageClient, file: Path) -> None:
    report = await run(service, file)
    assert report.verified
    assert (report.read, await stored(service)) == (0, [])
    assert await service.kv.get("total_count") == 0


async def test_the_longest_quotes_fit_into_a_request(service: StorageClient, file: Path) -> None:
    fill(file, [(n, "𝄞" * 1000, "𝄞" * 100, "𝄞" * 50, 1, 0) for n in range(1, BATCH + 1)])
    assert (await run(service, file)).verified


async def test_a_file_from_before_voting(service: StorageClient, path: Path) -> None:
    change(path, "CREATE TABLE quotes (id INTEGER PRIMARY KEY, text, author, added_by, timestamp)")
    change(path, "INSERT INTO quotes VALUES (7, 'Old', NULL, 'bob', 1500000000)")
    report = await run(service, path)
    assert report.verified
    assert await stored(service) == [(7, "Old", "Unknown", "bob", 1_500_000_000, 0)]


async def test_the_file_is_not_changed(service: StorageClient, file: Path) -> None:
    many(file, 10)
    before = content(file)
    await run(service, file)
    assert content(file) == before


async def test_tags_come_with_migration_003(
    rosey_migrations: Any, cleanup_plugin_namespace: Any, storage: Any, file: Path
) -> None:
    cleanup_plugin_namespace.after_the_test("quote-db")
    await rosey_migrations.apply("quote-db", "002")
    fill(file, [(1, "Keep #Circulating the #tapes", "Joel", "bob", 1, 0)])
    assert (await run(storage("quote-db"), file)).verified
    await rosey_migrations.apply("quote-db")
    (row,) = await rosey_migrations.rows("quote-db", "quotes")
    assert row["tags"] == ["circulating", "tapes"]


async def test_tags_come_with_the_import_too(service: StorageClient, file: Path) -> None:
    fill(
        file,
        [
            (1, "Keep #Circulating the #tapes", "Joel", "bob", 1, 0),
            (2, "Movie #sign", "MST3K", "bob", 1, 0),
            (3, "Nothing", "Joel", "bob", 1, 0),
        ],
    )
    assert (await run(service, file)).verified
    found = await service.rows("quotes").select(sort={"field": "id"})
    assert [row["tags"] for row in found] == [
        ["circulating", "tapes"],
        ["sign", "mst3k", "classic"],
        [],
    ]


# -- interrupted --------------------------------------------------------------------------------


@pytest.mark.parametrize("batches", [1, 4, 10])
async def test_an_import_goes_on_where_it_stopped(
    service: StorageClient, file: Path, batches: int, db_service: Any
) -> None:
    rows = many(file)
    with pytest.raises(Interruption):
        await run(service, file, progress=after_batches(batches))
    assert await stored(service) == rows[: batches * BATCH]
    assert await service.kv.get("total_count") == batches * BATCH
    sent = len(batches_sent(db_service))
    report = await run(service, file)
    assert report.verified
    assert report.resumed_after == rows[batches * BATCH - 1][0]
    assert await stored(service) == rows
    assert await service.kv.get("total_count") == MANY
    assert len(batches_sent(db_service)) - sent == MANY / BATCH - batches


async def test_a_batch_that_was_written_but_not_noted_is_not_written_twice(
    service: StorageClient, file: Path, monkeypatch: pytest.MonkeyPatch, db_service: Any
) -> None:
    """The worst moment: the service has the batch, and the reply never came."""
    rows = many(file, 3 * BATCH)
    insert_many = type(service.rows("quotes")).insert_many
    calls = 0

    async def reply_lost(self: Any, *args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        ids = await insert_many(self, *args, **options)
        if calls == 2:
            raise RequestTimeout("lost")
        return ids

    with monkeypatch.context() as patched:
        patched.setattr(type(service.rows("quotes")), "insert_many", reply_lost)
        with pytest.raises(RequestTimeout):
            await run(service, file)
    assert (await run(service, file)).verified
    assert await stored(service) == rows
    assert await service.kv.get("total_count") == 3 * BATCH
    # The second batch came twice; the repeat was answered by its key, and not refused.
    assert [request.code for request in batches_sent(db_service)] == [None] * 4


@pytest.mark.parametrize("lost", ["checkpoint", "idempotency keys"])
async def test_an_import_finds_out_what_is_there(
    service: StorageClient, file: Path, lost: str, rosey_clock: Any
) -> None:
    rows = many(file, 3 * BATCH)
    with pytest.raises(Interruption):
        await run(service, file, progress=after_batches(2))
    if lost == "checkpoint":
        await service.kv.delete(CHECKPOINT)
    else:
        checkpoint = await service.kv.get(CHECKPOINT)
        await service.kv.set(CHECKPOINT, {**checkpoint, "last_id": rows[BATCH - 1][0]})
        rosey_clock.advance(48 * 3600)
    assert (await run(service, file)).verified
    assert await stored(service) == rows
    assert await service.kv.get("total_count") == 3 * BATCH


async def test_a_second_run_brings_what_came_later(service: StorageClient, file: Path) -> None:
    many(file, 10)
    await run(service, file)
    fill(file, [(1000, "Later", "Alice", "bob", 1_600_000_000, 0)])
    report = await run(service, file)
    assert report.verified
    assert (report.read, report.resumed_after, report.first_quotes_removed) == (11, 30, 0)


# -- what cannot be imported ----------------------------------------------------------------------


async def test_refused_rows_are_reported_and_the_rest_is_imported(
    service: StorageClient, file: Path
) -> None:
    good = ("fine", "Alice", "bob", 1_500_000_000, 0)
    bad: dict[int, tuple[tuple[Any, ...], str]] = {
        1: (("", *good[1:]), "Quote text cannot be empty"),
        2: (("x" * 1001, *good[1:]), "Quote text too long (max 1000 characters)"),
        3: (("nul\0", *good[1:]), "Quote text contains null bytes"),
        4: (("fine", "A" * 101, *good[2:]), "Author name too long (max 100 characters)"),
        5: (("fine", "A\u200b", *good[2:]), "Author name contains invalid characters"),
        6: (("fine", "A", "", *good[3:]), "Username cannot be empty"),
        7: (("fine", "A", "u" * 51, *good[3:]), "Username too long (max 50 characters)"),
        8: ((*good[:3], 0, 0), "Timestamp must be an integer from 1 to 9223372036854775807"),
        9: ((*good[:3], "soon", 0), "Timestamp must be an integer from 1 to 9223372036854775807"),
        10: ((*good[:4], 101), "Score must be an integer from -100 to 100"),
        11: ((b"\x01", *good[1:]), "Quote text must be text, not bytes"),
        -1: (good, "Invalid quote ID (must be positive integer)"),
    }
    fill(file, [(quote_id, *row) for quote_id, (row, _) in bad.items()])
    change(file, "INSERT INTO quotes VALUES (12, CAST(x'ff' AS TEXT), 'A', 'bob', 1, 0)")
    fill(file, [(13, *good)])
    report = await run(service, file)
    expected = {quote_id: reason for quote_id, (_, reason) in bad.items()}
    expected[12] = "Quote text contains invalid characters"
    assert report.refused == [Refused(*item) for item in sorted(expected.items())]
    assert await stored(service) == [(13, *good)]
    assert report.verified
    assert (report.read, report.found) == (14, 1)


async def test_repaired_rows_come_with_the_next_look(service: StorageClient, file: Path) -> None:
    rows = many(file, 3 * BATCH)
    change(file, "UPDATE quotes SET score = 150 WHERE id = 30")
    assert [row.quote_id for row in (await run(service, file)).refused] == [30]
    change(file, "UPDATE quotes SET score = 1 WHERE id = 30")
    report = await run(service, file)
    assert (report.verified, report.different) == (False, [30])
    assert (await run(service, file, again=True)).verified
    assert await stored(service) == rows
    assert await service.kv.get("total_count") == len(rows)


async def test_a_batch_of_nothing_but_refused_rows(service: StorageClient, file: Path) -> None:
    fill(file, [(n, "", "A", "bob", 1, 0) for n in range(1, BATCH + 1)])
    fill(file, [(BATCH + 1, "fine", "A", "bob", 1, 0)])
    report = await run(service, file)
    assert (report.verified, len(report.refused), report.found) == (True, BATCH, 1)


async def test_a_rule_of_the_table_that_is_not_known_here(
    service: StorageClient, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_args: Any, **_options: Any) -> Any:
        raise ConstraintViolation("A CHECK constraint on author refused the value.")

    many(file, 3)
    monkeypatch.setattr(type(service.rows("quotes")), "insert_many", refuse)
    with pytest.raises(ConstraintViolation, match="author"):
        await run(service, file)


async def test_cleaned_rows_are_reported(service: StorageClient, file: Path) -> None:
    fill(file, [(1, " \x02bold\x02 ", "", "bob ", 1, None), (2, "plain", "A", "bob", 1, 0)])
    report = await run(service, file)
    assert report.verified
    assert report.cleaned == [1]
    assert (await stored(service))[0] == (1, "bold", "Unknown", "bob", 1, 0)


async def test_other_quotes_are_not_overwritten(service: StorageClient, file: Path) -> None:
    await service.rows("quotes").insert(
        {"id": 6, "text": "Mine", "added_by": "carol", "timestamp": 1}
    )
    many(file, 10)
    with pytest.raises(ImportConflict, match=r"ids of the legacy file: 6\. Nothing was") as caught:
        await run(service, file)
    assert caught.value.ids == [6]
    assert [row[:2] for row in await stored(service)] == [(6, "Mine")]


async def test_first_quotes_with_votes_stay(service: StorageClient, file: Path) -> None:
    await service.rows("quotes").update({"id": 2}, {"score": {"$inc": 1}})
    fill(file, [(9, "fine", "A", "bob", 1, 0)])
    report = await run(service, file)
    assert report.first_quotes_removed == 4
    assert [row[0] for row in await stored(service)] == [2, 9]
    assert await service.kv.get("total_count") == 2


async def test_changes_after_the_import_are_found(service: StorageClient, file: Path) -> None:
    many(file, 10)
    await run(service, file)
    await service.rows("quotes").update({"id": 3}, {"score": {"$inc": 1}})
    await service.rows("quotes").delete({"id": 6})
    report = await run(service, file)
    assert not report.verified
    assert report.different == [3, 6]
    assert report.checksum != report.service_checksum


async def test_tables_that_are_not_there(storage: Any, file: Path) -> None:
    with pytest.raises(MigrationsPending, match="rosey migrate quote-db apply"):
        await run(storage("quote-db"), file)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, r"There is no file '.*quotes\.db'\. Name the one"),
        (b"not a database, but long enough to be taken for one" * 100, "cannot be read as"),
        (b"", "is not a file of the legacy plugin: .*missing: id, text, author"),
    ],
)
async def test_other_files(path: Path, found: bytes | None, message: str) -> None:
    if found is not None:
        make(path, found)
    with pytest.raises(LegacyFileError, match=message):
        async with legacy_file(path):
            pytest.fail("it was opened")
