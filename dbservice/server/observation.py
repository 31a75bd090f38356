"""Tells everyone who wants to know what the service does: counters, metrics, logs (SPEC 3.7)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dbservice.protocol.errors import ErrorCode
from dbservice.protocol.messages import Request
from dbservice.runtime.logs import SparingLog
from dbservice.server.discovery import Tally
from dbservice.server.incoming import Incoming

if TYPE_CHECKING:
    from dbservice.server.metrics import ServiceMetrics

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Exchange:
    """One request and what was answered, for observers.

    Attributes:
        subject: where the request came in.
        request: its payload.
        reply: the payload of the answer.
        code: the error code of a failed reply, or None.
        seconds: how long it took.
        headers: the headers of the request.
    """

    subject: str
    request: bytes
    reply: bytes
    code: ErrorCode | None
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)


class Observation:
    """Where the service reports to.

    Args:
        tallies: the counters that are asked for over NATS, by request type.
        metrics: those for Prometheus, if there are any.
        observe: called with every exchange.
    """

    def __init__(
        self,
        tallies: Mapping[type[Request], Tally],
        metrics: ServiceMetrics | None,
        observe: Callable[[Exchange], None] | None,
    ) -> None:
        self._tallies = tallies
        self._metrics = metrics
        self._observe = observe
        self._log = SparingLog(log)

    def answered(
        self, incoming: Incoming, reply: bytes, code: ErrorCode | None, seconds: float
    ) -> None:
        """Report a request that was answered; `code` is that of a failure."""
        operation = incoming.operation
        if operation is not None:
            self._tallies[operation.request].add(code, seconds)
        if self._metrics is not None:
            self._metrics.answered(operation, code, seconds)
        if log.isEnabledFor(logging.DEBUG):
            told = {"subject": incoming.subject, "code": code, "ms": round(seconds * 1000, 3)}
            log.debug("answered", extra=told)
        if self._observe is not None:
            self._observe(
                Exchange(incoming.subject, incoming.payload, reply, code, seconds, incoming.headers)
            )

    def dropped(self, incoming: Incoming) -> None:
        """Report a request that came after its deadline."""
        log.debug("dropped: its deadline has passed", extra={"subject": incoming.subject})
        if self._metrics is not None:
            self._metrics.late()

    def misdirected(self, subject: str) -> None:
        """Report a request that was dropped because it wants its answer where nobody waits."""
        self._log.warning(
            "misdirected",
            "dropped a request on %.120s: its reply subject is no inbox; clients with an inbox "
            "prefix of their own need --inbox-prefix",
            subject,
        )

    def swept(self, keys: int) -> None:
        """Report how many expired keys were removed."""
        log.info("swept %d expired keys", keys)
        if self._metrics is not None:
            self._metrics.swept(keys)

    def sweep_failed(self, error: Exception) -> None:
        """Report that expired keys are still there, and why."""
        log.error("sweeping expired keys failed; the next sweep tries again", exc_info=error)
        if self._metrics is not None:
            self._metrics.sweep_failed()
