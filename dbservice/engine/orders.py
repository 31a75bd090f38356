"""What is said between the service and a worker process: orders there, answers back (SPEC 3.4)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, BinaryIO, Final

import msgspec

from dbservice.engine import errors
from dbservice.engine.errors import ConstraintError, EngineError
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.subjects import Family


class Way(StrEnum):
    """What the orders of a worker may do."""

    READ = "read"
    WRITE = "write"


COMMIT: Final = b""
"""The order behind a write that was answered: make it durable."""

LENGTH: Final = 4
"""Bytes of the number in front of every order and answer: how long it is."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a worker process.

    Attributes:
        plugin: whose data.
        family: with `operation`, what to do.
        operation: its name.
        request: the message, as JSON.
        key: the idempotency key of a write.
        now: the moment that the service's clock shows.
        max_reply: bytes that the reply may have.
        seconds: after which to stop.
    """

    plugin: str
    family: Family
    operation: str
    request: msgspec.Raw
    key: str | None = None
    now: float
    max_reply: int
    seconds: float = 0.0

    def within(self, seconds: float) -> bytes:
        """Return the order as it is sent, to be carried out within so many seconds."""
        return msgspec.json.encode(msgspec.structs.replace(self, seconds=seconds))


class _Refused(msgspec.Struct, tag=True):
    code: ErrorCode
    message: str
    details: dict[str, Any]


class _Failed(msgspec.Struct, tag=True):
    kind: str
    text: str
    constraint: str | None = None
    subject: str | None = None


_REPLY: Final = b"+"
_ERROR: Final = b"-"
_KINDS: Final = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, EngineError) and kind is not ConstraintError
}
_decode = msgspec.json.Decoder(_Refused | _Failed).decode


def framed(block: bytes) -> bytes:
    """Return an order or answer as it goes through the socket."""
    return len(block).to_bytes(LENGTH) + block


def received(stream: BinaryIO) -> bytes | None:
    """Return the next block of a stream; None when the other end is gone."""
    length = stream.read(LENGTH)
    return stream.read(int.from_bytes(length)) if len(length) == LENGTH else None


def order_of(sent: bytes) -> Order:
    """Return the order that was sent."""
    return msgspec.json.decode(sent, type=Order)


def with_reply(reply: bytes) -> bytes:
    """Return the answer that carries a reply, ready to be sent on."""
    return _REPLY + reply


def with_error(error: Exception) -> bytes:
    """Return the answer that raises an error where the order came from."""
    told: _Refused | _Failed
    if isinstance(error, RequestError):
        told = _Refused(error.code, error.message, error.details)
    elif isinstance(error, ConstraintError):
        told = _Failed("", str(error), error.kind, error.subject)
    else:
        told = _Failed(type(error).__name__, str(error))
    return _ERROR + msgspec.json.encode(told)


def reply_in(answer: bytes) -> bytes:
    """Return the reply that an answer carries.

    Raises:
        RequestError: the request cannot be served.
        EngineError: the engine refused or failed, or the process did.
    """
    if answer.startswith(_REPLY):
        return answer[len(_REPLY) :]
    told = _decode(answer[len(_ERROR) :])
    if isinstance(told, _Refused):
        raise RequestError(told.code, told.message, **told.details)
    if told.constraint is not None:
        raise ConstraintError(told.text, kind=told.constraint, subject=told.subject)
    raise _KINDS.get(told.kind, EngineError)(told.text)
