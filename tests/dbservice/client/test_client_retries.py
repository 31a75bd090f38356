"""When a call is repeated, after which waits, and with which key."""

from __future__ import annotations

import logging

import pytest

from dbservice.client import (
    ConstraintViolation,
    InternalError,
    MalformedReply,
    NoService,
    Overloaded,
    RequestTimeout,
    RetryPolicy,
    StorageError,
)
from dbservice.protocol import ErrorCode, RequestError
from dbservice.protocol.rows import Counted, Inserted


class NoRespondersError(Exception):
    """Has the name of nats-py's error, which is how the client knows it."""


class Sleeps(list):
    async def __call__(self, seconds):
        self.append(seconds)


@pytest.fixture
def sleeps():
    return Sleeps()


def failed(code, **details):
    return RequestError(code, "Sentence.", **details)


async def waits_of(connect, sleeps, failure, *, times=9, **policy):
    """Return the waits before the client gave up, and the error with which it did."""
    storage, nats = connect(*[failure] * times, retries=RetryPolicy(sleep=sleeps, **policy))
    with pytest.raises(StorageError) as raised:
        await storage.rows("quotes").count()
    assert len(nats.asked) == len(sleeps) + 1
    return list(sleeps), type(raised.value)


async def test_nothing_is_repeated_by_default(connect):
    storage, nats = connect(TimeoutError())

    with pytest.raises(RequestTimeout):
        await storage.rows("quotes").insert({"text": "a"})

    assert len(nats.asked) == 1
    assert "idempotency_key" not in nats.asked[0].json


async def test_timeouts(connect, sleeps):
    assert await waits_of(connect, sleeps, TimeoutError()) == ([0.1, 0.2, 0.4], RequestTimeout)


async def test_a_missing_service(connect, sleeps):
    assert await waits_of(connect, sleeps, NoRespondersError()) == (
        [0.5, 1.0, 2.0, 4.0, 8.0],
        NoService,
    )


@pytest.mark.parametrize(
    ("code", "waits"),
    [
        (ErrorCode.TIMEOUT, [0.1, 0.2, 0.4]),
        (ErrorCode.LOCK_TIMEOUT, [0.1, 0.2, 0.4]),
        (ErrorCode.SHUTTING_DOWN, [0.5, 1.0, 2.0, 4.0, 8.0]),
        (ErrorCode.DATABASE_UNAVAILABLE, [0.5, 1.0, 2.0, 4.0, 8.0]),
        (ErrorCode.OVERLOADED, [0.5, 1.0]),
        (ErrorCode.INTERNAL_ERROR, [1.0, 2.0]),
        (ErrorCode.VALIDATION_ERROR, []),
        (ErrorCode.CONSTRAINT_VIOLATION, []),
        (ErrorCode.FORBIDDEN, []),
        (ErrorCode.IDEMPOTENCY_CONFLICT, []),
    ],
)
async def test_failed_replies(connect, sleeps, code, waits):
    assert (await waits_of(connect, sleeps, failed(code)))[0] == waits


async def test_a_malformed_reply_is_not_repeated(connect, sleeps):
    assert await waits_of(connect, sleeps, b"?") == ([], MalformedReply)


@pytest.mark.parametrize(
    ("asked_for", "waits"),
    [(250, [0.25, 0.25]), (10_000_000, [60.0, 60.0]), (-1, [0.5, 1.0]), ("soon", [0.5, 1.0])],
)
async def test_an_overloaded_service_says_when_to_come_back(connect, sleeps, asked_for, waits):
    overloaded = failed(ErrorCode.OVERLOADED, retry_after_ms=asked_for)

    assert await waits_of(connect, sleeps, overloaded) == (waits, Overloaded)


async def test_jitter_spreads_the_waits(connect, sleeps):
    factors = iter([0.5, 0.0, 1.0])

    waits, _ = await waits_of(connect, sleeps, TimeoutError(), jitter=lambda: next(factors))

    assert waits == [0.05, 0.0, 0.4]


async def test_the_limit_counts_all_kinds_together(connect, sleeps):
    storage, nats = connect(
        TimeoutError(),
        NoRespondersError(),
        TimeoutError(),
        failed(ErrorCode.INTERNAL_ERROR),
        retries=RetryPolicy(limit=3, sleep=sleeps),
    )

    with pytest.raises(InternalError):
        await storage.rows("quotes").count()

    assert sleeps == [0.1, 0.5, 0.2]
    assert len(nats.asked) == 4


async def test_a_number_caps_the_repeats(connect):
    overloaded = failed(ErrorCode.OVERLOADED, retry_after_ms=1)
    storage, nats = connect(overloaded, overloaded, overloaded, retries=1)

    with pytest.raises(Overloaded):
        await storage.rows("quotes").count()

    assert len(nats.asked) == 2


async def test_a_repeat_that_succeeds(connect, sleeps, caplog):
    storage, _ = connect(TimeoutError(), Counted(count=3), retries=RetryPolicy(sleep=sleeps))

    with caplog.at_level(logging.WARNING, "dbservice.client"):
        assert await storage.rows("quotes").count() == 3

    [record] = caplog.records
    assert record.getMessage() == (
        "Repeating a storage request in 0.1 s: No reply on 'rosey.db.row.quote-db.count' within "
        "2 s. The request may still have been executed: repeat a write only with the same "
        "idempotency_key."
    )
    assert (record.subject, record.code) == ("rosey.db.row.quote-db.count", "REQUEST_TIMEOUT")


async def test_a_repeated_write_keeps_its_key(connect, sleeps):
    storage, nats = connect(
        TimeoutError(),
        NoRespondersError(),
        Inserted(id=1),
        Inserted(id=2),
        retries=RetryPolicy(sleep=sleeps),
    )

    await storage.rows("quotes").insert({"text": "a"})
    await storage.rows("quotes").insert({"text": "a"})

    first, second, third, other = [asked.json["idempotency_key"] for asked in nats.asked]
    assert first == second == third
    assert len(first) == 32
    assert other != first


async def test_a_key_given_by_the_caller_is_kept(connect, sleeps):
    storage, nats = connect(TimeoutError(), Inserted(id=1), retries=RetryPolicy(sleep=sleeps))

    await storage.rows("quotes").insert({"text": "a"}, idempotency_key="mine")

    assert [asked.json["idempotency_key"] for asked in nats.asked] == ["mine", "mine"]


async def test_a_refused_write_is_not_repeated(connect, sleeps):
    storage, nats = connect(
        failed(ErrorCode.CONSTRAINT_VIOLATION), retries=RetryPolicy(sleep=sleeps)
    )

    with pytest.raises(ConstraintViolation):
        await storage.rows("quotes").insert({"text": "a"})

    assert len(nats.asked) == 1


@pytest.mark.parametrize(
    "act",
    [
        lambda storage: storage.migrations.rollback(),
        lambda storage: storage.migrations.apply(),
        lambda storage: storage.clear(),
    ],
    ids=["rollback", "apply", "clear"],
)
async def test_what_has_no_key_is_never_sent_twice(connect, sleeps, act):
    storage, nats = connect(TimeoutError(), retries=RetryPolicy(sleep=sleeps))

    with pytest.raises(RequestTimeout):
        await act(storage)

    assert len(nats.asked) == 1
