"""The SQL tier: what it answers, what it refuses and why (SPEC 3.8)."""
# ruff: noqa: E501 - a query and what it gives stand in one line

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlglot.dialects.dialect import Dialect as Grammar

from dbservice.client import Forbidden, StorageClient, StorageError, ValidationError
from dbservice.embedded import Stack
from dbservice.engine.errors import EngineError, StatementTimeoutError
from dbservice.engine.sqlite import SqliteEngine
from dbservice.engine.steps import ReadPolicy, Result, Statement, Steps
from dbservice.protocol import RequestError
from dbservice.protocol.limits import MAX_QUERY_WORDS
from dbservice.sql.query import Query, _parser
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.policy import POLICIES

FIELDS = [
    {"name": "text", "type": "text"},
    {"name": "author", "type": "text"},
    {"name": "score", "type": "integer"},
    {"name": "rating", "type": "float"},
    {"name": "active", "type": "boolean"},
    {"name": "seen", "type": "datetime"},
    {"name": "tags", "type": "json"},
    {"name": "order", "type": "text"},
]
ROWS = [
    {"text": "It's 1", "author": "Zoë", "score": 5, "rating": 1.5, "active": True, "order": "a"},
    {"text": "two", "author": "Bob", "score": None, "active": False, "tags": ["x", {"y": 1}]},
    {"text": "a?b$1--c/*d*/", "author": "Bob", "score": 9, "seen": "2024-02-29T12:00:00Z"},
]


@pytest.fixture(params=["memory", "file", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("empty_postgres")
    return "sqlite+aiosqlite://" + (f"/{tmp_path / 'a.db'}" if request.param == "file" else "")


@pytest.fixture
async def stack(database_url: str) -> AsyncIterator[Stack]:
    async with Stack(database_url=database_url, migrations=[]) as stack:
        yield stack


@pytest.fixture
async def storage(stack: Stack) -> StorageClient:
    storage = StorageClient(await stack.connect(), "quote-db", timeout=20)
    await storage.rows("quotes").register(FIELDS)
    await storage.rows("quotes").insert_many(ROWS)
    await storage.rows("votes").register(
        [{"name": "quote", "type": "integer"}, {"name": "by", "type": "text"}]
    )
    await storage.rows("votes").insert_many(
        [{"quote": q, "by": b} for q, b in ((1, "a"), (1, "b"))]
    )
    return storage


@pytest.fixture
def dialect(stack: Stack) -> Dialect:
    return stack.service.database.engine.dialect


ANSWERED = [
    ("SELECT id FROM quotes ORDER BY id", (), [{"id": 1}, {"id": 2}, {"id": 3}]),
    ("select ID from QUOTES where ID = 2;", (), [{"id": 2}]),
    ("SELECT text FROM quotes WHERE id = $1", (1,), [{"text": "It's 1"}]),
    ("SELECT id FROM quotes WHERE author = $2 AND score > $1", (3, "Bob"), [{"id": 3}]),
    ("SELECT id FROM quotes WHERE text = $1 OR author = $1", ("two",), [{"id": 2}]),
    ("SELECT id FROM quotes WHERE text = 'It''s 1'", (), [{"id": 1}]),
    ("SELECT id FROM quotes WHERE text = 'a?b$1--c/*d*/'", (), [{"id": 3}]),
    ("SELECT id -- the id\nFROM /* all */ quotes WHERE id=/**/1", (), [{"id": 1}]),
    ("SELECT q.id FROM quotes q WHERE q.score = 5", (), [{"id": 1}]),
    ("SELECT quotes.id FROM quotes WHERE quotes.score = 5", (), [{"id": 1}]),
    ("SELECT q.id AS n FROM quotes AS q WHERE q.id <= 1", (), [{"n": 1}]),
    ('SELECT "order" FROM "quotes" WHERE id = 1', (), [{"order": "a"}]),
    (
        "SELECT active, tags FROM quotes WHERE id = 2",
        (),
        [{"active": False, "tags": ["x", {"y": 1}]}],
    ),
    ("SELECT seen AS at FROM quotes WHERE id = 3", (), [{"at": "2024-02-29T12:00:00.000000Z"}]),
    ("SELECT x.active AS a FROM (SELECT * FROM quotes) AS x WHERE x.id = 1", (), [{"a": True}]),
    ("WITH x AS (SELECT active FROM quotes WHERE id = 1) SELECT * FROM x", (), [{"active": True}]),
    ("SELECT count(*) AS n, max(score) AS m FROM quotes", (), [{"n": 3, "m": 9}]),
    (
        "SELECT author, count(*) AS n FROM quotes GROUP BY author HAVING count(*) > 1",
        (),
        [{"author": "Bob", "n": 2}],
    ),
    (
        "SELECT q.id, v.by FROM quotes q JOIN votes v ON v.quote = q.id ORDER BY v.by",
        (),
        [{"id": 1, "by": "a"}, {"id": 1, "by": "b"}],
    ),
    (
        "SELECT q.id, v.by FROM quotes q LEFT JOIN votes v ON v.quote = q.id WHERE q.id = 2",
        (),
        [{"id": 2, "by": None}],
    ),
    ("SELECT id FROM quotes WHERE id IN (SELECT quote FROM votes)", (), [{"id": 1}]),
    (
        "SELECT id FROM quotes q WHERE NOT EXISTS (SELECT 1 FROM votes v WHERE v.quote = q.id) ORDER BY 1",
        (),
        [{"id": 2}, {"id": 3}],
    ),
    (
        "SELECT (SELECT count(*) FROM votes WHERE votes.quote = quotes.id) AS n FROM quotes ORDER BY id LIMIT 1",
        (),
        [{"n": 2}],
    ),
    ("SELECT id FROM quotes UNION SELECT 7 ORDER BY 1 DESC LIMIT 2", (), [{"id": 7}, {"id": 3}]),
    (
        "SELECT id FROM quotes EXCEPT SELECT quote FROM votes ORDER BY id",
        (),
        [{"id": 2}, {"id": 3}],
    ),
    ("WITH quotes AS (SELECT 8 AS id) SELECT id FROM quotes", (), [{"id": 8}]),
    ("WITH quotes AS (SELECT id FROM quotes WHERE id = 3) SELECT id FROM quotes", (), [{"id": 3}]),
    ("WITH a AS (SELECT 1 AS n), b AS (SELECT n + 1 AS n FROM a) SELECT n FROM b", (), [{"n": 2}]),
    (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3) SELECT n FROM c",
        (),
        [{"n": 1}, {"n": 2}, {"n": 3}],
    ),
    (
        "SELECT CASE WHEN score > 5 THEN 'high' ELSE 'low' END AS c FROM quotes WHERE id = 3",
        (),
        [{"c": "high"}],
    ),
    ("SELECT coalesce(score, -1) AS s FROM quotes WHERE id = 2", (), [{"s": -1}]),
    (
        "SELECT row_number() OVER (PARTITION BY author ORDER BY id) AS r FROM quotes ORDER BY id",
        (),
        [{"r": 1}, {"r": 1}, {"r": 2}],
    ),
    ("SELECT sum(score) FILTER (WHERE author = 'Bob') AS s FROM quotes", (), [{"s": 9}]),
    (
        "SELECT upper(author) AS u FROM quotes WHERE author LIKE 'B%' AND id BETWEEN 1 AND 2",
        (),
        [{"u": "BOB"}],
    ),
    ("SELECT CAST(score AS text) AS s FROM quotes WHERE id = 1", (), [{"s": "5"}]),
    ("SELECT 1.5e0 AS a, 2 * (3 + 4) AS b, 'x' || 'y' AS c", (), [{"a": 1.5, "b": 14, "c": "xy"}]),
    (
        "SELECT DISTINCT author FROM quotes ORDER BY author",
        (),
        [{"author": "Bob"}, {"author": "Zoë"}],
    ),
    (
        "SELECT id FROM quotes WHERE score IS NOT NULL ORDER BY score DESC LIMIT 1 OFFSET 1",
        (),
        [{"id": 1}],
    ),
    ("SELECT id FROM quotes WHERE id = 99", (), []),
]

OF_ONE_ENGINE = {
    Dialect.SQLITE: [
        ("SELECT value FROM quotes, json_each(quotes.tags) AS t WHERE quotes.id = 2 AND t.type = 'text'", [{"value": "x"}]),
        ("SELECT json_extract(tags, '$[1].y') AS y FROM quotes WHERE id = 2", [{"y": 1}]),
        ("SELECT tags ->> '$[0]' AS y FROM quotes WHERE id = 2", [{"y": "x"}]),
        ("SELECT strftime('%Y', seen) AS y FROM quotes WHERE id = 3", [{"y": "2024"}]),
        ("SELECT iif(score > 5, 'a', 'b') AS y, ifnull(score, 0) AS z FROM quotes WHERE id = 3", [{"y": "a", "z": 9}]),
        ("SELECT group_concat(id, '+') AS g FROM quotes", [{"g": "1+2+3"}]),
        ("SELECT id FROM quotes WHERE author GLOB 'B*' AND [order] IS NULL AND `id` = 2", [{"id": 2}]),
        ("SELECT rowid AS r FROM quotes WHERE quotes.rowid = 2", [{"r": 2}]),
        ("SELECT count(*) AS n FROM json_each('[1,2]')", [{"n": 2}]),
    ],
    Dialect.POSTGRESQL: [
        ("SELECT t.value AS v FROM quotes, jsonb_array_elements(tags) AS t(value) WHERE id = 2", None),
        ("SELECT tags -> 1 ->> 'y' AS y FROM quotes WHERE id = 2", [{"y": "1"}]),
        ("SELECT extract(year FROM seen)::int AS y FROM quotes WHERE id = 3", [{"y": 2024}]),
        ("SELECT date_trunc('month', seen) AS y FROM quotes WHERE id = 3", [{"y": "2024-02-01T00:00:00.000000Z"}]),
        ("SELECT string_agg(id::text, '+' ORDER BY id) AS g FROM quotes", [{"g": "1+2+3"}]),
        ("SELECT id FROM quotes WHERE author ILIKE 'b%' AND id = ANY(ARRAY[2, 7])", [{"id": 2}]),
        ("SELECT n FROM generate_series(1, 3) AS n WHERE n > 2", [{"n": 3}]),
        ("SELECT u FROM unnest(ARRAY['a']) AS u", [{"u": "a"}]),
        ("SELECT avg(score)::numeric AS a FROM quotes", [{"a": 7}]),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("query", "params", "rows"), ANSWERED)
async def test_a_query_is_answered(storage, query, params, rows):
    assert await storage.sql(query, *params) == rows


async def test_each_engine_has_its_own_sql(storage, dialect):
    for query, rows in OF_ONE_ENGINE[dialect]:
        found = await storage.sql(query)
        assert found == rows if rows is not None else len(found) == 2, query


async def ask(stack: Stack, **body: object) -> dict:
    payload = json.dumps(body).encode()
    return json.loads(await stack.service.execute("rosey.db.sql.quote-db.execute", payload))


async def test_the_reply_names_the_columns_in_their_order(stack, storage):
    assert await ask(stack, query="SELECT text, id FROM quotes WHERE id < 0") == {
        "success": True,
        "columns": ["text", "id"],
        "rows": [],
        "count": 0,
        "truncated": False,
    }


async def test_rows_are_limited_and_the_reply_says_so(stack, storage):
    many = (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000) "
        "SELECT n FROM c"
    )
    for limit, count, truncated in ((2, 2, True), (2000, 1000, True), (None, 1000, True)):
        answer = await ask(stack, query=many, **({} if limit is None else {"limit": limit}))
        assert (answer["count"], answer["truncated"]) == (count, truncated)
        assert len(answer["rows"]) == count
    answer = await ask(stack, query=many + " LIMIT 1000")
    assert (answer["count"], answer["truncated"]) == (1000, False)


OUTSIDE = "outside this plugin's namespace"
ENGINE = "belongs to the database engine"
ONE = "one SELECT"
NO_CALL = "not among the functions and types that a plugin may use"

REFUSED = [
    ("SELECT * FROM trivia__questions", Forbidden, OUTSIDE),
    ("SELECT * FROM quote_db__quotes", Forbidden, "bare names"),
    ('SELECT * FROM "trivia__questions"', Forbidden, OUTSIDE),
    ("SELECT * FROM _kv", Forbidden, "belong to the service"),
    ("SELECT id AS _x FROM quotes", Forbidden, "belong to the service"),
    ("SELECT id FROM quotes AS a__b", Forbidden, OUTSIDE),
    ("WITH a__b AS (SELECT 1) SELECT 1", Forbidden, OUTSIDE),
    ("SELECT * FROM sqlite_master", Forbidden, ENGINE),
    ("SELECT * FROM SQLite_Schema", Forbidden, ENGINE),
    ("SELECT * FROM pg_class", Forbidden, ENGINE),
    ("SELECT * FROM information_schema.tables", Forbidden, ENGINE),
    ("SELECT * FROM main.quotes", Forbidden, "without a schema"),
    ("SELECT * FROM public.quotes", Forbidden, "without a schema"),
    ("SELECT main.quotes.id FROM quotes", Forbidden, "without a schema"),
    ("SELECT * FROM nothing", ValidationError, "not registered for plugin 'quote-db'"),
    ("SELECT * FROM qoutes", ValidationError, "Did you mean 'quotes'"),
    ("SELECT * FROM 'nothing'", ValidationError, "not registered"),
    ("SELECT quotes.scoer FROM quotes", ValidationError, "Did you mean 'score'"),
    ("SELECT q.scoer FROM quotes AS q", ValidationError, "not in schema"),
    ("SELECT id FROM quotes WHERE id IN (SELECT v.nope FROM votes v)", ValidationError, "nope"),
    ("SELECT nope FROM quotes", ValidationError, "nope"),
    ('SELECT "nope" FROM quotes', ValidationError, "nope"),
    ("SELECT id FROM quotes, votes", ValidationError, "ambiguous"),
    ("SELECT 1 AS a, 2 AS a", ValidationError, "Two columns of the result are called 'a'"),
    ("SELECT 1 WHERE 1 IN quotes", (Forbidden, ValidationError), ""),
    ("DELETE FROM quotes", Forbidden, ONE),
    ("INSERT INTO quotes (text) VALUES ('x')", Forbidden, ONE),
    ("UPDATE quotes SET score = 1", Forbidden, ONE),
    ("DROP TABLE quotes", Forbidden, ONE),
    ("PRAGMA table_info(quotes)", Forbidden, ONE),
    ("EXPLAIN SELECT 1", Forbidden, ONE),
    ("VALUES (1)", Forbidden, ONE),
    ("TABLE quotes", Forbidden, ONE),
    ("BEGIN", Forbidden, ONE),
    ("COPY quotes TO PROGRAM 'sh'", Forbidden, ONE),
    ("SET search_path = x", Forbidden, ONE),
    ("(SELECT 1)", Forbidden, ONE),
    ("WITH x AS (SELECT 1) DELETE FROM quotes", Forbidden, "only reads"),
    ("WITH x AS (DELETE FROM quotes RETURNING *) SELECT * FROM x", Forbidden, "only reads"),
    ("WITH x AS (UPDATE quotes SET score = 1 RETURNING *) SELECT * FROM x", Forbidden, "only reads"),
    ("WITH x AS (INSERT INTO quotes (text) VALUES ('a') RETURNING *) SELECT * FROM x", Forbidden, "refused"),
    ("SELECT * INTO copy FROM quotes", Forbidden, "INTO"),
    ("SELECT 1; SELECT 2", Forbidden, "one statement"),
    ("SELECT 1; DROP TABLE quotes", Forbidden, "one statement"),
    ("", (StorageError,), ""),
    (";", ValidationError, "empty"),
    ("-- nothing", ValidationError, "empty"),
    ("SELECT", ValidationError, ""),
    ("SELECT FROM WHERE", ValidationError, "cannot be read"),
    ("SELECT 'unfinished", ValidationError, "cannot be read"),
    ("SELECT /* unfinished", (ValidationError,), ""),
    ("SELECT (((", ValidationError, "cannot be read at line 1"),
    ("SELECT " + "(" * 4000 + "1" + ")" * 4000, ValidationError, ""),
    ("SELECT " + "NOT " * 2400 + "1", ValidationError, ""),
    ("SELECT '" + "x" * 10_000 + "'", ValidationError, "length"),
    ("SELECT load_extension('x')", Forbidden, NO_CALL),
    ("SELECT \"load_extension\"('x')", Forbidden, NO_CALL),
    ("SELECT load_extension/**/('x')", Forbidden, NO_CALL),
    ("SELECT readfile('/etc/passwd')", Forbidden, NO_CALL),
    ("SELECT query_to_xml('SELECT 1', true, true, '')", Forbidden, NO_CALL),
    ("SELECT set_config('a', 'b', false)", Forbidden, NO_CALL),
    ("SELECT * FROM dblink('x', 'SELECT 1') AS (a int)", Forbidden, NO_CALL),
    ("SELECT 1 FROM quotes, dblink('x', 'y') AS t(a)", Forbidden, NO_CALL),
    ("SELECT 1, lo_import('x') AS (a)", (Forbidden, ValidationError), ""),
    ("SELECT pg_read_file('/etc/passwd')", Forbidden, ENGINE),
    ("SELECT pg_sleep(10)", Forbidden, ENGINE),
    ("SELECT * FROM pragma_table_info('quotes')", Forbidden, ENGINE),
    ("SELECT * FROM pragma_table_list", Forbidden, ENGINE),
    ("SELECT zeroblob(10), randomblob(10)", Forbidden, NO_CALL),
    ("SELECT rosey_lower('x')", Forbidden, NO_CALL),
    ("SELECT nextval('x')", Forbidden, NO_CALL),
    ("SELECT version()", Forbidden, NO_CALL),
    ("SELECT ?", ValidationError, ""),
    ("SELECT ?1", ValidationError, ""),
    ("SELECT :name", ValidationError, ""),
    ("SELECT @name", ValidationError, ""),
    ("SELECT $name", ValidationError, ""),
    ("SELECT $0", ValidationError, "not a parameter"),
    ("SELECT $101", ValidationError, "not a parameter"),
    ("SELECT x'00'", ValidationError, "not a plain string"),
    ("SELECT {{ x }}", ValidationError, ""),
    ("SELECT \u0000 1", ValidationError, ""),
]  # fmt: skip

REFUSED_ON_POSTGRESQL = [
    ("SELECT * FROM quotes FOR UPDATE", "only reads"),
    ("SELECT current_user", "something that the engine computes"),
    ("SELECT 'pg_class'::regclass", ENGINE),
    ("SELECT CAST('1' AS regproc)", ENGINE),
    ("SELECT E'\\x41'", "plain string"),
    ("SELECT $$x$$", "plain string"),
    ("SELECT U&'d'", "plain string|does not exist"),
    ('SELECT U&"\\0069d" FROM quotes', "refused|cannot|exist"),
    ('SELECT * FROM U&"\\005fkv"', "refused|cannot|registered|valid"),
    ('SELECT U&"pg\\005fsleep"(1)', "refused|cannot"),
    ("SELECT quotes.row_to_json FROM quotes", "not in schema"),
    ("SELECT (quotes).id FROM quotes", "refused"),
    ("SELECT (quotes.*).id FROM quotes", "refused"),
    ("SELECT * FROM quotes TABLESAMPLE SYSTEM (1)", "refused"),
    ("SELECT * FROM ROWS FROM (generate_series(1, 2))", "refused|cannot"),
]


@pytest.mark.parametrize(("query", "error", "told"), REFUSED)
@pytest.mark.parametrize("database_url", ["memory", "postgres"], indirect=True)
async def test_a_query_is_refused_with_the_reason(storage, query, error, told):
    with pytest.raises(error) as refused:
        await storage.sql(query)
    message = str(refused.value)
    assert told in message
    assert len(message) > 15
    for secret in ("quote_db__", "Traceback", "sqlglot", "\x1b", "answer LIMIT"):
        assert secret in query or secret not in message
    assert await storage.rows("quotes").count() == 3


@pytest.mark.parametrize(("query", "told"), REFUSED_ON_POSTGRESQL)
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_postgresql_refuses_more(storage, query, told):
    with pytest.raises((Forbidden, ValidationError), match=told):
        await storage.sql(query)


@pytest.mark.parametrize(
    ("query", "params", "told"),
    [
        ("SELECT $1", [], "up to $1, and 'params' has 0"),
        ("SELECT $2", [1], "up to $2, and 'params' has 1"),
        ("SELECT 1", [1], "up to $0, and 'params' has 1"),
        ("SELECT $1", [[1]], "is array"),
        ("SELECT $1", [{"a": 1}], "is object"),
        ("SELECT $1", ["a\u0000b"], "NUL"),
        ("SELECT $1", [2**63], "64 bits"),
        ("SELECT 1", [0] * 101, "length"),
    ],
)
async def test_parameters_are_checked(stack, storage, query, params, told):
    error = (await ask(stack, query=query, params=params))["error"]
    assert error["code"] == "VALIDATION_ERROR"
    assert told in error["message"]


@pytest.mark.parametrize("database_url", ["memory"], indirect=True)
@pytest.mark.parametrize("value", ["x' OR '1'='1", "$2", "?", "'; DROP TABLE x; --", None, 7])
async def test_a_parameter_is_a_value_and_nothing_else(storage, value):
    assert await storage.sql("SELECT id FROM quotes WHERE text = $1", value) == []
    assert await storage.sql("SELECT $1 AS v", value) == [{"v": value}]


@pytest.mark.parametrize("database_url", ["memory", "file"], indirect=True)
async def test_what_json_does_not_have(storage):
    with pytest.raises(ValidationError, match="has inf in column 'x'"):
        await storage.sql("SELECT 9e999 AS x")
    assert await storage.sql("SELECT CAST('a' AS BLOB) AS x") == [{"x": "YQ=="}]


@pytest.mark.parametrize("database_url", ["memory", "file"], indirect=True)
async def test_a_query_cannot_compute_a_huge_text(storage):
    with pytest.raises(ValidationError, match="too big"):
        await storage.sql("SELECT length(replace(printf('%4000000d', 1), ' ', 'xx')) AS n")
    assert await storage.sql("SELECT length(printf('%1000d', 1)) AS n") == [{"n": 1000}]


async def test_a_query_that_takes_too_long_is_stopped(tmp_path):
    engine = SqliteEngine(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}", statement_timeout=0.05)
    await engine.open()
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n FROM c) SELECT count(*) FROM c"
    with pytest.raises(StatementTimeoutError):
        await engine.read(lambda: run(endless, names={"c"}), scan=True)
    assert (await engine.read(lambda: run("SELECT 1"), scan=True)).rows == [(1,)]
    await engine.close()


def run(sql: str, names: set[str] | None = None) -> Steps[Result]:
    return (
        yield Statement(
            sql, (), ReadPolicy("quote_db__", names or set(), POLICIES[Dialect.SQLITE].functions)
        )
    )


SECOND_LOCK = [
    "SELECT * FROM trivia__questions",
    "SELECT count(*) FROM trivia__questions",
    "SELECT 1 FROM trivia__questions",
    "SELECT 1 WHERE 'a' IN trivia__questions",
    "SELECT 1 WHERE 'a' IN 'trivia__questions'",
    "SELECT * FROM _kv",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM quote_db__quotes UNION SELECT answer FROM trivia__questions",
    "WITH x AS (SELECT * FROM trivia__questions) SELECT * FROM x",
    "SELECT * FROM pragma_table_info('trivia__questions')",
    "SELECT * FROM json_tree('[]'), trivia__questions",
    "SELECT (SELECT answer FROM trivia__questions)",
    "SELECT rosey_lower('x')",
    "SELECT zeroblob(10)",
    "SELECT load_extension('x')",
    "INSERT INTO quote_db__quotes VALUES (1)",
    "DELETE FROM quote_db__quotes",
    "UPDATE quote_db__quotes SET text = 'x'",
    "DROP TABLE quote_db__quotes",
    "CREATE TABLE quote_db__x (a)",
    "CREATE TEMP TABLE x (a)",
    "PRAGMA table_info(quote_db__quotes)",
    "PRAGMA query_only = OFF",
    "ATTACH ':memory:' AS other",
    "SAVEPOINT x",
    "COMMIT",
]


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_sqlite_itself_refuses_what_the_check_would_let_through(kind, tmp_path):
    engine = SqliteEngine(
        "sqlite+aiosqlite://" + (f"/{tmp_path / 'a.db'}" if kind == "file" else "")
    )
    await engine.open()

    def tables() -> Steps[None]:
        yield Statement("CREATE TABLE quote_db__quotes (text)")
        yield Statement("CREATE TABLE trivia__questions (answer)")
        yield Statement("CREATE TABLE _kv (value)")
        yield Statement("CREATE VIEW quote_db__texts AS SELECT text FROM quote_db__quotes")

    await engine.exclusive(tables)
    for sql in SECOND_LOCK:
        with pytest.raises(EngineError, match=r"not authorized|prohibited"):
            await engine.read(lambda sql=sql: run(sql, {"x", "json_tree"}), scan=True)
    for sql in ("SELECT * FROM quote_db__texts", "SELECT upper(text) FROM quote_db__quotes"):
        assert (await engine.read(lambda sql=sql: run(sql), scan=True)).rows == []

    def unguarded() -> Steps[Result]:
        return (yield Statement("SELECT * FROM trivia__questions"))

    assert (await engine.read(unguarded, scan=True)).rows == []
    await engine.close()


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("text", [entry[0] for entry in REFUSED])
def test_a_query_is_read_or_refused_and_nothing_else_happens(dialect, text):
    with suppress(RequestError):
        tables = Query(text, dialect).tables
        assert all("__" not in name and not name.startswith("_") for name in tables)


DOUBLING = {
    "arrays": "SELECT " + "array[" * 200 + "1" + "]" * 200,
    "structs": "SELECT " + "struct(" * 200 + "a" + ")" * 200,
    "joins without conditions": "SELECT 1 FROM " + "a JOIN " * 200 + "a",
}
"""What the parser takes twice the time for with every level."""


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("text", DOUBLING.values(), ids=list(DOUBLING))
def test_a_query_that_would_be_read_for_ever_is_refused(dialect, text):
    with pytest.raises(RequestError, match=r"nested too deeply|cannot be read"):
        Query(text, dialect)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_every_query_within_a_query_is_looked_at_once(dialect):
    """Looked at twice on each level, this took longer than anybody lives."""
    nested = "SELECT * FROM " + "(SELECT * FROM " * 60 + "(SELECT 1 AS n) a" + ") a" * 60
    assert Query(nested, dialect).checked({}).types == {"n": None}


@pytest.mark.parametrize("dialect", list(Dialect))
def test_the_parser_s_steps_are_counted(dialect):
    """Should an upgrade of the parser move what is counted, this tells."""
    grammar = Grammar.get_or_raise("sqlite")
    parser = _parser(dialect)(dialect=grammar)
    parser.parse(grammar.tokenize("SELECT a, b FROM c"), "")
    assert parser.steps >= 6


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_query_has_so_many_words(dialect):
    longest = ", ".join(["1"] * (MAX_QUERY_WORDS // 2))
    assert Query(f"SELECT {longest}", dialect).tables == []
    with pytest.raises(RequestError, match=f"at most {MAX_QUERY_WORDS} are taken") as refused:
        Query(f"SELECT -{longest}", dialect)
    assert refused.value.details["reason"] == "LIMIT"


@pytest.mark.process
def test_the_parser_is_imported_by_nothing_but_a_query():
    code = (
        "import sys, dbservice.server.service, dbservice.client, dbservice.cli.app; "
        "sys.exit('sqlglot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
