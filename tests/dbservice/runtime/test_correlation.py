"""The correlation id follows the work and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from dbservice.runtime.correlation import (
    bound_request_id,
    current_request_id,
    new_request_id,
    request_id_of,
)


def test_ids_differ():
    assert len({new_request_id() for _ in range(100)}) == 100


def test_an_id_is_bound_within_the_block_only():
    with bound_request_id("outer") as given:
        assert given == current_request_id() == "outer"
        with bound_request_id("inner"):
            assert current_request_id() == "inner"
        assert current_request_id() == "outer"
    assert current_request_id() is None


def test_an_error_unbinds_the_id():
    with pytest.raises(KeyError), bound_request_id("outer"):
        raise KeyError
    assert current_request_id() is None


async def test_tasks_inherit_the_id_and_keep_their_own():
    async def seen():
        return current_request_id()

    async def bound(request_id):
        with bound_request_id(request_id):
            await asyncio.sleep(0)
            return current_request_id()

    with bound_request_id("outer"):
        inherited = asyncio.create_task(seen())
    assert await inherited == "outer"
    assert await asyncio.gather(bound("a"), bound("b")) == ["a", "b"]


def test_the_id_of_a_message_is_kept():
    assert request_id_of({"Rosey-Request-Id": "abc-1"}) == "abc-1"


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {},
        {"Rosey-Request-Id": ""},
        {"Rosey-Request-Id": "two\nlines"},
        {"Rosey-Request-Id": "a b"},
        {"Rosey-Request-Id": "é"},
        {"Rosey-Request-Id": "x" * 129},
    ],
)
def test_an_id_that_cannot_be_trusted_is_replaced(headers):
    request_id = request_id_of(headers)

    assert len(request_id) == 32
    assert request_id not in (headers or {}).values()
