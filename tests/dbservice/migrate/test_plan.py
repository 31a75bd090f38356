"""Which migrations a request means, as a table; no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec import UNSET

from dbservice.migrate import plan
from dbservice.migrate.files import MigrationFile, parse
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.migrations import HistoryEntry, Rollback
from dbservice.sqltext.dialects import Dialect

FILES = [
    parse(f"{name}.sql", f"-- UP\nSELECT '{name}';\n{down}".encode())
    for name, down in [
        ("001_create_quotes", "-- DOWN\nSELECT 1;"),
        ("002_add_score", "-- DOWN\nSELECT 2;"),
        ("003_add_tags", "-- DOWN\nSELECT 3;"),
    ]
]


def history(*numbers: int, changed: Sequence[int] = ()) -> list[HistoryEntry]:
    return [
        HistoryEntry(
            version=f"{number:03}",
            name=FILES[number - 1].name if number <= len(FILES) else f"{number:03}_gone",
            checksum="0" if number in changed or number > 3 else FILES[number - 1].checksum,
            applied_at="2026-11-21T00:00:00.000000Z",
            applied_by="me",
            execution_ms=1.0,
            state="applied",
        )
        for number in numbers
    ]


def numbers(files: Sequence[MigrationFile]) -> list[int]:
    return [file.number for file in files]


@pytest.mark.parametrize(
    ("applied", "version", "expected"),
    [
        ([], UNSET, [1, 2, 3]),
        ([], 1, [1]),
        ([], "2", [1, 2]),
        ([], "002", [1, 2]),
        ([], "002_add_score", [1, 2]),
        ([1], UNSET, [2, 3]),
        ([1], "001", []),
        ([1, 2], 1, []),
        ([1, 2, 3], UNSET, []),
    ],
)
def test_apply(applied: list[int], version: Any, expected: list[int]) -> None:
    assert numbers(plan.to_apply(FILES, history(*applied), version)) == expected


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Rollback(), [3]),
        (Rollback(version=3), [3]),
        (Rollback(version="002"), [3, 2]),
        (Rollback(version="001_create_quotes"), [3, 2, 1]),
        (Rollback(to=2), [3]),
        (Rollback(to="001"), [3, 2]),
        (Rollback(to=0), [3, 2, 1]),
        (Rollback(to="000"), [3, 2, 1]),
        (Rollback(to=3), []),
        (Rollback(all=True), [3, 2, 1]),
    ],
)
def test_rollback_of_three(request_: Rollback, expected: list[int]) -> None:
    chosen = plan.to_roll_back(FILES, history(1, 2, 3), request_, Dialect.SQLITE)
    assert numbers(chosen) == expected


@pytest.mark.parametrize("request_", [Rollback(), Rollback(all=True), Rollback(version=3)])
def test_rollback_of_nothing(request_: Rollback) -> None:
    assert plan.to_roll_back(FILES, [], request_, Dialect.SQLITE) == []


@pytest.mark.parametrize("version", ["4", 4, 0, -1, "003_add_tag", "", "३", "9" * 5000])
def test_an_unknown_version(version: Any) -> None:
    for ask in (
        lambda: plan.to_apply(FILES, [], version),
        lambda: plan.to_roll_back(FILES, history(1), Rollback(version=version), Dialect.SQLITE),
    ):
        with pytest.raises(RequestError) as caught:
            ask()
        assert caught.value.code is ErrorCode.MIGRATION_NOT_FOUND
        assert len(caught.value.message) < 200


def test_an_unknown_version_is_answered_with_the_nearest() -> None:
    with pytest.raises(RequestError) as caught:
        plan.find(FILES, "003_add_tag")
    assert caught.value.message == (
        "There is no migration '003_add_tag'. Did you mean '003_add_tags'?"
    )
    assert caught.value.details == {"version": "003_add_tag", "nearest": "003_add_tags"}
    with pytest.raises(RequestError) as caught:
        plan.find(FILES, 9)
    assert caught.value.message == "There is no migration '9'. The newest is 003_add_tags."
    with pytest.raises(RequestError) as caught:
        plan.find([], 1)
    assert caught.value.message == "There is no migration '1'. This plugin has no migrations."


def test_a_changed_file_stops_every_apply_and_its_own_rollback() -> None:
    past = history(1, 2, changed=[1])
    for version in (UNSET, 1, 3):
        with pytest.raises(RequestError) as caught:
            plan.to_apply(FILES, past, version)
        assert caught.value.code is ErrorCode.CHECKSUM_MISMATCH
        assert caught.value.details == {"files": ["001_create_quotes.sql"]}
        assert caught.value.message.startswith(
            "001_create_quotes.sql was changed after it was applied."
        )
    assert numbers(plan.to_roll_back(FILES, past, Rollback(), Dialect.SQLITE)) == [2]
    with pytest.raises(RequestError) as caught:
        plan.to_roll_back(FILES, past, Rollback(all=True), Dialect.SQLITE)
    assert caught.value.code is ErrorCode.CHECKSUM_MISMATCH


def test_an_older_migration_is_pending() -> None:
    with pytest.raises(RequestError) as caught:
        plan.to_apply(FILES, history(1, 3), UNSET)
    assert (caught.value.code, caught.value.message) == (
        ErrorCode.MIGRATION_ORDER,
        "002_add_score.sql is pending although version 003 is applied: roll back to 001 first.",
    )


@pytest.mark.parametrize(
    ("down", "message"),
    [
        (
            "-- IRREVERSIBLE: the texts were cut",
            (
                "004_cut.sql says that it is irreversible: the texts were cut. Nothing was rolled "
                "back."
            ),
        ),
        ("", "004_cut.sql has no DOWN section for sqlite. Nothing was rolled back."),
    ],
)
def test_irreversible(down: str, message: str) -> None:
    last = parse("004_cut.sql", f"-- UP\nSELECT 1;\n{down}\n".encode())
    past = history(1, 2, 3)
    past.append(history(4)[0])
    past[3] = HistoryEntry(
        version="004",
        name="004_cut",
        checksum=last.checksum,
        applied_at="",
        applied_by="me",
        execution_ms=0.0,
        state="applied",
    )
    for request in (Rollback(), Rollback(to=1), Rollback(all=True)):
        with pytest.raises(RequestError) as caught:
            plan.to_roll_back([*FILES, last], past, request, Dialect.SQLITE)
        assert (caught.value.code, caught.value.message) == (ErrorCode.IRREVERSIBLE, message)


def test_files_of_applied_migrations_that_are_gone_or_renamed() -> None:
    renamed = replace(FILES[1], name="002_other")
    files = [FILES[0], renamed, FILES[2]]
    told = plan.status(files, history(1, 2, 3, 4))
    assert not told.up_to_date
    assert told.missing_migrations == ["002_add_score", "004_gone"]
    with pytest.raises(RequestError) as caught:
        plan.to_apply(files, history(1, 2, 3, 4), UNSET)
    assert caught.value.code is ErrorCode.MIGRATION_NOT_FOUND
    assert caught.value.message.startswith(
        "Applied, but no file has the name any more: 002_add_score (its file is called "
        "002_other.sql now), 004_gone. Put the file back under its name"
    )


def test_the_file_of_an_applied_migration_is_gone() -> None:
    with pytest.raises(RequestError) as caught:
        plan.to_roll_back(FILES, history(1, 2, 3, 4), Rollback(), Dialect.SQLITE)
    assert caught.value.code is ErrorCode.MIGRATION_NOT_FOUND
    assert caught.value.message.startswith("004_gone is applied, but its file is gone")


@pytest.mark.parametrize(
    "request_",
    [Rollback(version=1, to=1), Rollback(version=1, all=True), Rollback(to=0, all=True)],
)
def test_a_rollback_that_says_two_things(request_: Rollback) -> None:
    with pytest.raises(RequestError) as caught:
        plan.to_roll_back(FILES, history(1), request_, Dialect.SQLITE)
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    assert caught.value.message.endswith("give one of 'version', 'to' and 'all'.")


def test_status() -> None:
    found = plan.status(FILES, history(1, 2, changed=[2]))
    assert (found.up_to_date, found.current_version, found.pending_count) == (False, 2, 1)
    assert found.applied_migrations == ["001_create_quotes", "002_add_score"]
    assert found.pending_migrations == ["003_add_tags"]
    assert found.checksum_mismatches == ["002_add_score"]
    assert plan.status(FILES, history(1, 2, 3)).up_to_date is True
    assert plan.status(FILES, history(1, 2, 3, changed=[1])).up_to_date is False
    nothing = plan.status([], [])
    assert (nothing.up_to_date, nothing.current_version, nothing.applied_migrations) == (
        True,
        0,
        [],
    )
