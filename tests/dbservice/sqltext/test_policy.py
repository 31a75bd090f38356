"""One table of cases through both readers of plugins' SQL: migrations and the SQL tier.

A case is a SELECT. As a migration it is the body of a view; to the SQL tier it is a query. Whoever
adds a case here has it judged on both ways in, on both engines.
"""

from __future__ import annotations

import pytest

from dbservice.protocol import RequestError
from dbservice.protocol.names import namespace
from dbservice.sql.query import Query
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.lexer import SqlError, commands, tokens
from dbservice.sqltext.policy import listed
from dbservice.sqltext.qualify import qualify

BOTH = (Dialect.SQLITE, Dialect.POSTGRESQL)
SQLITE = (Dialect.SQLITE,)
POSTGRESQL = (Dialect.POSTGRESQL,)

REG_TYPES = (
    *("regclass", "regcollation", "regdictionary", "regnamespace", "regoper", "regoperator"),
    *("regproc", "regprocedure", "regrole", "regtype"),
)
NAMELESS_CALLS = (
    *("current_catalog", "current_role", "current_schema", "current_user", "session_user"),
    *("system_user", "user"),
)

REFUSED = [
    # a cast computes: the name of a table, of a role, whether there is one
    *((f"SELECT 16384::{name}", POSTGRESQL) for name in REG_TYPES),
    *((f"SELECT CAST(16384 AS {name})", POSTGRESQL) for name in REG_TYPES),
    *((f"SELECT {name} '16384'", POSTGRESQL) for name in REG_TYPES),
    *((f"SELECT {name}(16384)", POSTGRESQL) for name in REG_TYPES),
    *((f"SELECT {name} FROM quotes", POSTGRESQL) for name in REG_TYPES),
    ("SELECT 16384::RegClass::text", POSTGRESQL),
    ('SELECT 16384::"regclass"::text', POSTGRESQL),
    ("SELECT 16384 :: regclass", POSTGRESQL),
    ("SELECT 16384::regclass[]", POSTGRESQL),
    ("SELECT g::int::regclass::text FROM generate_series(16384, 17400) AS g", POSTGRESQL),
    ("SELECT CAST((SELECT CAST(1 AS int)) AS oid)", POSTGRESQL),
    ("SELECT 'x=r/y'::aclitem", POSTGRESQL),
    ("SELECT aclitem 'x=r/y'", POSTGRESQL),
    ("SELECT 'x'::name", POSTGRESQL),
    ("SELECT 'x'::xid", POSTGRESQL),
    ("SELECT 'x'::refcursor", POSTGRESQL),
    ("SELECT '(1)'::quotes", POSTGRESQL),
    ("SELECT 'x'::pg_lsn", BOTH),
    ("SELECT 'x'::public.mood", POSTGRESQL),
    ("SELECT 'x'::text.mood", POSTGRESQL),
    ("SELECT $1.to_regclass", POSTGRESQL),
    ("SELECT 'x'::other__mood", BOTH),
    # what is computed without parentheses
    *((f"SELECT {name}", POSTGRESQL) for name in NAMELESS_CALLS),
    *((f"SELECT coalesce({name}, 'x') FROM quotes", POSTGRESQL) for name in NAMELESS_CALLS),
    *((f"SELECT * FROM {name}", POSTGRESQL) for name in NAMELESS_CALLS),
    ("SELECT Current_User", POSTGRESQL),
    ("SELECT id FROM quotes WHERE author = user", POSTGRESQL),
    ("SELECT id FROM quotes ORDER BY user", POSTGRESQL),
    ("SELECT current_schema()", BOTH),
    # a dot behind a value calls: g.f is f(g) where g is a function in FROM, (x).f is f(x)
    ("SELECT g.nextval FROM unnest(ARRAY['other__t_id_seq']) AS g", POSTGRESQL),
    ("SELECT g.nextval FROM unnest(ARRAY['other__t_id_seq']) g", BOTH),
    ("SELECT unnest.to_regclass FROM unnest(ARRAY['other__t'])", BOTH),
    ("SELECT g.current_setting FROM unnest(ARRAY['port']) AS g", BOTH),
    ("SELECT g.ts_stat FROM unnest(ARRAY['SELECT 1']) AS g", BOTH),
    ("SELECT g.\"dblink\" FROM unnest(ARRAY['SELECT 1']) AS g", BOTH),
    ("SELECT g.name FROM generate_series(1, 2) AS g", POSTGRESQL),
    ("SELECT g.version FROM quotes, generate_series(1, 2) AS g", POSTGRESQL),
    ("SELECT g.lo_get FROM quotes CROSS JOIN LATERAL generate_series(1, 2) AS g", POSTGRESQL),
    ("SELECT g.lo_get FROM generate_series(1, 2) AS g(lo)", POSTGRESQL),
    ("SELECT (SELECT g.lo_get) FROM generate_series(1, 2) AS g", POSTGRESQL),
    ("SELECT ('other__t'::text).to_regclass", BOTH),
    ("SELECT (ARRAY['other__t'])[1].to_regclass", BOTH),
    ("SELECT 'other__t'.to_regclass", BOTH),
    ("SELECT (quotes).to_jsonb FROM quotes", POSTGRESQL),
    # what is called in so many words
    ("SELECT to_regclass('other__t')", BOTH),
    ("SELECT nextval('other__t_id_seq')", BOTH),
    ("SELECT set_config('a', 'b', false)", BOTH),
    ("SELECT current_setting('port')", BOTH),
    ("SELECT treat(1 AS text)", BOTH),
    ("SELECT \"load_extension\"('x')", BOTH),
    ("SELECT * FROM quotes, dblink('x', 'SELECT 1') AS d(a)", BOTH),
    ("SELECT * FROM json_to_record('{}') AS j(a text)", BOTH),
    ("SELECT query_to_xml('SELECT 1', true, true, '')", BOTH),
    ("SELECT ts_stat('SELECT 1')", BOTH),
    ("SELECT last_insert_rowid()", BOTH),
    # names of others, wherever they stand
    ("SELECT * FROM other__t", BOTH),
    ("SELECT id AS other__t FROM quotes", BOTH),
    ('SELECT "other__t"', BOTH),
    ("SELECT * FROM _kv", BOTH),
    ("SELECT * FROM pg_class", BOTH),
    ("SELECT pg_sleep(1)", BOTH),
    ("SELECT * FROM information_schema.tables", BOTH),
    ("SELECT * FROM sqlite_master", BOTH),
    ('SELECT "SQLITE_MASTER" FROM quotes', BOTH),
    ("SELECT * FROM pragma_table_list", BOTH),
    ("SELECT * FROM pragma_table_info('x')", BOTH),
    ("SELECT * FROM dbstat", BOTH),
    ('SELECT * FROM "DbStat"', BOTH),
    ("SELECT * FROM public.quotes", BOTH),
    ("SELECT * FROM main.quotes", BOTH),
    ("SELECT * FROM ROWS FROM (generate_series(1, 2)) AS g", BOTH),
]

TAKEN = [
    # a column named like what PostgreSQL computes
    ("SELECT user, current_user, session_user FROM quotes", SQLITE),
    ('SELECT "user" FROM quotes', BOTH),
    ("SELECT quotes.user FROM quotes", BOTH),
    ("SELECT q.user FROM quotes AS q WHERE q.current_role = 'x'", BOTH),
    ("SELECT author AS user FROM quotes", BOTH),
    ('SELECT "current_user" FROM quotes ORDER BY "user"', BOTH),
    ("SELECT q.x FROM (SELECT author AS x FROM quotes) AS q", BOTH),
    # types
    *(
        (f"SELECT CAST(author AS {name}) FROM quotes", BOTH)
        for name in ("text", "integer", "bigint", "numeric(10, 2)", "varchar(9)", "real", "boolean")
    ),
    *(
        (f"SELECT author::{name} FROM quotes", POSTGRESQL)
        for name in (
            *("text", "int4", "int8", "float8", "double precision", "timestamptz", "date", "jsonb"),
            *("timestamp with time zone", "character varying(9)", "uuid", "text[]", "interval"),
            *("numeric(4, 1)", "bytea", "inet", "tsvector"),
        )
    ),
    ("SELECT date '2024-02-29', timestamp with time zone '2024-02-29 12:00+02'", POSTGRESQL),
    ("SELECT interval '1 day', INTERVAL '2' HOUR", POSTGRESQL),
    ("SELECT CAST(author AS blob) FROM quotes", SQLITE),
    # words before a string that are no type
    ("SELECT CASE WHEN author LIKE 'a%' THEN 'b' ELSE 'c' END FROM quotes", BOTH),
    ("SELECT id FROM quotes WHERE author BETWEEN 'a' AND 'b' OR NOT 'x' = author", BOTH),
    ("SELECT id FROM quotes WHERE author LIKE 'a!%' ESCAPE '!'", BOTH),
    ("SELECT DISTINCT 'x' FROM quotes HAVING 'y' IS NOT NULL", BOTH),
    ("SELECT now() AT TIME ZONE 'UTC', trim(BOTH 'x' FROM author) FROM quotes", POSTGRESQL),
    ("SELECT author ILIKE 'a', author SIMILAR TO 'a' FROM quotes", POSTGRESQL),
    # moments are no secret
    ("SELECT current_date, current_time, current_timestamp", BOTH),
    ("SELECT localtime, localtimestamp(3)", POSTGRESQL),
    # columns of functions in FROM
    ("SELECT e.value, e.key FROM quotes, json_each(quotes.tags) AS e", BOTH),
    ("SELECT g.g, g FROM generate_series(1, 2) AS g", POSTGRESQL),
    ("SELECT t.word FROM quotes, unnest(tags) AS t(word)", POSTGRESQL),
    ("SELECT t.word, t.n FROM unnest(ARRAY[1]) WITH ORDINALITY AS t(word, n)", POSTGRESQL),
    ("SELECT g.g, g.ordinality FROM unnest(ARRAY[1]) WITH ORDINALITY AS g", POSTGRESQL),
    ("SELECT e.atom, e.fullkey FROM quotes, json_tree(quotes.tags) AS e", SQLITE),
    ("SELECT unnest.unnest FROM unnest(ARRAY[1])", POSTGRESQL),
    ("SELECT q.text FROM quotes AS q, generate_series(1, 2) AS g", POSTGRESQL),
    ("SELECT count.text FROM quotes AS count", BOTH),
    # functions
    ("SELECT hex(randomblob(16))", SQLITE),
    ("SELECT gen_random_uuid()", POSTGRESQL),
    ("SELECT coalesce(max(score), 0), count(*) FILTER (WHERE score > 1) FROM quotes", BOTH),
    ("SELECT row_number() OVER (PARTITION BY author ORDER BY id) FROM quotes", BOTH),
    ("WITH x(a) AS (SELECT 1) SELECT x.a FROM x", BOTH),
    ("SELECT id FROM quotes WHERE id IN (1,2)", BOTH),
]


def as_migration(select: str, dialect: Dialect) -> None:
    (command,) = commands(f"CREATE VIEW v AS {select}", dialect)
    qualify(command, namespace("quote-db"), dialect)


def as_query(select: str, dialect: Dialect) -> None:
    Query(select, dialect)


READERS = {"migration": as_migration, "query": as_query}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("select", "dialect"), [(select, dialect) for select, where in REFUSED for dialect in where]
)
def test_both_readers_refuse(select: str, dialect: Dialect, reader: str) -> None:
    with pytest.raises((SqlError, RequestError)) as caught:
        READERS[reader](select, dialect)
    assert len(str(caught.value)) > 20


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("select", "dialect"), [(select, dialect) for select, where in TAKEN for dialect in where]
)
def test_both_readers_take(select: str, dialect: Dialect, reader: str) -> None:
    READERS[reader](select, dialect)


@pytest.mark.parametrize("select", ["SELECT {}()", "SELECT 1::{}", "SELECT other__{}"])
def test_a_long_name_is_told_in_part(select: str) -> None:
    with pytest.raises(SqlError) as caught:
        as_migration(select.format("x" * 100), Dialect.POSTGRESQL)
    assert max(len(word) for word in caught.value.message.split("'")[1::2]) == 80


def test_a_field_of_a_value_is_taken_where_it_is_one() -> None:
    as_migration(
        "SELECT (jsonb_each(tags)).key, (jsonb_each(tags)).*, (array_agg(id))[1] FROM quotes",
        Dialect.POSTGRESQL,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("(a, b)", {"a", "b"}), ('(A int, "b" text[])', {"a", "b"}), ("x (a)", set()), ("", set())],
)
def test_the_columns_that_a_query_names(text: str, expected: set[str]) -> None:
    assert listed(list(tokens(text, Dialect.POSTGRESQL)), 0) == expected
    behind = list(tokens(f"x, {text}", Dialect.POSTGRESQL))
    assert listed(behind, 2) == expected, "what stands before the list is not in it"


DEFINITIONS = [
    *(f"CREATE TABLE a (x {name} DEFAULT 'other__t')" for name in REG_TYPES),
    "CREATE TABLE a (id INT, CONSTRAINT c CHECK (id > 0), x regclass)",
    "CREATE TABLE a (id INT, x aclitem)",
    "CREATE TABLE a (x public.mood)",
    "CREATE TABLE a (x quotes)",
    "CREATE TABLE a (x TEXT DEFAULT current_user)",
    "CREATE TABLE a (x TEXT DEFAULT ('other__t'::regclass)::text)",
    "CREATE TABLE a (x TEXT DEFAULT nextval('other__t_id_seq'))",
    "CREATE TABLE a (x TEXT CHECK (x <> session_user))",
    "CREATE TABLE a (x INT, y TEXT GENERATED ALWAYS AS (x::regclass::text) STORED)",
    "ALTER TABLE a ADD x regclass",
    "ALTER TABLE a ADD COLUMN IF NOT EXISTS x regrole",
    "ALTER TABLE a ADD b INT, ADD COLUMN x oid",
    "ALTER TABLE a ALTER x TYPE regclass USING x::int",
    "ALTER TABLE a ALTER COLUMN x SET DATA TYPE aclitem",
    "ALTER TABLE a ALTER COLUMN x SET DEFAULT current_user",
    "ALTER TABLE a ADD CHECK (x = user)",
    "CREATE INDEX i ON a ((x::regclass))",
    "CREATE INDEX i ON a (x) WHERE x = current_user",
    "INSERT INTO a SELECT current_user",
    "UPDATE a SET x = current_catalog",
    "DELETE FROM a WHERE x = current_role RETURNING user",
]


@pytest.mark.parametrize("sql", DEFINITIONS)
def test_a_migration_defines_nothing_that_computes_them(sql: str) -> None:
    (command,) = commands(sql, Dialect.POSTGRESQL)
    with pytest.raises(SqlError, match=r"may use on|belongs to|that the engine computes"):
        qualify(command, namespace("quote-db"), Dialect.POSTGRESQL)
