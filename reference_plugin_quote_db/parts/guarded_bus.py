"""Every request of the plugin passes here on its way to the bus: breaker and trace."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dbservice.client.channel import Message, Nats
from dbservice.protocol.errors import RETRYABLE, ErrorCode
from reference_plugin_quote_db.parts.breaker import CircuitBreaker
from reference_plugin_quote_db.tracing import Tracing

_OUTAGES: Final = frozenset(RETRYABLE | {ErrorCode.INTERNAL_ERROR})
"""Codes that say something about the service; the others are about the request."""


class _Error(msgspec.Struct):
    code: str = ""


class _Outcome(msgspec.Struct):
    error: _Error | None = None


_DECODER: Final = msgspec.json.Decoder(_Outcome)


class GuardedNats:
    """Has the `request()` of a NATS client, behind a circuit breaker.

    Retrying is the storage client's, which stands in front of this: each try counts, and the
    breaker ends the trying when it opens.

    Args:
        nats: the client.
        breaker: counts timeouts, lost connections and failures of the service.
        tracing: where spans go.
    """

    def __init__(self, nats: Nats, breaker: CircuitBreaker, tracing: Tracing) -> None:
        self._nats = nats
        self._breaker = breaker
        self._tracing = tracing

    async def request(
        self,
        subject: str,
        payload: bytes,
        /,
        *,
        timeout: float,  # noqa: ASYNC109 - it goes with the request
        headers: dict[str, Any] | None = None,
    ) -> Message:
        """Send a request and return the reply.

        Raises:
            CircuitBreakerError: if the breaker lets nothing through; nothing was sent.
        """
        with self._tracing.request(subject, headers or {}) as sent:
            options: dict[str, Any] = {"headers": sent} if sent else {}
            return await self._breaker.call(
                lambda: self._nats.request(subject, payload, timeout=timeout, **options),
                _is_outage,
            )


def is_failure(error: Exception) -> bool:
    """Return whether an exception of a NATS client is the fault of the network or the service."""
    # Known by its name, so that nothing here needs nats-py.
    return type(error).__name__ != "MaxPayloadError"


def _is_outage(reply: Message) -> bool:
    try:
        outcome = _DECODER.decode(reply.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
        return False  # somebody answers; what is wrong with it, the storage client says
    return outcome.error is not None and outcome.error.code in _OUTAGES
