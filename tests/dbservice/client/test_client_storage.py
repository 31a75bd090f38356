"""The client as a whole: timeouts, headers, names, migrations, clearing."""

from __future__ import annotations

import math

import pytest

from dbservice.client import InvalidSubject, RetryPolicy, StorageClient, ValidationError
from dbservice.protocol.kv import KvFound
from dbservice.protocol.migrations import Applied, MigrationStatus, RolledBack
from dbservice.protocol.system import Cleared
from dbservice.runtime.clock import ManualClock, system_time
from dbservice.runtime.correlation import bound_request_id


async def test_the_clients_timeout_holds_unless_a_call_says_otherwise(connect):
    storage, nats = connect(KvFound(exists=False), KvFound(exists=False), timeout=3.0)

    await storage.kv.get("a")
    await storage.kv.get("a", timeout=0.5)

    assert [asked.timeout for asked in nats.asked] == [3.0, 0.5]


async def test_a_request_says_until_when_its_caller_waits(connect):
    storage, nats = connect(*[KvFound(exists=False)] * 3, timeout=3.0)

    with system_time(lambda: 1000.0):
        await storage.kv.get("a")
        await storage.kv.get("a", timeout=0.0109)
        await storage.kv.get("a", timeout=math.inf)

    sent = [asked.others["headers"].get("Rosey-Deadline") for asked in nats.asked]
    assert sent == ["1003000", "1000010", None]


async def test_each_repeat_has_its_own_deadline(connect):
    clock = ManualClock(1000.0)

    async def sleep(seconds):
        clock.advance(seconds)

    policy = RetryPolicy(timeout=(5.0,), sleep=sleep)
    storage, nats = connect(TimeoutError(), KvFound(exists=False), retries=policy)

    with system_time(clock.time):
        await storage.kv.get("a")

    sent = [asked.others["headers"]["Rosey-Deadline"] for asked in nats.asked]
    assert sent == ["1002000", "1007000"]


async def test_the_correlation_id_goes_with_a_request(connect):
    storage, nats = connect(*[KvFound(exists=False)] * 2)

    await storage.kv.get("a")
    with bound_request_id("abc"):
        await storage.kv.get("a")

    ids = [asked.others["headers"].get("Rosey-Request-Id") for asked in nats.asked]
    assert ids == [None, "abc"]


def test_a_bad_plugin_name_is_refused_at_once():
    with pytest.raises(InvalidSubject) as failure:
        StorageClient(object(), "Quote DB")

    assert str(failure.value) == (
        "'Quote DB' is not a plugin name: expected lower-case letters and digits, starting with a "
        "letter, in words joined by single '-' or '_', at most 64 characters."
    )
    assert failure.value.code == "INVALID_SUBJECT"
    assert failure.value.details["got"] == "Quote DB"


async def test_a_value_without_json_form_never_leaves(connect):
    storage, nats = connect()

    with pytest.raises(ValidationError) as failure:
        await storage.kv.set("a", object())

    assert str(failure.value) == (
        "The value has no JSON form: Encoding objects of type object is unsupported."
    )
    assert nats.asked == []


async def test_clear(connect):
    storage, nats = connect(Cleared(tables=2, keys=3, migrations=1))

    assert (await storage.clear()).tables == 2
    assert nats.asked[0].subject == "rosey.db.namespace.quote-db.clear"
    assert nats.asked[0].json == {}


async def test_migration_status(connect):
    storage, nats = connect(
        MigrationStatus(
            up_to_date=True,
            current_version=3,
            pending_count=0,
            applied_migrations=["001_a"],
            pending_migrations=[],
            history=[],
            checksum_mismatches=[],
        )
    )

    status = await storage.migrations.status()

    assert isinstance(status, MigrationStatus)
    assert status.up_to_date is True
    assert nats.asked[0].subject == "rosey.db.migrate.quote-db.status"


async def test_apply_and_rollback_send_what_was_given(connect):
    outcome = {
        "version": "002",
        "current_version": 2,
        "duration_ms": 1.5,
        "migrations": [],
        "warnings": [],
        "dry_run": True,
    }
    storage, nats = connect(
        Applied(applied=True, skipped=False, **outcome),
        RolledBack(rolled_back=True, **outcome),
    )

    applied = await storage.migrations.apply("002", dry_run=True, applied_by="bob", timeout=60)
    rolled_back = await storage.migrations.rollback(to=0)

    assert (applied.applied, applied.version) == (True, "002")
    assert rolled_back.rolled_back is True
    assert [asked.json for asked in nats.asked] == [
        {"version": "002", "dry_run": True, "applied_by": "bob"},
        {"to": 0},
    ]
    assert nats.asked[0].timeout == 60


def test_a_client_shows_whose_it_is(connect):
    storage, _ = connect()

    assert repr(storage) == "StorageClient('quote-db')"
