"""What a migration may destroy or break, said before it runs (SPEC 4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dbservice.migrate.facts import Deed, Fact, Shape, facts_of
from dbservice.migrate.files import Direction, MigrationFile
from dbservice.migrate.script import Script
from dbservice.protocol.names import Namespace
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
    found: list[dict[str, Any]] = []
    for script in scripts:
        judge = upward if script.is_up else downward
        findings = judge(files, script.file, namespace, dialect)
        found += [finding.reported(script.file.file) for finding in findings]
    return found


def upward(
    files: Sequence[MigrationFile], file: MigrationFile, namespace: Namespace, dialect: Dialect
) -> list[Finding]:
    """Return what applying `file` may destroy, and what its DOWN could not give back."""
    shape = shape_before(files, file, namespace, dialect)
    up = facts_of(file.commands(Direction.UP, dialect), namespace.prefix)
    found = list(_judged(up, shape))
    return found + list(_way_back(file, up, shape, namespace, dialect))


def downward(
    files: Sequence[MigrationFile], file: MigrationFile, namespace: Namespace, dialect: Dialect
) -> list[Finding]:
    """Return what rolling `file` back destroys."""
    shape = shape_before(files, file, namespace, dialect)
    shape.take(facts_of(file.commands(Direction.UP, dialect), namespace.prefix))
    down = facts_of(file.commands(Direction.DOWN, dialect), namespace.prefix)
    return list(_judged(down, shape))


def shape_before(
    files: Sequence[MigrationFile], file: MigrationFile, namespace: Namespace, dialect: Dialect
) -> Shape:
    """Return the tables as the migrations before `file` make them."""
    shape = Shape()
    for earlier in files:
        if earlier.number < file.number:
            shape.take(facts_of(earlier.commands(Direction.UP, dialect), namespace.prefix))
    return shape


def _judged(facts: Sequence[Fact], shape: Shape) -> Iterator[Finding]:
    """Judge the facts of one direction; what they themselves create is exempt."""
    facts = list(_folded(facts, shape))
    new_tables = {fact.table for fact in facts if fact.deed is Deed.CREATE_TABLE}
    new_columns = {(fact.table, fact.name) for fact in facts if fact.deed is Deed.ADD_COLUMN}
    for fact in facts:
        is_backfill = fact.deed is Deed.UPDATE_ALL and all(
            (fact.table, column) in new_columns for column in fact.columns
        )
        is_exempt = fact.table in new_tables or is_backfill
        judge = _JUDGES.get(fact.deed)
        if judge and not is_exempt and (finding := judge(fact, shape)):
            yield finding


def _folded(facts: Sequence[Fact], shape: Shape) -> Iterator[Fact]:
    """Turn a rebuild (create new, copy, drop old, rename) into the changes it amounts to."""
    rebuilds = _rebuilds(facts)
    replaced = {new for new, _ in rebuilds}
    originals = {old for _, old in rebuilds}
    for fact in facts:
        if fact.deed is Deed.RENAME_TABLE and (fact.table, fact.name) in rebuilds:
            yield from _differences(rebuilds[fact.table, fact.name], fact, shape, facts)
        elif fact.table in replaced:
            continue  # part of the rebuild
        elif fact.deed is Deed.DROP_TABLE and fact.table in originals:
            continue
        else:
            yield fact


def _rebuilds(facts: Sequence[Fact]) -> dict[tuple[str, str], Fact]:
    """Return the CREATE of each rebuild, by the new table's and the old table's name."""
    created = {fact.table: fact for fact in facts if fact.deed is Deed.CREATE_TABLE}
    dropped = {fact.table for fact in facts if fact.deed is Deed.DROP_TABLE}
    return {
        (fact.table, fact.name): created[fact.table]
        for fact in facts
        if fact.deed is Deed.RENAME_TABLE and fact.table in created and fact.name in dropped
    }


def _differences(
    created: Fact, renamed: Fact, shape: Shape, facts: Sequence[Fact]
) -> Iterator[Fact]:
    table, line = renamed.name, created.line
    for column, old_type in shape.tables.get(table, {}).items():
        if column not in created.columns:
            yield Fact(Deed.DROP_COLUMN, table, line, name=column)
        elif created.columns[column] != old_type:
            yield Fact(Deed.CHANGE_TYPE, table, line, name=column, type=created.columns[column])
    # A rebuild silently loses the indexes of the old table.
    kept = {fact.name for fact in facts if fact.deed in (Deed.CREATE_INDEX, Deed.DROP_INDEX)}
    for index, owner in shape.indexes.items():
        if owner == table and index not in kept:
            yield Fact(Deed.DROP_INDEX, table, line, name=index)


# --- the way back --------------------------------------------------------------------------------


def _way_back(
    file: MigrationFile, up: Sequence[Fact], shape: Shape, namespace: Namespace, dialect: Dialect
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
    down = facts_of(file.commands(Direction.DOWN, dialect), namespace.prefix)
    yield from _lossy_down(up, down, shape)
    yield from _left_behind(up, down, dialect)


def _lossy_down(up: Sequence[Fact], down: Sequence[Fact], shape: Shape) -> Iterator[Finding]:
    """DOWN drops things that UP did not make."""
    after = Shape({t: dict(c) for t, c in shape.tables.items()}, dict(shape.indexes))
    after.take(up)
    for fact in _folded(down, after):
        made_by_up = fact.table not in shape.tables or (
            fact.deed is Deed.DROP_COLUMN and fact.name not in shape.tables[fact.table]
        )
        if fact.deed in (Deed.DROP_TABLE, Deed.DROP_COLUMN, Deed.DELETE_ALL) and not made_by_up:
            what = f"column {fact.table}.{fact.name}" if fact.name else f"rows of {fact.table}"
            yield Finding(
                "DOWN_LOSES_DATA",
                f"rolling back loses the {what}, which existed before",
                "let DOWN undo only what UP did",
                fact.line,
            )


def _left_behind(up: Sequence[Fact], down: Sequence[Fact], dialect: Dialect) -> Iterator[Finding]:
    """DOWN forgets an index or a table that UP made."""
    dropped_tables = {fact.table for fact in down if fact.deed is Deed.DROP_TABLE}
    dropped = {fact.name for fact in down if fact.deed is Deed.DROP_INDEX}
    narrowed = {fact.table for fact in down if fact.deed is Deed.DROP_COLUMN}
    renamed = {fact.table for fact in up if fact.deed is Deed.RENAME_TABLE}
    existed = {fact.table for fact in up if fact.deed is Deed.DROP_TABLE}
    for fact in up:
        # PostgreSQL drops a column's indexes with the column.
        goes_along = fact.table in dropped_tables or (
            dialect is Dialect.POSTGRESQL and fact.table in narrowed
        )
        if fact.deed is Deed.CREATE_INDEX and fact.name not in dropped and not goes_along:
            if fact.table in existed:
                continue  # the rebuild in UP made the old index anew
            yield Finding(
                "INDEX_NOT_DROPPED",
                f"UP creates the index {fact.name} and DOWN does not drop it",
                f"add DROP INDEX {fact.name} to DOWN",
                fact.line,
            )
        is_new_table = fact.deed is Deed.CREATE_TABLE and fact.table not in renamed
        if is_new_table and fact.table not in dropped_tables:
            yield Finding(
                "TABLE_NOT_DROPPED",
                f"UP creates the table {fact.table} and DOWN does not drop it",
                f"add DROP TABLE {fact.table} to DOWN",
                fact.line,
            )


# --- single facts --------------------------------------------------------------------------------


def _drop_table(fact: Fact, _shape: Shape) -> Finding:
    return Finding(
        "DROP_TABLE",
        f"drops the table {fact.table} with all its rows",
        "rename it first, and drop it in a later migration when nothing misses it",
        fact.line,
    )


def _drop_column(fact: Fact, _shape: Shape) -> Finding:
    return Finding(
        "DROP_COLUMN",
        f"drops the column {fact.table}.{fact.name} with its values",
        "stop using it first, and drop it in a later migration",
        fact.line,
    )


def _add_column(fact: Fact, _shape: Shape) -> Finding | None:
    if not fact.risky:
        return None
    return Finding(
        "NOT_NULL_WITHOUT_DEFAULT",
        f"adds {fact.table}.{fact.name} as NOT NULL without a default, which fails when the table "
        "has rows",
        "give it a DEFAULT, or add it as nullable and fill it first",
        fact.line,
    )


def _forbid_null(fact: Fact, _shape: Shape) -> Finding:
    return Finding(
        "NOT_NULL_WITHOUT_DEFAULT",
        f"makes {fact.table}.{fact.name} NOT NULL, which fails when a row has no value there",
        "fill the empty values with an UPDATE first",
        fact.line,
    )


def _change_type(fact: Fact, shape: Shape) -> Finding | None:
    old = shape.tables.get(fact.table, {}).get(fact.name, "")
    if not narrows(old, fact.type):
        return None
    return Finding(
        "TYPE_NARROWED",
        f"changes {fact.table}.{fact.name} from {old or 'an unknown type'} to {fact.type}, which "
        "may lose or refuse values",
        "add a new column, copy the values that fit, and drop the old one later",
        fact.line,
    )


def _drop_index(fact: Fact, _shape: Shape) -> Finding | None:
    if not fact.table:
        return None  # dropped on purpose
    return Finding(
        "INDEX_LOST",
        f"rebuilds {fact.table} without its index {fact.name}",
        f"create {fact.name} again after the rename, or drop it in so many words",
        fact.line,
    )


def _delete_all(fact: Fact, _shape: Shape) -> Finding:
    return Finding(
        "DELETE_WITHOUT_WHERE",
        f"deletes every row of {fact.table}",
        "add a WHERE that names the rows",
        fact.line,
    )


def _update_all(fact: Fact, _shape: Shape) -> Finding:
    return Finding(
        "UPDATE_WITHOUT_WHERE",
        f"changes every row of {fact.table}",
        "add a WHERE that names the rows",
        fact.line,
    )


_JUDGES: dict[Deed, Callable[[Fact, Shape], Finding | None]] = {
    Deed.DROP_TABLE: _drop_table,
    Deed.DROP_COLUMN: _drop_column,
    Deed.ADD_COLUMN: _add_column,
    Deed.FORBID_NULL: _forbid_null,
    Deed.CHANGE_TYPE: _change_type,
    Deed.DROP_INDEX: _drop_index,
    Deed.DELETE_ALL: _delete_all,
    Deed.UPDATE_ALL: _update_all,
}

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
