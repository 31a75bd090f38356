"""What a migration may destroy or break, said before it runs (SPEC 4)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dbservice.migrate.changes import (
    PRIMARY_KEY,
    ChangeKind,
    Schema,
    SchemaChange,
    changes_of,
)
from dbservice.migrate.files import Direction, MigrationFile
from dbservice.migrate.script import Script
from dbservice.protocol.names import IDENTIFIER, IDENTIFIER_RULE, Namespace
from dbservice.sqltext.dialects import Dialect


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        code: for programs, for example `DROP_COLUMN`.
        message: what is lost or may fail.
        safer: what to do instead.
        line: of the statement, or None where the whole file is meant.
    """

    code: str
    message: str
    safer: str
    line: int | None = None

    def reported(self, file: str) -> dict[str, Any]:
        """Return the finding as it stands in replies."""
        return {
            "code": self.code,
            "message": self.message,
            "safer": self.safer,
            "file": file,
            "line": self.line,
        }


def warnings_of(
    files: Sequence[MigrationFile],
    scripts: Sequence[Script],
    namespace: Namespace,
    dialect: Dialect,
) -> list[dict[str, Any]]:
    """Return what is to be said about running `scripts`.

    Args:
        files: all migrations of the plugin; those before tell what exists.
        scripts: what will run.
        namespace: of the plugin.
        dialect: of the engine.
    """
    wanted = {script.file.number: script for script in scripts}
    found: dict[int, list[Finding]] = {}
    schema = Schema()  # carried from file to file, so that each is looked at once
    for file in files:
        if not wanted.keys() - found.keys():
            break
        up = changes_of(file.commands(Direction.UP, dialect), namespace.prefix)
        script = wanted.get(file.number)
        if script is not None and script.is_up:
            found[file.number] = list(_upward(file, up, schema, namespace, dialect))
        schema.take(up)
        if script is not None and not script.is_up:
            down = changes_of(file.commands(Direction.DOWN, dialect), namespace.prefix)
            found[file.number] = list(_judged(down, schema))
    return [
        finding.reported(script.file.file)
        for script in scripts
        for finding in found.get(script.file.number, ())
    ]


def _upward(
    file: MigrationFile,
    up: Sequence[SchemaChange],
    schema: Schema,
    namespace: Namespace,
    dialect: Dialect,
) -> Iterator[Finding]:
    """Yield what applying `file` may destroy, and what its DOWN could not give back."""
    yield from _judged(up, schema)
    yield from _out_of_reach(up, dialect)
    yield from _way_back(file, up, schema, namespace, dialect)


def _judged(changes: Sequence[SchemaChange], schema: Schema) -> Iterator[Finding]:
    """Judge the changes of one direction; what they themselves create is exempt."""
    changes = list(_folded(changes, schema))
    new_tables = {change.table for change in changes if change.kind is ChangeKind.CREATE_TABLE}
    new_columns = {
        (change.table, change.name) for change in changes if change.kind is ChangeKind.ADD_COLUMN
    }
    for change in changes:
        is_backfill = change.kind is ChangeKind.UPDATE_ALL and all(
            (change.table, column) in new_columns for column in change.columns
        )
        is_exempt = change.table in new_tables or is_backfill
        if not is_exempt and (finding := _judge(change, schema)):
            yield finding


@dataclass(frozen=True, slots=True)
class _Rebuild:
    """A table that is made anew, because the engine cannot alter it so far.

    Either a new table is made, filled, and takes the name of the old one, which is dropped; or the
    old one is renamed, made anew, and dropped under its other name.

    Attributes:
        table: its name.
        other: the name of the new or the old one meanwhile.
        dropped: which of the two names is dropped.
        created: what makes the new one.
    """

    table: str
    other: str
    dropped: str
    created: SchemaChange


def _folded(changes: Sequence[SchemaChange], schema: Schema) -> Iterator[SchemaChange]:
    """Turn a rebuild into the changes it amounts to."""
    rebuilds = list(_rebuilds(changes))
    for change in changes:
        rebuild = next((r for r in rebuilds if change.table in (r.table, r.other)), None)
        if rebuild is None:
            yield change
        elif change.kind is ChangeKind.DROP_TABLE and change.table == rebuild.dropped:
            yield from _differences(rebuild, schema, changes)
        elif change.table == rebuild.table and change.kind not in _OF_REBUILDS:
            yield change


_OF_REBUILDS = (ChangeKind.CREATE_TABLE, ChangeKind.RENAME_TABLE, ChangeKind.DROP_TABLE)


def _rebuilds(changes: Sequence[SchemaChange]) -> Iterator[_Rebuild]:
    created = {c.table: (i, c) for i, c in enumerate(changes) if c.kind is ChangeKind.CREATE_TABLE}
    dropped = {change.table for change in changes if change.kind is ChangeKind.DROP_TABLE}
    for index, change in enumerate(changes):
        old, new = change.table, change.name
        if change.kind is ChangeKind.RENAME_TABLE and old in created and new in dropped:
            place, creation = created[old]
            table, other = (new, old) if place < index else (old, new)
            yield _Rebuild(table, other, new, creation)


def _differences(
    rebuild: _Rebuild, schema: Schema, changes: Sequence[SchemaChange]
) -> Iterator[SchemaChange]:
    created, table, line = rebuild.created, rebuild.table, rebuild.created.line
    columns = {**schema.tables.get(created.source, {}), **created.columns}
    for column, old_type in schema.tables.get(table, {}).items():
        if column not in columns:
            yield SchemaChange(ChangeKind.DROP_COLUMN, table, line, name=column)
        elif columns[column] not in ("", old_type):
            yield SchemaChange(
                ChangeKind.CHANGE_TYPE, table, line, name=column, type=columns[column]
            )
    if lost := _lost_constraints(rebuild, schema, changes):
        yield SchemaChange(ChangeKind.DROP_CONSTRAINTS, table, line, constraints=lost)
    # A rebuild silently loses the indexes of the old table.
    named = (ChangeKind.CREATE_INDEX, ChangeKind.DROP_INDEX)
    kept = {change.name for change in changes if change.kind in named}
    for index, owner in schema.indexes.items():
        if owner == table and index not in kept:
            yield SchemaChange(ChangeKind.DROP_INDEX, table, line, name=index)


def _lost_constraints(
    rebuild: _Rebuild, schema: Schema, changes: Sequence[SchemaChange]
) -> frozenset[str]:
    """Return the kinds of constraints that the new table has no longer.

    CREATE TABLE … AS keeps none, whatever its author thinks. Where the columns are written down,
    what is left out was left out on purpose, but for the primary key.
    """
    names = (rebuild.table, rebuild.other)
    kept = rebuild.created.constraints.union(
        *(change.constraints for change in changes if change.table in names)
    )
    lost = schema.constraints.get(rebuild.table, frozenset()) - kept
    return lost if rebuild.created.copies else lost & {PRIMARY_KEY}


def _out_of_reach(changes: Sequence[SchemaChange], dialect: Dialect) -> Iterator[Finding]:
    """Columns that are there, and that no request can name."""
    for change in changes:
        for spelled in filter(None, change.spelled):  # of no name, the engine tells
            is_folded = dialect is Dialect.POSTGRESQL and not spelled.startswith('"')
            name = spelled.lower() if is_folded else spelled.strip('"`[]')
            if not IDENTIFIER.fullmatch(name):
                yield Finding(
                    "NAME_OUT_OF_REACH",
                    f"gives {change.table} a column {spelled}, which requests cannot name",
                    f"call it {_snake(name)}: {IDENTIFIER_RULE}",
                    change.line,
                )


def _snake(name: str) -> str:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)
    return "_".join(words).lower() or "a name in small letters"


# --- the way back --------------------------------------------------------------------------------


def _way_back(
    file: MigrationFile,
    up: Sequence[SchemaChange],
    schema: Schema,
    namespace: Namespace,
    dialect: Dialect,
) -> Iterator[Finding]:
    if file.irreversible is not None:
        yield Finding(
            "IRREVERSIBLE",
            f"cannot be rolled back: {file.irreversible}",
            "make a backup before applying it",
        )
        return
    if not file.is_reversible(dialect):
        yield Finding(
            "DOWN_MISSING",
            f"has no DOWN section for {dialect}, so it cannot be rolled back",
            "add a DOWN section, or a line '-- IRREVERSIBLE: reason'",
        )
        return
    down = changes_of(file.commands(Direction.DOWN, dialect), namespace.prefix)
    yield from _lossy_down(up, down, schema)
    yield from _left_behind(up, down, dialect)


def _lossy_down(
    up: Sequence[SchemaChange], down: Sequence[SchemaChange], schema: Schema
) -> Iterator[Finding]:
    """DOWN drops things that UP did not make."""
    for change in _folded(down, schema.after(up)):
        made_by_up = change.table not in schema.tables or (
            change.kind is ChangeKind.DROP_COLUMN and change.name not in schema.tables[change.table]
        )
        if (
            change.kind in (ChangeKind.DROP_TABLE, ChangeKind.DROP_COLUMN, ChangeKind.DELETE_ALL)
            and not made_by_up
        ):
            what = (
                f"column {change.table}.{change.name}" if change.name else f"rows of {change.table}"
            )
            yield Finding(
                "DOWN_LOSES_DATA",
                f"rolling back loses the {what}, which existed before",
                "let DOWN undo only what UP did",
                change.line,
            )


def _left_behind(
    up: Sequence[SchemaChange], down: Sequence[SchemaChange], dialect: Dialect
) -> Iterator[Finding]:
    """DOWN forgets an index or a table that UP made."""
    dropped_tables = {change.table for change in down if change.kind is ChangeKind.DROP_TABLE}
    dropped = {change.name for change in down if change.kind is ChangeKind.DROP_INDEX}
    narrowed = {change.table for change in down if change.kind is ChangeKind.DROP_COLUMN}
    renamed = {change.table for change in up if change.kind is ChangeKind.RENAME_TABLE}
    existed = {change.table for change in up if change.kind is ChangeKind.DROP_TABLE}
    for change in up:
        # PostgreSQL drops a column's indexes with the column.
        goes_along = change.table in dropped_tables or (
            dialect is Dialect.POSTGRESQL and change.table in narrowed
        )
        if change.kind is ChangeKind.CREATE_INDEX and change.name not in dropped and not goes_along:
            if change.table in existed | renamed:
                continue  # the rebuild in UP made the old index anew
            yield Finding(
                "INDEX_NOT_DROPPED",
                f"UP creates the index {change.name} and DOWN does not drop it",
                f"add DROP INDEX {change.name} to DOWN",
                change.line,
            )
        is_new_table = change.kind is ChangeKind.CREATE_TABLE and change.table not in renamed
        if is_new_table and change.table not in dropped_tables:
            yield Finding(
                "TABLE_NOT_DROPPED",
                f"UP creates the table {change.table} and DOWN does not drop it",
                f"add DROP TABLE {change.table} to DOWN",
                change.line,
            )


# --- single changes ------------------------------------------------------------------------------


_RISKS: Mapping[ChangeKind, tuple[str, str, str]] = {
    ChangeKind.DROP_TABLE: (
        "DROP_TABLE",
        "drops the table {table} with all its rows",
        "rename it first, and drop it in a later migration when nothing misses it",
    ),
    ChangeKind.DROP_COLUMN: (
        "DROP_COLUMN",
        "drops the column {table}.{name} with its values",
        "stop using it first, and drop it in a later migration",
    ),
    ChangeKind.ADD_COLUMN: (
        "NOT_NULL_WITHOUT_DEFAULT",
        "adds {table}.{name} as NOT NULL without a default, which fails when the table has rows",
        "give it a DEFAULT, or add it as nullable and fill it first",
    ),
    ChangeKind.FORBID_NULL: (
        "NOT_NULL_WITHOUT_DEFAULT",
        "makes {table}.{name} NOT NULL, which fails when a row has no value there",
        "fill the empty values with an UPDATE first",
    ),
    ChangeKind.CHANGE_TYPE: (
        "TYPE_NARROWED",
        "changes {table}.{name} from {old} to {type}, which may lose or refuse values",
        "add a new column, copy the values that fit, and drop the old one later",
    ),
    ChangeKind.DROP_INDEX: (
        "INDEX_LOST",
        "rebuilds {table} without its index {name}",
        "create {name} again after the rename, or drop it in so many words",
    ),
    ChangeKind.DROP_CONSTRAINTS: (
        "CONSTRAINTS_LOST",
        "makes {table} anew without {lost}; CREATE TABLE … AS keeps no constraint",
        "write CREATE TABLE with all columns and constraints, and copy with INSERT … SELECT",
    ),
    ChangeKind.DELETE_ALL: (
        "DELETE_WITHOUT_WHERE",
        "deletes every row of {table}",
        "add a WHERE that names the rows",
    ),
    ChangeKind.UPDATE_ALL: (
        "UPDATE_WITHOUT_WHERE",
        "changes every row of {table}",
        "add a WHERE that names the rows",
    ),
}
"""The code of each finding, what is lost or may fail, and what to do instead."""


def _judge(change: SchemaChange, schema: Schema) -> Finding | None:
    """Judge a single change."""
    old = schema.tables.get(change.table, {}).get(change.name, "")
    is_harmless = {
        ChangeKind.ADD_COLUMN: not change.risky,
        ChangeKind.CHANGE_TYPE: not narrows(old, change.type),
        ChangeKind.DROP_INDEX: not change.table,  # dropped on purpose
    }
    if change.kind not in _RISKS or is_harmless.get(change.kind):
        return None
    code, *texts = _RISKS[change.kind]
    message, safer = (
        text.format(
            table=change.table,
            name=change.name,
            type=change.type,
            old=old or "an unknown type",
            lost=" and ".join(f"its {kind}" for kind in sorted(change.constraints)),
        )
        for text in texts
    )
    return Finding(code, message, safer, change.line)


_LADDERS = (
    ("SMALLINT", "INTEGER", "BIGINT", "NUMERIC"),
    ("REAL", "DOUBLE PRECISION", "NUMERIC"),
    ("DATE", "TIMESTAMP", "TIMESTAMPTZ"),
    ("JSON", "JSONB"),
)
_SPELLINGS = {"INT": "INTEGER", "DECIMAL": "NUMERIC", "FLOAT": "DOUBLE PRECISION"}
_SIZED_TEXT = re.compile(r"(?:VARCHAR|CHARACTER VARYING|CHAR|CHARACTER)\((\d+)\)")


def narrows(old: str, new: str) -> bool:
    """Whether a value of type `old` may not fit into `new`. An unknown type may hold anything.

    Args:
        old: the declared type before, in upper case; empty if unknown.
        new: the declared type after.
    """
    old, new = _SPELLINGS.get(old, old), _SPELLINGS.get(new, new)
    if old == new or new in ("TEXT", "VARCHAR", "CHARACTER VARYING"):
        return False
    old_size, new_size = _SIZED_TEXT.fullmatch(old), _SIZED_TEXT.fullmatch(new)
    if old_size and new_size:
        return int(new_size[1]) < int(old_size[1])
    return not any(
        old in ladder and new in ladder and ladder.index(old) < ladder.index(new)
        for ladder in _LADDERS
    )
