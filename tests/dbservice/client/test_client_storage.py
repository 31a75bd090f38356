"""The client as a whole: timeouts, headers, names, migrations, clearing."""

from __future__ import annotations

import pytest

from dbservice.client import InvalidSubject, StorageClient, ValidationError
from dbservice.protocol.kv import KvFound
from dbservice.protocol.migrations import Applied, MigrationStatus, RolledBack
from dbservice.protocol.system import Cleared
from dbservice.runtime.correlation import bound_request_id


async def test_the_clients_timeout_holds_unless_a_call_says_otherwise(connect):
    storage, nats = connect(KvFound(exists=False), KvFound(exists=False), timeout=3.0)

    await storage.kv.get("a")
    await storage.kv.get("a", timeout=0.5)

    assert [asked.timeout for asked in nats.asked] == [3.0, 0.5]


async def test_headers_are_sent_only_when_there_are_some(connect):
    storage, nats = connect(KvFound(exists=False), KvFound(exists=False))

    await storage.kv.get("a")
    with bound_request_id("abc"):
        await storage.kv.get("a")

    assert nats.asked[0].others == {}
    assert nats.asked[1].others == {"headers": {"Rosey-Request-Id": "abc"}}


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
