"""`rosey serve`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dbservice.cli.connecting import (
    connect,
    database_url,
    nats_url,
)
from dbservice.cli.failure import OTHER_SERVICE, UNREACHABLE, USAGE, CommandFailed
from dbservice.cli.listening import http_place, listen
from dbservice.cli.options import Serve
from dbservice.cli.output import say_ready
from dbservice.client import StorageClient, StorageError
from dbservice.migrate import migration_roots, plugins
from dbservice.runtime.health import Unwell, health_endpoint, readiness_endpoint
from dbservice.runtime.http import Handler
from dbservice.runtime.logs import configure_logging
from dbservice.runtime.redaction import redacted
from dbservice.server.peers import OtherServiceError
from dbservice.server.service import DatabaseService
from dbservice.server.settings import Settings

if TYPE_CHECKING:
    from dbservice.server.metrics import ServiceMetrics

log = logging.getLogger(__name__)

_RECONNECT: Final[dict[str, Any]] = {
    "reconnect_time_wait": 0.25,
    "ping_interval": 20,
    "max_outstanding_pings": 2,
}
"""Back within half a second of the server, and a server that hangs is noticed within a minute."""

_COLLECTIONS: Final = (5_000, 20, 20)
"""When Python looks for objects that refer to each other in circles and to which nothing refers.

With its own figures (700, 10, 10), and what was imported not frozen, it looked at all objects twice
a second beside 250 requests at a time, and everybody waited for 50 ms each time (measured).
"""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def serve(options: Serve, settings: Settings) -> int:
    """Serve until a signal comes; return the exit code.

    Args:
        options: the command line.
        settings: the limits.

    Raises:
        CommandFailed: no NATS server, no database, a service of another database on the bus, or a
            migration failed.
    """
    sys.setswitchinterval(0.0005)
    bus = nats_url(options.nats)
    url = database_url(_required_database(options.db))
    place = http_place(options.http) if options.http else None
    roots = _roots(options)
    configure_logging(options.log_level.upper())
    _log_configuration(options, settings, bus, url, roots)
    ends = _Ends()
    ends.listen()
    async with AsyncExitStack() as running:
        client = await connect(bus, name="rosey-db", **_RECONNECT, **ends.callbacks())
        running.push_async_callback(client.close)
        running.callback(ends.expect_closing)
        metrics = _metrics() if place else None
        service = DatabaseService(
            url,
            client,
            migrations=roots,
            settings=settings,
            metrics=metrics,
            workers=options.workers,
        )
        startup = _Startup()
        ready = {"nats": redacted(bus), "db": redacted(url)}
        ready["migrations"] = os.pathsep.join(map(str, roots)) or "none"
        if place and metrics:
            routes = _routes(service, startup, metrics)
            ready["http"] = await listen(routes, place, running)
        try:
            await service.open()
            running.push_async_callback(service.stop)
            if service.database.engine.apart is None:
                # Everybody would wait while the first query has its parser imported.
                await asyncio.to_thread(import_module, "dbservice.sql.query")
            if options.migrate:
                await _apply_all(service, roots)
            await service.start()
        except OtherServiceError as error:
            raise CommandFailed(str(error), OTHER_SERVICE) from None
        gc.freeze()
        gc.set_threshold(*_COLLECTIONS)
        startup.is_over = True
        say_ready(ready, as_json=options.json)
        await ends.wait_for_one(service)
    log.info("ended")
    return 0


class _Startup:
    """Whether everything was done that comes before the first request."""

    is_over = False

    async def check(self) -> None:
        """Raise an error if not."""
        if not self.is_over:
            raise Unwell("not finished")


class _Ends:
    """Waits for a reason to end: a signal, or a connection that NATS has given up for good."""

    def __init__(self) -> None:
        self._reason: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._is_connected = True

    def callbacks(self) -> dict[str, Any]:
        """Return what the NATS connection is to call."""
        return {
            "disconnected_cb": self._disconnected,
            "reconnected_cb": self._reconnected,
            "closed_cb": self._closed,
            "error_cb": self._failed,
        }

    def listen(self) -> None:
        """Take SIGTERM and SIGINT from now on, once; a second ends the process uncaught."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._told_to_end)

    async def wait_for_one(self, service: DatabaseService) -> None:
        """Wait for a reason, of which the service may have one, too.

        Raises:
            CommandFailed: the NATS connection ended for good, or the service had to withdraw.
        """
        withdrawn = asyncio.create_task(service.withdrawn())
        reasons: list[asyncio.Future[Any]] = [self._reason, withdrawn]
        await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        if withdrawn.done():
            raise CommandFailed(str(withdrawn.result()), OTHER_SERVICE)
        withdrawn.cancel()
        reason = self._reason.result()
        if reason is not None:
            raise CommandFailed(reason, UNREACHABLE)

    def expect_closing(self) -> None:
        """Take the end of the connection for what it is from now on: the command's own doing."""
        self._is_connected = False

    def _told_to_end(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        log.info("told to end; answering what was taken")
        self._end(None)

    def _end(self, reason: str | None) -> None:
        if not self._reason.done():
            self._reason.set_result(reason)

    async def _disconnected(self) -> None:
        if self._is_connected and not self._reason.done():
            log.warning("the connection to the NATS server is lost; trying to get it back")
        self._is_connected = False

    async def _reconnected(self) -> None:
        self._is_connected = True
        log.info("connected to the NATS server again")

    async def _closed(self) -> None:
        self._end("The NATS server ended the connection for good; the log says why.")

    async def _failed(self, error: Exception) -> None:
        # Every attempt to reconnect reports the same again.
        level = logging.WARNING if self._is_connected else logging.DEBUG
        log.log(level, "NATS: %s", str(error) or type(error).__name__)


def _required_database(given: str | None) -> str:
    if not given:
        raise CommandFailed(
            "Say where the data is: --db FILE, as --db rosey.db (or set ROSEY_DB).", USAGE
        )
    return given


def _roots(options: Serve) -> list[Path]:
    roots = migration_roots(options.migrations or ())
    if options.migrate and not plugins(roots):
        places = ", ".join(map(str, roots)) or "the installed packages"
        raise CommandFailed(
            f"--migrate has nothing to apply: there are no migrations in {places}. A root is a "
            "folder with PLUGIN/001_name.sql or PLUGIN/migrations/001_name.sql in it.",
            USAGE,
        )
    return roots


def _log_configuration(
    options: Serve, settings: Settings, bus: str, database: str, roots: list[Path]
) -> None:
    told = {
        "nats": redacted(bus),
        "db": redacted(database),
        "http": options.http,
        "migrations": [str(root) for root in roots],
        "migrate": options.migrate,
        "loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
        "workers": options.workers,
        **asdict(settings),
    }
    log.info("configuration", extra=told)


class _Directly:
    """Has nats-py's `request()` and hands it to a service that takes none from the bus yet."""

    def __init__(self, service: DatabaseService) -> None:
        self._service = service

    async def request(self, subject: str, payload: bytes, /, **_: object) -> Payload:
        """Return what the service answers."""
        return Payload(await self._service.execute(subject, payload))


class Payload(NamedTuple):
    """An answer, as the storage client reads it."""

    data: bytes


async def _apply_all(service: DatabaseService, roots: list[Path]) -> None:
    """Migrate this service's own database; over the bus another replica might take the request."""
    directly = _Directly(service)
    for plugin in sorted(plugins(roots)):
        try:
            applied = await StorageClient(directly, plugin).migrations.apply(timeout=600)
        except StorageError as error:
            raise CommandFailed(f"migrating {plugin}: {error}") from None
        sys.stdout.write(f"rosey: migrated {plugin} to version {applied.current_version}\n")


def _metrics() -> ServiceMetrics:
    # A tenth of the time to the first reply, for those who look at the page.
    from dbservice.server.metrics import ServiceMetrics

    return ServiceMetrics()


def _routes(
    service: DatabaseService, startup: _Startup, metrics: ServiceMetrics
) -> Mapping[str, Handler]:
    from dbservice.server.metrics import metrics_endpoint

    ready = {"service": service.check_serving, "startup": startup.check}
    return {
        "/health": health_endpoint(service.checks),
        "/ready": readiness_endpoint({**ready, **service.checks}),
        "/metrics": metrics_endpoint(metrics),
    }
