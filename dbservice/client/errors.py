"""What a storage call can raise: one class for each error code, and three for the way there.

Everything is a `StorageError`. `except StorageError as error` with a look at `error.retryable` is
enough for a caller who only wants to know whether trying again makes sense.
"""
# ruff: noqa: N818 - the classes are named after the error codes

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dbservice.protocol.errors import ErrorCode


class StorageError(Exception):
    """A storage call that failed. Raised as itself only for a code this client does not know.

    Attributes:
        code: the error code, for example `CONSTRAINT_VIOLATION`.
        message: one sentence that says what is wrong.
        details: structured facts, for example `field`, `expected`, `got`, `reason`.
        retryable: whether the same request may succeed if it is sent again.
    """

    code: str = "UNKNOWN"
    retryable: bool = False

    def __init__(
        self, message: str, *, details: Mapping[str, Any] | None = None, code: str | None = None
    ) -> None:
        # Not super(): behind this class stand built-in errors with constructors of their own.
        Exception.__init__(self, message)
        self.message = message
        self.details = dict(details or {})
        if code is not None:
            self.code = code


class InvalidJson(StorageError):
    """The payload was not a JSON object, or was nested too deep."""

    code = ErrorCode.INVALID_JSON


class InvalidSubject(StorageError):
    """The plugin's name is malformed, or the service does not know the operation."""

    code = ErrorCode.INVALID_SUBJECT


class MissingField(StorageError):
    """A required field is absent or empty."""

    code = ErrorCode.MISSING_FIELD


class ValidationError(StorageError):
    """A field has the wrong type or value; `details["reason"]` refines it."""

    code = ErrorCode.VALIDATION_ERROR


class ValueTooLarge(StorageError):
    """A value, a row, a request or a reply is over its size limit."""

    code = ErrorCode.VALUE_TOO_LARGE


class ConstraintViolation(StorageError):
    """A CHECK, NOT NULL, UNIQUE or foreign key refused the write."""

    code = ErrorCode.CONSTRAINT_VIOLATION


class NamespaceConflict(StorageError):
    """Another spelling of this plugin's name already owns the namespace."""

    code = ErrorCode.NAMESPACE_CONFLICT


class Forbidden(StorageError):
    """The caller may not do this; clearing and migrating may be kept for the admin."""

    code = ErrorCode.FORBIDDEN


class IdempotencyConflict(StorageError):
    """The idempotency key was used for a different request."""

    code = ErrorCode.IDEMPOTENCY_CONFLICT


class MigrationNotFound(StorageError):
    """No migration of this plugin has this version."""

    code = ErrorCode.MIGRATION_NOT_FOUND


class MigrationFailed(StorageError):
    """A statement of a migration failed; nothing of that migration was kept."""

    code = ErrorCode.MIGRATION_FAILED


class LockTimeout(StorageError):
    """Another migration of this plugin is in progress."""

    code = ErrorCode.LOCK_TIMEOUT
    retryable = True


class ChecksumMismatch(StorageError):
    """The file of an applied migration was changed."""

    code = ErrorCode.CHECKSUM_MISMATCH


class MigrationOrder(StorageError):
    """The numbering has a gap or a duplicate, or an older migration is pending."""

    code = ErrorCode.MIGRATION_ORDER


class Irreversible(StorageError):
    """The migration declares that it cannot be rolled back."""

    code = ErrorCode.IRREVERSIBLE


class StatementTimeout(StorageError, TimeoutError):
    """The service stopped a statement that took too long."""

    code = ErrorCode.TIMEOUT
    retryable = True


class Overloaded(StorageError):
    """The service's queue is full; `details["retry_after_ms"]` says when to come back."""

    code = ErrorCode.OVERLOADED
    retryable = True


class ShuttingDown(StorageError):
    """The service is going away and takes no new requests."""

    code = ErrorCode.SHUTTING_DOWN
    retryable = True


class DatabaseUnavailable(StorageError):
    """The service cannot reach its database."""

    code = ErrorCode.DATABASE_UNAVAILABLE
    retryable = True


class InternalError(StorageError):
    """Something else went wrong in the service; its log has the request id."""

    code = ErrorCode.INTERNAL_ERROR


class RequestTimeout(StorageError, TimeoutError):
    """No reply came in time. A write may or may not have been executed."""

    code = "REQUEST_TIMEOUT"
    retryable = True


class NoService(StorageError, ConnectionError):
    """Nobody answers on the subject: no database service, or no permission to reach it."""

    code = "NO_SERVICE"
    retryable = True


class Disconnected(StorageError, ConnectionError):
    """The connection to the NATS server is closed, closing or being restored."""

    code = "DISCONNECTED"
    retryable = True


class MalformedReply(StorageError, json.JSONDecodeError):
    """The reply is not what the contract says. From a real service this does not come.

    Attributes:
        doc: the reply as text.
    """

    code = "MALFORMED_REPLY"

    def __init__(self, message: str, doc: str = "", pos: int = 0) -> None:
        json.JSONDecodeError.__init__(self, message, doc, pos)
        # A position in the reply means nothing to the reader: the sentence is the whole text.
        StorageError.__init__(self, message)


CLASSES: Mapping[str, type[StorageError]] = {
    kind.code: kind
    for kind in (
        InvalidJson,
        InvalidSubject,
        MissingField,
        ValidationError,
        ValueTooLarge,
        ConstraintViolation,
        NamespaceConflict,
        Forbidden,
        IdempotencyConflict,
        MigrationNotFound,
        MigrationFailed,
        LockTimeout,
        ChecksumMismatch,
        MigrationOrder,
        Irreversible,
        StatementTimeout,
        Overloaded,
        ShuttingDown,
        DatabaseUnavailable,
        InternalError,
    )
}
"""The exception class of every error code."""


def error_for(code: str, message: str, details: Mapping[str, Any] | None = None) -> StorageError:
    """Return the exception for a failed reply.

    Args:
        code: what the service sent; a code from a newer service gives a plain StorageError.
        message: its sentence.
        details: its structured facts.
    """
    return CLASSES.get(code, StorageError)(message, details=details, code=code)
