"""Names that a migration gives are the plugin's own, and ordinary SQL is taken, on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from dbservice.client import ConstraintViolation, MigrationFailed, StorageClient
from dbservice.embedded import Stack

Write = Callable[[str, str, str], None]
Client = Callable[[str], Awaitable[StorageClient]]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database_url(engine: str, request: pytest.FixtureRequest) -> str:
    is_sqlite = engine == "sqlite"
    return "sqlite+aiosqlite://" if is_sqlite else request.getfixturevalue("empty_postgres")


@pytest.fixture
async def stack(database_url: str, root: Path) -> AsyncIterator[Stack]:
    async with Stack(database_url=database_url, migrations=[root]) as stack:
        yield stack


@pytest.fixture
def write(root: Path) -> Write:
    """Write a migration: plugin, name, SQL."""

    def write(plugin: str, name: str, sql: str) -> None:
        (root / plugin).mkdir(exist_ok=True)
        (root / plugin / f"{name}.sql").write_text(
            f"-- UP\n{sql}\n-- IRREVERSIBLE: a test\n", "utf-8"
        )

    return write


@pytest.fixture
def client(stack: Stack) -> Client:
    async def client(plugin: str) -> StorageClient:
        return StorageClient(await stack.connect(), plugin, timeout=20)

    return client


USERS = """
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    email TEXT UNIQUE,
    name TEXT,
    age INTEGER,
    CONSTRAINT uq_a UNIQUE (name),
    CONSTRAINT adult CHECK (age > 17)
);
CREATE INDEX by_age ON users (age);
"""
TRIGGER = """
CREATE TRIGGER watch AFTER INSERT ON users BEGIN UPDATE users SET age = 18 WHERE age = 19; END;
"""


async def test_two_plugins_give_the_same_names(write: Write, client: Client, engine: str) -> None:
    for plugin in ("one", "two"):
        write(plugin, "001_users", USERS + (TRIGGER if engine == "sqlite" else ""))
        storage = await client(plugin)
        await storage.migrations.apply()
        await storage.rows("users").insert({"id": 1, "name": "ada", "age": 30})
        with pytest.raises(ConstraintViolation, match="on name exists already"):
            await storage.rows("users").insert({"id": 2, "name": "ada"})
        with pytest.raises(ConstraintViolation, match="CHECK constraint on adult refused"):
            await storage.rows("users").insert({"id": 2, "age": 3})


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
async def test_names_that_the_engine_gave_are_dropped_as_usual(
    write: Write, client: Client
) -> None:
    write("one", "001_users", USERS)
    write(
        "one",
        "002_drop",
        "ALTER TABLE users DROP CONSTRAINT users_email_key, DROP CONSTRAINT IF EXISTS adult;\n"
        "ALTER TABLE users RENAME CONSTRAINT uq_a TO uq_b;\n"
        "ALTER TABLE users DROP CONSTRAINT one__uq_b;\n"
        "ALTER TABLE users ADD CONSTRAINT young CHECK (age < 17) NOT VALID;\n"
        "ALTER TABLE users VALIDATE CONSTRAINT young;\n"
        "ALTER TABLE users DROP CONSTRAINT users_pkey;",
    )
    storage = await client("one")
    assert (await storage.migrations.apply()).current_version == 2
    rows = [{"id": 1, "email": "a", "name": "a", "age": 16}] * 2
    await storage.rows("users").insert_many(rows)


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
async def test_own_indexes_are_renamed_and_own_things_commented(
    write: Write, client: Client
) -> None:
    write("one", "001_users", USERS)
    write(
        "one",
        "002_more",
        "ALTER INDEX by_age RENAME TO by_years;\n"
        "ALTER INDEX IF EXISTS one__by_years RENAME TO by_age;\n"
        "CREATE VIEW names AS SELECT name FROM users;\n"
        "ALTER VIEW names RENAME TO who;\n"
        "COMMENT ON TABLE users IS 'people';\n"
        "COMMENT ON COLUMN users.age IS NULL;\n"
        "COMMENT ON INDEX by_age IS 'x; -- y';\n"
        "COMMENT ON CONSTRAINT uq_a ON users IS 'z';\n"
        "COMMENT ON VIEW who IS 'v';\n"
        "DROP INDEX by_age;\n"
        "INSERT INTO users (id, email) VALUES (1, 'a')\n"
        "    ON CONFLICT ON CONSTRAINT uq_a DO NOTHING;",
    )
    storage = await client("one")
    assert (await storage.migrations.apply()).current_version == 2
    assert await storage.rows("who").count() == 1


LONG = "by_" + "long_" * 11


async def test_long_names_of_two_plugins_and_of_one(write: Write, client: Client) -> None:
    both = f"CREATE TABLE a (b TEXT, c TEXT);\nCREATE INDEX {LONG}b ON a (b);\n"
    both += f"CREATE INDEX {LONG}c ON a (c);\nDROP INDEX {LONG}b;"
    for plugin in ("one", "two"):
        write(plugin, "001_long", both)
        storage = await client(plugin)
        await storage.migrations.apply()
        (index,) = (await storage.rows("a").describe()).indexes
        assert index.columns == ["c"]


async def test_names_in_capitals_that_no_request_says(write: Write, client: Client) -> None:
    write(
        "one",
        "001_users",
        'CREATE TABLE users (id INTEGER, CONSTRAINT "Users_pkey" PRIMARY KEY (id));\n'
        'CREATE UNIQUE INDEX "Users_id_key" ON users (id);\n'
        'DROP INDEX "Users_id_key";',
    )
    storage = await client("one")
    assert (await storage.migrations.apply()).warnings[0]["code"] == "IRREVERSIBLE"


REFUSED = [
    ("CREATE TABLE b PARTITION OF a FOR VALUES IN (1)", "PARTITION is refused: every table"),
    ("CREATE TABLE b (c INTEGER) PARTITION BY LIST (c)", "PARTITION is refused: every table"),
    ("CREATE TABLE b () INHERITS (a)", "INHERITS is refused: every table"),
    ("CREATE TABLE b (c INTEGER, EXCLUDE USING gist (c WITH =))", "EXCLUDE is refused"),
    ("CREATE TABLE b (c INTEGER, CONSTRAINT d EXCLUDE (c WITH =))", "EXCLUDE is refused"),
    ("ALTER TABLE a ADD CONSTRAINT d EXCLUDE USING gist (c WITH =)", "EXCLUDE is refused"),
    ("ALTER INDEX a SET (fillfactor = 70)", "ALTER INDEX is refused but for RENAME TO"),
    ("COMMENT ON COLUMN other__t.a IS 'x'", "outside this plugin's namespace"),
    ("COMMENT ON DATABASE x IS 'x'", "COMMENT ON DATABASE is refused"),
    ("COMMENT ON TABLE public.a IS 'x'", "names a schema"),
    ("CREATE RULE r AS ON INSERT TO a DO NOTHING", "may not install code"),
]


@pytest.mark.parametrize(("sql", "told"), REFUSED)
@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
async def test_what_is_refused_is_told_in_words_that_fit(
    write: Write, client: Client, sql: str, told: str
) -> None:
    write("one", "001_no", f"{sql};")
    with pytest.raises(MigrationFailed, match=told):
        await (await client("one")).migrations.apply()


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_ordinary_sql_of_sqlite(write: Write, client: Client) -> None:
    write(
        "one",
        "001_first",
        "PRAGMA foreign_keys=OFF;\n"
        "CREATE TABLE a (id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))), b TEXT);\n"
        "INSERT INTO a (b) VALUES ('x');\nPRAGMA foreign_keys=ON;",
    )
    write("one", "002_second", "COMMENT ON TABLE a IS 'x';")
    storage = await client("one")
    await storage.migrations.apply(1)
    (row,) = await storage.rows("a").select({})
    assert len(row["id"]) == 32
    with pytest.raises(MigrationFailed, match="SQLite keeps no comments"):
        await storage.migrations.apply()


async def test_a_dry_run_tells_the_rows_of_every_statement(write: Write, client: Client) -> None:
    write(
        "one",
        "001_rows",
        "CREATE TABLE a (b INTEGER);\nINSERT INTO a VALUES (1), (2), (3);\n"
        "WITH c (n) AS (SELECT 2) UPDATE a SET b = b + 10 WHERE b >= (SELECT n FROM c);\n"
        "WITH c (n) AS (SELECT 5) INSERT INTO a SELECT n FROM c;\n"
        "-- all\nWITH c (n) AS (SELECT 9) DELETE FROM a WHERE b < (SELECT n FROM c);",
    )
    (step,) = (await (await client("one")).migrations.apply(dry_run=True)).migrations
    assert [report.rows for report in step.executed] == [-1, 3, 2, 1, 2]


REBUILT = {
    "sqlite": "CREATE TABLE n (b TEXT, c TEXT);\nDROP TABLE a;\nALTER TABLE n RENAME TO a;",
    "postgresql": "ALTER TABLE a ALTER b TYPE VARCHAR(9);",
}


async def test_a_rebuild_under_a_view_gets_advice(
    write: Write, client: Client, engine: str
) -> None:
    write("one", "001_view", "CREATE TABLE a (b TEXT);\nCREATE VIEW v AS SELECT b FROM a;")
    write("one", "002_rebuild", REBUILT[engine])
    storage = await client("one")
    with pytest.raises(MigrationFailed, match=r"write DROP VIEW .*before the change, and CREATE"):
        await storage.migrations.apply()
    write(
        "one",
        "002_rebuild",
        f"DROP VIEW one__v;\n{REBUILT[engine]}\nCREATE VIEW v AS SELECT b FROM a;",
    )
    assert (await storage.migrations.apply()).current_version == 2


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
async def test_dropping_what_a_view_reads_gets_advice(write: Write, client: Client) -> None:
    write("one", "001_view", "CREATE TABLE a (b TEXT);\nCREATE VIEW v AS SELECT b FROM a;")
    write("one", "002_drop", "DROP TABLE a;")
    with pytest.raises(MigrationFailed, match="A view reads it: write DROP VIEW"):
        await (await client("one")).migrations.apply()
