"""Reads from the database which tables a plugin has, and remembers it."""

from __future__ import annotations

import re

from dbservice.protocol.errors import Reason, RequestError, did_you_mean, invalid, nearest
from dbservice.protocol.names import Namespace
from dbservice.protocol.rows import ColumnType
from dbservice.storage.steps import Statement, Steps
from dbservice.storage.tables import Column, Index, Table

_LENGTH = re.compile(r"\((\d+)\)")
_AFFINITIES = (
    ("JSON", ColumnType.JSON),
    ("BOOL", ColumnType.BOOLEAN),
    ("DATETIME", ColumnType.DATETIME),
    ("TIMESTAMP", ColumnType.DATETIME),
    ("INT", ColumnType.INTEGER),
    ("CHAR", ColumnType.STRING),
    ("TEXT", ColumnType.TEXT),
    ("CLOB", ColumnType.TEXT),
    ("REAL", ColumnType.FLOAT),
    ("FLOA", ColumnType.FLOAT),
    ("DOUB", ColumnType.FLOAT),
    ("NUMERIC", ColumnType.FLOAT),
    ("DECIMAL", ColumnType.FLOAT),
)


class Catalog:
    """The tables of all plugins on an SQLite database.

    What was read stays valid for as long as the database's schema version does not move; the
    version is asked for in the same snapshot as the rows, so that a migration on any connection
    is noticed by the next operation and by no earlier one.
    """

    def __init__(self) -> None:
        # One attribute, because the engine's threads all read and replace it.
        self._known: tuple[int, dict[str, Table]] = (-1, {})

    def table(self, namespace: Namespace, name: str) -> Steps[Table]:
        """Return a table of a plugin.

        Raises:
            RequestError: VALIDATION_ERROR, with reason TABLE_NOT_REGISTERED where there is no
                such table.
        """
        table = yield from self.find(namespace, name)
        if table is None:
            raise (yield from self._not_registered(namespace, name))
        return table

    def find(self, namespace: Namespace, name: str) -> Steps[Table | None]:
        """Return a table of a plugin, or None."""
        full_name = namespace.table(name)
        version = (yield Statement("PRAGMA schema_version")).rows[0][0]
        known_version, tables = self._known
        if version != known_version:
            tables = {}
        elif full_name in tables:
            return tables[full_name]
        table = yield from _load(name, full_name)
        if table is not None:
            tables[full_name] = table
            self._known = (version, tables)
        return table

    def full_names(self, namespace: Namespace) -> Steps[list[str]]:
        """Return the full names of a plugin's tables, sorted."""
        result = yield Statement(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, ?) = ? "
            "ORDER BY name",
            (len(namespace.prefix), namespace.prefix),
        )
        return [row[0] for row in result.rows]

    def _not_registered(self, namespace: Namespace, name: str) -> Steps[RequestError]:
        names = [full[len(namespace.prefix) :] for full in (yield from self.full_names(namespace))]
        has = f"it has {', '.join(names)}" if names else "it has no tables; apply its migrations"
        return invalid(
            f"Table '{name}' is not registered for plugin '{namespace.plugin}': {has}."
            f"{did_you_mean(name, names)}",
            reason=Reason.TABLE_NOT_REGISTERED,
            field="table",
            got=name,
            nearest=nearest(name, names),
        )


def _load(name: str, full_name: str) -> Steps[Table | None]:
    declared = yield Statement(
        'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1',
        (full_name,),
    )
    if not declared.rows:
        return None
    source = yield Statement(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (full_name,)
    )
    text = source.rows[0][0] if source.rows else ""
    columns = {row[0]: _column(row, text) for row in declared.rows}
    indexes = yield from _load_indexes(full_name)
    return Table(name, full_name, columns, indexes)


def _column(row: tuple[str, str, int, str | None, int], source: str) -> Column:
    name, declared, not_null, default, key_position = row
    column_type = _type_of(declared)
    if column_type in (ColumnType.TEXT, ColumnType.STRING) and _is_json_checked(name, source):
        column_type = ColumnType.JSON
    length = _LENGTH.search(declared) if column_type is ColumnType.STRING else None
    return Column(
        name,
        column_type,
        nullable=not not_null and not key_position,
        default=default,
        max_length=int(length.group(1)) if length else None,
        primary_key=bool(key_position),
    )


def _type_of(declared: str) -> ColumnType:
    upper = declared.upper()
    for token, column_type in _AFFINITIES:
        if token in upper:
            return column_type
    return ColumnType.TEXT


def _is_json_checked(column: str, source: str) -> bool:
    return bool(re.search(rf'json_valid\s*\(\s*["`\[]?{column}["`\]]?\s*\)', source, re.IGNORECASE))


def _load_indexes(full_name: str) -> Steps[tuple[Index, ...]]:
    listed = yield Statement(
        'SELECT name, "unique", partial FROM pragma_index_list(?) ORDER BY name', (full_name,)
    )
    indexes: list[Index] = []
    for name, unique, partial in listed.rows:
        info = yield Statement("SELECT name FROM pragma_index_info(?) ORDER BY seqno", (name,))
        columns = tuple(row[0] for row in info.rows)
        plain = columns if None not in columns else ()
        indexes.append(Index(name, plain, bool(unique) and not partial and bool(plain)))
    return tuple(indexes)
