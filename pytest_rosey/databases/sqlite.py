"""SQLite databases: in memory, in a fresh file for each test, or in a file that is kept."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from typing_extensions import override

from dbservice.engine.sqlite import SqliteEngine
from pytest_rosey.databases import Copies, Databases, Migrate

if TYPE_CHECKING:
    from dbservice.protocol.migrations import Applied
    from pytest_rosey.service.under_test import ServiceUnderTest

_DRIVER = "sqlite+aiosqlite"


class SqliteDatabases(Databases):
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

    @override
    async def take(self) -> str:
        if self._path is None:
            return f"{_DRIVER}://"
        # Composed, not pasted: the path may hold what means something in a URL.
        return sa.URL.create(_DRIVER, database=str(self._path())).render_as_string()

    @override
    async def begun(self) -> None:
        """Do nothing."""

    @override
    def keep(self, service: ServiceUnderTest) -> str:
        # Behind the faults of a test, it is still an SQLite engine.
        engine: Any = service.database.engine
        if engine.path is None:
            directory = Path(tempfile.mkdtemp(prefix="rosey-kept-"))
            path = directory / "rosey.db"
            path.write_bytes(engine.snapshot())
        else:
            path = Path(engine.path)
        return f"The database is kept in {path}. Open it: sqlite3 {shlex.quote(str(path))}"

    @override
    async def end(self, *, keep: bool = False) -> None:
        """Do nothing."""


class SqliteCopies(Copies):
    """Copies databases in memory; their state and their templates are their bytes."""

    @override
    async def state(self, service: ServiceUnderTest) -> bytes | None:
        engine = service.database.engine
        if isinstance(engine, SqliteEngine) and engine.can_be_copied:
            return engine.snapshot()
        return None

    @override
    async def make(self, state: bytes, migrate: Migrate) -> tuple[bytes, Applied]:
        engine = SqliteEngine(f"{_DRIVER}://")
        await engine.open()
        try:
            engine.restore(state)
            applied = await migrate(engine)
            return engine.snapshot(), applied
        finally:
            await engine.close()

    @override
    async def put(self, service: ServiceUnderTest, state: bytes, template: bytes) -> bool:
        engine = service.database.engine
        if not isinstance(engine, SqliteEngine) or engine.snapshot() != state:
            return False
        engine.restore(template)
        return True

    @override
    async def forget(self, template: bytes) -> None:
        """Do nothing."""
