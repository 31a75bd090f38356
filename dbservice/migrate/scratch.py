"""Empty databases on which migrations are tried (SPEC 4, `verify`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from uuid import uuid4

import sqlalchemy as sa

from dbservice.engine.engine import Engine
from dbservice.engine.sqlite import SqliteEngine
from dbservice.engine.steps import Statement, Steps
from dbservice.sqltext.dialects import Dialect, quoted

Scratch = Callable[[], AbstractAsyncContextManager[Engine]]
"""Opens an empty database that nobody else uses, and throws it away at the end."""

_PREFIX = "rosey_scratch_"


def scratch_beside(engine: Engine) -> Scratch:
    """Return what opens a scratch database of the same kind as an engine's."""
    if engine.dialect is Dialect.SQLITE:
        return sqlite_scratch
    return partial(_schema_beside, engine)


@asynccontextmanager
async def sqlite_scratch() -> AsyncIterator[Engine]:
    """Open an empty SQLite database in memory."""
    engine = SqliteEngine("sqlite+aiosqlite://")
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def postgres_scratch(url: str | sa.URL) -> AsyncIterator[Engine]:
    """Open an empty schema in a PostgreSQL database.

    Args:
        url: of the database; its user needs the right to create a schema.

    Raises:
        EngineError: it cannot be reached, or the right is missing.
    """
    from dbservice.engine.postgres import PostgresEngine

    outside = PostgresEngine(url)
    await outside.open()
    try:
        async with _schema_beside(outside) as engine:
            yield engine
    finally:
        await outside.close()


@asynccontextmanager
async def _schema_beside(outside: Engine) -> AsyncIterator[Engine]:
    from dbservice.engine.postgres import PostgresEngine

    assert isinstance(outside, PostgresEngine)
    name = f"{_PREFIX}{uuid4().hex[:12]}"
    await outside.write(lambda: _run(f"CREATE SCHEMA {quoted(name)}"))
    engine = PostgresEngine(outside.url.update_query_dict({"search_path": name}), pool_size=2)
    try:
        await engine.open()
        yield engine
    finally:
        await engine.close()
        await outside.write(lambda: _run(f"DROP SCHEMA {quoted(name)} CASCADE"))


def _run(sql: str) -> Steps[None]:
    yield Statement(sql)
