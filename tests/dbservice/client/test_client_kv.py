"""What the client sends and returns for keys and values."""

from __future__ import annotations

from dbservice.protocol.kv import KvDeleted, KvFound, KvKeys, KvStored, KvValue


async def test_get_returns_the_value(connect):
    storage, nats = connect(KvFound(exists=True, value={"a": [1, None]}))

    assert await storage.kv.get("settings") == {"a": [1, None]}
    assert nats.asked[0].subject == "rosey.db.kv.quote-db.get"
    assert nats.asked[0].json == {"key": "settings"}


async def test_get_of_an_absent_key_returns_the_default(connect):
    storage, _ = connect(KvFound(exists=False), KvFound(exists=False))

    assert await storage.kv.get("settings") is None
    assert await storage.kv.get("settings", 7) == 7


async def test_get_tells_a_stored_null_from_an_absent_key(connect):
    storage, _ = connect(KvFound(exists=True, value=None))

    assert await storage.kv.get("settings", 7) is None


async def test_set_sends_only_what_was_given(connect):
    storage, nats = connect(KvStored(), KvStored(stored=False))

    assert await storage.kv.set("a", None) is True
    assert await storage.kv.set("b", 1, 60, True) is False
    assert nats.asked[0].json == {"key": "a", "value": None}
    assert nats.asked[1].json == {"key": "b", "value": 1, "ttl_seconds": 60, "if_absent": True}


async def test_delete_says_whether_the_key_was_there(connect):
    storage, nats = connect(KvDeleted(deleted=True), KvDeleted(deleted=False))

    assert await storage.kv.delete("a") is True
    assert await storage.kv.delete("a", idempotency_key="once") is False
    assert nats.asked[1].json == {"key": "a", "idempotency_key": "once"}


async def test_list_follows_the_pages(connect):
    storage, nats = connect(
        KvKeys(keys=["q:1", "q:2"], count=2, truncated=True),
        KvKeys(keys=["q:3"], count=1, truncated=False),
    )

    assert await storage.kv.list("q:") == ["q:1", "q:2", "q:3"]
    assert [asked.json for asked in nats.asked] == [
        {"prefix": "q:"},
        {"prefix": "q:", "after": "q:2"},
    ]


async def test_list_ends_at_an_empty_page_whatever_it_claims(connect):
    storage, _ = connect(KvKeys(keys=[], count=0, truncated=True))

    assert await storage.kv.list() == []


async def test_incr_returns_the_new_number(connect):
    storage, nats = connect(KvValue(value=1), KvValue(value=-2))

    assert await storage.kv.incr("n") == 1
    assert await storage.kv.incr("n", by=-3, ttl_seconds=9) == -2
    assert nats.asked[0].json == {"key": "n"}
    assert nats.asked[1].json == {"key": "n", "by": -3, "ttl_seconds": 9}
