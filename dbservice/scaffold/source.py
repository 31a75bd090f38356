"""An existing SQLite database, read-only, and what its tables become (SPEC 7, `scaffold`)."""

from __future__ import annotations

import base64
import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from dbservice.engine.columns import Column as ServedColumn
from dbservice.engine.sqlite_tables import load
from dbservice.engine.steps import Result, Steps, T
from dbservice.engine.type_map import to_stored
from dbservice.migrate.structure import (
    AUTOINCREMENT,
    Column,
    ForeignKey,
    Structure,
    Table,
    read,
)
from dbservice.protocol.limits import MAX_IDENTIFIER
from dbservice.protocol.names import Namespace
from dbservice.protocol.rows import ColumnType
from dbservice.scaffold.renaming import Names
from dbservice.scaffold.types import Typed, typed
from dbservice.sqltext.dialects import Dialect, quoted
from dbservice.storage.own_tables import NAMESPACES

_SHADOWS = (
    *("config", "content", "data", "docsize", "idx", "segdir", "segments", "stat"),
    *("node", "parent", "rowid"),
)
"""What the names of the tables behind a virtual one end with."""
_NOT_UTF8 = "not UTF-8, what cannot be read is replaced by \N{REPLACEMENT CHARACTER}"


class SourceError(Exception):
    """The database cannot be read; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table with its new names and types.

    Attributes:
        table: as it is in the existing database.
        name: its new bare name.
        columns: new column names by old ones.
        types: what each column becomes, by its old name.
        foreign_keys: those that the data fulfils.
        later: those of them that refer to a table which is made after this one, old names.
        rows: how many rows it has.
        counter: the highest id that was ever given, with AUTOINCREMENT; else 0.
    """

    table: Table
    name: str
    columns: Mapping[str, str]
    types: Mapping[str, Typed]
    foreign_keys: tuple[ForeignKey, ...]
    later: tuple[ForeignKey, ...]
    rows: int
    counter: int

    @property
    def stored(self) -> list[str]:
        """The old names of the columns that rows are imported into."""
        return [name for name, column in self.table.columns.items() if not column.generated]


class Source:
    """An existing database; use it with `with`.

    Args:
        path: of the file.
        namespace: of the plugin that gets its tables.

    Attributes:
        tables: parents before children.
        views: the command of each view, by its old name.
        names: new names of tables, indexes, triggers and views.
        notes: what could not be carried over, or changed.

    Raises:
        SourceError: it is no database of one program, cannot be opened, or has no tables.
    """

    def __init__(self, path: Path, namespace: Namespace) -> None:
        self._texts = _Texts()
        self._connection = _opened(path, self._texts)
        self.notes: list[str] = []
        self.names = Names(MAX_IDENTIFIER - len(namespace.prefix))
        try:
            self._structure = self._read(path)
            if self._texts.damaged:
                self.notes.append(f"some definitions are {_NOT_UTF8}")
            self.views = self._structure.views
            self.tables = [self._table(table) for table in self._name_everything()]
        except sqlite3.Error as error:
            self._connection.close()
            raise SourceError(f"'{path}' cannot be read: {error}.") from error
        except BaseException:
            self._connection.close()
            raise
        if not self.tables:
            self._connection.close()
            raise SourceError(f"'{path}' has no tables that could be carried over.")
        self._note_names()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def rows(self, table: SourceTable) -> Iterator[list[Any]]:
        """Yield the rows of a table as the service would store them, in the order of `stored`."""
        names = ", ".join(map(quoted, table.stored))
        order = ", ".join(map(quoted, table.table.primary_key)) or "1"
        found = self._connection.execute(
            f"SELECT {names} FROM {quoted(table.table.full_name)} ORDER BY {order}"  # noqa: S608
        )
        kinds = [table.types[name].type for name in table.stored]
        for row in found:
            yield [_stored(kind, value) for kind, value in zip(kinds, row, strict=True)]

    def last_id(self, table: SourceTable) -> int | None:
        """Return the highest id that was given out; None if the table gives out none."""
        key = table.table.counts_itself
        if not key:
            return None
        highest = self._connection.execute(
            f"SELECT max({quoted(key)}) FROM {quoted(table.table.full_name)}"  # noqa: S608
        ).fetchone()[0]
        return max(table.counter, highest or 0)

    # --- reading -----------------------------------------------------------------------------

    def _read(self, path: Path) -> Structure:
        if self._names_of(f"name = '{NAMESPACES}'"):
            raise SourceError(
                f"'{path}' is a database of the service, not of one plugin. What a plugin has "
                f"there: rosey export PLUGIN FILE --db {path}"
            )
        virtual = self._names_of("sql LIKE 'CREATE VIRTUAL%'")
        shadows = {f"{name}_{end}" for name in virtual for end in _SHADOWS}
        for name in virtual:
            self.notes.append(f"virtual table {name}: left out, it runs an extension's code")
        return self._drive(read(Dialect.SQLITE, "", skip=frozenset(virtual | shadows)))

    def _names_of(self, condition: str) -> set[str]:
        asked = f"SELECT name FROM sqlite_master WHERE type = 'table' AND {condition}"  # noqa: S608
        return {row[0] for row in self._connection.execute(asked)}

    def _name_everything(self) -> Sequence[Table]:
        ordered = self._structure.parents_first()
        for table in ordered:
            self.names.give(table.name)
        for table in ordered:
            for name in (*(index.name for index in table.indexes), *table.triggers):
                self.names.give(name)
        for name in self.views:
            self.names.give(name)
        return ordered

    def _table(self, table: Table) -> SourceTable:
        columns = Names()
        for name in table.columns:
            columns.give(name)
        served = self._drive(load(table.name, table.full_name))
        assert served is not None
        types = {
            name: typed(self._connection, table.full_name, column, served.columns[name])
            for name, column in table.columns.items()
        }
        for name, kind in types.items():
            if kind.remark:
                self.notes.append(
                    f"column {table.name}.{name}: {kind.remark}; it becomes {kind.sqlite}"
                )
        for old, new in columns.changed.items():
            self.notes.append(f"column {table.name}.'{old}' is renamed to {new}")
        self._note_damaged(table)
        keys = self._sound_keys(table)
        count = self._connection.execute(
            f"SELECT count(*) FROM {quoted(table.full_name)}"  # noqa: S608
        ).fetchone()[0]
        return SourceTable(
            table,
            self.names.given[table.name],
            columns.given,
            types,
            keys,
            tuple(key for key in keys if self._comes_later(table, key)),
            count,
            self._counter(table),
        )

    def _note_damaged(self, table: Table) -> None:
        for column in table.columns.values():
            if damaged := 0 if column.generated else self._damaged(table, column):
                values = "1 value is" if damaged == 1 else f"{damaged} values are"
                self.notes.append(f"column {table.name}.{column.name}: {values} {_NOT_UTF8}")

    def _damaged(self, table: Table, column: Column) -> int:
        """Return how many texts of a column are not UTF-8."""
        before, name = self._texts.damaged, quoted(column.name)
        texts = self._connection.execute(
            f"SELECT {name} FROM {quoted(table.full_name)} WHERE typeof({name}) = 'text'"  # noqa: S608
        )
        deque(texts, maxlen=0)  # reading them counts
        return self._texts.damaged - before

    def _comes_later(self, table: Table, key: ForeignKey) -> bool:
        ordered = [each.name for each in self._structure.parents_first()]
        return ordered.index(_found(key.table, ordered)) > ordered.index(table.name)

    def _counter(self, table: Table) -> int:
        if AUTOINCREMENT not in table.options:
            return 0
        found = self._connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = ?", (table.full_name,)
        ).fetchone()
        return int(found[0] or 0) if found else 0

    def _sound_keys(self, table: Table) -> tuple[ForeignKey, ...]:
        kept = []
        for key in table.foreign_keys:
            if reason := self._unsound(table, key):
                told = ", ".join(key.columns)
                self.notes.append(
                    f"foreign key {table.name} ({told}) to {key.table}: left out, {reason}"
                )
            else:
                kept.append(key)
        return tuple(kept)

    def _unsound(self, table: Table, key: ForeignKey) -> str:
        parent = self._structure.tables.get(_found(key.table, self._structure.tables))
        if parent is None:
            return "there is no such table"
        wanted = {column.lower() for column in key.referred}
        if not any(wanted == {name.lower() for name in unique} for unique in parent.unique_keys):
            return "the columns it refers to are not unique"
        if self._has_orphans(table, key):
            return "rows refer to rows that are not there"
        return ""

    def _has_orphans(self, table: Table, key: ForeignKey) -> bool:
        child = [f"child.{quoted(column)}" for column in key.columns]
        parent = [f"parent.{quoted(column)}" for column in key.referred]
        pairs = " AND ".join(f"{c} = {p}" for c, p in zip(child, parent, strict=True))
        given = " AND ".join(f"{column} IS NOT NULL" for column in child)
        asked = self._connection.execute(
            f"SELECT 1 FROM {quoted(table.full_name)} AS child WHERE {given} AND NOT EXISTS "  # noqa: S608
            f"(SELECT 1 FROM {quoted(key.table)} AS parent WHERE {pairs}) LIMIT 1"
        )
        return asked.fetchone() is not None

    def _note_names(self) -> None:
        for old, new in self.names.changed.items():
            self.notes.append(f"'{old}' is renamed to {new}")
        every = [*self.names.given, *(name for table in self.tables for name in table.columns)]
        if any(name != name.lower() for name in every):
            self.notes.append("names are written in lower case, as PostgreSQL reads them anyway")

    def _drive(self, steps: Steps[T]) -> T:
        try:
            statement = next(steps)
            while True:
                cursor = self._connection.execute(statement.sql, tuple(statement.parameters))
                statement = steps.send(Result(cursor.fetchall(), cursor.rowcount))
        except StopIteration as stop:
            answer: T = stop.value
            return answer


def _found(name: str, among: Sequence[str] | Mapping[str, Any]) -> str:
    """Return how `among` spells a name; SQLite does not care about case."""
    return next((each for each in among if each.lower() == name.lower()), name)


class _Texts:
    """Reads texts as UTF-8. SQLite keeps whatever bytes were written.

    Attributes:
        damaged: how many texts were not UTF-8.
    """

    def __init__(self) -> None:
        self.damaged = 0

    def __call__(self, raw: bytes) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.damaged += 1
            return raw.decode(errors="replace")


def _opened(path: Path, texts: _Texts) -> sqlite3.Connection:
    if not path.is_file():
        raise SourceError(f"There is no file '{path}': name an SQLite database.")
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, isolation_level=None
        )
        connection.text_factory = texts
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise SourceError(
            f"'{path}' cannot be read as an SQLite database: {error}. Nothing was changed."
        ) from error
    return connection


def _stored(kind: ColumnType, value: Any) -> Any:
    if value is None:
        return None
    if kind is ColumnType.DATETIME:
        return to_stored(ServedColumn("", kind), value, "")
    return as_text(value) if kind in (ColumnType.TEXT, ColumnType.STRING) else value


def as_text(value: Any) -> str:
    """Return a value of any storage class as text; binary ones in base64."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
