"""What an engine raised, in the words of the contract (SPEC 2.2)."""

from __future__ import annotations

import re

from dbservice.protocol.errors import ErrorCode, Reason, RequestError, invalid
from dbservice.protocol.names import Namespace
from dbservice.storage.errors import (
    ConstraintError,
    EngineError,
    OutOfRangeError,
    StatementTimeoutError,
    UnavailableError,
)

_NAME = re.compile(r"\b[a-z_][a-z0-9_]*\b(?!\s*\()", re.IGNORECASE)
_NOT_A_NAME = re.compile(r"'(?:[^']|'')*'|\bas\s+\w+", re.IGNORECASE)
_KEYWORDS = frozenset(
    {"and", "or", "not", "in", "is", "null", "between", "like", "glob", "escape"}
    | {"case", "when", "then", "else", "end", "collate", "true", "false"}
)


def reply_to(error: EngineError, namespace: Namespace | None) -> RequestError:
    """Return the failure to send for an engine's error.

    Args:
        error: what the engine raised; its text does not leave the service.
        namespace: whose request it was.
    """
    match error:
        case ConstraintError():
            return _constraint(error, namespace)
        case StatementTimeoutError():
            return RequestError(
                ErrorCode.TIMEOUT,
                "The statement took longer than the service allows and was stopped; nothing was "
                "changed. Narrow the filters, add an index, or ask for fewer rows.",
            )
        case UnavailableError():
            return RequestError(
                ErrorCode.DATABASE_UNAVAILABLE,
                "The database cannot be reached at the moment; nothing was changed. Try again.",
            )
        case OutOfRangeError():
            return invalid(
                "The result does not fit into 64 bits; nothing was changed.", reason=Reason.LIMIT
            )
        case _:
            return internal_error()


def internal_error() -> RequestError:
    """Return the failure that tells nothing; the log tells the rest."""
    return RequestError(
        ErrorCode.INTERNAL_ERROR,
        "The service could not serve this request. Its log has the details under the request's id.",
    )


def on_global_kv(error: RequestError) -> RequestError:
    """Return an error as the global KV subjects report it (SPEC 2.2)."""
    if error.code is not ErrorCode.DATABASE_UNAVAILABLE:
        return error
    return RequestError(
        ErrorCode.INTERNAL_ERROR, "Database operation failed", reason=str(error.code)
    )


def _constraint(error: ConstraintError, namespace: Namespace | None) -> RequestError:
    names = _names_in(error, namespace)
    place = f" on {', '.join(names)}" if names else ""
    told = {
        "unique": f"A row with the same value{place} exists already.",
        "not null": f"A value{place} is required and may not be null.",
        "check": f"A CHECK constraint{place} refused the value.",
        "foreign key": "A row that this one refers to is not there, or rows still refer to it.",
        "type": f"A value{place} has the wrong type.",
    }
    return RequestError(
        ErrorCode.CONSTRAINT_VIOLATION,
        told.get(error.kind, f"A constraint{place} refused the write."),
        constraint=error.kind,
        columns=names or None,
    )


def _names_in(error: ConstraintError, namespace: Namespace | None) -> list[str]:
    """Return the columns, or the constraint, that an engine's error names."""
    subject = error.subject or ""
    if error.kind != "check":
        return [name.rpartition(".")[2] for name in subject.split(", ") if "." in name]
    names: list[str] = []
    for name in _NAME.findall(_NOT_A_NAME.sub("", subject)):
        is_table = namespace is not None and name.startswith(namespace.prefix)
        if not is_table and name.lower() not in _KEYWORDS and name not in names:
            names.append(name)
    return names
