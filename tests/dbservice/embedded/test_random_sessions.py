"""Random sessions of several clients, step by step the same on the broker and a real server."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

import nats.errors
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from dbservice.embedded.interest import covers
from tests.dbservice.embedded.worlds import (
    PATIENCE,
    RealWorlds,
    Session,
    embedded_world,
    error_in,
    observe,
    steady,
)

SESSIONS = int(os.environ.get("ROSEY_SESSIONS", "40"))
"""How many are played on both."""

NO_ANSWER_WITHIN = 0.03
"""Seconds that a request waits which somebody hears but nobody will answer."""

PATTERNS = st.sampled_from(["a", "a.b", "a.*", "a.>", "*", "*.b", ">", "a.*.c", "b.>"])
SUBJECTS = st.sampled_from(["a", "b", "a.b", "a.c", "a.b.c", "b.b", "a..b", "a.*", "nobody.here"])
QUEUES = st.sampled_from(["", "", "q", "r"])
# Responders share no group with silent subscribers: who is picked would decide about the answer.
TEAMS = st.sampled_from(["", "s"])
WHO = st.integers(0, 2)
PAYLOADS = st.binary(max_size=20)
HEADERS = st.none() | st.dictionaries(st.sampled_from(["A", "b"]), st.sampled_from(["1", "two"]))

LISTEN = st.one_of(
    st.tuples(st.just("subscribe"), WHO, PATTERNS, QUEUES),
    st.tuples(st.just("respond"), WHO, PATTERNS.filter(lambda pattern: pattern != ">"), TEAMS),
)
SEND = st.one_of(
    st.tuples(st.just("publish"), WHO, SUBJECTS, PAYLOADS, HEADERS),
    st.tuples(st.just("request"), WHO, SUBJECTS, PAYLOADS),
)
LEAVE = st.one_of(
    st.tuples(st.just("unsubscribe"), st.integers(0, 9), st.integers(0, 3)),
    st.tuples(st.just("drain_subscription"), st.integers(0, 9)),
    st.tuples(st.just("reconnect"), WHO, st.sampled_from(["drain", "close"]), st.booleans()),
    st.tuples(st.just("drain"), WHO),
    st.tuples(st.just("close"), WHO),
)
# Listen first, then send more than leave, lest most steps meet closed clients and no interest.
STEPS = st.tuples(
    st.lists(LISTEN, min_size=2, max_size=6),
    st.lists(
        st.sampled_from([SEND] * 4 + [LISTEN, LEAVE]).flatmap(lambda step: step),
        min_size=4,
        max_size=12,
    ),
).map(lambda parts: parts[0] + parts[1])


class RandomSession:
    """Carries out steps and notes, after each, what every subscription received."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.clients: list[Client] = []
        self.subscriptions: list[tuple[Subscription, str]] = []
        self.responders: list[tuple[Client, str]] = []

    async def run(self, steps: list[tuple[Any, ...]]) -> None:
        self.clients = [await self.session.connect() for _ in range(3)]
        for number, (kind, *arguments) in enumerate(steps):
            label = f"{number} {kind}"
            await self.session.outcome(label, getattr(self, kind)(*arguments))
            await self._note_received(label)
            self.session.no_errors(f"{label}: errors")

    async def subscribe(self, who: int, pattern: str, queue: str) -> None:
        subscription = await self.clients[who].subscribe(pattern, queue=queue)
        self.subscriptions.append((subscription, queue))

    async def respond(self, who: int, pattern: str, queue: str) -> None:
        async def answer(message: Msg) -> None:
            if message.reply:
                await message.respond(b"answer")

        await self.clients[who].subscribe(pattern, queue=queue, cb=answer)
        self.responders.append((self.clients[who], pattern))

    async def publish(self, who: int, subject: str, data: bytes, headers: Any) -> None:
        await self.clients[who].publish(subject, data, headers=headers)

    async def request(self, who: int, subject: str, data: bytes) -> bytes:
        client = self.clients[who]
        # Only the time to wait is a guess at the outcome: short where nothing is going to come.
        answered = any(
            covers(pattern.encode(), subject.encode())
            for responder, pattern in self.responders
            if responder.is_connected and not (responder is client and client.options["no_echo"])
        )
        heard = any(
            # A 503 goes to the broadest inbox, so ">" can keep it from the request.
            subscription.subject == ">" or covers(subscription.subject.encode(), subject.encode())
            for subscription, _ in self.subscriptions
            if subscription._conn.is_connected
        )
        timeout = NO_ANSWER_WITHIN if heard and not answered else PATIENCE
        return (await client.request(subject, data, timeout=timeout)).data

    async def unsubscribe(self, index: int, limit: int) -> None:
        if self.subscriptions:
            subscription, queue = self.subscriptions[index % len(self.subscriptions)]
            # Which member of a group reaches its limit first is a matter of luck.
            is_luck = queue or subscription.subject == ">"
            await subscription.unsubscribe(limit=0 if is_luck else limit)

    async def drain_subscription(self, index: int) -> None:
        if self.subscriptions:
            await self.subscriptions[index % len(self.subscriptions)][0].drain()

    async def drain(self, who: int) -> None:
        await self.clients[who].drain()

    async def close(self, who: int) -> None:
        await self.clients[who].close()

    async def reconnect(self, who: int, leave: str, no_echo: bool) -> None:
        await getattr(self.clients[who], leave)()
        self.clients[who] = await self.session.connect(no_echo=no_echo)

    async def _note_received(self, label: str) -> None:
        await self.session.settle()
        groups: Counter[tuple[str, str, bytes]] = Counter()
        for index, (subscription, queue) in enumerate(self.subscriptions):
            for _ in range(subscription.pending_msgs):
                try:
                    message = await subscription.next_msg(timeout=PATIENCE)
                except nats.errors.Error as error:
                    self.session.note(f"{label}: {index}", error)
                    break
                # So is which of one client's subscriptions to ">" hears that nobody listens.
                if queue or error_in(message) == "503":
                    groups[queue, steady(message.subject), message.data] += 1
                else:
                    self.session.note(f"{label}: {index}", message)
        self.session.note(f"{label}: groups", *sorted(groups.items()))


@settings(
    max_examples=SESSIONS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
@example(steps=[*2 * [("subscribe", 0, ">", "")], ("request", 0, "a..b", b"")])
def test_random_sessions_look_the_same(
    steps: list[tuple[Any, ...]], real_world: RealWorlds
) -> None:
    async def play(session: Session) -> None:
        await RandomSession(session).run(steps)

    async def both() -> tuple[Any, Any]:
        return await observe(play, embedded_world("plain")), await observe(
            play, real_world("plain")
        )

    ours, theirs = asyncio.run(both())
    assert ours == theirs
