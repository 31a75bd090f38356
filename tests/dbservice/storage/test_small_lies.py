"""Errors say what is wrong and what was meant, not what lies nearest to the parser."""

from __future__ import annotations

from typing import Any

import pytest

from dbservice.protocol import RequestError, decode_request, find, subject_for
from dbservice.protocol.subjects import Family
from tests.dbservice.storage.caller import Caller, Json


def refused(family: Family, operation: str, payload: bytes) -> RequestError:
    address, found = find(subject_for(family, operation, "quote-db"))
    with pytest.raises(RequestError) as caught:
        decode_request(found, address, payload)
    return caught.value


def test_a_lone_surrogate_is_called_one() -> None:
    error = refused(Family.KV, "get", rb'{"key": "a\\\ud83d\ude00 \ud800"}')
    assert error.code == "INVALID_JSON"
    assert r"\ud800 is half of a pair" in error.message
    error = refused(Family.KV, "get", b'{"key": "a')
    assert "half of a pair" not in error.message


def test_a_bare_column_in_sort_is_told_how_columns_are_sorted_by() -> None:
    error = refused(Family.ROW, "select", b'{"table": "quotes", "sort": "question"}')
    assert '{"field": "question", "order": "asc"}' in error.message
    assert "Did you mean '$random'" not in error.message


@pytest.mark.parametrize(
    ("operation", "field", "meant"),
    [
        ("select", "order_by", "'sort'"),
        ("select", "where", "'filters'"),
        ("select", "skip", "'offset'"),
        ("select", "filtres", "'filters'"),
        ("select", "count_only", "the operation 'count'"),
        ("insert", "values", "'data'"),
        ("aggregate", "group", "'group_by'"),
    ],
)
def test_an_unknown_field_points_to_the_one_that_was_meant(
    operation: str, field: str, meant: str
) -> None:
    body = f'{{"table": "q", "data": {{}}, "compute": {{"a": {{}}}}, "{field}": 1}}'
    if operation == "select":
        body = f'{{"table": "q", "{field}": 1}}'
    if operation == "insert":
        body = f'{{"table": "q", "data": {{}}, "{field}": 1}}'
    if operation == "aggregate":
        body = f'{{"table": "q", "compute": {{"a": {{}}}}, "{field}": 1}}'
    error = refused(Family.ROW, operation, body.encode())
    assert f"Did you mean {meant}?" in error.message


@pytest.mark.parametrize("operator", ["like", "gt", "in"])
async def test_an_operator_without_its_sign_is_pointed_to_it(quotes: Caller, operator: str) -> None:
    error = await quotes.refused_row("select", table="quotes", filters={"text": {operator: "x"}})
    assert error["details"]["nearest"] == f"${operator}"
    assert f"Did you mean '${operator}'?" in error["message"]


@pytest.mark.parametrize("field", ["prefix", "limit", "after"])
async def test_a_null_in_a_listing_is_as_good_as_absent(plugin: Caller, field: str) -> None:
    await plugin.kv("set", key="a", value=1)
    listed = {"keys": ["a"], "count": 1, "truncated": False}
    assert await plugin.kv("list", **{field: None}) == listed


@pytest.mark.parametrize(
    ("operation", "body", "field"),
    [
        ("update", {"id": 1}, "data"),
        ("update", {"data": {"score": 1}}, "filters"),
        ("delete", {}, "filters"),
    ],
)
async def test_what_is_absent_is_a_missing_field(
    quotes: Caller, operation: str, body: Json, field: str
) -> None:
    error: Any = await quotes.refused_row(operation, table="quotes", **body)
    assert (error["code"], error["details"]["field"]) == ("MISSING_FIELD", field)
