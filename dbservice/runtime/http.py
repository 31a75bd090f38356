"""A small HTTP/1.1 server for health checks and pages of a plugin (SPEC 3.7, 6).

It answers GET and HEAD, one request a connection. It is meant for probes, scrapers and a reverse
proxy, and therefore listens on loopback unless told otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from dbservice.protocol.codec import encode_json

HEADER_LIMIT: Final = 16_384
READ_TIMEOUT: Final = 5.0

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Keep browsers from doing harm with what they are shown. Every answer has them, also a refusal."""

_END_OF_HEAD = b"\r\n\r\n"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        path: the path, percent-decoded, without the query.
        query: the query's fields; of a repeated one, the last.
        headers: the headers, with names in lower case.
    """

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered.

    Attributes:
        status: the HTTP status code.
        content_type: the type of the body.
        body: the bytes of the body.
        headers: further headers; one of `SECURITY_HEADERS` is replaced by its namesake here.
            `Content-Length`, `Content-Type` and `Connection` are set by the server.
    """

    status: int = 200
    content_type: str = "application/json"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Response]]


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with a value as JSON."""
    return Response(status, "application/json", encode_json(value), headers or {})


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a failure as JSON: `{"error": {"status": 404, "message": "…"}}`."""
    return json_response({"error": {"status": status, "message": message}}, status, headers)


class HttpServer:
    """Serves handlers by path.

    Args:
        routes: handlers by path. A path that ends in `/` also takes everything below it; the
            longest match wins.
        host: the address to listen on.
        port: the port, 0 for a free one.
        header_limit: bytes of a request's head at the most.
        read_timeout: seconds a client may take to send its request, and to take the answer.
    """

    def __init__(
        self,
        routes: Mapping[str, Handler],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        header_limit: int = HEADER_LIMIT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._routes = routes
        self._host = host
        self._port = port
        self._header_limit = header_limit
        self._read_timeout = read_timeout
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where the server listens, for example `http://127.0.0.1:8080`.

        Raises:
            RuntimeError: if it does not listen.
        """
        if self._server is None:
            raise RuntimeError("The HTTP server has no address before start() and after stop().")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: if the address is taken or not of this machine.
        """
        self._server = await asyncio.start_server(
            self._accept, self._host, self._port, limit=self._header_limit
        )

    async def stop(self) -> None:
        """Stop listening and drop the connections that are open. A second call does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            method, response = await self._exchange(reader)
            async with asyncio.timeout(self._read_timeout):
                writer.write(_encoded(response, with_body=method != "HEAD"))
                await writer.drain()
                await _linger(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            _logger.debug("An HTTP client went away before it was answered.")
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader) -> tuple[str, Response]:
        try:
            async with asyncio.timeout(self._read_timeout):
                head = await reader.readuntil(_END_OF_HEAD)
        except asyncio.LimitOverrunError:
            limit = f"The head of the request is longer than {self._header_limit} bytes."
            return "GET", error_response(431, limit)
        try:
            method, request = _parsed(head)
        except ValueError as error:
            return "GET", error_response(400, f"Not an HTTP/1.1 request: {error}.")
        return method, await self._answer(method, request)

    async def _answer(self, method: str, request: Request) -> Response:
        if method not in ("GET", "HEAD"):
            refusal = f"'{method[:20]}' is not served here: expected GET or HEAD."
            return error_response(405, refusal, {"Allow": "GET, HEAD"})
        handler = self._handler(request.path)
        if handler is None:
            served = ", ".join(self._routes)
            return error_response(
                404, f"Nothing is served at '{request.path[:200]}'. Served here: {served}."
            )
        try:
            return await handler(request)
        except Exception:
            _logger.exception(
                "The handler of an HTTP request failed.", extra={"path": request.path}
            )
            return error_response(500, "The request failed; the log of this process says why.")

    def _handler(self, path: str) -> Handler | None:
        matching = [
            route
            for route in self._routes
            if path == route or (route.endswith("/") and path.startswith(route))
        ]
        return self._routes[max(matching, key=len)] if matching else None


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read on until the client hangs up: closing on unread bytes would destroy the answer."""
    writer.write_eof()
    while await reader.read(HEADER_LIMIT):
        pass


def _parsed(head: bytes) -> tuple[str, Request]:
    request_line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    parts = request_line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise ValueError("its first line is not 'GET /path HTTP/1.1'")
    method, target, _ = parts
    if not target.startswith("/"):
        raise ValueError("its target does not start with '/'")
    url = urlsplit("http://localhost" + target)
    return method, Request(
        unquote(url.path), dict(parse_qsl(url.query, keep_blank_values=True)), _headers(lines)
    )


def _headers(lines: list[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ValueError("a header line is not 'Name: value'")
        headers[name.lower()] = value.strip()
    return headers


def _encoded(response: Response, *, with_body: bool) -> bytes:
    headers = {
        **SECURITY_HEADERS,
        **response.headers,
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}"]
    # A line break inside a header would let its author write the rest of the response.
    lines += [
        f"{name}: {value}".replace("\r", " ").replace("\n", " ") for name, value in headers.items()
    ]
    head = "\r\n".join(lines).encode("latin-1", "replace") + _END_OF_HEAD
    return head + response.body if with_body else head


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
