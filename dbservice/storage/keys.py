"""The key-value tier (SPEC 2.3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import UNSET

from dbservice.engine.dialect import SqlDialect
from dbservice.engine.json_values import same_json
from dbservice.engine.steps import Statement, Steps
from dbservice.protocol.codec import encode_faithful
from dbservice.protocol.errors import ErrorCode, Reason, RequestError, invalid
from dbservice.protocol.filters import kind
from dbservice.protocol.kv import (
    KvDelete,
    KvDeleted,
    KvFound,
    KvGet,
    KvIncr,
    KvKeys,
    KvList,
    KvSet,
    KvStored,
    KvValue,
    lifetime,
)
from dbservice.protocol.limits import (
    MAX_EXPORT_PAGE,
    MAX_INTEGER,
    MAX_KEY_LENGTH,
    MAX_KEYS_LISTED,
    MAX_KV_VALUE,
    MAX_REPLY,
    MIN_INTEGER,
)
from dbservice.protocol.names import Namespace
from dbservice.runtime.clock import Clock
from dbservice.storage.pages import values_that_fit

_GET = (
    "SELECT value FROM _kv WHERE plugin = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)"
)
_PUT = (
    "INSERT INTO _kv (plugin, key, value, expires_at) VALUES (?, ?, ?, ?) ON CONFLICT (plugin, key)"
    " DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"
)
_CHANGE = "UPDATE _kv SET value = ? WHERE plugin = ? AND key = ?"
_DELETE = "DELETE FROM _kv WHERE plugin = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)"
_LIST = (
    "SELECT key FROM _kv WHERE plugin = ? AND key >= ? AND key < ? AND key > ? "
    "AND (expires_at IS NULL OR expires_at > ?) ORDER BY key LIMIT ?"
)
_COPY = (
    "SELECT key, value, expires_at FROM _kv WHERE plugin = ? AND key > ? "
    "AND (expires_at IS NULL OR expires_at > ?) ORDER BY key LIMIT ?"
)
_SWEEP = "DELETE FROM _kv WHERE expires_at <= ?"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""The characters of Unicode's category Cc."""

_LAST = "\U0010ffff"
_SURROGATES, _BEHIND_SURROGATES = 0xD800, 0xE000
"""Code points that stand for no character, so that no text has them."""


class KeyStore:
    """Operations on keys. An expired key is as good as absent, swept away or not.

    Args:
        clock: decides what has expired.
        dialect: of the engine.
        max_reply: tells how many bytes a reply may have.
    """

    def __init__(
        self, clock: Clock, dialect: SqlDialect, max_reply: Callable[[], int] = lambda: MAX_REPLY
    ) -> None:
        self._clock = clock
        self._dialect = dialect
        self._max_reply = max_reply

    def set(self, namespace: Namespace, request: KvSet) -> Steps[KvStored]:
        """Store a value.

        Raises:
            RequestError: VALUE_TOO_LARGE or VALIDATION_ERROR.
        """
        _check_key(request.key)
        seconds = lifetime(request)
        text = _encoded(request.value)
        conditional = request.if_absent or request.if_value is not UNSET
        if conditional and not (yield from self._holds(namespace, request)):
            return KvStored(stored=False)
        expires = None if seconds is None else self._clock.time() + seconds
        yield Statement(_PUT, (namespace.plugin, request.key, text, expires))
        return KvStored(stored=True) if conditional else KvStored()

    def get(self, namespace: Namespace, request: KvGet) -> Steps[KvFound]:
        """Read a value."""
        _check_key(request.key)
        text = yield from self._read(namespace, request.key)
        if text is None:
            return KvFound(exists=False)
        return KvFound(exists=True, value=msgspec.Raw(text.encode()))

    def delete(self, namespace: Namespace, request: KvDelete) -> Steps[KvDeleted]:
        """Remove a key."""
        _check_key(request.key)
        result = yield Statement(_DELETE, (namespace.plugin, request.key, self._clock.time()))
        return KvDeleted(deleted=result.affected > 0)

    def list(self, namespace: Namespace, request: KvList) -> Steps[KvKeys]:
        """List keys by prefix, in code-point order."""
        after, prefix = request.after or "", request.prefix or ""
        limit = request.limit or MAX_KEYS_LISTED
        for field, text in (("prefix", prefix), ("after", after)):
            _check_printable(text, field)
        result = yield Statement(
            _LIST,
            (
                namespace.plugin,
                prefix,
                _behind(prefix),
                after,
                self._clock.time(),
                limit + 1,
            ),
        )
        keys = [row[0] for row in result.rows]
        shown = keys[:limit]
        fitting = shown[: values_that_fit(shown, self._max_reply())]
        return KvKeys(
            keys=fitting,
            count=len(fitting),
            truncated=len(keys) > len(fitting),
            cut="size" if len(fitting) < len(shown) else UNSET,
        )

    def incr(self, namespace: Namespace, request: KvIncr) -> Steps[KvValue]:
        """Add to a number.

        Raises:
            RequestError: VALIDATION_ERROR if the key holds something that is not an integer, or
                the sum does not fit into 64 bits.
        """
        _check_key(request.key)
        seconds = lifetime(request)
        value = yield from self._add(namespace, request.key, request.by, seconds)
        return KvValue(value=value)

    def count(
        self, namespace: Namespace, counters: Mapping[str, int], times: int = 1
    ) -> Steps[None]:
        """Add to several numbers, as part of a larger operation.

        Raises:
            RequestError: as `incr`.
        """
        # In one order everywhere, so that no two operations wait for each other's keys.
        for key, delta in sorted(counters.items()):
            if not key:
                raise invalid("A key under 'counters' is empty.", field="counters")
            _check_key(key)
            if times:
                yield from self._add(namespace, key, delta * times, None, field="counters")

    def sweep(self) -> Steps[int]:
        """Remove what has expired, of all plugins; return how many keys."""
        result = yield Statement(_SWEEP, (self._clock.time(),))
        return result.affected

    def clear(self, namespace: Namespace) -> Steps[int]:
        """Remove every key of a plugin; return how many were not expired."""
        yield Statement(
            "DELETE FROM _kv WHERE plugin = ? AND expires_at <= ?",
            (namespace.plugin, self._clock.time()),
        )
        result = yield Statement("DELETE FROM _kv WHERE plugin = ?", (namespace.plugin,))
        return result.affected

    def number(self, namespace: Namespace) -> Steps[int]:
        """Return how many keys a plugin has that are not expired."""
        result = yield Statement(
            "SELECT COUNT(*) FROM _kv WHERE plugin = ? AND (expires_at IS NULL OR expires_at > ?)",
            (namespace.plugin, self._clock.time()),
        )
        count: int = result.rows[0][0]
        return count

    def copied(
        self, namespace: Namespace, after: str, count: int
    ) -> Steps[Sequence[tuple[str, str, float | None]]]:
        """Return keys behind one, in order, each with its JSON text and the seconds it has left.

        Args:
            namespace: whose keys.
            after: the last key of the page before; empty for the first page.
            count: how many at the most; fewer where those fill a page of an export.
        """
        now = self._clock.time()
        result = yield Statement(
            _COPY, (namespace.plugin, after, now, count), max_weight=MAX_EXPORT_PAGE
        )
        return [
            (key, text, None if expires is None else expires - now)
            for key, text, expires in result.rows
        ]

    def restore(
        self, namespace: Namespace, key: str, text: str, seconds: float | None
    ) -> Steps[None]:
        """Put a copied key in its place.

        Raises:
            RequestError: VALIDATION_ERROR or VALUE_TOO_LARGE if it cannot be one.
        """
        _check_key(key)
        try:
            msgspec.json.decode(text)
        except msgspec.DecodeError:
            told = f"The value of the key '{key[:80]}' is not JSON."
            raise invalid(told, field="value") from None
        _check_value_size(len(text.encode()))
        expires = None if seconds is None else self._clock.time() + seconds
        yield Statement(_PUT, (namespace.plugin, key, text, expires))

    def _read(self, namespace: Namespace, key: str) -> Steps[str | None]:
        result = yield Statement(_GET, (namespace.plugin, key, self._clock.time()))
        return result.rows[0][0] if result.rows else None

    def _hold(self, namespace: Namespace, key: str) -> Steps[str | None]:
        """Read a value that the same transaction may change."""
        result = yield Statement(
            self._dialect.hold_key, (namespace.plugin, key, self._clock.time())
        )
        return result.rows[0][0] if result.rows else None

    def _holds(self, namespace: Namespace, request: KvSet) -> Steps[bool]:
        text = yield from self._hold(namespace, request.key)
        if request.if_absent and text is not None:
            return False
        if request.if_value is UNSET:
            return True
        return text is not None and same_json(msgspec.json.decode(text), request.if_value)

    def _add(
        self,
        namespace: Namespace,
        key: str,
        delta: int,
        seconds: int | None,
        *,
        field: str | None = None,
    ) -> Steps[int]:
        text = yield from self._hold(namespace, key)
        if text is None:
            _check_sum(key, delta, field or "by")
            expires = None if seconds is None else self._clock.time() + seconds
            yield Statement(_PUT, (namespace.plugin, key, str(delta), expires))
            return delta
        total = _integer(key, text, field or "key") + delta
        _check_sum(key, total, field or "by")
        yield Statement(_CHANGE, (str(total), namespace.plugin, key))
        return total


def _behind(prefix: str) -> str:
    """Return the first text, in code-point order, behind all keys that begin with a prefix."""
    start = prefix.rstrip(_LAST)
    if not start:
        return _LAST * (MAX_KEY_LENGTH + 1)
    following = ord(start[-1]) + 1
    return start[:-1] + chr(_BEHIND_SURROGATES if following == _SURROGATES else following)


def _encoded(value: object) -> str:
    text = encode_faithful(value, "value")
    _check_value_size(len(text))
    return text.decode()


def _check_value_size(size: int) -> None:
    if size > MAX_KV_VALUE:
        raise RequestError(
            ErrorCode.VALUE_TOO_LARGE,
            f"The value has {size} bytes as compact JSON; the limit is {MAX_KV_VALUE} (64KB). "
            "Store large data as rows.",
            field="value",
            limit=MAX_KV_VALUE,
            got=size,
        )


def _integer(key: str, text: str, field: str) -> int:
    value = msgspec.json.decode(text)
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(
            f"The key '{key[:80]}' holds {kind(value)}, not an integer. Set it to an integer "
            "first.",
            field=field,
            expected="integer",
            got=kind(value),
        )
    return value


def _check_key(key: str) -> None:
    if len(key) > MAX_KEY_LENGTH:
        raise invalid(
            f"The key '{key[:80]}' has {len(key)} characters; the limit is {MAX_KEY_LENGTH}.",
            reason=Reason.LIMIT,
            field="key",
            limit=MAX_KEY_LENGTH,
            got=len(key),
        )
    _check_printable(key, "key")


def _check_printable(text: str, field: str) -> None:
    if _CONTROL.search(text):
        raise invalid(
            f"The {field} contains a control character.", field=field, got=repr(text)[:80]
        )


def _check_sum(key: str, total: int, field: str) -> None:
    if not MIN_INTEGER <= total <= MAX_INTEGER:
        raise invalid(
            f"The number under '{key[:80]}' would not fit into 64 bits.",
            reason=Reason.LIMIT,
            field=field,
        )
