"""The key-value tier over a real engine (SPEC 2.3)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dbservice.runtime.clock import ManualClock
from tests.dbservice.storage.caller import Caller


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**63 - 1,
        -(2**63),
        0.1,
        1e308,
        5e-324,
        "",
        "é😀\u2028\\\"'",
        [],
        {},
        [None, [1, [2]], {"a": {"b": None}}],
        {"": 1, "k" * 100: "ключ"},
    ],
)
async def test_a_value_comes_back_as_it_was(plugin: Caller, value: Any) -> None:
    assert await plugin.kv("set", key="a", value=value) == {}
    answer = await plugin.kv("get", key="a")
    assert answer == {"exists": True, "value": value}
    assert type(answer["value"]) is type(value)


async def test_an_absent_key_has_no_value(plugin: Caller) -> None:
    assert await plugin.kv("get", key="a") == {"exists": False}
    assert await plugin.kv("delete", key="a") == {"deleted": False}


async def test_a_key_is_deleted_once(plugin: Caller) -> None:
    await plugin.kv("set", key="a", value=1)
    assert await plugin.kv("delete", key="a") == {"deleted": True}
    assert await plugin.kv("delete", key="a") == {"deleted": False}
    assert await plugin.kv("get", key="a") == {"exists": False}


async def test_keys_differ_by_case_and_normal_form(plugin: Caller) -> None:
    keys = ["a", "A", "é", "e\u0301", " a", "a ", "%", "_", "'", '"', "a.b", "a\u200bb"]
    for number, key in enumerate(keys):
        await plugin.kv("set", key=key, value=number)
    for number, key in enumerate(keys):
        assert await plugin.kv("get", key=key) == {"exists": True, "value": number}
    assert (await plugin.kv("list"))["count"] == len(keys)


# --- time to live --------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["ttl", "ttl_seconds"])
async def test_a_key_is_gone_at_the_very_moment_it_expires(
    plugin: Caller, clock: ManualClock, spelling: str
) -> None:
    await plugin.kv("set", key="a", value=1, **{spelling: 5})
    clock.advance(4.999)
    assert await plugin.kv("get", key="a") == {"exists": True, "value": 1}
    assert (await plugin.kv("list"))["keys"] == ["a"]
    clock.advance(0.001)
    assert await plugin.kv("get", key="a") == {"exists": False}
    assert (await plugin.kv("list"))["keys"] == []
    assert await plugin.kv("delete", key="a") == {"deleted": False}


async def test_a_set_without_lifetime_clears_an_earlier_one(
    plugin: Caller, clock: ManualClock
) -> None:
    await plugin.kv("set", key="a", value=1, ttl=5)
    await plugin.kv("set", key="a", value=2)
    clock.advance(10)
    assert await plugin.kv("get", key="a") == {"exists": True, "value": 2}


async def test_a_null_lifetime_means_for_ever(plugin: Caller, clock: ManualClock) -> None:
    await plugin.kv("set", key="a", value=1, ttl=None)
    clock.advance(100 * 365 * 86_400)
    assert (await plugin.kv("get", key="a"))["exists"]


async def test_an_expired_key_counts_as_absent_for_conditions(
    plugin: Caller, clock: ManualClock
) -> None:
    await plugin.kv("set", key="a", value=1, ttl=5)
    clock.advance(5)
    assert await plugin.kv("set", key="a", value=2, if_value=1) == {"stored": False}
    assert await plugin.kv("set", key="a", value=3, if_absent=True) == {"stored": True}
    assert await plugin.kv("get", key="a") == {"exists": True, "value": 3}


async def test_both_spellings_may_stand_together_if_they_agree(plugin: Caller) -> None:
    await plugin.kv("set", key="a", value=1, ttl=5, ttl_seconds=5)
    error = await plugin.refused_kv("set", key="a", value=1, ttl=5, ttl_seconds=6)
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == (
        "'ttl_seconds' (6) and 'ttl' (5) are two spellings of one field and differ. Send only "
        "'ttl_seconds'."
    )


async def test_the_sweep_removes_what_has_expired_and_nothing_else(
    plugin: Caller, clock: ManualClock
) -> None:
    await plugin.kv("set", key="short", value=1, ttl=5)
    await plugin.named("trivia").kv("set", key="short", value=1, ttl=5)
    await plugin.kv("set", key="long", value=1, ttl=6)
    await plugin.kv("set", key="ever", value=1)
    clock.advance(5)
    assert await plugin.database.sweep() == 2
    assert await plugin.database.sweep() == 0
    assert (await plugin.kv("list"))["keys"] == ["ever", "long"]


# --- conditions ----------------------------------------------------------------------------------


async def test_if_absent_stores_only_the_first(plugin: Caller) -> None:
    assert await plugin.kv("set", key="a", value=None, if_absent=True) == {"stored": True}
    assert await plugin.kv("set", key="a", value=2, if_absent=True) == {"stored": False}
    assert await plugin.kv("get", key="a") == {"exists": True, "value": None}


@pytest.mark.parametrize(
    ("present", "wanted", "equal"),
    [
        (1, 1, True),
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, None, True),
        (None, False, False),
        ("1", 1, False),
        ({"a": 1, "b": [True]}, {"b": [True], "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1, 2], [2, 1], False),
        ([1], [True], False),
    ],
)
async def test_if_value_compares_as_json(
    plugin: Caller, present: Any, wanted: Any, equal: bool
) -> None:
    await plugin.kv("set", key="a", value=present)
    assert await plugin.kv("set", key="a", value="new", if_value=wanted) == {"stored": equal}
    after = "new" if equal else present
    assert await plugin.kv("get", key="a") == {"exists": True, "value": after}


async def test_if_value_never_matches_an_absent_key(plugin: Caller) -> None:
    assert await plugin.kv("set", key="a", value=1, if_value=None) == {"stored": False}
    assert await plugin.kv("get", key="a") == {"exists": False}


async def test_one_of_many_concurrent_first_writers_wins(plugin: Caller) -> None:
    answers = await asyncio.gather(
        *(plugin.kv("set", key="leader", value=number, if_absent=True) for number in range(50))
    )
    winners = [number for number, answer in enumerate(answers) if answer["stored"]]
    assert len(winners) == 1
    assert await plugin.kv("get", key="leader") == {"exists": True, "value": winners[0]}


# --- counting ------------------------------------------------------------------------------------


async def test_incr_starts_at_zero_and_adds(plugin: Caller) -> None:
    assert await plugin.kv("incr", key="n") == {"value": 1}
    assert await plugin.kv("incr", key="n", by=41) == {"value": 42}
    assert await plugin.kv("incr", key="n", by=-50) == {"value": -8}
    assert await plugin.kv("incr", key="n", by=0) == {"value": -8}
    assert await plugin.kv("get", key="n") == {"exists": True, "value": -8}


async def test_concurrent_increments_all_count(plugin: Caller) -> None:
    answers = await asyncio.gather(*(plugin.kv("incr", key="n") for _ in range(100)))
    assert sorted(answer["value"] for answer in answers) == list(range(1, 101))


async def test_a_lifetime_applies_only_where_incr_creates_the_key(
    plugin: Caller, clock: ManualClock
) -> None:
    await plugin.kv("incr", key="n", ttl=10)
    clock.advance(6)
    assert await plugin.kv("incr", key="n", ttl=10) == {"value": 2}
    clock.advance(4)
    assert await plugin.kv("get", key="n") == {"exists": False}
    assert await plugin.kv("incr", key="n", ttl=10) == {"value": 1}


async def test_incr_stops_at_64_bits_and_changes_nothing(plugin: Caller) -> None:
    await plugin.kv("set", key="n", value=2**63 - 2)
    assert await plugin.kv("incr", key="n") == {"value": 2**63 - 1}
    error = await plugin.refused_kv("incr", key="n")
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == "The number under 'n' would not fit into 64 bits."
    assert error["details"]["reason"] == "LIMIT"
    assert await plugin.kv("get", key="n") == {"exists": True, "value": 2**63 - 1}
    assert await plugin.kv("incr", key="low", by=-(2**63)) == {"value": -(2**63)}
    assert (await plugin.refused_kv("incr", key="low", by=-1))["details"]["reason"] == "LIMIT"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("42", "string"),
        (1.5, "number"),
        (True, "boolean"),
        (None, "null"),
        ([1], "array"),
        ({}, "object"),
    ],
)
async def test_incr_needs_an_integer(plugin: Caller, value: Any, kind: str) -> None:
    await plugin.kv("set", key="n", value=value)
    error = await plugin.refused_kv("incr", key="n")
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == (
        f"The key 'n' holds {kind}, not an integer. Set it to an integer first."
    )
    assert await plugin.kv("get", key="n") == {"exists": True, "value": value}


# --- listing -------------------------------------------------------------------------------------


async def test_keys_are_listed_by_code_point(plugin: Caller) -> None:
    keys = ["b", "a", "B", "é", "z", "\uffee", "😀", "a b", "10", "9"]
    for key in keys:
        await plugin.kv("set", key=key, value=1)
    assert await plugin.kv("list") == {
        "keys": sorted(keys),
        "count": len(keys),
        "truncated": False,
    }


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["%b", "A:1", "[x", "_c", "a%1", "a:1", "a:2", "a_1", "b:1", "é:1"]),
        ("a", ["a%1", "a:1", "a:2", "a_1"]),
        ("a:", ["a:1", "a:2"]),
        ("a_", ["a_1"]),
        ("a%", ["a%1"]),
        ("%", ["%b"]),
        ("_", ["_c"]),
        ("[", ["[x"]),
        ("é", ["é:1"]),
        ("a:1", ["a:1"]),
        ("a:11", []),
    ],
)
async def test_a_prefix_is_taken_literally(
    plugin: Caller, prefix: str, expected: list[str]
) -> None:
    for key in ["a:1", "a:2", "a_1", "a%1", "A:1", "b:1", "%b", "_c", "[x", "é:1"]:
        await plugin.kv("set", key=key, value=1)
    assert (await plugin.kv("list", prefix=prefix))["keys"] == expected


async def test_listing_pages_through_all_keys(plugin: Caller) -> None:
    for number in range(25):
        await plugin.kv("set", key=f"k{number:02}", value=number)
    await plugin.kv("set", key="other", value=1)
    seen: list[str] = []
    pages = 0
    more = True
    while more:
        after = {"after": seen[-1]} if seen else {}
        page = await plugin.kv("list", prefix="k", limit=10, **after)
        assert page["count"] == len(page["keys"])
        seen += page["keys"]
        more = page["truncated"]
        pages += 1
    assert seen == [f"k{number:02}" for number in range(25)]
    assert pages == 3


async def test_a_full_page_that_is_the_last_is_not_truncated(plugin: Caller) -> None:
    for number in range(3):
        await plugin.kv("set", key=f"k{number}", value=number)
    assert not (await plugin.kv("list", limit=3))["truncated"]
    assert (await plugin.kv("list", limit=2))["truncated"]
    assert await plugin.kv("list", after="k2") == {"keys": [], "count": 0, "truncated": False}


@pytest.mark.parametrize("prefix", ["", "a", "a\ud7ff", "\ue000", "a\U0010ffff", "\U0010ffff"])
async def test_a_prefix_ends_where_the_last_key_with_it_ends(plugin: Caller, prefix: str) -> None:
    """Also before the code points that stand for no character, and at the last of all."""
    parts = ("a", "b", "\ud7ff", "\ue000", "\U0010ffff", "\U0010ffff\U0010ffff")
    keys = sorted({*parts, *(first + second for first in parts for second in parts)})
    for key in keys:
        await plugin.kv("set", key=key, value=1)
    expected = [key for key in keys if key.startswith(prefix)]
    assert (await plugin.kv("list", prefix=prefix))["keys"] == expected


async def test_after_before_the_prefix_changes_nothing(plugin: Caller) -> None:
    await plugin.kv("set", key="b1", value=1)
    assert (await plugin.kv("list", prefix="b", after="a"))["keys"] == ["b1"]
    assert (await plugin.kv("list", prefix="b", after="c"))["keys"] == []


async def test_the_listing_limit_is_a_thousand(plugin: Caller) -> None:
    await plugin.kv("list", limit=1000)
    error = await plugin.refused_kv("list", limit=1001)
    assert error["message"] == "Field 'limit': expected integer <= 1000."


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("character", "size"), [("x", 1), ("é", 2), ("😀", 4)])
async def test_a_value_of_65536_bytes_is_stored_and_one_more_byte_is_not(
    plugin: Caller, character: str, size: int
) -> None:
    room = 65_536 - len('""')
    largest = character * (room // size) + "x" * (room % size)
    await plugin.kv("set", key="a", value=largest)
    assert await plugin.kv("get", key="a") == {"exists": True, "value": largest}
    error = await plugin.refused_kv("set", key="a", value=largest + "x")
    assert error["code"] == "VALUE_TOO_LARGE"
    assert error["message"] == (
        "The value has 65537 bytes as compact JSON; the limit is 65536 (64KB). Store large data as "
        "rows."
    )
    assert error["details"] == {"field": "value", "limit": 65_536, "got": 65_537}
    assert (await plugin.kv("get", key="a"))["value"] == largest


@pytest.mark.parametrize("character", ["k", "é", "😀"])
async def test_a_key_of_512_characters_is_taken_and_one_more_is_not(
    plugin: Caller, character: str
) -> None:
    await plugin.kv("set", key=character * 512, value=1)
    assert (await plugin.kv("list"))["keys"] == [character * 512]
    for operation, more in (("set", {"value": 1}), ("get", {}), ("delete", {}), ("incr", {})):
        error = await plugin.refused_kv(operation, key=character * 513, **more)
        assert error["code"] == "VALIDATION_ERROR"
        assert error["message"] == "Field 'key': expected string of length <= 512."


@pytest.mark.parametrize("key", ["\0", "a\nb", "\x1f", "a\x7f", "\x85"])
async def test_a_key_has_no_control_characters(plugin: Caller, key: str) -> None:
    for operation, more in (("set", {"value": 1}), ("get", {}), ("delete", {}), ("incr", {})):
        error = await plugin.refused_kv(operation, key=key, **more)
        assert error["code"] == "VALIDATION_ERROR"
        assert error["message"] == "The key contains a control character."


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**63, "The integer at 'value' does not fit into 64 bits."),
        ({"a": [-(2**63) - 1]}, "The integer at 'value.a[0]' does not fit into 64 bits."),
        (["a\0"], "The text at 'value[0]' contains a NUL character."),
    ],
)
async def test_what_json_cannot_carry_everywhere_is_refused(
    plugin: Caller, value: Any, message: str
) -> None:
    error = await plugin.refused_kv("set", key="a", value=value)
    assert error["code"] == "VALIDATION_ERROR"
    assert error["message"] == message
    assert await plugin.kv("get", key="a") == {"exists": False}


async def test_plugins_do_not_see_each_others_keys(plugin: Caller) -> None:
    neighbours = [plugin.named(name) for name in ("quote", "quote-db-x", "quote-d")]
    await plugin.kv("set", key="a", value="mine")
    for neighbour in neighbours:
        assert await neighbour.kv("get", key="a") == {"exists": False}
        assert await neighbour.kv("set", key="a", value=neighbour.plugin) == {}
        assert await neighbour.kv("list") == {"keys": ["a"], "count": 1, "truncated": False}
    assert await plugin.kv("get", key="a") == {"exists": True, "value": "mine"}
