"""What lies below the columns of a table: its order, its sequence, its triggers.

The one place of this package where the engines differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dbservice.engine.dialect import SEARCH_PREFIX, Fragment
from dbservice.engine.errors import ConstraintError
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.tables import Table
from dbservice.sqltext.dialects import Dialect, quoted
from dbservice.storage.normal_form import EVERY_ROW

_SQLITE_COLUMNS = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid"
_POSTGRES_COLUMNS = """
SELECT a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = CAST(? AS TEXT)
    AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum
"""
_POSTGRES_FOREIGN_KEYS = """
SELECT n.conname::text, pg_get_constraintdef(n.oid)
FROM pg_constraint n JOIN pg_class c ON c.oid = n.conrelid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = CAST(? AS TEXT)
    AND n.contype = 'f'
ORDER BY n.conname
"""
_SQLITE_BROKEN = 'SELECT "parent" FROM pragma_foreign_key_check(?) LIMIT 1'
_SQLITE_TRIGGERS = (
    "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? "
    "AND instr(name, ?) <> 1 ORDER BY rowid"
)


class Slice(NamedTuple):
    """Some rows of a table that lie together.

    Attributes:
        rows: the condition for them.
        last: the position of the last one; None if there are none behind it.
    """

    rows: Fragment
    last: int | None


class Layout:
    """How an engine keeps tables.

    Args:
        dialect: which engine.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._is_postgres = dialect is Dialect.POSTGRESQL

    def columns(self, table: Table) -> Steps[list[str]]:
        """Return the columns that can be written, in order: not those that are computed."""
        sql = _POSTGRES_COLUMNS if self._is_postgres else _SQLITE_COLUMNS
        result = yield Statement(sql, (table.full_name,))
        return [row[0] for row in result.rows]

    def position(self, table: Table) -> Steps[list[str]]:
        """Return the SQL of what puts the rows of a table in one order, never null."""
        key = [column.sql for column in table.primary_key]
        if self._is_postgres:
            return key or ["ctid"]
        result = yield Statement("SELECT wr FROM pragma_table_list(?)", (table.full_name,))
        return key if result.rows[0][0] else ["_rowid_"]

    def slice(self, table: Table, after: int | None, most: int) -> Steps[Slice]:
        """Return the next rows of a table; all of them where that holds nobody else up.

        Args:
            table: which.
            after: the position of the last row before them, None for the beginning.
            most: how many at the most.
        """
        if (yield from self.position(table)) != ["_rowid_"]:
            return Slice(EVERY_ROW, None)
        behind = Fragment("_rowid_ > ?", (after,)) if after is not None else EVERY_ROW
        found = yield Statement(
            f"SELECT MAX(at), COUNT(*) FROM (SELECT _rowid_ AS at FROM {table.sql} "  # noqa: S608 - quoted
            f"WHERE {behind.sql} ORDER BY _rowid_ LIMIT ?)",
            (*behind.parameters, most),
        )
        last, rows = found.rows[0]
        if rows < most:
            return Slice(behind, None)
        return Slice(Fragment(f"{behind.sql} AND _rowid_ <= ?", (*behind.parameters, last)), last)

    def sequence(self, table: Table) -> Steps[int | None]:
        """Return the last id that a table gave out, 0 for none yet; None if it gives out none."""
        if self._is_postgres:
            return (yield from _postgres_sequence(table))
        if not (yield from _has_sqlite_sequences()):
            return None
        result = yield Statement(
            "SELECT seq FROM sqlite_sequence WHERE name = ?", (table.full_name,)
        )
        return result.rows[0][0] if result.rows else None

    def set_sequence(self, table: Table, last: int | None) -> Steps[None]:
        """Let a table go on giving out ids after one."""
        if self._is_postgres:
            for column in table.columns.values():
                if column.sequence and last is not None:
                    yield Statement(
                        "SELECT setval(CAST(? AS TEXT)::regclass, ?, ?)",
                        (column.sequence, max(last, 1), last > 0),
                    )
        elif (yield from _has_sqlite_sequences()):
            yield Statement("DELETE FROM sqlite_sequence WHERE name = ?", (table.full_name,))
            if last is not None:
                yield Statement(
                    "INSERT INTO sqlite_sequence VALUES (?, ?)", (table.full_name, last)
                )

    def check_references(self, tables: Sequence[Table]) -> Steps[None]:
        """Refuse rows that refer to rows that are not there.

        PostgreSQL has looked when its foreign keys were put back.

        Raises:
            ConstraintError: there is such a row.
        """
        for table in [] if self._is_postgres else tables:
            broken = yield Statement(_SQLITE_BROKEN, (table.full_name,))
            if broken.rows:
                raise ConstraintError(
                    f"rows of {table.full_name} refer to rows of {broken.rows[0][0]} that are not "
                    "there",
                    kind="foreign key",
                    subject=table.full_name,
                )

    def let_go(self, tables: Sequence[Table]) -> Steps[list[str]]:
        """Take off what would act on rows that are put in; return the SQL that puts it back.

        Those are triggers, whose work is in the rows already, and on PostgreSQL foreign keys,
        which it would check with every row.
        """
        back: list[str] = []
        for table in tables:
            if self._is_postgres:
                back += yield from _postgres_let_go(table)
                continue
            # Those of a search index stay: they put the rows into it, some at a time.
            triggers = yield Statement(_SQLITE_TRIGGERS, (table.full_name, SEARCH_PREFIX))
            for name, sql in triggers.rows:
                yield Statement(f"DROP TRIGGER {quoted(name)}")
                back.append(sql)
        return back


def _has_sqlite_sequences() -> Steps[bool]:
    result = yield Statement("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'")
    return bool(result.rows)


def _postgres_sequence(table: Table) -> Steps[int | None]:
    for column in table.columns.values():
        if column.sequence:
            result = yield Statement(
                f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {column.sequence}"  # noqa: S608 - named by the engine
            )
            last: int = result.rows[0][0]
            return last
    return None


def _postgres_let_go(table: Table) -> Steps[list[str]]:
    keys = yield Statement(_POSTGRES_FOREIGN_KEYS, (table.full_name,))
    yield Statement(f"ALTER TABLE {table.sql} DISABLE TRIGGER USER")
    back = [f"ALTER TABLE {table.sql} ENABLE TRIGGER USER"]
    for name, definition in keys.rows:
        yield Statement(f"ALTER TABLE {table.sql} DROP CONSTRAINT {quoted(name)}")
        back.append(f"ALTER TABLE {table.sql} ADD CONSTRAINT {quoted(name)} {definition}")
    return back
