"""Bare names in, the plugin's names out; everything else refused before it runs."""

from __future__ import annotations

from contextlib import suppress

import pytest

from dbservice.protocol.names import namespace
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.keywords import FORBIDDEN_COMMANDS
from dbservice.sqltext.lexer import SqlError, commands
from dbservice.sqltext.qualify import qualify

SQLITE, POSTGRESQL = Dialect.SQLITE, Dialect.POSTGRESQL


def qualified(sql: str, dialect: Dialect, plugin: str = "quote-db") -> str:
    (command,) = commands(sql, dialect)
    return qualify(command, namespace(plugin), dialect)


# In the expected text, @ stands for the prefix.
BOTH = [
    ("SELECT 1", "SELECT 1"),
    ("SELECT * FROM quotes", "SELECT * FROM @quotes"),
    ("SELECT * FROM Quotes", "SELECT * FROM @quotes"),
    ('SELECT * FROM "quotes"', "SELECT * FROM @quotes"),
    ("SELECT * FROM @quotes", "SELECT * FROM @quotes"),
    ("SELECT * FROM QUOTE_DB__QUOTES", "SELECT * FROM @quotes"),
    ('SELECT * FROM "@quotes"', 'SELECT * FROM "@quotes"'),
    ("SELECT quotes.id FROM quotes", "SELECT @quotes.id FROM @quotes"),
    ("SELECT @quotes.id FROM quotes", "SELECT @quotes.id FROM @quotes"),
    ("SELECT q.id FROM quotes q", "SELECT q.id FROM @quotes q"),
    ("SELECT q.id FROM quotes AS q", "SELECT q.id FROM @quotes AS q"),
    ("SELECT votes.id FROM quotes AS votes", "SELECT votes.id FROM @quotes AS votes"),
    ("SELECT a.id FROM a, b, c AS x", "SELECT @a.id FROM @a, @b, @c AS x"),
    ("SELECT id, quotes FROM quotes", "SELECT id, quotes FROM @quotes"),
    ("SELECT 'FROM quotes' FROM quotes", "SELECT 'FROM quotes' FROM @quotes"),
    ("SELECT 1 FROM a -- FROM b\n, c", "SELECT 1 FROM @a -- FROM b\n, @c"),
    (
        "SELECT * FROM a LEFT JOIN b ON a.id = b.id CROSS JOIN c",
        "SELECT * FROM @a LEFT JOIN @b ON @a.id = @b.id CROSS JOIN @c",
    ),
    ("SELECT * FROM a JOIN b USING (id)", "SELECT * FROM @a JOIN @b USING (id)"),
    ("SELECT * FROM (a JOIN b ON a.x = b.x), c", "SELECT * FROM (@a JOIN @b ON @a.x = @b.x), @c"),
    ("SELECT * FROM (SELECT * FROM a) AS a, b", "SELECT * FROM (SELECT * FROM @a) AS a, @b"),
    (
        "SELECT a.x FROM (SELECT * FROM b) AS a WHERE a.x > 1",
        "SELECT a.x FROM (SELECT * FROM @b) AS a WHERE a.x > 1",
    ),
    (
        "SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.id = a.id)",
        "SELECT * FROM @a WHERE EXISTS (SELECT 1 FROM @b WHERE @b.id = @a.id)",
    ),
    (
        "SELECT a.x FROM b AS a UNION ALL SELECT a.x FROM a",
        "SELECT a.x FROM @b AS a UNION ALL SELECT @a.x FROM @a",
    ),
    ("SELECT max(a.x, 1), count(*) FROM a", "SELECT max(@a.x, 1), count(*) FROM @a"),
    (
        "WITH x AS (SELECT * FROM a) SELECT x.id FROM x, b",
        "WITH x AS (SELECT * FROM @a) SELECT x.id FROM x, @b",
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    ),
    (
        "SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) AS y JOIN x ON x.a = y.a",
        "SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) AS y JOIN @x ON @x.a = y.a",
    ),
    (
        "WITH x AS MATERIALIZED (SELECT 1) DELETE FROM a WHERE id IN (SELECT * FROM x)",
        "WITH x AS MATERIALIZED (SELECT 1) DELETE FROM @a WHERE id IN (SELECT * FROM x)",
    ),
    (
        "WITH a AS (SELECT 1) INSERT INTO a SELECT * FROM a",
        "WITH a AS (SELECT 1) INSERT INTO @a SELECT * FROM a",
    ),
    ("INSERT INTO a (b, c) VALUES (1, 'x')", "INSERT INTO @a (b, c) VALUES (1, 'x')"),
    ("INSERT INTO a(b) SELECT b FROM c, d", "INSERT INTO @a(b) SELECT b FROM @c, @d"),
    ("INSERT INTO a DEFAULT VALUES", "INSERT INTO @a DEFAULT VALUES"),
    (
        "INSERT INTO a (b) VALUES (1) ON CONFLICT (b) DO UPDATE SET c = a.c + excluded.c",
        "INSERT INTO @a (b) VALUES (1) ON CONFLICT (b) DO UPDATE SET c = @a.c + excluded.c",
    ),
    (
        "INSERT INTO a AS t (b) VALUES (1) ON CONFLICT (b) DO UPDATE SET c = t.c RETURNING id",
        "INSERT INTO @a AS t (b) VALUES (1) ON CONFLICT (b) DO UPDATE SET c = t.c RETURNING id",
    ),
    ("UPDATE a SET b = 1, c = 2 WHERE a.d = 3", "UPDATE @a SET b = 1, c = 2 WHERE @a.d = 3"),
    (
        "UPDATE a SET b = f.b FROM (SELECT * FROM c) AS f, d WHERE f.id = a.id AND d.x = 1",
        "UPDATE @a SET b = f.b FROM (SELECT * FROM @c) AS f, @d WHERE f.id = @a.id AND @d.x = 1",
    ),
    ("DELETE FROM a WHERE b IS DISTINCT FROM c", "DELETE FROM @a WHERE b IS DISTINCT FROM c"),
    (
        (
            "CREATE TABLE a (id INTEGER PRIMARY KEY, n VARCHAR(9), b INTEGER NOT NULL REFERENCES c "
            "(id) ON DELETE CASCADE ON UPDATE SET NULL, CHECK (length(a.n) > 1), FOREIGN KEY (b) "
            "REFERENCES d)"
        ),
        (
            "CREATE TABLE @a (id INTEGER PRIMARY KEY, n VARCHAR(9), b INTEGER NOT NULL REFERENCES "
            "@c (id) ON DELETE CASCADE ON UPDATE SET NULL, CHECK (length(@a.n) > 1), FOREIGN "
            "KEY (b) REFERENCES @d)"
        ),
    ),
    ("CREATE TABLE IF NOT EXISTS a (b TEXT)", "CREATE TABLE IF NOT EXISTS @a (b TEXT)"),
    ("CREATE TABLE a AS SELECT * FROM b", "CREATE TABLE @a AS SELECT * FROM @b"),
    (
        "CREATE INDEX idx_a ON a (b DESC, lower(c)) WHERE a.d > 0",
        "CREATE INDEX @idx_a ON @a (b DESC, lower(c)) WHERE @a.d > 0",
    ),
    (
        "CREATE UNIQUE INDEX IF NOT EXISTS x ON a(b)",
        "CREATE UNIQUE INDEX IF NOT EXISTS @x ON @a(b)",
    ),
    ("CREATE INDEX idx_@quotes_a ON quotes (a)", "CREATE INDEX idx_@quotes_a ON @quotes (a)"),
    ("CREATE INDEX @by_a ON quotes (a)", "CREATE INDEX @by_a ON @quotes (a)"),
    ("CREATE VIEW v (x) AS SELECT a.x FROM a", "CREATE VIEW @v (x) AS SELECT @a.x FROM @a"),
    ("ALTER TABLE a RENAME TO b", "ALTER TABLE @a RENAME TO @b"),
    ("ALTER TABLE a RENAME COLUMN b TO c", "ALTER TABLE @a RENAME COLUMN b TO c"),
    (
        "ALTER TABLE a ADD COLUMN b INTEGER REFERENCES c (id)",
        "ALTER TABLE @a ADD COLUMN b INTEGER REFERENCES @c (id)",
    ),
    ("ALTER TABLE a DROP COLUMN b", "ALTER TABLE @a DROP COLUMN b"),
    ("DROP TABLE IF EXISTS a", "DROP TABLE IF EXISTS @a"),
    ("DROP INDEX idx_a", "DROP INDEX @idx_a"),
    ("DROP VIEW v", "DROP VIEW @v"),
]

ONLY_SQLITE = [
    ("SELECT * FROM [quotes], `votes`", "SELECT * FROM @quotes, @votes"),
    ("REPLACE INTO a VALUES (1)", "REPLACE INTO @a VALUES (1)"),
    ("INSERT OR IGNORE INTO a VALUES (1)", "INSERT OR IGNORE INTO @a VALUES (1)"),
    ("UPDATE OR REPLACE a SET b = 1", "UPDATE OR REPLACE @a SET b = 1"),
    ("SELECT * FROM a INDEXED BY i WHERE b IN c", "SELECT * FROM @a INDEXED BY @i WHERE b IN @c"),
    (
        "SELECT j.value FROM a, json_each(a.tags) AS j",
        "SELECT j.value FROM @a, json_each(@a.tags) AS j",
    ),
    (
        "WITH x AS (SELECT * FROM y), y AS (SELECT 1) SELECT * FROM x",
        "WITH x AS (SELECT * FROM y), y AS (SELECT 1) SELECT * FROM x",
    ),
    (
        (
            "CREATE TRIGGER t AFTER UPDATE OF b ON a WHEN new.b > old.b BEGIN "
            "UPDATE a SET c = 1 WHERE a.id = new.id; INSERT INTO log (x) SELECT a.b FROM a, c; "
            "DELETE FROM d WHERE d.x = old.x; SELECT RAISE(ABORT, 'no'); END"
        ),
        (
            "CREATE TRIGGER @t AFTER UPDATE OF b ON @a WHEN new.b > old.b BEGIN "
            "UPDATE @a SET c = 1 WHERE @a.id = new.id; INSERT INTO @log (x) SELECT @a.b FROM @a, "
            "@c; DELETE FROM @d WHERE @d.x = old.x; SELECT RAISE(ABORT, 'no'); END"
        ),
    ),
    ("DROP TRIGGER IF EXISTS t", "DROP TRIGGER IF EXISTS @t"),
    (
        "DELETE FROM sqlite_sequence WHERE name = 'a'",
        "DELETE FROM sqlite_sequence WHERE name = '@a'",
    ),
    (
        "UPDATE sqlite_sequence SET seq = (SELECT max(id) FROM a) WHERE name = '@a'",
        "UPDATE sqlite_sequence SET seq = (SELECT max(id) FROM @a) WHERE name = '@a'",
    ),
    (
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('a', 7)",
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('@a', 7)",
    ),
    (
        (
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'b', seq FROM sqlite_sequence "
            "WHERE name = 'a'"
        ),
        (
            "INSERT INTO sqlite_sequence (name, seq) SELECT '@b', seq FROM sqlite_sequence "
            "WHERE name = '@a'"
        ),
    ),
]

ONLY_POSTGRESQL = [
    ("SELECT CAST(1), (SELECT 2 AS b)", "SELECT CAST(1), (SELECT 2 AS b)"),  # the engine refuses
    (
        "SELECT extract(EPOCH FROM now()), a.x FROM a",
        "SELECT extract(EPOCH FROM now()), @a.x FROM @a",
    ),
    ("SELECT substring(a.x FROM 2 FOR 3) FROM a", "SELECT substring(@a.x FROM 2 FOR 3) FROM @a"),
    ("SELECT x::text, tags ? 'b' FROM a", "SELECT x::text, tags ? 'b' FROM @a"),
    (
        "WITH a AS (SELECT * FROM a) SELECT a.x FROM a",
        "WITH a AS (SELECT * FROM @a) SELECT a.x FROM a",
    ),
    (
        (
            "SELECT m.w FROM a AS q CROSS JOIN LATERAL regexp_matches(q.t, '#', 'g') WITH "
            "ORDINALITY AS m (v, w), b"
        ),
        (
            "SELECT m.w FROM @a AS q CROSS JOIN LATERAL regexp_matches(q.t, '#', 'g') WITH "
            "ORDINALITY AS m (v, w), @b"
        ),
    ),
    (
        "DELETE FROM a USING b, c WHERE a.id = b.id",
        "DELETE FROM @a USING @b, @c WHERE @a.id = @b.id",
    ),
    ("DELETE FROM ONLY a", "DELETE FROM ONLY @a"),
    ("SELECT * FROM a FOR UPDATE", "SELECT * FROM @a FOR UPDATE"),
    ("SELECT * INTO b FROM a", "SELECT * INTO @b FROM @a"),
    ("SELECT * FROM a UNION TABLE b", "SELECT * FROM @a UNION TABLE @b"),
    ("CREATE INDEX ON a USING gin (tags)", "CREATE INDEX ON @a USING gin (tags)"),
    ("CREATE TABLE a (LIKE b, c TEXT)", "CREATE TABLE @a (LIKE @b, c TEXT)"),
    ("CREATE OR REPLACE VIEW v AS SELECT 1", "CREATE OR REPLACE VIEW @v AS SELECT 1"),
    (
        "ALTER TABLE IF EXISTS ONLY a ADD b INT, ALTER c TYPE BIGINT USING c::bigint, DROP d",
        "ALTER TABLE IF EXISTS ONLY @a ADD b INT, ALTER c TYPE BIGINT USING c::bigint, DROP d",
    ),
    ("DROP TABLE a, b CASCADE", "DROP TABLE @a, @b CASCADE"),
    ("DROP TRIGGER t ON a", "DROP TRIGGER @t ON @a"),
]

PAIRS = (
    [(sql, expected, dialect) for dialect in Dialect for sql, expected in BOTH]
    + [(sql, expected, SQLITE) for sql, expected in ONLY_SQLITE]
    + [(sql, expected, POSTGRESQL) for sql, expected in ONLY_POSTGRESQL]
)


@pytest.mark.parametrize(("sql", "expected", "dialect"), PAIRS)
def test_qualified(sql: str, expected: str, dialect: Dialect) -> None:
    sql, expected = sql.replace("@", "quote_db__"), expected.replace("@", "quote_db__")
    assert qualified(sql, dialect) == expected
    assert qualified(expected, dialect) == expected, "what is qualified stays as it is"


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL])
def test_what_is_cut_short_is_read_or_refused(dialect: Dialect) -> None:
    for sql, _, of in PAIRS:
        for command in commands(sql.replace("@", "quote_db__"), dialect) if of is dialect else ():
            for token in command.tokens:
                with suppress(SqlError):
                    qualified(command.source[command.tokens[0].start : token.end], dialect)


FOREIGN = "is outside this plugin's namespace"
SCHEMA = "names a schema"
TRANSACTION = "every migration runs in one transaction"
FUNCTION = "is not among the functions and types that a plugin may use"
COUNTERS = "sqlite_sequence holds the counters of all plugins"

REFUSED = [
    ("SELECT * FROM trivia__scores", FOREIGN),
    ("SELECT * FROM TRIVIA__SCORES", FOREIGN),
    ('SELECT * FROM "trivia__scores"', FOREIGN),
    ('SELECT "trivia__scores".id', FOREIGN),
    ("DROP TABLE quotes, trivia__scores", FOREIGN),
    ("ALTER TABLE quotes RENAME TO trivia__scores", FOREIGN),
    ("CREATE TABLE a (b INTEGER REFERENCES trivia__scores (id))", FOREIGN),
    ("CREATE INDEX i ON trivia__scores (id)", FOREIGN),
    ("DROP INDEX idx_trivia__scores", FOREIGN),
    ("DROP INDEX idx_my_quote_db__quotes", FOREIGN),
    ("SELECT * FROM quote_db__a__b", FOREIGN),
    ("SELECT * FROM quote_db___a", FOREIGN),
    ("SELECT * FROM _migrations", "starts with '_': such names belong to the service"),
    ("DELETE FROM _kv", "starts with '_': such names belong to the service"),
    ('DROP TABLE "_migrations"', "starts with '_': such names belong to the service"),
    ("SELECT * FROM sqlite_master", "belongs to the database engine"),
    ("DROP INDEX sqlite_autoindex_a_1", "belongs to the database engine"),
    ("SELECT * FROM pg_tables", "belongs to the database engine"),
    ("SELECT pg_read_file('x')", "belongs to the database engine"),
    ("SELECT pg_catalog.set_config('a', 'b', false)", "belongs to the database engine"),
    ("SELECT * FROM information_schema.tables", "belongs to the database engine"),
    ("SELECT * FROM main.quotes", SCHEMA),
    ("DELETE FROM temp.quotes", SCHEMA),
    ("INSERT INTO public.quotes VALUES (1)", SCHEMA),
    ("SELECT main.quotes.id FROM quotes", SCHEMA),
    ("SELECT public.lower('A')", SCHEMA),
    ("CREATE INDEX main.i ON quotes (a)", SCHEMA),
    ("DROP INDEX main.i", SCHEMA),
    ("SELECT 1 FROM quotes WHERE main.id = 1", SCHEMA),
    ("BEGIN", TRANSACTION),
    ("BEGIN IMMEDIATE", TRANSACTION),
    ("START TRANSACTION", TRANSACTION),
    ("COMMIT", TRANSACTION),
    ("END", TRANSACTION),
    ("ROLLBACK", TRANSACTION),
    ("SAVEPOINT a", TRANSACTION),
    ("RELEASE a", TRANSACTION),
    ("ATTACH 'other.db' AS other", "may touch only its own tables"),
    ("DETACH other", "may touch only its own tables"),
    ("PRAGMA writable_schema = 1", "foreign keys are off during a migration"),
    ("VACUUM", "cannot run inside a transaction"),
    ("CREATE INDEX CONCURRENTLY i ON a (b)", "cannot run inside a transaction"),
    ("DROP INDEX CONCURRENTLY i", "cannot run inside a transaction"),
    ("COPY quotes FROM PROGRAM 'rm'", "it reads and writes files"),
    ("GRANT ALL ON quotes TO x", "rights belong to the operator"),
    ("DO 'x'", "may not install code"),
    ("CREATE FUNCTION f() RETURNS int AS 'x' LANGUAGE sql", "may not install code"),
    ("CREATE OR REPLACE FUNCTION f() RETURNS int AS 'x' LANGUAGE sql", "may not install code"),
    ("CREATE EXTENSION dblink", "extensions belong to the operator"),
    ("CREATE SCHEMA x", "each plugin's tables stand in the service's one schema"),
    ("CREATE TEMP TABLE a (b)", "a temporary thing outlives the migration"),
    ("CREATE VIRTUAL TABLE a USING fts5(b)", "a virtual table runs an extension's code"),
    ("SET search_path = x", "settings belong to the service"),
    ("RESET ALL", "settings belong to the service"),
    ("EXPLAIN SELECT 1", "a migration may use CREATE TABLE"),
    ("DROP DATABASE x", "may touch only its own tables"),
    ("ALTER SYSTEM SET x = 1", "a migration may use CREATE TABLE"),
    ("ALTER TABLE quotes OWNER TO x", "a migration may ADD, DROP, ALTER, RENAME and VALIDATE"),
    ("ALTER TABLE quotes SET SCHEMA x", "a migration may ADD, DROP, ALTER, RENAME and VALIDATE"),
    ("ALTER TABLE quotes ADD b INT, OWNER TO x", "a migration may ADD, DROP, ALTER, RENAME"),
    ("SELECT load_extension('x')", FUNCTION),
    ("SELECT \"load_extension\"('x')", FUNCTION),
    ("SELECT Load_Extension ('x')", FUNCTION),
    ("SELECT readfile('x')", FUNCTION),
    ("SELECT lower(writefile('x', 'y'))", FUNCTION),
    ("SELECT * FROM dblink('a', 'b')", FUNCTION),
    ("SELECT query_to_xml('SELECT 1', true, true, '')", FUNCTION),
    ("CREATE TABLE a (b TEXT DEFAULT (load_extension('x')))", FUNCTION),
    ("CREATE INDEX i ON a (load_extension(b))", FUNCTION),
    ("SELECT * FROM json_each('[]') AS j WHERE load_extension('x')", FUNCTION),
    ("SELECT * FROM a, lo_import('x')", FUNCTION),
    ("CREATE TABLE Ärger (a TEXT)", "is not a valid name"),
    ('CREATE TABLE "Quotes" (a TEXT)', "is not a valid name"),
    ('CREATE TABLE "a b" (a TEXT)', "is not a valid name"),
    (f"CREATE TABLE {'a' * 54} (b TEXT)", "has 64 characters with the plugin's prefix"),
    ("SELECT * FROM 'quotes'", "is a string where a name is expected"),
    ("SELECT * FROM a, 'trivia__scores'", "is a string where a name is expected"),
    ("DROP TABLE 'trivia__scores'", "is a string where a name is expected"),
    ("SELECT 'main'.x", "is a string where a name is expected"),
    ("CREATE TABLE", "expected the name of a table, found nothing"),
    ("DROP TABLE IF EXISTS", "expected the name of a table, found nothing"),
    ("CREATE INDEX", "expected the name of an index or trigger"),
    ("INSERT INTO (1)", "expected the name of a table, found '('"),
    ("DROP INDEX", "expected the name of an index or trigger"),
    ("CREATE", "a migration may use CREATE TABLE"),
    ("(SELECT 1)", "a migration may use CREATE TABLE"),
]

REFUSED_SQLITE = [
    ("SELECT * FROM [trivia__scores]", FOREIGN),
    ("SELECT * FROM `trivia__scores`", FOREIGN),
    ("SELECT 1 IN 'trivia__scores'", "is a string where a name is expected"),
    ("SELECT 'trivia__scores'.id", "is a string where a name is expected"),
    ("SELECT * FROM 'pragma_table_info'('x')", "is a string where a name is expected"),
    ("SELECT * FROM pragma_table_info('x')", "belongs to the database engine"),
    ("SELECT ?", "'?' is a parameter: write the value itself"),
    ("SELECT :a", "':a' is a parameter: write the value itself"),
    ("CREATE TRIGGER t AFTER INSERT ON trivia__a BEGIN SELECT 1; END", FOREIGN),
    ("CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM trivia__b; END", FOREIGN),
    ("CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM _kv; END", "belong to the service"),
    ("CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT readfile('x'); END", FUNCTION),
    ("CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END", "a temporary thing"),
    ("DELETE FROM sqlite_sequence", COUNTERS),
    ("UPDATE sqlite_sequence SET seq = 0", COUNTERS),
    ("UPDATE sqlite_sequence SET seq = 0 WHERE name = 'a' OR 1", COUNTERS),
    ("UPDATE sqlite_sequence SET seq = 0 WHERE 1 OR name = 'a'", COUNTERS),
    ("UPDATE sqlite_sequence SET seq = 0, name = 'trivia__a' WHERE name = 'a'", COUNTERS),
    ("UPDATE sqlite_sequence SET name = 'trivia__a' WHERE name = 'a'", COUNTERS),
    ("UPDATE sqlite_sequence SET seq = 0 WHERE name = 'trivia__a'", "is not a valid name"),
    ("INSERT INTO sqlite_sequence VALUES ('a', 1)", COUNTERS),
    ("INSERT INTO sqlite_sequence (name, seq) VALUES ('a', 1), ('trivia__a', 2)", COUNTERS),
    ("INSERT INTO sqlite_sequence (name, seq) SELECT x, 1 FROM a", COUNTERS),
    (
        (
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'a', 1 UNION SELECT * FROM b "
            "UNION SELECT * FROM sqlite_sequence WHERE name = 'a'"
        ),
        COUNTERS,
    ),
    ("INSERT INTO sqlite_sequence (name, seq) DEFAULT VALUES", COUNTERS),
    ("INSERT INTO sqlite_sequence (name, seq) VALUES (x'00', 1)", COUNTERS),
    ("SELECT seq FROM sqlite_sequence WHERE name = quotes", COUNTERS),
    ("SELECT seq FROM sqlite_sequence WHERE name = 'a' OR 1", COUNTERS),
    ("SELECT * FROM sqlite_sequence", COUNTERS),
    ("SELECT * FROM quotes JOIN sqlite_sequence", COUNTERS),
    ("DROP TABLE sqlite_sequence", COUNTERS),
    (
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM sqlite_sequence; END",
        COUNTERS,
    ),
]

REFUSED_POSTGRESQL = [
    ("SELECT * FROM sqlite_sequence WHERE name = 'a'", "belongs to the database engine"),
    ("SELECT $1", "'$1' is a parameter: write the value itself"),
    ("SELECT nextval('trivia__a_id_seq')", FUNCTION),
    ("SELECT set_config('a', 'b', false)", FUNCTION),
    ("TABLE trivia__a", FOREIGN),
    ("CREATE TABLE a (LIKE trivia__b)", FOREIGN),
    ("WITH x AS (DELETE FROM trivia__a RETURNING *) SELECT * FROM x", FOREIGN),
    ("CREATE TRIGGER t BEFORE UPDATE ON a EXECUTE FUNCTION f()", FUNCTION),
    ("CREATE MATERIALIZED VIEW v AS SELECT 1", "it is not kept fresh"),
    ("CREATE UNLOGGED TABLE a (b INT)", "its rows would be lost in a crash"),
]

REFUSALS = (
    [(sql, why, dialect) for dialect in Dialect for sql, why in REFUSED]
    + [(sql, why, SQLITE) for sql, why in REFUSED_SQLITE]
    + [(sql, why, POSTGRESQL) for sql, why in REFUSED_POSTGRESQL]
)


@pytest.mark.parametrize(("sql", "why", "dialect"), REFUSALS)
def test_refused(sql: str, why: str, dialect: Dialect) -> None:
    with pytest.raises(SqlError) as caught:
        qualified(sql, dialect)
    assert why in caught.value.message


def test_a_refusal_names_the_line_of_the_word() -> None:
    with pytest.raises(SqlError) as caught:
        qualified("SELECT 1\nFROM quotes,\n  trivia__scores", SQLITE)
    assert (caught.value.line, caught.value.message) == (
        3,
        (
            "'trivia__scores' is outside this plugin's namespace: write the bare name, or one that "
            "starts with 'quote_db__'"
        ),
    )


def test_a_prefix_inside_a_longer_one_owns_nothing() -> None:
    assert qualified("DROP INDEX idx_db__a", SQLITE, "db") == "DROP INDEX idx_db__a"
    with pytest.raises(SqlError, match="outside this plugin's namespace"):
        qualified("DROP INDEX idx_quote_db__a", SQLITE, "db")
    with pytest.raises(SqlError, match="outside this plugin's namespace"):
        qualified("DROP TABLE quote_db__a", SQLITE, "db")


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL])
def test_an_index_of_any_name_may_be_written_bare_or_in_full(dialect: Dialect) -> None:
    for name in ("by Name", "quote_db__by Name"):
        assert qualified(f'DROP INDEX "{name}"', dialect) == 'DROP INDEX "quote_db__by Name"'


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL])
@pytest.mark.parametrize("word", sorted({*FORBIDDEN_COMMANDS, "COMMENT", "SET", "PRAGMA"}))
def test_a_command_of_one_word_is_refused(word: str, dialect: Dialect) -> None:
    with pytest.raises(SqlError):
        qualified(word, dialect)


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL])
@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("INSERT INTO a SELECT 1 FROM b), c", r"'\)' closes nothing"),
        ("INSERT INTO a (" * 20_000, "parenthesis of this command is never closed"),
    ],
    ids=["nothing opened", "nothing closed"],
)
def test_a_parenthesis_without_the_other_is_refused(sql: str, why: str, dialect: Dialect) -> None:
    with pytest.raises(SqlError, match=why):
        qualified(sql, dialect)


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL])
@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ('DROP TABLE"a"', "DROP TABLE quote_db__a"),
        ('UPDATE"a"SET x=1', "UPDATE quote_db__a SET x=1"),
        ('DELETE FROM "a"WHERE"a".x=1', "DELETE FROM quote_db__a WHERE quote_db__a.x=1"),
        ('INSERT INTO b SELECT 1 FROM "a"b', "INSERT INTO quote_db__b SELECT 1 FROM quote_db__a b"),
        ('CREATE INDEX"i"ON"a"("x")', 'CREATE INDEX quote_db__i ON quote_db__a("x")'),
        ('CREATE TABLE"a"(x int)', "CREATE TABLE quote_db__a(x int)"),
        ('ALTER TABLE"a"RENAME TO"b"', "ALTER TABLE quote_db__a RENAME TO quote_db__b"),
    ],
)
def test_a_quoted_name_that_touches_a_word(sql: str, expected: str, dialect: Dialect) -> None:
    assert qualified(sql, dialect) == expected


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL])
@pytest.mark.parametrize(
    "opening", ["SELECT (", "SELECT (WITH a AS (SELECT 1 AS n) ", "WITH a AS ("]
)
def test_queries_nested_too_deeply_are_refused(opening: str, dialect: Dialect) -> None:
    """They met Python's own limit, or took time of the square of their number."""
    with pytest.raises(SqlError, match="nested deeper than 100 levels"):
        qualified(f"{opening * 2_000}SELECT n FROM a{')' * 2_000}", dialect)
