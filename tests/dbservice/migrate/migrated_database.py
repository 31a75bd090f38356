"""A database for tests of migrations, with the shortest way to run a statement on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbservice.engine.engine import Engine
from dbservice.engine.steps import Statement, Steps
from dbservice.sqltext.dialects import Dialect
from tests import ROOT

SHIPPED = ROOT / "migrations"


class Database:
    """An engine with the shortest way to run a statement on it, and to ask for its catalog.

    Tables and indexes are named in full. Names come without quotes.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        def steps() -> Steps[list[tuple[Any, ...]]]:
            return (yield Statement(sql, parameters)).rows

        return await self.engine.read(steps)

    async def write(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        def steps() -> Steps[int]:
            return (yield Statement(sql, parameters)).affected

        return await self.engine.write(steps)

    async def tables(self) -> list[str]:
        """Return the tables that migrations made, by name."""
        found = await self.rows(_TABLES[self.engine.dialect])
        return sorted(name for (name,) in found if not name.startswith(("_", "sqlite_")))

    async def columns(self, table: str) -> list[str]:
        """Return the columns of a table in their order."""
        return [name for (name,) in await self.rows(_COLUMNS[self.engine.dialect], (table,))]

    async def indexes(self, table: str) -> dict[str, str]:
        """Return what each index of a table is over, `timestamp DESC`; not that of its key."""
        found = await self.rows(_INDEXES[self.engine.dialect], (table,))
        inside = {name: sql.partition("(")[2].rpartition(")")[0] for name, sql in found}
        return {name: text.replace('"', "") for name, text in inside.items()}

    async def last_id(self, table: str) -> int:
        """Return the highest id that was ever given in a table, deleted rows included."""
        ((found,),) = await self.rows(_LAST_ID[self.engine.dialect], (table,))
        return int(found)

    async def everything(self) -> list[tuple[Any, ...]]:
        """Schema and counters: what a dry run or a failure must not change (SQLite)."""
        schema = await self.rows("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
        has_counters = any(name == "sqlite_sequence" for _, name, _ in schema)
        counters = await self.rows("SELECT * FROM sqlite_sequence") if has_counters else []
        return [*schema, *sorted(counters)]


_TABLES = {
    Dialect.SQLITE: "SELECT name FROM sqlite_master WHERE type = 'table'",
    Dialect.POSTGRESQL: "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()",
}
_COLUMNS = {
    Dialect.SQLITE: "SELECT name FROM pragma_table_info(?)",
    Dialect.POSTGRESQL: """
        SELECT column_name::text FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = CAST(? AS TEXT)
        ORDER BY ordinal_position
    """,
}
_INDEXES = {
    Dialect.SQLITE: """
        SELECT name, sql FROM sqlite_master
        WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?
    """,
    Dialect.POSTGRESQL: """
        SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
        WHERE NOT indisprimary AND indrelid = to_regclass(CAST(? AS TEXT))
    """,
}
_LAST_ID = {
    Dialect.SQLITE: "SELECT seq FROM sqlite_sequence WHERE name = ?",
    Dialect.POSTGRESQL: """
        SELECT pg_sequence_last_value(pg_get_serial_sequence(CAST(? AS TEXT), 'id')::regclass)
    """,
}
