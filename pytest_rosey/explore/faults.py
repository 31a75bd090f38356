"""What can go wrong at a request: one table, by what the service did and what the caller saw."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from dbservice.protocol.errors import RETRYABLE, ErrorCode
from dbservice.protocol.messages import Write
from dbservice.protocol.operations import Effect, find
from dbservice.protocol.subjects import Family

SHORT_OUTAGE = 1.0
LONG_OUTAGE = 600.0
"""Virtual seconds; longer than every retry, and than a queue that waits for the service."""

_ALMOST = 0.9
_ROW_WRITES = {"insert", "insert_batch", "update", "upsert"}


class FaultyRequest(Protocol):
    """A request that something goes wrong with, as a fault sees it."""

    @property
    def subject(self) -> str:
        """What is asked."""

    @property
    def timeout(self) -> float | None:
        """Seconds that the caller waits for the answer."""

    async def execute(self) -> object:
        """Let the service execute it, and return the answer."""

    def execute_later(self) -> None:
        """Let the service execute it when the call is over."""

    def answer(self, code: ErrorCode) -> object:
        """Return what the service would answer without executing it."""

    def gave_up(self) -> Exception:
        """Return what nats-py raises when no answer came in time."""

    def cut_off(self) -> None:
        """End the caller's connection, which then reconnects."""

    def take_service_away(self, seconds: float) -> None:
        """Let nobody answer for so long."""


Act = Callable[[FaultyRequest], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class ExploredFault:
    """One thing that can go wrong.

    Attributes:
        name: for commands and JSON.
        service: what the service did.
        caller: what the caller saw.
        act: does it, and returns or raises what the caller gets.
        applies: whether it can happen to a request.
    """

    name: str
    service: str
    caller: str
    act: Act
    applies: Callable[[str, bytes], bool] = lambda _subject, _payload: True

    def __str__(self) -> str:
        return f"{self.name} (the service {self.service}; the caller {self.caller})"


async def _wait(request: FaultyRequest, share: float = 1.0, *, since: float | None = None) -> None:
    """Wait until the caller gives up, or for a share of that time."""
    loop = asyncio.get_running_loop()
    if request.timeout is None or not math.isfinite(request.timeout):
        await loop.create_future()
    else:
        began = loop.time() if since is None else since
        await asyncio.sleep(max(0.0, began + request.timeout * share - loop.time()))


async def _lose_request(request: FaultyRequest) -> object:
    await _wait(request)
    raise request.gave_up()


async def _lose_reply(request: FaultyRequest) -> object:
    began = asyncio.get_running_loop().time()
    await request.execute()
    await _wait(request, since=began)
    raise request.gave_up()


async def _answer_late(request: FaultyRequest) -> object:
    reply = await request.execute()
    if request.timeout is not None and math.isfinite(request.timeout):
        await _wait(request, _ALMOST)
    return reply


async def _execute_late(request: FaultyRequest) -> object:
    request.execute_later()
    return await _lose_request(request)


async def _execute_twice(request: FaultyRequest) -> object:
    reply = await request.execute()
    await request.execute()
    return reply


async def _cut_before(request: FaultyRequest) -> object:
    request.cut_off()
    return await _lose_request(request)


async def _cut_after(request: FaultyRequest) -> object:
    began = asyncio.get_running_loop().time()
    await request.execute()
    request.cut_off()
    await _wait(request, since=began)
    raise request.gave_up()


def _away(seconds: float, *, executed: bool) -> Act:
    async def act(request: FaultyRequest) -> object:
        if executed:
            await request.execute()
        request.take_service_away(seconds)
        return await _lose_request(request)

    return act


def _refuse(code: ErrorCode) -> Act:
    async def act(request: FaultyRequest) -> object:
        return request.answer(code)

    return act


async def _refuse_for_good(request: FaultyRequest) -> object:
    return request.answer(permanent_code(request.subject))


def permanent_code(subject: str) -> ErrorCode:
    """Return an error that the operation can answer and that no repeat mends."""
    address, operation = find(subject)
    if address.family is Family.ROW and operation.name in _ROW_WRITES:
        return ErrorCode.CONSTRAINT_VIOLATION
    return ErrorCode.VALIDATION_ERROR


def _has_key(subject: str, payload: bytes) -> bool:
    _, operation = find(subject)
    return issubclass(operation.request, Write) and b'"idempotency_key"' in payload


def is_write(subject: str, _payload: bytes = b"") -> bool:
    """Return whether a request may change something, whether or not it does."""
    return find(subject)[1].effect is not Effect.READ


def _refusal(code: ErrorCode) -> ExploredFault:
    name = code.lower().replace("_", "-")
    return ExploredFault(name, "did not execute it", f"got {code}", _refuse(code))


FAULTS: tuple[ExploredFault, ...] = (
    ExploredFault("request-lost", "never saw it", "waited in vain", _lose_request),
    ExploredFault("reply-lost", "executed it", "waited in vain", _lose_reply),
    ExploredFault("reply-late", "executed it at once", "got the reply just in time", _answer_late),
    ExploredFault(
        "executed-late",
        "saw it after the call was over",
        "waited in vain",
        _execute_late,
        is_write,
    ),
    ExploredFault(
        "executed-twice", "saw it twice", "got the first reply", _execute_twice, _has_key
    ),
    *(_refusal(code) for code in ErrorCode if code in RETRYABLE),
    ExploredFault("permanent", "refused it", "got an error that no repeat mends", _refuse_for_good),
    ExploredFault(
        "cut-before", "never saw it", "lost its connection and waited in vain", _cut_before
    ),
    ExploredFault("cut-after", "executed it", "lost its connection and waited in vain", _cut_after),
    ExploredFault(
        "away-before",
        "ended before it executed it, and was back after a second",
        "waited in vain",
        _away(SHORT_OUTAGE, executed=False),
    ),
    ExploredFault(
        "away-after",
        "executed it, ended, and was back after a second",
        "waited in vain",
        _away(SHORT_OUTAGE, executed=True),
    ),
    ExploredFault(
        "gone-before",
        "ended before it executed it, and stayed away for longer than every retry",
        "waited in vain",
        _away(LONG_OUTAGE, executed=False),
    ),
    ExploredFault(
        "gone-after",
        "executed it, ended, and stayed away for longer than every retry",
        "waited in vain",
        _away(LONG_OUTAGE, executed=True),
    ),
)

BY_NAME = {fault.name: fault for fault in FAULTS}
