"""`rosey plugin`: chat plugins as processes of their own, found by entry point (SPEC 6, 7)."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Protocol

from dbservice.cli.connecting import connect, without_password
from dbservice.cli.failure import REFUSED, UNREACHABLE, USAGE, CommandFailed
from dbservice.client import NoService, RequestTimeout, StorageError
from dbservice.protocol.codec import encode_json
from dbservice.protocol.errors import did_you_mean
from dbservice.runtime.http import Handler, HttpServer, Request, Response, json_response
from dbservice.runtime.logs import configure_logging

GROUP: Final = "rosey.plugins"

_RECONNECT: Final[dict[str, Any]] = {"reconnect_time_wait": 0.25, "ping_interval": 20}


class Plugin(Protocol):
    """What an entry point of the group makes when it is called with a connected NATS client.

    Where it has a class method `for_production`, that is called instead. A plugin may also have
    `http_routes()`, which returns handlers by path for `--http`.
    """

    async def initialize(self) -> None:
        """Begin to work. What it raises ends the command; its text is shown."""

    async def close(self) -> None:
        """Finish what was begun."""


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
        plugin: Plugin = getattr(make, "for_production", make)(client)
        await _initialize(plugin, options.name)
        running.push_async_callback(plugin.close)
        url = await _serve_http(plugin, place, running)
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


async def _initialize(plugin: Plugin, name: str) -> None:
    try:
        await plugin.initialize()
    except (NoService, RequestTimeout) as error:
        raise CommandFailed(str(error), UNREACHABLE) from None
    except StorageError:
        raise
    except RuntimeError as error:
        raise CommandFailed(f"{name} does not start: {error}", REFUSED) from None


async def _serve_http(
    plugin: Plugin, place: tuple[str, int] | None, running: AsyncExitStack
) -> str | None:
    if place is None:
        return None
    host, port = place
    routes: Mapping[str, Handler] = getattr(plugin, "http_routes", _alive)()
    server = HttpServer(routes, host=host, port=port)
    try:
        await server.start()
    except OSError as error:
        raise CommandFailed(
            f"--http: cannot listen on {host}:{port}: {error.strerror}.", REFUSED
        ) from None
    running.push_async_callback(server.stop)
    return server.url


def _alive() -> Mapping[str, Handler]:
    async def health(_request: Request) -> Response:
        return json_response({"status": "healthy"})

    return {"/health": health}


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
