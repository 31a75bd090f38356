"""Every update operator on a value and on null, at its limits, and all or nothing (SPEC 2.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dbservice.engine.errors import OutOfRangeError
from tests.dbservice.storage.caller import Caller

Migrate = Callable[..., Any]

TOP, BOTTOM = 2**63 - 1, -(2**63)
HUGE = 1.7976931348623157e308
NOON, NIGHT = "2026-01-01T12:00:00.000000Z", "2026-01-01T00:00:00.000000Z"


async def with_value(quotes: Caller, column: str, value: Any) -> None:
    await quotes.row("insert", table="quotes", data={"text": "a", column: value})


@pytest.mark.parametrize(
    ("column", "before", "operator", "operand", "after"),
    [
        ("score", 5, "$set", 7, 7),
        ("score", 5, "$set", None, None),
        ("score", 5, "$unset", True, None),
        ("score", None, "$unset", True, None),
        ("score", 5, "$inc", 2, 7),
        ("score", None, "$inc", 2, 2),
        ("score", TOP - 1, "$inc", 1, TOP),
        ("score", 0, "$inc", BOTTOM, BOTTOM),
        ("score", 5, "$dec", 2, 3),
        ("score", None, "$dec", 2, -2),
        ("score", BOTTOM + 1, "$dec", 1, BOTTOM),
        ("score", -1, "$dec", BOTTOM, TOP),
        ("score", 5, "$mul", -3, -15),
        ("score", None, "$mul", 3, 0),
        ("score", BOTTOM, "$mul", 1, BOTTOM),
        ("score", 2**31, "$mul", -(2**32), BOTTOM),
        ("score", 5, "$max", 7, 7),
        ("score", 5, "$max", 3, 5),
        ("score", None, "$max", -3, -3),
        ("score", 5, "$min", 3, 3),
        ("score", 5, "$min", 7, 5),
        ("score", None, "$min", 7, 7),
        ("rating", 0.5, "$inc", 0.25, 0.75),
        ("rating", None, "$inc", 1, 1.0),
        ("rating", 0.1, "$inc", 0.2, 0.1 + 0.2),
        ("rating", 0.5, "$dec", 1, -0.5),
        ("rating", 3.0, "$mul", 0.1, 3.0 * 0.1),
        ("rating", None, "$mul", 2.5, 0.0),
        ("rating", HUGE, "$mul", 1, HUGE),
        ("rating", HUGE, "$dec", HUGE, 0.0),
        ("rating", 0.5, "$max", 0.75, 0.75),
        ("rating", None, "$min", -1, -1.0),
        ("seen", NIGHT, "$max", NOON, NOON),
        ("seen", NOON, "$max", "2026-01-01T13:00:00+02:00", NOON),
        ("seen", NOON, "$min", "2026-01-01", NIGHT),
        ("seen", None, "$max", NOON, NOON),
        ("active", True, "$set", False, False),
        ("author", "a", "$set", "b", "b"),
        ("tags", ["a"], "$set", {"b": 1}, {"b": 1}),
        ("tags", ["a"], "$unset", True, None),
        ("tags", ["a"], "$push", "a", ["a", "a"]),
        ("tags", ["a"], "$push", ["b"], ["a", ["b"]]),
        ("tags", ["a"], "$push", None, ["a", None]),
        ("tags", None, "$push", {"b": 1}, [{"b": 1}]),
        ("tags", ["a", "b", "a"], "$pull", "a", ["b"]),
        ("tags", [1, True, 1.0], "$pull", 1, [True]),
        ("tags", [{"a": 1}, {"a": 2}], "$pull", {"a": 1}, [{"a": 2}]),
        ("tags", ["a"], "$pull", "b", ["a"]),
        ("tags", None, "$pull", "a", []),
        ("tags", ["a"], "$addToSet", "a", ["a"]),
        ("tags", ["a"], "$addToSet", "A", ["a", "A"]),
        ("tags", [1], "$addToSet", True, [1, True]),
        ("tags", [{"a": [1]}], "$addToSet", {"a": [1]}, [{"a": [1]}]),
        ("tags", None, "$addToSet", "a", ["a"]),
    ],
)
async def test_an_operator_changes_a_value(
    quotes: Caller, column: str, before: Any, operator: str, operand: Any, after: Any
) -> None:
    await with_value(quotes, column, before)
    answer = await quotes.row(
        "update",
        table="quotes",
        id=1,
        operations={column: {operator: operand}},
        returning=[column],
    )
    assert answer == {"id": 1, "updated": True, "rows": [{column: after}]}
    stored = (await quotes.one(1, column))[column]
    assert stored == after
    assert type(stored) is type(after)


@pytest.mark.parametrize(
    ("column", "before", "operator", "operand"),
    [
        ("score", TOP, "$inc", 1),
        ("score", BOTTOM, "$inc", -1),
        ("score", BOTTOM, "$dec", 1),
        ("score", 0, "$dec", BOTTOM),
        ("score", None, "$dec", BOTTOM),
        ("score", TOP, "$mul", 2),
        ("score", BOTTOM, "$mul", -1),
        ("score", TOP, "$mul", TOP),
        ("rating", HUGE, "$inc", HUGE),
        ("rating", -HUGE, "$dec", HUGE),
        ("rating", HUGE, "$mul", 10),
        ("rating", -HUGE, "$mul", 10),
    ],
)
async def test_a_number_that_leaves_its_range_changes_nothing(
    quotes: Caller, column: str, before: Any, operator: str, operand: Any
) -> None:
    small = {"text": "small", column: 1}
    await quotes.row(
        "insert", table="quotes", data=[small, {"text": "a", column: before}, {"text": "z"}]
    )
    error = await quotes.refused_row(
        "update",
        table="quotes",
        all=True,
        operations={column: {operator: operand}},
        data={"author": "x"},
    )
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == OutOfRangeError.told
    assert error["details"] == {"reason": "LIMIT"}
    page = await quotes.row("select", table="quotes", columns=[column, "author"])
    assert [row[column] for row in page["rows"][:2]] == [1, before]
    assert [row["author"] for row in page["rows"]] == [None, None, None]


SCORED = (
    "CREATE TABLE quote_db__scored (id INTEGER PRIMARY KEY, name TEXT NOT NULL, "
    "score INTEGER DEFAULT 0 CHECK (score BETWEEN -100 AND 100), tags JSON TEXT, "
    "CONSTRAINT short_name CHECK (length(name) < 10))"
)


async def test_a_check_refuses_the_update_and_names_the_column(
    plugin: Caller, migrate: Migrate
) -> None:
    await migrate(SCORED)
    rows = [{"name": "a", "score": 99}, {"name": "b", "score": 100}, {"name": "c", "score": None}]
    await plugin.row("insert", table="scored", data=rows)
    for operation in ({"$inc": 1}, {"$dec": -1}, {"$mul": 2}, {"$max": 101}, {"$set": 101}):
        error = await plugin.refused_row(
            "update", table="scored", all=True, operations={"score": operation}
        )
        assert error["code"] == "CONSTRAINT_VIOLATION"
        assert error["message"] == "A CHECK constraint on score refused the value."
        assert error["details"] == {"constraint": "check", "columns": ["score"]}
        page = await plugin.row("select", table="scored", columns=["score"])
        assert [row["score"] for row in page["rows"]] == [99, 100, None]
    await plugin.row("update", table="scored", id=3, operations={"score": {"$inc": 100}})
    assert (await plugin.one(3, table="scored"))["score"] == 100


async def test_a_named_check_is_named(plugin: Caller, migrate: Migrate) -> None:
    await migrate(SCORED)
    error = await plugin.refused_row("insert", table="scored", data={"name": "far too long"})
    assert error["message"] == "A CHECK constraint on short_name refused the value."


async def test_the_array_operators_fail_as_a_whole(plugin: Caller, migrate: Migrate) -> None:
    await migrate(SCORED)
    rows = [{"name": "a", "tags": ["x"]}, {"name": "b", "tags": {"not": "an array"}}]
    await plugin.row("insert", table="scored", data=rows)
    for operator in ("$push", "$pull", "$addToSet"):
        error = await plugin.refused_row(
            "update", table="scored", all=True, operations={"tags": {operator: "y"}}
        )
        assert error["code"] == "VALIDATION_ERROR"
        assert error["message"] == (
            f"'{operator}' needs an array; column 'tags' of a matching row holds something else."
        )
        assert error["details"]["reason"] == "OPERATOR_TYPE"
    error = await plugin.refused_row(
        "update",
        table="scored",
        id=1,
        operations={"tags": {"$push": "y"}, "score": {"$inc": 500}},
    )
    assert error["code"] == "CONSTRAINT_VIOLATION"
    page = await plugin.row("select", table="scored", columns=["tags"])
    assert [row["tags"] for row in page["rows"]] == [["x"], {"not": "an array"}]


async def test_unset_of_a_required_column_is_a_violation(quotes: Caller) -> None:
    await with_value(quotes, "score", 1)
    error = await quotes.refused_row(
        "update", table="quotes", id=1, operations={"text": {"$unset": True}}
    )
    assert error["code"] == "CONSTRAINT_VIOLATION"
    assert error["message"] == "A value on text is required and may not be null."
    assert error["details"] == {"constraint": "not null", "columns": ["text"]}


NUMERIC, ORDERED, JSON = "a numeric type", "a numeric or datetime type", "a json type"
TYPES = {
    "text": "string",
    "author": "text",
    "score": "integer",
    "rating": "float",
    "active": "boolean",
    "seen": "datetime",
    "tags": "json",
}
NEEDS = dict.fromkeys(("$inc", "$dec", "$mul"), NUMERIC)
NEEDS |= dict.fromkeys(("$max", "$min"), ORDERED)
NEEDS |= dict.fromkeys(("$push", "$pull", "$addToSet"), JSON)
TAKES = {NUMERIC: {"integer", "float"}, ORDERED: {"integer", "float", "datetime"}, JSON: {"json"}}


@pytest.mark.parametrize("operator", NEEDS)
async def test_an_operator_that_the_type_does_not_have_is_refused(
    quotes: Caller, operator: str
) -> None:
    needs = NEEDS[operator]
    for column in [name for name, of_type in TYPES.items() if of_type not in TAKES[needs]]:
        error = await quotes.refused_row(
            "update", table="quotes", all=True, operations={column: {operator: 1}}
        )
        assert error["code"] == "VALIDATION_ERROR"
        assert error["message"] == (
            f"'{operator}' requires {needs}; column '{column}' is {TYPES[column]}."
        )
        assert error["details"]["reason"] == "OPERATOR_TYPE"


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (
            {"score": {"$inc": 1.5}},
            (
                "Column 'score' is integer: expected an integer at 'operations.score.$inc', got "
                "number."
            ),
        ),
        (
            {"score": {"$inc": "1"}},
            (
                "Column 'score' is integer: expected an integer at 'operations.score.$inc', got "
                "string."
            ),
        ),
        (
            {"score": {"$inc": None}},
            "Column 'score' is integer: expected an integer at 'operations.score.$inc', got null.",
        ),
        (
            {"score": {"$max": None}},
            "Column 'score' is integer: expected an integer at 'operations.score.$max', got null.",
        ),
        (
            {"rating": {"$mul": True}},
            "Column 'rating' is float: expected a number at 'operations.rating.$mul', got boolean.",
        ),
        (
            {"score": {"$inc": 2**63}},
            "The integer at 'operations.score.$inc' does not fit into 64 bits.",
        ),
        (
            {"text": {"$set": "x" * 51}},
            "The text at 'operations.text.$set' has 51 characters; column 'text' takes 50.",
        ),
        (
            {"tags": {"$push": [2**63]}},
            "The integer at 'operations.tags.$push[0][0]' does not fit into 64 bits.",
        ),
    ],
)
async def test_an_operand_of_the_wrong_type_is_refused(
    quotes: Caller, operation: dict[str, Any], message: str
) -> None:
    await with_value(quotes, "score", 1)
    error = await quotes.refused_row("update", table="quotes", id=1, operations=operation)
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == message


@pytest.mark.parametrize("column", ["id", "created_at"])
@pytest.mark.parametrize("place", ["operations", "data"])
async def test_some_columns_never_change(quotes: Caller, column: str, place: str) -> None:
    value = {"$set": 2} if place == "operations" else 2
    error = await quotes.refused_row("update", table="quotes", all=True, **{place: {column: value}})
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == (
        f"Column '{column}' is immutable: it is set when the row is made and never changes."
    )
    assert error["details"]["reason"] == "IMMUTABLE_COLUMN"


async def test_several_columns_change_together(quotes: Caller) -> None:
    await quotes.row("insert", table="quotes", data={"text": "a", "score": 1, "tags": ["x"]})
    answer = await quotes.row(
        "update",
        table="quotes",
        filters={"text": "a"},
        operations={
            "tags": {"$push": "y"},
            "score": {"$inc": 1},
            "seen": {"$max": NOON},
            "rating": {"$inc": 0.5},
        },
        data={"author": "Ann", "active": True},
        returning=["author", "active", "score", "rating", "seen", "tags", "id"],
    )
    changed = {
        "author": "Ann",
        "active": True,
        "score": 2,
        "rating": 0.5,
        "seen": NOON,
        "tags": ["x", "y"],
        "id": 1,
    }
    assert answer == {"updated": 1, "rows": [changed]}


async def test_update_answers_with_a_number_by_filters_and_the_id_by_id(quotes: Caller) -> None:
    rows = [{"text": "a", "score": 1}, {"text": "b", "score": 1}, {"text": "c", "score": 2}]
    await quotes.row("insert", table="quotes", data=rows)
    set_it = {"data": {"author": "x"}}
    assert await quotes.row("update", table="quotes", filters={"score": 1}, **set_it) == {
        "updated": 2
    }
    assert await quotes.row("update", table="quotes", filters={"score": 9}, **set_it) == {
        "updated": 0
    }
    assert await quotes.row("update", table="quotes", all=True, **set_it) == {"updated": 3}
    assert await quotes.row("update", table="quotes", id=3, **set_it) == {"id": 3, "updated": True}
    assert await quotes.row("update", table="quotes", id=4, **set_it) == {"exists": False}
    for operations in ({"score": {"$inc": 1}}, {"tags": {"$push": 1}}):
        missing = await quotes.row(
            "update", table="quotes", id=4, operations=operations, returning=["id"]
        )
        assert missing == {"exists": False}


@pytest.mark.parametrize("operations", [{"score": {"$inc": 1}}, {"tags": {"$push": 1}}])
async def test_returning_gives_every_changed_row_as_it_is_afterwards(
    quotes: Caller, operations: dict[str, Any]
) -> None:
    rows = [{"text": text, "score": 1, "tags": []} for text in "abc"]
    await quotes.row("insert", table="quotes", data=rows)
    answer = await quotes.row(
        "update",
        table="quotes",
        filters={"text": {"$ne": "b"}},
        operations=operations,
        returning=["text", "score", "tags"],
    )
    column = next(iter(operations))
    values = {"score": 1, "tags": []} | {column: 2 if column == "score" else [1]}
    assert answer["updated"] == 2
    assert sorted(answer["rows"], key=lambda row: row["text"]) == [
        {"text": "a", **values},
        {"text": "c", **values},
    ]


async def test_concurrent_updates_all_count(quotes: Caller) -> None:
    await quotes.row("insert", table="quotes", data={"text": "a"})
    answers = await asyncio.gather(
        *(
            quotes.row(
                "update",
                table="quotes",
                id=1,
                operations={"score": {"$inc": 1}, "tags": {"$push": number}},
                returning=["score"],
            )
            for number in range(60)
        )
    )
    assert sorted(answer["rows"][0]["score"] for answer in answers) == list(range(1, 61))
    assert sorted((await quotes.one(1, "tags"))["tags"]) == list(range(60))


async def test_array_operators_need_a_primary_key(plugin: Caller, migrate: Migrate) -> None:
    await migrate("CREATE TABLE quote_db__bag (tags JSON TEXT)")
    error = await plugin.refused_row(
        "update", table="bag", all=True, operations={"tags": {"$push": 1}}
    )
    assert error["message"] == "Table 'bag' has no primary key; array operators need one."


# --- upsert --------------------------------------------------------------------------------------


async def test_upsert_inserts_then_changes(quotes: Caller) -> None:
    first = {"text": "a", "score": 1}
    assert await quotes.row("upsert", table="quotes", on=["text"], data=first) == {
        "id": 1,
        "created": True,
    }
    again = {"text": "a", "score": 5, "author": "x"}
    assert await quotes.row("upsert", table="quotes", on=["text"], data=again) == {
        "id": 1,
        "created": False,
    }
    assert await quotes.one(1, "score", "author") == {"score": 5, "author": "x"}


async def test_upsert_operations_apply_to_the_row_that_is_there(quotes: Caller) -> None:
    body = {
        "on": ["text"],
        "data": {"text": "a", "score": 1},
        "operations": {"score": {"$inc": 10}, "tags": {"$push": "seen"}},
    }
    answers = await asyncio.gather(
        *(quotes.row("upsert", table="quotes", **body) for _ in range(20))
    )
    assert [answer["created"] for answer in answers].count(True) == 1
    assert await quotes.one(1, "score", "tags") == {"score": 191, "tags": ["seen"] * 19}


async def test_upsert_on_the_primary_key(quotes: Caller) -> None:
    data = {"id": 7, "text": "a"}
    first = await quotes.row("upsert", table="quotes", on=["id"], data=data)
    again = await quotes.row("upsert", table="quotes", on=["id"], data={**data, "text": "b"})
    assert (first, again) == ({"id": 7, "created": True}, {"id": 7, "created": False})
    assert (await quotes.one(7, "text"))["text"] == "b"


async def test_upsert_needs_a_unique_key_with_values(quotes: Caller) -> None:
    error = await quotes.refused_row("upsert", table="quotes", on=["score"], data={"score": 1})
    assert error["message"] == (
        "The columns score are not a unique key of table 'quotes'. An upsert needs a primary key "
        "or a unique index over exactly these columns."
    )
    for data in ({"score": 1}, {"text": None}):
        error = await quotes.refused_row("upsert", table="quotes", on=["text"], data=data)
        assert error["message"] == "'data' has no value for 'text', which 'on' names."


async def test_upsert_that_meets_another_constraint_changes_nothing(
    plugin: Caller, migrate: Migrate
) -> None:
    await migrate(SCORED, "CREATE UNIQUE INDEX quote_db__scored_name ON quote_db__scored (name)")
    body = {"on": ["name"], "data": {"name": "a", "score": 100}}
    await plugin.row("upsert", table="scored", **body)
    error = await plugin.refused_row(
        "upsert", table="scored", operations={"score": {"$inc": 1}}, **body
    )
    assert error["code"] == "CONSTRAINT_VIOLATION"
    assert (await plugin.one(1, table="scored"))["score"] == 100
