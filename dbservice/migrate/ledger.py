"""The bookkeeping table: which migrations of which plugin are applied (SPEC 4)."""

from __future__ import annotations

from dbservice.engine.dialect import dialect_of
from dbservice.engine.steps import Statement, Steps
from dbservice.protocol.migrations import HistoryEntry
from dbservice.sqltext.dialects import Dialect

TABLE = "_migrations"
APPLIED = "applied"
REPAIRED = "repaired"
"""The state of a row whose checksum was deliberately replaced."""

_COLUMNS = "version, name, checksum, applied_at, applied_by, execution_ms, state"


def read(dialect: Dialect, plugin: str) -> Steps[list[HistoryEntry]]:
    """Return a plugin's rows, oldest version first. Never writes; a missing table has no rows."""
    exists = yield Statement(dialect_of(dialect).table_exists, (TABLE,))
    if not exists.rows:
        return []
    found = yield Statement(
        f"SELECT {_COLUMNS} FROM {TABLE} WHERE plugin = ? ORDER BY version",  # noqa: S608
        (plugin,),
    )
    return [
        HistoryEntry(
            version=version,
            name=name,
            checksum=checksum,
            applied_at=applied_at,
            applied_by=applied_by,
            execution_ms=execution_ms,
            state=state,
        )
        for version, name, checksum, applied_at, applied_by, execution_ms, state in found.rows
    ]


def insert(plugin: str, entry: HistoryEntry) -> Steps[None]:
    """Record an applied migration."""
    yield Statement(
        f"INSERT INTO {TABLE} (plugin, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            plugin,
            entry.version,
            entry.name,
            entry.checksum,
            entry.applied_at,
            entry.applied_by,
            entry.execution_ms,
            entry.state,
        ),
    )


def delete(plugin: str, version: str) -> Steps[None]:
    """Forget a migration that was rolled back."""
    yield Statement(
        f"DELETE FROM {TABLE} WHERE plugin = ? AND version = ?",  # noqa: S608
        (plugin, version),
    )


def forget(dialect: Dialect, plugin: str) -> Steps[int]:
    """Delete all rows of a plugin; return how many there were."""
    exists = yield Statement(dialect_of(dialect).table_exists, (TABLE,))
    if not exists.rows:
        return 0
    deleted = yield Statement(f"DELETE FROM {TABLE} WHERE plugin = ?", (plugin,))  # noqa: S608
    return deleted.affected


def replace_file(plugin: str, version: str, name: str, checksum: str) -> Steps[None]:
    """Record that the file of an applied migration was changed or renamed on purpose."""
    yield Statement(
        f"UPDATE {TABLE} SET name = ?, checksum = ?, state = ? "  # noqa: S608
        "WHERE plugin = ? AND version = ?",
        (name, checksum, REPAIRED, plugin, version),
    )


def try_lock(dialect: Dialect, plugin: str) -> Steps[bool]:
    """Take the plugin's lock until the transaction ends; False if another replica has it.

    SQLite has one writer, so being inside the transaction is the lock.
    """
    if dialect is Dialect.SQLITE:
        return True
    taken = yield Statement(
        "SELECT pg_try_advisory_xact_lock(hashtextextended(?, 0))", (f"{TABLE}:{plugin}",)
    )
    return bool(taken.rows[0][0])
