"""`fake_nats`: stubbing, verification and the texts of its errors (SPEC 5.2)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import nats.errors
import pytest
from nats.aio.msg import Msg

from dbservice.client import Overloaded, StorageClient
from pytest_rosey import FakeNats, SentRequest, UnstubbedRequest

INSERT = "rosey.db.row.quote-db.insert"
SELECT = "rosey.db.row.quote-db.select"
INSERTED = {"success": True, "id": 42, "created": True}


def quote(**data: Any) -> bytes:
    return json.dumps({"table": "quotes", "data": data}).encode()


async def ask(fake: FakeNats, subject: str, **fields: Any) -> Any:
    return json.loads((await fake.request(subject, json.dumps(fields).encode())).data)


class TestReplies:
    async def test_a_dict(self, fake_nats: FakeNats) -> None:
        fake_nats.respond(INSERT, INSERTED)
        reply = await fake_nats.request(INSERT, quote(text="Hi"))
        assert json.loads(reply.data) == INSERTED
        assert isinstance(reply, Msg)

    async def test_bytes_go_as_they_are(self, fake_nats: FakeNats) -> None:
        fake_nats.respond("other.subject", b"\x00\xff")
        assert (await fake_nats.request("other.subject")).data == b"\x00\xff"

    @pytest.mark.parametrize("exception", [OSError("gone"), nats.errors.ConnectionClosedError])
    async def test_an_exception_is_raised(
        self, fake_nats: FakeNats, exception: BaseException
    ) -> None:
        fake_nats.respond(INSERT, exception)
        expected = exception if isinstance(exception, type) else type(exception)
        with pytest.raises(expected):
            await fake_nats.request(INSERT, quote())

    async def test_a_function_of_the_request(self, fake_nats: FakeNats) -> None:
        fake_nats.respond(INSERT, lambda request: {**INSERTED, "id": len(request.json["data"])})
        assert (await ask(fake_nats, INSERT, table="quotes", data={"a": 1, "b": 2}))["id"] == 2

    async def test_a_coroutine_function_of_the_request(self, fake_nats: FakeNats) -> None:
        async def answer(request: SentRequest) -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"subject": request.subject, "headers": dict(request.headers)}

        fake_nats.respond("a.b", answer)
        reply = await fake_nats.request("a.b", b"", headers={"Trace": "1"})
        assert json.loads(reply.data) == {"subject": "a.b", "headers": {"Trace": "1"}}

    async def test_a_function_may_return_an_exception(self, fake_nats: FakeNats) -> None:
        fake_nats.respond("a.b", lambda _: nats.errors.NoRespondersError())
        with pytest.raises(nats.errors.NoRespondersError):
            await fake_nats.request("a.b")

    async def test_a_list_answers_in_turn(self, fake_nats: FakeNats) -> None:
        fake_nats.respond("a.b", [TimeoutError(), {"n": 2}, lambda _: {"n": 3}])
        with pytest.raises(TimeoutError):
            await fake_nats.request("a.b")
        assert [await ask(fake_nats, "a.b"), await ask(fake_nats, "a.b")] == [{"n": 2}, {"n": 3}]
        with pytest.raises(UnstubbedRequest):
            await fake_nats.request("a.b")
        fake_nats.refused.clear()

    async def test_times_ends_a_stub(self, fake_nats: FakeNats) -> None:
        fake_nats.respond("a.b", {"n": 1})
        fake_nats.respond("a.b", {"n": 2}, times=2)
        replies = [await ask(fake_nats, "a.b") for _ in range(4)]
        assert [reply["n"] for reply in replies] == [2, 2, 1, 1]

    async def test_the_newest_stub_that_matches_answers(self, fake_nats: FakeNats) -> None:
        fake_nats.respond("a.*", {"from": "wildcard"})
        fake_nats.respond("a.b", {"from": "literal"}, when={"x": 1})
        assert await ask(fake_nats, "a.b", x=1) == {"from": "literal"}
        assert await ask(fake_nats, "a.b", x=2) == {"from": "wildcard"}

    @pytest.mark.parametrize(
        ("pattern", "subject"),
        [("a.*.c", "a.b.c"), ("a.>", "a.b.c"), (">", "a"), ("rosey.db.*.quote-db.>", INSERT)],
    )
    async def test_wildcards(self, fake_nats: FakeNats, pattern: str, subject: str) -> None:
        fake_nats.respond(pattern, INSERTED)
        assert (await fake_nats.request(subject, quote())).data

    @pytest.mark.parametrize(("pattern", "subject"), [("a.*", "a.b.c"), ("a.>", "a"), ("a", "a.b")])
    @pytest.mark.rosey_fake(assert_all_called=False)
    async def test_wildcards_that_do_not_match(
        self, fake_nats: FakeNats, pattern: str, subject: str
    ) -> None:
        fake_nats.respond(pattern, {})
        with pytest.raises(UnstubbedRequest):
            await fake_nats.request(subject)
        fake_nats.refused.clear()

    async def test_the_reply_lets_other_tasks_run(self, fake_nats: FakeNats) -> None:
        fake_nats.respond("a.b", {})
        order: list[str] = []

        async def other() -> None:
            order.append("other")

        task = asyncio.create_task(other())
        await fake_nats.request("a.b")
        order.append("reply")
        await task
        assert order == ["other", "reply"]


class TestShorthands:
    async def test_fail(self, fake_nats: FakeNats) -> None:
        fake_nats.fail(INSERT, "OVERLOADED", "too much", details={"retry_after_ms": 5})
        with pytest.raises(Overloaded, match="too much") as raised:
            await StorageClient(fake_nats, "quote-db").rows("quotes").insert({"text": "Hi"})
        assert raised.value.details == {"retry_after_ms": 5}

    async def test_timeout_is_immediate(self, fake_nats: FakeNats) -> None:
        fake_nats.timeout(INSERT)
        with pytest.raises(nats.errors.TimeoutError, match="nats: timeout"):
            await fake_nats.request(INSERT, quote(), timeout=3600)

    async def test_timeout_that_waits(self, fake_nats: FakeNats) -> None:
        fake_nats.timeout(INSERT, wait=True)
        started = asyncio.get_running_loop().time()
        with pytest.raises(nats.errors.TimeoutError, match="nats: timeout"):
            await fake_nats.request(INSERT, quote(), timeout=0.05)
        assert asyncio.get_running_loop().time() - started >= 0.05

    async def test_a_late_reply_is_a_timeout(self, fake_nats: FakeNats) -> None:
        fake_nats.respond(INSERT, INSERTED, delay=3600)
        with pytest.raises(nats.errors.TimeoutError):
            await fake_nats.request(INSERT, quote(), timeout=0.01)

    @pytest.mark.parametrize("patience", [0, -1])
    async def test_no_patience_is_a_timeout_as_with_a_server(
        self, fake_nats: FakeNats, patience: float
    ) -> None:
        fake_nats.respond(INSERT, INSERTED)
        with pytest.raises(nats.errors.TimeoutError):
            await fake_nats.request(INSERT, quote(), timeout=patience)

    async def test_a_timeout_that_the_reply_raises_is_passed_on(self, fake_nats: FakeNats) -> None:
        mine = TimeoutError("mine")
        fake_nats.respond("a.b", mine)
        with pytest.raises(TimeoutError) as raised:
            await fake_nats.request("a.b")
        assert raised.value is mine

    async def test_no_responders(self, fake_nats: FakeNats) -> None:
        fake_nats.no_responders(INSERT)
        with pytest.raises(nats.errors.NoRespondersError):
            await fake_nats.request(INSERT, quote())

    async def test_malformed(self, fake_nats: FakeNats) -> None:
        fake_nats.malformed(INSERT)
        reply = await fake_nats.request(INSERT, quote())
        with pytest.raises(json.JSONDecodeError):
            json.loads(reply.data)


class TestArguments:
    """What the real client refuses, the fake refuses with the same exception."""

    @pytest.mark.parametrize(
        ("subject", "payload", "headers", "error"),
        [
            ("", b"", None, nats.errors.BadSubjectError),
            ("a b", b"", None, nats.errors.BadSubjectError),
            ("a.b", "text", None, TypeError),
            ("a.b", None, None, TypeError),
            ("a.b", {"table": "quotes"}, None, TypeError),
            ("a.b", b"x" * 1_048_577, None, nats.errors.MaxPayloadError),
            ("a.b", b"", {"bad key": "x"}, nats.errors.BadHeaderError),
            ("a.b", b"", {"key": 1}, AttributeError),
        ],
    )
    @pytest.mark.rosey_fake(assert_all_called=False)
    async def test_bad_arguments(
        self,
        fake_nats: FakeNats,
        nats_client: Any,
        subject: str,
        payload: Any,
        headers: Any,
        error: type[Exception],
    ) -> None:
        fake_nats.respond(">", {})
        for client in (fake_nats, nats_client):
            with pytest.raises(error):
                await client.request(subject, payload, headers=headers)
        fake_nats.assert_no_requests()

    async def test_a_closed_client(self, fake_nats: FakeNats) -> None:
        fake_nats.respond("a.b", {})
        await fake_nats.request("a.b")
        await fake_nats.close()
        with pytest.raises(nats.errors.ConnectionClosedError):
            await fake_nats.request("a.b")

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            ({"reply": "text"}, TypeError, "A stub cannot reply with 'text': expected a dict, "),
            ({"reply": None}, TypeError, "A stub cannot reply with None: expected a dict, bytes"),
            ({"reply": {"x": object}}, TypeError, "has no JSON form"),
            ({"reply": {}, "times": 0}, ValueError, "times must be at least 1, got 0."),
            ({"reply": [{}], "times": 2}, ValueError, "A list of replies answers once with each"),
            ({"reply": []}, ValueError, "The list of replies is empty."),
            ({"reply": {}, "delay": -1}, ValueError, "delay must not be negative, got -1 s."),
        ],
    )
    async def test_stubs_that_make_no_sense(
        self, fake_nats: FakeNats, arguments: dict[str, Any], error: type[Exception], text: str
    ) -> None:
        with pytest.raises(error) as raised:
            fake_nats.respond("a.b", **arguments)
        assert text in str(raised.value)


class TestMatching:
    @pytest.mark.parametrize(
        ("when", "sent"),
        [
            ({}, {"a": 1}),
            ({"a": 1}, {"a": 1, "b": 2}),
            ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1, "d": 2}}, "e": 3}),
            ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "c": 3}]}),
            ({"a": None}, {"a": None}),
            ({"a": 1}, {"a": 1.0}),
        ],
    )
    async def test_contained(
        self, fake_nats: FakeNats, when: dict[str, Any], sent: dict[str, Any]
    ) -> None:
        fake_nats.respond("a.b", {"ok": True}, when=when)
        assert await ask(fake_nats, "a.b", **sent) == {"ok": True}

    @pytest.mark.parametrize(
        ("when", "sent", "difference"),
        [
            ({"a": 1}, {"b": 1}, "a: expected 1, got nothing"),
            ({"a": 1}, {"a": 2}, "a: expected 1, got 2"),
            ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b: expected 1, got 2"),
            ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "a[1].b: expected 2, got 3"),
            ({"a": [1]}, {"a": [1, 2]}, "a: expected [1], got [1, 2]"),
            ({"a": 1}, {"a": True}, "a: expected 1, got True"),
            ({"a": None}, {}, "a: expected None, got nothing"),
            ({"a": {"b": 1}}, {"a": 1}, "a: expected {'b': 1}, got 1"),
        ],
    )
    @pytest.mark.rosey_fake(assert_all_called=False)
    async def test_not_contained(
        self, fake_nats: FakeNats, when: dict[str, Any], sent: dict[str, Any], difference: str
    ) -> None:
        fake_nats.respond("a.b", {}, when=when)
        with pytest.raises(UnstubbedRequest) as raised:
            await ask(fake_nats, "a.b", **sent)
        fake_nats.refused.clear()
        assert f"Nearest: a.b when {when}, but {difference}.\n" in str(raised.value)

    @pytest.mark.rosey_fake(assert_all_called=False)
    async def test_a_payload_that_is_no_json_matches_no_condition(
        self, fake_nats: FakeNats
    ) -> None:
        fake_nats.respond("a.b", {}, when={"a": 1})
        with pytest.raises(UnstubbedRequest) as raised:
            await fake_nats.request("a.b", b"not json")
        fake_nats.refused.clear()
        assert "but the payload: expected {'a': 1}, got b'not json'." in str(raised.value)


@pytest.mark.rosey_fake(assert_all_called=False)
class TestUnstubbedText:
    """The whole text is asserted: it is what the author of a failing test reads."""

    async def test_nothing_is_stubbed(self, fake_nats: FakeNats) -> None:
        assert await self.refusal(fake_nats, SELECT, b'{"table": "quotes"}') == (
            "No stub answers the request on rosey.db.row.quote-db.select: nothing is stubbed.\n"
            'Stub it with fake_nats.respond("rosey.db.row.quote-db.select", {...}).'
        )

    async def test_only_what_a_stub_looks_at_is_shown_and_unused_stubs_come_first(
        self, fake_nats: FakeNats
    ) -> None:
        fake_nats.respond(INSERT, INSERTED, when={"table": "quotes"})
        fake_nats.respond(INSERT, INSERTED, when={"data": {"author": "Bob"}})
        fake_nats.respond("a.b", {}, times=2)
        await fake_nats.request(INSERT, quote(text="Hi"))
        await fake_nats.request("a.b")
        sent = b'{"table": "flags", "data": {"author": "Alice", "text": "Hi"}}'
        assert await self.refusal(fake_nats, INSERT, sent) == (
            "No stub answers the request on rosey.db.row.quote-db.insert with "
            "{'table': 'flags', 'data': {'author': 'Alice'}} amongst:\n"
            "- rosey.db.row.quote-db.insert when {'data': {'author': 'Bob'}} (never used)\n"
            "- rosey.db.row.quote-db.insert when {'table': 'quotes'} (used once)\n"
            "- a.b (used 1 of 2 times)\n"
            "Nearest: rosey.db.row.quote-db.insert when {'data': {'author': 'Bob'}}, but "
            "data.author: expected 'Bob', got 'Alice'.\n"
            'Stub it with fake_nats.respond("rosey.db.row.quote-db.insert", {...}).'
        )

    async def test_the_nearest_subject(self, fake_nats: FakeNats) -> None:
        fake_nats.respond(INSERT, INSERTED)
        assert await self.refusal(fake_nats, "rosey.db.row.quote-db.insrt", b"{}") == (
            "No stub answers the request on rosey.db.row.quote-db.insrt amongst:\n"
            "- rosey.db.row.quote-db.insert (never used)\n"
            "Nearest: rosey.db.row.quote-db.insert, but the request is on "
            "rosey.db.row.quote-db.insrt.\n"
            'Stub it with fake_nats.respond("rosey.db.row.quote-db.insrt", {...}).'
        )

    async def test_a_used_up_stub(self, fake_nats: FakeNats) -> None:
        fake_nats.respond("a.b", {}, times=1)
        await fake_nats.request("a.b")
        assert await self.refusal(fake_nats, "a.b", b"{}") == (
            "No stub answers the request on a.b amongst:\n"
            "- a.b (used 1 of 1 times)\n"
            "Nearest: a.b, but it is used up.\n"
            'Stub it with fake_nats.respond("a.b", {...}).'
        )

    async def test_nothing_is_near(self, fake_nats: FakeNats) -> None:
        fake_nats.respond("completely.different", {})
        assert await self.refusal(fake_nats, "a.b", b"{}") == (
            "No stub answers the request on a.b amongst:\n"
            "- completely.different (never used)\n"
            'Stub it with fake_nats.respond("a.b", {...}).'
        )

    async def refusal(self, fake_nats: FakeNats, subject: str, payload: bytes) -> str:
        with pytest.raises(UnstubbedRequest) as raised:
            await fake_nats.request(subject, payload)
        assert fake_nats.refused == [raised.value]
        fake_nats.refused.clear()
        return str(raised.value)


class TestVerification:
    async def test_requests_are_kept_in_order(self, fake_nats: FakeNats) -> None:
        fake_nats.respond(">", INSERTED)
        await fake_nats.request(INSERT, quote(text="Hi"), headers={"Nats-Msg-Id": "7"})
        await fake_nats.request("a.b")
        first, second = fake_nats.requests
        assert (first.subject, first.json["data"], first.headers) == (
            INSERT,
            {"text": "Hi"},
            {"Nats-Msg-Id": "7"},
        )
        assert (second.subject, second.data, second.json, second.headers) == ("a.b", b"", {}, {})
        assert fake_nats.requests_to("rosey.db.row.*.insert") == [first]

    async def test_assertions_that_hold(self, fake_nats: FakeNats) -> None:
        fake_nats.assert_no_requests()
        fake_nats.respond("a.*", {})
        await ask(fake_nats, "a.b", x=1, y=2)
        await ask(fake_nats, "a.b", x=2)
        fake_nats.assert_requested("a.b")
        fake_nats.assert_requested("a.*", times=2)
        fake_nats.assert_requested("a.b", json={"x": 1}, times=1)
        fake_nats.assert_requested("a.b", json={"x": 3}, times=0)
        fake_nats.assert_no_requests("a.c")

    async def test_texts(self, fake_nats: FakeNats) -> None:
        def text_of(check: Any, *arguments: Any, **options: Any) -> str:
            with pytest.raises(AssertionError) as raised:
                check(*arguments, **options)
            return str(raised.value)

        assert text_of(fake_nats.assert_requested, "a.b") == (
            "Expected a request on a.b, got no requests. No request was sent."
        )
        fake_nats.respond("a.*", {})
        await ask(fake_nats, "a.b", x=1)
        await fake_nats.request("a.c", b"\xff")
        sent = "Requests that were sent:\n- a.b with {'x': 1}\n- a.c with b'\\xff'"
        assert text_of(fake_nats.assert_requested, "a.b", json={"x": 2}) == (
            f"Expected a request on a.b with {{'x': 2}}, got no requests. {sent}"
        )
        assert text_of(fake_nats.assert_requested, "a.b", times=2) == (
            f"Expected 2 requests on a.b, got 1 request. {sent}"
        )
        assert text_of(fake_nats.assert_no_requests) == (
            "Expected no request, got:\n- a.b with {'x': 1}\n- a.c with b'\\xff'"
        )
        assert text_of(fake_nats.assert_no_requests, "a.b") == (
            "Expected no request on a.b, got:\n- a.b with {'x': 1}"
        )


class TestBus:
    async def test_a_subscriber_answers_where_no_stub_does(self, fake_nats: FakeNats) -> None:
        async def echo(message: Msg) -> None:
            await message.respond(message.data)

        await fake_nats.subscribe("echo", cb=echo)
        assert (await fake_nats.request("echo", b"hello")).data == b"hello"
        fake_nats.assert_requested("echo", times=1)

    async def test_a_stub_hides_the_subscriber(self, fake_nats: FakeNats, nats_client: Any) -> None:
        heard: list[bytes] = []

        async def listen(message: Msg) -> None:
            heard.append(message.data)

        await nats_client.subscribe("a.b", cb=listen)
        fake_nats.respond("a.b", {"from": "stub"}, times=1)
        assert await ask(fake_nats, "a.b") == {"from": "stub"}
        await fake_nats.publish("a.b", b"published")
        await asyncio.sleep(0)
        await nats_client.flush()
        assert heard == [b"published"]

    async def test_two_subscribers_hear_what_it_publishes(self, fake_nats: FakeNats) -> None:
        first, second = [await fake_nats.subscribe("a.*") for _ in range(2)]
        await fake_nats.publish("a.b", b"hello")
        assert (await first.next_msg()).data == (await second.next_msg()).data == b"hello"
