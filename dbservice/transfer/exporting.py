"""Describing a namespace, and writing it out a page at a time (SPEC 2.1)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from dbservice.engine.columns import Column
from dbservice.engine.dialect import dialect_of
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.tables import Table
from dbservice.migrate import Migrator
from dbservice.protocol.errors import RequestError, invalid
from dbservice.protocol.limits import MAX_EXPORT_PAGE
from dbservice.protocol.names import Namespace
from dbservice.protocol.rows import ColumnType, Field
from dbservice.protocol.system import (
    DescribeNamespace,
    Export,
    Exported,
    NamespaceDescribed,
    TableSummary,
)
from dbservice.runtime.clock import Clock, timestamp
from dbservice.sqltext.dialects import Dialect
from dbservice.storage.catalog import Catalog
from dbservice.storage.idempotency import AnswerStore
from dbservice.storage.keys import KeyStore
from dbservice.storage.schemas import RESERVED, described
from dbservice.transfer.layout import Layout
from dbservice.transfer.lines import (
    FORMAT,
    AnswerLine,
    EndLine,
    Header,
    KeyLine,
    PageLine,
    RowLine,
    TableLine,
    cell,
    chained,
    written,
)

_AT_ONCE = 64
"""Rows or keys that are read together, and no more of them than fill a page."""


class Position(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How far an export has come: what a cursor holds.

    Attributes:
        section: `header`, `table`, `keys`, `answers`, `end` or `done`.
        table: the bare name, in the section `table`.
        after: the position of the last row, or the last key; None before the first.
        lines: how many whole lines were sent.
        checksum: of these lines.
        offset: how many characters of the next line were sent.
        digest: of that line, to notice that it changed meanwhile.
        migrations: of the bookkeeping, for the same reason.
    """

    section: str = "header"
    table: str = ""
    after: list[Any] | None = None
    lines: int = 0
    checksum: str = ""
    offset: int = 0
    digest: str = ""
    migrations: str = ""


Batch = list[tuple[str, Position]]
"""Lines, each with the position behind it."""


class Exporter:
    """Reads whole namespaces.

    Args:
        dialect: of the engine.
        migrator: knows the bookkeeping.
        clock: decides what has expired.
    """

    def __init__(self, dialect: Dialect, migrator: Migrator, clock: Clock) -> None:
        self._dialect = dialect
        self._migrator = migrator
        self._clock = clock
        self._catalog = Catalog(dialect_of(dialect))
        self._keys = KeyStore(clock, dialect_of(dialect))
        self._answers = AnswerStore(clock, dialect_of(dialect))
        self._layout = Layout(dialect)

    def describe(
        self, namespace: Namespace, _request: DescribeNamespace
    ) -> Steps[NamespaceDescribed]:
        """Return what a plugin owns."""
        tables = []
        for table in (yield from self._tables(namespace)):
            counted = yield Statement(f"SELECT COUNT(*) FROM {table.sql}")  # noqa: S608 - quoted
            columns = [described(column) for column in table.columns.values()]
            tables.append(
                TableSummary(name=table.name, columns=columns, row_count=counted.rows[0][0])
            )
        keys = yield from self._keys.number(namespace)
        history = yield from self._migrator.history(namespace)
        return NamespaceDescribed(
            tables=tables, keys=keys, migrations=[entry.name for entry in history]
        )

    def export(self, namespace: Namespace, request: Export) -> Steps[Exported]:
        """Return the next page.

        Raises:
            RequestError: VALIDATION_ERROR if the cursor is none, or what it points at changed.
        """
        position = Position() if request.after is UNSET else _opened(request.after)
        position = yield from self._checked(namespace, position)
        parts, room = self._page_line(position, request.limit), request.limit
        nothing_yet = len(parts)
        for line in parts:
            position = _behind(position, line.rstrip("\n"))
            room -= len(line)
        while batch := (yield from self._batch(namespace, position)):
            for line, behind in batch:
                rest = _rest(line, position)
                if len(rest) > room:
                    if len(parts) == nothing_yet:
                        parts.append(rest[:room])
                        position = _within(position, line, room)
                    return Exported(text="".join(parts), next=_closed(position))
                parts.append(rest)
                room -= len(rest)
                position = behind
        return Exported(text="".join(parts))

    def _page_line(self, position: Position, limit: int) -> list[str]:
        """Return the line that says when a page was read, where it can stand."""
        if position == Position(migrations=position.migrations) or position.offset:
            return []  # the header says it of the first; within a line there is no place for it
        line = written(PageLine(read_at=timestamp(self._clock.time()))) + "\n"
        return [line] if 2 * len(line) < limit else []

    def _checked(self, namespace: Namespace, position: Position) -> Steps[Position]:
        """Refuse to go on with an export whose tables were migrated meanwhile."""
        history = yield from self._migrator.history(namespace)
        digest = _digest(" ".join(entry.checksum for entry in history))
        if position.migrations not in ("", digest):
            raise _changed("The tables were migrated")
        return msgspec.structs.replace(position, migrations=digest)

    def _batch(self, namespace: Namespace, position: Position) -> Steps[Batch]:
        """Return the next lines; none when the last was sent."""
        match position.section:
            case "header":
                return (yield from self._header(namespace, position))
            case "table":
                return (yield from self._table(namespace, position))
            case "keys":
                return (yield from self._key_lines(namespace, position))
            case "answers":
                return (yield from self._answer_lines(namespace, position))
            case "end":
                end = written(EndLine(lines=position.lines, checksum=position.checksum))
                return [(end, _behind(position, end, section="done"))]
            case _:
                return []

    def _header(self, namespace: Namespace, position: Position) -> Steps[Batch]:
        header = Header(
            format=FORMAT,
            plugin=namespace.plugin,
            engine=self._dialect,
            exported_at=timestamp(self._clock.time()),
            migrations=(yield from self._migrator.history(namespace)),
        )
        section, table = yield from self._next_table(namespace, "")
        line = written(header)
        return [(line, _behind(position, line, section=section, table=table))]

    def _next_table(self, namespace: Namespace, last: str) -> Steps[tuple[str, str]]:
        """Return the section behind a table: the next one, or the keys."""
        names = yield from self._names(namespace)
        name = next((name for name in names if name > last), None)
        return ("keys", "") if name is None else ("table", name)

    def _table(self, namespace: Namespace, position: Position) -> Steps[Batch]:
        table = yield from self._catalog.find(namespace, position.table)
        if table is None:
            raise _changed(f"The table '{position.table}' was dropped")
        columns = yield from self._layout.columns(table)
        if position.after is None:
            described = TableLine(
                name=table.name,
                columns=columns,
                sequence=(yield from self._layout.sequence(table)),
                fields=registered_fields(table),
            )
            line = written(described)
            return [(line, _behind(position, line, after=[]))]
        batch = yield from self._rows(table, columns, position)
        if batch:
            return batch
        section, name = yield from self._next_table(namespace, table.name)
        moved = msgspec.structs.replace(position, section=section, table=name, after=None)
        return (yield from self._batch(namespace, moved))

    def _rows(self, table: Table, columns: Sequence[str], position: Position) -> Steps[Batch]:
        key = yield from self._layout.position(table)
        after = position.after or []
        behind = f"WHERE ({', '.join(key)}) > ({', '.join('?' * len(key))})" if after else ""
        shown = table.dialect.shown
        result = yield Statement(
            f"SELECT {', '.join([*key, *(shown(table.columns[name]) for name in columns)])} "  # noqa: S608 - quoted
            f"FROM {table.sql} {behind} ORDER BY {', '.join(key)} LIMIT ?",
            (*(tuple(part) if isinstance(part, list) else part for part in after), _AT_ONCE),
            max_weight=MAX_EXPORT_PAGE,
        )
        batch: Batch = []
        for row in result.rows:
            values = zip(columns, row[len(key) :], strict=True)
            cells = [cell(table.columns[name].type, value) for name, value in values]
            line = written(RowLine(values=cells))
            position = _behind(position, line, after=list(row[: len(key)]))
            batch.append((line, position))
        return batch

    def _key_lines(self, namespace: Namespace, position: Position) -> Steps[Batch]:
        after = position.after[0] if position.after else ""
        batch: Batch = []
        for key, value, seconds in (yield from self._keys.copied(namespace, after, _AT_ONCE)):
            line = written(KeyLine(key=key, value=value, expires_in=seconds))
            position = _behind(position, line, after=[key])
            batch.append((line, position))
        moved = msgspec.structs.replace(position, section="answers", after=None)
        return batch or (yield from self._batch(namespace, moved))

    def _answer_lines(self, namespace: Namespace, position: Position) -> Steps[Batch]:
        after = position.after[0] if position.after else ""
        batch: Batch = []
        for answer in (yield from self._answers.copied(namespace, after, _AT_ONCE)):
            line = written(AnswerLine(*answer))
            position = _behind(position, line, after=[answer[0]])
            batch.append((line, position))
        moved = msgspec.structs.replace(position, section="end", after=None)
        return batch or (yield from self._batch(namespace, moved))

    def _tables(self, namespace: Namespace) -> Steps[list[Table]]:
        tables = []
        for name in (yield from self._names(namespace)):
            table = yield from self._catalog.find(namespace, name)
            if table is not None:
                tables.append(table)
        return tables

    def _names(self, namespace: Namespace) -> Steps[list[str]]:
        full_names = yield from self._catalog.full_names(namespace)
        return sorted(name.removeprefix(namespace.prefix) for name in full_names)


def registered_fields(table: Table) -> list[Field] | None:
    """Return the fields that `schema.register` makes a table from; None if it makes no such."""
    names = list(table.columns)
    if [*names[:1], *names[-2:]] != list(RESERVED) or table.id_column is None:
        return None
    try:
        return [_field(table, column) for column in list(table.columns.values())[1:-2]]
    except ValueError:
        return None


def _field(table: Table, column: Column) -> Field:
    return Field(
        name=column.name,
        type=column.type,
        required=not column.nullable,
        default=_default(column),
        max_length=UNSET if column.max_length is None else column.max_length,
        search=table.search_index(column) is not None,
        unique=any(index.unique and index.columns == (column.name,) for index in table.indexes),
    )


def _default(column: Column) -> Any:
    """Return the value of a default that is a literal.

    Raises:
        ValueError: it is something else.
    """
    text = column.default
    if text is None:
        return UNSET
    if text in ("NULL", "TRUE", "FALSE"):
        return {"NULL": None, "TRUE": True, "FALSE": False}[text]
    if text.startswith("'") and text.endswith("'"):
        inner = text[1:-1].replace("''", "'")
        return msgspec.json.decode(inner) if column.type is ColumnType.JSON else inner
    if column.type is ColumnType.JSON:
        return msgspec.json.decode(text)
    return int(text) if column.type is ColumnType.INTEGER else float(text)


def _behind(position: Position, line: str, **changes: Any) -> Position:
    return msgspec.structs.replace(
        position,
        lines=position.lines + 1,
        checksum=chained(position.checksum, line),
        offset=0,
        digest="",
        **changes,
    )


def _rest(line: str, position: Position) -> str:
    """Return what was not yet sent of a line."""
    if position.offset and position.digest != _digest(line):
        raise _changed("A row that is longer than a page was changed")
    return line[position.offset :] + "\n"


def _within(position: Position, line: str, count: int) -> Position:
    return msgspec.structs.replace(position, offset=position.offset + count, digest=_digest(line))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _closed(position: Position) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode()


def _opened(cursor: str) -> Position:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor.encode()), type=Position)
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        raise invalid(
            "'after' is not a cursor of an export: send the 'next' of the page before.",
            field="after",
        ) from None


def _changed(what: str) -> RequestError:
    return invalid(f"{what} while it was being exported. Start the export again.", field="after")
