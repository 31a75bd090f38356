"""The headers of requests and replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

IDEMPOTENCY_KEY: Final = "Nats-Msg-Id"
"""A write repeated with the same key within 24 hours is answered, not executed again. The payload
field `idempotency_key` says the same."""

REQUEST_ID: Final = "Rosey-Request-Id"
"""The correlation id: echoed in the reply, and in every log line on both sides."""

TRACE_CONTEXT: Final = "traceparent"
"""W3C trace context, continued by the service."""

DEADLINE: Final = "Rosey-Deadline"
"""Unix milliseconds; a request whose deadline has passed is dropped unexecuted."""


def size_of(headers: Mapping[str, str]) -> int:
    """Return the bytes that headers take in a message, where they count like its payload."""
    if not headers:
        return 0
    lines = sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())
    return len("NATS/1.0\r\n") + lines + len("\r\n")
