"""`nats_faults`: what tests call to inject faults."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dbservice.bus.wire import no_responders_header
from dbservice.embedded.interest import covers
from dbservice.protocol import ErrorCode, RequestError
from dbservice.protocol.codec import encode_failure
from dbservice.protocol.errors import did_you_mean
from dbservice.protocol.subjects import ROOT
from pytest_rosey.buses.bus import until_back, until_gone
from pytest_rosey.buses.message import Message
from pytest_rosey.service.faulty_engine import FaultyEngine
from pytest_rosey.stubs.requests import check_pattern

if TYPE_CHECKING:
    from pytest_rosey.buses.bus import Bus
    from pytest_rosey.clients import LoopBound
    from pytest_rosey.service.under_test import ServiceUnderTest

__tracebackhide__ = True

MALFORMED = b'{"success": tru'
WRONG_SHAPE = b'{"success": "yes", "rows": 17}'

_LISTED = 10
_REQUESTS = f"{ROOT}.>"

Act = Callable[[Message], None]


@dataclass(slots=True, eq=False)
class Fault:
    """One fault, as the test asked for it.

    Attributes:
        text: the call that made it.
        pattern: the subjects it hits; may hold wildcards.
        hits: the subjects of the messages it has hit, the oldest first; a fault of the database
            has hit `a transaction`.
    """

    text: str
    pattern: str
    hits: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.hits:
            return f"{self.text}: hit nothing"
        shown = ", ".join(self.hits[:_LISTED]) + (", …" if len(self.hits) > _LISTED else "")
        return f"{self.text}: hit {len(self.hits)} ({shown})"


@dataclass(slots=True, eq=False)
class _FaultOfMessages(Fault):
    """A fault, and what it does to a message."""

    _act: Act = field(kw_only=True, repr=False)
    _requests_only: bool = field(kw_only=True, repr=False)
    _times: int | None = field(kw_only=True, repr=False)
    _probability: float = field(kw_only=True, repr=False)

    def strikes(self, message: Message, dice: random.Random) -> bool:
        """Do it to a message, unless it is not meant or spared; return whether it was done."""
        if not covers(self.pattern.encode(), message.subject):
            return False
        if self._requests_only and not message.reply:
            return False
        if self._times is not None and len(self.hits) >= self._times:
            return False
        if self._probability < 1 and dice.random() >= self._probability:
            return False
        self.hits.append(message.subject.decode(errors="replace"))
        self._act(message)
        return True


class NatsFaults:
    """Faults between the clients of a test, the server and the database service.

    The methods that take a subject hit the messages that clients publish there: a request, or an
    event where that makes sense. The subject may hold wildcards. `times` ends the fault after so
    many messages; without it, it stays. `probability` spares some at random, the same ones in
    every run. A message meets one fault at the most: of those that fit, the one that was asked for
    first and is not used up. Each returns a `Fault`, whose `.hits` tell whether it met anything;
    the run tells at its end of those that did not, although their test has passed.

    All faults end with the test, before its fixtures are torn down. What fixtures do for a test
    (migrations, cleaning up) is never hit.

    Args:
        bus: the bus of the test.
        seed: of the dice.
        service: returns the service of the test, or None if it has none.
        connect: returns a new connection for it.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        seed: int,
        service: Callable[[], ServiceUnderTest | None],
        connect: Callable[[], Awaitable[LoopBound]],
    ) -> None:
        self._bus = bus
        self._connect = connect
        self._seed = seed
        self._dice = random.Random(seed)  # noqa: S311 - a pick among equals, not a secret
        self._find_service = service
        self._faults: list[_FaultOfMessages] = []
        # Every subject that an answer is awaited on, and what is done to that answer.
        self._answers: dict[bytes, Act | None] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._engine: FaultyEngine | None = None
        self._journal: list[Fault | str] = []

    # -- messages ---------------------------------------------------------------------------------

    def delay(
        self, subject: str, seconds: float, *, times: int | None = None, probability: float = 1
    ) -> Fault:
        """Hold back the answer: the request is executed at once, the caller waits."""
        _check_seconds(seconds)
        act = self._on_answer(lambda answer: self._later(seconds, answer))
        return self._add(f"delay({subject!r}, {seconds:g}", subject, act, times, probability)

    def late(
        self, subject: str, seconds: float, *, times: int | None = None, probability: float = 1
    ) -> Fault:
        """Hold back the request: past the caller's timeout it is executed all the same."""
        _check_seconds(seconds)
        return self._add(
            f"late({subject!r}, {seconds:g}",
            subject,
            lambda message: self._later(seconds, message),
            times,
            probability,
            requests_only=False,
        )

    def drop_request(
        self, subject: str, *, times: int | None = None, probability: float = 1
    ) -> Fault:
        """Lose the message on its way: it is never executed, the caller times out."""
        return self._add(
            f"drop_request({subject!r}", subject, _lose, times, probability, requests_only=False
        )

    def drop_reply(
        self, subject: str, *, times: int | None = None, probability: float = 1
    ) -> Fault:
        """Lose the answer: the request is executed, the caller times out."""
        act = self._on_answer(_lose)
        return self._add(f"drop_reply({subject!r}", subject, act, times, probability)

    def duplicate(self, subject: str, *, times: int | None = None, probability: float = 1) -> Fault:
        """Deliver the message twice."""
        return self._add(
            f"duplicate({subject!r}",
            subject,
            _forward_twice,
            times,
            probability,
            requests_only=False,
        )

    def malformed(self, subject: str, *, times: int | None = None, probability: float = 1) -> Fault:
        """Replace the answer by broken JSON; the request is executed."""
        act = self._on_answer(_replace_by(MALFORMED))
        return self._add(f"malformed({subject!r}", subject, act, times, probability)

    def wrong_shape(
        self, subject: str, *, times: int | None = None, probability: float = 1
    ) -> Fault:
        """Replace the answer by JSON that is no answer; the request is executed."""
        act = self._on_answer(_replace_by(WRONG_SHAPE))
        return self._add(f"wrong_shape({subject!r}", subject, act, times, probability)

    def error(
        self,
        subject: str,
        code: ErrorCode | str,
        message: str = "injected by nats_faults",
        *,
        times: int | None = None,
        probability: float = 1,
    ) -> Fault:
        """Answer with an error reply of the service; the request is not executed.

        Raises:
            ValueError: `code` is not an error code of the contract.
        """
        failure = encode_failure(RequestError(_code(code), message))
        return self._add(
            f"error({subject!r}, {str(code)!r}",
            subject,
            lambda request: request.answer(failure),
            times,
            probability,
        )

    def no_responders(
        self, subject: str, *, times: int | None = None, probability: float = 1
    ) -> Fault:
        """Answer as a server does where nobody subscribed: NoRespondersError at once."""
        return self._add(f"no_responders({subject!r}", subject, _disown, times, probability)

    def deny(self, subject: str, *, times: int | None = None, probability: float = 1) -> Fault:
        """Refuse the message as a server does without permission to publish it.

        As on a server, the error goes to the connection's `error_cb`, and the request times out.
        """
        return self._add(
            f"deny({subject!r}", subject, Message.refuse, times, probability, requests_only=False
        )

    def slow_consumer(
        self, subject: str, *, times: int | None = None, probability: float = 1
    ) -> Fault:
        """Hang up on whoever subscribed to the subject, and lose the message.

        It is what a nats-server does to a client that reads too slowly; the client reconnects.
        """
        return self._add(
            f"slow_consumer({subject!r}",
            subject,
            lambda message: self._bus.hang_up_on(message.subject),
            times,
            probability,
            requests_only=False,
        )

    # -- connections and the server ---------------------------------------------------------------

    async def disconnect(self) -> None:
        """Hang up on every client, the service's too, and let none in until `reconnect()`.

        Returns when they know; they go on trying for three seconds.
        """
        self._journal.append("disconnect()")
        self._bus.cut()
        await until_gone(self._bus.clients)

    async def kill_server(self) -> None:
        """End the server as a crash would (a real one by SIGKILL); `reconnect()` restarts it.

        Returns when the clients know; they go on trying for three seconds.

        Raises:
            ServerControlError: the server was given by its URL, so it is not ours to kill.
        """
        self._journal.append("kill_server()")
        await self._bus.kill()
        await until_gone(self._bus.clients)

    async def pause_server(self) -> None:
        """Freeze the server: connections stay open, nothing is delivered until `reconnect()`.

        What is sent meanwhile is executed then, also for callers that gave up.

        Raises:
            ServerControlError: the server was given by its URL, so it is not ours to freeze.
        """
        self._journal.append("pause_server()")
        await self._bus.pause()

    async def reconnect(self) -> None:
        """End `disconnect()`, `kill_server()` and `pause_server()`.

        Returns when every client is connected again and the server knows what it subscribed to.
        A client that has given up, or was closed, stays closed.

        Raises:
            TimeoutError: not all came back within 10 s.
        """
        self._journal.append("reconnect()")
        self._bus.restore()
        await until_back(self._bus.clients)

    # -- the service and its database -------------------------------------------------------------

    async def kill_service(self) -> None:
        """End db_service as a crash would: what it was working on gets no answer.

        Its database stays as the last commit left it, in memory too.

        Raises:
            RuntimeError: the test does not use db_service.
        """
        self._journal.append("kill_service()")
        await self._service().kill()

    async def revive_service(self) -> None:
        """Start db_service again after `kill_service()`, on the same data.

        Returns when requests reach it. Faults of its database have ended with it.

        Raises:
            RuntimeError: it runs, or the test does not use db_service.
        """
        service = self._service()
        if service.is_running:
            raise RuntimeError("db_service runs: nats_faults.kill_service() comes first.")
        self._journal.append("revive_service()")
        self._engine = None
        await service.revive(await self._connect())

    def slow_database(self, seconds: float) -> Fault:
        """Make each transaction for a request over the bus take so much longer; 0 ends it.

        Raises:
            RuntimeError: the test does not use db_service.
        """
        _check_seconds(seconds)
        fault = Fault(f"slow_database({seconds:g})", _REQUESTS)
        self._faulty_engine().slow_down(seconds, fault.hits)
        self._journal.append(fault if seconds else fault.text)
        return fault

    def fail_database(self, *, times: int | None = None) -> Fault:
        """Fail the next requests over the bus with DATABASE_UNAVAILABLE; nothing is written.

        Args:
            times: how many; None for all.

        Raises:
            RuntimeError: the test does not use db_service.
        """
        _check_times(times)
        fault = Fault("fail_database()" if times is None else f"fail_database({times=})", _REQUESTS)
        self._faulty_engine().fail(times, fault.hits)
        self._journal.append(fault)
        return fault

    def _faulty_engine(self) -> FaultyEngine:
        if self._engine is None:
            database = self._service().database
            self._engine = FaultyEngine(database.engine)
            database.engine = self._engine
        return self._engine

    def _service(self) -> ServiceUnderTest:
        service = self._find_service()
        if service is None:
            raise RuntimeError(
                "This fault hits the database service, and this test has none: name db_service, "
                "storage or rosey_plugin among its parameters."
            )
        return service

    # -- for the bus and the plugin ---------------------------------------------------------------

    def take(self, message: Message) -> bool:
        """Look at a message before the server does; return whether it is dealt with."""
        if message.subject in self._answers:
            act = self._answers[message.subject]
            if act is not None:
                act(message)
            return act is not None
        if message.reply:
            self._answers[message.reply] = None
        return any(fault.strikes(message, self._dice) for fault in self._faults)

    def lift(self) -> None:
        """End all faults. What was held back is lost, but for what a paused server held."""
        self._faults.clear()
        self._answers.clear()
        while self._timers:
            self._timers.pop().cancel()
        if self._engine is not None:
            self._engine.slow_down(0, [])
            self._engine.fail(0, [])
        self._bus.restore()

    def report(self) -> str:
        """List what was injected and what it hit, in the order of the calls."""
        lines = [f"- {entry}" for entry in self._journal]
        return "\n".join([*lines, f"(dice seeded with {self._seed})"]) if lines else ""

    def idle(self) -> list[Fault]:
        """Return the faults that have hit nothing."""
        return [entry for entry in self._journal if isinstance(entry, Fault) and not entry.hits]

    # -- making faults ----------------------------------------------------------------------------

    def _add(
        self,
        call: str,
        subject: str,
        act: Act,
        times: int | None,
        probability: float,
        *,
        requests_only: bool = True,
    ) -> Fault:
        _check_times(times)
        check_pattern(subject)
        if not 0 < probability <= 1:
            raise ValueError(f"probability must be above 0 and at most 1, got {probability!r}.")
        options = f", {times=}" if times is not None else ""
        options += f", {probability=}" if probability < 1 else ""
        fault = _FaultOfMessages(
            f"{call}{options})",
            subject,
            _act=act,
            _requests_only=requests_only,
            _times=times,
            _probability=probability,
        )
        self._faults.append(fault)
        self._journal.append(fault)
        return fault

    def _on_answer(self, act: Act) -> Act:
        """Return what lets a request pass and does `act` to its answers."""

        def follow(request: Message) -> None:
            self._answers[request.reply] = act
            request.forward()

        return follow

    def _later(self, seconds: float, message: Message) -> None:
        def forward() -> None:
            self._timers.discard(timer)
            message.forward()

        timer = asyncio.get_running_loop().call_later(seconds, forward)
        self._timers.add(timer)


def _lose(_: Message) -> None:
    """Do nothing with a message, so that nobody gets it."""


def _forward_twice(message: Message) -> None:
    message.forward()
    message.forward()


def _replace_by(payload: bytes) -> Act:
    def act(answer: Message) -> None:
        answer.replace_payload(payload)
        answer.forward()

    return act


def _disown(request: Message) -> None:
    request.answer(b"", header=no_responders_header(request.subject))


def _code(code: str) -> ErrorCode:
    try:
        return ErrorCode(code)
    except ValueError:
        raise ValueError(
            f"{code!r} is not an error code of the contract.{did_you_mean(code, list(ErrorCode))}"
        ) from None


def _check_times(times: int | None) -> None:
    if times is not None and times < 1:
        raise ValueError(f"times must be at least 1, got {times}.")


def _check_seconds(seconds: float) -> None:
    if seconds < 0:
        raise ValueError(f"seconds must not be negative, got {seconds:g}.")
