"""The way of one request to the service and back: subject, payload, headers, repeats."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from dbservice.client.errors import (
    Disconnected,
    InvalidSubject,
    NoService,
    RequestTimeout,
    StorageError,
    ValueTooLarge,
    error_for,
)
from dbservice.client.reply_reader import ReplyReader
from dbservice.client.retry import Attempts, RetryPolicy
from dbservice.protocol.codec import encode_request
from dbservice.protocol.errors import RequestError
from dbservice.protocol.headers import DEADLINE, REQUEST_ID, size_of
from dbservice.protocol.messages import Reply, Request, Write
from dbservice.protocol.names import namespace
from dbservice.protocol.operations import OPERATIONS, Effect, Operation
from dbservice.protocol.subjects import subject_for
from dbservice.runtime.clock import SystemClock
from dbservice.runtime.correlation import current_request_id

__tracebackhide__ = True  # in a failing test pytest shows the line of the caller

R = TypeVar("R", bound=Reply)
T = TypeVar("T")

_OPERATIONS: Mapping[type[Request], Operation] = {
    operation.request: operation for operation in OPERATIONS.values()
}
_NEVER = RetryPolicy(limit=0)
_CLOCK = SystemClock()
_logger = logging.getLogger("dbservice.client")


class Message(Protocol):
    """A reply as it comes from NATS."""

    @property
    def data(self) -> bytes:
        """The payload."""


class Nats(Protocol):
    """What the client needs of a NATS client. nats-py's `Client` has it."""

    def request(
        self, subject: str, payload: bytes, /, *, timeout: float, headers: dict[str, Any] = ...
    ) -> Awaitable[Message]:
        """Send a request and return the reply."""


class Channel:
    """Sends the requests of one plugin.

    Args:
        nats: the connection.
        plugin: the plugin's name.
        timeout: seconds to wait for each reply, unless a call says otherwise.
        retries: when to send a request again.

    Raises:
        InvalidSubject: `plugin` is not a plugin name.
    """

    def __init__(self, nats: Nats, plugin: str, timeout: float, retries: RetryPolicy) -> None:
        try:
            self.plugin = namespace(plugin).plugin
        except RequestError as error:
            raise InvalidSubject(error.message, details=error.details) from None
        self._nats = nats
        self._timeout = timeout
        self._retries = retries

    async def call(
        self,
        request: Request,
        answer: ReplyReader[R],
        timeout: float | None,  # noqa: ASYNC109 - it goes with the request
    ) -> R:
        """Send a request, again if the policy says so, and return the reply.

        Reads and writes are repeated, writes always with one idempotency key. Migrations and
        `clear` are not: executed twice they would do more than was asked for.

        Args:
            request: the message; its type says which operation it is.
            answer: how to read the reply.
            timeout: seconds to wait for each reply; None for the client's own.

        Raises:
            StorageError: the call failed; the class says how.
        """
        operation = _OPERATIONS[type(request)]
        subject = subject_for(operation.family, operation.name, self.plugin)
        policy = self._retries if _is_repeatable(operation) else _NEVER
        payload = _encoded(_with_key(request) if policy.limit else request)
        attempts = Attempts(policy)
        seconds = self._timeout if timeout is None else timeout
        while True:
            try:
                reply = await self._send(subject, payload, seconds)
                return answer.read(reply, subject)
            except StorageError as error:
                wait = attempts.wait_after(error)
                if wait is None:
                    raise
                _logger.warning(
                    "Repeating a storage request in %g s: %s",
                    wait,
                    error.message,
                    extra={"subject": subject, "code": str(error.code)},
                )
            await policy.sleep(wait)

    async def _send(self, subject: str, payload: bytes, seconds: float) -> bytes:
        headers = _headers(seconds)
        # nats-py looks at the payload alone, and the server ends a connection that sends more.
        limit = getattr(self._nats, "max_payload", None)
        if isinstance(limit, int) and len(payload) + size_of(headers) > limit:
            raise _too_large(subject, len(payload))
        try:
            reply = await self._nats.request(subject, payload, timeout=seconds, headers=headers)
        except Exception as error:
            translated = _transport_error(error, subject, payload, seconds)
            if translated is None:
                raise
            raise translated from error
        return reply.data


def _headers(seconds: float) -> dict[str, Any]:
    """Return the headers of a request that somebody waits so many seconds for."""
    sent = {}
    if math.isfinite(seconds):
        # Down: what begins in the rest of the millisecond would begin after the caller gave up.
        sent[DEADLINE] = str(math.floor((_CLOCK.time() + seconds) * 1000))
    request_id = current_request_id()
    if request_id is not None:
        sent[REQUEST_ID] = request_id
    return sent


def given(value: T | None) -> T | UnsetType:
    """Return a value for an optional field, which stays out of the payload if it is None."""
    return UNSET if value is None else value


def _is_repeatable(operation: Operation) -> bool:
    return operation.effect is Effect.READ or issubclass(operation.request, Write)


def _with_key(request: Request) -> Request:
    if not isinstance(request, Write) or request.idempotency_key is not UNSET:
        return request
    return msgspec.structs.replace(request, idempotency_key=_fresh_key())


def _fresh_key() -> str:
    """Return a new idempotency key.

    Keys of one time stand beside each other in the service's index, so that a commit writes few
    of its pages.
    """
    return f"{time.time_ns():016x}{os.urandom(8).hex()}"


def _encoded(request: Request) -> bytes:
    try:
        return encode_request(request)
    except RequestError as error:
        raise error_for(error.code, error.message, error.details) from None


def _transport_error(
    error: Exception, subject: str, payload: bytes, seconds: float
) -> StorageError | None:
    """Return what a failure of the NATS client means here, or None if it means nothing special.

    The errors of nats-py are known by name, so that nothing here needs nats-py.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    details = {"subject": subject}
    if isinstance(error, TimeoutError):
        return RequestTimeout(
            f"No reply on '{subject}' within {seconds:g} s. The request may still have been "
            "executed: repeat a write only with the same idempotency_key.",
            details={**details, "timeout_s": seconds},
        )
    if "NoRespondersError" in names:
        return NoService(
            f"No database service answers on '{subject}': none is connected to this NATS server, "
            "or this connection may not use the subject. Start one with "
            "'rosey serve --nats URL --db FILE'; in a test, ask for the fixture db_service.",
            details=details,
        )
    if "MaxPayloadError" in names:
        return _too_large(subject, len(payload))
    if isinstance(error, ConnectionError) or names & _CONNECTION_ERRORS:
        return Disconnected(
            f"The request on '{subject}' was not answered because the connection to the NATS "
            f"server is not usable: {error}.",
            details=details,
        )
    return None


def _too_large(subject: str, size: int) -> ValueTooLarge:
    return ValueTooLarge(
        f"The request on '{subject}' has {size} bytes, more than the NATS server "
        "takes in one message. Split it.",
        details={"subject": subject, "got": size},
    )


_CONNECTION_ERRORS = {
    "ConnectionClosedError",
    "ConnectionDrainingError",
    "ConnectionReconnectingError",
    "OutboundBufferLimitError",
    "StaleConnectionError",
}
