"""SQLite databases: in memory, in a fresh file for each test, or in a file that is kept."""

from __future__ import annotations

import shlex
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from dbservice.engine.sqlite import SqliteEngine

if TYPE_CHECKING:
    from dbservice.protocol.migrations import Applied
    from pytest_rosey.databases import Migrate
    from pytest_rosey.service.under_test import ServiceUnderTest

_DRIVER = "sqlite+aiosqlite"


class SqliteDatabases:
    """Gives each test an SQLite database.

    Args:
        path: returns the file of the next test; None for a database in memory.
        outlives_the_test: whether it is the same file each time.
    """

    def __init__(
        self, path: Callable[[], Path] | None = None, *, outlives_the_test: bool = False
    ) -> None:
        self.outlives_the_test = outlives_the_test
        self.copies = SqliteCopies()
        self._path = path

    async def take(self) -> str:
        """Return a URL; see `Databases`."""
        if self._path is None:
            return f"{_DRIVER}://"
        # Composed, not pasted: the path may hold what means something in a URL.
        return sa.URL.create(_DRIVER, database=str(self._path())).render_as_string()

    async def begun(self) -> None:
        """Do nothing; see `Databases`."""

    def keep(self, service: ServiceUnderTest) -> str:
        """Write what is in memory to a file, and return how to open that; see `Databases`."""
        # Behind the faults of a test, it is still an SQLite engine.
        engine: Any = service.database.engine
        if engine.path is None:
            directory = Path(tempfile.mkdtemp(prefix="rosey-kept-"))
            path = directory / "rosey.db"
            path.write_bytes(engine.snapshot())
        else:
            path = Path(engine.path)
        return f"The database is kept in {path}. Open it: sqlite3 {shlex.quote(str(path))}"

    async def end(self, *, keep: bool = False) -> None:
        """Do nothing: pytest removes the files in its own time; see `Databases`."""


class SqliteCopies:
    """Copies databases in memory; their state and their templates are their bytes."""

    async def state(self, service: ServiceUnderTest) -> bytes | None:
        """Return what is in a database; see `Copies`."""
        engine = service.database.engine
        return engine.snapshot() if isinstance(engine, SqliteEngine) and _can(engine) else None

    async def make(self, state: bytes, migrate: Migrate) -> tuple[bytes, Applied]:
        """Migrate a copy, out of reach of whatever the test does meanwhile; see `Copies`."""
        engine = SqliteEngine(f"{_DRIVER}://")
        await engine.open()
        try:
            engine.restore(state)
            applied = await migrate(engine)
            return engine.snapshot(), applied
        finally:
            await engine.close()

    async def put(self, service: ServiceUnderTest, state: bytes, template: bytes) -> bool:
        """Replace what is in a database; see `Copies`."""
        engine = service.database.engine
        if not isinstance(engine, SqliteEngine) or engine.snapshot() != state:
            return False
        engine.restore(template)
        return True

    async def forget(self, template: bytes) -> None:
        """Do nothing; see `Copies`."""


def _can(engine: SqliteEngine) -> bool:
    # Python may have been built with an SQLite that leaves this out.
    return engine.path is None and hasattr(sqlite3.Connection, "deserialize")
