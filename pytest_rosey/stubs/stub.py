"""One stub: which requests it answers, and with what."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeGuard

import msgspec
import pytest
from nats.errors import TimeoutError as NatsTimeoutError

from dbservice.protocol import RequestError, encode_json
from dbservice.protocol.subjects import is_storage_subject
from pytest_rosey.stubs.contract import check_reply, check_request, completed, wants_envelope
from pytest_rosey.stubs.requests import SentRequest, difference, short, subject_matches

__tracebackhide__ = True

Answer: TypeAlias = Mapping[str, Any] | bytes | BaseException | type[BaseException]
"""What one request gets: an object, a payload as it is, or an exception that is raised."""

Responder: TypeAlias = Callable[[SentRequest], Answer | Awaitable[Answer]]
"""Makes the answer to a request, or a coroutine that does."""

Reply: TypeAlias = Answer | Responder | Sequence[Answer | Responder]


class Malformed(bytes):
    """A payload that is meant to break the contract, and is therefore not checked."""


class _Silence(BaseException):
    """What `SILENCE` is made of: an answer that never comes."""


SILENCE: Final = _Silence()
"""Lets the request wait until its own timeout."""


class Stub:
    """Answers requests on a subject.

    Args:
        subject: where; may hold wildcards.
        reply: what every request gets, or a list with one reply for each request in turn.
        when: the part of its JSON that a request must have.
        times: how many requests it answers at the most; None for any number.
        delay: seconds before the reply; None for none.
        contract: whether requests and replies are checked against the contract.
        headers: of the reply.
        optional: whether the test may leave it unused.

    Attributes:
        subject: where it answers.
        requests: what it has answered, the oldest first.
        failures: the exceptions of the reply's own function: they are failures of the test.

    Raises:
        ContractError: the real service could not send this reply.
        TypeError: `reply` is nothing that can be sent, or `when` no part of a JSON object.
        ValueError: `times` or `delay` makes no sense.
    """

    def __init__(
        self,
        subject: str,
        reply: Reply,
        *,
        when: Mapping[str, Any] | None = None,
        times: int | None = None,
        delay: float | None = None,
        contract: bool = True,
        headers: Mapping[str, str] | None = None,
        optional: bool = False,
    ) -> None:
        self.subject = subject
        self.when = _condition(when)
        self.headers = None if headers is None else dict(headers)
        self.requests: list[SentRequest] = []
        self.failures: list[BaseException] = []
        self._optional = optional
        self._is_removed = False
        self._reply = reply
        self._sequence = list(reply) if _is_sequence(reply) else None
        self._times = _limit(self._sequence, times)
        self._delay = _seconds(delay)
        self._contract = contract
        for one in [reply] if self._sequence is None else self._sequence:
            self._check_early(one)

    @property
    def called(self) -> bool:
        """Whether it has answered a request."""
        return bool(self.requests)

    @property
    def used(self) -> int:
        """How many requests it has answered."""
        return len(self.requests)

    def remove(self) -> None:
        """Answer nothing from now on; what it was not used for is no fault."""
        self._is_removed = True

    @property
    def is_used_up(self) -> bool:
        """Whether it has no reply left."""
        return self._is_removed or (self._times is not None and self.used >= self._times)

    def is_left_over(self, later: Sequence[Stub]) -> bool:
        """Return whether the test should have used it, or has a list with replies nobody got.

        Args:
            later: the stubs that came after it; one on the same subject may have taken its place.
        """
        if self._optional or self._is_removed or any(map(self._is_superseded_by, later)):
            return False
        return self.used == 0 or (self._sequence is not None and not self.is_used_up)

    def _is_superseded_by(self, other: Stub) -> bool:
        return other.subject == self.subject and (other.when is None or other.when == self.when)

    @property
    def usage(self) -> str:
        """How often it was used, in words."""
        if self._times is None:
            return (
                ("never used", "used once")[self.used]
                if self.used < 2
                else f"used {self.used} times"
            )
        return f"used {self.used} of {self._times} times"

    def is_on(self, subject: str) -> bool:
        """Return whether it answers on this subject at all."""
        return subject_matches(self.subject, subject)

    def matches(self, request: SentRequest) -> bool:
        """Return whether it answers this request."""
        return (
            not self.is_used_up
            and self.is_on(request.subject)
            and difference(self.when, request) is None
        )

    async def answer(self, request: SentRequest, timeout: float | None) -> bytes:  # noqa: ASYNC109 - as nats-py has it
        """Return the payload of the reply.

        Args:
            request: what was asked.
            timeout: seconds the requester waits; None for ever.

        Raises:
            ContractError: the request or the reply breaks the contract.
            nats.errors.TimeoutError: the reply came too late.
            BaseException: the exception that this stub replies with.
        """
        reply = self._reply if self._sequence is None else self._sequence[self.used]
        self.requests.append(request)
        checked = self._contract and is_storage_subject(request.subject)
        message = check_request(request.subject, request.data) if checked else None
        try:
            async with asyncio.timeout(timeout) as patience:
                # Even a reply without delay lets other tasks run first, as one from a server would.
                await asyncio.sleep(self._delay)
                answer = await self._computed(reply, request)
                if answer is SILENCE:
                    await asyncio.get_running_loop().create_future()
        except TimeoutError:
            if patience.expired():
                raise NatsTimeoutError from None
            raise
        if _is_exception(answer):
            raise answer
        payload = self._payload(answer, request.subject)
        if message is not None and not isinstance(payload, Malformed):
            enveloped = wants_envelope(request.subject, message)
            check_reply(request.subject, payload, enveloped=enveloped)
        return payload

    def __str__(self) -> str:
        condition = "" if self.when is None else f" when {short(dict(self.when))}"
        return f"{self.subject}{condition}"

    async def _computed(self, reply: object, request: SentRequest) -> object:
        """Return what the reply's own function says, or the reply itself if it is none."""
        if not callable(reply) or isinstance(reply, type):
            return reply
        try:
            answer = reply(request)
            if inspect.isawaitable(answer):
                answer = await answer
            if not _is_exception(answer):
                self._payload(answer, request.subject)  # what cannot be sent is its mistake, too
        except (Exception, pytest.fail.Exception) as error:
            self.failures.append(error)
            raise
        return answer

    def _payload(self, answer: object, subject: str) -> bytes:
        payload = _encoded(answer)
        if self._contract and isinstance(answer, Mapping) and is_storage_subject(subject):
            # Completed is what JSON makes of it: a tuple has become a list.
            return _encoded(completed(subject, msgspec.json.decode(payload)))
        return payload

    def _check_early(self, reply: object) -> None:
        """Refuse a bad reply where the test's author wrote it, not where it is asked for."""
        if _is_exception(reply) or (callable(reply) and not isinstance(reply, type)):
            return
        literal = not {"*", ">"}.intersection(self.subject.split("."))
        checked = self._contract and literal and is_storage_subject(self.subject)
        payload = self._payload(reply, self.subject) if literal else _encoded(reply)
        if checked and not isinstance(payload, Malformed):
            check_reply(self.subject, payload)


def _encoded(reply: object) -> bytes:
    if isinstance(reply, bytes):
        return reply
    if not isinstance(reply, Mapping):
        raise TypeError(
            f"A stub cannot reply with {short(reply)}: expected a dict, bytes, an exception, a "
            "function of the request that returns one of those, or a list of replies."
        )
    try:
        return encode_json(dict(reply))
    except RequestError as error:
        raise TypeError(f"A stub cannot reply with {short(reply)}: {error.message}") from None


def _is_exception(reply: object) -> TypeGuard[BaseException | type[BaseException]]:
    return isinstance(reply, BaseException) or (
        isinstance(reply, type) and issubclass(reply, BaseException)
    )


def _is_sequence(reply: object) -> TypeGuard[Sequence[Answer | Responder]]:
    return isinstance(reply, list | tuple)


def _limit(sequence: list[Answer | Responder] | None, times: int | None) -> int | None:
    if sequence is None:
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, got {times}.")
        return times
    if times is not None:
        raise ValueError("A list of replies answers once with each of them: leave out times.")
    if not sequence:
        raise ValueError("The list of replies is empty.")
    return len(sequence)


def _condition(when: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if when is not None and not isinstance(when, Mapping):
        raise TypeError(
            f"when= takes the part of its JSON that a request must have, as a dict, got {when!r}. "
            "A stub whose reply is a function of the request may decide by itself."
        )
    return when


def _seconds(delay: float | None) -> float:
    if delay is not None and delay < 0:
        raise ValueError(f"delay must not be negative, got {delay} s.")
    return delay or 0.0
