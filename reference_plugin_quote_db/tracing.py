"""OpenTelemetry spans, if this process has set OpenTelemetry up; the API is optional."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from dbservice.runtime.tracing import provider


class Tracing:
    """Makes the spans of a plugin.

    Args:
        tracer: an OpenTelemetry tracer.
    """

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    def operation(self, name: str) -> AbstractContextManager[object]:
        """Open the span of an operation, `quote.<name>`; what it raises is recorded on it."""
        span: AbstractContextManager[object] = self._tracer.start_as_current_span(f"quote.{name}")
        return span

    def note(self, facts: Mapping[str, str | int]) -> None:
        """Add facts to the span that is open, as `quote.<name>`."""
        from opentelemetry import trace

        attributes = {f"quote.{name}": fact for name, fact in facts.items()}
        trace.get_current_span().set_attributes(attributes)

    @contextmanager
    def request(self, subject: str, headers: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """Open the span of a request and yield its headers, with the trace context added.

        Args:
            subject: where the request goes.
            headers: what it has already.
        """
        from opentelemetry import propagate, trace

        sent = dict(headers)

        with self._tracer.start_as_current_span(
            "quote.nats_request",
            kind=trace.SpanKind.CLIENT,
            attributes={"messaging.system": "nats", "nats.subject": subject},
        ):
            propagate.inject(sent)
            yield sent


def configured() -> Tracing | None:
    """Return what makes the plugin's spans, or None if they would go nowhere."""
    found = provider()
    return None if found is None else Tracing(found.get_tracer("quote_db"))
