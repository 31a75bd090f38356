"""Bytes to messages and back; every way a payload can be wrong gets its error here."""

from __future__ import annotations

import math
import re
from functools import cache
from itertools import accumulate
from typing import Any

import msgspec
from msgspec import UNSET

from dbservice.protocol.errors import (
    ErrorCode,
    Reason,
    RequestError,
    did_you_mean,
    invalid,
    missing,
    nearest,
)
from dbservice.protocol.filters import kind
from dbservice.protocol.limits import MAX_INTEGER, MAX_NESTING, MIN_INTEGER
from dbservice.protocol.messages import Failure, Problem, Reply, Request
from dbservice.protocol.operations import Operation
from dbservice.protocol.shapes import fields_at, values_at
from dbservice.protocol.subjects import Address

_encode = msgspec.json.Encoder().encode
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_KINDS = re.compile(
    r"Expected `(?P<expected>[^`]+)`(?P<constraint>[^,]*)(?:, got `(?P<got>[^`]+)`)?"
)
_NAMED = re.compile(
    r"(?P<what>Object contains unknown field|Object missing required field|Invalid enum value)"
    r" [`'](?P<name>.*)[`']$",
    re.DOTALL,
)
_JSON_NAMES = {"int": "integer", "str": "string", "bool": "boolean", "float": "number"}
_WITHOUT_FORM = (OverflowError, TypeError, ValueError, UnicodeEncodeError, RecursionError)
"""What the encoder raises for a value that has no JSON form."""
_NEVER_EMPTY = ("plugin_name", "key", "table")


def decode_request(operation: Operation, address: Address, payload: bytes) -> Request:
    """Return the message in a request payload.

    Args:
        operation: what the subject names.
        address: what the subject says; on the global KV form `plugin_name` is required.
        payload: the bytes as they came; empty counts as `{}`.

    Raises:
        RequestError: INVALID_JSON, MISSING_FIELD or VALIDATION_ERROR.
    """
    payload = payload or b"{}"
    check_nesting(payload)
    try:
        request: Request = _decoder(operation.request).decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _diagnosed(operation, address, payload, error) from None
    if address.is_global_kv and getattr(request, "plugin_name", UNSET) is UNSET:
        raise missing("plugin_name")
    return request


def encode_request(request: Request) -> bytes:
    """Return the payload of a request.

    Raises:
        RequestError: VALIDATION_ERROR if a value has no JSON form, for example NaN or an integer
            of more than 64 bits.
    """
    try:
        encoded = _encode(request)
    except _WITHOUT_FORM:
        _check_fields(request)
        return encode_json(request)
    # NaN and Infinity are encoded as null.
    if b"null" in encoded or _is_doubtful(encoded):
        _check_fields(request)
    return encoded


def _check_fields(request: Request) -> None:
    for name in request.__struct_fields__:
        check_json(getattr(request, name), name)


def encode_reply(reply: Reply | bytes, *, global_kv: bool = False) -> bytes:
    """Return the payload of a successful reply.

    Args:
        reply: the message, or what this function returned for it.
        global_kv: put the result under `data`, as the global KV subjects have it.
    """
    if isinstance(reply, bytes):
        return _under_data(reply) if global_kv else reply
    if not global_kv:
        return _encode(reply)
    data = msgspec.to_builtins(reply, builtin_types=(msgspec.Raw,))
    enveloped = {"success": data.pop("success"), "data": data}
    if "replayed" in data:
        enveloped["replayed"] = data.pop("replayed")
    return _encode(enveloped)


def _under_data(payload: bytes) -> bytes:
    """Return an encoded reply with its result under `data`; it may be long, and is not decoded."""
    return b'{"success":true,"data":{' + payload.removeprefix(b'{"success":true,') + b"}"


def encode_failure(error: RequestError) -> bytes:
    """Return the payload of a failed reply."""
    return _encode(
        Failure(error=Problem(code=error.code, message=error.message, details=error.details))
    )


def encode_json(value: Any) -> bytes:
    """Return a value as compact JSON.

    Raises:
        RequestError: VALIDATION_ERROR if it has no faithful JSON form.
    """
    try:
        return _encode(value)
    except _WITHOUT_FORM as error:
        raise invalid(f"The value has no JSON form: {error}.") from None


def check_nesting(payload: bytes) -> None:
    """Refuse JSON that is nested deeper than 64 levels.

    Raises:
        RequestError: INVALID_JSON.
    """
    if payload.count(b"{") + payload.count(b"[") <= MAX_NESTING:
        return
    # Without escapes, what stands in strings is every second part between quotes.
    unescaped = payload.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = b"".join(unescaped.split(b'"')[::2])
    if _depth(outside.translate(_ALIKE, _OTHERS)) > MAX_NESTING:
        raise RequestError(
            ErrorCode.INVALID_JSON,
            f"Invalid JSON: nested deeper than {MAX_NESTING} levels",
            limit=MAX_NESTING,
        )


def _depth(brackets: bytes) -> int:
    """Return how deep brackets are nested; at least that, where they do not match."""
    levels = 0
    # Level after level from the inside, because a loop over a million brackets would take a second;
    # but only as long as each takes a quarter away, because a thousand levels would take as long.
    while brackets and len(inner := brackets.replace(b"[]", b"")) <= 0.75 * len(brackets):
        brackets, levels = inner, levels + 1
    runs = (len(run) if run.startswith(b"[") else -len(run) for run in _RUN.findall(brackets))
    return levels + max(accumulate(runs), default=0)


_RUN = re.compile(rb"\[+|\]+")
_ALIKE = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


def encode_faithful(value: Any, path: str) -> bytes:
    """Return a decoded value as compact JSON, if it has a faithful form on every engine.

    Raises:
        RequestError: as `check_json`, which takes far longer than to encode a long value.
    """
    try:
        encoded = _encode(value)
    except _WITHOUT_FORM:
        check_json(value, path)
        raise
    if _is_doubtful(encoded):
        check_json(value, path)
    return encoded


def _is_doubtful(encoded: bytes) -> bool:
    return b"\\u0000" in encoded or has_long_number(encoded)


def has_long_number(encoded: bytes) -> bool:
    """Return whether JSON may hold an integer beyond 64 bits, in no time even where it is long."""
    return _LONG_NUMBER in encoded.translate(_DIGITS)


_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * len(str(MAX_INTEGER))


_SURROGATES = re.compile(rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def check_json(value: Any, path: str) -> None:
    """Refuse what has no faithful form in JSON on every engine, anywhere in a value.

    That is an integer beyond 64 bits, NaN, Infinity, and the NUL character.

    Raises:
        RequestError: VALIDATION_ERROR naming the place.
    """
    if not _is_faithful(value):
        _refuse(value, path)


def _is_faithful(value: Any) -> bool:
    """Return whether a value can be sent: the answer for nearly all, without naming places."""
    if isinstance(value, str):
        return "\0" not in value
    if value is None or value is True or value is False:
        return True
    if isinstance(value, int):
        return MIN_INTEGER <= value <= MAX_INTEGER
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_faithful, value)) and all(map(_is_faithful, value.values()))
    return all(map(_is_faithful, value)) if isinstance(value, list | tuple) else True


def _refuse(value: Any, path: str) -> None:
    """Raise the error for the first place in a value that cannot be sent."""
    match value:
        case bool() | None:
            return
        case int() if not MIN_INTEGER <= value <= MAX_INTEGER:
            raise invalid(
                f"The integer at '{path}' does not fit into 64 bits.",
                reason=Reason.LIMIT,
                field=path,
                expected=f"{MIN_INTEGER} to {MAX_INTEGER}",
            )
        case float() if not math.isfinite(value):
            raise invalid(
                f"The number at '{path}' is {value}, which JSON does not have.", field=path
            )
        case str() if "\0" in value:
            raise invalid(f"The text at '{path}' contains a NUL character.", field=path)
        case list() | tuple():
            for position, part in enumerate(value):
                _refuse(part, f"{path}[{position}]")
        case dict():
            for name, part in value.items():
                _refuse(name, path)
                _refuse(part, f"{path}.{str(name)[:80]}")


@cache
def _decoder(message: type[Request]) -> msgspec.json.Decoder[Request]:
    return msgspec.json.Decoder(message)


def _diagnosed(
    operation: Operation, address: Address, payload: bytes, error: Exception
) -> RequestError:
    """Say in the words of the contract why a payload could not be decoded."""
    try:
        decoded = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        return _malformed(payload, cause)
    if not isinstance(decoded, dict):
        return RequestError(
            ErrorCode.INVALID_JSON,
            f"Invalid JSON: expected an object, got {kind(decoded)}",
            expected="object",
            got=kind(decoded),
        )
    return (
        _absent_field(operation, address, decoded)
        or _unknown_field(operation, decoded)
        or _translated(operation, error)
    )


def _malformed(payload: bytes, error: Exception) -> RequestError:
    reason = str(error).partition(" - at ")[0]
    if isinstance(error, UnicodeDecodeError):
        reason = "not UTF-8"
    if isinstance(error, RecursionError):
        reason = "nested too deep"
    lone = _SURROGATE.search(_SURROGATES.sub(b"", payload))
    if lone and not isinstance(error, UnicodeDecodeError):
        reason = f"Escape {lone.group().decode()} is half of a pair and stands for no character"
    return RequestError(ErrorCode.INVALID_JSON, f"Invalid JSON: {reason}", size=len(payload))


def _absent_field(
    operation: Operation, address: Address, decoded: dict[str, Any]
) -> RequestError | None:
    required = [field.encode_name for field in _fields(operation.request) if field.required]
    if address.is_global_kv:
        required.insert(0, "plugin_name")
    for name in required:
        if name not in decoded or (name in _NEVER_EMPTY and decoded[name] in (None, "")):
            return missing(name)
    return None


def _unknown_field(operation: Operation, decoded: dict[str, Any]) -> RequestError | None:
    known = [field.encode_name for field in _fields(operation.request)]
    for name in decoded:
        if name not in known:
            return _not_a_field(name, known, "this request", name)
    return None


def _not_a_field(name: str, known: list[str], of: str, path: str) -> RequestError:
    return invalid(
        f"'{name[:80]}' is not a field of {of}: expected {', '.join(known)}.{_meant(name, known)}",
        reason=Reason.UNKNOWN_FIELD,
        field=path[:80],
        expected=known,
        nearest=_synonym(name, known) or nearest(name, known),
    )


_SYNONYMS = {
    "sort": ("order_by", "order", "sort_by", "orderby"),
    "filters": ("where", "query", "conditions"),
    "columns": ("fields", "select", "projection"),
    "limit": ("first", "max", "count", "page_size"),
    "offset": ("skip", "start"),
    "after": ("cursor", "next"),
    "data": ("values", "row", "record", "set"),
    "compute": ("aggregates", "select"),
    "group_by": ("group", "by"),
    "params": ("parameters", "args"),
    "query": ("sql", "statement"),
    "ttl_seconds": ("expire", "expires_in", "ex"),
}
_OPERATIONS_INSTEAD = {"count_only": "count", "count": "count", "upsert": "upsert"}
"""Fields that stand for an operation of their own."""


def _synonym(name: str, known: list[str]) -> str | None:
    """Return the field that other services call by a name."""
    word = name.lower()
    return next((field for field in known if word in _SYNONYMS.get(field, ())), None)


def _meant(name: str, known: list[str]) -> str:
    if synonym := _synonym(name, known):
        return f" Did you mean '{synonym}'?"
    if operation := _OPERATIONS_INSTEAD.get(name.lower()):
        return f" Did you mean the operation '{operation}'?"
    return did_you_mean(name, known)


def _translated(operation: Operation, error: Exception) -> RequestError:
    parts = _PATH.match(str(error))
    what, path = (parts["what"], parts["path"]) if parts else (str(error), None)
    field = (path or "$").removeprefix("$").removeprefix(".")
    named = _NAMED.match(what)
    if named and named["what"] == "Object missing required field":
        return missing(f"{field}.{named['name']}")
    if named and named["what"] == "Object contains unknown field":
        known = fields_at(operation.request, field)
        return _not_a_field(named["name"], known, f"'{field}'", f"{field}.{named['name']}")
    if named and field == "sort" and nearest(named["name"], ["random"]) is None:
        return _not_an_order(field, named["name"])
    if named:
        return _not_allowed(field, named["name"], values_at(operation.request, field))
    kinds = _KINDS.match(what)
    expected = f"{_in_json(kinds['expected'])}{kinds['constraint']}" if kinds else None
    got = _in_json(kinds["got"]) if kinds and kinds["got"] else None
    message = f"expected {expected}" + (f", got {got}" if got else "") if expected else what
    place = f"Field '{field}'" if field else "The request"
    return invalid(f"{place}: {message}.", field=field or None, expected=expected, got=got)


def _in_json(types: str) -> str:
    """Return types as JSON calls them; several are joined by ' or '."""
    return " or ".join(_JSON_NAMES.get(name, name) for name in types.split(" | "))


def _not_allowed(field: str, got: str, allowed: list[str]) -> RequestError:
    return invalid(
        f"Field '{field}': expected {' or '.join(allowed)}, got '{got[:80]}'."
        f"{did_you_mean(got, allowed)}",
        field=field,
        expected=allowed,
        got=got[:80],
        nearest=nearest(got, allowed),
    )


def _not_an_order(field: str, got: str) -> RequestError:
    """Say how a column is sorted by: a bare name looks like the one word that is allowed."""
    example = f'{{"field": "{got[:80]}", "order": "asc"}}'
    return invalid(
        f"Field '{field}': a column is sorted by as {example}; the only text is \"$random\".",
        field=field,
        expected=example,
        got=got[:80],
    )


@cache
def _fields(message: type[Request]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(message)
