"""What a request is about, as far as its subject and headers have a say in it (SPEC 2.1, 2.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from dbservice.protocol import headers
from dbservice.protocol.errors import ErrorCode, RequestError, invalid
from dbservice.protocol.messages import Request
from dbservice.protocol.names import Namespace, namespace
from dbservice.protocol.operations import Effect, Operation, find
from dbservice.protocol.subjects import Address
from dbservice.runtime.clock import SystemClock
from dbservice.runtime.correlation import current_request_id

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_LONGEST_DEADLINE: Final = 20
_CLOCK: Final = SystemClock()


def takes_global_shape(address: Address | None, request: Request | None) -> bool:
    """Return whether a reply's fields stand under `data`: the payload named the plugin."""
    if address is None:
        return False
    return address.is_global_kv or getattr(request, "plugin_name", UNSET) is not UNSET


def namespace_for(address: Address, request: Request) -> Namespace:
    """Return whose data a request is about: the subject says so, on the global form the payload.

    Raises:
        RequestError: FORBIDDEN if the payload names another plugin than the subject.
    """
    named: Any = getattr(request, "plugin_name", UNSET)
    if address.namespace is None:
        return _claimed_namespace(named)
    if named is not UNSET and named != address.namespace.plugin:
        raise RequestError(
            ErrorCode.FORBIDDEN,
            f"'plugin_name' must be '{address.namespace.plugin}', as in the subject. A plugin "
            "reaches its own namespace only.",
            field="plugin_name",
            expected=address.namespace.plugin,
        )
    return address.namespace


def _claimed_namespace(name: str) -> Namespace:
    try:
        return namespace(name)
    except RequestError as error:
        raise invalid(error.message, **{**error.details, "field": "plugin_name"}) from None


def idempotency_key(operation: Operation, request: Request, sent: Mapping[str, str]) -> str | None:
    """Return the key that makes a write safe to repeat, from its payload or its headers."""
    if operation.effect is Effect.READ:
        return None
    key: Any = getattr(request, "idempotency_key", UNSET)
    return sent.get(headers.IDEMPOTENCY_KEY) if key is UNSET else key


def echoed_headers(message: Msg) -> dict[str, str] | None:
    """Return the headers of the reply: the request's id, if it came with one."""
    if headers.REQUEST_ID not in (message.headers or {}):
        return None
    return {headers.REQUEST_ID: current_request_id() or ""}


def operation_of(subject: str) -> Operation | None:
    """Return the operation that a subject names, or None."""
    try:
        return find(subject)[1]
    except RequestError:
        return None


def is_late(sent: Mapping[str, str]) -> bool:
    """Return whether the deadline that came with a request has passed; a malformed one has not.

    It is a moment of the machine's clock, by which its sender waits: a clock that decides about
    lifetimes and that a test moves by an hour has no say in it.
    """
    deadline = sent.get(headers.DEADLINE, "")
    if not deadline.isascii() or not deadline.isdigit() or len(deadline) > _LONGEST_DEADLINE:
        return False
    return int(deadline) < _CLOCK.time() * 1000
