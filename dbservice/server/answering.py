"""From a request to the bytes of its answer (SPEC 2.2)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from dbservice.engine.errors import EngineError
from dbservice.protocol import headers
from dbservice.protocol.codec import encode_failure, encode_reply
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.messages import Reply
from dbservice.protocol.operations import Effect
from dbservice.protocol.subjects import Family
from dbservice.runtime.logs import SparingLog
from dbservice.runtime.tracing import Tracing
from dbservice.server.failures import internal_error, on_global_kv, reply_to, reply_too_large
from dbservice.server.handlers import At, Handler
from dbservice.server.incoming import Call, Incoming
from dbservice.server.loop_turns import LoopTurns

E = TypeVar("E", bound=Exception)

log: Final = logging.getLogger(__name__)

LARGEST_HEADERS: Final = 256
"""Bytes that the headers of a reply take at the most, but for a very long request id."""

LONG: Final = 65_536
"""Bytes of a payload that takes the event loop's time: milliseconds for each 100 KB."""

_OFF_THE_DATABASE: Final = (Family.SERVICE, Family.MIGRATE)


class EncodedReply(msgspec.Struct):
    """What is sent back.

    Attributes:
        payload: the bytes.
        code: the error code of a failure, None for success.
    """

    payload: bytes
    code: ErrorCode | None


def refusing(error: RequestError) -> EncodedReply:
    """Return the answer that tells of a failure."""
    return EncodedReply(encode_failure(error), error.code)


class Answering:
    """Answers requests; whatever goes wrong is an answer, too.

    Args:
        handlers: what to do for each operation.
        engine: the name of the database's engine, for traces.
        max_payload: tells the bytes that the NATS server takes: it closes connections that send
            more.
        loop_turns: for what holds the event loop.

    Attributes:
        tracing: where spans go, None for nowhere.
    """

    def __init__(
        self,
        handlers: Mapping[At, Handler],
        engine: str,
        max_payload: Callable[[], int],
        loop_turns: LoopTurns,
    ) -> None:
        self._handlers = handlers
        self._engine = engine
        self._max_payload = max_payload
        self._loop_turns = loop_turns
        self._log = SparingLog(log)
        self.tracing: Tracing | None = None

    async def answer(self, incoming: Incoming, turn: str) -> EncodedReply:
        """Serve a request and return its answer, within a span if there is somewhere to send it.

        Args:
            incoming: the request.
            turn: whose it is, as admission counts it.
        """
        if self.tracing is None:
            return self._fitting(incoming, await self.executed(incoming, turn))
        with self.tracing.request(
            incoming.subject, incoming.operation, incoming.headers, len(incoming.payload)
        ) as span:
            answer = self._fitting(incoming, await self.executed(incoming, turn))
            self.tracing.answered(span, answer.code)
            return answer

    async def executed(self, incoming: Incoming, turn: str) -> EncodedReply:
        """Serve a request and return its answer, whatever its size."""
        call: Call | None = None
        try:
            if len(incoming.payload) > LONG:
                call = await self._loop_turns.run(turn, incoming.decoded)
            else:
                call = incoming.decoded()
            reply = await self._reply(call)
            return EncodedReply(encode_reply(reply, global_kv=call.takes_global_shape), None)
        except RequestError as error:
            failure = _cut_off(error)
        except EngineError as error:
            failure = reply_to(error, call.address.namespace if call else None)
            if failure.code in (ErrorCode.INTERNAL_ERROR, ErrorCode.DATABASE_UNAVAILABLE):
                kind = type(error).__name__
                self._log.exception(kind, "the database failed on %s", incoming.subject)
            _cut_off(error)
        except Exception as error:  # noqa: BLE001 - a bug is logged, and answered without its words
            failure = internal_error()
            self._log.exception(type(error).__name__, "serving %s failed", incoming.subject)
        if _takes_global_shape(incoming, call):
            failure = on_global_kv(failure)
        return refusing(failure)

    async def _reply(self, call: Call) -> Reply | bytes:
        operation = call.operation
        handler = self._handlers[operation.family, operation.name]
        if self.tracing is None or operation.family in _OFF_THE_DATABASE:
            return await handler(call)
        table = getattr(call.request, "table", None)
        with self.tracing.database(self._engine, operation, call.namespace().plugin, table):
            return await handler(call)

    def _fitting(self, incoming: Incoming, answer: EncodedReply) -> EncodedReply:
        """Return an answer that the server will take."""
        size, limit = len(answer.payload), self._max_payload()
        if size + LARGEST_HEADERS <= limit:
            return answer
        if size + headers.size_of(incoming.reply_headers or {}) <= limit:
            return answer
        operation = incoming.operation
        executed = (
            answer.code is None and operation is not None and operation.effect is not Effect.READ
        )
        return refusing(reply_too_large(size, limit, executed=executed))


def _cut_off(error: E) -> E:
    """Let an error forget where it comes from, which has been told to whom it concerns.

    It keeps the frames that it came through, and they keep it, their locals, and so a payload:
    a circle for each refusal, until Python looks for circles.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def _takes_global_shape(incoming: Incoming, call: Call | None) -> bool:
    if call is not None:
        return call.takes_global_shape
    return incoming.address is not None and incoming.address.is_global_kv
