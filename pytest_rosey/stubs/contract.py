"""Stubs against the contract: would the real service say this, and accept that?

Everything is read off `dbservice.protocol`; nothing of the contract is written here again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

import msgspec

from dbservice.protocol import (
    Address,
    ErrorCode,
    Family,
    Operation,
    RequestError,
    decode_request,
    find,
)
from dbservice.protocol.errors import did_you_mean
from dbservice.protocol.filters import kind
from dbservice.protocol.messages import Problem, Reply, Request
from dbservice.protocol.subjects import is_event, is_storage_subject

__tracebackhide__ = True

LIFTED_BY = (
    "contract=False in the respond() call lifts this check, "
    "`rosey_contract = off` in the ini file lifts it everywhere."
)

_EXPECTED = re.compile(
    r"Expected `(?P<expected>[^`]+)`(?:, got `(?P<got>[^`]+)`)?(?: - at `\$(?P<path>[^`]*)`)?"
)
_JSON_NAMES = {"int": "integer", "str": "string", "bool": "boolean", "float": "number"}
_SHOWN = 60


class ContractError(AssertionError):
    """A stub says what the real service never would, or a request is one it would refuse."""


class _DeviationError(Exception):
    """What is wrong with a reply, as the second half of a sentence."""


def check_reply(subject: str, reply: bytes, *, enveloped: bool | None = None) -> None:
    """Refuse a reply that the real service could not send.

    Args:
        subject: the request's subject, below `rosey.db`, without wildcards.
        reply: the payload.
        enveloped: whether the result must stand under `data` (the global KV shape); None accepts
            either on a subject that can have both.

    Raises:
        ContractError: naming the field and what was expected in it.
    """
    address, operation = _operation(subject)
    try:
        _check(address, operation, reply, enveloped)
    except _DeviationError as deviation:
        raise ContractError(
            f"The service could not send this reply to {subject}: {deviation}\n{LIFTED_BY}"
        ) from None


def completed(subject: str, reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reply with the fields that follow from the others.

    `success` from the absence of `error`, `count` from the rows or keys, `truncated` and `total`
    where nothing says that there are more, `created` from the ids.

    Args:
        subject: the request's subject, below `rosey.db`, without wildcards.
        reply: what a stub says.
    """
    whole = {"success": "error" not in reply, **reply}
    try:
        address, operation = find(subject)
    except RequestError:
        return whole  # which is refused when it is checked
    if whole["success"] is not True:
        return whole
    if address.is_global_kv or _looks_enveloped(address, whole):
        data = whole.get("data")
        return {**whole, "data": _derived(operation, data)} if isinstance(data, dict) else whole
    return _derived(operation, whole)


def _derived(operation: Operation, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with those that follow, for the shape that then misses the least."""
    candidates = [
        (len(list(_deviations(shape, {"success": True, **derived}))), derived)
        for shape in operation.replies
        for derived in [{**_following(shape, fields), **fields}]
    ]
    return min(candidates, key=lambda candidate: candidate[0])[1]


def _following(shape: type[Reply], fields: Mapping[str, Any]) -> dict[str, Any]:
    derived: dict[str, Any] = {}
    listed, ids = fields.get("rows", fields.get("keys")), fields.get("ids")
    if isinstance(listed, list):
        derived["count"] = len(listed)
        total = fields.get("total")
        derived["truncated"] = isinstance(total, int) and total > len(listed)
        if not fields.get("truncated"):
            derived["total"] = len(listed)
    if isinstance(ids, list):
        derived["created"] = len(ids)
    elif "id" in fields:
        derived["created"] = True
    # Of an upsert it does not follow whether it created anything.
    known = {f.name for f in _fields(shape) if f.always and (f.name != "created" or _is_told(f))}
    return {name: value for name, value in derived.items() if name in known}


def _is_told(created: _Field) -> bool:
    return created.type is not bool


def check_request(subject: str, payload: bytes) -> Request:
    """Return the message in a request, refusing what the real service would refuse.

    Raises:
        ContractError: with the code and the words of the service's own answer.
    """
    address, operation = _operation(subject)
    try:
        return decode_request(operation, address, payload)
    except RequestError as error:
        raise ContractError(
            f"The service would refuse this request on {subject} with {error.code}: "
            f"{error.message}\n{LIFTED_BY}"
        ) from None


def check_served(subject: str) -> None:
    """Refuse a subject of the service on which it serves nothing; wildcards may mean anything.

    Raises:
        ContractError: naming the nearest.
    """
    if is_storage_subject(subject) and not {"*", ">"}.intersection(subject.split(".")):
        _operation(subject)


def wants_envelope(subject: str, request: Request) -> bool:
    """Return whether the answer to `request` has the global KV shape."""
    address, _ = find(subject)
    named = getattr(request, "plugin_name", msgspec.UNSET) is not msgspec.UNSET
    return address.family is Family.KV and (address.is_global_kv or named)


def _operation(subject: str) -> tuple[Address, Operation]:
    if is_event(subject):
        raise ContractError(
            f"{subject} is an event, to which the service sends no reply: subscribe to it, or "
            f"publish it.\n{LIFTED_BY}"
        )
    try:
        return find(subject)
    except RequestError as error:
        raise ContractError(
            f"The service does not serve {subject}: {error.message}\n{LIFTED_BY}"
        ) from None


def _check(address: Address, operation: Operation, reply: bytes, enveloped: bool | None) -> None:
    fields = _decoded(reply)
    if fields["success"] is False:
        _check_failure(fields)
        return
    result = _result(address, fields, enveloped)
    deviations = {shape: list(_deviations(shape, result)) for shape in operation.replies}
    nearest = min(deviations, key=lambda shape: len(deviations[shape]))
    if deviations[nearest]:
        raise _DeviationError(f"{deviations[nearest][0]}\n{_expectation(operation, nearest)}")


def _decoded(reply: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(reply)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _DeviationError(
            f"it is not JSON ({error}). fake_nats.malformed(subject) answers with broken JSON."
        ) from None
    if not isinstance(fields, dict):
        raise _DeviationError(f"expected an object, got {kind(fields)}.")
    if "success" not in fields:
        raise _DeviationError(
            "field 'success' is missing, expected true or false. The service always sends it; "
            "make_nats_response() adds it."
        )
    if not isinstance(fields["success"], bool):
        raise _DeviationError(
            f"field 'success': expected true or false, got {_shown(fields['success'])}."
        )
    return fields


def _check_failure(fields: Mapping[str, Any]) -> None:
    try:
        problem = msgspec.convert(fields.get("error"), Problem)
    except msgspec.ValidationError as error:
        raise _DeviationError(
            f"{_mismatch('error', error)} A failed reply is "
            '{"success": false, "error": {"code": string, "message": string, "details"?: object}}.'
        ) from None
    codes = [str(code) for code in ErrorCode]
    if problem.code not in codes:
        raise _DeviationError(
            f"field 'error.code': '{problem.code}' is not a code of the contract."
            + (did_you_mean(problem.code, codes) or f" Expected one of {', '.join(codes)}.")
        )


def _result(
    address: Address, fields: Mapping[str, Any], enveloped: bool | None
) -> Mapping[str, Any]:
    """Return the fields of the result, taken out of the global shape's envelope."""
    if address.is_global_kv or (enveloped is None and _looks_enveloped(address, fields)):
        enveloped = True
    if not enveloped:
        return fields
    data = fields.get("data")
    if not isinstance(data, dict):
        got = _shown(data) if "data" in fields else "none"
        raise _DeviationError(
            f"field 'data': expected an object, got {got}. The global KV form has its result there."
        )
    beside = {name: value for name, value in fields.items() if name not in ("success", "data")}
    return {**beside, **data, "success": True}


def _looks_enveloped(address: Address, fields: Mapping[str, Any]) -> bool:
    return address.family is Family.KV and "data" in fields


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a reply: its type, how that reads, and whether the service always sends it."""

    name: str
    type: Any
    text: str
    always: bool


@cache
def _fields(shape: type[Reply]) -> tuple[_Field, ...]:
    schema = msgspec.json.schema(shape)
    definitions = schema["$defs"]
    properties = definitions[shape.__name__]["properties"]
    return tuple(
        _Field(
            name=field.encode_name,
            type=field.type,
            text=_text(properties[field.encode_name], definitions),
            # A default does not mean that it may be absent from the wire; UNSET does.
            always=field.default is not msgspec.UNSET,
        )
        for field in msgspec.structs.fields(shape)
    )


def _text(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Say a JSON schema in the few words of an error message."""
    match schema:
        case {"$ref": str(reference)}:
            return _text(definitions[reference.rpartition("/")[2]], definitions)
        case {"anyOf": list(choices)}:
            return " | ".join(_text(choice, definitions) for choice in choices)
        case {"enum": list(values)}:
            return " | ".join(msgspec.json.encode(value).decode() for value in values)
        case {"type": "array", "items": dict(items)}:
            return f"array of {_text(items, definitions)}"
        case {"type": str(name)}:
            return name
        case _:
            return "anything"


def _deviations(shape: type[Reply], result: Mapping[str, Any]) -> Iterator[str]:
    """Yield how `result` differs from one shape, what matters most first."""
    known = {field.name: field for field in _fields(shape)}
    for name, value in result.items():
        if name in known and (wrong := _wrong_value(known[name], value)):
            yield wrong
    if missing := [f for f in known.values() if f.always and f.name not in result]:
        yield _missing(missing)
    for name in result:
        if name not in known:
            yield f"field '{name}' is not part of it.{did_you_mean(name, known)}"


def _missing(fields: Sequence[_Field]) -> str:
    if len(fields) == 1:
        return f"field '{fields[0].name}' is missing, expected {fields[0].text}."
    listed = ", ".join(f"'{field.name}' ({field.text})" for field in fields)
    return f"fields are missing: {listed}."


def _wrong_value(field: _Field, value: Any) -> str | None:
    try:
        msgspec.convert(value, _without_unset(field.type))
    except msgspec.ValidationError as error:
        if " - at `" in str(error):
            return _mismatch(field.name, error)
        return f"field '{field.name}': expected {field.text}, got {_shown(value)}."
    return None


def _without_unset(hint: Any) -> Any:
    kinds = [part for part in get_args(hint) if part is not msgspec.UnsetType]
    if msgspec.UnsetType not in get_args(hint):
        return hint
    union = kinds[0]
    for part in kinds[1:]:
        union = union | part
    return union


def _mismatch(field: str, error: msgspec.ValidationError) -> str:
    """Word an error of msgspec about something inside `field`."""
    found = _EXPECTED.match(str(error))
    if found is None:
        return f"field '{field}': {error}."
    place, got = field + (found["path"] or ""), found["got"]
    expected = " | ".join(_JSON_NAMES.get(name, name) for name in found["expected"].split(" | "))
    return f"field '{place}': expected {expected}" + (
        f", got {_JSON_NAMES.get(got, got)}." if got else "."
    )


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return kind(value)
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _expectation(operation: Operation, shape: type[Reply]) -> str:
    parts = [
        f'"{field.name}"{"" if field.always else "?"}: {field.text}'
        for field in _fields(shape)
        if field.name != "replayed"
    ]
    either = "The reply" if len(operation.replies) == 1 else "The nearest reply"
    return f"{either} of '{operation.name}' is {{{', '.join(parts)}}}."
