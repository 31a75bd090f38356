"""A NATS client behind a circuit breaker, with a span for every request."""

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


class GuardedBus:
    """Has the `request()` of a NATS client, behind a circuit breaker.

    Retrying is the storage client's, which stands in front of this: each try counts, and the
    breaker ends the trying when it opens.

    Args:
        nats: the client.
        breaker: counts timeouts, lost connections and failures of the service.
        tracing: where spans go, if anywhere.

    Attributes:
        reached: how many requests somebody may have received. Where it did not move, nothing was
            carried out.
    """

    def __init__(self, nats: Nats, breaker: CircuitBreaker, tracing: Tracing | None = None) -> None:
        self._nats = nats
        self._breaker = breaker
        self._tracing = tracing
        self.reached = 0

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
        if self._tracing is None:
            return await self._guarded(subject, payload, timeout, headers)
        with self._tracing.request(subject, headers or {}) as sent:
            return await self._guarded(subject, payload, timeout, sent)

    async def _guarded(
        self, subject: str, payload: bytes, seconds: float, headers: dict[str, Any] | None
    ) -> Message:
        breaker = self._breaker
        # While it is quiet, there is nothing to ask it, and a success would change nothing.
        period = breaker.period if breaker.quiet else breaker.enter()
        options: dict[str, Any] = {"headers": headers} if headers else {}
        try:
            reply = await self._nats.request(subject, payload, timeout=seconds, **options)
        except BaseException as error:
            self.reached += not _is_no_responders(error)
            breaker.leave(period, failed=_is_failure(error))
            raise
        self.reached += 1
        failed = _is_outage(reply.data)
        if failed or not breaker.quiet:
            breaker.leave(period, failed=failed)
        return reply


def _is_failure(error: BaseException) -> bool | None:
    """Return whether an exception is the fault of the network or the service; None: unknown."""
    if not isinstance(error, Exception):  # cancelled, say
        return None
    # Known by its name, so that nothing here needs nats-py.
    return None if type(error).__name__ == "MaxPayloadError" else True


def _is_no_responders(error: BaseException) -> bool:
    return type(error).__name__ == "NoRespondersError"


def _is_outage(data: bytes) -> bool:
    try:
        if b'"error"' not in data:
            return False
        outcome = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
        return False  # somebody answers; what is wrong with it, the storage client says
    return outcome.error is not None and outcome.error.code in _OUTAGES
