"""`rosey serve`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client

from dbservice.cli.connecting import connect, database_url, shown_database
from dbservice.cli.failure import UNREACHABLE, USAGE, CommandFailed
from dbservice.client import StorageClient, StorageError
from dbservice.migrate import migration_roots, plugins
from dbservice.runtime.http import HttpServer, Request, Response, json_response
from dbservice.runtime.logs import configure_logging
from dbservice.service import DatabaseService
from dbservice.storage.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `rosey serve`."""

    nats: str
    db: str
    http: str | None
    migrations: list[Path] | None
    migrate: bool
    log_level: str


async def serve(options: Options) -> int:
    """Serve until a signal comes; return the exit code.

    Raises:
        CommandFailed: no NATS server, no database, or a migration failed.
    """
    configure_logging(options.log_level.upper())
    url = database_url(options.db)
    roots = migration_roots(options.migrations or ())
    async with AsyncExitStack() as running:
        client = await connect(options.nats, name="rosey-db")
        running.push_async_callback(client.close)
        service = DatabaseService(url, client, migrations=roots)
        try:
            await service.start()
        except UnavailableError as error:
            raise CommandFailed(str(error), UNREACHABLE) from None
        running.push_async_callback(service.stop)
        if options.migrate:
            await _apply_all(client, roots)
        place = await _serve_http(service, options.http, running)
        _say_ready(options.nats, url, roots, place)
        await _signalled()
    return 0


async def _apply_all(client: Client, roots: list[Path]) -> None:
    for plugin in sorted(plugins(roots)):
        try:
            applied = await StorageClient(client, plugin).migrations.apply(timeout=600)
        except StorageError as error:
            raise CommandFailed(f"migrating {plugin}: {error}") from None
        sys.stdout.write(f"rosey: migrated {plugin} to version {applied.current_version}\n")


async def _serve_http(
    service: DatabaseService, place: str | None, running: AsyncExitStack
) -> str | None:
    if place is None:
        return None
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise CommandFailed(f"--http: expected HOST:PORT, got '{place}'.", USAGE)

    async def health(_request: Request) -> Response:
        return json_response({"status": "healthy"})

    async def ready(_request: Request) -> Response:
        if service.is_ready:
            return json_response({"status": "ready"})
        return json_response({"status": "not ready"}, 503)

    server = HttpServer({"/health": health, "/ready": ready}, host=host, port=int(port))
    try:
        await server.start()
    except OSError as error:
        raise CommandFailed(f"--http: cannot listen on {place}: {error.strerror}.") from None
    running.push_async_callback(server.stop)
    return server.url


def _say_ready(nats: str, database: str, roots: list[Path], http: str | None) -> None:
    parts = [f"nats={nats.rpartition('@')[2]}", f"db={shown_database(database)}"]
    parts.append(f"migrations={os.pathsep.join(map(str, roots)) or 'none'}")
    if http:
        parts.append(f"http={http}")
    sys.stdout.write(f"rosey: ready {' '.join(parts)}\n")
    sys.stdout.flush()


async def _signalled() -> None:
    """Wait for SIGTERM or SIGINT; the next one ends the process as if it was never caught."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
