"""Search indexes on SQLite: an FTS5 table of trigrams beside a table, kept up by triggers.

The triggers only write down which rows were written. Every search takes these for candidates, as
if the index had found them, until there are enough of them to be put into FTS5 together: one by
one they would cost three times as much, because FTS5 writes a segment for each statement.

The index has a copy of the text, folded by the service's own `rosey_lower`, so that neither FTS5's
older folding nor a later one of the service's can make it differ from what a filter compares. The
triggers call that function too: an ordinary SQLite shell, which does not have it, cannot write to
the table behind the index's back. An index whose triggers are not whole is taken for none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from dbservice.engine.dialect import SEARCH_PREFIX, SEARCH_WRITTEN
from dbservice.engine.indexes import SearchIndex
from dbservice.engine.steps import Statement, Steps
from dbservice.sqltext.dialects import quoted

TOGETHER = 128
"""Written rows that are put into FTS5 together, or fewer if they have this much text:"""

TOGETHER_CHARACTERS = 65_536

_WRITES = ("insert", "update", "delete")
_TRIGGERS = (*_WRITES, *(f"{write}_store" for write in _WRITES))
_COLUMN = re.compile(r"length\(NEW\.\"((?:[^\"]|\"\")*)\"\)")

_HAS_FTS = "SELECT 1 FROM pragma_compile_options WHERE compile_options = 'ENABLE_FTS5'"
_PRESENT = """
SELECT t.name, t.tbl_name, t.sql FROM sqlite_master t WHERE t.type = 'trigger'
    AND substr(t.name, 1, 8) = '_search_' AND substr(t.tbl_name, 1, ?) = ?
    AND EXISTS (SELECT 1 FROM sqlite_master f WHERE f.type = 'table'
        AND substr(t.name, 1, length(f.name) + 2) = f.name || '__')
ORDER BY t.name
"""
_KEY = """
SELECT name FROM pragma_table_xinfo(?) WHERE pk = 1 AND upper(type) = 'INTEGER'
    AND (SELECT COUNT(*) FROM pragma_table_xinfo(?) WHERE pk > 0) = 1
    AND (SELECT wr FROM pragma_table_list(?)) = 0
"""


def is_available() -> Steps[str]:
    """Return why there can be no search index; empty if there can."""
    found = yield Statement(_HAS_FTS)
    return "" if found.rows else "this SQLite was built without FTS5"


def key_of(table: str) -> Steps[str | None]:
    """Return the integer primary key of a table, which its rows keep for ever; None for none."""
    found = yield Statement(_KEY, (table, table, table))
    return found.rows[0][0] if found.rows else None


def present(prefix: str) -> Steps[Mapping[str, SearchIndex]]:
    """Return the indexes on the tables with a prefix that are whole, by their names."""
    triggers = yield Statement(_PRESENT, (len(prefix), prefix))
    seen: dict[str, set[str]] = {}
    indexes: dict[str, SearchIndex] = {}
    for trigger, table, sql in triggers.rows:
        name, _, event = trigger.removeprefix(SEARCH_PREFIX).rpartition("__")
        seen.setdefault(name, set()).add(event)
        if event == "insert":
            columns = [found.replace('""', '"') for found in _COLUMN.findall(sql)]
            indexes[name] = SearchIndex(name, table, tuple(columns))
    return {name: index for name, index in indexes.items() if seen[name] == set(_TRIGGERS)}


def create(index: SearchIndex) -> Steps[None]:
    """Make an index and fill it."""
    key = yield from key_of(index.table)
    assert key is not None  # asked before
    place = SEARCH_PREFIX + index.name
    columns = ", ".join(f"c{number}" for number in range(len(index.columns)))
    yield Statement(
        f"CREATE VIRTUAL TABLE {quoted(place)} USING fts5({columns}, detail=column, columnsize=0, "
        "tokenize='trigram case_sensitive 1')"
    )
    yield Statement(
        f"CREATE TABLE {quoted(place + SEARCH_WRITTEN)} (row INTEGER, characters INTEGER)"
    )
    for write, when, versions in (
        ("insert", "INSERT", ("NEW",)),
        ("update", f"UPDATE OF {_listed(dict.fromkeys((key, *index.columns)))}", ("OLD", "NEW")),
        ("delete", "DELETE", ("OLD",)),
    ):
        on = f"AFTER {when} ON {quoted(index.table)}"
        noted = ", ".join(_noted(version, key, index) for version in versions)
        # Which of the two is fired first is not said, and does not matter.
        yield Statement(
            f"CREATE TRIGGER {quoted(f'{place}__{write}')} {on} "
            f"BEGIN INSERT INTO {quoted(place + SEARCH_WRITTEN)} VALUES {noted}; END"
        )
        yield Statement(
            f"CREATE TRIGGER {quoted(f'{place}__{write}_store')} {on} "
            f"WHEN (SELECT COUNT(*) >= {TOGETHER} OR SUM(characters) >= {TOGETHER_CHARACTERS} "
            f"FROM {quoted(place + SEARCH_WRITTEN)}) BEGIN {_store(index, key)} END"
        )
    yield Statement(_fill(index, key))


def drop(name: str) -> Steps[None]:
    """Remove an index, or what is left of one."""
    place = SEARCH_PREFIX + name
    for trigger in _TRIGGERS:
        yield Statement(f"DROP TRIGGER IF EXISTS {quoted(f'{place}__{trigger}')}")
    yield Statement(f"DROP TABLE IF EXISTS {quoted(place + SEARCH_WRITTEN)}")
    yield Statement(f"DROP TABLE IF EXISTS {quoted(place)}")


def refill(index: SearchIndex) -> Steps[None]:
    """Make an index hold what its table holds, whatever it held before."""
    yield from drop(index.name)
    yield from create(index)


def _noted(version: str, key: str, index: SearchIndex) -> str:
    lengths = (f"COALESCE(length({version}.{quoted(name)}), 0)" for name in index.columns)
    return f"({version}.{quoted(key)}, {' + '.join(lengths)})"


def _store(index: SearchIndex, key: str) -> str:
    """Return the statements that put the rows that were written down into FTS5."""
    place = SEARCH_PREFIX + index.name
    rows = f"(SELECT row FROM {quoted(place + SEARCH_WRITTEN)})"
    return (
        f"DELETE FROM {quoted(place)} WHERE rowid IN {rows}; "
        f"{_fill(index, key, f'WHERE {quoted(key)} IN {rows}')}; "
        f"DELETE FROM {quoted(place + SEARCH_WRITTEN)};"
    )


def _fill(index: SearchIndex, key: str, which: str = "") -> str:
    columns = ", ".join(f"c{number}" for number in range(len(index.columns)))
    folded = ", ".join(f"rosey_lower({quoted(column)})" for column in index.columns)
    return (
        f"INSERT INTO {quoted(SEARCH_PREFIX + index.name)} (rowid, {columns}) "
        f"SELECT {quoted(key)}, {folded} FROM {quoted(index.table)} {which} ORDER BY {quoted(key)}"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(quoted, names))
