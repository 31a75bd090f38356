"""Error codes and the one exception that carries them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """Every code that may stand in `error.code` of a failed reply."""

    INVALID_JSON = "INVALID_JSON"
    INVALID_SUBJECT = "INVALID_SUBJECT"
    MISSING_FIELD = "MISSING_FIELD"
    VALIDATION_ERROR = "VALIDATION_ERROR"
    VALUE_TOO_LARGE = "VALUE_TOO_LARGE"
    CONSTRAINT_VIOLATION = "CONSTRAINT_VIOLATION"
    NAMESPACE_CONFLICT = "NAMESPACE_CONFLICT"
    FORBIDDEN = "FORBIDDEN"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    MIGRATION_NOT_FOUND = "MIGRATION_NOT_FOUND"
    MIGRATION_FAILED = "MIGRATION_FAILED"
    LOCK_TIMEOUT = "LOCK_TIMEOUT"
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"
    MIGRATION_ORDER = "MIGRATION_ORDER"
    IRREVERSIBLE = "IRREVERSIBLE"
    TIMEOUT = "TIMEOUT"
    OVERLOADED = "OVERLOADED"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    INTERNAL_ERROR = "INTERNAL_ERROR"


MEANINGS: Mapping[ErrorCode, str] = {
    ErrorCode.INVALID_JSON: "not UTF-8, not JSON, not an object, NaN, Infinity, or nested too deep",
    ErrorCode.INVALID_SUBJECT: "malformed subject, bad plugin name or unknown operation",
    ErrorCode.MISSING_FIELD: "a required field is absent or empty",
    ErrorCode.VALIDATION_ERROR: "a field has the wrong type or value; `details.reason` refines it",
    ErrorCode.VALUE_TOO_LARGE: "a KV value, a row or a reply is over its size limit",
    ErrorCode.CONSTRAINT_VIOLATION: "a CHECK, NOT NULL, UNIQUE or foreign key refused the write",
    ErrorCode.NAMESPACE_CONFLICT: "another spelling of this plugin name already owns the namespace",
    ErrorCode.FORBIDDEN: "the caller may not do this",
    ErrorCode.IDEMPOTENCY_CONFLICT: "the idempotency key was used for a different request",
    ErrorCode.MIGRATION_NOT_FOUND: "no migration of this plugin has this version",
    ErrorCode.MIGRATION_FAILED: "a statement of a migration failed; nothing of it was kept",
    ErrorCode.LOCK_TIMEOUT: (
        "another migration of this plugin, another request or another process was in the way; retry"
    ),
    ErrorCode.CHECKSUM_MISMATCH: "the file of an applied migration was changed",
    ErrorCode.MIGRATION_ORDER: "numbering has a gap, a duplicate, or an older migration is pending",
    ErrorCode.IRREVERSIBLE: "the migration declares that it cannot be rolled back",
    ErrorCode.TIMEOUT: "the statement took longer than the service allows",
    ErrorCode.OVERLOADED: "the queue is full; retry after `details.retry_after_ms`",
    ErrorCode.SHUTTING_DOWN: "the service is draining; retry",
    ErrorCode.DATABASE_UNAVAILABLE: "the database cannot be reached; retry",
    ErrorCode.INTERNAL_ERROR: "anything else; the service's log has the correlation id",
}

RETRYABLE = frozenset(
    {
        ErrorCode.TIMEOUT,
        ErrorCode.OVERLOADED,
        ErrorCode.SHUTTING_DOWN,
        ErrorCode.DATABASE_UNAVAILABLE,
        ErrorCode.LOCK_TIMEOUT,
    }
)
"""Codes after which the same request may succeed if it is sent again."""


class Reason(StrEnum):
    """What `details.reason` says about a VALIDATION_ERROR."""

    TABLE_NOT_REGISTERED = "TABLE_NOT_REGISTERED"
    UNKNOWN_COLUMN = "UNKNOWN_COLUMN"
    IMMUTABLE_COLUMN = "IMMUTABLE_COLUMN"
    OPERATOR_TYPE = "OPERATOR_TYPE"
    UNKNOWN_OPERATOR = "UNKNOWN_OPERATOR"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    LIMIT = "LIMIT"


class RequestError(Exception):
    """A request that cannot be served, ready to be sent back as it is.

    Args:
        code: the code of the reply.
        message: one sentence for a plugin author. Never SQL, a path, or another plugin's name.
        details: structured facts (`field`, `expected`, `got`, `nearest`, `reason`, ...); entries
            that are None are left out.
    """

    def __init__(self, code: ErrorCode, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = {name: value for name, value in details.items() if value is not None}


def invalid(message: str, *, reason: Reason | None = None, **details: Any) -> RequestError:
    """Return a VALIDATION_ERROR, refined by `reason` where one applies."""
    return RequestError(ErrorCode.VALIDATION_ERROR, message, reason=reason, **details)


def absent(field: str, told: str) -> RequestError:
    """Return the MISSING_FIELD error where one of several fields is required."""
    return RequestError(ErrorCode.MISSING_FIELD, told, field=field)


def missing(field: str) -> RequestError:
    """Return the MISSING_FIELD error for a required field."""
    return RequestError(
        ErrorCode.MISSING_FIELD, f"Required field '{field}' is missing", field=field
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the entry of `known` that looks most like `name`, or None if none does."""
    matches = difflib.get_close_matches(name[:64], list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the closing question of an error about an unknown name, or an empty string."""
    match = nearest(name, known)
    return f" Did you mean '{match}'?" if match else ""
