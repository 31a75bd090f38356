"""What the checks of migrations look at: one plugin's directory, and databases to try it on."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dbservice.engine.sqlite import SqliteEngine
from dbservice.migrate import Migrator, plugins
from dbservice.migrate.files import MigrationFile, migration_paths, read_migrations
from dbservice.migrate.scratch import Scratch, postgres_scratch, sqlite_scratch
from dbservice.migrate.structure import Structure, read
from dbservice.protocol import Namespace, RequestError, namespace
from dbservice.sqltext.dialects import Dialect
from pytest_rosey.checks.failure import Block, CheckFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")

__tracebackhide__ = methodcaller("errisinstance", CheckFailed)

_LINES_AROUND = 2


class MigrationWarning(UserWarning):
    """A migration may destroy or break something; see `dbservice.migrate.warnings`."""


@dataclass(frozen=True, slots=True)
class PluginMigrations:
    """The migrations of one plugin.

    Attributes:
        plugin: its name, which is that of the directory.
        directory: where the files are.
    """

    plugin: str
    directory: Path

    @property
    def paths(self) -> list[Path]:
        """The files, by name."""
        return migration_paths(self.directory)

    def owner(self) -> Namespace:
        """Return the plugin's namespace.

        Raises:
            CheckFailed: the directory's name is no plugin name.
        """
        try:
            return namespace(self.plugin)
        except RequestError as error:
            raise CheckFailed(error.message, [("Directory", str(self.directory))]) from None

    def files(self) -> list[MigrationFile]:
        """Return the parsed files, in order.

        Raises:
            CheckFailed: they are no sound sequence, or one cannot be understood.
        """
        owner = self.owner()
        try:
            return read_migrations([self.directory], owner.plugin)
        except RequestError as error:
            raise self.failure(error) from None

    def failure(self, error: RequestError) -> CheckFailed:
        """Return what the service says about a file, with the lines that it is about."""
        return CheckFailed(error.message, self._excerpt(error.details))

    def _excerpt(self, details: dict[str, Any]) -> Sequence[Block]:
        file, line = details.get("file"), details.get("line")
        if file is None or line is None:
            return [("Directory", str(self.directory))]
        path = self.directory / file
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        first = max(line - _LINES_AROUND, 1)
        shown = [
            f"{'>' if number == line else ' '} {number:4} {text}"
            for number, text in enumerate(lines[first - 1 : line + _LINES_AROUND], first)
        ]
        return [(f"{path}:{line}", "\n".join(shown))]


def plugins_below(roots: Sequence[Path]) -> list[PluginMigrations]:
    """Return every plugin with migrations below the roots, sorted by name."""
    return [PluginMigrations(plugin, path) for plugin, path in sorted(plugins(roots).items())]


class Trial:
    """A plugin's migrations on an empty database in memory.

    Args:
        migrations: of the plugin.
        engine: the database, open.
    """

    def __init__(self, migrations: PluginMigrations, engine: SqliteEngine) -> None:
        self._engine = engine
        self._prefix = migrations.owner().prefix
        self.migrator = Migrator(engine, [migrations.directory])

    def content(self) -> list[str]:
        """Return all that is in the database, as the SQL that makes it."""
        snapshot = self._engine.snapshot()
        with closing(sqlite3.connect(":memory:")) as copy:
            if snapshot:
                copy.deserialize(snapshot)
            return list(copy.iterdump())

    async def structure(self) -> Structure:
        """Return the plugin's tables and views."""
        return await self._engine.read(lambda: read(Dialect.SQLITE, self._prefix))


@asynccontextmanager
async def trial(migrations: PluginMigrations) -> AsyncIterator[Trial]:
    """Open an empty database for a plugin's migrations; what the service refuses fails the check.

    Raises:
        CheckFailed: a migration was refused, or failed.
    """
    async with sqlite_scratch() as engine:
        assert isinstance(engine, SqliteEngine)
        try:
            yield Trial(migrations, engine)
        except RequestError as error:
            raise migrations.failure(error) from None


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a loop of its own, and leave pytest-asyncio's loops alone."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            return runner.run(work())
        except CheckFailed as failed:
            raise failed.with_traceback(None) from None  # asyncio's part in it tells nothing


@functools.cache
def postgres() -> Scratch | None:
    """Return what opens a scratch database on PostgreSQL, or None where there is none.

    The server is started once and ends with the process.
    """
    from pytest_rosey.servers.nats import ServerUnavailable
    from pytest_rosey.servers.postgres import PostgresServer, unavailable_reason

    if importlib.util.find_spec("asyncpg") is None or unavailable_reason() is not None:
        return None
    server = PostgresServer()
    try:
        server.start()
    except ServerUnavailable:
        return None
    return functools.partial(postgres_scratch, server.url())
