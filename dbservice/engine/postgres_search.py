"""Search indexes on PostgreSQL: a GIN index of pg_trgm's trigrams over the folded text.

`_rosey_fold` folds as the service does, character by character, and is made anew whenever the
service's idea of case changes. A text of ASCII alone, which most are, takes the short way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dbservice.engine.dialect import FOLD
from dbservice.engine.errors import EngineError
from dbservice.engine.folding import capitals_and_smalls
from dbservice.engine.indexes import SearchIndex
from dbservice.engine.steps import Statement, Steps
from dbservice.sqltext.dialects import quoted

_COLUMN = re.compile(rf"{FOLD}\((?:\()?(?:\"((?:[^\"]|\"\")+)\"|(\w+))")

_INSTALLED = """
SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_trgm'
"""
_INSTALLABLE = "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"
_PUBLIC = "SELECT 1 FROM pg_namespace WHERE nspname = 'public'"
_PRESENT = f"""
SELECT i.relname::text, t.relname::text, pg_get_indexdef(i.oid)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
    JOIN pg_am a ON a.oid = i.relam AND a.amname = 'gin'
WHERE t.relnamespace = current_schema()::regnamespace AND substr(t.relname::text, 1, ?) = ?
    AND pg_get_indexdef(i.oid) LIKE '%{FOLD}(%'
"""


def is_available() -> Steps[str]:
    """Install the extension if it is not there; return why there can be no search index."""
    if (yield Statement(_INSTALLED)).rows:
        return ""
    if not (yield Statement(_INSTALLABLE)).rows:
        return "this PostgreSQL has no extension pg_trgm; its operator can install it"
    where = " WITH SCHEMA public" if (yield Statement(_PUBLIC)).rows else ""
    yield Statement("SAVEPOINT extension")
    try:
        yield Statement(f"CREATE EXTENSION IF NOT EXISTS pg_trgm{where}")
    except EngineError:
        yield Statement("ROLLBACK TO SAVEPOINT extension")
        return (
            "the service's user may not create the extension pg_trgm; the database's owner can, "
            "with: CREATE EXTENSION pg_trgm"
        )
    yield Statement("RELEASE SAVEPOINT extension")
    return ""


def key_of(_table: str) -> Steps[str | None]:
    """Return a name: here an index needs no key."""
    yield from ()
    return ""


def present(prefix: str) -> Steps[Mapping[str, SearchIndex]]:
    """Return the indexes on the tables with a prefix, by their names."""
    found = yield Statement(_PRESENT, (len(prefix), prefix))
    return {
        name: SearchIndex(name, table, folded_columns(definition))
        for name, table, definition in found.rows
    }


def folded_columns(definition: str) -> tuple[str, ...]:
    """Return the columns of a search index; none of another index."""
    return tuple(
        (quoted_name or plain).replace('""', '"')
        for quoted_name, plain in _COLUMN.findall(definition)
    )


def create(index: SearchIndex) -> Steps[None]:
    """Make an index."""
    yield from make_function()
    schema = (yield Statement(_INSTALLED)).rows[0][0]
    folded = ", ".join(
        f"{FOLD}({quoted(column)}) {quoted(schema)}.gin_trgm_ops" for column in index.columns
    )
    yield Statement(
        f"CREATE INDEX {quoted(index.name)} ON {quoted(index.table)} USING gin ({folded})"
    )


def drop(name: str) -> Steps[None]:
    """Remove an index."""
    yield Statement(f"DROP INDEX IF EXISTS {quoted(name)}")


def refill(index: SearchIndex) -> Steps[None]:
    """Build an index anew."""
    yield from drop(index.name)
    yield from create(index)


def make_function() -> Steps[None]:
    """Make the function that folds a text as the service does."""
    capitals, smalls = (text.replace("'", "''") for text in capitals_and_smalls())
    # The literals are cut by no backslash: standard_conforming_strings is on since 9.1.
    yield Statement(
        f"CREATE OR REPLACE FUNCTION {FOLD}(text) RETURNS text LANGUAGE sql IMMUTABLE "
        "PARALLEL SAFE AS $fold$ SELECT CASE WHEN octet_length($1) = char_length($1) "
        f"THEN lower($1 COLLATE \"C\") ELSE translate($1, '{capitals}', '{smalls}') END $fold$"
    )
