"""What a migration leaves behind, looked at before it is committed: is it what the service carries?

Values in another spelling than the type map's are rewritten; a value that its column cannot stand
for refuses the migration, and so does a foreign key to a table that is not there. A column that is
carried with a difference is warned of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dbservice.engine.columns import Column
from dbservice.engine.dialect import dialect_of
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.tables import Table
from dbservice.engine.type_map import OTHER, REAL, UNTYPED
from dbservice.migrate.script import Script
from dbservice.migrate.warnings import Finding
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.names import Namespace
from dbservice.protocol.rows import ColumnType
from dbservice.sqltext.dialects import Dialect
from dbservice.storage import search_indexes
from dbservice.storage.catalog import Catalog
from dbservice.storage.normal_form import Misfit, Rewritten, normalise

_DANGLING = """
SELECT m.name, f."table" FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f
WHERE m.type = 'table' AND substr(m.name, 1, ?) = ? AND NOT EXISTS (
    SELECT 1 FROM sqlite_master p WHERE p.type = 'table' AND lower(p.name) = lower(f."table")
)
"""
_TRIGGERS = (
    "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND substr(tbl_name, 1, ?) = ? "
    "AND substr(name, 1, 1) <> '_'"  # the service's own
)
_COLLATE = re.compile(r"\bCOLLATE\s+[\"'`\[]?(NOCASE|RTRIM)\b", re.IGNORECASE)
_WRITES_NOTHING = re.compile(r"\s*(?:CREATE\s+(?:UNIQUE\s+)?INDEX|DROP)\b", re.IGNORECASE)
_DEFINES = re.compile(r"\s*(?:CREATE|ALTER)\s+TABLE\b", re.IGNORECASE)

_ADVICE = {
    ColumnType.DATETIME: "write ISO 8601 in UTC, for example '2026-11-21T18:30:00Z', of the years "
    "1 to 9999",
    ColumnType.BOOLEAN: "write TRUE or FALSE",
    ColumnType.JSON: "write a JSON document with numbers that a float of 8 bytes holds",
    ColumnType.FLOAT: "write a finite number, or NULL",
    ColumnType.INTEGER: "write an integer, or declare the column as it is used",
}
_OF_THE_TYPE = "write a value of the declared type, or declare the column as TEXT"


def look_over(script: Script) -> Steps[list[dict[str, Any]]]:
    """Bring what a script wrote into normal form and return what is to be said about it.

    Raises:
        RequestError: MIGRATION_FAILED if it leaves what the service cannot carry.
    """
    if script.dialect is Dialect.SQLITE:
        yield from _check_references(script)
    catalog = Catalog(dialect_of(script.dialect))
    found: list[Finding] = []
    for name in (yield from _touched(script, catalog)):
        table = yield from catalog.find(script.namespace, name)
        if table is None:
            continue
        for entry in (yield from normalise(table)):
            found += _told(script, entry)
        if script.is_up and any(_defines(text, table) for text in _sql(script)):
            found += _differences(table)
    found += _collations(script)
    missing = yield from search_indexes.reconcile(script.namespace, dialect_of(script.dialect))
    found += [_scanned(reason) for reason in dict.fromkeys(missing)]
    return [finding.reported(script.file.file) for finding in found]


def spell_alike(namespace: Namespace, dialect: Dialect) -> Steps[None]:
    """Bring all rows of a plugin into normal form, as far as they have one."""
    catalog = Catalog(dialect_of(dialect))
    for name in (yield from catalog.full_names(namespace)):
        table = yield from catalog.find(namespace, name.removeprefix(namespace.prefix))
        if table is not None:
            yield from normalise(table)


def _sql(script: Script) -> Iterator[str]:
    return (statement.sql for statement in script.statements)


def _touched(script: Script, catalog: Catalog) -> Steps[list[str]]:
    """Return the tables that a script may have written to, by their bare names."""
    prefix = script.namespace.prefix
    existing = yield from catalog.full_names(script.namespace)
    if not (yield from _has_triggers(script)):
        writing = (sql for sql in _sql(script) if not _WRITES_NOTHING.match(sql))
        named = {name for sql in writing for name in _named(sql, prefix)}
        existing = [name for name in existing if name in named]
    return [name.removeprefix(prefix) for name in existing]


def _named(sql: str, prefix: str) -> list[str]:
    return re.findall(rf"{re.escape(prefix)}[a-z0-9_]+", sql.lower())


def _has_triggers(script: Script) -> Steps[bool]:
    """Return whether statements may write to tables that they do not name."""
    if script.dialect is not Dialect.SQLITE:
        return False
    prefix = script.namespace.prefix
    found = yield Statement(_TRIGGERS, (len(prefix), prefix))
    return bool(found.rows)


def _defines(sql: str, table: Table) -> bool:
    return bool(_DEFINES.match(sql)) and table.full_name in sql.lower()


def _check_references(script: Script) -> Steps[None]:
    prefix = script.namespace.prefix
    dangling = yield Statement(_DANGLING, (len(prefix), prefix))
    if dangling.rows:
        table, referred = (name.removeprefix(prefix) for name in dangling.rows[0])
        raise _refused(
            script,
            f"a foreign key of table '{table}' refers to the table '{referred}', which is not "
            "there: create it in the same migration, or correct the name",
        )


def _told(script: Script, entry: Misfit | Rewritten) -> Iterator[Finding]:
    column = entry.column
    place = f"{entry.table}.{column.name}"
    advice = _ADVICE.get(column.type, _OF_THE_TYPE)
    if isinstance(entry, Rewritten):
        if column.type is ColumnType.BOOLEAN:
            yield Finding(
                "BOOLEAN_AS_WORD",
                f"wrote {entry.rows} values of {place} as words; they were stored as booleans",
                advice,
            )
    elif entry.is_default:
        yield Finding(
            "DEFAULT_NOT_CARRIED",
            f"gives {place}, which is {column.type}, the default {entry.value}, which such a "
            "column cannot hold: a row without a value there will be refused",
            advice,
        )
    else:
        raise _refused(
            script,
            f"column '{column.name}' of table '{entry.table}' is {column.type} and cannot carry "
            f"{str(entry.value)[:60]}: {advice}",
        )


def _differences(table: Table) -> Iterator[Finding]:
    for column in table.columns.values():
        difference = _DIFFERENCES.get(column.rule)
        if difference is not None:
            yield _differs(table, column, *difference)


def _differs(table: Table, column: Column, code: str, what: str, safer: str) -> Finding:
    return Finding(code, f"declares {table.name}.{column.name} {what}", safer)


_DIFFERENCES = {
    OTHER: (
        "TYPE_AS_TEXT",
        "with a type that the service shows, compares and sorts as its text only",
        "declare it as TEXT, or as one of the types in the type map",
    ),
    UNTYPED: (
        "NO_TYPE",
        "without a type, so that every value is kept as it is written",
        "declare a type",
    ),
    REAL: (
        "FLOAT_OF_4_BYTES",
        "as REAL, which has 4 bytes on PostgreSQL: numbers of more than about 7 digits are refused",
        "declare it as DOUBLE PRECISION",
    ),
}


def _collations(script: Script) -> Iterator[Finding]:
    for statement in script.statements:
        if found := _COLLATE.search(statement.sql):
            yield Finding(
                "COLLATION",
                f"declares a column with COLLATE {found.group(1).upper()}, which governs its "
                "uniqueness only: requests compare and sort by code point",
                "use $ilike to search without case",
                statement.line,
            )


def _scanned(reason: str) -> Finding:
    return Finding(
        "NO_SEARCH_INDEX",
        f"asks for a search index, which cannot be made here: {reason}. Searches scan the table",
        "make it available and apply the next migration, which makes the index",
    )


def _refused(script: Script, reason: str) -> RequestError:
    file = script.file.file
    return RequestError(
        ErrorCode.MIGRATION_FAILED,
        f"{file}, at the end of {script.direction}: {reason}. Nothing of this migration was kept.",
        reason=reason,
        file=file,
        direction=script.direction.value,
    )
