"""Which engine serves a database URL."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from dbservice.engine.engine import Engine
from dbservice.engine.errors import UnavailableError
from dbservice.engine.sqlite import SqliteEngine
from dbservice.protocol.limits import STATEMENT_TIMEOUT, WRITE_TIMEOUT

SCHEMES = ("sqlite", "sqlite+aiosqlite", "postgresql", "postgresql+asyncpg")
"""The schemes of the URLs that are served."""


def engine_for(
    url: str | sa.URL,
    *,
    statement_timeout: float = STATEMENT_TIMEOUT,
    write_timeout: float = WRITE_TIMEOUT,
    workers: int = 0,
    worker: Sequence[str] = (),
    on_commit: Callable[[int], None] | None = None,
) -> Engine:
    """Return the engine for a database, not opened yet.

    Args:
        url: `sqlite+aiosqlite:///file.db`, `sqlite+aiosqlite://` for memory, or
            `postgresql+asyncpg://user:password@host:port/database`.
        statement_timeout: seconds after which a statement is stopped.
        write_timeout: seconds that a plugin's statements may hold the writer of an SQLite file.
        workers: how many processes read an SQLite file beside this one; 0 for no processes.
        worker: the command line of their template, up to the path of the file.
        on_commit: told how many writes shared each commit; maybe on a thread of the engine's.

    Raises:
        UnavailableError: no engine serves such a URL.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise UnavailableError(
            "The database URL cannot be read: expected sqlite+aiosqlite:///FILE or "
            "postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE."
        ) from None
    match parsed.drivername:
        case "sqlite" | "sqlite+aiosqlite":
            return SqliteEngine(
                parsed,
                statement_timeout=statement_timeout,
                write_timeout=write_timeout,
                workers=workers,
                worker=worker,
                on_commit=on_commit,
            )
        case "postgresql" | "postgresql+asyncpg":
            from dbservice.engine.postgres import PostgresEngine

            return PostgresEngine(parsed, statement_timeout=statement_timeout, on_commit=on_commit)
        case other:
            raise UnavailableError(
                f"'{other}' is not an engine of this version: expected a URL that starts with one "
                f"of {', '.join(SCHEMES)}."
            )
