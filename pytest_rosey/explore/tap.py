"""Where a test's clients publish: sees every request, and does the one fault of a run.

It stands before the client, not on the wire: what is written lags behind the call that wrote it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nats import errors
from nats.aio.msg import Msg

from dbservice.client import StorageError
from dbservice.client.errors import error_for
from dbservice.protocol import ErrorCode, RequestError
from dbservice.protocol.codec import encode_failure
from pytest_rosey.buses.bus import InProcessClient
from pytest_rosey.explore.calls import Call, Calls, Kind
from pytest_rosey.explore.values import payload_of
from pytest_rosey.leaks import is_of_nats_py

if TYPE_CHECKING:
    from pytest_rosey.clients import LoopBound
    from pytest_rosey.explore.faults import ExploredFault

STORAGE = "rosey.db."
OF_THE_TEST = "nats_client"
_INBOX = "_INBOX"
_CHANCE = b'"$random"'

Send = Callable[[], Awaitable[Msg]]


@dataclass(frozen=True, slots=True)
class Sent:
    """A request to the storage.

    Attributes:
        number: its place among those of the run, from 1.
        subject: what was asked.
        payload: with what.
        call: which call asked, or None for one that was made outside of all calls.
    """

    number: int
    subject: str
    payload: bytes
    call: Call | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fault happens.

    Attributes:
        number: of the request.
        fault: what goes wrong there.
    """

    number: int
    fault: ExploredFault

    def __str__(self) -> str:
        return f"{self.number}:{self.fault.name}"


class Tap:
    """Sees what the clients of one run send.

    Args:
        calls: the calls of the run.
        place: where what goes wrong; None for a run without faults.

    Attributes:
        sent: the requests to the storage, in order.
        is_hit: whether the place was reached.
    """

    def __init__(self, calls: Calls, place: Place | None) -> None:
        self.sent: list[Sent] = []
        self.is_hit = False
        self._calls = calls
        self._place = place
        self._held: list[Send] = []
        self._away_until = 0.0
        self._last_of_test: tuple[str, bytes, Call] | None = None

    # -- what clients call ------------------------------------------------------------------------

    async def request(
        self,
        client: LoopBound,
        send: Callable[..., Awaitable[Msg]],
        subject: str,
        payload: bytes = b"",
        timeout: float | None = 0.5,  # noqa: ASYNC109 - as nats-py has it
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """Pass a request on, or let happen to it what is meant for it; see nats-py."""

        def pass_on() -> Awaitable[Msg]:
            return send(subject, payload, timeout, old_style, headers)

        def ask() -> Awaitable[Msg]:
            if not (self._calls.is_recording and subject.startswith(STORAGE)):
                return pass_on()
            return self._storage_request(client, pass_on, subject, payload, timeout, headers)

        if not self._calls.is_recording or client.owner.fixture != OF_THE_TEST:
            return await ask()
        if self._calls.current is not None:
            return await ask()
        return await self._of_the_test(client, ask, subject, payload, timeout)

    def published(self, subject: str, payload: bytes, reply: str) -> None:
        """Take note of an event of the call that goes on."""
        call = self._calls.current
        if call is not None and not reply and not subject.startswith(_INBOX):
            call.events.append((subject, payload))

    async def _of_the_test(
        self, client: LoopBound, ask: Send, subject: str, payload: bytes, seconds: float | None
    ) -> Msg:
        """Make a call of what the test itself asks; the same again after a failure is the same."""
        kind: Kind = "storage" if subject.startswith(STORAGE) else "message"
        answer_in = _answer_in if kind == "storage" else bytes

        async def again(_: object | None = None) -> Any:
            return answer_in((await client.request(subject, payload, seconds)).data)

        last = self._last_of_test
        if last is not None and last[:2] == (subject, payload) and last[2].error is not None:
            call = self._calls.resumed(last[2])
        else:
            text = payload.decode(errors="replace")
            call = self._calls.call(kind, subject, text, None, again)
        with call as going_on:
            self._last_of_test = (subject, payload, going_on)
            reply = await ask()
            going_on.answer = answer_in(reply.data)
        if kind == "storage":
            going_on.error = _failure_in(reply.data)
        return reply

    async def _storage_request(
        self,
        client: LoopBound,
        send: Send,
        subject: str,
        payload: bytes,
        seconds: float | None,
        headers: dict[str, Any] | None,
    ) -> Msg:
        call = self._calls.current
        if call is not None and call.kind != "message" and _is_of_a_message():
            call.overlaps = True  # with what a plugin does about an event
            call = None
        sent = Sent(len(self.sent) + 1, subject, payload, call)
        self.sent.append(sent)
        if call is not None and _CHANCE in payload:
            call.asks_for_chance = True
        if self._place is not None and self._place.number == sent.number:
            self.is_hit = True
            request = _Request(self, client, send, subject, payload, seconds, headers)
            reply: Msg = await self._place.fault.act(request)  # type: ignore[assignment]
            return reply
        if asyncio.get_running_loop().time() < self._away_until:
            raise errors.NoRespondersError
        return await send()

    # -- what the run and its fault call ----------------------------------------------------------

    def mend(self) -> None:
        """Bring back what a fault has taken away."""
        self._away_until = 0.0

    @property
    def holds(self) -> bool:
        """Whether a request waits to be executed late."""
        return bool(self._held)

    async def release(self) -> None:
        """Let the service see what was held back."""
        held, self._held = self._held, []
        for send in held:
            await send()

    def hold(self, send: Send) -> None:
        """Keep a request for later."""
        self._held.append(send)

    def take_away(self, seconds: float) -> None:
        """Let nobody answer for so long."""
        self._away_until = asyncio.get_running_loop().time() + seconds


@dataclass(frozen=True, slots=True)
class _Request:
    """A request as its fault sees it; see `FaultyRequest`."""

    _tap: Tap
    _client: LoopBound
    _send: Send
    subject: str
    payload: bytes
    timeout: float | None
    _headers: dict[str, Any] | None

    async def execute(self) -> Msg:
        return await self._send()

    def execute_later(self) -> None:
        async def send() -> Any:
            # Nobody waits for the answer any more.
            await self._client.publish(
                self.subject, self.payload, self._client.new_inbox(), self._headers
            )

        self._tap.hold(send)

    def answer(self, code: ErrorCode) -> Msg:
        failure = encode_failure(RequestError(code, "This failure was injected by rosey_explore."))
        return Msg(self._client, subject=self.subject, data=failure)

    def gave_up(self) -> Exception:
        return errors.TimeoutError()

    def cut_off(self) -> None:
        assert isinstance(self._client, InProcessClient)  # a test on another bus is not explored
        self._client.hang_up()

    def take_service_away(self, seconds: float) -> None:
        self._tap.take_away(seconds)


def _is_of_a_message() -> bool:
    """Return whether a subscription's callback runs, and not what the test has called."""
    task = asyncio.current_task()
    return task is not None and is_of_nats_py(task)


def _answer_in(reply: bytes) -> Any:
    """Return what a storage client sees: not that the service knew the request already."""
    told = payload_of(reply)
    return {k: v for k, v in told.items() if k != "replayed"} if isinstance(told, dict) else told


def _failure_in(reply: bytes) -> StorageError | None:
    """Return what a storage client would raise for a reply that says that it failed."""
    told = payload_of(reply)
    if not isinstance(told, dict) or told.get("success") is not False:
        return None
    return error_for(told["error"]["code"], told["error"]["message"])
