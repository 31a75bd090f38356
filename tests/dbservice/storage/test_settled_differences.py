"""Answers in which the engines once differed, found by the stream of `test_engines_agree.py`.

Each test runs on every engine and says what SPEC 2.5 asks of all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.dbservice.storage.caller import Caller

Migrate = Callable[..., Any]

LOWEST, HIGHEST = -(2**63), 2**63 - 1


async def filled(plugin: Caller, **values: Any) -> Caller:
    """Insert a row for each position of the lists that are the columns' values."""
    for position in range(len(next(iter(values.values())))):
        row = {name: of_all[position] for name, of_all in values.items()}
        data = {"id": position + 1, "text": f"row {position}", **row}
        await plugin.row("insert", table="quotes", data=data)
    return plugin


async def computed(quotes: Caller, function: str, column: str) -> Any:
    """Return one aggregate over all rows."""
    compute = {"result": {function: column}}
    answer = await quotes.row("aggregate", table="quotes", compute=compute)
    return answer["rows"][0]["result"]


@pytest.mark.parametrize(
    ("of_type", "default", "described"),
    [
        ("datetime", "2026-01-01T00:00:00+01:00", "'2025-12-31T23:00:00.000000Z'"),
        ("json", {"b": [1, "x"], "a": "it's"}, """'{"a":"it''s","b":[1,"x"]}'"""),
        ("json", None, None),
        ("float", 1e16, "1e+16"),
        ("float", -2.5, "-2.5"),
        ("text", "it's", "'it''s'"),
    ],
)
async def test_a_default_is_described_in_one_form(
    plugin: Caller, of_type: str, default: Any, described: str | None
) -> None:
    schema = {"fields": [{"name": "value", "type": of_type, "default": default}]}
    await plugin.row("schema.register", table="defaults", schema=schema)
    answer = await plugin.row("schema.describe", table="defaults")
    columns = {column["name"]: column["default"] for column in answer["columns"]}
    assert columns["value"] == described
    summary = await plugin.row("insert", table="defaults", data={})
    row = await plugin.one(summary["id"], "value", table="defaults")
    if of_type != "datetime":
        assert row["value"] == default


async def test_the_sum_of_no_floats_is_a_float(quotes: Caller) -> None:
    await filled(quotes, rating=[None, None])
    total = await computed(quotes, "$sum", "rating")
    assert (total, type(total)) == (0.0, float)


async def test_a_whole_float_comes_back_as_a_float_from_an_update(quotes: Caller) -> None:
    await filled(quotes, rating=[-2])
    answer = await quotes.row(
        "update", table="quotes", id=1, data={"score": 1}, returning=["rating"]
    )
    rating = answer["rows"][0]["rating"]
    assert (rating, type(rating)) == (-2.0, float)


async def test_a_whole_number_in_a_decimal_column_comes_back_as_a_float(
    plugin: Caller, migrate: Migrate
) -> None:
    await migrate("CREATE TABLE quote_db__prices (id INTEGER PRIMARY KEY, amount NUMERIC)")
    await plugin.row("insert", table="prices", data={"id": 1, "amount": 2})
    amount = (await plugin.one(1, table="prices"))["amount"]
    assert (amount, type(amount)) == (2.0, float)


async def test_zero_has_no_sign(quotes: Caller) -> None:
    await filled(quotes, rating=[-0.0, 1.0])
    await quotes.row("update", table="quotes", id=2, operations={"rating": {"$mul": -0.0}})
    answer = await quotes.row("select", table="quotes", columns=["rating"])
    assert [str(row["rating"]) for row in answer["rows"]] == ["0.0", "0.0"]


async def test_a_product_too_small_for_a_float_is_refused(quotes: Caller) -> None:
    await filled(quotes, rating=[1e-300, 0.0, None])
    tiny = {"operations": {"rating": {"$mul": 1e-300}}}
    refused = await quotes.refused_row("update", table="quotes", id=1, **tiny)
    assert refused["code"] == "VALIDATION_ERROR"
    assert refused["details"] == {"reason": "LIMIT"}
    assert (await quotes.one(1))["rating"] == 1e-300
    for row_id in (2, 3):
        await quotes.row("update", table="quotes", id=row_id, **tiny)
        assert (await quotes.one(row_id))["rating"] == 0.0
    nothing = {"operations": {"rating": {"$mul": 0}}}
    await quotes.row("update", table="quotes", id=1, **nothing)
    assert (await quotes.one(1))["rating"] == 0.0


@pytest.mark.parametrize(
    "scores",
    [
        [HIGHEST, 1, -1],
        [LOWEST, -1, 1],
        [HIGHEST, HIGHEST, LOWEST, LOWEST, 2],
        [HIGHEST],
        [LOWEST],
        [LOWEST, HIGHEST],
        [-1, -1, 2**32, 2**32 - 1, -(2**32), None],
        [None, None],
    ],
)
async def test_integers_are_summed_exactly_whatever_their_order(
    quotes: Caller, scores: list[int | None]
) -> None:
    await filled(quotes, score=scores)
    total = sum(score or 0 for score in scores)
    assert await computed(quotes, "$sum", "score") == total
    present = [score for score in scores if score is not None]
    average = float(total) / len(present) if present else None
    assert await computed(quotes, "$avg", "score") == average


@pytest.mark.parametrize("scores", [[HIGHEST, 1], [LOWEST, -1], [HIGHEST] * 5, [LOWEST] * 2])
async def test_a_sum_beyond_64_bits_is_refused(quotes: Caller, scores: list[int]) -> None:
    await filled(quotes, score=scores)
    refused = await quotes.refused_row(
        "aggregate", table="quotes", compute={"total": {"$sum": "score"}}
    )
    assert (refused["code"], refused["details"]) == ("VALIDATION_ERROR", {"reason": "LIMIT"})


@pytest.mark.parametrize("having", [{"n": 3}, {"n": 3, "$not": {"n": {"$gt": 0}}}])
async def test_a_sum_beyond_64_bits_is_refused_even_where_having_leaves_its_group_out(
    quotes: Caller, having: dict[str, Any]
) -> None:
    await filled(quotes, score=[HIGHEST, HIGHEST])
    refused = await quotes.refused_row(
        "aggregate",
        table="quotes",
        compute={"n": {"$count": "*"}, "total": {"$sum": "score"}},
        having=having,
    )
    assert (refused["code"], refused["details"]) == ("VALIDATION_ERROR", {"reason": "LIMIT"})


async def test_documents_are_no_groups(quotes: Caller) -> None:
    refused = await quotes.refused_row(
        "aggregate", table="quotes", compute={"n": {"$count": "*"}}, group_by=["tags"]
    )
    assert refused["code"] == "VALIDATION_ERROR"
    assert refused["details"]["reason"] == "OPERATOR_TYPE"
    assert refused["details"]["field"] == "group_by.tags"


async def test_what_no_array_is_refuses_an_update_before_any_constraint_does(
    quotes: Caller,
) -> None:
    await filled(quotes, tags=[[], {}])
    refused = await quotes.refused_row(
        "update",
        table="quotes",
        operations={"tags": {"$push": 1}, "text": {"$unset": True}},
        all=True,
    )
    assert refused["details"]["reason"] == "OPERATOR_TYPE"
