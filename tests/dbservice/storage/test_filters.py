"""Every filter operator on a value, on null, and negated (SPEC 2.5)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dbservice.storage.caller import ONLY_ON_SQLITE, Caller

ROWS: dict[int, dict[str, Any]] = {
    1: {
        "text": "Alpha",
        "author": "Ann",
        "score": 5,
        "rating": 0.5,
        "active": True,
        "seen": "2026-01-01T00:00:00Z",
        "tags": ["a", 1],
    },
    2: {
        "text": "alpha",
        "author": "ann",
        "score": -5,
        "rating": -1.0,
        "active": False,
        "seen": "2025-12-31T23:59:59.999999Z",
        "tags": [],
    },
    3: {
        "text": "É100%_\\x",
        "author": "éa",
        "score": 2**63 - 1,
        "rating": 1e300,
        "active": True,
        "seen": "2026-06-01T12:00:00Z",
        "tags": {"a": 1},
    },
    4: {"text": "null row", "score": None},
}
EVERY = [1, 2, 3, 4]


@pytest.fixture
async def filled(quotes: Caller) -> Caller:
    rows = [{"id": row_id, **row} for row_id, row in ROWS.items()]
    await quotes.row("insert_batch", table="quotes", rows=rows)
    return quotes


CASES: list[tuple[str, Any, list[int]]] = [
    ("score", {"$eq": 5}, [1]),
    ("score", {"$eq": None}, [4]),
    ("score", {"$ne": 5}, [2, 3, 4]),
    ("score", {"$ne": None}, [1, 2, 3]),
    ("score", {"$gt": -5}, [1, 3]),
    ("score", {"$gte": -5}, [1, 2, 3]),
    ("score", {"$lt": 5}, [2]),
    ("score", {"$lte": 5}, [1, 2]),
    ("score", {"$gte": 2**63 - 1}, [3]),
    ("score", {"$in": [5, -5]}, [1, 2]),
    ("score", {"$in": [5, None]}, [1, 4]),
    ("score", {"$in": [None]}, [4]),
    ("score", {"$in": []}, []),
    ("score", {"$nin": [5]}, [2, 3, 4]),
    ("score", {"$nin": [5, None]}, [2, 3]),
    ("score", {"$nin": [None]}, [1, 2, 3]),
    ("score", {"$nin": []}, EVERY),
    ("score", {"$in": [5, *range(1000, 1100)]}, [1]),
    ("score", {"$nin": [5, None, *range(1000, 1100)]}, [2, 3]),
    ("score", {"$between": [-5, 5]}, [1, 2]),
    ("score", {"$between": [5, -5]}, []),
    ("score", {"$exists": True}, [1, 2, 3]),
    ("score", {"$exists": False}, [4]),
    ("score", {"$null": True}, [4]),
    ("score", {"$null": False}, [1, 2, 3]),
    ("score", {"$gt": -5, "$lt": 6}, [1]),
    ("rating", {"$eq": 0.5}, [1]),
    ("rating", {"$eq": -1}, [2]),
    ("rating", {"$gt": 0}, [1, 3]),
    ("rating", {"$in": [0.5, -1]}, [1, 2]),
    ("rating", {"$in": [0.5, *(number / 7 for number in range(100))]}, [1]),
    ("rating", {"$between": [-1, 0.5]}, [1, 2]),
    ("active", {"$eq": True}, [1, 3]),
    ("active", {"$eq": False}, [2]),
    ("active", {"$ne": True}, [2, 4]),
    ("active", {"$in": [False, None]}, [2, 4]),
    ("active", {"$nin": [False]}, [1, 3, 4]),
    ("seen", {"$eq": "2026-01-01T02:00:00+02:00"}, [1]),
    ("seen", {"$eq": "2026-01-01"}, [1]),
    ("seen", {"$lt": "2026-01-01T00:00:00"}, [2]),
    ("seen", {"$between": ["2025-12-31T23:59:59.999999Z", "2026-01-01"]}, [1, 2]),
    ("seen", {"$in": ["2026-06-01T14:00:00+02:00", None]}, [3, 4]),
    ("text", {"$eq": "alpha"}, [2]),
    ("text", {"$ne": "alpha"}, [1, 3, 4]),
    ("text", {"$gt": "Alpha"}, [2, 3, 4]),
    ("text", {"$lt": "alpha"}, [1]),
    ("author", {"$gte": "ann"}, [2, 3]),
    ("author", {"$between": ["Ann", "ann"]}, [1, 2]),
    ("author", {"$in": ["Ann", "éa"]}, [1, 3]),
    ("text", {"$like": "al%"}, [2]),
    ("text", {"$like": "%l%"}, [1, 2, 4]),
    ("text", {"$like": "_lpha"}, [1, 2]),
    ("text", {"$like": "lpha"}, []),
    ("text", {"$like": ""}, []),
    ("text", {"$like": "%"}, EVERY),
    ("text", {"$like": "É%"}, [3]),
    ("text", {"$like": "é%"}, []),
    ("text", {"$like": "%100\\%\\_%"}, [3]),
    ("text", {"$like": "%\\\\x"}, [3]),
    ("text", {"$like": "%*%"}, []),
    ("text", {"$like": "%[a-z]%"}, []),
    ("text", {"$like": "%?%"}, []),
    ("text", {"$like": "\\a\\lpha"}, [2]),
    ("text", {"$ilike": "AL%"}, [1, 2]),
    ("text", {"$ilike": "é100\\%\\_\\\\X"}, [3]),
    ("text", {"$ilike": "%100\\%%"}, [3]),
    ("text", {"$ilike": "%100\\%a%"}, []),
    ("author", {"$ilike": "É_"}, [3]),
    ("author", {"$like": "%"}, [1, 2, 3]),
    ("tags", {"$eq": ["a", 1]}, [1]),
    ("tags", {"$eq": {"a": 1.0}}, [3]),
    ("tags", {"$eq": None}, [4]),
    ("tags", {"$ne": []}, [1, 3, 4]),
    ("tags", {"$ne": None}, [1, 2, 3]),
    ("tags", {"$contains": "a"}, [1]),
    ("tags", {"$contains": 1}, [1]),
    ("tags", {"$contains": True}, []),
    ("tags", {"$contains": None}, []),
    ("tags", {"$exists": True}, [1, 2, 3]),
    ("tags", {"$null": True}, [4]),
]


@pytest.mark.parametrize("column", sorted({column for column, _, _ in CASES}))
async def test_an_operator_matches_and_its_negation_matches_the_rest(
    filled: Caller, column: str
) -> None:
    for operators, expected in [case[1:] for case in CASES if case[0] == column]:
        rest = [row_id for row_id in EVERY if row_id not in expected]
        condition = {column: operators}
        assert await filled.ids(condition) == expected, condition
        assert await filled.ids({"$and": [condition]}) == expected, condition
        assert await filled.ids({"$or": [condition, condition]}) == expected, condition
        assert await filled.ids({column: {"$not": operators}}) == rest, condition
        assert await filled.ids({"$not": condition}) == rest, condition
        assert await filled.ids({"$nor": [condition]}) == rest, condition
        assert await filled.ids({"$not": {"$not": condition}}) == expected, condition


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, EVERY),
        ({"score": 5}, [1]),
        ({"score": None}, [4]),
        ({"tags": ["a", 1]}, [1]),
        ({"tags": {"a": 1}}, [3]),
        ({"active": True, "score": {"$lt": 100}}, [1]),
        ({"$or": [{"score": 5}, {"score": None}]}, [1, 4]),
        ({"$or": [{"score": 5}, {"score": -5}], "active": True}, [1]),
        ({"$and": [{"score": {"$gt": 0}}, {"rating": {"$gt": 1}}]}, [3]),
        ({"$nor": [{"score": 5}, {"score": None}]}, [2, 3]),
        ({"$not": {}}, []),
        ({"$and": [{}]}, EVERY),
        ({"$not": {"score": {"$gt": 0}, "active": True}}, [2, 4]),
        ({"$not": {"$or": [{"score": {"$gt": 0}}, {"rating": {"$lt": 0}}]}}, [4]),
        ({"score": {"$not": {"$gt": 0, "$lt": 10}}}, [2, 3, 4]),
        ({"score": {"$not": {"$not": {"$not": {"$eq": 5}}}}}, [2, 3, 4]),
        ({"id": {"$in": [1, 2]}, "$nor": [{"id": 1}]}, [2]),
    ],
)
async def test_conditions_combine(
    filled: Caller, filters: dict[str, Any], expected: list[int]
) -> None:
    assert await filled.ids(filters) == expected


async def test_the_deepest_and_the_widest_filters_are_served(filled: Caller) -> None:
    deep: dict[str, Any] = {"score": 5}
    for logic in ("$and", "$or", "$nor", "$and", "$nor", "$or", "$and"):
        deep = {logic: [deep, {"score": 123}] if logic == "$or" else [deep]}
    assert await filled.ids(deep) == [1]
    wide = {"$or": [{"$not": {"score": {"$ne": number}}} for number in range(-100, 100)]}
    assert await filled.ids(wide) == [1, 2]
    long = [{"score": {"$in": [*range(1000)]}}] * 100 + [
        {"score": {"$nin": [*range(9, 1009)]}}
    ] * 99
    assert await filled.ids({"$and": long}) == [1]


async def test_the_deepest_filter_goes_with_a_cursor(filled: Caller) -> None:
    deep: dict[str, Any] = {"score": {"$gt": 2**62}}
    for logic in ("$nor", "$and", "$or", "$nor", "$and", "$nor", "$or"):
        deep = {logic: [deep]}
    query = {"filters": deep, "sort": [{"field": "score", "order": "desc"}, {"field": "text"}]}
    page = await filled.row("select", table="quotes", columns=["id"], limit=1, **query)
    seen = [page["rows"][0]["id"]]
    while page["truncated"]:
        page = await filled.row(
            "select", table="quotes", columns=["id"], limit=1, after=page["next"], **query
        )
        seen.append(page["rows"][0]["id"])
    assert seen == [1, 2, 4]


TYPES = {
    "text": "string",
    "author": "text",
    "score": "integer",
    "rating": "float",
    "active": "boolean",
    "seen": "datetime",
    "tags": "json",
}
NEEDS = {
    "$gt": "a numeric or datetime type, or text",
    "$gte": "a numeric or datetime type, or text",
    "$lt": "a numeric or datetime type, or text",
    "$lte": "a numeric or datetime type, or text",
    "$between": "a numeric or datetime type, or text",
    "$like": "a text type",
    "$ilike": "a text type",
    "$contains": "a json type",
    "$in": "a type other than json",
    "$nin": "a type other than json",
}
OPERANDS: dict[str, Any] = {"$between": [1, 2], "$like": "a", "$ilike": "a", "$in": [], "$nin": []}
REFUSED = {
    "$gt": ("active", "tags"),
    "$gte": ("active", "tags"),
    "$lt": ("active", "tags"),
    "$lte": ("active", "tags"),
    "$between": ("active", "tags"),
    "$like": ("score", "rating", "active", "seen", "tags"),
    "$ilike": ("score", "rating", "active", "seen", "tags"),
    "$contains": ("text", "author", "score", "rating", "active", "seen"),
    "$in": ("tags",),
    "$nin": ("tags",),
}


@pytest.mark.parametrize("operator", REFUSED)
async def test_an_operator_that_the_type_does_not_have_is_refused(
    quotes: Caller, operator: str
) -> None:
    for column in REFUSED[operator]:
        filters = {column: {operator: OPERANDS.get(operator, 1)}}
        error = await quotes.refused_row("count", table="quotes", filters=filters)
        assert error["code"] == "VALIDATION_ERROR"
        assert error["message"] == (
            f"'{operator}' requires {NEEDS[operator]}; column '{column}' is {TYPES[column]}."
        )
        assert error["details"]["reason"] == "OPERATOR_TYPE"
        assert error["details"]["field"] == f"filters.{column}.{operator}"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            {"score": "5"},
            "Column 'score' is integer: expected an integer at '{}.score', got string.",
        ),
        (
            {"score": {"$gt": 4.5}},
            "Column 'score' is integer: expected an integer at '{}.score.$gt', got number.",
        ),
        (
            {"score": {"$in": [1, True]}},
            "Column 'score' is integer: expected an integer at '{}.score.$in[1]', got boolean.",
        ),
        (
            {"score": [1]},
            "Column 'score' is integer: expected an integer at '{}.score', got array.",
        ),
        ({"text": 5}, "Column 'text' is string: expected a string at '{}.text', got integer."),
        (
            {"text": {"$between": ["a", 5]}},
            "Column 'text' is string: expected a string at '{}.text.$between[1]', got integer.",
        ),
        (
            {"active": 1},
            "Column 'active' is boolean: expected true or false at '{}.active', got integer.",
        ),
        (
            {"rating": "x"},
            "Column 'rating' is float: expected a number at '{}.rating', got string.",
        ),
        (
            {"seen": "soon"},
            (
                "Column 'seen' is datetime: expected an ISO-8601 datetime, for example "
                "'2026-11-21T18:30:00Z' at '{}.seen', got 'soon'."
            ),
        ),
        ({"score": 2**63}, "The integer at '{}.score' does not fit into 64 bits."),
        (
            {"score": {"$nin": [2**70]}},
            "The integer at '{}.score.$nin[0]' does not fit into 64 bits.",
        ),
        ({"tags": [2**63]}, "The integer at '{}.tags[0]' does not fit into 64 bits."),
        ({"text": "a\0"}, "The text at '{}.text' contains a NUL character."),
        ({"text": {"$like": "a\0%"}}, "The text at '{}.text.$like' contains a NUL character."),
        ({"text": {"$ilike": "é\0%"}}, "The text at '{}.text.$ilike' contains a NUL character."),
    ],
)
async def test_comparing_with_the_wrong_type_is_an_error_and_never_an_empty_result(
    quotes: Caller, condition: dict[str, Any], message: str
) -> None:
    for filters, place in (
        (condition, "filters"),
        ({"$or": [{"id": 1}, condition]}, "filters.$or[1]"),
    ):
        for operation, more in (
            ("select", {}),
            ("search", {}),
            ("count", {}),
            ("delete", {}),
            ("update", {"data": {"score": 1}}),
            ("aggregate", {"compute": {"n": {"$count": "*"}}}),
        ):
            error = await quotes.refused_row(operation, table="quotes", filters=filters, **more)
            assert error["code"] == "VALIDATION_ERROR"
            assert error["message"] == message.format(place)


async def test_values_cannot_become_sql(filled: Caller) -> None:
    for hostile in ("' OR 1=1 --", '" OR ""="', "x'); DROP TABLE quote_db__quotes; --", "%' OR '1"):
        assert await filled.ids({"text": hostile}) == []
        assert await filled.ids({"text": {"$like": hostile}}) == []
        assert await filled.ids({"text": {"$in": [hostile] * 40}}) == []
        assert await filled.ids({"tags": {"$contains": hostile}}) == []
    assert await filled.ids({}) == EVERY


@ONLY_ON_SQLITE
async def test_documents_that_nobody_checked_are_compared_as_they_are(
    plugin: Caller,
    migrate: Any,
) -> None:
    """A bare JSON declaration has numeric affinity on SQLite, and takes any text."""
    await migrate(
        "CREATE TABLE quote_db__docs (id INTEGER PRIMARY KEY, doc JSON)",
        "INSERT INTO quote_db__docs VALUES (1, '5'), (2, 'not json'), (3, '[1]'), (4, NULL)",
    )
    assert (await plugin.one(2, table="docs"))["doc"] == "not json"
    assert await plugin.ids({"doc": 5}, table="docs") == [1]
    assert await plugin.ids({"doc": {"$ne": 5}}, table="docs") == [2, 3, 4]
    assert await plugin.ids({"doc": {"$contains": 1}}, table="docs") == [3]
    error = await plugin.refused_row("update", table="docs", id=2, operations={"doc": {"$push": 1}})
    assert error["message"] == (
        "'$push' needs an array; column 'doc' of a matching row holds something else."
    )


@pytest.mark.parametrize("operator", ["$like", "$ilike"])
async def test_a_text_and_a_pattern_are_bounded_as_a_product(quotes: Caller, operator: str) -> None:
    # Each is within its own limit; a match takes time of the one times the other.
    await quotes.row("insert", table="quotes", data={"text": "short", "author": "a" * 1_000_000})
    await quotes.row("insert", table="quotes", data={"text": "long", "author": "a" * 1_000})
    pattern = "a" * 4_000 + "%"
    error = await quotes.refused_row(
        "select", table="quotes", filters={"author": {operator: pattern}}
    )
    assert (error["code"], error["details"]["reason"]) == ("VALIDATION_ERROR", "LIMIT")
    narrowed = {"author": {operator: pattern}, "text": "long"}
    assert (await quotes.row("count", table="quotes", filters=narrowed))["count"] == 0
    free = {"author": {operator: "%" + "a" * 100 + "%"}}
    assert (await quotes.row("count", table="quotes", filters=free))["count"] == 2
