"""Everything one plugin may try to reach another's data, and that none of it works (SPEC 3.6).

Each table of attempts is tried in one world, which must be as it was after each of them.
"""

from __future__ import annotations

import json

import pytest
from nats.errors import NoRespondersError

from dbservice.client import NoService, StorageClient
from dbservice.protocol import OPERATIONS, Family, subject_for
from dbservice.protocol.headers import REQUEST_ID
from tests.isolation.world import SECRET, ask, listen, settled

FOREIGN = [
    subject_for(family, operation, "trivia")
    for family, operation in OPERATIONS
    if family is not Family.SERVICE
]
OF_THE_ADMIN = [
    "rosey.db.migrate.quote-db.apply",
    "rosey.db.migrate.quote-db.rollback",
    "rosey.db.migrate.quote-db.repair",
    "rosey.db.namespace.quote-db.clear",
    "rosey.db.namespace.quote-db.import",
    "rosey.db.info",
]
NOT_THERE = [
    "rosey.db.kv.incr",
    "rosey.db.row.insert",
    "rosey.db.row.quote-db.nonsense",
    "rosey.db.row.quote_db.select",
    "rosey.db.kv.trivia",
    "rosey.db.namespace.clear",
    "rosey.command.trivia.add",
    "rosey.event.trivia.added",
    "$SRV.PING",
    "$SYS.REQ.SERVER.PING",
    "$JS.API.INFO",
]
ALLOWED = [
    subject_for(family, operation, "quote-db")
    for family, operation in OPERATIONS
    if family in (Family.KV, Family.ROW, Family.SQL)
] + [
    "rosey.db.migrate.quote-db.status",
    "rosey.db.migrate.quote-db.verify",
    "rosey.db.namespace.quote-db.describe",
    "rosey.db.namespace.quote-db.export",
    "rosey.db.ping",
    "rosey.db.kv.get",
    "rosey.db.kv.set",
    "rosey.db.kv.delete",
    "rosey.db.kv.list",
]


# --- subjects ----------------------------------------------------------------------------------


@pytest.mark.parametrize("subjects", [FOREIGN, OF_THE_ADMIN, NOT_THERE])
async def test_a_subject_that_is_not_the_plugins_has_no_responders(world, subjects):
    for subject in subjects:
        with pytest.raises(NoRespondersError):
            print(subject, await ask(world.attacker, subject, key="answer", plugin_name="trivia"))
        await world.assert_victim_is_untouched(subject)


async def test_the_plugins_own_subjects_are_answered(world):
    for subject in ALLOWED:
        answer = await ask(world.attacker, subject)
        code = "success" if answer["success"] else answer["error"]["code"]
        assert code in ("success", "MISSING_FIELD", "VALIDATION_ERROR"), (subject, answer)


async def test_the_client_says_that_the_subject_is_closed(world):
    storage = StorageClient(world.attacker, "trivia")
    with pytest.raises(NoService, match="may not use the subject"):
        await storage.rows("questions").select()
    with pytest.raises(NoService):
        await storage.clear()


# --- the global key-value form -----------------------------------------------------------------


@pytest.mark.parametrize("operation", ["get", "set", "delete", "list"])
@pytest.mark.parametrize("subject", ["rosey.db.kv.{}", "rosey.db.kv.quote-db.{}"])
async def test_a_foreign_plugin_name_in_the_payload_is_forbidden(world, subject, operation):
    fields = {} if operation == "list" else {"key": "answer"}
    if operation == "set":
        fields["value"] = "forged"
    answer = await ask(world.attacker, subject.format(operation), plugin_name="trivia", **fields)
    assert answer["error"]["code"] == "FORBIDDEN"
    assert SECRET not in json.dumps(answer)
    await world.assert_victim_is_untouched()


async def test_old_plugins_keep_the_global_form_and_its_shape(world):
    own = {"plugin_name": "quote-db", "key": "answer"}
    assert await ask(world.attacker, "rosey.db.kv.get", **own) == {
        "success": True,
        "data": {"exists": False},
    }
    await ask(world.attacker, "rosey.db.kv.set", **own, value=7)
    assert await ask(world.attacker, "rosey.db.kv.get", **own) == {
        "success": True,
        "data": {"exists": True, "value": 7},
    }
    await world.assert_victim_is_untouched()


async def test_without_a_name_the_global_subject_still_means_the_plugin_itself(world):
    await ask(world.victim, "rosey.db.kv.set", key="whose", value="trivia")
    await ask(world.attacker, "rosey.db.kv.set", key="whose", value="quote-db")
    assert (await ask(world.victim, "rosey.db.kv.get", key="whose"))["value"] == "trivia"
    assert (await ask(world.attacker, "rosey.db.kv.get", key="whose"))["value"] == "quote-db"


# --- listening ---------------------------------------------------------------------------------

EARS = [
    (">", ""),
    ("rosey.>", ""),
    ("rosey.db.>", ""),
    ("rosey.db.>", "rosey-db"),
    ("rosey.db.row.trivia.>", "rosey-db"),
    ("rosey.db.*.*.select", "rosey-db"),
    ("rosey.db.kv.get", "rosey-db"),
    ("rosey.db.kv.trivia.get", ""),
    ("rosey.command.>", ""),
    ("rosey.command.trivia.add", ""),
    ("rosey.event.>", ""),
    ("rosey.event.trivia.added", ""),
    ("rosey.db.event.>", ""),
    ("rosey.db.event.trivia.>", ""),
    ("_INBOX.>", ""),
    ("_R_.>", ""),
    ("$SRV.>", ""),
    ("$SYS.>", ""),
]


@pytest.mark.parametrize(("subject", "queue"), EARS)
async def test_nothing_of_anothers_traffic_is_heard(world, subject, queue):
    heard = await listen(world.attacker, subject, queue)
    commanded = await listen(world.victim, "rosey.command.trivia.*")

    found = await ask(world.victim, "rosey.db.row.trivia.select", table="questions")
    assert found["rows"][0]["answer"] == SECRET
    assert (await ask(world.victim, "rosey.db.kv.get", key="answer"))["value"] == SECRET
    await world.victim.publish("rosey.event.trivia.added", SECRET.encode())
    await world.gateway.publish("rosey.command.trivia.add", SECRET.encode())
    await ask(world.admin, "rosey.db.migrate.trivia.status")
    await settled(world.victim, world.gateway, world.admin)
    await settled(world.victim, world.attacker)

    assert [message.data for message in commanded] == [SECRET.encode()]
    loud = [m for m in heard if SECRET.encode() in m.data or "trivia" in m.subject]
    assert loud == []


async def test_a_responder_within_the_plugin_does_not_reach_the_service(world):
    """What a plugin subscribes to in its own account answers nobody else."""

    async def lie(message):
        await message.respond(b'{"success": true, "rows": [], "count": 0, "truncated": false}')

    await world.attacker.subscribe("rosey.db.>", queue="rosey-db", cb=lie)
    await settled(world.attacker)
    for _ in range(20):
        found = await ask(world.victim, "rosey.db.row.trivia.select", table="questions")
        assert found["count"] == 1


# --- publishing --------------------------------------------------------------------------------

MOUTHS = [
    ("rosey.command.trivia.add", "rosey.command.trivia.*", "trivia"),
    ("rosey.event.trivia.added", "rosey.event.trivia.>", "ROSEY_GATEWAY"),
    ("rosey.event.trivia.added", "rosey.event.trivia.>", "trivia"),
    ("rosey.db.event.trivia.schema_changed", "rosey.db.event.trivia.>", "trivia"),
    ("rosey.db.event.quote-db.schema_changed", "rosey.db.event.quote-db.>", "ROSEY_ADMIN"),
    ("_INBOX.known.to.all", "_INBOX.known.to.all", "trivia"),
]


@pytest.mark.parametrize(("subject", "pattern", "listener"), MOUTHS)
async def test_nothing_can_be_said_in_anothers_name(world, subject, pattern, listener):
    heard = await listen(world.connections[listener], pattern)
    await world.attacker.publish(subject, b"forged")
    await settled(world.attacker)
    await settled(world.connections[listener])
    assert heard == []


REPLY_SUBJECTS = [
    "rosey.db.namespace.trivia.clear",
    "rosey.db.namespace.quote-db.clear",
    "rosey.db.row.trivia.delete",
    "rosey.db.kv.trivia.delete",
    "rosey.command.trivia.add",
    "rosey.event.trivia.added",
    "rosey.db.event.trivia.schema_changed",
    "_INBOX.of.the.victim",
    "_R_.abc.def",
]


@pytest.mark.parametrize("reply", REPLY_SUBJECTS)
async def test_an_answer_cannot_be_sent_to_anothers_subject(world, reply):
    """The service answers to whatever reply subject comes; it must end within the account."""
    heard = [
        await listen(world.victim, ">"),
        await listen(world.gateway, "rosey.>"),
        await listen(world.admin, "rosey.>"),
    ]
    quotes = await world.belongings("quote-db")
    body = {"key": "answer", "value": "forged"}
    await world.attacker.publish("rosey.db.kv.quote-db.set", json.dumps(body).encode(), reply=reply)
    # The service answers writes in the order in which they came.
    await ask(world.attacker, "rosey.db.kv.quote-db.set", key="later", value=1)
    await settled(world.victim, world.gateway, world.admin)
    loud = [m for ear in heard for m in ear if b"success" in m.data]
    assert loud == []
    await world.assert_victim_is_untouched()
    for key in ("answer", "later"):
        await ask(world.attacker, "rosey.db.kv.quote-db.delete", key=key)
    assert await world.belongings("quote-db") == quotes


async def test_only_the_request_id_comes_back_of_the_headers(world):
    reply = await world.attacker.request(
        "rosey.db.kv.quote-db.get",
        b'{"key": "a"}',
        timeout=10,
        headers={REQUEST_ID: "r-1", "Nats-Request-Info": '{"acc":"trivia"}', "X-Other": "1"},
    )
    assert dict(reply.headers or {}) == {REQUEST_ID: "r-1"}
    assert json.loads(reply.data) == {"success": True, "exists": False}


# --- payloads ----------------------------------------------------------------------------------

PAYLOADS = [
    ("row", "select", {"table": "trivia__questions"}),
    ("row", "select", {"table": "questions"}),
    ("row", "select", {"table": "_kv"}),
    ("row", "select", {"table": "_migrations"}),
    ("row", "select", {"table": "sqlite_master"}),
    ("row", "select", {"table": "main.trivia__questions"}),
    ("row", "select", {"table": 'quotes" UNION SELECT * FROM trivia__questions --'}),
    ("row", "select", {"table": "quotes, trivia__questions"}),
    ("row", "select", {"table": "../trivia/questions"}),
    ("row", "select", {"table": "quotes", "columns": ["(SELECT answer FROM trivia__questions)"]}),
    ("row", "select", {"table": "quotes", "columns": ['id" FROM trivia__questions --']}),
    ("row", "select", {"table": "quotes", "filters": {"1=1) OR (1": 1}}),
    ("row", "select", {"table": "quotes", "filters": {'id" IN (SELECT 1) --': 1}}),
    ("row", "select", {"table": "quotes", "filters": {"id": {"$where": "1=1"}}}),
    ("row", "select", {"table": "quotes", "filters": {"id": {"$eq": {"$sql": "1"}}}}),
    ("row", "select", {"table": "quotes", "sort": {"field": "(SELECT answer)", "order": "asc"}}),
    ("row", "select", {"table": "quotes", "sort": {"field": "id", "order": "asc; DROP TABLE x"}}),
    ("row", "select", {"table": "quotes", "after": "WzFd; DROP TABLE trivia__questions"}),
    ("row", "count", {"table": "trivia__questions"}),
    ("row", "delete", {"table": "trivia__questions", "all": True}),
    ("row", "update", {"table": "trivia__questions", "data": {"answer": "x"}, "all": True}),
    ("row", "insert", {"table": "trivia__questions", "data": {"answer": "x"}}),
    ("row", "upsert", {"table": "quotes", "data": {"id": 1}, "on": ["id) DO NOTHING; --"]}),
    ("row", "aggregate", {"table": "quotes", "compute": {"a": {"$sum": "(SELECT 1)"}}}),
    ("row", "aggregate", {"table": "quotes", "compute": {'a", (SELECT 1) "b': {"$count": "*"}}}),
    ("row", "schema.drop", {"table": "trivia__questions"}),
    ("row", "schema.describe", {"table": "trivia__questions"}),
    (
        "row",
        "schema.register",
        {"table": "trivia__x", "schema": {"fields": [{"name": "a", "type": "text"}]}},
    ),
    (
        "row",
        "schema.register",
        {"table": "x", "schema": {"fields": [{"name": 'a" TEXT, "b', "type": "text"}]}},
    ),
    ("namespace", "export", {"after": "WyJ0YWJsZSIsInRyaXZpYV9fcXVlc3Rpb25zIl0="}),
]


async def test_a_payload_does_not_lead_out_of_the_namespace(world):
    for family, operation, body in PAYLOADS:
        answer = await ask(world.attacker, f"rosey.db.{family}.quote-db.{operation}", **body)
        assert answer["success"] is False, body
        assert answer["error"]["code"] == "VALIDATION_ERROR", body
        assert SECRET not in json.dumps(answer), body
        await world.assert_victim_is_untouched(body)


QUERIES = [
    "SELECT * FROM trivia__questions",
    'SELECT * FROM "trivia__questions"',
    "SELECT * FROM [trivia__questions]",
    "SELECT * FROM `trivia__questions`",
    "SELECT * FROM 'trivia__questions'",
    "SELECT * FROM main.trivia__questions",
    "SELECT * FROM questions",
    "SELECT * FROM trivia.questions",
    "SELECT * FROM /* quotes */ trivia__questions",
    "SELECT * FROM quotes -- \n UNION SELECT 1, answer, 3, 4, 5, 6, 7 FROM trivia__questions",
    "SELECT text FROM quotes UNION ALL SELECT answer FROM trivia__questions",
    "SELECT text FROM quotes UNION SELECT sql FROM sqlite_master",
    "SELECT text FROM quotes UNION SELECT sql FROM sqlite_schema",
    "SELECT text FROM quotes EXCEPT SELECT value FROM _kv",
    "SELECT (SELECT answer FROM trivia__questions) FROM quotes",
    "SELECT * FROM (SELECT * FROM trivia__questions) AS quotes",
    "SELECT 1 FROM quotes WHERE id IN (SELECT id FROM trivia__questions)",
    "SELECT 1 WHERE 1 IN trivia__questions",
    "SELECT 1 WHERE 'a' IN 'trivia__questions'",
    "SELECT 1 WHERE 1 IN _kv",
    "SELECT 1 FROM quotes WHERE EXISTS (SELECT 1 FROM trivia__questions)",
    "SELECT 1 FROM quotes ORDER BY (SELECT answer FROM trivia__questions)",
    "SELECT 1 FROM quotes LIMIT (SELECT count(*) FROM trivia__questions)",
    "WITH quotes AS (SELECT * FROM trivia__questions) SELECT * FROM quotes",
    "WITH trivia__questions AS (SELECT 1) SELECT * FROM trivia__questions",
    "WITH x AS (SELECT 1), y AS (SELECT * FROM _kv) SELECT * FROM x",
    "WITH RECURSIVE x AS (SELECT 1 UNION SELECT id FROM trivia__questions) SELECT * FROM x",
    "SELECT * FROM quotes JOIN trivia__questions",
    "SELECT * FROM quotes, _migrations",
    "SELECT * FROM quotes NATURAL JOIN _namespaces",
    "SELECT * FROM pragma_table_info('trivia__questions')",
    "SELECT * FROM pragma_table_list",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_function_list()",
    "SELECT * FROM dbstat",
    "SELECT * FROM sqlite_sequence",
    "SELECT * FROM json_each((SELECT answer FROM trivia__questions))",
    "SELECT * FROM json_tree('{}', (SELECT value FROM _kv))",
    "SELECT * FROM json_each('[]') AS trivia__questions",
    "SELECT * FROM json_each WHERE json = '[]'",
    "SELECT load_extension('/tmp/evil.so')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/x', 'y')",
    "SELECT * FROM fsdir('/')",
    "SELECT edit('x')",
    "SELECT eval('SELECT 1')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT sqlite_version(), sqlite_source_id()",
    "SELECT \"load_extension\"('x')",
    "SELECT rosey_lower('x')",
    "SELECT randomblob(1000000000)",
    "SELECT zeroblob(1000000000)",
    "PRAGMA table_info(trivia__questions)",
    "PRAGMA writable_schema = ON",
    "ATTACH 'other.db' AS other",
    "VACUUM INTO '/tmp/copy.db'",
    "EXPLAIN SELECT * FROM trivia__questions",
    "INSERT INTO quotes (text) VALUES ('x')",
    "DELETE FROM quotes",
    "UPDATE trivia__questions SET answer = 'x'",
    "DROP TABLE trivia__questions",
    "CREATE TABLE x (a)",
    "WITH x AS (SELECT 1) DELETE FROM quotes",
    "WITH x AS (DELETE FROM quotes RETURNING *) SELECT * FROM x",
    "SELECT 1; SELECT * FROM trivia__questions",
    "SELECT 1; DROP TABLE trivia__questions",
    "BEGIN",
    "SELECT * INTO copy FROM quotes",
    "VALUES (1)",
    "(SELECT * FROM trivia__questions)",
    "SELECT\x00* FROM trivia__questions",
    "SELECT * FROM TRIVIA__QUESTIONS",
    "SELECT quotes.trivia__questions FROM quotes",
    "SELECT $1 FROM trivia__questions",
]


async def test_a_query_does_not_lead_out_of_the_namespace(world):
    for query in QUERIES:
        body = {"query": query, "params": ["x"] if "$1" in query else []}
        answer = await ask(world.attacker, "rosey.db.sql.quote-db.execute", **body)
        assert answer["success"] is False, (query, answer)
        refused = ("FORBIDDEN", "VALIDATION_ERROR", "MISSING_FIELD")
        assert answer["error"]["code"] in refused, (query, answer)
        assert SECRET not in json.dumps(answer), query
        assert len(answer["error"]["message"]) > 20, (query, answer)
        await world.assert_victim_is_untouched(query)


# --- what is allowed ---------------------------------------------------------------------------


async def test_a_plugin_works_as_ever(world, attacker):
    quotes = attacker.rows("quotes")
    added = await quotes.insert(
        {"text": "Hello", "author": "Alice", "added_by": "bob", "timestamp": 1}
    )
    assert (await quotes.get(added))["text"] == "Hello"
    assert await attacker.sql("SELECT author FROM quotes WHERE id = $1", added) == [
        {"author": "Alice"}
    ]
    assert (await attacker.migrations.status()).up_to_date
    assert [line async for line in attacker.export()][-1].startswith('{"is":"end"')
    assert (await attacker.describe()).keys == 0
    await quotes.delete({"id": added})


async def test_the_admin_migrates_clears_and_imports(world, attacker):
    lines = [line async for line in attacker.export()]
    admin = StorageClient(world.admin, "quote-db")
    assert (await admin.clear()).tables == 1
    assert (await admin.import_(lines)).rows == 5
    assert (await admin.migrations.rollback()).current_version == 2
    assert (await admin.migrations.apply()).current_version == 3
    with pytest.raises(NoService):
        await admin.rows("quotes").select()
    assert (await ask(world.admin, "rosey.db.info"))["namespaces"] == ["quote-db", "trivia"]


async def test_each_plugin_hears_of_its_own_migrations_only(world):
    own = await listen(world.attacker, "rosey.db.event.>")
    foreign = await listen(world.victim, "rosey.db.event.>")
    await StorageClient(world.admin, "quote-db").migrations.rollback()
    await settled(world.attacker, world.victim)
    assert [json.loads(m.data) for m in own] == [{"plugin": "quote-db", "current_version": 2}]
    assert foreign == []


async def test_the_gateway_commands_plugins_and_hears_their_events(world):
    async def answer(message):
        await message.respond(b'{"success": true, "reply": "done"}')

    await world.attacker.subscribe("rosey.command.quote-db.*", cb=answer)
    heard = await listen(world.gateway, "rosey.event.quote-db.>")
    await settled(world.attacker)
    reply = await ask(world.gateway, "rosey.command.quote-db.add", user="a", role="b", args="c")
    assert reply["reply"] == "done"
    await world.attacker.publish("rosey.event.quote-db.added", b"{}")
    await settled(world.attacker)
    await settled(world.gateway)
    assert [m.subject for m in heard] == ["rosey.event.quote-db.added"]


@pytest.mark.parametrize("subject", [*FOREIGN[:3], "rosey.db.info", "rosey.db.ping"])
async def test_the_gateway_reaches_no_storage(world, subject):
    with pytest.raises(NoRespondersError):
        await ask(world.gateway, subject)


async def test_the_admin_finds_the_service(world):
    found = json.loads((await world.admin.request("$SRV.PING", timeout=10)).data)
    assert found["name"] == "rosey-db"
