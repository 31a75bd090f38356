"""A connection to a PostgreSQL server on which databases are made and dropped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

import asyncpg
import sqlalchemy as sa

from dbservice.engine.postgres import dsn
from dbservice.engine.postgres_errors import cannot_open
from pytest_rosey.servers.errors import ServerUnavailable

T = TypeVar("T")

OLDEST = 13
"""The first version that can drop a database that somebody is connected to."""

_CONNECT_TIMEOUT = 5.0
_PATIENCE = 60.0
_ABOUT_THE_SERVER = """
SELECT current_setting('server_version') AS version,
    current_setting('server_version_num')::int / 10000 AS major,
    current_user AS role,
    (SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user) AS may_create
"""


class About(NamedTuple):
    """What a server says of itself and of us.

    Attributes:
        version: for example `15.18`.
        major: its first number.
        role: who we are there.
        may_create: whether we may create databases.
    """

    version: str
    major: int
    role: str
    may_create: bool


class Administration:
    """A connection that outlives the event loops of the tests, on a thread with a loop of its own.

    Args:
        url: of a database on the server, which nothing is written to.
        name: what the server shows it as.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = sa.make_url(url)
        self._name = name
        self._raw: Any = None
        self._turn = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="rosey-postgres", daemon=True
        )

    def open(self) -> About:
        """Connect.

        Raises:
            ServerUnavailable: that is not possible; the text says why.
        """
        self._thread.start()
        try:
            (about,) = self._result(self._asked(_ABOUT_THE_SERVER))
        except BaseException:
            self.close()
            raise
        return About(
            about["version"].split()[0], about["major"], about["role"], about["may_create"]
        )

    def close(self) -> None:
        """Disconnect. May be repeated."""
        if not self._thread.is_alive():
            return
        self._result(self._disconnected())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def ask(self, sql: str, *parameters: Any) -> list[Any]:
        """Execute one statement and return its rows; on whatever loop.

        Raises:
            ServerUnavailable: the server is gone, or refuses; the text says why.
        """
        return await asyncio.wrap_future(self.start(self._asked(sql, *parameters)))

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin work that asks, on the thread, and do not wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def ask_now(self, sql: str, *parameters: Any) -> list[Any]:
        """Execute one statement and return its rows, without a loop; see `ask`."""
        return self._result(self._asked(sql, *parameters))

    def _result(self, work: Coroutine[Any, Any, T]) -> T:
        return self.start(work).result(_PATIENCE)

    # -- on the thread ---------------------------------------------------------------------------

    async def _asked(self, sql: str, *parameters: Any) -> list[Any]:
        async with self._turn:
            connection = await self._connected()
            try:
                return list(await connection.fetch(sql, *parameters))
            except (
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
                OSError,
            ) as error:
                raise ServerUnavailable(
                    f"PostgreSQL cannot do what the tests need: {error}\nThe statement: {sql}"
                ) from None

    async def _connected(self) -> Any:
        if self._raw is None or self._raw.is_closed():
            try:
                self._raw = await asyncpg.connect(
                    dsn(self._url),
                    timeout=_CONNECT_TIMEOUT,
                    statement_cache_size=0,  # hardly any statement comes twice
                    server_settings={"application_name": self._name},
                )
            except TimeoutError:
                place = f"{self._url.host or 'localhost'}:{self._url.port or 5432}"
                raise ServerUnavailable(
                    f"Nothing at {place} answered as PostgreSQL does within "
                    f"{_CONNECT_TIMEOUT:g} s. Check host and port."
                ) from None
            except Exception as error:  # noqa: BLE001 - asyncpg, ssl and socket have many kinds
                raise ServerUnavailable(str(cannot_open(self._url, error))) from None
        return self._raw

    async def _disconnected(self) -> None:
        if self._raw is not None and not self._raw.is_closed():
            await self._raw.close(timeout=_CONNECT_TIMEOUT)
