"""`rosey plugin`: chat plugins as processes of their own, found by entry point.

An entry point of the group names a class as `dbservice.runtime.plugin.Plugin` describes it, or a
function that returns one. Where it has a class method `for_production`, that is called instead.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final

from dbservice.cli.connecting import connect, nats_url
from dbservice.cli.failure import USAGE, CommandFailed
from dbservice.cli.listening import http_place, listen
from dbservice.cli.options import StartPlugin
from dbservice.cli.output import say_ready, tell
from dbservice.client import StorageClient, StorageError
from dbservice.client.readiness import check_connected, check_ready
from dbservice.protocol.errors import did_you_mean
from dbservice.runtime.health import Check, health_endpoint, readiness_endpoint
from dbservice.runtime.http import Handler
from dbservice.runtime.logs import configure_logging
from dbservice.runtime.plugin import (
    PluginError,
    check_readiness,
    construct,
    routes_of,
    stop,
)
from dbservice.runtime.plugin import start as start_plugin
from dbservice.runtime.redaction import redacted

if TYPE_CHECKING:
    from nats.aio.client import Client

GROUP: Final = "rosey.plugins"

_MIGRATIONS: Final = "rosey.migrations"
"""Spelled here, because `dbservice.migrate` would bring a database toolkit into every plugin."""

_RECONNECT: Final[dict[str, Any]] = {"reconnect_time_wait": 0.25, "ping_interval": 20}


async def start(name: str, options: StartPlugin) -> int:
    """Run a plugin until a signal comes; return the exit code.

    Args:
        name: as its package offers it.
        options: the command line.

    Raises:
        CommandFailed: there is no such plugin, no NATS server, or the plugin does not start.
    """
    make = _loaded(name)
    place = http_place(options.http) if options.http else None
    url = nats_url(options.nats)
    configure_logging(options.log_level.upper())
    ended = _signalled()
    async with AsyncExitStack() as running:
        client = await connect(url, name=name, **_RECONNECT)
        running.push_async_callback(client.close)
        plugin = _constructed(make, client, name)
        running.push_async_callback(stop, plugin)
        await _start(plugin, name)
        ready = {"plugin": name, "nats": redacted(url)}
        if place:
            ready["http"] = await listen(routes(plugin, client, name), place, running)
        say_ready(ready, as_json=options.json)
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
    lines = ["{name}  ({package} {version})\n".format(**plugin) for plugin in found]
    none = f"No installed package has a plugin (entry-point group {GROUP}).\n"
    tell(found, "".join(lines) or none, as_json=as_json)
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
    try:
        return entries[name].load()
    except Exception as error:
        raise CommandFailed(
            f"The plugin '{name}' cannot be loaded from {entries[name].value}: "
            f"{type(error).__name__}: {error}. Try it by itself: "
            f"python -c 'import {entries[name].module}'"
        ) from error


def _constructed(make: Any, client: Client, name: str) -> object:
    try:
        return construct(getattr(make, "for_production", make), client, namespace=name)
    except PluginError as error:
        raise CommandFailed(f"{name} cannot be run: {error}") from None
    except Exception as error:
        raise _does_not_start(name, error) from error


async def _start(plugin: object, name: str) -> None:
    try:
        await start_plugin(plugin)
    except StorageError:
        raise
    except Exception as error:
        raise _does_not_start(name, error) from error


def _does_not_start(name: str, error: Exception) -> CommandFailed:
    kind = "" if isinstance(error, RuntimeError) else f"{type(error).__name__}: "
    return CommandFailed(f"{name} does not start: {kind}{error}")


def routes(plugin: object, client: Client, name: str) -> Mapping[str, Handler]:
    """Return what is served: `/health` and `/ready` of every plugin, and what it brings itself.

    Its migrations are those of its package: a service that was not given them does not know that
    they are missing.
    """
    storage = StorageClient(client, name)
    has_migrations = any(entry.name == name for entry in entry_points(group=_MIGRATIONS))

    async def working() -> None:
        await check_ready(client, storage, has_migrations=has_migrations)
        await check_readiness(plugin)

    checks: dict[str, Check] = {"nats": partial(check_connected, client), "plugin": working}
    return {
        "/health": health_endpoint(checks),
        "/ready": readiness_endpoint(checks),
        **routes_of(plugin),
    }


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
