"""Whether the requests of a plugin would be answered at this moment."""

from __future__ import annotations

from typing import Final, Protocol

from dbservice.client.errors import (
    Disconnected,
    MigrationNotFound,
    NoService,
    RequestTimeout,
    StorageError,
)
from dbservice.client.storage import StorageClient
from dbservice.runtime.health import CHECK_TIMEOUT, Unwell

_REPLY_TIMEOUT: Final = 0.8 * CHECK_TIMEOUT
"""Shorter than the check, which then has the time to say what is wrong."""


class Connection(Protocol):
    """What is asked of a NATS client. nats-py's `Client` has it."""

    @property
    def is_connected(self) -> bool:
        """Whether the server is there at this moment."""


async def check_connected(nats: Connection) -> None:
    """Return if the NATS server is there at this moment.

    Raises:
        Unwell: if not.
    """
    if not nats.is_connected:
        raise Unwell("not connected to the NATS server")


async def check_ready(nats: Connection, storage: StorageClient, *, has_migrations: bool) -> None:
    """Return if the service answers and has applied the plugin's migrations.

    One request, and one that reads the database. What is raised names nothing that an anonymous
    reader should not know.

    Args:
        nats: the connection of `storage`.
        storage: a client without repeats and without a circuit breaker.
        has_migrations: whether the plugin comes with migrations; if not, it is ready without any.

    Raises:
        Unwell: if the plugin's requests would fail.
    """
    await check_connected(nats)
    try:
        status = await storage.migrations.status(timeout=_REPLY_TIMEOUT)
    except MigrationNotFound:
        if has_migrations:
            raise Unwell("the service has none of the plugin's migrations") from None
        return
    except NoService:
        raise Unwell("no database service answers") from None
    except Disconnected:
        raise Unwell("not connected to the NATS server") from None
    except RequestTimeout:
        await check_connected(nats)
        raise Unwell("the database service does not answer in time") from None
    except StorageError as error:
        raise Unwell(f"the database service answers {error.code}") from None
    if not status.up_to_date or (has_migrations and status.current_version == 0):
        raise Unwell("migrations are not applied")
