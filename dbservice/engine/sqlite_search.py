"""Search indexes on SQLite: an FTS5 table of trigrams beside a table, kept up by triggers.

The index has a copy of the text, folded by the service's own `rosey_lower`, so that neither FTS5's
older folding nor a later one of the service's can make it differ from what a filter compares. The
triggers call that function too: an ordinary SQLite shell, which does not have it, cannot write to
the table behind the index's back. An index whose triggers are not whole is taken for none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dbservice.engine.dialect import SEARCH_PREFIX
from dbservice.engine.indexes import SearchIndex
from dbservice.engine.steps import Statement, Steps
from dbservice.sqltext.dialects import quoted

_EVENTS = ("insert", "update", "delete")
_FOLDED = re.compile(r"rosey_lower\(NEW\.\"((?:[^\"]|\"\")*)\"\)")

_HAS_FTS = "SELECT 1 FROM pragma_compile_options WHERE compile_options = 'ENABLE_FTS5'"
_TRIGGERS = """
SELECT t.name, t.tbl_name, t.sql FROM sqlite_master t WHERE t.type = 'trigger'
    AND substr(t.name, 1, 8) = '_search_' AND substr(t.tbl_name, 1, ?) = ?
    AND EXISTS (SELECT 1 FROM sqlite_master f WHERE f.type = 'table'
        AND t.name IN (f.name || '__insert', f.name || '__update', f.name || '__delete'))
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
    triggers = yield Statement(_TRIGGERS, (len(prefix), prefix))
    seen: dict[str, set[str]] = {}
    indexes: dict[str, SearchIndex] = {}
    for trigger, table, sql in triggers.rows:
        name, _, event = trigger.removeprefix(SEARCH_PREFIX).rpartition("__")
        seen.setdefault(name, set()).add(event)
        if event == "insert":
            columns = [found.replace('""', '"') for found in _FOLDED.findall(sql)]
            indexes[name] = SearchIndex(name, table, tuple(columns))
    return {name: index for name, index in indexes.items() if len(seen[name]) == len(_EVENTS)}


def create(index: SearchIndex) -> Steps[None]:
    """Make an index and fill it."""
    key = yield from key_of(index.table)
    assert key is not None  # asked before
    place, at = quoted(SEARCH_PREFIX + index.name), quoted(key)
    columns = [f"c{number}" for number in range(len(index.columns))]
    listed = ", ".join(columns)
    new = ", ".join(f"rosey_lower(NEW.{quoted(column)})" for column in index.columns)
    put = f"INSERT INTO {place} (rowid, {listed}) VALUES (NEW.{at}, {new})"
    take = f"DELETE FROM {place} WHERE rowid = OLD.{at}"
    of = ", ".join(quoted(column) for column in dict.fromkeys((key, *index.columns)))
    yield Statement(
        f"CREATE VIRTUAL TABLE {place} USING fts5({listed}, detail=column, "
        "tokenize='trigram case_sensitive 1')"
    )
    for event, when, does in (
        ("insert", "INSERT", put),
        ("update", f"UPDATE OF {of}", f"{take}; {put}"),
        ("delete", "DELETE", take),
    ):
        trigger = quoted(f"{SEARCH_PREFIX}{index.name}__{event}")
        yield Statement(
            f"CREATE TRIGGER {trigger} AFTER {when} ON {quoted(index.table)} BEGIN {does}; END"
        )
    yield from _fill(index, key)


def drop(name: str) -> Steps[None]:
    """Remove an index, or what is left of one."""
    for event in _EVENTS:
        yield Statement(f"DROP TRIGGER IF EXISTS {quoted(f'{SEARCH_PREFIX}{name}__{event}')}")
    yield Statement(f"DROP TABLE IF EXISTS {quoted(SEARCH_PREFIX + name)}")


def refill(index: SearchIndex) -> Steps[None]:
    """Make an index hold what its table holds, whatever it held before."""
    yield from drop(index.name)
    yield from create(index)


def _fill(index: SearchIndex, key: str) -> Steps[None]:
    columns = ", ".join(f"c{number}" for number in range(len(index.columns)))
    folded = ", ".join(f"rosey_lower({quoted(column)})" for column in index.columns)
    yield Statement(
        f"INSERT INTO {quoted(SEARCH_PREFIX + index.name)} (rowid, {columns}) "
        f"SELECT {quoted(key)}, {folded} FROM {quoted(index.table)} ORDER BY {quoted(key)}"
    )
