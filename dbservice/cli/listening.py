"""The HTTP side of a command that serves: `--http HOST:PORT`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

from dbservice.cli.failure import REFUSED, USAGE, CommandFailed
from dbservice.runtime.http import Handler

_LAST_PORT: Final = 65_535


def http_place(text: str) -> tuple[str, int]:
    """Return the host and the port that `--http` names.

    Raises:
        CommandFailed: it is not HOST:PORT.
    """
    host, _, port = text.rpartition(":")
    # isdecimal() also holds for digits of other scripts, which int() reads and nobody means.
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > _LAST_PORT:
        raise CommandFailed(
            f"--http: expected HOST:PORT with a port of 0 to {_LAST_PORT}, as 127.0.0.1:8080, got "
            f"'{text}'.",
            USAGE,
        )
    return host.strip("[]"), int(port)


async def listen(
    routes: Mapping[str, Handler], place: tuple[str, int], running: AsyncExitStack
) -> str:
    """Serve handlers until the command ends; return the URL.

    Args:
        routes: the handlers by path.
        place: host and port, as `http_place` gives them.
        running: stops the server.

    Raises:
        CommandFailed: the HTTP library is not installed, or nobody can listen there.
    """
    try:
        from dbservice.runtime.http_server import HttpServer
    except ModuleNotFoundError as error:
        raise CommandFailed(
            f"--http needs a package that is not installed ({error.name}): "
            "pip install 'pytest-rosey[http]'",
            USAGE,
        ) from None
    host, port = place
    server = HttpServer(routes, host=host, port=port)
    try:
        await server.start()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandFailed(f"--http: cannot listen on {host}:{port}: {reason}.", REFUSED) from None
    running.push_async_callback(server.stop)
    return server.url
