"""The type map: what a value of each declared type is, on its way in, in the database, and out.

A row of the map is a `Rule`. A value that a request brings is checked by it and refused if it does
not fit; it is never bent. What is stored is stored in one form, the normal form, whoever wrote it:
requests write no other, and what SQL wrote in another spelling is rewritten by the same rule
(`dbservice.storage.normal_form`). So the form that is shown is the one that is compared.

How an engine spells the comparison is in `dbservice.engine.dialect`; which rule a declared type
follows, in the engines' table readers.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import msgspec

from dbservice.engine.columns import Column
from dbservice.engine.errors import OutOfRangeError
from dbservice.engine.json_values import read_json
from dbservice.protocol.codec import check_json, encode_faithful
from dbservice.protocol.errors import ErrorCode, Reason, RequestError, invalid
from dbservice.protocol.filters import kind
from dbservice.protocol.limits import MAX_INTEGER, MAX_ROW, MIN_INTEGER
from dbservice.protocol.rows import ColumnType

CHAR, DECIMAL, REAL, DATE, TIME, UUID, BINARY, UNTYPED, OTHER = [
    "char",
    "decimal",
    "real",
    "date",
    "time",
    "uuid",
    "binary",
    "untyped",
    "other",
]
"""Rows of the map that share their type on the wire with another one."""

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_NUMERIC_TEXT = re.compile(r"\s*+[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?\s*+")
_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})


class NotCarriedError(ValueError):
    """SQL wrote a value that a column of its declared type cannot stand for."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the type map.

    Attributes:
        type: what it is on the wire.
        check: returns the normal form of a JSON value, or raises RequestError.
        normal: returns the normal form of what SQL wrote, or raises NotCarriedError.
        read: returns a stored value as it is shown; None where that is the value itself.
        ordered: it can be sorted by and compared with `$gt` and the like.
        patterned: `$like` and `$ilike` work on it.
    """

    type: ColumnType
    check: Callable[[Column, Any, str], Any]
    normal: Callable[[Any], Any]
    read: Callable[[Any], Any] | None = None
    ordered: bool = True
    patterned: bool = False


def rule_of(column: Column) -> Rule:
    """Return the row of the map that a column follows."""
    return TYPE_MAP[column.rule]


def to_stored(column: Column, value: Any, path: str) -> Any:
    """Return a value as it is bound to a statement that writes it.

    Args:
        column: where it goes; a null is left to the column's constraint.
        value: the decoded JSON value.
        path: where it stands in the request, for the error.

    Raises:
        RequestError: VALIDATION_ERROR if it is not of the column's type, or too long.
    """
    if value is None:
        return None
    stored = rule_of(column).check(column, value, path)
    if column.max_length is not None and len(stored) > column.max_length:
        raise invalid(
            f"The text at '{path}' has {len(stored)} characters; column '{column.name}' takes "
            f"{column.max_length}.",
            reason=Reason.LIMIT,
            field=path,
            limit=column.max_length,
            got=len(stored),
        )
    if column.bits < 64 or column.digits or column.rule == REAL or column.precision < 6:
        _check_width(column, stored, path)
    return stored


def moment_of(column: Column, moment: str) -> str:
    """Return a moment in normal form as a column can hold it: cut, not rounded."""
    if column.precision == 6:
        return moment
    return f"{moment[: 20 + column.precision]:0<26}Z"


def check_size(values: Iterable[Any], path: str) -> None:
    """Refuse stored values that make a row of more than 1 MiB.

    Args:
        values: what is to be written, in its stored form.
        path: where it stands in the request, for the error.

    Raises:
        RequestError: VALUE_TOO_LARGE.
    """
    size = 0
    for value in values:
        if isinstance(value, str):
            size += len(value) if value.isascii() else len(value.encode())
        elif isinstance(value, bytes):
            size += len(value)
    if size > MAX_ROW:
        raise RequestError(
            ErrorCode.VALUE_TOO_LARGE,
            f"The row at '{path}' has {size} bytes; the limit is {MAX_ROW}.",
            field=path,
            limit=MAX_ROW,
            got=size,
        )


def to_operand(column: Column, value: Any, path: str) -> Any:
    """Return a value as it is bound to a comparison with a column.

    Raises:
        RequestError: VALIDATION_ERROR if it is not of the column's type.
    """
    return rule_of(column).check(column, value, path)


def is_stored_as_it_is(column: Column) -> bool:
    """Return whether what a column holds is the JSON value itself."""
    return rule_of(column).read is None


def from_stored(column: Column, value: Any) -> Any:
    """Return what a column holds as a JSON value.

    Raises:
        OutOfRangeError: it holds a number that JSON does not have.
    """
    if value is None:
        return None
    read = rule_of(column).read
    return read(value) if read else value


def normal_form(rule: str, value: Any) -> Any:
    """Return the normal form of what SQL wrote into a column.

    Args:
        rule: the name of the column's row of the map.
        value: as SQLite holds it.

    Raises:
        NotCarriedError: a column of this type cannot stand for it.
    """
    return None if value is None else TYPE_MAP[rule].normal(value)


def is_carried(rule: str, value: Any) -> bool:
    """Return whether what SQL wrote into a column has a normal form."""
    try:
        normal_form(rule, value)
    except NotCarriedError:
        return False
    return True


def is_normal(rule: str, value: Any) -> bool:
    """Return whether what SQL wrote into a column is its own normal form."""
    return is_carried(rule, value) and bool(normal_form(rule, value) == value)


def is_utf8(text: bytes) -> bool:
    """Return whether the bytes of a text are one."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def plain_default(text: str | None, column_type: ColumnType) -> str | None:
    """Return a column's default as it is described, the same from every engine.

    A literal that an engine writes in a form of its own, a float, a moment or a document, is
    written as the service writes it; DEFAULT NULL is no default; an expression stays as it is.
    """
    if text is None or text.upper() == "NULL":
        return None
    if column_type is ColumnType.FLOAT and _NUMBER.fullmatch(text):
        return repr(float(text))
    if column_type is ColumnType.BOOLEAN and is_carried(column_type, text.strip("'")):
        return str(normal_form(column_type, text.strip("'"))).upper()
    if column_type not in (ColumnType.DATETIME, ColumnType.JSON) or not _LITERAL.fullmatch(text):
        return text
    inner = text[1:-1].replace("''", "'")
    if column_type is ColumnType.DATETIME:
        plain = str(_or_itself(_normal_datetime, inner))
    else:
        plain = msgspec.json.encode(read_json(inner), order="sorted").decode()
    return "'" + plain.replace("'", "''") + "'"


def wrong_type(column: Column, value: Any, path: str, expected: str) -> RequestError:
    """Return the error for a value that is not of its column's type."""
    return invalid(
        f"Column '{column.name}' is {column.type}: expected {expected} at '{path}', "
        f"got {kind(value)}.",
        field=path,
        expected=expected,
        got=kind(value),
    )


# --- what a request may write --------------------------------------------------------------------


def _text(column: Column, value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(column, value, path, "a string")
    check_json(value, path)
    return value


def _char(column: Column, value: Any, path: str) -> str:
    text = _text(column, value, path)
    if text.endswith(" "):
        raise invalid(
            f"Column '{column.name}' is CHAR, which has no blanks at the end: take them off the "
            f"text at '{path}', or declare the column as VARCHAR or TEXT.",
            field=path,
        )
    return text


def _other(column: Column, value: Any, path: str) -> str:
    """SQLite keeps digits in a column of a type it does not know as a number."""
    text = _text(column, value, path)
    if not column.native and _NUMERIC_TEXT.fullmatch(text):
        raise invalid(
            f"Column '{column.name}' has a type that the database does not know, so that it would "
            f"keep '{text[:40]}' as a number. Declare the column as TEXT in a migration.",
            field=path,
        )
    return text


def _untyped(column: Column, value: Any, path: str) -> Any:
    if isinstance(value, str):
        return _text(column, value, path)
    if isinstance(value, float):
        return _float(column, value, path)
    return _integer(column, value, path)


def _integer(column: Column, value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(column, value, path, "an integer")
    if not MIN_INTEGER <= value <= MAX_INTEGER:
        check_json(value, path)
    return value


def _float(column: Column, value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(column, value, path, "a number")
    as_float = float(value) if abs(value) <= MAX_INTEGER else value
    if as_float != value or not isinstance(as_float, float):
        raise invalid(
            f"The integer at '{path}' cannot be held exactly by the float column '{column.name}'.",
            field=path,
            got=str(value)[:40],
        )
    return as_float + 0.0  # not every engine keeps the sign of -0.0


def _boolean(column: Column, value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(column, value, path, "true or false")
    return value


def _json(_column: Column, value: Any, path: str) -> str:
    return encode_faithful(value, path).decode()


def _spelled(expected: str, normal: Callable[[Any], Any]) -> Callable[[Column, Any, str], Any]:
    """Return the check of a type that travels as a text of a certain form."""

    def check(column: Column, value: Any, path: str) -> Any:
        if not isinstance(value, str):
            raise wrong_type(column, value, path, expected)
        try:
            return normal(value)
        except NotCarriedError:
            raise invalid(
                f"Column '{column.name}' is {column.type}: expected {expected} at '{path}', got "
                f"'{value[:40]}'.",
                field=path,
                expected=expected,
                got=value[:40],
            ) from None

    return check


def _check_width(column: Column, stored: Any, path: str) -> None:
    """Refuse a number or a moment that a narrow column would refuse or round."""
    if column.rule == ColumnType.INTEGER:
        edge = 2 ** (column.bits - 1)
        if not -edge <= stored < edge:
            raise _too_wide(column, path, f"integers of {column.bits} bits", stored)
    elif column.rule == REAL and _as_real(stored) != stored:
        raise _too_wide(column, path, "floats of 4 bytes, about 7 digits", stored)
    elif column.precision < 6:
        fraction = stored.partition(".")[2].rstrip("0Z")
        if len(fraction) > column.precision:
            told = f"{column.precision} digits behind the second"
            raise _too_wide(column, path, told, stored)
    elif column.digits:
        whole, behind = column.digits[0] - column.digits[1], column.digits[1]
        number = Decimal(repr(stored))
        if abs(number) >= 10**whole or number != round(number, behind):
            told = f"numbers with {whole} digits before the point and {behind} behind it"
            raise _too_wide(column, path, told, stored)


def _too_wide(column: Column, path: str, takes: str, value: Any) -> RequestError:
    return invalid(
        f"Column '{column.name}' takes {takes}; the value at '{path}' does not fit.",
        reason=Reason.LIMIT,
        field=path,
        expected=takes,
        got=str(value)[:40],
    )


def _as_real(number: float) -> float | None:
    """Return how a column of 4 bytes shows a number: with as few digits as tell it apart."""
    try:
        (narrow,) = struct.unpack("f", struct.pack("f", number))
    except OverflowError:
        return None
    shown = (float(f"{narrow:.{digits}g}") for digits in range(6, 10))
    return next(text for text in shown if struct.pack("f", text) == struct.pack("f", narrow))


# --- what SQL may have written -------------------------------------------------------------------


def _normal_text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise NotCarriedError
    return value


def _normal_char(value: Any) -> str:
    return _normal_text(value).rstrip(" ")


def _normal_untyped(value: Any) -> Any:
    return _normal_float(value) if isinstance(value, float) else value


def _normal_integer(value: Any) -> int:
    if not isinstance(value, int):
        raise NotCarriedError
    return value


def _normal_float(value: Any) -> float | int:
    if isinstance(value, str | bytes) or not math.isfinite(value):
        raise NotCarriedError
    return float(value)


def _normal_boolean(value: Any) -> bool:
    """Take the words that PostgreSQL takes for booleans, so that both engines mean the same."""
    word = value.strip().lower() if isinstance(value, str) else str(value)
    if word not in _TRUE | _FALSE:
        raise NotCarriedError
    return word in _TRUE


def _normal_datetime(value: Any) -> str:
    if not isinstance(value, str):
        raise NotCarriedError
    try:
        moment = datetime.fromisoformat(value)
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise NotCarriedError from None
    return aware.isoformat(timespec="microseconds")[:26] + "Z"


def _normal_date(value: Any) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except (ValueError, TypeError):
        raise NotCarriedError from None


def _normal_time(value: Any) -> str:
    try:
        moment = time.fromisoformat(value)
    except (ValueError, TypeError):
        raise NotCarriedError from None
    if moment.tzinfo is not None:
        raise NotCarriedError
    text = moment.isoformat()
    return text.rstrip("0") if "." in text else text


def _normal_uuid(value: Any) -> str:
    try:
        return str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise NotCarriedError from None


def _normal_json(value: Any) -> Any:
    """Return a document; a null document is no document, as for a request."""
    if isinstance(value, int | float):
        return _normal_float(value) if isinstance(value, float) else value
    try:
        document = msgspec.json.decode(value)
        check_json(document, "")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, RequestError):
        raise NotCarriedError from None
    if isinstance(value, bytes):
        raise NotCarriedError
    return None if document is None else value


def _normal_binary(value: Any) -> bytes:
    if isinstance(value, int | float):
        raise NotCarriedError
    return value.encode() if isinstance(value, str) else bytes(value)


def _normal_base64(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise NotCarriedError from None


def _or_itself(normal: Callable[[Any], Any], value: Any) -> Any:
    try:
        return normal(value)
    except NotCarriedError:
        return value


# --- what is shown -------------------------------------------------------------------------------


def _read_float(value: Any) -> Any:
    """Return a number as a float: SQLite gives whole ones back as integers here and there."""
    if not isinstance(value, int | float):
        return value
    if not math.isfinite(value):
        raise OutOfRangeError(f"a float column holds {value}")
    return value + 0.0


def _read_untyped(value: Any) -> Any:
    return _read_binary(value) if isinstance(value, bytes) else value


def _read_datetime(value: Any) -> Any:
    if isinstance(value, str) and len(value) == 27 and value[10] == "T" and value[26] == "Z":
        return value
    return _or_itself(_normal_datetime, value)


def _read_binary(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes | memoryview) else value


_A_DATE = "a date, for example '2026-11-21'"
_A_TIME = "a time of day without a zone, for example '18:30:00'"
_A_UUID = "a UUID, for example '6f2c1c1e-4b7f-4f0e-9d0c-3f1d0e7a9b10'"
_A_MOMENT = "an ISO-8601 datetime, for example '2026-11-21T18:30:00Z'"
_A_BASE64 = "base64 text"

TYPE_MAP: Mapping[str, Rule] = {
    ColumnType.STRING: Rule(ColumnType.STRING, _text, _normal_text, patterned=True),
    ColumnType.TEXT: Rule(ColumnType.TEXT, _text, _normal_text, patterned=True),
    CHAR: Rule(ColumnType.STRING, _char, _normal_char, patterned=True),
    ColumnType.INTEGER: Rule(ColumnType.INTEGER, _integer, _normal_integer),
    ColumnType.FLOAT: Rule(ColumnType.FLOAT, _float, _normal_float, _read_float),
    REAL: Rule(ColumnType.FLOAT, _float, _normal_float, _read_float),
    DECIMAL: Rule(ColumnType.FLOAT, _float, _normal_float, _read_float),
    ColumnType.BOOLEAN: Rule(ColumnType.BOOLEAN, _boolean, _normal_boolean, bool, ordered=False),
    ColumnType.DATETIME: Rule(
        ColumnType.DATETIME, _spelled(_A_MOMENT, _normal_datetime), _normal_datetime, _read_datetime
    ),
    DATE: Rule(ColumnType.TEXT, _spelled(_A_DATE, _normal_date), _normal_date, patterned=True),
    TIME: Rule(ColumnType.TEXT, _spelled(_A_TIME, _normal_time), _normal_time, patterned=True),
    UUID: Rule(ColumnType.TEXT, _spelled(_A_UUID, _normal_uuid), _normal_uuid, patterned=True),
    ColumnType.JSON: Rule(ColumnType.JSON, _json, _normal_json, read_json, ordered=False),
    BINARY: Rule(
        ColumnType.TEXT,
        _spelled(_A_BASE64, _normal_base64),
        _normal_binary,
        _read_binary,
        ordered=False,
    ),
    UNTYPED: Rule(ColumnType.TEXT, _untyped, _normal_untyped, _read_untyped, patterned=True),
    OTHER: Rule(ColumnType.TEXT, _other, _normal_text, patterned=True),
}
"""Every row of the type map, by name."""
