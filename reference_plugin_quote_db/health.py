"""Whether the plugin can work: on what it stands, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dbservice.runtime.health import Check, Unwell
from reference_plugin_quote_db.parts.breaker import CircuitState

if TYPE_CHECKING:
    from reference_plugin_quote_db.plugin import QuoteDBPlugin


def health_checks(plugin: QuoteDBPlugin) -> Mapping[str, Check]:
    """Return the checks of `/health`; none of them waits for the circuit breaker."""

    async def nats() -> None:
        if not plugin.is_connected:
            raise Unwell("not connected to the NATS server")

    async def circuit_breaker() -> None:
        if plugin.circuit_breaker.state is CircuitState.OPEN:
            raise Unwell("circuit breaker open")

    return {"nats": nats, "database": plugin.check_service, "circuit_breaker": circuit_breaker}
