"""What an engine raised, in the words of the contract (SPEC 2.2)."""

from __future__ import annotations

import re

from dbservice.engine.errors import ConstraintError, EngineError
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.names import Namespace
from dbservice.runtime.correlation import current_request_id

_RETRY_AFTER_MS = 100

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
    if isinstance(error, ConstraintError):
        return _constraint(error, namespace)
    if error.code is ErrorCode.INTERNAL_ERROR:
        return internal_error(error.told)
    return RequestError(error.code, error.told, reason=error.reason)


def internal_error(told: str = EngineError.told) -> RequestError:
    """Return the failure that tells nothing but where in the log the rest is."""
    return RequestError(ErrorCode.INTERNAL_ERROR, told, request_id=current_request_id())


def overloaded(taken: int) -> RequestError:
    """Return the failure for a request that finds every place taken.

    Args:
        taken: how many requests the service has.
    """
    return RequestError(
        ErrorCode.OVERLOADED,
        f"The service has {taken} requests to answer already. Try again a little later.",
        retry_after_ms=_RETRY_AFTER_MS,
    )


def shutting_down() -> RequestError:
    """Return the failure for a request that is not executed because the service ends."""
    return RequestError(
        ErrorCode.SHUTTING_DOWN,
        "The service is shutting down and did not execute this request. Try again.",
        retry_after_ms=_RETRY_AFTER_MS,
    )


def reply_too_large(size: int, limit: int, *, executed: bool) -> RequestError:
    """Return the failure for a reply that the NATS server would not take.

    Args:
        size: bytes of the reply.
        limit: bytes that the server takes.
        executed: whether the request has changed something.
    """
    what_to_do = (
        "The request was executed: do not repeat it. Read the rows in pages, and name fewer "
        "columns in 'returning'."
        if executed
        else "Ask for fewer rows with 'limit' and page with 'after', or name fewer 'columns'; a "
        "row that is asked for by 'id' stands in the reply twice, by 'filters' once."
    )
    return RequestError(
        ErrorCode.VALUE_TOO_LARGE,
        f"The reply has {size} bytes; this NATS server takes {limit}. {what_to_do}",
        limit=limit,
        got=size,
        executed=True if executed else None,
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
        "foreign key": _FOREIGN_KEY[error.is_missing],
        "type": f"A value{place} has the wrong type.",
    }
    return RequestError(
        ErrorCode.CONSTRAINT_VIOLATION,
        told.get(error.kind, ConstraintError.told),
        constraint=error.kind,
        columns=names or None,
    )


_FOREIGN_KEY = {
    True: "The row that this one refers to is not there.",
    False: "Other rows still refer to this row: change or delete those first.",
    None: "A row that this one refers to is not there, or rows still refer to it.",
}


def _names_in(error: ConstraintError, namespace: Namespace | None) -> list[str]:
    """Return the columns, or the constraint, that an engine's error names."""
    subject = error.subject or ""
    if error.kind != "check":
        return [name.rpartition(".")[2] for name in subject.split(", ") if "." in name]
    if namespace is not None and subject.startswith(namespace.prefix) and subject.isidentifier():
        return [subject.removeprefix(namespace.prefix)]  # the constraint's own name
    names: list[str] = []
    for name in _NAME.findall(_NOT_A_NAME.sub("", subject)):
        is_table = namespace is not None and name.startswith(namespace.prefix)
        if not is_table and name.lower() not in _KEYWORDS and name not in names:
            names.append(name)
    return names
