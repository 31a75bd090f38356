"""The contract check and the service agree: what the service answers, a stub may answer."""

from __future__ import annotations

import json
from typing import Any

from dbservice.protocol import OPERATIONS, find
from dbservice.protocol.messages import Request
from pytest_rosey import FakeNats, ServedRequest, ServiceUnderTest
from pytest_rosey.stubs.contract import check_reply, check_request, wants_envelope

NOTES = {"table": "notes"}
FIELDS = [{"name": "text", "type": "string", "unique": True}, {"name": "n", "type": "integer"}]
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("row.notes.schema.register", {**NOTES, "schema": {"fields": FIELDS}}),
    ("row.notes.schema.describe", NOTES),
    ("row.notes.insert", {**NOTES, "data": {"text": "a", "n": 1}, "idempotency_key": "1"}),
    ("row.notes.insert", {**NOTES, "data": {"text": "a", "n": 1}, "idempotency_key": "1"}),
    ("row.notes.insert", {**NOTES, "data": [{"text": "b"}, {"text": "c"}]}),
    ("row.notes.insert_batch", {**NOTES, "rows": [{"text": "d"}]}),
    ("row.notes.insert", {**NOTES, "data": {"text": "a"}}),
    ("row.notes.select", {**NOTES, "limit": 2}),
    ("row.notes.select", {**NOTES, "id": 1}),
    ("row.notes.select", {**NOTES, "id": 99}),
    ("row.notes.search", {**NOTES, "filters": {"text": "a"}}),
    ("row.notes.update", {**NOTES, "id": 1, "operations": {"n": {"$inc": 1}}, "returning": ["n"]}),
    ("row.notes.update", {**NOTES, "id": 99, "data": {"n": 2}}),
    ("row.notes.update", {**NOTES, "filters": {"text": "a"}, "data": {"n": 2}}),
    ("row.notes.upsert", {**NOTES, "data": {"text": "a", "n": 3}, "on": ["text"]}),
    ("row.notes.count", NOTES),
    ("row.notes.aggregate", {**NOTES, "compute": {"total": {"$sum": "n"}}}),
    ("row.notes.delete", {**NOTES, "id": 1}),
    ("row.notes.delete", {**NOTES, "filters": {"text": "b"}}),
    ("sql.notes.execute", {"query": "SELECT text FROM notes WHERE n = $1", "params": [2]}),
    ("sql.notes.execute", {"query": "DELETE FROM notes"}),
    ("namespace.notes.describe", {}),
    ("namespace.notes.export", {}),
    ("row.notes.schema.drop", NOTES),
    ("row.notes.count", NOTES),
    ("kv.notes.set", {"key": "k", "value": None}),
    ("kv.notes.set", {"key": "k", "value": 1, "if_absent": True}),
    ("kv.notes.get", {"key": "k"}),
    ("kv.notes.get", {"key": "absent"}),
    ("kv.notes.list", {}),
    ("kv.notes.incr", {"key": "n"}),
    ("kv.notes.delete", {"key": "k"}),
    ("kv.set", {"plugin_name": "notes", "key": "k", "value": 1}),
    ("kv.get", {"plugin_name": "notes", "key": "k"}),
    ("kv.list", {"plugin_name": "notes"}),
    ("kv.delete", {"plugin_name": "notes", "key": "k"}),
    ("kv.notes.incr", {"key": "n", "plugin_name": "other"}),
    ("migrate.notes.status", {}),
    ("migrate.notes.apply", {}),
    ("migrate.notes.rollback", {}),
    ("migrate.notes.verify", {}),
    ("migrate.notes.repair", {}),
    ("namespace.notes.clear", {}),
    ("namespace.notes.import", {"session": "s", "part": 0, "text": "{"}),
    ("ping", {}),
    ("info", {}),
]


async def test_whatever_the_service_answers_may_be_stubbed(
    fake_nats: FakeNats, db_service: ServiceUnderTest
) -> None:
    succeeded = set()
    for subject, fields in REQUESTS:
        await fake_nats.request(f"rosey.db.{subject}", json.dumps(fields).encode(), timeout=30)
    for served in db_service.requests:
        request = checked(served)
        if served.code is None:
            succeeded.add(type(request))
    assert len(db_service.requests) == len(REQUESTS)
    migrations_needed = {find(f"rosey.db.migrate.notes.{op}")[1].request for op in _MIGRATING}
    assert succeeded | migrations_needed == {one.request for one in OPERATIONS.values()}


_MIGRATING = ("apply", "rollback", "status", "verify", "repair")


async def test_a_plugin_name_in_the_payload_asks_for_the_global_shape(
    fake_nats: FakeNats, db_service: ServiceUnderTest
) -> None:
    await fake_nats.request("rosey.db.kv.notes.get", b'{"key": "k", "plugin_name": "notes"}')
    checked(db_service.requests[0])


def checked(served: ServedRequest) -> Request:
    """Return the message of a request whose answer keeps the contract."""
    request = check_request(served.subject, served.data)
    enveloped = wants_envelope(served.subject, request)
    check_reply(served.subject, served.reply, enveloped=enveloped)
    return request
