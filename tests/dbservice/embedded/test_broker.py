"""Sessions of nats-py that must look the same on the broker and on a real nats-server.

A script is one coroutine function that notes what a client sees. Adding a case is adding a script.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock

import nats.micro
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import ServiceUnavailableError

from tests.dbservice.embedded.worlds import (
    PATIENCE,
    SHORT,
    RealWorlds,
    Script,
    Session,
    barrier,
    embedded_world,
    observe,
    until,
)

SCRIPTS: dict[str, tuple[str, Script]] = {}


def script(setting: str = "plain") -> Callable[[Script], Script]:
    """Register a script for one of the settings in conftest."""

    def register(function: Script) -> Script:
        SCRIPTS[function.__name__] = (setting, function)
        return function

    return register


async def echo(message: Msg) -> None:
    await message.respond(message.data)


async def silent(_: Msg) -> None:
    """Handle a request without answering it."""


# -- connecting ------------------------------------------------------------------------------------


@script()
async def state_after_connect(s: Session) -> None:
    nc = await s.connect(name="me")
    s.note("connected", nc.is_connected, nc.is_closed, nc.is_draining, nc.is_reconnecting)
    s.note("limits", nc.max_payload, type(nc.client_id), nc.client_ip)
    s.note("version", str(nc.connected_server_version))
    s.note("pool", len(nc.servers), nc.discovered_servers, nc.last_error)
    s.note("inbox", nc.new_inbox())
    await nc.close()
    s.note("closed", nc.is_connected, nc.is_closed, nc.client_id)
    s.no_errors("none")


@script()
async def connect_with_bad_options(s: Session) -> None:
    await s.outcome("callback", s.connect(error_cb=lambda _: None))
    await s.outcome("prefix", s.connect(inbox_prefix=3))
    await s.outcome("empty", s.connect(servers=""))
    await s.outcome("port", s.connect(servers="localhost:notaport"))


@script()
async def verbose_connections_work(s: Session) -> None:
    nc = await s.connect(verbose=True)
    await nc.subscribe("a", cb=echo)
    await s.outcome("request", nc.request("a", b"x", timeout=PATIENCE))
    await s.outcome("nobody", nc.request("b", b"x", timeout=PATIENCE))
    s.no_errors("none")


@script()
async def pedantic_connections_refuse_bad_subjects(s: Session) -> None:
    nc = await s.connect(pedantic=True)
    await s.outcome("request", nc.request("b", b"x", timeout=PATIENCE))
    await nc.publish("a.*", b"x")
    await until(lambda: nc.is_closed, "closed by the server")
    s.note("after", nc.is_connected, nc.last_error)


@script("users")
async def wrong_password(s: Session) -> None:
    async def refused(**login: Any) -> None:
        for _ in range(50):
            try:
                await s.connect(**{"allow_reconnect": False, **login})
            except ConnectionError:
                # On a socket, the client's next PING may meet a reset that eats the server's -ERR.
                continue

    once = {"max_reconnect_attempts": 1}
    await s.outcome("no login", refused(**once))
    await s.outcome("password", refused(user="all", password="x", **once))
    await s.outcome("user", refused(user="nobody", password="p", **once))
    await s.outcome("verbose", refused(user="all", password="x", verbose=True, **once))
    await s.outcome("reconnecting", refused(user="all", password="x", allow_reconnect=True, **once))


# -- publishing ------------------------------------------------------------------------------------


@script()
async def publish_delivers_copies_later(s: Session) -> None:
    nc = await s.connect()
    seen: list[bytes] = []

    async def handler(message: Msg) -> None:
        seen.append(message.data)

    await nc.subscribe("a", cb=handler)
    payload = bytearray(b"one")
    await nc.publish("a", payload)
    s.note("not inline", len(seen))
    payload[:] = b"two"
    await until(lambda: bool(seen), "the callback")
    s.note("copied", seen[0])


@script()
async def payload_types(s: Session) -> None:
    nc = await s.connect()
    sub = await nc.subscribe("a")
    for payload in ("text", None, {"a": 1}, bytearray(b"ba"), memoryview(b"mv"), b""):
        await s.outcome(type(payload).__name__, nc.publish("a", payload))
    await s.received("arrived", sub)


@script()
async def publish_subjects(s: Session) -> None:
    nc = await s.connect()
    all_of_it = await nc.subscribe(">")
    for subject in ("", "a b", "a\tb", "a\rb", "a\nb", "a..b", ".a", "a.", "*", "a.*", ">"):
        await s.outcome(repr(subject), nc.publish(subject, b""))
    for subject in ("a.>", "a*b", "a.b>", "grün.ß", "A.b", "$SYS.x", "_INBOX.x"):
        await s.outcome(repr(subject), nc.publish(subject, b""))
    await s.outcome("bad reply", nc.publish("a", b"", reply="a b"))
    await s.received("arrived", all_of_it)


@script()
async def wildcard_publishes_reach_wildcards_only(s: Session) -> None:
    nc = await s.connect()
    patterns = ("a.*", "a.>", "*.*", ">", "a.b", "a.*.c", "*")
    subs = [await nc.subscribe(pattern) for pattern in patterns]
    for subject in ("a.*", "a.>", "*", ">"):
        await nc.publish(subject, subject.encode())
        await s.received(f"publish {subject}", *subs)


@script()
async def subject_beyond_the_control_line(s: Session) -> None:
    nc = await s.connect()
    await s.outcome("publish", nc.publish("a" * 5000, b""))
    await until(lambda: nc.is_closed, "closed by the server")
    s.note("after", nc.is_connected, nc.last_error)
    s.no_errors("not reported")


@script()
async def subject_at_the_control_line(s: Session) -> None:
    nc = await s.connect()
    sub = await nc.subscribe("*")
    await nc.publish("a" * 4090, b"x")
    await s.settle()
    s.note("arrived", sub.pending_msgs, nc.is_connected)


@script("small")
async def payload_limits(s: Session) -> None:
    nc = await s.connect()
    sub = await nc.subscribe("a")
    s.note("limit", nc.max_payload)
    await s.outcome("over", nc.publish("a", b"x" * 101))
    await s.outcome("request over", nc.request("a", b"x" * 101, timeout=PATIENCE))
    await s.outcome("at", nc.publish("a", b"x" * 100))
    await s.outcome("headers at", nc.publish("a", b"x" * 82, headers={"k": "v"}))
    await s.received("arrived", sub)
    await s.outcome("headers over", nc.publish("a", b"x" * 90, headers={"key": "value"}))
    await until(lambda: nc.is_closed, "closed by the server")
    s.note("after", nc.is_connected, nc.last_error)
    await s.outcome("publish after", nc.publish("a", b"x"))


@script("small")
async def answers_that_are_too_large(s: Session) -> None:
    nc = await s.connect()

    async def answer(message: Msg) -> None:
        await message.respond(b"x" * int(message.data))

    await nc.subscribe("a", cb=answer)
    await s.outcome("at", nc.request("a", b"100", timeout=PATIENCE))
    await s.outcome("over", nc.request("a", b"101", timeout=SHORT))
    await s.error("reported")
    await s.outcome("old style over", nc.request("a", b"x" * 101, old_style=True))
    s.note("state", nc.is_connected, nc.last_error)
    await s.outcome("still answering", nc.request("a", b"1", timeout=PATIENCE))


@script()
async def request_subjects(s: Session) -> None:
    nc = await s.connect()
    for subject in ("", "a b", "a\tb", "a\r\nb", "a..b", ".a", "a.", "*", "a.>"):
        await s.outcome(repr(subject), nc.request(subject, b"", timeout=PATIENCE))
        await s.outcome(f"{subject!r} old", nc.request(subject, b"", 1, old_style=True))
    await s.outcome("payload", nc.request("a", "text", timeout=PATIENCE))
    await s.outcome("headers", nc.request("a", b"", timeout=PATIENCE, headers={"a": 1}))
    s.note("left", len(nc._resp_map), nc.is_connected)
    s.no_errors("none")


@script()
async def header_values(s: Session) -> None:
    nc = await s.connect()
    sub = await nc.subscribe("a")
    for headers in (
        {"Key": "value"},
        {" k ": " v "},
        {"a": "1", "A": "2"},
        {"k": ""},
        {"k": "zwölf €"},
        {"k": "a\r\nb: c"},
        {},
        {"": "x"},
        {"a b": "x"},
        {"a:b": "x"},
        {"k": 1},
        {"k": ["x"]},
        {"k": "a: b: c"},
        {"k": "v" * 3000},
    ):
        await s.outcome(str(headers)[:20], nc.publish("a", b"p", headers=headers))
    await s.received("arrived", sub)


@script()
async def order_is_kept(s: Session) -> None:
    nc, other = await s.connect(), await s.connect()
    sub = await nc.subscribe("a.*")
    await s.settle()
    for number in range(40):
        await other.publish(f"a.{number % 3}", b"%d" % number)
    await s.received("in order", sub)


@script()
async def large_messages_arrive_whole(s: Session) -> None:
    nc = await s.connect()
    sub = await nc.subscribe("a")
    for size in (32766, 32768, 100_000, 1_048_000):
        await nc.publish("a", bytes(range(256)) * (size // 256), headers={"size": str(size)})
    await s.settle()
    for _ in range(4):
        message = await sub.next_msg(timeout=PATIENCE)
        s.note("size", len(message.data), message.data[-3:], message.headers)


@script()
async def no_echo(s: Session) -> None:
    nc, other = await s.connect(no_echo=True), await s.connect()
    mine, queue = await nc.subscribe("a"), await nc.subscribe("a", queue="q")
    theirs = await other.subscribe("a", queue="q")
    await s.settle()
    await nc.publish("a", b"from me")
    await s.received("own", mine, queue, theirs)
    await other.publish("a", b"from other")
    await s.settle()
    s.note("others", mine.pending_msgs, queue.pending_msgs + theirs.pending_msgs)
    await nc.subscribe("b", cb=silent)
    await s.outcome("own responder does not count", nc.request("b", b"", timeout=PATIENCE))


# -- requests --------------------------------------------------------------------------------------


@script()
async def requests_are_answered(s: Session) -> None:
    nc, service = await s.connect(), await s.connect()
    await service.subscribe("echo", cb=echo)
    await s.settle()
    reply = await s.outcome("reply", nc.request("echo", b"hi", timeout=PATIENCE))
    s.note("reply to", reply.reply, reply._sid)
    await s.outcome(
        "old style", nc.request("echo", b"hi", timeout=PATIENCE, old_style=True, headers={"a": "b"})
    )
    await s.outcome("headers", nc.request("echo", b"hi", timeout=PATIENCE, headers={"a": "b"}))
    await s.outcome("status", nc.request("echo", b"", timeout=PATIENCE, headers={"Status": "503"}))
    s.note("statistics", nc.stats)


@script()
async def nobody_answers(s: Session) -> None:
    nc = await s.connect()
    for subject in ("nobody", "a..b", "a.", "a.*"):
        await s.outcome(subject, nc.request(subject, b"", timeout=PATIENCE))
    await s.outcome("old style", nc.request("nobody", b"", timeout=PATIENCE, old_style=True))
    await s.outcome("again", nc.request("nobody", b"", timeout=PATIENCE))
    await s.outcome("empty", nc.request("", b"", timeout=PATIENCE))
    s.note("left", len(nc._resp_map), nc.stats)


@script()
async def silent_responders(s: Session) -> None:
    nc = await s.connect()
    await nc.subscribe("quiet", cb=silent)
    await s.outcome("timeout", nc.request("quiet", b"", timeout=SHORT))
    await s.outcome("zero", nc.request("quiet", b"", timeout=0))
    await s.outcome("negative", nc.request("quiet", b"", timeout=-1))
    await s.outcome("outer", asyncio.wait_for(nc.request("quiet", b"", timeout=5), SHORT))
    await s.outcome("old style", nc.request("quiet", b"", timeout=SHORT, old_style=True))
    await nc.subscribe(">", cb=silent)
    await s.outcome("own wildcard counts", nc.request("nobody", b"", timeout=SHORT))


@script()
async def raw_no_responders_message(s: Session) -> None:
    nc, other = await s.connect(), await s.connect()
    inbox = await nc.subscribe("inbox.*")
    elsewhere = await other.subscribe("elsewhere.*")
    grouped = await nc.subscribe("grouped.*", queue="q")
    await s.settle()
    for reply in ("inbox.1", "elsewhere.1", "grouped.1", "inbox..2"):
        await nc.publish("nobody", b"x", reply=reply, headers={"a": "b"})
    await s.received("503", inbox, elsewhere, grouped)
    await nc.publish("inbox.9", b"somebody", reply="inbox.1")
    await s.received("none", inbox)


@script()
async def a_broad_subscription_takes_the_503_of_a_request(s: Session) -> None:
    nc = await s.connect(no_echo=True)
    await s.outcome("before", nc.request("nobody", b"", timeout=PATIENCE))
    broad = await nc.subscribe(">")
    await s.outcome("after", nc.request("nobody", b"", timeout=SHORT))
    await s.received("503", broad)


@script()
async def no_responders_does_not_use_up_a_limit(s: Session) -> None:
    nc = await s.connect()
    inbox = await nc.subscribe("inbox")
    await inbox.unsubscribe(limit=2)
    for _ in range(2):
        await nc.publish("nobody", b"x", reply="inbox")
    await s.received("503", inbox)
    await nc.publish("inbox", b"y")
    await s.settle()
    s.note("waiting", inbox.pending_msgs)


@script()
async def several_replies(s: Session) -> None:
    nc = await s.connect()

    async def twice(message: Msg) -> None:
        await message.respond(b"first")
        await message.respond(b"second")

    await nc.subscribe("twice", cb=twice)
    await s.outcome("first", nc.request("twice", b"", timeout=PATIENCE))
    await s.outcome("no reply", Msg(nc, "a").respond(b""))
    s.no_errors("dropped silently")


@script()
async def failing_handlers(s: Session) -> None:
    nc = await s.connect()

    async def fail(message: Msg) -> None:
        if message.data == b"fail":
            raise ValueError("boom")
        await message.respond(b"fine")

    await nc.subscribe("a", cb=fail)
    await s.outcome("no reply", nc.request("a", b"fail", timeout=SHORT))
    await s.error("reported")
    await s.outcome("survives", nc.request("a", b"", timeout=PATIENCE))
    s.note("state", nc.last_error, nc.stats["errors_received"], nc.is_connected)


@script()
async def one_handler_at_a_time(s: Session) -> None:
    nc = await s.connect()
    running: list[int] = []
    together: list[int] = []

    async def handler(message: Msg) -> None:
        running.append(1)
        together.append(len(running))
        await asyncio.sleep(0)
        running.pop()
        await message.respond(b"")

    await nc.subscribe("a", cb=handler)
    await asyncio.gather(*[nc.request("a", b"", timeout=PATIENCE) for _ in range(10)])
    s.note("at most", max(together), len(together))


@script()
async def handler_asks_its_own_subscription(s: Session) -> None:
    nc = await s.connect()
    inner: asyncio.Queue[Any] = asyncio.Queue()

    async def handler(message: Msg) -> None:
        if message.data == b"outer":
            try:
                inner.put_nowait(await nc.request(message.subject, b"inner", timeout=SHORT))
            except nats.errors.Error as error:
                inner.put_nowait(error)
        await message.respond(b"done")

    await nc.subscribe("a", cb=handler)
    await s.outcome("outer", nc.request("a", b"outer", timeout=PATIENCE))
    s.note("inner", await asyncio.wait_for(inner.get(), PATIENCE))


@script()
async def inbox_prefix(s: Session) -> None:
    nc = await s.connect(inbox_prefix="_INBOX_me")
    await nc.subscribe("a", cb=echo)
    s.note("inbox", nc.new_inbox())
    await s.outcome("new style", nc.request("a", b"", timeout=PATIENCE))
    await s.outcome("old style", nc.request("a", b"", timeout=PATIENCE, old_style=True))


@script()
async def cancelled_requests(s: Session) -> None:
    nc = await s.connect()
    handled = asyncio.Event()

    async def handler(_: Msg) -> None:
        handled.set()

    await nc.subscribe("a", cb=handler)
    request = asyncio.create_task(nc.request("a", b"", timeout=PATIENCE))
    await asyncio.wait_for(handled.wait(), PATIENCE)
    request.cancel()
    await asyncio.wait([request])
    s.note("cancelled", request.cancelled(), len(nc._resp_map))


# -- subscribing -----------------------------------------------------------------------------------


@script()
async def subscribe_subjects(s: Session) -> None:
    nc = await s.connect()
    for subject in ("", "a b", "a..b", ".a", "a.", ">.a", "a.b>", "a*b", "a.*b", "**", "a\n"):
        await s.outcome(repr(subject), nc.subscribe(subject))
    await s.outcome("queue", nc.subscribe("a", queue="a b"))
    await s.outcome("wild queue", nc.subscribe("a", queue="a.*"))
    await s.outcome("callback", nc.subscribe("a", cb=lambda _: None))
    await s.outcome("mock", nc.subscribe("a", cb=AsyncMock()))


@script()
async def subscribe_unchecked_subjects(s: Session) -> None:
    nc = await s.connect(skip_subject_validation=True)
    sub = await nc.subscribe("a*b")
    await nc.publish("a*b", b"literal")
    await s.received("in-token wildcard is literal", sub)
    await nc.subscribe("a..b")
    await until(lambda: nc.is_closed, "closed by the client, on -ERR")
    s.note("after", nc.last_error)


@script()
async def wildcards(s: Session) -> None:
    nc = await s.connect()
    patterns = ("a", "a.*", "a.>", "*.b", "*.*", ">", "a.*.c", "a.b.c", "*.b.>", "*", "a.b.*")
    subs = {pattern: await nc.subscribe(pattern) for pattern in patterns}
    for subject in ("a", "b", "a.b", "x.b", "a.b.c", "a.b.c.d", "b.b.b", "a.x.c"):
        await nc.publish(subject, subject.encode())
        await s.settle()
        for pattern, sub in subs.items():
            s.note(f"{subject} to {pattern}", sub.pending_msgs)
            while sub.pending_msgs:
                await sub.next_msg(timeout=PATIENCE)


@script()
async def queue_groups(s: Session) -> None:
    nc, other = await s.connect(), await s.connect()
    workers = [await nc.subscribe("a.b", queue="q"), await other.subscribe("a.*", queue="q")]
    rest = [await other.subscribe("a.b", queue="r"), await nc.subscribe("a.b")]
    await s.settle()
    for _ in range(60):
        await nc.publish("a.b", b"")
    await s.settle()
    s.note("group", sum(worker.pending_msgs for worker in workers))
    s.note("every member works", all(worker.pending_msgs for worker in workers))
    s.note("others", *[sub.pending_msgs for sub in rest])


@script()
async def pending_limits(s: Session) -> None:
    nc = await s.connect()
    gate, entered = asyncio.Event(), asyncio.Event()
    handled: list[bytes] = []

    async def handler(message: Msg) -> None:
        entered.set()
        await gate.wait()
        handled.append(message.data)

    await nc.subscribe("a", cb=handler, pending_msgs_limit=5)
    await nc.publish("a", b"first")
    await asyncio.wait_for(entered.wait(), PATIENCE)
    for number in range(10):
        await nc.publish("a", b"%d" % number)
    await s.settle()
    for _ in range(5):
        await s.error("slow consumer")
    gate.set()
    await until(lambda: len(handled) == 6, "the messages that fitted")
    s.note("handled", *handled, nc.is_connected)


@script()
async def pending_limit_in_bytes(s: Session) -> None:
    nc = await s.connect()
    sub = await nc.subscribe("a", pending_bytes_limit=100)
    for size in (60, 60, 30, 20):
        await nc.publish("a", b"x" * size)
    await s.settle()
    for _ in range(2):
        await s.error("slow consumer")
    s.note("kept", sub.pending_msgs, sub.pending_bytes, nc.is_connected, nc.last_error)
    await s.received("what fitted", sub)
    await nc.publish("a", b"x" * 90)
    await s.received("there is room again", sub)
    s.no_errors("none left")


@script()
async def waits_that_are_cancelled(s: Session) -> None:
    nc = await s.connect()
    sub = await nc.subscribe("a")
    for wait in (sub.next_msg(timeout=PATIENCE), nc.request("a", b"", old_style=True)):
        task = asyncio.create_task(wait)
        await s.settle()
        task.cancel()
        await asyncio.wait([task])
        s.note("cancelled", task.cancelled(), nc.is_connected)
    s.note("the request was heard", sub.pending_msgs)
    await sub.next_msg(timeout=PATIENCE)
    await nc.publish("a", b"after")
    await s.outcome("still listening", sub.next_msg(timeout=PATIENCE))
    s.no_errors("none")


@script()
async def next_msg_and_iterators(s: Session) -> None:
    nc = await s.connect()
    sub, callback = await nc.subscribe("a"), await nc.subscribe("b", cb=silent)
    await s.outcome("nothing", sub.next_msg(timeout=SHORT))
    await s.outcome("callback", callback.next_msg())
    try:
        s.note("iterator", callback.messages)
    except nats.errors.Error as error:
        s.note("iterator", error)
    await sub.unsubscribe(limit=3)
    for number in range(5):
        await nc.publish("a", b"%d" % number)
    s.note("iterated", *[message.data async for message in sub.messages])
    await s.outcome("no interest left", nc.request("a", b"", timeout=PATIENCE))
    await s.outcome("again", sub.unsubscribe())


@script()
async def unsubscribing(s: Session) -> None:
    nc = await s.connect()
    sub = await nc.subscribe("a")
    await nc.publish("a", b"1")
    await s.settle()
    await s.outcome("first", sub.unsubscribe())
    await s.outcome("second", sub.unsubscribe())
    await s.outcome("drain", sub.drain())
    await s.outcome("gone", nc.request("a", b"", timeout=PATIENCE))
    limited = await nc.subscribe("b")
    for _ in range(2):
        await nc.publish("b", b"")
    await s.settle()
    await limited.unsubscribe(limit=2)
    await s.outcome("limit already reached", nc.request("b", b"", timeout=PATIENCE))
    await nc.subscribe("c", max_msgs=1, cb=silent)
    await nc.publish("c", b"")
    await s.settle()
    await s.outcome("max_msgs keeps interest", nc.request("c", b"", timeout=SHORT))


@script()
async def unsubscribe_within_the_handler(s: Session) -> None:
    nc = await s.connect()
    ended = asyncio.Event()
    seen: list[str] = []

    async def handler(message: Msg) -> None:
        seen.append("started")
        try:
            await message.sub.unsubscribe()
            await asyncio.sleep(0)
            seen.append("survived")
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            ended.set()

    await nc.subscribe("a", cb=handler)
    await nc.publish("a", b"")
    await asyncio.wait_for(ended.wait(), PATIENCE)
    s.note("handler", *seen)


@script()
async def subscription_drain(s: Session) -> None:
    nc = await s.connect()
    handled: list[bytes] = []

    async def handler(message: Msg) -> None:
        await asyncio.sleep(0)
        handled.append(message.data)

    sub = await nc.subscribe("a", cb=handler)
    for number in range(5):
        await nc.publish("a", b"%d" % number)
    await s.settle()
    await s.outcome("drain", sub.drain())
    s.note("handled", *handled)
    await s.outcome("gone", nc.request("a", b"", timeout=PATIENCE))


# -- flushing, draining, closing -------------------------------------------------------------------


@script()
async def flush_and_rtt(s: Session) -> None:
    nc = await s.connect()
    await s.outcome("flush", nc.flush())
    await s.outcome("zero", nc.flush(timeout=0))
    await s.outcome("rtt zero", nc.rtt(timeout=0))
    s.note("rtt", type(await nc.rtt()))
    await nc.close()
    await s.outcome("flush closed", nc.flush())
    await s.outcome("rtt closed", nc.rtt())


@script()
async def everything_after_close(s: Session) -> None:
    nc = await s.connect()
    sub = await nc.subscribe("a")
    await nc.close()
    await s.outcome("publish", nc.publish("a", b""))
    await s.outcome("bad subject first", nc.publish("", b""))
    await s.outcome("request", nc.request("a", b""))
    await s.outcome("subscribe", nc.subscribe("a"))
    await s.outcome("drain", nc.drain())
    await s.outcome("next_msg", sub.next_msg())
    await s.outcome("unsubscribe", sub.unsubscribe())
    await s.outcome("sub drain", sub.drain())
    await s.outcome("close", nc.close())


@script()
async def callbacks_of_close(s: Session) -> None:
    events: list[str] = []

    async def disconnected() -> None:
        events.append("disconnected")

    async def closed() -> None:
        events.append("closed")

    nc = await s.connect(disconnected_cb=disconnected, closed_cb=closed)
    waiting = asyncio.create_task((await nc.subscribe("a")).next_msg(timeout=PATIENCE))
    await s.settle()
    await nc.close()
    s.note("events", *events)
    await s.outcome("waiting", waiting)
    s.no_errors("none")


@script()
async def close_within_the_handler(s: Session) -> None:
    events: list[str] = []
    closed = asyncio.Event()

    async def closed_cb() -> None:
        events.append("closed")
        closed.set()

    nc = await s.connect(closed_cb=closed_cb)

    async def handler(_: Msg) -> None:
        events.append("started")
        try:
            await nc.close()
            events.append("returned")
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    await nc.subscribe("a", cb=handler)
    await nc.publish("a", b"")
    await until(lambda: nc.is_closed and len(events) > 1, "the handler to end")
    s.note("events", *events)


@script()
async def connection_drain(s: Session) -> None:
    nc, other = await s.connect(), await s.connect()
    gate, entered = asyncio.Event(), asyncio.Event()

    async def handler(message: Msg) -> None:
        entered.set()
        await gate.wait()
        await message.respond(b"late")

    await nc.subscribe("a", cb=handler)
    await s.settle()
    request = asyncio.create_task(other.request("a", b"", timeout=PATIENCE))
    await asyncio.wait_for(entered.wait(), PATIENCE)
    drain = asyncio.create_task(nc.drain())
    await until(lambda: nc.is_draining, "draining")
    await barrier(other)
    s.note("state", nc.is_draining, nc.is_connected, nc.is_closed)
    await s.outcome("publish", nc.publish("x", b""))
    await s.outcome("subscribe", nc.subscribe("x"))
    await s.outcome("request", nc.request("x", b""))
    await s.outcome("again", nc.drain())
    gate.set()
    await s.outcome("drained", drain)
    await s.outcome("in flight", request)
    s.note("closed", nc.is_closed)
    await s.outcome("gone", other.request("a", b"", timeout=PATIENCE))


@script()
async def drain_that_takes_too_long(s: Session) -> None:
    nc = await s.connect(drain_timeout=SHORT)

    async def handler(_: Msg) -> None:
        await asyncio.Event().wait()

    await nc.subscribe("a", cb=handler)
    await nc.publish("a", b"")
    await nc.publish("a", b"")
    await s.settle()
    await s.outcome("drain", nc.drain())
    await s.error("reported")
    s.note("closed", nc.is_closed)


@script()
async def everything_after_drain(s: Session) -> None:
    nc = await s.connect(drain_timeout=SHORT)
    sub = await nc.subscribe("a")
    await nc.publish("a", b"before")
    await s.outcome("drain", nc.drain())
    await s.error("nobody read the message")
    s.note("state", nc.is_closed, nc.is_draining, nc.is_connected, nc.last_error)
    await s.outcome("publish", nc.publish("a", b""))
    await s.outcome("request", nc.request("a", b""))
    await s.outcome("subscribe", nc.subscribe("a"))
    await s.outcome("flush", nc.flush())
    await s.outcome("rtt", nc.rtt())
    await s.outcome("again", nc.drain())
    await s.outcome("unsubscribe", sub.unsubscribe())
    await s.outcome("next_msg", sub.next_msg(timeout=SHORT))
    s.no_errors("none")


@script()
async def requests_of_a_closing_client(s: Session) -> None:
    nc = await s.connect()
    await nc.subscribe("a", cb=silent)
    request = asyncio.create_task(nc.request("a", b"", timeout=SHORT))
    await s.settle()
    await nc.close()
    await s.outcome("waits out its timeout", request)


# -- permissions -----------------------------------------------------------------------------------


async def connect_as(s: Session, user: str, **options: Any) -> Client:
    return await s.connect(user=user, password="p", inbox_prefix=f"_INBOX_{user}", **options)


@script("users")
async def publish_permissions(s: Session) -> None:
    nc, everybody = await connect_as(s, "quote-db"), await connect_as(s, "all")
    sub = await everybody.subscribe(">")
    await s.settle()
    for subject in (
        "rosey.db.row.trivia.insert",
        "rosey.db.row.quote-db.secret",
        "Rosey.Db.row.quote-db.x",
        "_INBOX_trivia.x.y",
    ):
        await s.outcome(subject, nc.publish(subject, b"", reply="_INBOX_quote-db.1"))
        await s.error(subject)
    await s.outcome("own", nc.publish("rosey.db.row.quote-db.insert", b"row"))
    await s.outcome("wild", nc.publish("rosey.db.*.quote-db.>", b"row"))
    await s.received("arrived", sub)
    s.note("state", nc.is_connected, nc.last_error)
    await s.outcome("denied", nc.request("rosey.db.row.trivia.x", b"", timeout=SHORT))
    await s.error("denied")
    await sub.unsubscribe()
    await s.settle()
    await s.outcome("nobody", nc.request("rosey.db.row.quote-db.x", b"", timeout=PATIENCE))
    s.no_errors("none left")


@script("users")
async def subscribe_permissions(s: Session) -> None:
    nc = await connect_as(s, "quote-db")
    for subject, queue in (
        ("rosey.db.>", ""),
        (">", ""),
        ("_INBOX.>", ""),
        ("news.secret", ""),
        ("_INBOX_quote-db.deny.x", ""),
        ("rosey.db.row.trivia.>", "db"),
        ("jobs.a", ""),
        ("jobs.a", "idlers"),
        ("both.a", "idlers"),
        ("*", ""),
    ):
        await s.outcome(f"{subject} {queue}", nc.subscribe(subject, queue=queue))
        await s.error(subject)
    for subject, queue in (("news.*", ""), ("jobs.a", "workers"), ("both.a", "")):
        await s.outcome(f"{subject} {queue}", nc.subscribe(subject, queue=queue))
    await s.settle()
    s.no_errors("allowed")
    s.note("state", nc.is_connected)


@script("users")
async def denied_messages_are_left_out(s: Session) -> None:
    nc, other = await connect_as(s, "quote-db"), await connect_as(s, "all")
    news, inbox = await nc.subscribe("news.*"), await nc.subscribe("_INBOX_quote-db.>")
    await s.settle()
    for subject in ("news.today", "news.secret", "_INBOX_quote-db.deny.x", "_INBOX_quote-db.a"):
        await other.publish(subject, subject.encode())
    await s.received("filtered", news, inbox)
    await s.outcome("denied means nobody", other.request("news.secret", b"", timeout=PATIENCE))


@script("users")
async def the_wrong_inbox_prefix(s: Session) -> None:
    nc, service = await s.connect(user="quote-db", password="p"), await connect_as(s, "service")
    await service.subscribe("rosey.db.>", cb=echo)
    await s.settle()
    await s.outcome("no answer", nc.request("rosey.db.row.quote-db.x", b"", timeout=SHORT))
    await s.error("subscription")
    await s.outcome("nor for nobody", nc.request("rosey.db.row.quote-db", b"", timeout=SHORT))
    await s.error("publish")


@script("users")
async def allowed_responses(s: Session) -> None:
    service, caller = await connect_as(s, "service"), await connect_as(s, "all")

    async def answer(message: Msg) -> None:
        await message.respond(b"first")
        if message.data == b"twice":
            await message.respond(b"second")

    await service.subscribe("rosey.db.>", cb=answer)
    await s.settle()
    await s.outcome("once", caller.request("rosey.db.ping", b"", timeout=PATIENCE))
    await s.outcome("twice", caller.request("rosey.db.ping", b"twice", timeout=PATIENCE))
    await s.error("second")
    await service.publish("_INBOX.unasked", b"")
    await s.error("unasked")
    await s.outcome("event", service.publish("rosey.events.x", b""))
    await s.settle()
    s.no_errors("none left")


# -- the server goes and comes back ----------------------------------------------------------------


@script("restarted")
async def server_death(s: Session) -> None:
    events: asyncio.Queue[str] = asyncio.Queue()

    def event(name: str) -> Callable[[], Any]:
        async def callback() -> None:
            events.put_nowait(name)

        return callback

    nc = await s.connect(
        disconnected_cb=event("disconnected"),
        reconnected_cb=event("reconnected"),
        closed_cb=event("closed"),
    )
    sub = await nc.subscribe("a")
    limited = await nc.subscribe("b")
    await limited.unsubscribe(limit=2)
    await nc.publish("b", b"1")
    await s.received("before", limited)
    s.world.stop()
    await s.error("EOF")
    s.note("event", await asyncio.wait_for(events.get(), PATIENCE))
    await s.error("refused")
    s.note("state", nc.is_connected, nc.is_reconnecting, nc.is_closed)
    await s.outcome("publish", nc.publish("a", b"buffered"))
    late = await s.outcome("subscribe", nc.subscribe("c"))
    del late
    await s.outcome("flush", nc.flush())
    await s.outcome("drain", nc.drain())
    await s.outcome("request", nc.request("a", b"asked while down", timeout=SHORT))
    await s.outcome("buffer", nc.publish("a", b"x" * 1_048_576))
    await s.outcome("buffer", nc.publish("a", b"x" * 1_048_576))
    s.world.start()
    s.note("event", await asyncio.wait_for(events.get(), PATIENCE))
    s.note("first", await sub.next_msg(timeout=PATIENCE))
    s.note("second", await sub.next_msg(timeout=PATIENCE))
    s.note("third", len((await sub.next_msg(timeout=PATIENCE)).data))
    for number in range(2):
        await nc.publish("b", b"again %d" % number)
    await s.received("limit goes on", limited)
    s.note("reconnects", nc.stats["reconnects"], nc.is_connected)
    await nc.close()
    s.note("events", *[events.get_nowait() for _ in range(events.qsize())])


@script("restarted")
async def server_death_for_good(s: Session) -> None:
    closed = asyncio.Event()

    async def closed_cb() -> None:
        closed.set()

    once = await s.connect(allow_reconnect=False)
    waiting = asyncio.create_task((await once.subscribe("a")).next_msg(timeout=PATIENCE))
    nc = await s.connect(max_reconnect_attempts=2, closed_cb=closed_cb)
    await s.settle()
    s.world.stop()
    await s.outcome("waiting", waiting)
    await asyncio.wait_for(closed.wait(), PATIENCE)
    s.note("state", once.is_closed, nc.is_closed, nc.last_error)
    await s.outcome("connect", s.connect(max_reconnect_attempts=1, reconnect_time_wait=0.01))


# -- what is built on nats-py ----------------------------------------------------------------------


@script()
async def micro_services(s: Session) -> None:
    nc, caller = await s.connect(), await s.connect()
    service = await nats.micro.add_service(nc, name="quotes", version="1.0.0")

    async def handler(request: nats.micro.Request) -> None:
        if request.data == b"fail":
            raise ValueError("boom")
        await request.respond(b"ok")

    await service.add_endpoint(name="get", subject="quotes.get", handler=handler)
    await s.settle()
    await s.outcome("get", caller.request("quotes.get", b"", timeout=PATIENCE))
    await s.outcome("fail", caller.request("quotes.get", b"fail", timeout=PATIENCE))
    for verb in ("PING", "INFO", "STATS"):
        reply = await caller.request(f"$SRV.{verb}.quotes", b"", timeout=PATIENCE)
        s.note(verb, len(reply.data) > 0, reply.headers)
    await s.outcome("unknown", caller.request("$SRV.PING.other", b"", timeout=PATIENCE))
    await service.stop()
    await s.outcome("stopped", caller.request("quotes.get", b"", timeout=PATIENCE))


@script()
async def jetstream_is_not_enabled(s: Session) -> None:
    js = (await s.connect()).jetstream(timeout=PATIENCE)
    await s.outcome("account", js.account_info())
    await s.outcome("publish", js.publish("a", b""))
    await s.outcome("stream", js.add_stream(name="a", subjects=["a"]))
    s.note("class", ServiceUnavailableError.__mro__[1].__name__)


# -- the comparison --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SCRIPTS))
async def test_looks_the_same_as_on_a_real_server(name: str, real_world: RealWorlds) -> None:
    setting, run = SCRIPTS[name]
    ours = await observe(run, embedded_world(setting))
    theirs = await observe(run, real_world(setting))
    assert ours == theirs


async def test_the_comparison_covers_enough() -> None:
    """The scripts note what they see: count it, so that a script that stops early is noticed.

    `pytest -s` shows how often each error was seen.
    """
    seen = {name: await observe(run, embedded_world(kind)) for name, (kind, run) in SCRIPTS.items()}
    observations = [observation for noted in seen.values() for observation in noted]
    errors = Counter(observation.error for observation in observations if observation.error)
    print(f"\n{len(observations)} observations, {errors.total()} of them of errors")
    for error, times in errors.most_common():
        print(f"{times:4} {error}")
    assert all(seen.values())
    assert len(observations) >= 300
    assert errors.total() >= 100
    assert len(errors) >= 20, "many kinds of them"
