"""`CREATE INDEX … USING trigram (…)` and its DROP INDEX, which no engine has as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dbservice.engine.dialect import dialect_of
from dbservice.engine.errors import EngineError
from dbservice.engine.indexes import SearchIndex
from dbservice.engine.steps import Steps
from dbservice.migrate.script import Script
from dbservice.sqltext.lexer import Token, tokens
from dbservice.storage import search_indexes
from dbservice.storage.catalog import Catalog

_SHAPE = "CREATE INDEX name ON table USING trigram (column, …)"


class _Wanted(NamedTuple):
    """A search index as a statement describes it; `unless_there` is IF NOT EXISTS."""

    search: SearchIndex
    unless_there: bool


def ran(script: Script, sql: str) -> Steps[bool]:
    """Run a statement if it is about a search index; return whether it was.

    Raises:
        EngineError: it cannot be done; the text says why.
    """
    words = list(tokens(sql, script.dialect))
    keywords = [token.keyword or token.name.upper() for token in words]
    if keywords[:2] == ["DROP", "INDEX"]:
        return (yield from _dropped(script, words, keywords))
    if keywords[:1] != ["CREATE"] or "TRIGRAM" not in keywords or "USING" not in keywords:
        return False
    wanted = _read(words, keywords)
    dialect, namespace = dialect_of(script.dialect), script.namespace
    bare = wanted.search.table.removeprefix(namespace.prefix)
    table = yield from Catalog(dialect).find(namespace, bare)
    if table is None:
        raise EngineError(f"there is no table '{bare}' to index")
    yield from search_indexes.check(table, wanted.search.columns, dialect)
    yield from search_indexes.create(
        namespace, wanted.search, dialect, unless_there=wanted.unless_there
    )
    return True


def _dropped(script: Script, words: Sequence[Token], keywords: Sequence[str]) -> Steps[bool]:
    start = 4 if keywords[2:4] == ["IF", "EXISTS"] else 2
    names = [token.name for token in words[start:] if token.is_name]
    dialect = dialect_of(script.dialect)
    dropped = 0
    for name in names:
        dropped += yield from search_indexes.drop(script.namespace, name, dialect)
    if 0 < dropped < len(names):
        raise EngineError("drop a search index in a statement of its own")
    return dropped > 0


def _read(words: Sequence[Token], keywords: Sequence[str]) -> _Wanted:
    """Return the parts of a statement that `qualify` has let through.

    Raises:
        EngineError: it has another shape.
    """
    unless_there = keywords[2:5] == ["IF", "NOT", "EXISTS"]
    rest = words[5 if unless_there else 2 :]
    shape = [token.keyword or token.text for token in rest]
    columns = [token.name for token in rest[6:-1:2]]
    is_list = bool(columns) and all(text == "," for text in shape[7:-1:2]) and shape[-1] == ")"
    is_whole = shape[1:2] == ["ON"] and shape[3:4] == ["USING"] and shape[5:6] == ["("]
    if keywords[1] != "INDEX" or not is_whole or not is_list or "" in columns:
        raise EngineError(f"a search index is written as {_SHAPE}")
    return _Wanted(SearchIndex(rest[0].name, rest[2].name, tuple(columns)), unless_there)
