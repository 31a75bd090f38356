"""The storage client: what a plugin calls.

It needs neither a database nor nats-py, only an object with nats-py's `request()`.
"""

from dbservice.client.channel import Nats
from dbservice.client.errors import (
    ChecksumMismatch,
    ConstraintViolation,
    DatabaseUnavailable,
    Disconnected,
    Forbidden,
    IdempotencyConflict,
    InternalError,
    InvalidJson,
    InvalidSubject,
    Irreversible,
    LockTimeout,
    MalformedReply,
    MigrationFailed,
    MigrationNotFound,
    MigrationOrder,
    MissingField,
    NamespaceConflict,
    NoService,
    Overloaded,
    RequestTimeout,
    ShuttingDown,
    StatementTimeout,
    StorageError,
    ValidationError,
    ValueTooLarge,
)
from dbservice.client.kv import KeyValues
from dbservice.client.migrations import Migrations
from dbservice.client.retry import RetryPolicy
from dbservice.client.rows import FieldDefinition, Page, Rows, SortBy, Upserted
from dbservice.client.storage import StorageClient

__all__ = [
    "ChecksumMismatch",
    "ConstraintViolation",
    "DatabaseUnavailable",
    "Disconnected",
    "FieldDefinition",
    "Forbidden",
    "IdempotencyConflict",
    "InternalError",
    "InvalidJson",
    "InvalidSubject",
    "Irreversible",
    "KeyValues",
    "LockTimeout",
    "MalformedReply",
    "MigrationFailed",
    "MigrationNotFound",
    "MigrationOrder",
    "Migrations",
    "MissingField",
    "NamespaceConflict",
    "Nats",
    "NoService",
    "Overloaded",
    "Page",
    "RequestTimeout",
    "RetryPolicy",
    "Rows",
    "ShuttingDown",
    "SortBy",
    "StatementTimeout",
    "StorageClient",
    "StorageError",
    "Upserted",
    "ValidationError",
    "ValueTooLarge",
]
