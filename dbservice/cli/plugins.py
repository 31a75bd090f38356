"""`rosey plugin`: chat plugins as processes of their own, found by entry point.

An entry point of the group names a class as `dbservice.runtime.plugin.Plugin` describes it, or a
function that returns one. Where it has a class method `for_production`, that is called instead.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final

from dbservice.cli.connecting import connect, without_password
from dbservice.cli.failure import REFUSED, UNREACHABLE, USAGE, CommandFailed
from dbservice.client import NoService, RequestTimeout, StorageClient, StorageError
from dbservice.client.readiness import check_ready
from dbservice.protocol.codec import encode_json
from dbservice.protocol.errors import did_you_mean
from dbservice.runtime.health import Unwell, health_endpoint, readiness_endpoint
from dbservice.runtime.http import Handler, HttpServer
from dbservice.runtime.logs import configure_logging
from dbservice.runtime.plugin import (
    PluginError,
    check_readiness,
    construct,
    routes_of,
    stop,
)
from dbservice.runtime.plugin import start as start_plugin

if TYPE_CHECKING:
    from nats.aio.client import Client

GROUP: Final = "rosey.plugins"

_MIGRATIONS: Final = "rosey.migrations"
"""Spelled here, because `dbservice.migrate` would bring a database toolkit into every plugin."""

_RECONNECT: Final[dict[str, Any]] = {"reconnect_time_wait": 0.25, "ping_interval": 20}


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `rosey plugin start`."""

    name: str
    nats: str
    http: str | None
    log_level: str


async def start(options: Options) -> int:
    """Run a plugin until a signal comes; return the exit code.

    Raises:
        CommandFailed: there is no such plugin, no NATS server, or the plugin does not start.
    """
    make = _loaded(options.name)
    place = _place(options.http)
    configure_logging(options.log_level.upper())
    ended = _signalled()
    async with AsyncExitStack() as running:
        client = await connect(options.nats, name=options.name, **_RECONNECT)
        running.push_async_callback(client.close)
        plugin = _constructed(make, client, options.name)
        running.push_async_callback(stop, plugin)
        await _start(plugin, options.name)
        url = await _serve_http(routes(plugin, client, options.name), place, running)
        _say_ready(options, url)
        await ended.wait()
    return 0


def list_plugins(*, as_json: bool) -> int:
    """Print the plugins that installed packages bring; return the exit code."""
    found = [
        {
            "name": entry.name,
            "package": entry.dist.name if entry.dist else "",
            "version": entry.dist.version if entry.dist else "",
            "entry_point": entry.value,
        }
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    ]
    if as_json:
        sys.stdout.write(encode_json(found).decode() + "\n")
    elif not found:
        sys.stdout.write(f"No installed package has a plugin (entry-point group {GROUP}).\n")
    for plugin in [] if as_json else found:
        sys.stdout.write("{name}  ({package} {version})\n".format(**plugin))
    return 0


def _loaded(name: str) -> Any:
    entries: Mapping[str, EntryPoint] = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        raise CommandFailed(
            f"There is no plugin '{name}'.{did_you_mean(name, entries)} Installed: {known}. A "
            f"package offers its plugin through the entry-point group {GROUP}.",
            USAGE,
        )
    return entries[name].load()


def _place(http: str | None) -> tuple[str, int] | None:
    if http is None:
        return None
    host, _, port = http.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise CommandFailed(f"--http: expected HOST:PORT, got '{http}'.", USAGE)
    return host.strip("[]"), int(port)


def _constructed(make: Any, client: Client, name: str) -> object:
    try:
        return construct(getattr(make, "for_production", make), client, namespace=name)
    except PluginError as error:
        raise CommandFailed(f"{name} cannot be run: {error}", REFUSED) from None


async def _start(plugin: object, name: str) -> None:
    try:
        await start_plugin(plugin)
    except (NoService, RequestTimeout) as error:
        raise CommandFailed(str(error), UNREACHABLE) from None
    except StorageError:
        raise
    except RuntimeError as error:
        raise CommandFailed(f"{name} does not start: {error}", REFUSED) from None


def routes(plugin: object, client: Client, name: str) -> Mapping[str, Handler]:
    """Return what is served: `/health` and `/ready` of every plugin, and what it brings itself.

    Its migrations are those of its package: a service that was not given them does not know that
    they are missing.
    """
    storage = StorageClient(client, name)
    has_migrations = any(entry.name == name for entry in entry_points(group=_MIGRATIONS))

    async def connected() -> None:
        if not client.is_connected:
            raise Unwell("not connected to the NATS server")

    async def working() -> None:
        await check_ready(storage, has_migrations=has_migrations)
        await check_readiness(plugin)

    checks = {"nats": connected, "plugin": working}
    return {
        "/health": health_endpoint(checks),
        "/ready": readiness_endpoint(checks),
        **routes_of(plugin),
    }


async def _serve_http(
    served: Mapping[str, Handler], place: tuple[str, int] | None, running: AsyncExitStack
) -> str | None:
    if place is None:
        return None
    host, port = place
    server = HttpServer(served, host=host, port=port)
    try:
        await server.start()
    except OSError as error:
        raise CommandFailed(
            f"--http: cannot listen on {host}:{port}: {error.strerror}.", REFUSED
        ) from None
    running.push_async_callback(server.stop)
    return server.url


def _say_ready(options: Options, http: str | None) -> None:
    parts = [f"plugin={options.name}", f"nats={without_password(options.nats)}"]
    if http:
        parts.append(f"http={http}")
    sys.stdout.write(f"rosey: ready {' '.join(parts)}\n")
    sys.stdout.flush()


def _signalled() -> asyncio.Event:
    """Return what SIGTERM or SIGINT set; a second one ends the process uncaught."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def end() -> None:
        ended.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    return ended
