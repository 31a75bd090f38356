"""Every way in which a payload can be wrong gets its error (SPEC 2.2)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from dbservice.protocol import (
    OPERATIONS,
    ErrorCode,
    Family,
    Operation,
    Reason,
    RequestError,
    decode_request,
    encode_failure,
    encode_json,
    encode_reply,
    encode_request,
    find,
    kv,
    rows,
    subject_for,
)
from dbservice.protocol.codec import check_json
from dbservice.protocol.messages import Request
from dbservice.protocol.names import namespace
from tests.dbservice.protocol.request_examples import fullest, smallest, subject_parts

NEVER_EMPTY = ("plugin_name", "key", "table")
GET = OPERATIONS[Family.KV, "get"]
SET = OPERATIONS[Family.KV, "set"]
COUNT = OPERATIONS[Family.ROW, "count"]
SELECT = OPERATIONS[Family.ROW, "select"]
REGISTER = OPERATIONS[Family.ROW, "schema.register"]


def name_of(operation: Operation) -> str:
    return f"{operation.family}.{operation.name}"


def decoded(operation: Operation, payload: bytes | dict[str, Any]) -> Request:
    address, _ = find(subject_for(*subject_parts(operation)))
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return decode_request(operation, address, raw)


def refusal(operation: Operation, payload: bytes | dict[str, Any]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decoded(operation, payload)
    return caught.value


def said(error: RequestError) -> tuple[str, str]:
    return error.code, error.message


# --- not JSON, or not an object ------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"{'key': 'a'}",
        b'{"key": "a",}',
        b'{"key": "a"} {}',
        b'{"key": "a\x00b"}',
        b'{"key": NaN}',
        b'{"key": Infinity}',
        b'{"key": -Infinity}',
        b'{"key": 1e999}',
        b'{"key": "\\udc00"}',
        b'{"key": 01}',
    ],
)
def test_what_is_not_json_is_invalid_json(payload: bytes) -> None:
    error = refusal(GET, payload)
    assert error.code is ErrorCode.INVALID_JSON
    assert re.fullmatch(r"Invalid JSON: [A-Z][^`$]+", error.message)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b'{"key": "\xff"}', "Invalid JSON: not UTF-8"),
        (b"[]", "Invalid JSON: expected an object, got array"),
        (b'[{"key": "a"}]', "Invalid JSON: expected an object, got array"),
        (b"12", "Invalid JSON: expected an object, got integer"),
        (b"1.5", "Invalid JSON: expected an object, got number"),
        (b'"key"', "Invalid JSON: expected an object, got string"),
        (b"true", "Invalid JSON: expected an object, got boolean"),
        (b"null", "Invalid JSON: expected an object, got null"),
    ],
)
def test_what_is_not_a_json_object_is_invalid_json(payload: bytes, message: str) -> None:
    assert said(refusal(GET, payload)) == ("INVALID_JSON", message)


@pytest.mark.parametrize("payload", [b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"\x80"])
def test_other_encodings_are_invalid_json(payload: bytes) -> None:
    assert refusal(GET, payload).code is ErrorCode.INVALID_JSON


def test_nan_deep_within_a_value_is_invalid_json() -> None:
    error = refusal(SET, b'{"key": "a", "value": {"x": [1, NaN]}}')
    assert error.code is ErrorCode.INVALID_JSON


def test_an_empty_payload_counts_as_an_empty_object() -> None:
    assert decoded(OPERATIONS[Family.KV, "list"], b"") == kv.KvList()
    assert said(refusal(GET, b"")) == ("MISSING_FIELD", "Required field 'key' is missing")


def nested(opening: str, closing: str, levels: int) -> bytes:
    """Return a KvSet payload whose value makes the whole this many levels deep."""
    inner = opening * (levels - 1) + "1" + closing * (levels - 1)
    return f'{{"key": "a", "value": {inner}}}'.encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_sixty_four_levels_pass_and_sixty_five_do_not(opening: str, closing: str) -> None:
    decoded(SET, nested(opening, closing, 64))
    assert said(refusal(SET, nested(opening, closing, 65))) == (
        "INVALID_JSON",
        "Invalid JSON: nested deeper than 64 levels",
    )


def test_nesting_that_would_exhaust_the_stack_is_refused_by_its_depth() -> None:
    message = "Invalid JSON: nested deeper than 64 levels"
    assert said(refusal(SET, b"[" * 200_000)) == ("INVALID_JSON", message)


@pytest.mark.parametrize(
    "text",
    ["[" * 100, "{" * 100, '"' + "[" * 100, "\\" + "[" * 100, '\\"' + "[" * 100, "\\\\" + "{" * 90],
)
def test_brackets_inside_strings_are_not_levels(text: str) -> None:
    request = decoded(SET, {"key": "a", "value": text})
    assert isinstance(request, kv.KvSet)
    assert request.value == text


def test_many_brackets_side_by_side_are_not_levels() -> None:
    request = decoded(SET, {"key": "a", "value": [[]] * 500 + [{"a": "]"}] * 500})
    assert isinstance(request, kv.KvSet)
    assert len(request.value) == 1000


def test_brackets_behind_a_string_that_ends_in_a_backslash_are_levels() -> None:
    payload = b'{"key": "a\\\\", "value": ' + b"[" * 64 + b"]" * 64 + b"}"
    assert refusal(SET, payload).message == "Invalid JSON: nested deeper than 64 levels"


def test_a_string_that_never_ends_is_searched_once() -> None:
    """If each quote in it started a search to the end, this would take hours."""
    payload = b'{"value": ' + b"[]" * 40 + b'"' + b'\\"' * 500_000
    assert refusal(SET, payload).code is ErrorCode.INVALID_JSON


def depth(value: Any) -> int:
    """Count levels one by one, as the codec does not."""
    parts = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, parts), default=0) if isinstance(value, dict | list) else 0


JSON = st.recursive(
    st.integers(0, 9) | st.text(alphabet='[]{}"\\', max_size=4),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(max_size=2), parts),
    max_leaves=30,
)


@given(JSON, st.integers(30, 64), st.integers(0, 80))
def test_the_depth_is_that_of_the_deepest_place(value: Any, around: int, beside: int) -> None:
    """However much of it is shallow: the check takes levels away from the inside."""
    for _ in range(around):
        value = [value]
    payload = msgspec.json.encode({"key": "a", "value": [[[1]]] * beside + [value]})
    is_deep = depth(value) + 2 > 64
    assert (refusal_code(payload) == "INVALID_JSON") == is_deep


@given(
    st.binary(max_size=60) | st.text(alphabet='{}[]":,\\ntrue01.-eu', max_size=60).map(str.encode)
)
def test_no_payload_gets_past_the_codec_as_anything_but_a_request_error(payload: bytes) -> None:
    codes = {"INVALID_JSON", "MISSING_FIELD", "VALIDATION_ERROR", None}
    assert refusal_code(payload) in codes


def refusal_code(payload: bytes) -> str | None:
    """Return the code of the failed reply, or None if the payload is fine."""
    try:
        decoded(SET, payload)
    except RequestError as error:
        code: str = msgspec.json.decode(encode_failure(error))["error"]["code"]
        return code
    return None


# --- the fields of every request -----------------------------------------------------------------

OF_EVERY_KIND: dict[str, Any] = {
    "null": None,
    "boolean": True,
    "integer": 1,
    "number": 1.5,
    "string": "x",
    "array": [[]],
    "object": {"x": {}},
}


KIND_OF_TYPE: dict[type[inspect.Type], str] = {
    inspect.NoneType: "null",
    inspect.BoolType: "boolean",
    inspect.IntType: "integer",
    inspect.StrType: "string",
    inspect.LiteralType: "string",
    inspect.EnumType: "string",
    inspect.ListType: "array",
    inspect.DictType: "object",
    inspect.StructType: "object",
}


def accepted_kinds(shape: inspect.Type) -> set[str]:
    """Return the kinds of JSON values that a type may take, knowing nothing of the decoder."""
    match shape:
        case inspect.Metadata(type=inner):
            return accepted_kinds(inner)
        case inspect.UnionType(types=types):
            return set().union(*map(accepted_kinds, types))
        case inspect.AnyType():
            return set(OF_EVERY_KIND)
        case _:
            return {KIND_OF_TYPE[type(shape)]}


def wrong_kinds() -> Iterator[Any]:
    for operation in OPERATIONS.values():
        shape = inspect.type_info(operation.request)
        assert isinstance(shape, inspect.StructType)
        for field in shape.fields:
            for wrong in sorted(OF_EVERY_KIND.keys() - accepted_kinds(field.type)):
                name = f"{name_of(operation)}-{field.encode_name}-{wrong}"
                yield pytest.param(operation, field.encode_name, wrong, id=name)


@pytest.mark.parametrize(("operation", "name", "wrong"), list(wrong_kinds()))
def test_a_field_of_the_wrong_kind_is_refused_by_name(
    operation: Operation, name: str, wrong: str
) -> None:
    error = refusal(operation, {**smallest(operation), name: OF_EVERY_KIND[wrong]})
    required = any(
        field.required and field.encode_name == name
        for field in msgspec.structs.fields(operation.request)
    )
    if wrong == "null" and required and name in NEVER_EMPTY:
        assert said(error) == ("MISSING_FIELD", f"Required field '{name}' is missing")
        return
    assert error.code is ErrorCode.VALIDATION_ERROR
    assert error.details["field"] == name
    assert error.details["got"] == wrong or error.details["got"] == OF_EVERY_KIND[wrong]
    assert error.message.startswith(f"Field '{name}': expected ")
    assert "`" not in error.message


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        pytest.param(operation, field.encode_name, id=f"{name_of(operation)}-{field.name}")
        for operation in OPERATIONS.values()
        for field in msgspec.structs.fields(operation.request)
        if field.required
    ],
)
def test_an_absent_field_is_named(operation: Operation, name: str) -> None:
    payload = smallest(operation)
    del payload[name]
    error = refusal(operation, payload)
    assert said(error) == ("MISSING_FIELD", f"Required field '{name}' is missing")
    assert error.details == {"field": name}


@pytest.mark.parametrize("operation", list(OPERATIONS.values()), ids=name_of)
def test_an_unknown_field_is_refused_with_the_nearest_name(operation: Operation) -> None:
    known = [field.encode_name for field in msgspec.structs.fields(operation.request)]
    misspelt = known[-1] + "s" if known else "tabel"
    error = refusal(operation, {**smallest(operation), misspelt: 1})
    question = f" Did you mean '{known[-1]}'?" if known else ""
    assert said(error) == (
        "VALIDATION_ERROR",
        f"'{misspelt}' is not a field of this request: expected {', '.join(known)}.{question}",
    )
    assert error.details["reason"] == "UNKNOWN_FIELD"
    assert error.details.get("nearest") == (known[-1] if known else None)


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (operation, name)
        for operation in OPERATIONS.values()
        for name in ("key", "table")
        if name in operation.request.__struct_fields__
    ],
)
@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_key_or_table_counts_as_missing(
    operation: Operation, name: str, empty: str | None
) -> None:
    error = refusal(operation, {**smallest(operation), name: empty})
    assert said(error) == ("MISSING_FIELD", f"Required field '{name}' is missing")


@pytest.mark.parametrize("payload", [{}, {"plugin_name": ""}, {"plugin_name": None}])
@pytest.mark.parametrize("name", ["set", "get", "delete", "list"])
def test_the_global_form_requires_the_name_of_the_plugin(
    name: str, payload: dict[str, Any]
) -> None:
    address, operation = find(subject_for(Family.KV, name))
    with pytest.raises(RequestError) as caught:
        decode_request(operation, address, json.dumps({**smallest(operation), **payload}).encode())
    assert said(caught.value) == ("MISSING_FIELD", "Required field 'plugin_name' is missing")


def test_the_global_form_takes_the_name_of_the_plugin() -> None:
    address, operation = find(subject_for(Family.KV, "get"))
    request = decode_request(operation, address, b'{"plugin_name": "quote-db", "key": "a"}')
    assert request == kv.KvGet(plugin_name="quote-db", key="a")


@pytest.mark.parametrize(
    ("operation", "payload", "message", "field"),
    [
        (
            SELECT,
            {"table": "t", "sort": {"fild": "a"}},
            "'fild' is not a field of 'sort': expected field, order. Did you mean 'field'?",
            "sort.fild",
        ),
        (
            SELECT,
            {"table": "t", "sort": {"field": "a", "order": "descending"}},
            "Field 'sort.order': expected asc or desc, got 'descending'.",
            "sort.order",
        ),
        (
            SELECT,
            {"table": "t", "sort": [{"field": "a", "order": "dsc"}]},
            "Field 'sort[0].order': expected asc or desc, got 'dsc'. Did you mean 'desc'?",
            "sort[0].order",
        ),
        (
            SELECT,
            {"table": "t", "sort": "random"},
            "Field 'sort': expected $random, got 'random'. Did you mean '$random'?",
            "sort",
        ),
        (
            SELECT,
            {"table": "t", "columns": ["a", 1]},
            "Field 'columns[1]': expected string, got integer.",
            "columns[1]",
        ),
        (
            SELECT,
            {"table": "t", "columns": []},
            "Field 'columns': expected array of length >= 1.",
            "columns",
        ),
        (SELECT, {"table": "t", "limit": 0}, "Field 'limit': expected integer >= 1.", "limit"),
        (SELECT, {"table": "t", "offset": -1}, "Field 'offset': expected integer >= 0.", "offset"),
        (
            SELECT,
            {"table": "t", "id": None},
            "Field 'id': expected integer or string, got null.",
            "id",
        ),
        (
            REGISTER,
            {"table": "t", "schema": {"fields": [{"name": "a", "type": "str"}]}},
            (
                "Field 'schema.fields[0].type': expected string or text or integer or float "
                "or boolean "
                "or datetime or json, got 'str'. Did you mean 'string'?"
            ),
            "schema.fields[0].type",
        ),
        (
            REGISTER,
            {"table": "t", "schema": {"fields": [{"name": "a", "type": "text", "requird": True}]}},
            (
                "'requird' is not a field of 'schema.fields[0]': expected name, type, required, "
                "default, max_length, unique, search. Did you mean 'required'?"
            ),
            "schema.fields[0].requird",
        ),
        (
            SET,
            {"key": "k" * 513, "value": 1},
            "Field 'key': expected string of length <= 512.",
            "key",
        ),
        (SET, {"key": "k", "value": 1, "ttl": 0}, "Field 'ttl': expected integer >= 1.", "ttl"),
        (
            SET,
            {"key": "k", "value": 1, "ttl": True},
            "Field 'ttl': expected integer or null, got boolean.",
            "ttl",
        ),
        (
            SET,
            {"key": "k", "value": 1, "ttl_seconds": 2.0},
            "Field 'ttl_seconds': expected integer or null, got number.",
            "ttl_seconds",
        ),
        (
            OPERATIONS[Family.ROW, "insert"],
            {"table": "t", "data": {}, "counters": {"n": "1"}},
            "Field 'counters[...]': expected integer, got string.",
            "counters[...]",
        ),
    ],
)
def test_the_error_says_what_was_expected_and_where(
    operation: Operation, payload: dict[str, Any], message: str, field: str
) -> None:
    error = refusal(operation, payload)
    assert said(error) == ("VALIDATION_ERROR", message)
    assert error.details["field"] == field


def test_a_nested_absent_field_is_named_with_its_place() -> None:
    error = refusal(REGISTER, {"table": "t", "schema": {"fields": [{"name": "a"}]}})
    assert said(error) == (
        "MISSING_FIELD",
        "Required field 'schema.fields[0].type' is missing",
    )


def test_a_long_unknown_field_is_not_echoed_whole() -> None:
    error = refusal(COUNT, {"table": "t", "x" * 100_000: 1})
    assert len(encode_failure(error)) < 1_000


def test_an_absent_field_is_reported_before_an_unknown_one() -> None:
    assert refusal(COUNT, {"tabel": "t"}).code is ErrorCode.MISSING_FIELD


# --- what is sent --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "The number at 'value' is nan, which JSON does not have."),
        ({"a": [math.inf]}, "The number at 'value.a[0]' is inf, which JSON does not have."),
        (2**63, "The integer at 'value' does not fit into 64 bits."),
        ([-(2**63) - 1], "The integer at 'value[0]' does not fit into 64 bits."),
        ("a\0b", "The text at 'value' contains a NUL character."),
    ],
)
def test_a_value_without_faithful_json_is_not_sent(value: Any, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        encode_request(kv.KvSet(key="a", value=value))
    assert said(caught.value) == ("VALIDATION_ERROR", message)


@pytest.mark.parametrize("value", ["\ud800", {1j: 2}, object()])
def test_a_value_without_any_json_is_not_sent(value: Any) -> None:
    with pytest.raises(RequestError, match=r"^The value has no JSON form: "):
        encode_request(kv.KvSet(key="a", value=value))


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 1.5, True, None, "é", [{"a": {}}]])
def test_a_value_at_the_boundary_is_sent(value: Any) -> None:
    check_json(value, "value")
    assert msgspec.json.decode(encode_json(value)) == value


def test_fields_left_alone_are_not_sent() -> None:
    assert encode_request(rows.Count(table="t")) == b'{"table":"t"}'
    assert encode_request(kv.KvSet(key="a", value=None)) == b'{"key":"a","value":null}'


def test_a_reply_takes_the_global_shape_on_request() -> None:
    found = kv.KvFound(exists=True, value=msgspec.Raw(b'{"a":[1,2.50]}'))
    assert encode_reply(found) == b'{"success":true,"exists":true,"value":{"a":[1,2.50]}}'
    assert encode_reply(found, global_kv=True) == (
        b'{"success":true,"data":{"exists":true,"value":{"a":[1,2.50]}}}'
    )


def test_a_reply_without_result_keeps_an_empty_data_on_the_global_form() -> None:
    assert encode_reply(kv.KvStored()) == b'{"success":true}'
    assert encode_reply(kv.KvStored(), global_kv=True) == b'{"success":true,"data":{}}'


def test_a_replay_is_marked_outside_the_data() -> None:
    reply = kv.KvDeleted(deleted=True, replayed=True)
    assert encode_reply(reply, global_kv=True) == (
        b'{"success":true,"data":{"deleted":true},"replayed":true}'
    )


def test_a_failure_has_code_message_and_details() -> None:
    error = RequestError(
        ErrorCode.VALIDATION_ERROR, "No.", reason=Reason.LIMIT, field="a", nearest=None
    )
    assert msgspec.json.decode(encode_failure(error)) == {
        "success": False,
        "error": {
            "code": "VALIDATION_ERROR",
            "message": "No.",
            "details": {"reason": "LIMIT", "field": "a"},
        },
    }


def test_a_failure_without_details_has_none() -> None:
    payload = encode_failure(RequestError(ErrorCode.FORBIDDEN, "No."))
    assert msgspec.json.decode(payload)["error"] == {"code": "FORBIDDEN", "message": "No."}


def test_the_longest_key_of_the_widest_characters_is_taken() -> None:
    key = "\N{GRINNING FACE}" * 512
    assert decoded(GET, {"key": key}) == kv.KvGet(key=key)


@pytest.mark.parametrize("operation", list(OPERATIONS.values()), ids=name_of)
def test_a_full_request_of_every_operation_is_understood(operation: Operation) -> None:
    decoded(operation, fullest(operation))


def test_a_table_name_is_checked_where_the_prefix_is_known() -> None:
    assert namespace("quote-db").table("quotes") == "quote_db__quotes"
