"""Which search indexes there are to be: made by migrations and `schema.register`, kept ever after.

An index is a wish, written down in `_searches`, and what the engine has of it. A table that is
rebuilt loses the second and keeps the first; `reconcile`, which runs at the end of every migration
in its transaction, makes it again. An index changes no result: what it finds is checked by the
filter itself, and one that is missing or not whole is a scan.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from dbservice.engine import postgres_search, sqlite_search
from dbservice.engine.columns import Column
from dbservice.engine.dialect import SqlDialect
from dbservice.engine.errors import EngineError
from dbservice.engine.indexes import SearchIndex
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.tables import Table
from dbservice.protocol.names import Namespace
from dbservice.protocol.rows import ColumnType
from dbservice.sqltext.dialects import Dialect
from dbservice.storage.catalog import Catalog

FOLDING = unicodedata.unidata_version
"""Which characters have a lower case, by the version of Unicode; an index is of one version."""

_INDEXED = (ColumnType.STRING, ColumnType.TEXT)


class _SearchEngine(Protocol):
    """Makes the search indexes of an engine."""

    def is_available(self) -> Steps[str]:
        """Return why there can be no search index; empty if there can."""

    def key_of(self, table: str) -> Steps[str | None]:
        """Return the key that an index finds rows by; None if the table has none."""

    def present(self, prefix: str) -> Steps[Mapping[str, SearchIndex]]:
        """Return the indexes on the tables with a prefix that are whole, by their names."""

    def create(self, index: SearchIndex) -> Steps[None]:
        """Make an index and fill it."""

    def drop(self, name: str) -> Steps[None]:
        """Remove an index, or what is left of one."""

    def refill(self, index: SearchIndex) -> Steps[None]:
        """Make an index hold what its table holds, whatever it held before."""


_ENGINES: Mapping[Dialect, _SearchEngine] = {
    Dialect.SQLITE: sqlite_search,
    Dialect.POSTGRESQL: postgres_search,
}


def check(table: Table, names: Sequence[str], dialect: SqlDialect) -> Steps[None]:
    """Refuse columns that cannot be searched.

    Raises:
        EngineError: the text says which, and why.
    """
    if table.is_view:
        raise EngineError(f"'{table.name}' is a view: index the table that it reads from")
    for name in names:
        column = table.columns.get(name)
        if column is None or not _is_searchable(column):
            raise EngineError(
                f"'{name}' is no text column of table '{table.name}': a search index is over "
                "columns of TEXT or VARCHAR"
            )
    if (yield from _ENGINES[dialect.name].key_of(table.full_name)) is None:
        raise EngineError(
            f"table '{table.name}' has no INTEGER PRIMARY KEY, by which a search index finds rows"
        )


def create(
    namespace: Namespace, index: SearchIndex, dialect: SqlDialect, *, unless_there: bool = False
) -> Steps[None]:
    """Make an index, or only write it down where the engine cannot make one.

    Args:
        namespace: whose it is.
        index: what it is over; the columns are checked.
        dialect: of the engine.
        unless_there: an index with this name is taken as it is.

    Raises:
        EngineError: there is one with this name.
    """
    engine = _ENGINES[dialect.name]
    if index.name in (yield from engine.present(namespace.prefix)):
        if unless_there:
            return
        raise EngineError(f"index {index.name} already exists")
    yield from _write_down(namespace, index)
    if not (yield from engine.is_available()):
        yield from engine.drop(index.name)
        yield from engine.create(index)


def drop(namespace: Namespace, name: str, dialect: SqlDialect) -> Steps[bool]:
    """Remove an index; return whether it was one of these."""
    if name not in (yield from _wanted(namespace)):
        return False
    yield from _ENGINES[dialect.name].drop(name)
    yield from _forget(name)
    return True


def reconcile(namespace: Namespace, dialect: SqlDialect) -> Steps[list[str]]:
    """Make again what a change of tables has taken away, and forget what has no table any more.

    Returns:
        Why there are no indexes, where some are wanted and the engine cannot make them.
    """
    wanted = yield from _wanted(namespace)
    if not wanted:
        return []
    engine = _ENGINES[dialect.name]
    present = yield from engine.present(namespace.prefix)
    missing: list[str] = []
    for name, index in wanted.items():
        there = present.get(name, index)  # tables and columns are renamed under it
        if not (yield from _has_columns(namespace, there, dialect)):
            yield from engine.drop(name)
            yield from _forget(name)
            continue
        if there != index:
            yield from _write_down(namespace, there)
        if name not in present:
            reason = yield from engine.is_available()
            if reason:
                missing.append(reason)
                continue
            yield from engine.refill(there)
    return missing


def refresh(dialect: SqlDialect) -> Steps[None]:
    """Fill anew what was folded by another version of Unicode, of all plugins."""
    found = yield Statement("SELECT prefix, name FROM _searches WHERE folding <> ?", (FOLDING,))
    engine = _ENGINES[dialect.name]
    for prefix, name in found.rows:
        index = (yield from engine.present(prefix)).get(name)
        if index is not None:
            yield from engine.refill(index)
        yield Statement("UPDATE _searches SET folding = ? WHERE name = ?", (FOLDING, name))


def clear(namespace: Namespace, dialect: SqlDialect, table: str | None = None) -> Steps[None]:
    """Remove the indexes of a plugin, or those of one table by its full name."""
    for name, index in (yield from _wanted(namespace)).items():
        if table in (None, index.table):
            yield from _ENGINES[dialect.name].drop(name)
            yield from _forget(name)


def _has_columns(namespace: Namespace, index: SearchIndex, dialect: SqlDialect) -> Steps[bool]:
    bare = index.table.removeprefix(namespace.prefix)
    table = yield from Catalog(dialect).find(namespace, bare)
    columns = table.columns if table else {}
    return all(name in columns and _is_searchable(columns[name]) for name in index.columns)


def _is_searchable(column: Column) -> bool:
    return column.rule in _INDEXED


def _wanted(namespace: Namespace) -> Steps[dict[str, SearchIndex]]:
    found = yield Statement(
        "SELECT name, table_name, columns FROM _searches WHERE prefix = ? ORDER BY name",
        (namespace.prefix,),
    )
    return {
        name: SearchIndex(name, table, tuple(msgspec.json.decode(columns)))
        for name, table, columns in found.rows
    }


def _write_down(namespace: Namespace, index: SearchIndex) -> Steps[None]:
    columns = msgspec.json.encode(index.columns).decode()
    yield Statement(
        "INSERT INTO _searches (prefix, name, table_name, columns, folding) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (name) DO UPDATE SET table_name = excluded.table_name, "
        "columns = excluded.columns, folding = excluded.folding",
        (namespace.prefix, index.name, index.table, columns, FOLDING),
    )


def _forget(name: str) -> Steps[None]:
    yield Statement("DELETE FROM _searches WHERE name = ?", (name,))
