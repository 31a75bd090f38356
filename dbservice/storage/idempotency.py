"""Writes that are repeated with the same key are applied once (SPEC 2.7)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from dbservice.engine.dialect import SqlDialect
from dbservice.engine.steps import Statement, Steps
from dbservice.protocol.codec import check_json, encode_json, encode_reply, encode_request
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.limits import IDEMPOTENCY_WINDOW, MAX_EXPORT_PAGE
from dbservice.protocol.messages import Reply, Request
from dbservice.protocol.names import Namespace
from dbservice.protocol.operations import Operation
from dbservice.runtime.clock import Clock

_FIND = (
    "SELECT fingerprint, kind, reply FROM _idempotency "
    "WHERE plugin = ? AND key = ? AND answered_at > ?"
)
_REMEMBER = (
    "INSERT INTO _idempotency VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (plugin, key) DO UPDATE SET "
    "fingerprint = excluded.fingerprint, kind = excluded.kind, reply = excluded.reply, "
    "answered_at = excluded.answered_at"
)


class AnswerStore:
    """Remembers the answers of writes that carried an idempotency key, for 24 hours.

    Args:
        clock: decides what has been long enough.
        dialect: of the engine.
    """

    def __init__(self, clock: Clock, dialect: SqlDialect) -> None:
        self._clock = clock
        self._dialect = dialect

    def once(
        self,
        namespace: Namespace,
        operation: Operation,
        key: str,
        request: Request,
        work: Steps[Reply],
    ) -> Steps[Reply]:
        """Run a write, unless it was answered before; then return that answer, marked.

        The answer is kept in the write's own transaction, so there is never one without the
        other.

        Raises:
            RequestError: IDEMPOTENCY_CONFLICT if the key was used for another request.
        """
        check_json(key, "idempotency_key")
        fingerprint = _fingerprint(operation, request)
        since = self._clock.time() - IDEMPOTENCY_WINDOW
        yield from self._dialect.lock(f"answer {namespace.plugin} {key}")
        found = yield Statement(_FIND, (namespace.plugin, key, since))
        if found.rows:
            work.close()
            return _replayed(operation, key, fingerprint, found.rows[0])
        reply = yield from work
        yield Statement(
            _REMEMBER,
            (
                namespace.plugin,
                key,
                fingerprint,
                type(reply).__name__,
                encode_reply(reply).decode(),
                self._clock.time(),
            ),
        )
        return reply

    def sweep(self) -> Steps[int]:
        """Forget answers older than 24 hours; return how many."""
        since = self._clock.time() - IDEMPOTENCY_WINDOW
        result = yield Statement("DELETE FROM _idempotency WHERE answered_at <= ?", (since,))
        return result.affected

    def copied(
        self, namespace: Namespace, after: str, count: int
    ) -> Steps[Sequence[tuple[str, str, str, str, float]]]:
        """Return answers behind a key, in order: key, fingerprint, kind, text, age in seconds.

        They are as many as `count`, or as fill a page of an export.
        """
        now = self._clock.time()
        result = yield Statement(
            "SELECT key, fingerprint, kind, reply, answered_at FROM _idempotency "
            "WHERE plugin = ? AND key > ? AND answered_at > ? ORDER BY key LIMIT ?",
            (namespace.plugin, after, now - IDEMPOTENCY_WINDOW, count),
            max_weight=MAX_EXPORT_PAGE,
        )
        return [(*row[:4], now - row[4]) for row in result.rows]

    def restore(
        self, namespace: Namespace, answer: tuple[str, str, str, str], age: float
    ) -> Steps[None]:
        """Put a copied answer in its place."""
        yield Statement(_REMEMBER, (namespace.plugin, *answer, self._clock.time() - age))

    def clear(self, namespace: Namespace) -> Steps[None]:
        """Forget all answers of a plugin."""
        yield Statement("DELETE FROM _idempotency WHERE plugin = ?", (namespace.plugin,))


def _fingerprint(operation: Operation, request: Request) -> str:
    try:
        payload = encode_json(request)
    except RequestError:
        payload = encode_request(request)  # which says where it is wrong
    digest = hashlib.sha256(f"{operation.family}.{operation.name}\n".encode())
    digest.update(payload)
    return digest.hexdigest()


def _replayed(
    operation: Operation, key: str, fingerprint: str, answer: tuple[str, str, str]
) -> Reply:
    first, kind, text = answer
    if first != fingerprint:
        raise RequestError(
            ErrorCode.IDEMPOTENCY_CONFLICT,
            f"The idempotency key '{key[:80]}' was used for a different request. Make a new key "
            "for each write, and repeat a write unchanged.",
            field="idempotency_key",
        )
    reply_type = next(reply for reply in operation.replies if reply.__name__ == kind)
    reply: Reply = msgspec.json.decode(text, type=reply_type)
    return msgspec.structs.replace(reply, replayed=True)
