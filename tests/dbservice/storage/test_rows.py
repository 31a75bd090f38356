"""Inserting, reading, changing and deleting rows over a real engine (SPEC 2.4)."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from dbservice.runtime.clock import ManualClock
from tests.dbservice.storage.caller import Caller

Migrate = Callable[..., Any]

THEN = "2023-11-14T22:13:20.000000Z"
LATER = "2023-11-14T22:13:30.000000Z"

WHOLE = {
    "text": "To be",
    "author": "W. S.",
    "score": -3,
    "rating": 4.5,
    "active": True,
    "seen": "2026-01-01T00:00:00.000000Z",
    "tags": ["a", {"b": None}],
}


# --- inserting -----------------------------------------------------------------------------------


async def test_a_row_comes_back_as_it_was(quotes: Caller) -> None:
    assert await quotes.row("insert", table="quotes", data=WHOLE) == {"id": 1, "created": True}
    assert await quotes.one(1) == {"id": 1, **WHOLE, "created_at": THEN, "updated_at": THEN}


async def test_absent_columns_take_their_default_or_null(quotes: Caller) -> None:
    await quotes.row("insert", table="quotes", data={"text": "a"})
    row = await quotes.one(1)
    assert row.pop("score") == 0
    assert {row[name] for name in ("author", "rating", "active", "seen", "tags")} == {None}


async def test_an_explicit_null_is_not_the_default(quotes: Caller) -> None:
    await quotes.row("insert", table="quotes", data={"text": "a", "score": None, "tags": None})
    assert await quotes.one(1, "score", "tags") == {"score": None, "tags": None}


async def test_an_explicit_id_is_taken_and_the_next_ones_follow_it(quotes: Caller) -> None:
    for given, expected in ((None, 1), (10, 10), (None, 11), (5, 5), (None, 12)):
        data = {"text": f"{given}-{expected}"} | ({} if given is None else {"id": given})
        assert (await quotes.row("insert", table="quotes", data=data))["id"] == expected


async def test_an_id_is_not_given_twice_even_after_a_delete(quotes: Caller) -> None:
    await quotes.row("insert", table="quotes", data=[{"text": "a"}, {"text": "b"}])
    await quotes.row("delete", table="quotes", id=2)
    assert (await quotes.row("insert", table="quotes", data={"text": "c"}))["id"] == 3


async def test_a_batch_answers_with_its_ids_in_order(quotes: Caller) -> None:
    rows = [{"text": f"q{number}"} for number in range(5)]
    assert await quotes.row("insert", table="quotes", data=rows) == {
        "ids": [1, 2, 3, 4, 5],
        "created": 5,
    }
    more = [{"text": f"r{number}"} for number in range(1000)]
    answer = await quotes.row("insert_batch", table="quotes", rows=more)
    assert answer == {"ids": list(range(6, 1006)), "created": 1000}


@pytest.mark.parametrize("operation", ["insert", "insert_batch"])
@pytest.mark.parametrize(
    ("bad", "code", "message"),
    [
        (
            {"text": "a"},
            "CONSTRAINT_VIOLATION",
            "A row with the same value on text exists already.",
        ),
        (
            {"author": "x"},
            "CONSTRAINT_VIOLATION",
            "A value on text is required and may not be null.",
        ),
        (
            {"text": 5},
            "VALIDATION_ERROR",
            "Column 'text' is string: expected a string at '{field}[1].text', got integer.",
        ),
    ],
)
async def test_a_batch_is_all_or_nothing(
    quotes: Caller, operation: str, bad: dict[str, Any], code: str, message: str
) -> None:
    field = "data" if operation == "insert" else "rows"
    body = {field: [{"text": "a"}, bad, {"text": "c"}], "counters": {"total": 1}}
    error = await quotes.refused_row(operation, table="quotes", **body)
    assert error["code"] == code
    assert error["message"] == message.format(field=field)
    assert await quotes.ids({}) == []
    assert await quotes.kv("get", key="total") == {"exists": False}


async def test_batches_have_one_to_a_thousand_rows(quotes: Caller) -> None:
    for rows, message in (
        ([], "expected array of length >= 1."),
        ([{"text": str(number)} for number in range(1001)], "expected array of length <= 1000."),
    ):
        for operation, field in (("insert", "data"), ("insert_batch", "rows")):
            error = await quotes.refused_row(operation, table="quotes", **{field: rows})
            assert error["message"] == f"Field '{field}': {message}"


async def test_a_table_of_defaults_takes_an_empty_row(plugin: Caller) -> None:
    schema = {"fields": [{"name": "n", "type": "integer", "default": 7}]}
    await plugin.row("schema.register", table="empty", schema=schema)
    assert await plugin.row("insert", table="empty", data={}) == {"id": 1, "created": True}
    assert (await plugin.one(1, "n", table="empty")) == {"n": 7}


async def test_a_table_without_an_id_answers_null(plugin: Caller, migrate: Migrate) -> None:
    await migrate(
        "CREATE TABLE quote_db__votes (who TEXT, quote INTEGER, n INTEGER, PRIMARY KEY (who, "
        "quote))"
    )
    data = {"who": "ann", "quote": 1, "n": 1}
    assert await plugin.row("insert", table="votes", data=data) == {"id": None, "created": True}
    assert (await plugin.row("insert", table="votes", data=[{**data, "quote": 2}]))["ids"] == [None]
    upserted = await plugin.row(
        "upsert",
        table="votes",
        data=data,
        on=["quote", "who"],
        operations={"n": {"$inc": 1}},
    )
    assert upserted == {"id": None, "created": False}
    selected = await plugin.row("select", table="votes", filters={"quote": 1})
    assert selected["rows"] == [{"who": "ann", "quote": 1, "n": 2}]
    for operation, more in (("select", {}), ("update", {"data": {"n": 3}}), ("delete", {})):
        error = await plugin.refused_row(operation, table="votes", id=1, **more)
        assert error["message"] == (
            "Table 'votes' has no single-column primary key, so its rows have no id. Use 'filters'."
        )


async def test_a_text_key_serves_as_id(plugin: Caller, migrate: Migrate) -> None:
    await migrate("CREATE TABLE quote_db__users (name TEXT PRIMARY KEY NOT NULL, n INTEGER)")
    inserted = await plugin.row("insert", table="users", data={"name": "ann", "n": 1})
    assert inserted == {"id": "ann", "created": True}
    assert await plugin.one("ann", table="users") == {"name": "ann", "n": 1}
    updated = await plugin.row("update", table="users", id="ann", operations={"n": {"$inc": 1}})
    assert updated == {"id": "ann", "updated": True}
    error = await plugin.refused_row("select", table="users", id=5)
    assert error["message"] == "Column 'name' is text: expected a string at 'id', got integer."
    assert await plugin.row("delete", table="users", id="ann") == {"deleted": True}


# --- values of every type ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "stored"),
    [
        ("text", "", ""),
        ("text", "x" * 50, "x" * 50),
        ("text", "😀" * 50, "😀" * 50),
        ("author", "a\u2028\n\t'\";--", "a\u2028\n\t'\";--"),
        ("author", "123", "123"),
        ("score", 2**63 - 1, 2**63 - 1),
        ("score", -(2**63), -(2**63)),
        ("rating", 0.1, 0.1),
        ("rating", 3, 3.0),
        ("rating", 2**53, float(2**53)),
        ("rating", -1.7976931348623157e308, -1.7976931348623157e308),
        ("rating", 5e-324, 5e-324),
        ("active", False, False),
        ("seen", "2026-01-01", "2026-01-01T00:00:00.000000Z"),
        ("seen", "2026-01-01T12:30:00", "2026-01-01T12:30:00.000000Z"),
        ("seen", "2026-01-01T12:30:00Z", "2026-01-01T12:30:00.000000Z"),
        ("seen", "2026-01-01 12:30:00.5+02:00", "2026-01-01T10:30:00.500000Z"),
        ("seen", "2026-01-01T00:00:00.123456-05:30", "2026-01-01T05:30:00.123456Z"),
        ("seen", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("seen", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("tags", [], []),
        ("tags", {"a": [1, 1.5, True, None, "é"]}, {"a": [1, 1.5, True, None, "é"]}),
        ("tags", "plain", "plain"),
        ("tags", 5, 5),
        ("tags", False, False),
        ("tags", "5", "5"),
    ],
)
async def test_a_value_of_the_right_type_is_kept(
    quotes: Caller, column: str, value: Any, stored: Any
) -> None:
    await quotes.row("insert", table="quotes", data={"text": "t", column: value})
    await quotes.row("insert", table="quotes", data={"text": "u"})
    if column != "text":
        await quotes.row("update", table="quotes", id=2, data={column: value})
    for row_id in (1, 2) if column != "text" else (1,):
        got = (await quotes.one(row_id, column))[column]
        assert got == stored
        assert type(got) is type(stored)


MOMENT = "an ISO-8601 datetime, for example '2026-11-21T18:30:00Z'"


@pytest.mark.parametrize(
    ("column", "value", "expected", "got"),
    [
        ("text", 5, "a string", "integer"),
        ("text", ["a"], "a string", "array"),
        ("author", True, "a string", "boolean"),
        ("score", 4.9, "an integer", "number"),
        ("score", 4.0, "an integer", "number"),
        ("score", "4", "an integer", "string"),
        ("score", True, "an integer", "boolean"),
        ("rating", "4.5", "a number", "string"),
        ("rating", True, "a number", "boolean"),
        ("active", 1, "true or false", "integer"),
        ("active", "false", "true or false", "string"),
        ("seen", 1_700_000_000, MOMENT, "integer"),
    ],
)
async def test_a_value_is_never_bent_into_a_type(
    quotes: Caller, column: str, value: Any, expected: str, got: str
) -> None:
    data = {"text": "t", column: value}
    error = await quotes.refused_row("insert", table="quotes", data=data)
    types = {"text": "string", "author": "text", "score": "integer", "rating": "float"}
    types |= {"active": "boolean", "seen": "datetime"}
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == (
        f"Column '{column}' is {types[column]}: expected {expected} at 'data.{column}', got {got}."
    )
    assert error["details"] == {"field": f"data.{column}", "expected": expected, "got": got}
    assert await quotes.ids({}) == []


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("text", "x" * 51, "The text at 'data.text' has 51 characters; column 'text' takes 50."),
        ("author", "a\0", "The text at 'data.author' contains a NUL character."),
        ("score", 2**63, "The integer at 'data.score' does not fit into 64 bits."),
        (
            "rating",
            2**53 + 1,
            "The integer at 'data.rating' cannot be held exactly by the float column 'rating'.",
        ),
        (
            "rating",
            2**64,
            "The integer at 'data.rating' cannot be held exactly by the float column 'rating'.",
        ),
        (
            "seen",
            "yesterday",
            f"Column 'seen' is datetime: expected {MOMENT} at 'data.seen', got 'yesterday'.",
        ),
        (
            "seen",
            "2026-02-30",
            f"Column 'seen' is datetime: expected {MOMENT} at 'data.seen', got '2026-02-30'.",
        ),
        (
            "seen",
            "9999-12-31T23:59:59-01:00",
            (
                f"Column 'seen' is datetime: expected {MOMENT} at 'data.seen', got "
                "'9999-12-31T23:59:59-01:00'."
            ),
        ),
        ("tags", [2**64], "The integer at 'data.tags[0]' does not fit into 64 bits."),
        ("tags", {"a\0": 1}, "The text at 'data.tags' contains a NUL character."),
    ],
)
async def test_a_value_out_of_range_is_refused(
    quotes: Caller, column: str, value: Any, message: str
) -> None:
    for operation, more in (
        ("insert", {"data": {"text": "t", column: value}}),
        ("update", {"all": True, "data": {column: value}}),
    ):
        error = await quotes.refused_row(operation, table="quotes", **more)
        assert error["code"] == "VALIDATION_ERROR"
        assert error["message"] == message


@pytest.mark.parametrize(("character", "size"), [("x", 1), ("é", 2)])
async def test_a_row_has_a_mebibyte_at_the_most(quotes: Caller, character: str, size: int) -> None:
    largest = character * ((1_048_576 - 1) // size) + "x" * ((1_048_576 - 1) % size)
    await quotes.row("insert", table="quotes", data={"text": "t", "author": largest})
    for operation, where, more in (
        ("insert", "data", {"data": {"text": "u", "author": largest + "x"}}),
        ("update", "operations", {"id": 1, "data": {"text": "u", "author": largest + "x"}}),
    ):
        error = await quotes.refused_row(operation, table="quotes", **more)
        assert error["code"] == "VALUE_TOO_LARGE"
        assert error["message"] == f"The row at '{where}' has 1048577 bytes; the limit is 1048576."


async def test_an_array_cannot_grow_over_the_size_of_a_row(quotes: Caller) -> None:
    await quotes.row("insert", table="quotes", data={"text": "t", "tags": ["x" * 600_000]})
    error = await quotes.refused_row(
        "update", table="quotes", id=1, operations={"tags": {"$push": "x" * 600_000}}
    )
    assert error["code"] == "VALUE_TOO_LARGE"
    assert len((await quotes.one(1, "tags"))["tags"]) == 1


# --- unknown tables and columns ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "more"),
    [
        ("insert", {"data": {}}),
        ("insert_batch", {"rows": [{}]}),
        ("select", {}),
        ("search", {}),
        ("update", {"all": True, "data": {"a": 1}}),
        ("upsert", {"data": {"a": 1}, "on": ["a"]}),
        ("delete", {"all": True}),
        ("count", {}),
        ("aggregate", {"compute": {"n": {"$count": "*"}}}),
        ("schema.describe", {}),
    ],
)
async def test_an_unknown_table_is_named_with_the_nearest(
    quotes: Caller, operation: str, more: dict[str, Any]
) -> None:
    error = await quotes.refused_row(operation, table="quote", **more)
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == (
        "Table 'quote' is not registered for plugin 'quote-db': it has quotes. "
        "Did you mean 'quotes'?"
    )
    assert error["details"]["reason"] == "TABLE_NOT_REGISTERED"
    error = await quotes.named("quote").refused_row(operation, table="quotes", **more)
    assert error["message"] == (
        "Table 'quotes' is not registered for plugin 'quote': it has no tables; "
        "apply its migrations."
    )
    error = await quotes.refused_row(operation, table="quotes; DROP TABLE x", **more)
    assert error["message"].startswith("'quotes; DROP TABLE x' is not a valid name: expected ")


@pytest.mark.parametrize(
    ("operation", "more", "field"),
    [
        ("insert", {"data": {"scor": 1}}, "data.scor"),
        ("insert", {"data": [{"text": "a"}, {"scor": 1}]}, "data[1].scor"),
        ("select", {"columns": ["id", "scor"]}, "columns.scor"),
        ("select", {"filters": {"$or": [{"scor": 1}]}}, "filters.$or[0].scor"),
        ("select", {"sort": {"field": "scor"}}, "sort.scor"),
        ("update", {"all": True, "operations": {"scor": {"$inc": 1}}}, "operations.scor.$inc"),
        ("update", {"all": True, "data": {"scor": 1}}, "data.scor"),
        ("update", {"all": True, "data": {"score": 1}, "returning": ["scor"]}, "returning.scor"),
        ("upsert", {"data": {"text": "a"}, "on": ["scor"]}, "on.scor"),
        ("aggregate", {"compute": {"n": {"$sum": "scor"}}}, "compute.n.$sum"),
        ("aggregate", {"compute": {"n": {"$count": "*"}}, "group_by": ["scor"]}, "group_by.scor"),
    ],
)
async def test_an_unknown_column_is_named_with_the_nearest(
    quotes: Caller, operation: str, more: dict[str, Any], field: str
) -> None:
    error = await quotes.refused_row(operation, table="quotes", **more)
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == (
        "Column 'scor' is not in schema of table 'quotes': it has id, text, author, score, rating, "
        "active, seen, tags, created_at, updated_at. Did you mean 'score'?"
    )
    assert error["details"]["reason"] == "UNKNOWN_COLUMN"
    assert error["details"]["nearest"] == "score"
    assert error["details"]["field"] == field


@pytest.mark.parametrize("name", ["sort", "limit", "offset", "columns", "after"])
async def test_what_belongs_beside_the_filters_is_sent_there(quotes: Caller, name: str) -> None:
    error = await quotes.refused_row("select", table="quotes", filters={name: {"field": "score"}})
    assert error["message"].endswith(f"updated_at. '{name}' goes beside 'filters', not inside.")


# --- selecting -----------------------------------------------------------------------------------


async def filled(quotes: Caller, count: int) -> None:
    rows = [{"text": f"q{number:04}", "score": number % 3} for number in range(1, count + 1)]
    await quotes.row("insert_batch", table="quotes", rows=rows)


async def test_select_by_id_has_the_row_twice_and_says_whether_it_exists(quotes: Caller) -> None:
    await filled(quotes, 2)
    assert await quotes.row("select", table="quotes", id=2, columns=["text"]) == {
        "rows": [{"text": "q0002"}],
        "count": 1,
        "truncated": False,
        "exists": True,
        "data": {"text": "q0002"},
    }
    assert await quotes.row("select", table="quotes", id=3) == {
        "rows": [],
        "count": 0,
        "truncated": False,
        "exists": False,
    }


async def test_an_id_and_filters_exclude_each_other(quotes: Caller) -> None:
    for operation, more in (
        ("select", {}),
        ("search", {}),
        ("update", {"data": {"score": 1}}),
        ("delete", {}),
    ):
        error = await quotes.refused_row(
            operation, table="quotes", id=1, filters={"score": 1}, **more
        )
        assert error["message"] == "Send either 'id' or 'filters', not both."


async def test_an_id_of_the_wrong_type_or_size_is_refused(quotes: Caller) -> None:
    for wrong, message in (
        ("1", "Column 'id' is integer: expected an integer at 'id', got string."),
        (2**63, "The integer at 'id' does not fit into 64 bits."),
    ):
        error = await quotes.refused_row("select", table="quotes", id=wrong)
        assert error["message"] == message


async def test_select_counts_what_it_returns_and_search_counts_all(quotes: Caller) -> None:
    await filled(quotes, 7)
    page = await quotes.row("select", table="quotes", limit=3, columns=["id"])
    assert page.pop("next")
    assert page == {"rows": [{"id": 1}, {"id": 2}, {"id": 3}], "count": 3, "truncated": True}
    found = await quotes.row("search", table="quotes", limit=3, offset=6, columns=["id"])
    assert found == {"rows": [{"id": 7}], "count": 1, "truncated": False, "total": 7}
    found = await quotes.row("search", table="quotes", limit=3, filters={"score": 1}, offset=5)
    assert found == {"rows": [], "count": 0, "truncated": False, "total": 3}


async def test_a_full_last_page_is_not_truncated(quotes: Caller) -> None:
    await filled(quotes, 3)
    page = await quotes.row("select", table="quotes", limit=3, columns=["id"])
    assert not page["truncated"]
    assert "next" not in page


async def test_pages_have_a_hundred_rows_unless_told_and_a_thousand_at_the_most(
    quotes: Caller,
) -> None:
    await filled(quotes, 1000)
    await quotes.row("insert", table="quotes", data={"text": "one more"})
    default = await quotes.row("select", table="quotes", columns=["id"])
    assert (default["count"], default["truncated"]) == (100, True)
    clamped = await quotes.row("select", table="quotes", columns=["id"], limit=5_000)
    assert (clamped["count"], clamped["truncated"]) == (1000, True)
    rest = await quotes.row(
        "select", table="quotes", columns=["id"], limit=2**70, after=clamped["next"]
    )
    assert (rest["rows"], rest["truncated"]) == ([{"id": 1001}], False)


async def test_columns_come_in_the_order_of_the_request(quotes: Caller) -> None:
    await filled(quotes, 1)
    page = await quotes.row("select", table="quotes", columns=["score", "id"])
    assert [list(row) for row in page["rows"]] == [["score", "id"]]
    for field, operation, more in (
        ("columns", "select", {}),
        ("returning", "update", {"all": True, "data": {"score": 1}}),
    ):
        error = await quotes.refused_row(
            operation, table="quotes", **{field: ["score", "score"]}, **more
        )
        assert error["message"] == f"'{field}' names a column twice."


async def test_rows_without_a_sort_come_by_their_key(quotes: Caller) -> None:
    for row_id in (30, 10, 20):
        await quotes.row("insert", table="quotes", data={"id": row_id, "text": str(row_id)})
    assert await quotes.ids({}) == [10, 20, 30]


async def test_a_json_column_does_not_sort(quotes: Caller) -> None:
    error = await quotes.refused_row("select", table="quotes", sort={"field": "tags"})
    assert error["message"] == "'sort' requires a type other than json; column 'tags' is json."


SORTABLE = {
    "author": [None, "", "B", "a", "É", "é", "😀"],
    "score": [None, -(2**63), -1, 0, 1, 2**63 - 1],
    "rating": [None, -1e300, -0.5, 0.0, 0.1, 1e300],
    "active": [None, False, True],
    "seen": [None, "0001-01-01T00:00:00Z", "1999-12-31T23:59:59.9Z", "2026-01-01T00:00:00Z"],
}


@pytest.mark.parametrize("column", SORTABLE)
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_keyset_pages_cover_every_row_once_in_order(
    quotes: Caller, column: str, order: str, limit: int
) -> None:
    values = SORTABLE[column] * 2
    shuffled = values[1::2] + values[::2]
    for number, value in enumerate(shuffled):
        await quotes.row("insert", table="quotes", data={"text": f"q{number}", column: value})
    expected = sorted(
        enumerate(shuffled, start=1), key=lambda pair: SORTABLE[column].index(pair[1])
    )
    if order == "desc":
        expected.sort(key=lambda pair: -SORTABLE[column].index(pair[1]))
    seen = await all_pages(quotes, limit=limit, sort={"field": column, "order": order})
    assert seen == [row_id for row_id, _ in expected]


async def all_pages(quotes: Caller, **query: Any) -> list[int]:
    """Follow `next` to the end; return the ids in the order they came."""
    seen: list[int] = []
    page = await quotes.row("select", table="quotes", columns=["id"], **query)
    seen += [row["id"] for row in page["rows"]]
    while page["truncated"]:
        page = await quotes.row(
            "select", table="quotes", columns=["id"], after=page["next"], **query
        )
        assert page["rows"]
        seen += [row["id"] for row in page["rows"]]
    assert "next" not in page
    return seen


async def test_offset_pages_with_ties_do_not_overlap(quotes: Caller) -> None:
    await filled(quotes, 20)
    seen = []
    for offset in range(0, 20, 6):
        page = await quotes.row(
            "select",
            table="quotes",
            columns=["id"],
            sort={"field": "score", "order": "desc"},
            limit=6,
            offset=offset,
        )
        seen += [row["id"] for row in page["rows"]]
    assert seen == sorted(range(1, 21), key=lambda number: (-(number % 3), number))


async def test_several_sort_columns_with_filters_page_through(quotes: Caller) -> None:
    await filled(quotes, 30)
    await quotes.row("update", table="quotes", filters={"id": {"$lt": 10}}, data={"author": "a"})
    seen = await all_pages(
        quotes,
        limit=4,
        filters={"score": {"$in": [0, 2]}},
        sort=[{"field": "author"}, {"field": "score", "order": "desc"}, {"field": "text"}],
    )
    rows = [(number, "a" if number < 10 else "") for number in range(1, 31) if number % 3 != 1]
    assert seen == [
        number for number, author in sorted(rows, key=lambda row: (row[1], -(row[0] % 3), row[0]))
    ]


async def test_a_cursor_is_not_lost_when_its_row_is_deleted(quotes: Caller) -> None:
    await filled(quotes, 6)
    page = await quotes.row("select", table="quotes", columns=["id"], limit=3)
    await quotes.row("delete", table="quotes", filters={"id": {"$in": [3, 4]}})
    rest = await quotes.row("select", table="quotes", columns=["id"], after=page["next"])
    assert rest["rows"] == [{"id": 5}, {"id": 6}]


@pytest.mark.parametrize(
    "cursor",
    ["x", "é", "bnVsbA==", "W10=", "WzEsMl0=", "WzE=", "====", "W" * 3000, "W1tb" * 2000],
)
async def test_a_broken_cursor_is_refused(quotes: Caller, cursor: str) -> None:
    error = await quotes.refused_row("select", table="quotes", after=cursor)
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == (
        "'after' is not a cursor of this query: send the 'next' of the page before, with the same "
        "'filters' and 'sort'."
    )


async def test_a_cursor_with_a_value_of_another_type_is_refused(quotes: Caller) -> None:
    await filled(quotes, 2)
    page = await quotes.row("select", table="quotes", limit=1)
    digest, _ = json.loads(base64.b64decode(page["next"]))
    forged = base64.b64encode(json.dumps([digest, "a"]).encode()).decode()
    error = await quotes.refused_row("select", table="quotes", after=forged)
    assert error["message"] == "Column 'id' is integer: expected an integer at 'after', got string."


async def test_a_cursor_goes_with_filters_and_sort_only(quotes: Caller) -> None:
    for more in ({"id": 1}, {"offset": 1}):
        error = await quotes.refused_row("select", table="quotes", after="WzFd", **more)
        assert error["message"] == "'after' goes with 'filters' and 'sort' only."


# --- random rows ---------------------------------------------------------------------------------


async def drawn(quotes: Caller, times: int, **query: Any) -> Counter[int]:
    """Return how often each id was drawn, one at a time."""
    pages = await asyncio.gather(
        *(
            quotes.row("select", table="quotes", sort="$random", limit=1, columns=["id"], **query)
            for _ in range(times)
        )
    )
    return Counter(page["rows"][0]["id"] for page in pages)


def chi_square(counts: Counter[int], ids: list[int]) -> float:
    expected = counts.total() / len(ids)
    assert set(counts) <= set(ids)
    return sum((counts[row_id] - expected) ** 2 / expected for row_id in ids)


ONE_IN_A_BILLION = 54.0
"""Chi-square of 5 degrees of freedom that chance exceeds once in 10**9 runs, rounded up."""


@pytest.mark.parametrize("query", [{}, {"filters": {"score": {"$gte": 0}}}])
async def test_random_rows_are_uniform_in_spite_of_gaps(
    quotes: Caller, query: dict[str, Any]
) -> None:
    """The row nearest to a random id would come with the gap in front of it as its weight."""
    ids = [1, 2, 3, 10, 30, 31]
    for row_id in ids:
        await quotes.row("insert", table="quotes", data={"id": row_id, "text": str(row_id)})
    counts = await drawn(quotes, 900, **query)
    assert chi_square(counts, ids) < ONE_IN_A_BILLION


async def test_random_rows_are_uniform_where_ids_are_too_far_apart_to_guess(
    quotes: Caller,
) -> None:
    ids = [-(2**63), -5, 0, 7, 2**40, 2**63 - 1]
    for row_id in ids:
        await quotes.row("insert", table="quotes", data={"id": row_id, "text": str(row_id)})
    counts = await drawn(quotes, 900)
    assert chi_square(counts, ids) < ONE_IN_A_BILLION


async def test_random_says_whether_there_are_more(quotes: Caller) -> None:
    empty = await quotes.row("select", table="quotes", sort="$random", limit=1)
    assert empty == {"rows": [], "count": 0, "truncated": False}
    await filled(quotes, 1)
    one = await quotes.row("select", table="quotes", sort="$random", limit=1)
    assert (one["count"], one["truncated"]) == (1, False)
    await quotes.row("insert", table="quotes", data={"text": "other"})
    two = await quotes.row("select", table="quotes", sort="$random", limit=1)
    assert (two["count"], two["truncated"]) == (1, True)
    assert "next" not in two


async def test_several_random_rows_are_different_ones(quotes: Caller) -> None:
    await filled(quotes, 10)
    found = await quotes.row("search", table="quotes", sort="$random", limit=4, columns=["id"])
    assert len({row["id"] for row in found["rows"]}) == 4
    assert (found["count"], found["truncated"], found["total"]) == (4, True, 10)
    whole = await quotes.row("select", table="quotes", sort="$random", columns=["id"])
    assert sorted(row["id"] for row in whole["rows"]) == list(range(1, 11))
    some = await quotes.row(
        "select", table="quotes", sort="$random", columns=["id"], filters={"id": {"$lte": 2}}
    )
    assert sorted(row["id"] for row in some["rows"]) == [1, 2]


async def test_random_has_no_pages(quotes: Caller) -> None:
    for more in ({"offset": 1}, {"after": "WzFd"}):
        error = await quotes.refused_row("select", table="quotes", sort="$random", **more)
        assert error["message"] == (
            "Pages of a '$random' order do not exist: leave out 'offset' and 'after'."
        )


# --- deleting, counting --------------------------------------------------------------------------


async def test_delete_answers_with_a_number_by_filters_and_a_boolean_by_id(
    quotes: Caller,
) -> None:
    await filled(quotes, 9)
    assert await quotes.row("delete", table="quotes", id=1) == {"deleted": True}
    assert await quotes.row("delete", table="quotes", id=1) == {"deleted": False}
    assert await quotes.row("delete", table="quotes", filters={"score": 2}) == {"deleted": 3}
    assert await quotes.row("delete", table="quotes", filters={"score": 2}) == {"deleted": 0}
    assert await quotes.ids({}) == [3, 4, 6, 7, 9]
    assert await quotes.row("delete", table="quotes", all=True) == {"deleted": 5}
    assert await quotes.row("count", table="quotes") == {"count": 0}


@pytest.mark.parametrize(
    ("operation", "more"), [("delete", {}), ("update", {"data": {"score": 1}})]
)
async def test_touching_every_row_must_be_said(
    quotes: Caller, operation: str, more: dict[str, Any]
) -> None:
    await filled(quotes, 2)
    for absent in ({}, {"all": False}):
        error = await quotes.refused_row(operation, table="quotes", **more, **absent)
        assert error["code"] == "MISSING_FIELD"
    for empty in ({"filters": {}}, {"filters": {}, "all": False}):
        error = await quotes.refused_row(operation, table="quotes", **more, **empty)
        assert error["code"] == "VALIDATION_ERROR"
        assert error["message"] == (
            "This would touch every row of the table. Name the rows in 'filters', or send "
            '"all": true if every row is meant.'
        )
    assert await quotes.ids({}) == [1, 2]


# --- counters ------------------------------------------------------------------------------------


async def counter(quotes: Caller) -> Any:
    return (await quotes.kv("get", key="total")).get("value")


async def test_counters_move_with_the_write(quotes: Caller) -> None:
    await quotes.row("insert", table="quotes", data={"text": "a"}, counters={"total": 1, "n": 5})
    assert await counter(quotes) == 1
    assert await quotes.kv("get", key="n") == {"exists": True, "value": 5}
    more = [{"text": "b"}, {"text": "c"}, {"text": "d"}]
    await quotes.row("insert_batch", table="quotes", rows=more, counters={"total": 3})
    assert await counter(quotes) == 4
    await quotes.row("delete", table="quotes", id=1, counters={"total": -1})
    assert await counter(quotes) == 3
    await quotes.row("delete", table="quotes", filters={"id": {"$gt": 2}}, counters={"total": -1})
    assert await counter(quotes) == 1


async def test_a_delete_of_nothing_counts_nothing(quotes: Caller) -> None:
    await quotes.row("delete", table="quotes", id=5, counters={"total": -1})
    assert await counter(quotes) is None


async def test_a_refused_write_counts_nothing(quotes: Caller) -> None:
    await quotes.row("insert", table="quotes", data={"text": "a"}, counters={"total": 1})
    await quotes.refused_row("insert", table="quotes", data={"text": "a"}, counters={"total": 1})
    assert await counter(quotes) == 1


@pytest.mark.parametrize(
    ("counters", "message"),
    [
        ({"name": 1}, "The key 'name' holds string, not an integer. Set it to an integer first."),
        ({"full": 1}, "The number under 'full' would not fit into 64 bits."),
        ({"": 1}, "A key under 'counters' is empty."),
        ({"a\n": 1}, "The key contains a control character."),
        ({"k" * 513: 1}, f"The key '{'k' * 80}' has 513 characters; the limit is 512."),
    ],
)
async def test_a_counter_that_cannot_move_takes_the_write_back(
    quotes: Caller, counters: dict[str, int], message: str
) -> None:
    await quotes.kv("set", key="name", value="x")
    await quotes.kv("set", key="full", value=2**63 - 1)
    for operation, more in (
        ("insert", {"data": {"text": "a"}}),
        ("insert_batch", {"rows": [{"text": "a"}]}),
    ):
        error = await quotes.refused_row(
            operation, table="quotes", counters={"total": 1, **counters}, **more
        )
        assert error["code"] == "VALIDATION_ERROR"
        assert error["message"] == message
    assert await quotes.ids({}) == []
    assert await counter(quotes) is None


async def test_a_counter_that_cannot_move_takes_a_delete_back(quotes: Caller) -> None:
    await quotes.row("insert", table="quotes", data=[{"text": "a"}, {"text": "b"}])
    await quotes.kv("set", key="low", value=-(2**63) + 1)
    error = await quotes.refused_row("delete", table="quotes", all=True, counters={"low": -1})
    assert error["details"]["reason"] == "LIMIT"
    assert await quotes.ids({}) == [1, 2]


# --- stamps --------------------------------------------------------------------------------------


async def test_updated_at_moves_with_every_kind_of_update(
    quotes: Caller, clock: ManualClock
) -> None:
    changes: list[tuple[str, dict[str, Any]]] = [
        ("update", {"id": 1, "data": {"score": 5}}),
        ("update", {"filters": {"id": 1}, "operations": {"score": {"$inc": 1}}}),
        ("update", {"id": 1, "operations": {"tags": {"$push": 1}}}),
        ("upsert", {"on": ["text"], "data": {"text": "a", "score": 1}}),
        ("upsert", {"on": ["text"], "data": {"text": "a"}}),
    ]
    await quotes.row("insert", table="quotes", data=[{"text": "a"}, {"text": "b"}])
    before = await quotes.one(1, "updated_at")
    for operation, body in changes:
        clock.advance(10)
        await quotes.row(operation, table="quotes", **body)
        after = await quotes.one(1, "created_at", "updated_at")
        assert after["created_at"] == THEN
        assert after["updated_at"] > before["updated_at"]
        before = after
    assert (await quotes.one(2, "updated_at"))["updated_at"] == THEN


async def test_a_stamp_that_is_sent_is_kept(quotes: Caller, clock: ManualClock) -> None:
    moment = "2001-01-01T00:00:00.000000Z"
    data = {"text": "a", "created_at": moment, "updated_at": moment}
    await quotes.row("insert", table="quotes", data=data)
    assert (await quotes.one(1))["created_at"] == moment
    await quotes.row("update", table="quotes", id=1, data={"updated_at": LATER})
    assert (await quotes.one(1))["updated_at"] == LATER


async def test_a_moment_that_the_table_would_fill_in_compares_with_any_other(
    plugin: Caller, migrate: Migrate, clock: ManualClock
) -> None:
    await migrate(
        "CREATE TABLE quote_db__log (id INTEGER PRIMARY KEY, "
        "at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)"
    )
    await plugin.row("insert", table="log", data={})
    assert (await plugin.one(1, table="log"))["at"] == THEN
    before = {"at": {"$gt": "2023-11-14T22:13:19Z"}}
    assert await plugin.ids(before, table="log") == [1]
    assert await plugin.ids({"at": {"$gt": THEN}}, table="log") == []


async def test_a_table_without_both_stamps_is_left_alone(
    plugin: Caller, migrate: Migrate, clock: ManualClock
) -> None:
    await migrate(
        "CREATE TABLE quote_db__log (id INTEGER PRIMARY KEY, n INTEGER, updated_at DATETIME)"
    )
    await plugin.row("insert", table="log", data={"n": 1})
    await plugin.row("update", table="log", id=1, data={"n": 2})
    assert await plugin.one(1, table="log") == {"id": 1, "n": 2, "updated_at": None}
