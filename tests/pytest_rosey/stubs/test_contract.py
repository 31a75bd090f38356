"""Stubs and requests are checked against the wire contract (SPEC 5.2)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from unittest.mock import MagicMock

import pytest

from dbservice.protocol import ErrorCode
from pytest_rosey import ContractError, FakeNats, make_nats_response
from pytest_rosey.stubs.contract import check_reply

pytest_plugins = ["pytester"]

ROW = "rosey.db.row.quote-db"
KV = "rosey.db.kv.quote-db"
PAGE = {"success": True, "rows": [], "count": 0, "truncated": False}


def failure(**error: Any) -> dict[str, Any]:
    return {"success": False, "error": error}


def check(subject: str, reply: Mapping[str, Any] | bytes) -> None:
    check_reply(subject, reply if isinstance(reply, bytes) else json.dumps(reply).encode())


@pytest.mark.parametrize(
    ("subject", "reply"),
    [
        (f"{ROW}.insert", {"success": True, "id": 1, "created": True}),
        (f"{ROW}.insert", {"success": True, "id": None, "created": True}),
        (f"{ROW}.insert", {"success": True, "ids": [1, 2], "created": 2}),
        (f"{ROW}.insert", {"success": True, "id": 1, "created": True, "replayed": True}),
        (f"{ROW}.select", PAGE),
        (f"{ROW}.select", {**PAGE, "next": "cursor"}),
        (f"{ROW}.select", {**PAGE, "exists": False}),
        (f"{ROW}.update", {"success": True, "updated": 1}),
        (f"{ROW}.update", {"success": True, "updated": 1, "rows": [{"score": 2}]}),
        (f"{ROW}.update", {"success": True, "id": 1, "updated": True}),
        (f"{ROW}.update", {"success": True, "exists": False}),
        (f"{ROW}.delete", {"success": True, "deleted": 1}),
        (f"{ROW}.delete", {"success": True, "deleted": True}),
        (f"{KV}.get", {"success": True, "exists": True, "value": {"any": ["thing"]}}),
        (f"{KV}.get", {"success": True, "exists": False}),
        (f"{KV}.set", {"success": True}),
        (f"{KV}.get", {"success": True, "data": {"exists": False}}),
        ("rosey.db.kv.get", {"success": True, "data": {"exists": False}}),
        ("rosey.db.kv.set", {"success": True, "data": {}}),
        ("rosey.db.ping", {"success": True, "service": "rosey-db", "version": "1"}),
        (f"{ROW}.insert", failure(code="OVERLOADED", message="m")),
        (f"{ROW}.insert", failure(code="OVERLOADED", message="m", details={"retry_after_ms": 1})),
        ("rosey.db.kv.get", failure(code="INTERNAL_ERROR", message="m")),
    ],
)
def test_what_the_service_may_say(subject: str, reply: dict[str, Any]) -> None:
    check(subject, reply)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_of_the_contract_may_be_sent(code: ErrorCode) -> None:
    check(f"{ROW}.insert", failure(code=code, message="m"))


@pytest.mark.parametrize(
    ("subject", "reply", "problem"),
    [
        (
            f"{ROW}.select",
            {"rows": []},
            (
                "field 'success' is missing, expected true or false. The service always sends it; "
                "make_nats_response() adds it."
            ),
        ),
        (f"{ROW}.select", {**PAGE, "success": 1}, "field 'success': expected true or false, got 1"),
        (f"{ROW}.select", {**PAGE, "count": "0"}, "field 'count': expected integer, got \"0\"."),
        (f"{ROW}.select", {**PAGE, "count": None}, "field 'count': expected integer, got null."),
        (f"{ROW}.select", {**PAGE, "rows": {}}, "field 'rows': expected array of object, got obj"),
        (f"{ROW}.select", {**PAGE, "rows": [1]}, "field 'rows[0]': expected object, got integer."),
        (
            f"{ROW}.select",
            {"success": True, "rows": [], "truncated": False},
            "field 'count' is missing, expected integer.",
        ),
        (
            f"{ROW}.select",
            {**PAGE, "totel": 1, "next": "x"},
            "field 'totel' is not part of it.",
        ),
        (
            f"{ROW}.search",
            {**PAGE, "totl": 1, "total": 1},
            "field 'totl' is not part of it. Did you",
        ),
        (
            f"{ROW}.insert",
            {"success": True, "id": {}, "created": True},
            "field 'id': expected integer | string | null, got object.",
        ),
        (
            f"{ROW}.insert",
            {"success": True, "id": 1, "created": False},
            "field 'created': expected true, got false.",
        ),
        (f"{ROW}.insert", {"success": True, "id": 1}, "field 'created' is missing, expected true."),
        (f"{ROW}.update", {"success": True}, "field 'updated' is missing, expected integer."),
        (
            f"{ROW}.delete",
            {"success": True, "deleted": "1"},
            "field 'deleted': expected integer | b",
        ),
        (
            f"{KV}.set",
            {"success": True, "stored": None},
            "field 'stored': expected boolean, got null",
        ),
        (
            "rosey.db.kv.get",
            {"success": True, "exists": False},
            "field 'data': expected an object, got none. The global KV form has its result there.",
        ),
        (
            "rosey.db.kv.get",
            {"success": True, "data": {"exists": 0}},
            "field 'exists': expected boolean, got 0.",
        ),
        (
            f"{ROW}.insert",
            failure(code="OVERLOAD", message="m"),
            (
                "field 'error.code': 'OVERLOAD' is not a code of the contract. Did you mean "
                "'OVERLOADED'?"
            ),
        ),
        (
            f"{ROW}.insert",
            failure(code="XYZ", message="m"),
            "field 'error.code': 'XYZ' is not a code of the contract. Expected one of INVALID",
        ),
        (
            f"{ROW}.insert",
            failure(code="TIMEOUT"),
            "field 'error': Object missing required field `m",
        ),
        (f"{ROW}.insert", {"success": False}, "field 'error': expected object, got null."),
        (
            f"{ROW}.insert",
            {"success": False, "error": "x"},
            "field 'error': expected object, got st",
        ),
        (
            f"{ROW}.insert",
            failure(code="TIMEOUT", message="m", details=[]),
            "field 'error.details': expected object, got array.",
        ),
        (f"{ROW}.insert", b"[]", "expected an object, got array."),
        (f"{ROW}.insert", b"oops", "it is not JSON ("),
        (f"{ROW}.insert", b"\xff", "it is not JSON ("),
    ],
)
def test_what_the_service_could_not_say(
    subject: str, reply: dict[str, Any] | bytes, problem: str
) -> None:
    with pytest.raises(ContractError) as raised:
        check(subject, reply)
    assert str(raised.value).startswith(
        f"The service could not send this reply to {subject}: {problem}"
    )


def test_the_whole_text() -> None:
    with pytest.raises(ContractError) as raised:
        check(f"{ROW}.select", {"success": True, "rows": []})
    assert str(raised.value) == (
        "The service could not send this reply to rosey.db.row.quote-db.select: fields are "
        "missing: 'count' (integer), 'truncated' (boolean).\n"
        "The nearest reply of 'select' is "
        '{"success": true, "rows": array of object, "count": integer, "truncated": boolean, '
        '"next"?: string, "cut"?: "size"}.\n'
        "contract=False in the respond() call lifts this check, `rosey_contract = off` in the ini "
        "file lifts it everywhere."
    )


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        (f"{ROW}.insrt", "The service does not serve rosey.db.row.quote-db.insrt: 'insrt' is not "),
        ("rosey.db.kv.incr", "The service does not serve rosey.db.kv.incr: 'incr' is not an"),
        ("rosey.db.row.Quote.insert", "The service does not serve rosey.db.row.Quote.insert: 'Quo"),
        (
            "rosey.db.event.q.schema_changed",
            "rosey.db.event.q.schema_changed is an event, to which",
        ),
    ],
)
async def test_a_stub_where_the_service_says_nothing(
    fake_nats: FakeNats, subject: str, text: str
) -> None:
    with pytest.raises(ContractError) as raised:
        fake_nats.respond(subject, {"success": True})
    assert str(raised.value).startswith(text)


async def test_the_reply_is_checked_where_it_is_written(fake_nats: FakeNats) -> None:
    for reply in ({"success": True}, [{"success": True}], b"{}"):
        with pytest.raises(ContractError):
            fake_nats.respond(f"{ROW}.count", reply)
    assert fake_nats.refused == []


@pytest.mark.parametrize(
    ("subject", "request_json", "reply", "sent"),
    [
        (
            f"{ROW}.select",
            {"table": "q"},
            {"rows": [{"id": 1}]},
            {"success": True, "rows": [{"id": 1}], "count": 1, "truncated": False},
        ),
        (
            f"{ROW}.search",
            {"table": "q"},
            {"rows": []},
            {"success": True, "rows": [], "count": 0, "truncated": False, "total": 0},
        ),
        (
            f"{ROW}.search",
            {"table": "q"},
            {"rows": [{}], "total": 7},
            {"success": True, "rows": [{}], "count": 1, "truncated": True, "total": 7},
        ),
        (
            f"{ROW}.insert",
            {"table": "q", "data": {}},
            {"id": 4},
            {"success": True, "id": 4, "created": True},
        ),
        (
            f"{ROW}.insert",
            {"table": "q", "data": [{}, {}]},
            {"ids": [4, 5]},
            {"success": True, "ids": [4, 5], "created": 2},
        ),
        (
            "rosey.db.kv.quote-db.list",
            {},
            {"keys": ["a"]},
            {"success": True, "keys": ["a"], "count": 1, "truncated": False},
        ),
        (
            "rosey.db.kv.list",
            {"plugin_name": "quote-db"},
            {"data": {"keys": ["a"]}},
            {"success": True, "data": {"keys": ["a"], "count": 1, "truncated": False}},
        ),
        (
            f"{ROW}.count",
            {"table": "q"},
            {"error": {"code": "TIMEOUT", "message": "m"}},
            {"success": False, "error": {"code": "TIMEOUT", "message": "m"}},
        ),
    ],
)
@pytest.mark.parametrize("kind", ["a dict", "a function", "a list", "a coroutine function"])
async def test_a_dict_is_completed_with_what_follows(
    fake_nats: FakeNats,
    subject: str,
    request_json: dict[str, Any],
    reply: dict[str, Any],
    sent: dict[str, Any],
    kind: str,
) -> None:
    async def later(_: object) -> dict[str, Any]:
        return reply

    replies: dict[str, Any] = {
        "a dict": reply,
        "a function": lambda _: reply,
        "a list": [reply],
        "a coroutine function": later,
    }
    fake_nats.respond(subject, replies[kind])
    answer = await fake_nats.request(subject, json.dumps(request_json).encode())
    assert json.loads(answer.data) == sent


@pytest.mark.parametrize(
    ("subject", "reply", "missing"),
    [
        ("rosey.db.kv.quote-db.get", {}, "field 'exists' is missing, expected boolean."),
        ("rosey.db.kv.quote-db.incr", {}, "field 'value' is missing, expected integer."),
        (f"{ROW}.upsert", {"id": 1}, "field 'created' is missing, expected boolean."),
        (f"{ROW}.update", {}, "field 'updated' is missing, expected integer."),
        (
            f"{ROW}.search",
            {"rows": [], "truncated": True},
            "field 'total' is missing, expected integer.",
        ),
        (
            "rosey.db.ping",
            {},
            "fields are missing: 'service' (string), 'version' (string).",
        ),
    ],
)
async def test_what_does_not_follow_is_asked_for_all_at_once(
    fake_nats: FakeNats, subject: str, reply: dict[str, Any], missing: str
) -> None:
    with pytest.raises(ContractError, match=re.escape(missing)):
        fake_nats.respond(subject, reply)


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        ({"rows": [], "total": "5"}, ContractError, "field 'total'"),
        ({"rows": [], "total": None}, ContractError, "field 'total'"),
        ({1: 2}, ContractError, "fields are missing: 'rows'"),
        ({"rows": MagicMock()}, TypeError, "The value has no JSON form"),
    ],
)
async def test_what_nothing_follows_from_is_named(
    fake_nats: FakeNats, reply: dict[Any, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        fake_nats.respond(f"{ROW}.select", reply)


async def test_what_is_not_checked_is_not_completed(fake_nats: FakeNats) -> None:
    fake_nats.respond(f"{ROW}.count", {"rows": []}, contract=False)
    assert (await fake_nats.request(f"{ROW}.count", b'{"table": "q"}')).data == b'{"rows":[]}'
    with pytest.raises(ContractError, match="field 'success' is missing"):
        fake_nats.respond(f"{ROW}.select", b'{"rows": [], "count": 0, "truncated": false}')


async def test_a_computed_reply_is_checked_when_it_is_sent(fake_nats: FakeNats) -> None:
    fake_nats.respond(f"{ROW}.count", lambda _: {"success": True, "count": "3"})
    with pytest.raises(ContractError, match="field 'count': expected integer"):
        await fake_nats.request(f"{ROW}.count", b'{"table": "quotes"}')
    assert len(fake_nats.refused) == 1
    fake_nats.refused.clear()


async def test_a_reply_for_a_wildcard_is_checked_against_the_operation_that_comes(
    fake_nats: FakeNats,
) -> None:
    fake_nats.respond("rosey.db.row.*.*", {"success": True, "count": 3})
    await fake_nats.request(f"{ROW}.count", b'{"table": "quotes"}')
    with pytest.raises(ContractError, match=re.escape("'rows' (array of object), 'truncated'")):
        await fake_nats.request(f"{ROW}.search", b'{"table": "quotes"}')
    fake_nats.refused.clear()


@pytest.mark.parametrize(
    ("named", "enveloped"), [(True, False), (False, True)], ids=["flat", "enveloped"]
)
async def test_the_shape_of_a_kv_reply_follows_the_request(
    fake_nats: FakeNats, named: bool, enveloped: bool
) -> None:
    result = {"exists": False}
    fake_nats.respond(f"{KV}.get", {"success": True, **({"data": result} if enveloped else result)})
    request = {"key": "k", **({"plugin_name": "quote-db"} if named else {})}
    with pytest.raises(ContractError):
        await fake_nats.request(f"{KV}.get", json.dumps(request).encode())
    fake_nats.refused.clear()


@pytest.mark.parametrize(
    ("subject", "payload", "text"),
    [
        (
            f"{ROW}.count",
            b'{"tabel": "quotes"}',
            (
                "The service would refuse this request on rosey.db.row.quote-db.count with "
                "MISSING_FIELD: Required field 'table' is missing\n"
            ),
        ),
        (
            f"{ROW}.count",
            b'{"table": "quotes", "filter": {}}',
            (
                "The service would refuse this request on rosey.db.row.quote-db.count with "
                "VALIDATION_ERROR: 'filter' is not a field of this request: expected table, "
                "filters. Did you mean 'filters'?\n"
            ),
        ),
        (
            f"{ROW}.count",
            b"oops",
            (
                "The service would refuse this request on rosey.db.row.quote-db.count with "
                "INVALID_JSON: "
            ),
        ),
    ],
)
async def test_a_request_that_the_service_would_refuse(
    fake_nats: FakeNats, subject: str, payload: bytes, text: str
) -> None:
    fake_nats.respond(subject, {"success": True, "count": 1})
    with pytest.raises(ContractError) as raised:
        await fake_nats.request(subject, payload)
    fake_nats.refused.clear()
    assert str(raised.value).startswith(text)


async def test_failures_and_timeouts_check_the_request_too(fake_nats: FakeNats) -> None:
    fake_nats.timeout(f"{ROW}.count")
    fake_nats.malformed(f"{ROW}.search")
    for operation in ("count", "search"):
        with pytest.raises(ContractError, match="Required field 'table' is missing"):
            await fake_nats.request(f"{ROW}.{operation}", b"{}")
    fake_nats.refused.clear()


async def test_an_unknown_code_is_refused(fake_nats: FakeNats) -> None:
    with pytest.raises(ContractError, match="Did you mean 'VALIDATION_ERROR'"):
        fake_nats.fail(f"{ROW}.insert", "VALIDATION_EROR")


async def test_one_call_may_break_the_contract(fake_nats: FakeNats) -> None:
    fake_nats.respond(f"{ROW}.count", {"n": 1}, contract=False)
    reply = await fake_nats.request(f"{ROW}.count", b'{"what": "ever"}')
    assert json.loads(reply.data) == {"n": 1}


@pytest.mark.rosey_fake(contract=False)
async def test_one_test_may_break_the_contract(fake_nats: FakeNats) -> None:
    fake_nats.respond(f"{ROW}.count", {"n": 1})
    assert (await fake_nats.request(f"{ROW}.count")).data == b'{"n":1}'


async def test_other_subjects_are_not_checked(fake_nats: FakeNats) -> None:
    fake_nats.respond("rosey.command.quote-db.add", {"reply": "Quote #1 added"})
    assert (await fake_nats.request("rosey.command.quote-db.add", b"oops")).data


@pytest.mark.process
def test_the_ini_file_lifts_the_check_everywhere(pytester: pytest.Pytester) -> None:
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "rosey_contract = off"
    )
    pytester.makepyfile(
        """
        async def test_x(fake_nats):
            fake_nats.respond("rosey.db.row.quote-db.count", {"n": 1})
            await fake_nats.request("rosey.db.row.quote-db.count")
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_make_nats_response_says_what_the_service_says() -> None:
    check(f"{ROW}.insert", make_nats_response({"id": 1, "created": True}).data)
