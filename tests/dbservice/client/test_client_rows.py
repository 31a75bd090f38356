"""What the client sends and returns for rows."""

from __future__ import annotations

import pytest

from dbservice.client import MalformedReply, Page, Upserted
from dbservice.protocol.rows import (
    Aggregated,
    Column,
    Counted,
    Deleted,
    Described,
    Found,
    Inserted,
    InsertedMany,
    Registered,
    Selected,
    SelectedById,
    Updated,
)
from dbservice.protocol.rows import Upserted as UpsertedReply

QUOTE = {"id": 42, "text": "Hello", "author": "Alice"}


def selected(*rows, truncated=False, **more):
    return Selected(rows=list(rows), count=len(rows), truncated=truncated, **more)


async def test_insert_returns_the_id(connect):
    storage, nats = connect(Inserted(id=42))

    assert await storage.rows("quotes").insert({"text": "Hello"}) == 42
    assert nats.asked[0].subject == "rosey.db.row.quote-db.insert"
    assert nats.asked[0].json == {"table": "quotes", "data": {"text": "Hello"}}


async def test_insert_takes_counters_and_a_key(connect):
    storage, nats = connect(Inserted(id=None))

    assert await storage.rows("tags").insert({"tag": "a"}, {"n": 1}, idempotency_key="k") is None
    assert nats.asked[0].json == {
        "table": "tags",
        "data": {"tag": "a"},
        "counters": {"n": 1},
        "idempotency_key": "k",
    }


async def test_insert_many_returns_the_ids(connect):
    storage, nats = connect(InsertedMany(ids=[1, 2], created=2))

    assert await storage.rows("quotes").insert_many([{"text": "a"}, {"text": "b"}]) == [1, 2]
    assert nats.asked[0].subject == "rosey.db.row.quote-db.insert_batch"
    assert nats.asked[0].json == {"table": "quotes", "rows": [{"text": "a"}, {"text": "b"}]}


async def test_get_returns_the_row(connect):
    storage, nats = connect(
        SelectedById(rows=[QUOTE], count=1, truncated=False, exists=True, data=QUOTE)
    )

    assert await storage.rows("quotes").get(42) == QUOTE
    assert nats.asked[0].subject == "rosey.db.row.quote-db.select"
    assert nats.asked[0].json == {"table": "quotes", "id": 42}


async def test_get_of_an_absent_row_returns_none(connect):
    storage, _ = connect(SelectedById(rows=[], count=0, truncated=False, exists=False))

    assert await storage.rows("quotes").get(42) is None


async def test_select_sends_what_was_given(connect):
    storage, nats = connect(selected(QUOTE))

    rows = await storage.rows("quotes").select(
        {"score": {"$gte": 5}},
        columns=["id", "text"],
        sort=[{"field": "score", "order": "desc"}, {"field": "id"}],
        limit=10,
        offset=20,
    )

    assert rows == [QUOTE]
    assert nats.asked[0].json == {
        "table": "quotes",
        "filters": {"score": {"$gte": 5}},
        "columns": ["id", "text"],
        "sort": [{"field": "score", "order": "desc"}, {"field": "id"}],
        "limit": 10,
        "offset": 20,
    }


async def test_search_returns_a_page(connect):
    storage, nats = connect(Found(rows=[QUOTE], count=1, truncated=True, total=9))

    page = await storage.rows("quotes").search({"author": "Alice"}, limit=1)

    assert page == Page([QUOTE], total=9, truncated=True)
    assert nats.asked[0].subject == "rosey.db.row.quote-db.search"
    assert nats.asked[0].json == {"table": "quotes", "filters": {"author": "Alice"}, "limit": 1}


async def test_iterate_pages_by_offset(connect):
    storage, nats = connect(
        selected({"id": 1}, {"id": 2}, truncated=True), selected({"id": 3}, truncated=False)
    )

    rows = [row async for row in storage.rows("quotes").iterate({"a": 1}, page_size=2)]

    assert rows == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert [asked.json for asked in nats.asked] == [
        {"table": "quotes", "filters": {"a": 1}, "limit": 2},
        {"table": "quotes", "filters": {"a": 1}, "limit": 2, "offset": 2},
    ]


async def test_iterate_follows_a_cursor(connect):
    storage, nats = connect(selected({"id": 1}, truncated=True, next="c1"), selected({"id": 2}))

    rows = [row async for row in storage.rows("quotes").iterate(page_size=1)]

    assert rows == [{"id": 1}, {"id": 2}]
    assert nats.asked[1].json == {"table": "quotes", "limit": 1, "after": "c1"}


async def test_iterate_reads_no_page_before_it_is_needed(connect):
    storage, nats = connect(selected({"id": 1}, {"id": 2}, truncated=True))

    async for row in storage.rows("quotes").iterate():
        if row["id"] == 2:
            break

    assert len(nats.asked) == 1


async def test_iterate_ends_at_an_empty_page_whatever_it_claims(connect):
    storage, _ = connect(selected(truncated=True))

    assert [row async for row in storage.rows("quotes").iterate()] == []


async def test_update_returns_the_number(connect):
    storage, nats = connect(Updated(updated=1))

    assert await storage.rows("quotes").update({"id": 42}, {"score": {"$inc": 1}}) == 1
    assert nats.asked[0].json == {
        "table": "quotes",
        "filters": {"id": 42},
        "operations": {"score": {"$inc": 1}},
    }


async def test_update_with_returning_returns_rows(connect):
    storage, nats = connect(Updated(updated=1, rows=[{"score": 6}]))

    rows = await storage.rows("quotes").update(
        {}, data={"seen": True}, returning=["score"], all=True
    )

    assert rows == [{"score": 6}]
    assert nats.asked[0].json == {
        "table": "quotes",
        "data": {"seen": True},
        "returning": ["score"],
        "all": True,
    }


async def test_update_with_returning_of_no_row(connect):
    storage, _ = connect({"success": True, "updated": 0})

    assert await storage.rows("quotes").update({"id": 1}, {}, returning=["score"]) == []


async def test_update_refuses_to_pass_off_missing_rows_as_no_rows(connect):
    storage, _ = connect({"success": True, "updated": 1})

    with pytest.raises(MalformedReply) as failure:
        await storage.rows("quotes").update({"id": 1}, {}, returning=["score"])

    assert str(failure.value) == (
        "The reply to an update with 'returning' has no 'rows', although it says that 1 were "
        "updated. A hand-made mock may have left them out."
    )


async def test_upsert_says_which_it_was(connect):
    storage, nats = connect(UpsertedReply(id=7, created=False))

    result = await storage.rows("users").upsert(
        {"name": "bob", "seen": 1}, on=["name"], operations={"seen": {"$inc": 1}}
    )

    assert result == Upserted(id=7, created=False)
    assert nats.asked[0].json == {
        "table": "users",
        "data": {"name": "bob", "seen": 1},
        "on": ["name"],
        "operations": {"seen": {"$inc": 1}},
    }


async def test_upsert_keeps_no_operations_apart_from_none_given(connect):
    storage, nats = connect(UpsertedReply(id=7, created=True), UpsertedReply(id=7, created=True))

    await storage.rows("users").upsert({"name": "bob"}, on=["name"])
    await storage.rows("users").upsert({"name": "bob"}, on=["name"], operations={})

    assert "operations" not in nats.asked[0].json
    assert nats.asked[1].json["operations"] == {}


async def test_delete_returns_the_number(connect):
    storage, nats = connect(Deleted(deleted=1))

    deleted = await storage.rows("quotes").delete({"id": 42}, counters={"n": -1})

    assert deleted == 1
    assert deleted is not True
    assert nats.asked[0].json == {
        "table": "quotes",
        "filters": {"id": 42},
        "counters": {"n": -1},
    }


async def test_delete_of_everything_has_to_be_meant(connect):
    storage, nats = connect(Deleted(deleted=9))

    assert await storage.rows("quotes").delete({}, all=True) == 9
    assert nats.asked[0].json == {"table": "quotes", "all": True}


async def test_count(connect):
    storage, nats = connect(Counted(count=3))

    assert await storage.rows("quotes").count({"author": "Alice"}) == 3
    assert nats.asked[0].json == {"table": "quotes", "filters": {"author": "Alice"}}


async def test_aggregate(connect):
    storage, nats = connect(Aggregated(rows=[{"author": "Alice", "n": 2}]))

    rows = await storage.rows("quotes").aggregate(
        {"n": {"$count": "*"}},
        {"score": {"$gt": 0}},
        group_by=["author"],
        having={"n": {"$gt": 1}},
        sort={"field": "n", "order": "desc"},
        limit=5,
    )

    assert rows == [{"author": "Alice", "n": 2}]
    assert nats.asked[0].json == {
        "table": "quotes",
        "compute": {"n": {"$count": "*"}},
        "filters": {"score": {"$gt": 0}},
        "group_by": ["author"],
        "having": {"n": {"$gt": 1}},
        "sort": {"field": "n", "order": "desc"},
        "limit": 5,
    }


async def test_random(connect):
    storage, nats = connect(selected(QUOTE))

    assert await storage.rows("quotes").random() == [QUOTE]
    assert nats.asked[0].json == {"table": "quotes", "sort": "$random", "limit": 1}


async def test_register_says_whether_the_table_was_created(connect):
    storage, nats = connect(Registered(table="quotes", created=True))
    text = {"name": "text", "type": "text", "required": True}

    assert await storage.rows("quotes").register([text]) is True
    assert nats.asked[0].subject == "rosey.db.row.quote-db.schema.register"
    assert nats.asked[0].json == {"table": "quotes", "schema": {"fields": [text]}}


async def test_describe_returns_the_message(connect):
    column = Column(name="id", type="integer", nullable=False, default=None, primary_key=True)
    storage, nats = connect(Described(columns=[column], indexes=[], row_count=5))

    described = await storage.rows("quotes").describe()

    assert described.columns == [column]
    assert described.row_count == 5
    assert nats.asked[0].json == {"table": "quotes"}
