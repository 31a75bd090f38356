"""What a handler of HTTP requests takes and returns; `http_server` serves them.

Health checks, metrics and a plugin's pages are written against this module alone, so that nobody
needs the HTTP library who does not serve.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dbservice.protocol.codec import encode_json

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Keep browsers from doing harm with what they are shown. Every answer has them, also a refusal."""


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
            `Content-Length`, `Content-Type`, `Connection` and `Server` are set by the server.
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
