"""The security log: who added and deleted what, and who was refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dbservice.runtime.clock import Clock, timestamp
from reference_plugin_quote_db.errors import RateLimitError, ValidationError

logger = logging.getLogger("quote_db.security")


class AuditLog:
    """Writes to the logger `quote_db.security`; the facts are fields of the record (`extra`).

    Args:
        clock: tells when it happened.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @contextmanager
    def adding(
        self, added_by: str, text: object, ip_address: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Log the outcome of the `with` block as that of adding a quote.

        Yields:
            the facts that are logged with a success; the block adds `quote_id`.
        """
        facts: dict[str, Any] = {
            "added_by": added_by,
            "ip_address": ip_address,
            "text_length": len(text) if isinstance(text, str) else 0,
        }
        try:
            yield facts
        except RateLimitError as error:
            self._warn("Rate limit exceeded", "quote.add.ratelimited", facts, error)
            raise
        except ValidationError as error:
            self._warn("Quote validation failed", "quote.add.validation_failed", facts, error)
            raise
        except PermissionError as error:
            self._warn("Adding was not permitted", "quote.add.forbidden", facts, error)
            raise
        self._log(logging.INFO, "Quote added", "quote.add.success", facts)

    @contextmanager
    def deleting(self, quote_id: int, user: str, role: str) -> Iterator[None]:
        """Log the outcome of the `with` block as that of deleting a quote."""
        facts = {"quote_id": quote_id, "user": user, "role": role}
        try:
            yield
        except PermissionError as error:
            self._warn("Deleting was not permitted", "quote.delete.forbidden", facts, error)
            raise
        self._log(logging.INFO, "Quote deleted", "quote.delete.success", facts)

    def _warn(self, text: str, event: str, facts: dict[str, Any], error: Exception) -> None:
        self._log(logging.WARNING, text, event, {**facts, "error": str(error)})

    def _log(self, level: int, text: str, event: str, facts: dict[str, Any]) -> None:
        when = timestamp(self._clock.time())
        logger.log(level, text, extra={"event": event, **facts, "timestamp": when})
