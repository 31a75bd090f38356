"""Migrations that make an existing SQLite database's tables anew (SPEC 7, `rosey scaffold`).

Tables, indexes and views are migration 001. Triggers are 002, so that rows can be imported in
between without setting them off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

from dbservice.engine.indexes import Index
from dbservice.migrate.files import Direction, parse
from dbservice.migrate.script import prepare
from dbservice.migrate.structure import (
    AUTOINCREMENT,
    STRICT,
    WITHOUT_ROWID,
    Column,
    ForeignKey,
)
from dbservice.protocol.names import Namespace
from dbservice.protocol.rows import ColumnType
from dbservice.scaffold.renaming import printable, rewritten, spelled
from dbservice.scaffold.sandbox import Sandbox
from dbservice.scaffold.source import Source, SourceError, SourceTable
from dbservice.scaffold.types import fits_strict
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.keywords import words
from dbservice.sqltext.lexer import Kind, SqlError, Token, commands, tokens
from dbservice.sqltext.qualify import qualify
from dbservice.sqltext.sequence import TABLE as COUNTERS

TABLES_FILE = "001_create_tables.sql"
TRIGGERS_FILE = "002_create_triggers.sql"

_SQLITE, _POSTGRESQL = Dialect.SQLITE, Dialect.POSTGRESQL
_NUMBERS = frozenset({ColumnType.INTEGER, ColumnType.FLOAT})
_TEXTS = frozenset({ColumnType.TEXT, ColumnType.STRING})
_PORTABLE = words(
    """
    ABS AND BETWEEN CASE COALESCE ELSE END IN IS LENGTH LIKE LOWER NOT NULL OR THEN TRIM UPPER WHEN
    """
)
_OF_TEXT = frozenset({"LENGTH", "LOWER", "UPPER", "TRIM", "LIKE"})
_COLLATIONS = ("BINARY", "NOCASE", "RTRIM")
_LIKE_A_SECTION = re.compile(r"--\s*(?:UP|DOWN|IRREVERSIBLE)")
_MAY_CALL = _PORTABLE | words("AS COUNT FROM JOIN MAX MIN ON SELECT SUM USING WHERE")


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What was made of a database.

    Attributes:
        files: the text of each migration, by its file name.
        notes: what could not be carried over, or changed.
    """

    files: dict[str, str]
    notes: list[str]


def scaffold(source: Source, namespace: Namespace, origin: str) -> Scaffold:
    """Return the migrations for the tables of an existing database.

    Every statement was checked as `apply` checks it, and those for SQLite were executed on a
    database in memory. What was refused there is left out and noted.

    Args:
        source: the database.
        namespace: of the plugin that gets the tables.
        origin: its file name, for the header.
    """
    with closing(Sandbox(namespace)) as sandbox:
        return _Writer(source, namespace, origin, sandbox).write()


class _Writer:
    """Writes the migrations of one database."""

    def __init__(self, source: Source, namespace: Namespace, origin: str, sandbox: Sandbox) -> None:
        self._source = source
        self._namespace = namespace
        self._origin = printable(origin)
        self._notes = list(source.notes)
        self._names = {
            old.lower(): new
            for table in reversed(source.tables)
            for old, new in table.columns.items()
        }
        self._names |= {old.lower(): new for old, new in source.names.given.items()}
        self._sandbox = sandbox

    def write(self) -> Scaffold:
        tables = {d: [self._create(table, d) for table in self._source.tables] for d in Dialect}
        for sql in tables[_SQLITE]:
            if reason := self._sandbox.refusal(sql):
                raise SourceError(f"A table cannot be made again: {reason}\n{sql}")
        indexes = {d: list(self._indexes(d)) for d in Dialect}
        views = {d: list(self._views(d)) for d in Dialect}
        up = {d: [*tables[d], *indexes[d], *(sql for _, sql in views[d])] for d in Dialect}
        up[_SQLITE] += self._counters()
        self._note_resolutions()
        up[_POSTGRESQL] += self._later_keys()
        down = {d: [*self._drops(name for name, _ in views[d])] for d in Dialect}
        dropped = [f"DROP TABLE {spelled(table.name)}" for table in reversed(self._source.tables)]
        loops = [f"DROP TABLE {spelled(table.name)} CASCADE" for table in self._source.tables]
        has_loops = any(table.later for table in self._source.tables)
        text = self._file(
            TABLES_FILE,
            f"Create the tables of {self._origin}",
            up,
            {
                _SQLITE: down[_SQLITE] + dropped,
                _POSTGRESQL: down[_POSTGRESQL] + (loops if has_loops else dropped),
            },
        )
        files = {TABLES_FILE: text}
        if triggers := list(self._triggers()):
            files[TRIGGERS_FILE] = self._triggers_file(triggers)
        for name, content in files.items():
            self._check(name, content)
        return Scaffold(files, list(dict.fromkeys(map(printable, self._notes))))

    # --- tables ------------------------------------------------------------------------------

    def _create(self, table: SourceTable, dialect: Dialect) -> str:
        own = self._own_names(table)
        lines = [
            self._column(table, column, own, dialect) for column in table.table.columns.values()
        ]
        lines += self._table_constraints(table, own, dialect)
        body = ",\n    ".join(lines)
        return f"CREATE TABLE {spelled(table.name)} (\n    {body}\n){self._options(table, dialect)}"

    def _own_names(self, table: SourceTable) -> dict[str, str]:
        return self._names | {old.lower(): new for old, new in table.columns.items()}

    def _options(self, table: SourceTable, dialect: Dialect) -> str:
        if dialect is _POSTGRESQL:
            return ""
        options = [WITHOUT_ROWID] if WITHOUT_ROWID in table.table.options else []
        if STRICT in table.table.options:
            if all(fits_strict(kind.sqlite) for kind in table.types.values()):
                options.append(STRICT)
            else:
                self._notes.append(f"table {table.table.name}: no longer STRICT")
        return f" {', '.join(options)}" if options else ""

    def _column(
        self, table: SourceTable, column: Column, own: dict[str, str], dialect: Dialect
    ) -> str:
        kind, name = table.types[column.name], spelled(table.columns[column.name])
        is_key = table.table.primary_key == (column.name,)
        if is_key and table.table.counts_itself == column.name:
            return f"{name} {self._counting(table, dialect)}"
        parts = [name, kind.sqlite if dialect is _SQLITE else kind.postgresql]
        parts += ["NOT NULL"] if column.required else []
        parts += ["PRIMARY KEY"] if is_key else []
        parts += [text for text in (self._default(table, column, own, dialect),) if text]
        if column.collation in _COLLATIONS and dialect is _SQLITE:
            parts.append(f"COLLATE {column.collation}")
        elif column.collation:
            self._notes.append(
                f"column {table.table.name}.{column.name}: COLLATE {column.collation} has no "
                f"counterpart on {dialect}"
            )
        parts += [text for text in (self._generated(table, column, own, dialect),) if text]
        return " ".join(parts)

    def _counting(self, table: SourceTable, dialect: Dialect) -> str:
        counts = AUTOINCREMENT in table.table.options
        if dialect is _SQLITE:
            return "INTEGER PRIMARY KEY AUTOINCREMENT" if counts else "INTEGER PRIMARY KEY"
        start = f" (START WITH {table.counter + 1})" if table.counter else ""
        return f"BIGINT GENERATED BY DEFAULT AS IDENTITY{start} PRIMARY KEY"

    def _default(
        self, table: SourceTable, column: Column, own: dict[str, str], dialect: Dialect
    ) -> str:
        if column.default is None or column.default.upper() == "NULL":
            return ""
        what = f"default of {table.table.name}.{column.name}"
        found = list(tokens(column.default, _SQLITE))
        is_simple = len(found) == 1 or (len(found) == 2 and found[0].text in "+-")
        text = column.default if is_simple else f"({column.default})"
        if found[0].kind is Kind.QUOTED_NAME:
            text = "'" + found[0].name.replace("'", "''") + "'"
        elif not is_simple:
            text = rewritten(text, own)
        if dialect is _POSTGRESQL:
            text = _default_on_postgresql(text, table.types[column.name].type, found)
        if not text or self._refused(f"SELECT {text}", dialect, what):
            if not text:
                self._notes.append(f"{what}: left out on PostgreSQL ({column.default})")
            return ""
        return f"DEFAULT {text}"

    def _generated(
        self, table: SourceTable, column: Column, own: dict[str, str], dialect: Dialect
    ) -> str:
        if not column.generated:
            return ""
        what = f"generated column {table.table.name}.{column.name}"
        text = rewritten(column.generated, own)
        if dialect is _POSTGRESQL and not self._is_portable(table, column.generated):
            self._notes.append(f"{what}: an ordinary, empty column on PostgreSQL")
            return ""
        if self._refused(f"SELECT {text}", dialect, what):
            return ""
        return f"GENERATED ALWAYS AS ({text}) STORED"

    def _table_constraints(
        self, table: SourceTable, own: dict[str, str], dialect: Dialect
    ) -> Iterator[str]:
        key = table.table.primary_key
        if len(key) > 1:
            yield f"PRIMARY KEY ({self._listed(table, key)})"
        for unique in table.table.uniques:
            yield f"UNIQUE ({self._listed(table, unique)})"
        for check in table.table.checks:
            text = rewritten(check, own)
            what = f"CHECK ({check}) of {table.table.name}"
            if dialect is _POSTGRESQL and not self._is_portable(table, check):
                if "json_valid" not in check.lower():
                    self._notes.append(f"{what}: left out on PostgreSQL")
            elif not self._refused(f"SELECT {text}", dialect, what):
                yield f"CHECK ({text})"
        for foreign in table.foreign_keys:
            if dialect is _SQLITE or foreign not in table.later:
                yield self._foreign_key(table, foreign)

    def _note_resolutions(self) -> None:
        """Note ON CONFLICT clauses: the service answers that a row is refused, so it has to be."""
        for table in self._source.tables:
            for column, text in table.table.resolutions:
                name = table.table.name
                what = f"column {name}.{column}" if column else f"table {name}"
                self._notes.append(
                    f"{what}: '{text}' loses its ON CONFLICT clause, rows that break the "
                    "constraint are refused"
                )

    def _foreign_key(self, table: SourceTable, key: ForeignKey) -> str:
        parent = self._table_named(key.table)
        text = f"FOREIGN KEY ({self._listed(table, key.columns)}) REFERENCES "
        text += f"{spelled(parent.name)} ({self._listed(parent, key.referred)})"
        text += f" ON UPDATE {key.on_update}" if key.on_update != "NO ACTION" else ""
        text += f" ON DELETE {key.on_delete}" if key.on_delete != "NO ACTION" else ""
        return text + (" DEFERRABLE INITIALLY DEFERRED" if key.deferred else "")

    def _later_keys(self) -> Iterator[str]:
        for table in self._source.tables:
            for key in table.later:
                yield f"ALTER TABLE {spelled(table.name)} ADD {self._foreign_key(table, key)}"

    def _table_named(self, name: str) -> SourceTable:
        return next(t for t in self._source.tables if t.table.name.lower() == name.lower())

    def _listed(self, table: SourceTable, columns: Sequence[str]) -> str:
        names = {old.lower(): new for old, new in table.columns.items()}
        return ", ".join(spelled(names[column.lower()]) for column in columns)

    def _counters(self) -> Iterator[str]:
        """Ids of rows that were deleted are not given again."""
        for table in self._source.tables:
            if table.counter:
                row = f"('{table.name}', {table.counter})"
                yield f"INSERT INTO {COUNTERS} (name, seq) VALUES {row}"  # noqa: S608 - checked

    # --- indexes, views, triggers ------------------------------------------------------------

    def _indexes(self, dialect: Dialect) -> Iterator[str]:
        for table in self._source.tables:
            for index in table.table.indexes:
                text = rewritten(index.sql, self._own_names(table))
                what = f"index {index.name}"
                if dialect is _POSTGRESQL and not self._index_is_portable(table, index):
                    self._notes.append(f"{what}: left out on PostgreSQL")
                elif self._runs(text, dialect, what):
                    yield text

    def _index_is_portable(self, table: SourceTable, index: Index) -> bool:
        found = list(tokens(index.sql, _SQLITE))
        said = [token.keyword for token in found]
        if not index.columns or "COLLATE" in said:
            return False
        condition = found[said.index("WHERE") + 1 :] if "WHERE" in said else ()
        return not condition or self._is_portable(table, _source(index.sql, condition))

    def _views(self, dialect: Dialect) -> Iterator[tuple[str, str]]:
        waiting = dict(self._source.views)
        while waiting:
            ready = [
                name
                for name, sql in waiting.items()
                if not any(_mentions(sql, other) for other in waiting if other != name)
            ] or list(waiting)
            for name in ready:
                sql = waiting.pop(name)
                text, what = rewritten(sql, self._names), f"view {name}"
                if dialect is _POSTGRESQL and not _view_is_portable(sql):
                    self._notes.append(f"{what}: left out on PostgreSQL, write it by hand")
                elif self._runs(text, dialect, what):
                    yield self._source.names.given[name], text

    def _triggers(self) -> Iterator[tuple[str, str]]:
        for table in self._source.tables:
            for name, sql in table.table.triggers.items():
                text = rewritten(sql, self._own_names(table))
                if self._runs(text, _SQLITE, f"trigger {name}"):
                    yield self._source.names.given[name], text

    # --- asking whether it works -------------------------------------------------------------

    def _refused(self, sql: str, dialect: Dialect, what: str) -> bool:
        """Whether `apply` would refuse a statement; note it if so."""
        if any(map(_LIKE_A_SECTION.match, sql.split("\n"))):
            self._notes.append(f"{what}: left out, a line in it would start a section of the file")
            return True
        try:
            for command in commands(sql, dialect):
                qualify(command, self._namespace, dialect)
        except SqlError as error:
            self._notes.append(f"{what}: left out on {dialect}, {error.message}")
            return True
        return False

    def _runs(self, sql: str, dialect: Dialect, what: str) -> bool:
        """Whether a statement is accepted and, on SQLite, runs after those before it."""
        if self._refused(sql, dialect, what):
            return False
        if dialect is _SQLITE:
            reason = self._sandbox.refusal(sql)
            if reason:
                self._notes.append(f"{what}: left out, {reason}")
            return not reason
        return True

    def _is_portable(self, table: SourceTable, expression: str) -> bool:
        """Whether PostgreSQL surely takes an expression, with the same meaning."""
        kinds = {name.lower(): kind.type for name, kind in table.types.items()}
        found = list(tokens(expression, _SQLITE))
        said = {token.keyword for token in found if token.is_name} - {""}
        columns = {t.name.lower() for t in found if t.is_name and t.name.lower() in kinds}
        mentioned = {kinds[name] for name in columns}
        if {w for w in said if w.lower() not in columns} - _PORTABLE:
            return False
        if any(t.text == "=" and n.text == "=" for t, n in pairwise(found)):
            return False
        has_strings = any(token.kind is Kind.STRING for token in found)
        has_numbers = any(token.kind is Kind.NUMBER for token in found)
        if mentioned <= _NUMBERS:
            return not has_strings and not said & _OF_TEXT
        return mentioned <= _TEXTS and (not has_numbers or "LENGTH" in said)

    # --- the files ---------------------------------------------------------------------------

    def _drops(self, views: Iterable[str]) -> list[str]:
        return [f"DROP VIEW {spelled(name)}" for name in reversed(list(views))]

    def _triggers_file(self, triggers: Sequence[tuple[str, str]]) -> str:
        self._notes.append(
            f"triggers {', '.join(name for name, _ in triggers)}: left out on PostgreSQL, where "
            "they would need functions; let the plugin do their work"
        )
        up = [sql for _, sql in triggers]
        down = [f"DROP TRIGGER {spelled(name)}" for name, _ in reversed(triggers)]
        return self._file(
            TRIGGERS_FILE,
            f"Create the triggers of {self._origin}, after the rows were imported",
            {_SQLITE: up, _POSTGRESQL: []},
            {_SQLITE: down, _POSTGRESQL: []},
        )

    def _file(
        self,
        name: str,
        description: str,
        up: dict[Dialect, list[str]],
        down: dict[Dialect, list[str]],
    ) -> str:
        parts = [f"-- Migration: {name}\n-- Description: {description}\n"]
        for direction, statements in (("UP", up), ("DOWN", down)):
            for dialect in Dialect:
                body = "".join(f"{sql};\n\n" for sql in statements[dialect])
                parts.append(f"\n-- {direction} ({dialect})\n{body}")
        return "".join(parts).rstrip() + "\n"

    def _check(self, name: str, text: str) -> None:
        """Read the file as `apply` does; what it says is wrong is a defect of this module."""
        file = parse(name, text.encode())
        for dialect in Dialect:
            for direction in Direction:
                prepare(file, direction, self._namespace, dialect)


def _default_on_postgresql(text: str, kind: ColumnType, found: Sequence[Token]) -> str:
    """Return a default as PostgreSQL takes it for a type, or an empty string."""
    word = found[-1].keyword
    is_number = found[-1].kind is Kind.NUMBER
    is_string = found[0].kind in (Kind.STRING, Kind.QUOTED_NAME) and len(found) == 1
    match kind:
        case ColumnType.BOOLEAN:
            known = {"0": "FALSE", "1": "TRUE", "FALSE": "FALSE", "TRUE": "TRUE"}
            return known.get(text.upper(), "")
        case ColumnType.INTEGER | ColumnType.FLOAT:
            known = {"FALSE": "0", "TRUE": "1"}
            return text if is_number and len(found) <= 2 else known.get(word, "")
        case ColumnType.DATETIME:
            is_now = word == "CURRENT_TIMESTAMP" or any(t.text == "'now'" for t in found)
            return "CURRENT_TIMESTAMP" if is_now else text if is_string else ""
        case _:
            return text if is_string else f"'{text}'" if is_number and len(found) == 1 else ""


def _view_is_portable(sql: str) -> bool:
    found = list(tokens(sql, _SQLITE))
    calls = {t.keyword for t, n in pairwise(found) if n.text == "("}
    return calls <= _MAY_CALL | {""} and "GROUP" not in {token.keyword for token in found}


def _mentions(sql: str, name: str) -> bool:
    return any(t.is_name and t.name.lower() == name.lower() for t in tokens(sql, _SQLITE))


def _source(sql: str, found: Sequence[Token]) -> str:
    return sql[found[0].start : found[-1].end]
