"""Whether the plugin can work: on what it stands, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dbservice.runtime.health import CHECK_TIMEOUT, Check
from reference_plugin_quote_db.breaker import CircuitState
from reference_plugin_quote_db.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from reference_plugin_quote_db.plugin import QuoteDBPlugin


def health_checks(plugin: QuoteDBPlugin) -> Mapping[str, Check]:
    """Return the checks of `/health`. They ask the service, and so close an open breaker again."""

    async def nats() -> None:
        await plugin.ping(CHECK_TIMEOUT)

    async def database() -> None:
        await plugin.count_quotes()

    async def circuit_breaker() -> None:
        _refuse_open(plugin)

    return {"nats": nats, "database": database, "circuit_breaker": circuit_breaker}


def readiness_checks(plugin: QuoteDBPlugin) -> Mapping[str, Check]:
    """Return the checks of `/ready`, which ask nobody."""

    async def initialized() -> None:
        if not plugin.initialized:
            raise ServiceUnavailableError("the plugin is not initialized")

    async def circuit_breaker() -> None:
        _refuse_open(plugin)

    return {"plugin": initialized, "circuit_breaker": circuit_breaker}


def _refuse_open(plugin: QuoteDBPlugin) -> None:
    if plugin.circuit_breaker.state is CircuitState.OPEN:
        raise ServiceUnavailableError("circuit breaker open")
