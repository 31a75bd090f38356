"""The tables that the service keeps for itself, all of them, and how they came to be what they are.

A database says in `_layout` which version of these tables it has. `upgrade` brings it to the
newest, one step after the other, within the caller's transaction. To change a table, append a step
to `STEPS` and never touch an earlier one: there are databases that have run it.

PostgreSQL's `_schema_version` is not here: it belongs to that engine, which counts in it what
SQLite counts by itself.
"""

from __future__ import annotations

from collections.abc import Callable

from dbservice.engine.dialect import SqlDialect
from dbservice.engine.errors import UnavailableError
from dbservice.engine.steps import Statement, Steps

LOCK = "tables of the service"

NAMESPACES = "_namespaces"
"""The table that every version of the service makes first."""

_LAYOUT = "_layout"


def upgrade(dialect: SqlDialect) -> Steps[None]:
    """Bring the service's own tables to the version that this service knows; repeatable.

    Raises:
        UnavailableError: a newer service has changed them, so that this one cannot use them.
    """
    found = yield from _version(dialect)
    if found == len(STEPS):
        return
    yield from dialect.lock(LOCK)
    found = yield from _version(dialect)  # another replica may have been first
    if found > len(STEPS):
        raise UnavailableError(
            f"The service's own tables have version {found}, and this service knows versions up "
            f"to {len(STEPS)}: a newer version of pytest-rosey has used this database. Upgrade "
            "this one, or use another database."
        )
    for step in STEPS[found:]:
        for sql in step(dialect):
            yield Statement(sql)
    yield Statement(f"DELETE FROM {_LAYOUT}")
    yield Statement(f"INSERT INTO {_LAYOUT} VALUES (?)", (len(STEPS),))


def _version(dialect: SqlDialect) -> Steps[int]:
    """Return the version of a database, 0 where nothing was written down."""
    exists = yield Statement(dialect.table_exists, (_LAYOUT,))
    if not exists.rows:
        return 0
    found = yield Statement(f"SELECT version FROM {_LAYOUT}")
    return int(found.rows[0][0]) if found.rows else 0


def _first(dialect: SqlDialect) -> list[str]:
    """Make the tables of version 1, or take over those that services without versions made.

    Those made the last two only when they were first needed.
    """
    collation, keyed = dialect.collation, dialect.keyed
    return [
        "CREATE TABLE _layout (version BIGINT NOT NULL)",
        f"""
        CREATE TABLE IF NOT EXISTS _namespaces (
            prefix TEXT {collation} PRIMARY KEY, plugin TEXT {collation} NOT NULL
        ){keyed}
        """,
        f"""
        CREATE TABLE IF NOT EXISTS _kv (
            plugin TEXT {collation} NOT NULL, key TEXT {collation} NOT NULL, value TEXT NOT NULL,
            expires_at DOUBLE PRECISION,
            PRIMARY KEY (plugin, key)
        ){keyed}
        """,
        "CREATE INDEX IF NOT EXISTS _kv_expiry ON _kv (expires_at) WHERE expires_at IS NOT NULL",
        f"""
        CREATE TABLE IF NOT EXISTS _idempotency (
            plugin TEXT {collation} NOT NULL, key TEXT {collation} NOT NULL,
            fingerprint TEXT NOT NULL, kind TEXT NOT NULL, reply TEXT NOT NULL,
            answered_at DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (plugin, key)
        ){keyed}
        """,
        "CREATE INDEX IF NOT EXISTS _idempotency_age ON _idempotency (answered_at)",
        """
        CREATE TABLE IF NOT EXISTS _migrations (
            plugin TEXT NOT NULL, version TEXT NOT NULL, name TEXT NOT NULL,
            checksum TEXT NOT NULL, applied_at TEXT NOT NULL, applied_by TEXT NOT NULL,
            execution_ms DOUBLE PRECISION NOT NULL, state TEXT NOT NULL,
            PRIMARY KEY (plugin, version)
        )
        """,
        """
        CREATE TABLE IF NOT EXISTS _imports (
            plugin TEXT NOT NULL, session TEXT NOT NULL, part BIGINT NOT NULL, text TEXT NOT NULL,
            sent_at DOUBLE PRECISION NOT NULL, PRIMARY KEY (plugin, part)
        )
        """,
    ]


def _second(dialect: SqlDialect) -> list[str]:
    """Keep which search indexes there are to be, and the Unicode version that folded their text."""
    return [
        f"""
        CREATE TABLE _searches (
            prefix TEXT {dialect.collation} NOT NULL, name TEXT {dialect.collation} PRIMARY KEY,
            table_name TEXT NOT NULL, columns TEXT NOT NULL, folding TEXT NOT NULL
        ){dialect.keyed}
        """
    ]


STEPS: tuple[Callable[[SqlDialect], list[str]], ...] = (_first, _second)
"""What leads from one version of the tables to the next; the first from none."""
