"""The lines of an export, in their order: header, tables with their rows, keys, answers, end.

Between them stands where each page began, and when it was read.

A table is not described by its DDL, which no two engines share: the header lists the applied
migrations, whose files make the tables again, and a table made by `schema.register` comes with
its fields. Rows are lists in the order of their table's `columns`, each value as the engine
stores it, so that an import gives the same rows bit for bit.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from dbservice.protocol.codec import check_nesting
from dbservice.protocol.errors import RequestError, invalid
from dbservice.protocol.limits import MAX_COLUMNS, MAX_NESTING
from dbservice.protocol.migrations import HistoryEntry
from dbservice.protocol.rows import ColumnType, Field

FORMAT: Literal[1] = 1
Names = Annotated[list[str], Meta(max_length=4 * MAX_COLUMNS)]


class Header(Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag="namespace"):
    """The first line: whose data, and which migrations made its tables."""

    format: Literal[1]
    plugin: str
    engine: str
    exported_at: str
    migrations: list[HistoryEntry]


class _Formatted(Struct, tag_field="is", tag="namespace"):
    """What a header of any format has."""

    format: int


class TableLine(Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag="table"):
    """A table; its rows follow.

    Attributes:
        name: the bare name.
        columns: of which the rows have values.
        sequence: the last id that was given out, where the table gives out ids.
        fields: what `schema.register` makes the table from; None where only a migration can.
    """

    name: str
    columns: Names
    sequence: int | None
    fields: list[Field] | None


class RowLine(Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag="row"):
    """A row of the table above it."""

    values: list[Any]


class KeyLine(Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag="key"):
    """A key, its value as JSON text, and the seconds it has left (null = for ever)."""

    key: str
    value: str
    expires_in: float | None


class AnswerLine(Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag="answer"):
    """The answer to a write that carried an idempotency key; `age` in seconds."""

    key: str
    fingerprint: str
    kind: str
    reply: str
    age: float


class PageLine(Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag="page"):
    """Where a page of the export begins, and when it was read: each page is one snapshot."""

    read_at: str


class EndLine(Struct, frozen=True, forbid_unknown_fields=True, tag_field="is", tag="end"):
    """The last line: how many lines stand above it, and their checksum.

    Attributes:
        lines: the number.
        checksum: of the lines above, as `chained` makes it; None in files that were not exported.
    """

    lines: int
    checksum: str | None = None


Line = Header | TableLine | RowLine | KeyLine | AnswerLine | PageLine | EndLine

_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
_encode = msgspec.json.Encoder().encode


def chained(checksum: str, line: str) -> str:
    """Return the checksum of some lines and one more.

    It is a chain, because an export and an import see a few lines at a time: SHA-256 of the
    checksum so far, in hexadecimal digits, and the line without its end.

    Args:
        checksum: of the lines above it, empty for none.
        line: as it stands in the file.
    """
    return hashlib.sha256(checksum.encode() + line.encode()).hexdigest()


def written(line: Line) -> str:
    """Return a line as text, without its end."""
    return _encode(line).decode()


def read(text: str, number: int) -> Line:
    """Return the line in a text.

    Args:
        text: without its end.
        number: of the line, from 1, for the error.

    Raises:
        RequestError: VALIDATION_ERROR.
    """
    payload = text.encode()
    try:
        check_nesting(payload)
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError) as error:
        written = _format(payload)
        if written != FORMAT:
            raise wrong_line(
                number,
                f"the export has format {written}, and this version of pytest-rosey reads format "
                f"{FORMAT}: upgrade it",
            ) from None
        raise wrong_line(number, f"it is not a line of an export ({error})") from None
    except RequestError:
        raise wrong_line(number, f"it is nested deeper than {MAX_NESTING} levels") from None


def _format(payload: bytes) -> int:
    """Return the format that a header names, whatever else it has; ours if it is no header."""
    try:
        return msgspec.json.decode(payload, type=_Formatted).format
    except (msgspec.MsgspecError, RecursionError):
        return FORMAT


def wrong_line(number: int, why: str) -> RequestError:
    """Return the error for a line that cannot be taken."""
    return invalid(f"Line {number} of the import: {why}.", line=number)


def cell(kind: ColumnType, value: Any) -> Any:
    """Return a stored value as it stands in a row.

    JSON has neither bytes nor infinity; and SQLite keeps booleans as 0 and 1, which PostgreSQL
    would not take, and whole numbers of a NUMERIC column as integers.
    """
    match value:
        case 0 | 1 if kind is ColumnType.BOOLEAN:
            return bool(value)
        case int() if kind is ColumnType.FLOAT:
            return float(value)
        case bytes():
            return {"bytes": base64.b64encode(value).decode()}
        case float() if not math.isfinite(value):
            return {"float": repr(value)}
        case _:
            return value


def stored(value: Any, number: int) -> Any:
    """Return the value that `cell` was given.

    Raises:
        RequestError: VALIDATION_ERROR if no column can hold it.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case {"bytes": str(text)} if len(value) == 1:
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error:
                raise wrong_line(number, "it has bytes that are not base64") from None
        case {"float": "inf" | "-inf" | "nan" as text} if len(value) == 1:
            return float(text)
        case _:
            raise wrong_line(number, "it has a value that no column holds")
