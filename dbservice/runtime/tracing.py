"""OpenTelemetry spans, if this process has set OpenTelemetry up (SPEC 3.7, 2.7).

Only the API is used; which spans are kept and where they go is the business of whoever configured
a provider (`opentelemetry-instrument rosey serve …` does). Without one, nothing is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dbservice.protocol import subjects
from dbservice.protocol.errors import RETRYABLE, ErrorCode
from dbservice.protocol.operations import Operation

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

_NAMED_IN_THE_ENVIRONMENT = "OTEL_PYTHON_TRACER_PROVIDER"
_FAULTS = RETRYABLE | {ErrorCode.INTERNAL_ERROR}
"""Codes that are the service's fault; a refused request is a span that ended well."""


def provider() -> TracerProvider | None:
    """Return where the spans of this process go, or None if OpenTelemetry is not set up in it."""
    if "opentelemetry.trace" not in sys.modules and _NAMED_IN_THE_ENVIRONMENT not in os.environ:
        return None
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    found = trace.get_tracer_provider()
    is_none = isinstance(found, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
    return None if is_none else found


def configured() -> Tracing | None:
    """Return what makes the service's spans, or None if they would go nowhere."""
    found = provider()
    return None if found is None else Tracing(found)


class Tracing:
    """Makes the spans of a service, after the conventions for messaging and databases.

    Args:
        provider: where they go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import propagate, trace

        self._tracer = provider.get_tracer("dbservice")
        self._extract = propagate.extract
        self._kinds = trace.SpanKind
        self._fault = trace.Status(trace.StatusCode.ERROR)

    @contextmanager
    def request(
        self, subject: str, operation: Operation | None, headers: Mapping[str, str], size: int
    ) -> Iterator[Span]:
        """Open the span of one request; it continues the trace that came with the message.

        Args:
            subject: where the request came in.
            operation: what it asks for; None if it is none of the contract.
            headers: the headers of the message.
            size: bytes of its payload.
        """
        pattern = (
            subjects.ALL_REQUESTS
            if operation is None
            else subjects.subject_pattern(operation.family, operation.name)
        )
        attributes: dict[str, str | int] = {
            "messaging.system": "nats",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": subject,
            "messaging.destination.template": pattern,
            "messaging.consumer.group.name": subjects.QUEUE_GROUP,
            "messaging.message.body.size": size,
        }
        with self._tracer.start_as_current_span(
            f"process {pattern}",
            context=self._extract(headers),
            kind=self._kinds.CONSUMER,
            attributes=attributes,
        ) as span:
            yield span

    def answered(self, span: Span, code: ErrorCode | None) -> None:
        """Note on the span of a request how it was answered."""
        if code is None:
            return
        span.set_attribute("error.type", code.value)
        if code in _FAULTS:
            span.set_status(self._fault)

    @contextmanager
    def database(
        self, system: str, operation: Operation, namespace: str, table: str | None
    ) -> Iterator[None]:
        """Open the span of the work on the database.

        Args:
            system: the engine, `sqlite` or `postgresql`.
            operation: what is done.
            namespace: the plugin whose data it is.
            table: the bare name of the table, if the operation is about one.
        """
        attributes = {
            "db.system.name": system,
            "db.operation.name": operation.name,
            "db.namespace": namespace,
        }
        if table is not None:
            attributes["db.collection.name"] = table
        # The engine's own text may hold values: it stays in the log.
        with self._tracer.start_as_current_span(
            f"{operation.name} {table or operation.family}",
            kind=self._kinds.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_attribute("error.type", type(error).__name__)
                raise
