"""PostgreSQL databases: a throw-away one for each test, cloned from a template (SPEC 5.3, 5.5).

The templates are databases themselves, which PostgreSQL copies file by file: a blank one, in which
a service finds its own tables, and one for each thing that tests migrate. A test begins on a clone
of the blank one; when it migrates, its service is moved to a clone of the migrated one, and the
blank clone, in which nothing happened, serves the next test.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from typing_extensions import override

from dbservice.engine.errors import EngineError
from dbservice.engine.postgres import PostgresEngine
from dbservice.migrate import Migrator
from dbservice.protocol import RequestError
from dbservice.runtime.clock import SystemClock
from dbservice.storage.database import Database
from pytest_rosey.databases import Copies, Databases, Migrate
from pytest_rosey.databases.administration import OLDEST, About, Administration
from pytest_rosey.servers.errors import ServerUnavailable

if TYPE_CHECKING:
    from dbservice.protocol.migrations import Applied
    from pytest_rosey.servers.postgres import PostgresProvider
    from pytest_rosey.service.under_test import ServiceUnderTest

PREFIX = "rosey_test_"
"""How the names of all our databases begin: `rosey_test_1f9c2ab4_gw0_3`."""

_BLANK = "blank"
_PATIENCE = 10.0
_FAR_APART = 1_000_000_000
_FIRST_WITH_STRATEGIES = 15

# Files instead of the log: faster, as long as nothing else on the server waits for a checkpoint.
_BY_FILE = "STRATEGY FILE_COPY"

# The next transaction that writes something, anywhere on the server, gets the next number.
_NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS number"
_ACTIVITY = """
SELECT pid, state_change::text FROM pg_stat_activity WHERE datname = $1 ORDER BY pid
"""
# Those of runs that are connected no more; each run has a connection for as long as it lasts.
_LEFT_BEHIND = """
SELECT d.datname FROM pg_database d
WHERE starts_with(d.datname, $1) AND pg_get_userbyid(d.datdba) = current_user AND NOT EXISTS (
    SELECT 1 FROM pg_stat_activity a
    WHERE starts_with(a.application_name, $1)
        AND starts_with(d.datname, a.application_name || '_'))
"""


@dataclass(slots=True)
class Clone:
    """A database of one test.

    Attributes:
        name: of the database.
        template: what it was cloned from.
        mark: which transaction was the next when its test began.
    """

    name: str
    template: str
    mark: str = ""


class PostgresDatabases(Databases):
    """Makes, clones and drops databases on a PostgreSQL server.

    Args:
        server: a running server.
        worker: the name of this pytest-xdist worker; in the names of the databases.
    """

    outlives_the_test = False

    def __init__(self, server: PostgresProvider, worker: str) -> None:
        self._server = server
        self._run = f"{PREFIX}{uuid.uuid4().hex[:8]}_{worker}"
        self._administration: Administration
        self._numbers = itertools.count(1)
        self._blank: str | None = None
        self._current: Clone | None = None
        self._clean: dict[str, Clone] = {}
        self._tidying: Future[Clone | None] | None = None
        self._how = ""
        self.copies = PostgresCopies(self)

    def open(self) -> About:
        """Start the server, connect to it, and drop what dead runs left, unless it is in use.

        Raises:
            ServerUnavailable: it cannot be reached, or is not ours to use; the text says why.
        """
        self._server.start()
        self._administration = Administration(self._server.url(), self._run)
        about = self._administration.open()
        try:
            self._refuse_unless_usable(about)
        except ServerUnavailable:
            self._administration.close()
            raise
        if self._server.provider != "url" and about.major >= _FIRST_WITH_STRATEGIES:
            self._how = _BY_FILE
        for (name,) in self._administration.ask_now(_LEFT_BEHIND, PREFIX):
            # Somebody may be looking into it, or another run be dropping it: the next one will.
            with suppress(ServerUnavailable):
                self._administration.ask_now(f"DROP DATABASE IF EXISTS {name}")
        return about

    def close(self) -> None:
        """Drop all databases of this run, and disconnect."""
        if self._tidying is not None:
            wait([self._tidying], _PATIENCE)
        if self._server.provider == "url":  # else they go with their server
            with suppress(ServerUnavailable):  # it is gone: the next run there drops them
                self._drop_all()
        self._administration.close()

    def _drop_all(self) -> None:
        mine = "SELECT datname FROM pg_database WHERE starts_with(datname, $1)"
        for (name,) in self._administration.ask_now(mine, f"{self._run}_"):
            self._administration.ask_now(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def take(self) -> str:
        """Return the URL of a database that is empty but for the service's own tables."""
        await self.end()
        if self._blank is None:
            self._blank = await self._made_blank()
        self._current = await self.clone(self._blank)
        return self._server.url(self._current.name)

    @override
    async def begun(self) -> None:
        await self._tidied()
        if self._current is not None:
            self._current.mark = await self._next_transaction()

    @override
    def keep(self, service: ServiceUnderTest) -> str:
        del service
        name = _kept_name(self._current)
        if self._server.provider != "url":
            return (
                "The database ends with its server, which this run has started. To keep it, name "
                "a server that goes on: --rosey-db=postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE"
            )
        return f"The database is kept as {name}. Open it: psql -d {name}"

    async def end(self, *, keep: bool = False) -> None:
        """Let the database be replaced by a new clone, unless nothing was written to it.

        That goes on while the next test is set up; `begun` waits for it.
        """
        clone, self._current = self._current, None
        if clone is None:
            return
        await self._tidied()
        if keep:
            # Under a name that neither the end of this run nor a later one drops.
            kept = _kept_name(clone)
            await self._administration.ask(f"ALTER DATABASE {clone.name} RENAME TO {kept}")
        elif clone.template not in self._clean and clone.mark == await self._next_transaction():
            self._clean[clone.template] = clone
        else:
            again = clone.template not in self._clean
            self._tidying = self._administration.start(self._renewed(clone, again=again))

    # -- for copies ------------------------------------------------------------------------------

    async def template_of(self, database: str | None) -> str | None:
        """Return what the test's database was cloned from, if nothing was written since.

        Args:
            database: the one that is asked about; it may be another one.
        """
        clone = self._current
        if clone is None or clone.name != database:
            return None
        return clone.template if clone.mark == await self._next_transaction() else None

    async def activity(self) -> list[tuple[int, str]]:
        """Return when each connection to the test's database last did something."""
        name = "" if self._current is None else self._current.name
        return [tuple(row) for row in await self._administration.ask(_ACTIVITY, name)]

    async def copied(self, template: str) -> tuple[str, int]:
        """Return the name and the number of a new copy, which is to be a template, too."""
        number = next(self._numbers)
        name = f"{self._run}_template_{number}"
        await self._copy(template, name)
        return name, number

    async def clone(self, template: str) -> Clone:
        """Return a clone of a template, for the test that is running."""
        if template not in self._clean:
            await self._tidied()
        return self._clean.pop(template, None) or await self._cloned(template)

    async def replace(self, clone: Clone) -> None:
        """Take a clone for the test's database, in which nothing had been written."""
        before, self._current = self._current, clone
        if before is not None:
            if before.template in self._clean:
                await self.drop(before.name)
            self._clean.setdefault(before.template, before)
        await self.begun()

    def url(self, name: str) -> sa.URL:
        """Return the URL of a database of this run."""
        return sa.make_url(self._server.url(name))

    async def forget(self, template: str) -> None:
        """Drop a template, and the clone of it that no test has."""
        clean = self._clean.pop(template, None)
        for name in (template, clean.name) if clean is not None else (template,):
            await self.drop(name)

    async def drop(self, name: str) -> None:
        """Drop a database."""
        await self._administration.ask(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _refuse_unless_usable(self, about: About) -> None:
        if about.major < OLDEST:
            raise ServerUnavailable(
                f"The server at {self._server} is PostgreSQL {about.version}; expected {OLDEST} or "
                "newer."
            )
        if not about.may_create:
            raise ServerUnavailable(
                f"User '{about.role}' may not create databases on the server at {self._server}, "
                "and each test gets one of its own, so that nothing is written to the one in the "
                f'URL. Let an administrator execute ALTER ROLE "{about.role}" CREATEDB, or name '
                "another user."
            )

    async def _made_blank(self) -> str:
        name = f"{self._run}_{_BLANK}"
        await self._administration.ask(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        engine = PostgresEngine(self.url(name))
        database = Database(engine, SystemClock(), forget_migrations=Migrator(engine, ()).forget)
        await database.open()
        await database.close()
        return name

    async def _cloned(self, template: str) -> Clone:
        clone = Clone(f"{self._run}_{next(self._numbers)}", template)
        await self._copy(template, clone.name)
        return clone

    async def _renewed(self, clone: Clone, *, again: bool) -> Clone | None:
        """Drop a clone, and make it again for a test to come."""
        new = await self._cloned(clone.template) if again else None
        await self.drop(clone.name)
        return new

    async def _tidied(self) -> None:
        """Wait until what was to be dropped is gone."""
        tidying, self._tidying = self._tidying, None
        if tidying is not None:
            new = await asyncio.wrap_future(tidying)
            if new is not None:
                self._clean[new.template] = new

    async def _copy(self, template: str, name: str) -> None:
        await self._administration.ask(f"CREATE DATABASE {name} TEMPLATE {template} {self._how}")

    async def _next_transaction(self) -> str:
        ((number,),) = await self._administration.ask(_NEXT_TRANSACTION)
        return str(number)


def _kept_name(clone: Clone | None) -> str:
    return "" if clone is None else clone.name.replace(PREFIX, "rosey_kept_", 1)


class PostgresCopies(Copies):
    """Copies throw-away databases; their state is the template that they are clones of.

    Args:
        databases: whose.
    """

    def __init__(self, databases: PostgresDatabases) -> None:
        self._databases = databases
        self._activity: list[tuple[int, str]] = []

    @override
    async def state(self, service: ServiceUnderTest) -> str | None:
        engine = service.database.engine
        if not isinstance(engine, PostgresEngine):
            return None
        # Looked at first: what happens between the two is then seen by one of them.
        self._activity = await self._databases.activity()
        return await self._databases.template_of(engine.url.database)

    @override
    async def make(self, state: str, migrate: Migrate) -> tuple[str, Applied]:
        name, number = await self._databases.copied(state)
        engine = PostgresEngine(self._databases.url(name))
        try:
            await engine.open()
            applied = await migrate(engine)
            # What a service knows of another template must not fit this one.
            await engine.set_schema_version(number * _FAR_APART)
        except (RequestError, EngineError):
            await engine.close()
            await self._databases.drop(name)
            raise
        await engine.close()
        return name, applied

    @override
    async def put(self, service: ServiceUnderTest, state: str, template: str) -> bool:
        engine = service.database.engine
        clone = await self._databases.clone(template)
        # Making templates and clones writes, too, so here the activity has to tell.
        was_at_work = await self._databases.activity() != self._activity
        if was_at_work or not isinstance(engine, PostgresEngine) or engine.busy:
            await self._databases.drop(clone.name)
            return False
        engine.move(self._databases.url(clone.name))
        await self._databases.replace(clone)
        return True

    @override
    async def forget(self, template: str) -> None:
        await self._databases.forget(template)
