"""A database for tests of migrations, with the shortest way to run a statement on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbservice.storage.sqlite import SqliteEngine
from dbservice.storage.steps import Statement, Steps

SHIPPED = Path(__file__).parents[2] / "migrations"


class Database:
    """An engine with the shortest way to run a statement on it."""

    def __init__(self, engine: SqliteEngine) -> None:
        self.engine = engine

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        def steps() -> Steps[list[tuple[Any, ...]]]:
            return (yield Statement(sql, parameters)).rows

        return await self.engine.read(steps)

    async def write(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return await self.write_many(sql, [parameters])

    async def write_many(self, sql: str, many: Sequence[Sequence[Any]]) -> int:
        def steps() -> Steps[int]:
            affected = 0
            for parameters in many:
                affected += (yield Statement(sql, parameters)).affected
            return affected

        return await self.engine.write(steps)

    async def everything(self) -> list[tuple[Any, ...]]:
        """Schema and counters: what a dry run or a failure must not change."""
        schema = await self.rows("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
        has_counters = any(name == "sqlite_sequence" for _, name, _ in schema)
        counters = await self.rows("SELECT * FROM sqlite_sequence") if has_counters else []
        return [*schema, *sorted(counters)]
