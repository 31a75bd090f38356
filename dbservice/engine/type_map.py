"""Values on their way between JSON and a column (SPEC 2.4).

A value is checked against its column's type and refused if it does not fit; it is never bent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from dbservice.engine.columns import Column
from dbservice.engine.json_values import read_json
from dbservice.protocol.codec import check_json, encode_json
from dbservice.protocol.errors import ErrorCode, Reason, RequestError, invalid
from dbservice.protocol.filters import kind
from dbservice.protocol.limits import MAX_INTEGER, MAX_ROW, MIN_INTEGER
from dbservice.protocol.rows import ColumnType

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
_LITERAL = re.compile(r"'(?:[^']|'')*'")


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
    stored = _CHECKED[column.type](column, value, path)
    if column.max_length is not None and len(stored) > column.max_length:
        raise invalid(
            f"The text at '{path}' has {len(stored)} characters; column '{column.name}' takes "
            f"{column.max_length}.",
            reason=Reason.LIMIT,
            field=path,
            limit=column.max_length,
            got=len(stored),
        )
    return stored


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
    return _CHECKED[column.type](column, value, path)


def is_stored_as_it_is(column: Column) -> bool:
    """Return whether what a column holds is the JSON value itself."""
    return column.type not in _READ


def from_stored(column: Column, value: Any) -> Any:
    """Return what a column holds as a JSON value."""
    if value is None:
        return None
    read = _READ.get(column.type)
    return read(value) if read else value


def plain_default(text: str | None, column_type: ColumnType) -> str | None:
    """Return a column's default as it is described, the same from every engine.

    A literal that an engine writes in a form of its own, a float, a moment or a document, is
    written as the service writes it; DEFAULT NULL is no default; an expression stays as it is.
    """
    if text is None or text.upper() == "NULL":
        return None
    if column_type is ColumnType.FLOAT and _NUMBER.fullmatch(text):
        return repr(float(text))
    if column_type not in (ColumnType.DATETIME, ColumnType.JSON) or not _LITERAL.fullmatch(text):
        return text
    inner = text[1:-1].replace("''", "'")
    if column_type is ColumnType.DATETIME:
        plain = str(_read_datetime(inner))
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


def _text(column: Column, value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(column, value, path, "a string")
    check_json(value, path)
    return value


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


def _datetime(column: Column, value: Any, path: str) -> str:
    expected = "an ISO-8601 datetime, for example '2026-11-21T18:30:00Z'"
    if not isinstance(value, str):
        raise wrong_type(column, value, path, expected)
    try:
        return _utc(value)
    except (ValueError, OverflowError):
        raise invalid(
            f"Column '{column.name}' is datetime: expected {expected} at '{path}', "
            f"got '{value[:40]}'.",
            field=path,
            expected=expected,
            got=value[:40],
        ) from None


def _json(_column: Column, value: Any, path: str) -> str:
    check_json(value, path)
    return encode_json(value).decode()


def _utc(text: str) -> str:
    moment = datetime.fromisoformat(text)
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat(timespec="microseconds")[:26] + "Z"


def _read_float(value: Any) -> Any:
    """Return a number as a float: SQLite gives whole ones back as integers here and there."""
    return value + 0.0 if isinstance(value, int | float) else value


def _read_datetime(value: Any) -> Any:
    if not isinstance(value, str) or (len(value) == 27 and value[10] == "T" and value[26] == "Z"):
        return value
    try:
        return _utc(value)
    except (ValueError, OverflowError):
        return value


_CHECKED: Mapping[ColumnType, Callable[[Column, Any, str], Any]] = {
    ColumnType.STRING: _text,
    ColumnType.TEXT: _text,
    ColumnType.INTEGER: _integer,
    ColumnType.FLOAT: _float,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.DATETIME: _datetime,
    ColumnType.JSON: _json,
}

_READ: Mapping[ColumnType, Callable[[Any], Any]] = {
    ColumnType.FLOAT: _read_float,
    ColumnType.BOOLEAN: bool,
    ColumnType.DATETIME: _read_datetime,
    ColumnType.JSON: read_json,
}
