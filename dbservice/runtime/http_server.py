"""The HTTP side of a process: health checks, metrics and a plugin's pages, by aiohttp.

It answers GET and HEAD, one request a connection. It is meant for probes, scrapers and a reverse
proxy, and therefore listens on loopback unless told otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from typing_extensions import override

from dbservice.runtime.http import SECURITY_HEADERS, Handler, Request, Response, error_response

HEADER_LIMIT: Final = 8_190
READ_TIMEOUT: Final = 5.0
MAX_CONNECTIONS: Final = 64

_logger = logging.getLogger(__name__)


class HttpServer:
    """Serves handlers by path.

    Args:
        routes: handlers by path. A path that ends in `/` also takes everything below it; the
            longest match wins.
        host: the address to listen on.
        port: the port, 0 for a free one.
        header_limit: bytes of the request line, and of one header, at the most.
        read_timeout: seconds a client may take to send its request, and to take the answer.
        max_connections: connections that may be open at a time; further ones are closed at once.
    """

    def __init__(
        self,
        routes: Mapping[str, Handler],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        header_limit: int = HEADER_LIMIT,
        read_timeout: float = READ_TIMEOUT,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._routes = routes
        self._host = host
        self._port = port
        self._header_limit = header_limit
        self._read_timeout = read_timeout
        self._max_connections = max_connections
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """Where the server listens, for example `http://127.0.0.1:8080`.

        Raises:
            RuntimeError: if it does not listen.
        """
        if self._runner is None:
            raise RuntimeError("The HTTP server has no address before start() and after stop().")
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: if the address is taken or not of this machine.
        """
        server = _Server(
            self._exchange,
            access_log=None,
            lingering_time=1.0,
            max_line_size=self._header_limit,
            max_field_size=self._header_limit,
        )
        server.read_timeout = self._read_timeout
        server.max_connections = self._max_connections
        # Zero would mean to wait for ever.
        runner = web.ServerRunner(server, shutdown_timeout=0.05)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening and drop the connections that are open. A second call does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _exchange(self, asked: web.BaseRequest) -> web.Response:
        connection = asked.protocol
        assert isinstance(connection, _Connection)
        connection.has_come()
        response = await self._answer(asked)
        connection.must_go()
        return _encoded(response)

    async def _answer(self, asked: web.BaseRequest) -> Response:
        if asked.method not in ("GET", "HEAD"):
            refusal = f"'{asked.method[:20]}' is not served here: expected GET or HEAD."
            return error_response(405, refusal, {"Allow": "GET, HEAD"})
        handler = self._handler(asked.path)
        if handler is None:
            served = ", ".join(self._routes)
            return error_response(
                404, f"Nothing is served at '{asked.path[:200]}'. Served here: {served}."
            )
        headers = {name.lower(): value for name, value in asked.headers.items()}
        try:
            return await handler(Request(asked.path, dict(asked.query.items()), headers))
        except Exception:
            _logger.exception("The handler of an HTTP request failed.", extra={"path": asked.path})
            return error_response(500, "The request failed; the log of this process says why.")

    def _handler(self, path: str) -> Handler | None:
        matching = [
            route
            for route in self._routes
            if path == route or (route.endswith("/") and path.startswith(route))
        ]
        return self._routes[max(matching, key=len)] if matching else None


class _Server(web.Server):
    """Makes the connections; aiohttp itself limits neither their number nor a slow request."""

    read_timeout = READ_TIMEOUT
    max_connections = MAX_CONNECTIONS

    @override
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._kwargs)


class _Connection(web.RequestHandler):
    """One client: it has a time to send its request, and a time to take the answer."""

    __slots__ = ("_deadline", "_limits")

    def __init__(self, server: _Server, **options: object) -> None:
        super().__init__(server, **options)  # type: ignore[arg-type]
        self._limits = server
        self._deadline: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._limits.connections) > self._limits.max_connections:
            self.force_close()
        self.must_go()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self.has_come()
        super().connection_lost(exc)

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        _logger.debug("An HTTP client was refused.", exc_info=exc)
        said = (message or type(exc).__name__).strip().partition("\n")[0].rstrip(":.")
        return _encoded(error_response(status, f"Not an HTTP/1.1 request: {said}."))

    def has_come(self) -> None:
        """Forget the deadline: the request is there."""
        if self._deadline is not None:
            self._deadline.cancel()

    def must_go(self) -> None:
        """Give up on this client unless it does its part in time."""
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._limits.read_timeout, self._give_up)

    def _give_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()


def _encoded(response: Response) -> web.Response:
    headers = {
        **SECURITY_HEADERS,
        **response.headers,
        "Content-Type": response.content_type,
        # The library's own value would tell everybody which version runs here.
        "Server": "rosey",
    }
    # A line break inside a header would let its author write the rest of the response.
    safe = {name: value.replace("\r", " ").replace("\n", " ") for name, value in headers.items()}
    encoded = web.Response(status=response.status, body=response.body, headers=safe)
    encoded.force_close()
    return encoded
