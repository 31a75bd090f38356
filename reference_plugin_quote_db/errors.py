"""What can be wrong with a request to the plugin (SPEC 6).

What can be wrong with the storage service is a `dbservice.client.StorageError`: of these,
timeouts are also `TimeoutError`s, and an undecodable reply is also a `json.JSONDecodeError`.
"""

from __future__ import annotations

from math import ceil

from dbservice.client import StorageError


class QuoteError(ValueError):
    """A request that cannot be met as it is. The text is meant for the chat."""


class ValidationError(QuoteError):
    """A value breaks a rule of `reference_plugin_quote_db.validation`."""


class QuoteNotFound(QuoteError):  # noqa: N818 - the name is part of the contract
    """There is no quote with this id.

    Attributes:
        quote_id: the id that was asked for.
    """

    def __init__(self, quote_id: int) -> None:
        super().__init__(f"Quote #{quote_id} not found")
        self.quote_id = quote_id


class ScoreLimitReached(QuoteError):  # noqa: N818 - named like QuoteNotFound
    """The score cannot move further: it is held between -100 and 100.

    Attributes:
        quote_id: the quote that was voted on.
    """

    def __init__(self, quote_id: int, limit: str) -> None:
        super().__init__(f"Quote #{quote_id} is already at the {limit} score")
        self.quote_id = quote_id


class MigrationsPending(RuntimeError):  # noqa: N818 - named like QuoteNotFound
    """The database is not at the version that this plugin needs.

    Attributes:
        pending: the names of the migrations that are to be applied, oldest first.
    """

    def __init__(self, namespace: str, pending: list[str]) -> None:
        missing = f"{', '.join(pending)} pending" if pending else "none of them is applied"
        super().__init__(
            f"Migrations not up to date: {missing}. "
            f"Apply them before starting the plugin: rosey migrate {namespace} apply"
        )
        self.pending = pending


class RateLimitError(QuoteError):
    """The user has added as many quotes as they may in this hour.

    Attributes:
        limit: quotes an hour.
        retry_after: seconds until the next one is allowed, at the most.
    """

    def __init__(self, limit: int, retry_after: float) -> None:
        minutes = max(1, ceil(retry_after / 60))
        super().__init__(f"Rate limit exceeded ({limit}/hour). Try again in {minutes} min")
        self.limit = limit
        self.retry_after = retry_after


class ServiceUnavailableError(Exception):
    """The storage service cannot be used now, and nothing else can stand in for it."""


class CircuitBreakerError(ServiceUnavailableError):
    """Nothing was sent: the storage service failed too often, and is left alone for a while.

    It is neither a `ConnectionError` nor a `TimeoutError`, so that nobody takes it for a failure
    of the network and tries again at once.

    Attributes:
        retry_after: seconds until the service is tried again.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"Circuit breaker is open; the next try is in {retry_after:.0f} s")
        self.retry_after = retry_after


class WriteNotAcknowledged(ServiceUnavailableError, TimeoutError):  # noqa: N818 - as above
    """A queued write met its deadline. If it was sent, it may still be carried out."""

    def __init__(self, seconds: float) -> None:
        # Not super(): TimeoutError is an OSError and would take a number for an errno.
        Exception.__init__(
            self, f"The write was not acknowledged within {seconds:g} s; it may still be stored"
        )


def is_outage(error: BaseException) -> bool:
    """Return whether an error says that the service is away, not that a request was wrong."""
    return isinstance(error, CircuitBreakerError) or (
        isinstance(error, StorageError) and error.retryable
    )
