"""A request as it came: read once, when it is taken (SPEC 2.1, 2.7)."""

from __future__ import annotations

from collections.abc import Mapping
from sys import getsizeof
from typing import Any, Final

import msgspec
from msgspec import UNSET

from dbservice.protocol import headers
from dbservice.protocol.codec import decode_request
from dbservice.protocol.errors import ErrorCode, RequestError, invalid
from dbservice.protocol.messages import Request
from dbservice.protocol.names import Namespace, namespace
from dbservice.protocol.operations import Effect, Operation, find
from dbservice.protocol.subjects import Address, parse
from dbservice.runtime.clock import SystemClock
from dbservice.runtime.correlation import request_id_of

_LONGEST_DEADLINE: Final = 20
_NO_HEADERS: Final[Mapping[str, str]] = {}
_CLOCK: Final = SystemClock()


class Incoming(msgspec.Struct):
    """What is known of a request before its payload is decoded.

    Attributes:
        subject: where it came in.
        payload: as it came.
        reply_to: where the answer goes; empty if nobody waits for one.
        headers: as they came.
        taken_at: when it came, by `time.perf_counter()`.
        address: what the subject says; None if it is malformed.
        operation: what is asked for; None if that is none of the contract.
        refusal: why there is no operation.
        namespace: whom it counts against; None if it names no plugin, as `rosey.db.ping` does.
            Nothing else follows from it: whether the request is valid is found out when it is
            served.
        request_id: its correlation id, a fresh one if it came without.
        deadline: Unix milliseconds after which nobody waits for the answer; None for never.
        key: the idempotency key in its headers.
        size: the bytes that it takes until it is answered.
    """

    subject: str
    payload: bytes
    reply_to: str
    headers: Mapping[str, str]
    taken_at: float
    address: Address | None
    operation: Operation | None
    refusal: RequestError | None
    namespace: Namespace | None
    request_id: str
    deadline: int | None
    key: str | None
    size: int

    @property
    def is_late(self) -> bool:
        """Whether its deadline has passed.

        That is a moment of the machine's clock, by which its sender waits: a clock that decides
        about lifetimes and that a test moves by an hour has no say in it.
        """
        return self.deadline is not None and self.deadline < _CLOCK.time() * 1000

    @property
    def reply_headers(self) -> dict[str, str] | None:
        """The headers of the answer: the request's id, if it came with one."""
        if headers.REQUEST_ID not in self.headers:
            return None
        return {headers.REQUEST_ID: self.request_id}

    def decoded(self) -> Call:
        """Decode the payload.

        Raises:
            RequestError: the request cannot be understood; the code says why.
        """
        if self.address is None or self.operation is None:
            assert self.refusal is not None  # one of the three is always there
            raise self.refusal
        request = decode_request(self.operation, self.address, self.payload)
        return Call(self.address, self.operation, request, self.key)


class Call(msgspec.Struct):
    """A request that was understood.

    Attributes:
        address: what its subject says.
        operation: what is asked for.
        request: its decoded payload.
        header_key: the idempotency key in its headers.
    """

    address: Address
    operation: Operation
    request: Request
    header_key: str | None

    @property
    def takes_global_shape(self) -> bool:
        """Whether the reply's fields stand under `data`: the payload named the plugin."""
        return self.address.is_global_kv or _plugin_named(self.request) is not UNSET

    @property
    def key(self) -> str | None:
        """What makes a write safe to repeat, from its payload or its headers."""
        if self.operation.effect is Effect.READ:
            return None
        key: Any = getattr(self.request, "idempotency_key", UNSET)
        return self.header_key if key is UNSET else key

    def namespace(self) -> Namespace:
        """Return whose data it is about: the subject says so, on the global form the payload.

        Raises:
            RequestError: FORBIDDEN if the payload names another plugin than the subject.
        """
        named, own = _plugin_named(self.request), self.address.namespace
        if own is None:
            return _claimed_namespace(named)
        if named is not UNSET and named != own.plugin:
            raise RequestError(
                ErrorCode.FORBIDDEN,
                f"'plugin_name' must be '{own.plugin}', as in the subject. A plugin reaches its "
                "own namespace only.",
                field="plugin_name",
                expected=own.plugin,
            )
        return own


def read(
    subject: str,
    payload: bytes,
    *,
    taken_at: float,
    reply_to: str = "",
    sent: Mapping[str, str] | None = None,
) -> Incoming:
    """Return a request as it came; this never fails.

    Args:
        subject: where it came in.
        payload: as it came.
        taken_at: when it came, by `time.perf_counter()`.
        reply_to: where the answer goes.
        sent: its headers.
    """
    address: Address | None = None
    operation: Operation | None = None
    refusal: RequestError | None = None
    sent = sent or _NO_HEADERS
    try:
        address, operation = find(subject)
    except RequestError as error:
        address, refusal = _address_of(subject), error
    return Incoming(
        subject,
        payload,
        reply_to,
        sent,
        taken_at,
        address,
        operation,
        refusal,
        _counted_against(address, payload),
        request_id_of(sent),
        _deadline(sent[headers.DEADLINE]) if headers.DEADLINE in sent else None,
        sent.get(headers.IDEMPOTENCY_KEY),
        len(subject) + len(payload) + (_memory_of(sent) if sent else 0),
    )


def _address_of(subject: str) -> Address | None:
    """Return what a subject says that names no operation."""
    try:
        return parse(subject)
    except RequestError:
        return None


def _memory_of(sent: Mapping[str, str]) -> int:
    """Return the bytes that headers take here: many times what short ones had on the wire."""
    return getsizeof(sent) + sum(map(getsizeof, sent)) + sum(map(getsizeof, sent.values()))


class _Claim(msgspec.Struct):
    plugin_name: str = ""


_claim = msgspec.json.Decoder(_Claim).decode


def _counted_against(address: Address | None, payload: bytes) -> Namespace | None:
    if address is None or not address.is_global_kv:
        return None if address is None else address.namespace
    try:
        return namespace(_claim(payload).plugin_name)
    except (RequestError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _deadline(sent: str) -> int | None:
    """Return a deadline; one that cannot be read is none."""
    if not sent.isascii() or not sent.isdigit() or len(sent) > _LONGEST_DEADLINE:
        return None
    return int(sent)


def _plugin_named(request: Request) -> Any:
    return getattr(request, "plugin_name", UNSET)


def _claimed_namespace(name: str) -> Namespace:
    try:
        return namespace(name)
    except RequestError as error:
        raise invalid(error.message, **{**error.details, "field": "plugin_name"}) from None
