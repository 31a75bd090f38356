"""The plugin over HTTP: health, metrics, and quotes as JSON that is safe in a web page.

`rosey plugin start` adds `/ready`, which it asks of every plugin alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from dbservice.client.readiness import check_connected
from dbservice.protocol.headers import REQUEST_ID
from dbservice.runtime.correlation import bound_request_id, request_id_of
from dbservice.runtime.health import Check, Unwell, health_endpoint
from dbservice.runtime.http import Handler, Request, Response, error_response, json_response
from reference_plugin_quote_db.bus import Bus
from reference_plugin_quote_db.chat.parser import number
from reference_plugin_quote_db.errors import (
    CircuitBreakerError,
    QuoteNotFound,
    ServiceUnavailableError,
    ValidationError,
)
from reference_plugin_quote_db.fallback import Fallback
from reference_plugin_quote_db.validation import escaped

QUOTES: Final = "/quotes/"
STALE: Final = {"Warning": '111 - "Revalidation Failed"'}
"""The header of an answer that comes from the cache alone."""


class WebPlugin(Protocol):
    """What the pages need of a plugin. Methods say what `QuoteDBPlugin`'s say."""

    @property
    def namespace(self) -> str: ...
    @property
    def nats(self) -> Bus: ...
    @property
    def fallback(self) -> Fallback: ...
    async def check_service(self) -> None: ...
    def metrics_page(self) -> tuple[str, bytes]: ...


def routes(plugin: WebPlugin) -> Mapping[str, Handler]:
    """Return the handlers of a plugin, by path."""
    handlers: Mapping[str, Handler] = {
        "/health": health_endpoint(health_checks(plugin)),
        "/metrics": partial(_metrics, plugin),
        f"/plugin/{plugin.namespace}/health": partial(_plugin_health, plugin),
        QUOTES: partial(_quote, plugin),
    }
    return {path: partial(_identified, handler) for path, handler in handlers.items()}


def health_checks(plugin: WebPlugin) -> Mapping[str, Check]:
    """Return the checks of `/health`; none of them waits for the circuit breaker."""

    async def circuit_breaker() -> None:
        if plugin.fallback.is_away:
            raise Unwell("circuit breaker open")

    return {
        "nats": partial(check_connected, plugin.nats),
        "database": plugin.check_service,
        "circuit_breaker": circuit_breaker,
    }


async def _identified(handler: Handler, request: Request) -> Response:
    """Answer under a request id, which the answer names."""
    claimed = {REQUEST_ID: request.headers.get(REQUEST_ID.lower(), "")}
    with bound_request_id(request_id_of(claimed)) as request_id:
        response = await handler(request)
    return replace(response, headers={**response.headers, REQUEST_ID: request_id})


async def _metrics(plugin: WebPlugin, _request: Request) -> Response:
    content_type, page = plugin.metrics_page()
    return Response(200, content_type, page)


async def _plugin_health(plugin: WebPlugin, _request: Request) -> Response:
    try:
        await plugin.check_service()
    except Unwell as error:
        return json_response({"status": "unhealthy", "migrations": str(error)}, 503)
    return json_response({"status": "healthy", "migrations": "up_to_date"})


async def _quote(plugin: WebPlugin, request: Request) -> Response:
    try:
        quote_id = number(request.path.removeprefix(QUOTES))
        quote, is_now = await plugin.fallback.get(quote_id)
    except ValidationError as error:
        return error_response(400, str(error))
    except ServiceUnavailableError as error:
        return error_response(503, "Quote service temporarily unavailable", _retry_after(error))
    if quote is None:
        return error_response(404, str(QuoteNotFound(quote_id)))
    return json_response(escaped(quote), headers=None if is_now else STALE)


def _retry_after(error: ServiceUnavailableError) -> Mapping[str, str]:
    cause = error if isinstance(error, CircuitBreakerError) else error.__cause__
    seconds = cause.retry_after if isinstance(cause, CircuitBreakerError) else 1.0
    return {"Retry-After": f"{max(1.0, seconds):.0f}"}
