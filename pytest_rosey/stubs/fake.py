"""`fake_nats`: a client whose requests are answered by stubs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from typing_extensions import override

from dbservice.embedded.client import EmbeddedClient
from dbservice.embedded.connection import Publication
from dbservice.protocol import ErrorCode
from dbservice.protocol.errors import nearest
from pytest_rosey.clients import LoopBound, told
from pytest_rosey.marks import Run
from pytest_rosey.stubs.contract import ContractError, check_served
from pytest_rosey.stubs.requests import (
    SentRequest,
    check_pattern,
    difference,
    listed,
    seen_by,
    short,
)
from pytest_rosey.stubs.stub import SILENCE, Malformed, Reply, Stub

if TYPE_CHECKING:
    from pytest_rosey.buses.bus import InProcessBus

__tracebackhide__ = True

_ALLOWED_BY = "mark the test with @pytest.mark.rosey_fake(assert_all_called=False)"
_ANSWERED = "_ROSEY.STUBBED"
_BROKEN_JSON = Malformed(b'{"success": tru')


class UnstubbedRequest(AssertionError):  # noqa: N818 - reads as the fact it states
    """A request that no stub and no subscriber answers."""


class FakeNats(LoopBound, EmbeddedClient):
    """nats-py's own client on an in-process broker, with stubs in place of the service.

    A request is answered by the newest stub that matches it and is not used up, else by whoever
    subscribed to its subject on the broker, else it raises `UnstubbedRequest`. Everything but
    `request` is the real client. Stubs answer the other clients of the test as well, those of
    `storage` and `rosey_plugin`, before the service does.

    Args:
        bus: the bus to connect to.
        contract: whether stubs and requests on `rosey.db` are checked against the contract.

    Attributes:
        refused: the requests that raised `UnstubbedRequest` or `ContractError`. They fail the
            test at its end if the code under test swallowed them; a test that provokes them on
            purpose clears this list.
    """

    def __init__(self, bus: InProcessBus, *, contract: bool = True) -> None:
        super().__init__(bus.broker)
        bus.stubs = self._answer_publication
        self.refused: list[UnstubbedRequest | ContractError] = []
        self._bus = bus
        self._contract = contract
        self._answering: set[asyncio.Task[None]] = set()
        self._clients: set[int | None] = set()
        self._raised: dict[str, BaseException] = {}
        self._headers: dict[str, dict[str, str] | None] = {}
        self._unstubbed: set[str] = set()
        self._stubs: list[Stub] = []
        self._forgotten: list[BaseException] = []
        self._requests: list[SentRequest] = []

    # -- stubbing ---------------------------------------------------------------------------------

    def respond(
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
    ) -> Stub:
        """Answer requests on a subject.

        A dict on a subject of the database service is completed with what follows from it:
        `success`, `count`, `truncated`, `total`, `created`.

        Args:
            subject: which requests; `*` and `>` are wildcards as in NATS.
            reply: a dict, bytes, an exception to raise, a function (or coroutine function) of the
                request that returns one of those, or a list with one reply for each request.
            when: the part of the request's JSON that must be there, nested as deep as you like.
            times: answer at most so many requests.
            delay: seconds before the reply; past the request's timeout it is too late.
            contract: False lets this stub break the wire contract, and sends dicts as they are.
            headers: of the reply.
            optional: whether the test may leave this stub unused.

        Returns:
            The stub: `.requests` that it has answered, `.called`, `.remove()`.

        Raises:
            ContractError: the real service could not send this reply.
            TypeError: `reply` cannot be sent at all.
            ValueError: `times` or `delay` makes no sense.
        """
        checked = self._contract and contract
        stub = Stub(
            subject,
            reply,
            when=when,
            times=times,
            delay=delay,
            contract=checked,
            headers=headers,
            optional=optional,
        )
        self._stubs.append(stub)
        return stub

    def fail(
        self,
        subject: str,
        code: ErrorCode | str,
        message: str = "stubbed failure",
        *,
        details: Mapping[str, Any] | None = None,
        when: Mapping[str, Any] | None = None,
        times: int | None = None,
        delay: float | None = None,
    ) -> Stub:
        """Answer with an error reply of the service.

        Args:
            subject: which requests.
            code: an error code of the contract, for example `"OVERLOADED"`.
            message: the sentence under `error.message`.
            details: what stands under `error.details`.
            when: as for `respond()`.
            times: as for `respond()`.
            delay: as for `respond()`.

        Raises:
            ContractError: there is no such code.
        """
        error = {"code": str(code), "message": message, **({"details": details} if details else {})}
        reply = {"success": False, "error": error}
        return self.respond(subject, reply, when=when, times=times, delay=delay)

    def timeout(
        self,
        subject: str,
        *,
        wait: bool = False,
        when: Mapping[str, Any] | None = None,
        times: int | None = None,
    ) -> Stub:
        """Let requests time out: at once, or with `wait=True` after their own timeout."""
        reply = SILENCE if wait else NatsTimeoutError()
        return self.respond(subject, reply, when=when, times=times)

    def no_responders(
        self,
        subject: str,
        *,
        when: Mapping[str, Any] | None = None,
        times: int | None = None,
    ) -> Stub:
        """Answer as a server does when nobody subscribed: `nats.errors.NoRespondersError`."""
        return self.respond(subject, NoRespondersError(), when=when, times=times)

    def malformed(
        self,
        subject: str,
        *,
        when: Mapping[str, Any] | None = None,
        times: int | None = None,
        delay: float | None = None,
    ) -> Stub:
        """Answer with a payload that is not JSON."""
        return self.respond(subject, _BROKEN_JSON, when=when, times=times, delay=delay)

    def reset(self) -> None:
        """Forget stubs and requests, as between the examples of a property test.

        What the code under test swallowed until now fails a test that passes all the same.
        """
        self._forgotten += self.refused
        self._forgotten += self._broken()
        self.refused.clear()
        self._stubs.clear()
        self._requests.clear()

    # -- verification -----------------------------------------------------------------------------

    @property
    def requests(self) -> list[SentRequest]:
        """All requests of the test's clients so far, the oldest first, but for `rosey_chat`'s."""
        return list(self._requests)

    def requests_to(self, subject: str) -> list[SentRequest]:
        """Return the requests on a subject, wildcards allowed, the oldest first.

        Raises:
            ContractError: it is one of the service, which serves nothing there.
            ValueError: it is no subject.
        """
        __tracebackhide__ = True
        check_pattern(subject)
        if self._contract:
            check_served(subject)
        return [request for request in self._requests if request.matches(subject, None)]

    def assert_requested(
        self, subject: str, *, json: Mapping[str, Any] | None = None, times: int | None = None
    ) -> None:
        """Assert that a request was sent.

        Args:
            subject: where; wildcards allowed.
            json: what its JSON must contain.
            times: exactly how many such requests; by default one or more.

        Raises:
            AssertionError: listing the requests that were sent.
        """
        __tracebackhide__ = True
        count = sum(request.matches(subject, json) for request in self._requests)
        if count == times or (times is None and count):
            return
        expected = "a request" if times is None else _count(times)
        where = subject if json is None else f"{subject} with {short(dict(json))}"
        raise AssertionError(f"Expected {expected} on {where}, got {_count(count)}. {self._sent()}")

    def assert_no_requests(self, subject: str = ">") -> None:
        """Assert that no request was sent, at all or to a subject (wildcards allowed).

        Raises:
            AssertionError: listing the requests that were sent; or, as a ContractError, the
                service serves nothing on that subject.
            ValueError: it is no subject.
        """
        __tracebackhide__ = True
        sent = self.requests_to(subject)
        if sent:
            where = "" if subject == ">" else f" on {subject}"
            raise AssertionError(f"Expected no request{where}, got:\n{listed(sent)}")

    def complaints(self, run: Run, *, unused_stubs: bool = True) -> str:
        """Return what is to be said at the end of the test; empty if all is well.

        Args:
            run: how the test went.
            unused_stubs: whether stubs that nothing used are a fault.
        """
        seen = set(map(id, _chain(run.failures)))
        swallowed: list[BaseException] = [
            e for e in (*self.refused, *self._broken()) if id(e) not in seen
        ]
        if run.is_complete:
            swallowed = [*self._forgotten, *swallowed]
        parts = [_swallowed(error) for error in swallowed]
        # A test that ended early had no chance to use them all.
        if unused_stubs and run.is_complete and not swallowed and (report := self._left_over()):
            parts.append(report)
        return "\n\n".join(parts)

    def _broken(self) -> list[BaseException]:
        return [error for stub in self._stubs for error in stub.failures]

    def _left_over(self) -> str:
        unused = [
            f"- {stub} ({stub.usage})"
            for position, stub in enumerate(self._stubs)
            if stub.is_left_over(self._stubs[position + 1 :])
        ]
        if not unused:
            return ""
        return "\n".join(
            [
                "Stubs of fake_nats that the test did not use:",
                *unused,
                self._sent(),
                f"Leave them out, say optional=True, or {_ALLOWED_BY}.",
            ]
        )

    # -- the client -------------------------------------------------------------------------------

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float | None = 0.5,  # noqa: ASYNC109 - as nats-py has it
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """Send a request and return the reply; the arguments are those of nats-py.

        Raises:
            UnstubbedRequest: neither stub nor subscriber answers it.
            ContractError: it, or the reply to it, breaks the contract.
            nats.errors.Error: as nats-py does.
        """
        __tracebackhide__ = True
        return await self.answered(
            self, super().request, subject, payload, timeout, old_style, headers
        )

    async def answered(
        self,
        client: LoopBound,
        send: Callable[..., Awaitable[Msg]],
        subject: str,
        payload: bytes = b"",
        timeout: float | None = 0.5,  # noqa: ASYNC109 - as nats-py has it
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """Return the answer to a request: a stub's, else what `send` gets from the bus.

        Args:
            client: of the test, whose request it is.
            send: nats-py's own `request` of that client.
            subject: as `send` takes it, and so are the others.
            payload: of the request.
            timeout: in seconds.
            old_style: without headers.
            headers: of the request.

        Raises:
            UnstubbedRequest: neither stub nor subscriber answers a request of `fake_nats` itself.
            ContractError: the request, or the reply to it, breaks the contract.
            nats.errors.Error: as nats-py does.
        """
        __tracebackhide__ = True
        # Under a subject that nobody has, the client refuses what it would refuse anyway: bad
        # subjects, payloads and headers, a closed connection.
        checked = f"{_ANSWERED}.{subject}" if subject else subject
        await client.publish(checked, payload, headers=headers)
        request = SentRequest(subject, bytes(payload), {} if old_style else dict(headers or {}))
        self._requests.append(request)
        stub = self._stub_for(request)
        try:
            if stub is not None and not self._bus.is_tapped:
                reply = await stub.answer(request, timeout)
                return Msg(client, subject=client.new_inbox(), data=reply, headers=stub.headers)
            self._clients.add(client.client_id)
            return await self._over_the_bus(send, subject, payload, timeout, old_style, headers)
        except ContractError as error:
            self.refused.append(error)
            raise
        except NoRespondersError:
            by_a_fault = self._bus.is_tapped and subject not in self._unstubbed
            if client is not self or stub is not None or by_a_fault:
                raise
            self.refused.append(UnstubbedRequest(unstubbed(request, self._stubs)))
            raise self.refused[-1] from None

    def _stub_for(self, request: SentRequest) -> Stub | None:
        return next((stub for stub in reversed(self._stubs) if stub.matches(request)), None)

    # -- stubs behind faults: the request goes over the bus, and is answered where it arrives ------

    async def _over_the_bus(
        self, send: Callable[..., Awaitable[Msg]], subject: str, *arguments: Any
    ) -> Msg:
        self._unstubbed.discard(subject)
        reply = await send(subject, *arguments)
        if error := self._raised.pop(reply.subject, None):
            raise error
        reply.headers = self._headers.pop(reply.subject, reply.headers)
        return reply

    def _answer_publication(self, publication: Publication) -> bool:
        """Answer a request of the test that has come through, if there is a stub for it."""
        if not publication.reply or publication.source.client_id not in self._clients:
            return False
        subject, headers = publication.subject.decode(), _headers(publication)
        request = SentRequest(subject, publication.payload, headers)
        if (stub := self._stub_for(request)) is None:
            self._unstubbed.add(request.subject)
            return False
        task = asyncio.create_task(self._answer(stub, request, publication))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        return True

    async def _answer(self, stub: Stub, request: SentRequest, publication: Publication) -> None:
        body, inbox = b"", publication.reply.decode()
        try:
            body = await stub.answer(request, None)
            self._headers[inbox] = stub.headers
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - the requester gets it
            self._raised[inbox] = error
        answer = Publication(publication.source, publication.reply, b"", 0, body)
        self._bus.broker.publish(answer)

    @override
    async def close(self) -> None:
        # Answers for which nobody has waited so long.
        for answering in self._answering:
            answering.cancel()
        await super().close()

    def _sent(self) -> str:
        if not self._requests:
            return "No request was sent."
        return f"Requests that were sent:\n{listed(self._requests)}"


class StubsFirst:
    """The tap by which stubs answer the other clients of a test.

    Args:
        fake: whose stubs.
    """

    def __init__(self, fake: FakeNats) -> None:
        self._fake = fake

    def published(self, subject: str, payload: bytes, reply: str) -> None:
        """Stubs answer requests only."""

    async def request(
        self, client: LoopBound, send: Callable[..., Awaitable[Msg]], *args: Any, **kwargs: Any
    ) -> Msg:
        """Return the answer to a request; what `rosey_chat` sends is for the plugin."""
        if client.owner.fixture == "rosey_chat":
            return await send(*args, **kwargs)
        return await self._fake.answered(client, send, *args, **kwargs)


def unstubbed(request: SentRequest, stubs: Sequence[Stub]) -> str:
    """Return why no stub answers a request: what was asked, what is stubbed, the nearest match."""
    part = seen_by((stub.when for stub in stubs), request)
    asked = request.subject if part is None else f"{request.subject} with {short(part)}"
    way_out = f'Stub it with fake_nats.respond("{request.subject}", {{...}}).'
    if not stubs:
        return f"No stub answers the request on {asked}: nothing is stubbed.\n{way_out}"
    unused_first = sorted(stubs, key=lambda stub: stub.used)
    lines = "\n".join(f"- {stub} ({stub.usage})" for stub in unused_first)
    near = _near(request, stubs)
    return f"No stub answers the request on {asked} amongst:\n{lines}\n{near}{way_out}"


def _headers(publication: Publication) -> dict[str, str]:
    """Return the headers of a request, which nats-py has written a line each."""
    _, *lines = publication.body[: publication.header_size].decode().split("\r\n")
    return dict(line.split(": ", 1) for line in lines if line)


def _near(request: SentRequest, stubs: Sequence[Stub]) -> str:
    """Return a line on the stub that misses the request by the least, or nothing."""
    on_subject = [stub for stub in reversed(stubs) if stub.is_on(request.subject)]
    for stub in on_subject:
        if differs := difference(stub.when, request):
            return f"Nearest: {stub}, but {differs}.\n"
    if on_subject:
        return f"Nearest: {on_subject[0]}, but it is used up.\n"
    names = nearest(request.subject, [stub.subject for stub in stubs])
    return f"Nearest: {names}, but the request is on {request.subject}.\n" if names else ""


def _swallowed(error: BaseException) -> str:
    if isinstance(error, UnstubbedRequest | ContractError):
        return f"The code under test swallowed this error of fake_nats:\n{error}"
    return (
        "The code under test swallowed what the function of a stub raised; a stub that is to fail "
        f"returns its exception:\n{told(error)}"
    )


def _chain(errors: Sequence[BaseException]) -> Iterator[BaseException]:
    """Yield exceptions and all that led to them or stand in their groups."""
    waiting: list[BaseException | None] = [*errors]
    seen = set[int]()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _count(number: int) -> str:
    return f"{number or 'no'} request{'' if number == 1 else 's'}"
