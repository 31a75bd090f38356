"""Every way a request can be wrong gets a structured error, and the service goes on."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest

from dbservice.protocol.errors import ErrorCode, Reason, RequestError

pytestmark = pytest.mark.asyncio

KV = "rosey.db.kv.shop"
ROW = "rosey.db.row.shop"
MIGRATE = "rosey.db.migrate.shop"

JSON, SUBJECT = ErrorCode.INVALID_JSON, ErrorCode.INVALID_SUBJECT
MISSING, INVALID = ErrorCode.MISSING_FIELD, ErrorCode.VALIDATION_ERROR
LARGE, FORBIDDEN = ErrorCode.VALUE_TOO_LARGE, ErrorCode.FORBIDDEN

DEEP = "[" * 65 + "]" * 65


def items(**fields: Any) -> dict[str, Any]:
    return {"table": "items", **fields}


def where(filters: Any) -> dict[str, Any]:
    return items(filters=filters)


def nested(levels: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"price": 1}
    for _ in range(levels):
        tree = {"$not": tree}
    return tree


BAD_JSON = [
    (f"{KV}.set", payload, JSON, None)
    for payload in (
        b"{", b"}", b"nonsense", b"null", b"[]", b'"x"', b"1", b"\xff\xfe{}", b"\xef\xbb\xbf{}",
        b'{"key": NaN}', b'{"key": Infinity}', b"{'key': 1}", b'{"key": "k", "value": 1,}',
        b'{"key": "\\ud800", "value": 1}', b'{"key": "k"} trailing',
        b'{"key": "k", "value": ' + DEEP.encode() + b"}",
        b'{"key": "k", "value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    )
]  # fmt: skip

BAD_SUBJECTS = [
    (subject, {}, SUBJECT, None)
    for subject in (
        "rosey.db.nothing", "rosey.db.kv.shop.sett", "rosey.db.kv.set.shop", "rosey.db.row.shop",
        "rosey.db.rows.shop.insert", "rosey.db.row.Shop.insert", "rosey.db.row.sh__op.insert",
        "rosey.db.row.-shop.insert", "rosey.db.row.1shop.insert", "rosey.db.row.shop;.insert",
        "rosey.db.row.'shop'.insert", "rosey.db.row._kv.insert", f"rosey.db.row.{'a' * 65}.insert",
        "rosey.db.row.shop.schema", "rosey.db.row.shop.schema.alter", "rosey.db.row.shop.insert.x",
        "rosey.db.kv.incr", "rosey.db.migrate.shop.explode", "rosey.db.namespace.shop.drop",
        "rosey.db.row.šhop.insert", "rosey.db.row.shop-.insert", "rosey.db.ping.shop",
    )
]  # fmt: skip

BAD_FIELDS = [
    (f"{KV}.get", {}, MISSING, None),
    (f"{KV}.get", {"key": ""}, MISSING, None),
    (f"{KV}.get", {"key": None}, MISSING, None),
    (f"{KV}.set", {"key": "k"}, MISSING, None),
    (f"{ROW}.insert", {"data": {}}, MISSING, None),
    (f"{ROW}.insert", {"table": "items"}, MISSING, None),
    (f"{ROW}.insert", {"table": "", "data": {}}, MISSING, None),
    (f"{ROW}.upsert", items(data={}), MISSING, None),
    (f"{ROW}.aggregate", items(), MISSING, None),
    (f"{KV}.get", {"key": 1}, INVALID, None),
    (f"{KV}.get", {"key": "k" * 513}, INVALID, None),
    (f"{KV}.get", {"key": "a\nb"}, INVALID, None),
    (f"{KV}.get", {"key": "k", "plugin_name": 5}, INVALID, None),
    (f"{KV}.get", {"key": "k", "plugin_name": "other"}, FORBIDDEN, None),
    (f"{KV}.get", {"key": "k", "kye": 1}, INVALID, Reason.UNKNOWN_FIELD),
    (f"{KV}.set", {"key": "k", "value": 1, "ttl": 0}, INVALID, None),
    (f"{KV}.set", {"key": "k", "value": 1, "ttl": -5}, INVALID, None),
    (f"{KV}.set", {"key": "k", "value": 1, "ttl": 1.5}, INVALID, None),
    (f"{KV}.set", {"key": "k", "value": 1, "ttl": "60"}, INVALID, None),
    (f"{KV}.set", {"key": "k", "value": 1, "ttl": 5, "ttl_seconds": 6}, INVALID, None),
    (f"{KV}.set", {"key": "k", "value": 1, "ttl_secs": 5}, INVALID, Reason.UNKNOWN_FIELD),
    (f"{KV}.set", {"key": "k", "value": 2**64}, INVALID, Reason.LIMIT),
    (f"{KV}.set", {"key": "k", "value": "\0"}, INVALID, None),
    (f"{KV}.set", {"key": "k", "value": "x" * 66_000}, LARGE, None),
    (f"{KV}.incr", {"key": "k", "by": 2**63}, INVALID, None),
    (f"{KV}.incr", {"key": "k", "by": 0.5}, INVALID, None),
    (f"{KV}.list", {"limit": 0}, INVALID, None),
    (f"{KV}.list", {"limit": 1001}, INVALID, None),
    (f"{KV}.list", {"prefix": "a\0"}, INVALID, None),
    (f"{ROW}.insert", items(data=5), INVALID, None),
    (f"{ROW}.insert", items(data=[]), INVALID, None),
    (f"{ROW}.insert", items(data=[1]), INVALID, None),
    (f"{ROW}.insert", items(data=[{}] * 1001), INVALID, None),
    (f"{ROW}.insert", items(data={}, rows=[]), INVALID, Reason.UNKNOWN_FIELD),
    (f"{ROW}.insert", items(data={"nmae": "x"}), INVALID, Reason.UNKNOWN_COLUMN),
    (f"{ROW}.insert", items(data={"name": 5}), INVALID, None),
    (f"{ROW}.insert", items(data={"name": ["a"]}), INVALID, None),
    (f"{ROW}.insert", items(data={"name": "x" * 41}), INVALID, Reason.LIMIT),
    (f"{ROW}.insert", items(data={"name": "a\0b"}), INVALID, None),
    (f"{ROW}.insert", items(data={"name": "x", "price": 4.9}), INVALID, None),
    (f"{ROW}.insert", items(data={"name": "x", "price": "4"}), INVALID, None),
    (f"{ROW}.insert", items(data={"name": "x", "price": True}), INVALID, None),
    (f"{ROW}.insert", items(data={"name": "x", "price": 2**63}), INVALID, Reason.LIMIT),
    (f"{ROW}.insert", items(data={"name": "x", "sold": "yes"}), INVALID, None),
    (f"{ROW}.insert", items(data={"name": "x", "sold": 1}), INVALID, None),
    (f"{ROW}.insert", items(data={"name": "x", "since": "soon"}), INVALID, None),
    (f"{ROW}.insert", items(data={"name": "x", "since": 1700000000}), INVALID, None),
    (f"{ROW}.insert", items(data={"name": "x"}, counters={"n": "1"}), INVALID, None),
    (f"{ROW}.insert", items(data={"name": "x"}, counters={"": 1}), INVALID, None),
    (f"{ROW}.insert_batch", items(rows=[]), INVALID, None),
    (f"{ROW}.select", items(limit=0), INVALID, None),
    (f"{ROW}.select", items(limit="all"), INVALID, None),
    (f"{ROW}.select", items(offset=-1), INVALID, None),
    (f"{ROW}.select", items(columns=[]), INVALID, None),
    (f"{ROW}.select", items(columns=["nope"]), INVALID, Reason.UNKNOWN_COLUMN),
    (f"{ROW}.select", items(columns=["id; DROP TABLE x"]), INVALID, Reason.UNKNOWN_COLUMN),
    (f"{ROW}.select", items(sort="name"), INVALID, None),
    (f"{ROW}.select", items(sort={"field": "nope"}), INVALID, Reason.UNKNOWN_COLUMN),
    (f"{ROW}.select", items(sort={"field": "name", "order": "up"}), INVALID, None),
    (f"{ROW}.select", items(sort={"by": "name"}), INVALID, Reason.UNKNOWN_FIELD),
    (f"{ROW}.select", items(after="not a cursor"), INVALID, None),
    (f"{ROW}.select", items(id=True), INVALID, None),
    (f"{ROW}.select", items(id=1, filters={"price": 1}), INVALID, None),
    (f"{ROW}.update", items(filters={"id": 1}), MISSING, None),
    (f"{ROW}.update", items(data={"price": 1}), MISSING, None),
    (f"{ROW}.update", items(id=1, operations={"price": 5}), INVALID, None),
    (f"{ROW}.update", items(id=1, operations={"price": {}}), INVALID, None),
    (f"{ROW}.update", items(id=1, operations={"price": {"$inc": 1, "$mul": 2}}), INVALID, None),
    (f"{ROW}.update", items(id=1, operations={"price": {"$incr": 1}}), INVALID,
     Reason.UNKNOWN_OPERATOR),
    (f"{ROW}.update", items(id=1, operations={"$inc": {"price": 1}}), INVALID,
     Reason.UNKNOWN_OPERATOR),
    (f"{ROW}.update", items(id=1, operations={"price": {"$inc": "1"}}), INVALID, None),
    (f"{ROW}.update", items(id=1, operations={"name": {"$inc": 1}}), INVALID,
     Reason.OPERATOR_TYPE),
    (f"{ROW}.update", items(id=1, operations={"name": {"$push": 1}}), INVALID,
     Reason.OPERATOR_TYPE),
    (f"{ROW}.update", items(id=1, operations={"id": {"$set": 9}}), INVALID,
     Reason.IMMUTABLE_COLUMN),
    (f"{ROW}.update", items(id=1, data={"created_at": "2026-01-01"}), INVALID,
     Reason.IMMUTABLE_COLUMN),
    (f"{ROW}.update", items(id=1, data={"price": 1}, operations={"price": {"$inc": 1}}), INVALID,
     None),
    (f"{ROW}.upsert", items(data={"name": "x"}, on=[]), INVALID, None),
    (f"{ROW}.upsert", items(data={"name": "x"}, on=["name"]), INVALID, None),
    (f"{ROW}.delete", items(), MISSING, None),
    (f"{ROW}.delete", items(all="yes"), INVALID, None),
    (f"{ROW}.aggregate", items(compute={}), INVALID, None),
    (f"{ROW}.aggregate", items(compute={"n": {"$total": "price"}}), INVALID,
     Reason.UNKNOWN_OPERATOR),
    (f"{ROW}.aggregate", items(compute={"n": {"$sum": "name"}}), INVALID, Reason.OPERATOR_TYPE),
    (f"{ROW}.aggregate", items(compute={'n" FROM x': {"$count": "*"}}), INVALID, None),
    (f"{MIGRATE}.apply", {"dry_run": "yes"}, INVALID, None),
    (f"{MIGRATE}.apply", {"versions": 3}, INVALID, Reason.UNKNOWN_FIELD),
    ("rosey.db.ping", {"extra": 1}, INVALID, Reason.UNKNOWN_FIELD),
]  # fmt: skip

BAD_TABLES = [
    (f"{ROW}.select", {"table": name}, INVALID, reason)
    for name, reason in (
        ("nope", Reason.TABLE_NOT_REGISTERED),
        ("kv", Reason.TABLE_NOT_REGISTERED),
        ("_kv", None),
        ("shop__items", None),
        ("other__items", None),
        ("items; DROP TABLE shop__items", None),
        ('items" --', None),
        ("Items", None),
        ("ítems", None),
        ("sqlite_master", Reason.TABLE_NOT_REGISTERED),
        ("a" * 60, Reason.LIMIT),
        ("a" * 5000, None),
    )
]

BAD_FILTERS = [
    (f"{ROW}.search", where(filters), INVALID, reason)
    for filters, reason in (
        ([], None),
        ({"nope": 1}, Reason.UNKNOWN_COLUMN),
        ({"price'; --": 1}, None),
        ({"price": "1"}, None),
        ({"price": 1.5}, None),
        ({"price": {}}, None),
        ({"price": [1]}, None),
        ({"price": {"$gte": None}}, None),
        ({"price": {"$gte": {"$add": 1}}}, None),
        ({"price": {"gte": 1}}, Reason.UNKNOWN_OPERATOR),
        ({"price": {"$gte": 1, "x": 2}}, Reason.UNKNOWN_OPERATOR),
        ({"price": {"$regex": "x"}}, Reason.UNKNOWN_OPERATOR),
        ({"price": {"$like": "1%"}}, Reason.OPERATOR_TYPE),
        ({"price": {"$in": 1}}, None),
        ({"price": {"$in": ["a"]}}, None),
        ({"price": {"$in": list(range(1001))}}, Reason.LIMIT),
        ({"price": {"$between": [1]}}, None),
        ({"price": {"$between": [1, None]}}, None),
        ({"price": {"$exists": 1}}, None),
        ({"price": {"$null": None}}, None),
        ({"price": {"$contains": 1}}, Reason.OPERATOR_TYPE),
        ({"price": {"$not": 1}}, None),
        ({"price": {"$not": {}}}, None),
        ({"tags": {"$gt": 1}}, Reason.OPERATOR_TYPE),
        ({"sold": {"$gt": True}}, Reason.OPERATOR_TYPE),
        ({"name": {"$like": "x\\"}}, None),
        ({"name": {"$like": 5}}, None),
        ({"name": {"$like": "%" * 5000}}, Reason.LIMIT),
        ({"$and": []}, None),
        ({"$or": []}, None),
        ({"$nor": []}, None),
        ({"$and": {}}, None),
        ({"$or": [1]}, None),
        ({"$not": []}, None),
        ({"$where": "1=1"}, Reason.UNKNOWN_OPERATOR),
        ({"$xor": [{}]}, Reason.UNKNOWN_OPERATOR),
        (nested(9), Reason.LIMIT),
        ({"$or": [{"price": number} for number in range(201)]}, Reason.LIMIT),
        ({"sort": {"field": "price"}}, Reason.UNKNOWN_COLUMN),
    )
]

SECRETS = ("Traceback", "SELECT", "shop__", "sqlite", "/")

TABLE = [*BAD_JSON, *BAD_SUBJECTS, *BAD_FIELDS, *BAD_TABLES, *BAD_FILTERS]

SHOP = {
    "fields": [
        {"name": "name", "type": "string", "required": True, "max_length": 40},
        {"name": "price", "type": "integer"},
        {"name": "sold", "type": "boolean"},
        {"name": "since", "type": "datetime"},
        {"name": "tags", "type": "json"},
    ]
}


@pytest.fixture
async def shop(storage, db_service):
    rows = storage("shop").rows("items")
    await rows.register(SHOP["fields"])
    await rows.insert({"name": "pen", "price": 3})
    return rows


def shown(case: tuple[Any, ...]) -> str:
    subject, payload, code, _ = case
    text = payload if isinstance(payload, bytes) else json.dumps(payload)
    return f"{code}-{subject.removeprefix('rosey.db.')}-{text[:40]!r}"


def refusals() -> set[RequestError]:
    return {found for found in gc.get_objects() if isinstance(found, RequestError)}


async def test_each_gets_its_error_and_the_service_goes_on(shop, nats_client, caplog):
    wrong: list[str] = []
    before = await shop.select()
    for case in TABLE:
        subject, payload, code, reason = case
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        reply = json.loads((await nats_client.request(subject, raw, timeout=30)).data)
        problem = reply.get("error", {})
        got = (reply["success"], problem.get("code"), problem.get("details", {}).get("reason"))
        if got != (False, code, reason):
            wrong.append(f"{shown(case)}: {got} {problem.get('message', reply)}")
        elif not problem["message"].endswith((".", "?")) and code not in (MISSING, JSON):
            wrong.append(f"{shown(case)}: not a sentence: {problem['message']}")
        elif any(word in json.dumps(reply) and word.encode() not in raw for word in SECRETS):
            wrong.append(f"{shown(case)}: tells of the inside: {reply}")
    assert not wrong, "\n".join(wrong)
    assert await shop.select() == before
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_refused_request_is_gone_with_its_answer(shop, nats_client):
    gc.collect()
    gc.disable()
    try:
        before = refusals()
        for subject, payload, *_ in TABLE:
            raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            await nats_client.request(subject, raw, timeout=30)
        await shop.select()  # the answer before is given by now, and its request over
        assert refusals() <= before
    finally:
        gc.enable()


async def test_the_table_is_long_enough():
    assert len(TABLE) >= 170
    assert {case[2] for case in TABLE} == {JSON, SUBJECT, MISSING, INVALID, LARGE, FORBIDDEN}


async def test_an_unknown_name_comes_with_the_nearest_one(shop, nats_client):
    asked = {
        "rosey.db.row.shop.selekt": ({"table": "items"}, "select"),
        "rosey.db.row.shop.select": ({"table": "itms"}, "items"),
        "rosey.db.row.shop.search": ({"table": "items", "filters": {"prize": 1}}, "price"),
        "rosey.db.row.shop.count": ({"table": "items", "filter": {}}, "filters"),
        "rosey.db.row.shop.insert": ({"table": "items", "data": {"nam": "x"}}, "name"),
    }
    for subject, (payload, nearest) in asked.items():
        reply = json.loads((await nats_client.request(subject, json.dumps(payload).encode())).data)
        assert reply["error"]["details"]["nearest"] == nearest
        assert f"Did you mean '{nearest}'?" in reply["error"]["message"]
