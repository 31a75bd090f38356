"""`verify` finds what a round trip loses, names file and direction, and lets sound files pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from dbservice.engine.steps import Steps
from dbservice.migrate.files import parse, read_migrations
from dbservice.migrate.generated_rows import fill
from dbservice.migrate.migrator import Migrator
from dbservice.migrate.scratch import Scratch, postgres_scratch, sqlite_scratch
from dbservice.migrate.structure import Structure, differences, read
from dbservice.migrate.verify import verify
from dbservice.protocol.migrations import Apply, Check
from dbservice.protocol.names import Namespace, namespace
from dbservice.sqltext.dialects import Dialect
from tests.dbservice.migrate.migrated_database import SHIPPED, Database

OWNER = namespace("quote-db")

BASE = """\
-- UP
CREATE TABLE a (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE CHECK (length(name) >= 3),
    size INTEGER DEFAULT 5 CHECK (size BETWEEN 1 AND 9)
);
CREATE INDEX a_size ON a (size);
-- DOWN
DROP INDEX a_size;
DROP TABLE a;
"""


@pytest.fixture(
    params=[Dialect.SQLITE, pytest.param(Dialect.POSTGRESQL, marks=pytest.mark.process)]
)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return request.param


@pytest.fixture
def scratch(dialect: Dialect, request: pytest.FixtureRequest) -> Scratch:
    if dialect is Dialect.SQLITE:
        return sqlite_scratch
    return partial(postgres_scratch, request.getfixturevalue("postgres").url())


async def tried(*texts: str, dialect: Dialect = Dialect.SQLITE, **options: Scratch) -> list[Check]:
    files = [parse(f"{n:03}_step.sql", text.encode()) for n, text in enumerate(texts, 1)]
    return await verify(files, OWNER, dialect, **options)


def failed(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.message for check in checks if not check.passed}


async def test_the_shipped_migrations_are_sound(dialect: Dialect, scratch: Scratch) -> None:
    files = read_migrations([SHIPPED], OWNER.plugin)
    checks = await verify(files, OWNER, dialect, scratch=scratch)
    assert failed(checks) == {}
    assert [check.message for check in checks if check.message] == [], "every table was filled"
    assert checks[-1].name == "all: UP again gives the same schema"
    restored = [check.name for check in checks if check.name.endswith("DOWN restores the data")]
    assert len(restored) == len(files) == 3


async def test_plain_files_pass_on_both_engines(dialect: Dialect, scratch: Scratch) -> None:
    second = "-- UP\nALTER TABLE a ADD COLUMN b TEXT DEFAULT 'x';\n"
    second += "-- DOWN\nALTER TABLE a DROP COLUMN b;\n"
    assert failed(await tried(BASE, second, dialect=dialect, scratch=scratch)) == {}


REBUILT = (
    "id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE CHECK (length(name) >= 3), size INTEGER"
)
ADD_B = "-- UP\nALTER TABLE a ADD COLUMN b TEXT;\n-- DOWN\n"


def rebuild(columns: str, copied: str, after: str = "CREATE INDEX a_size ON a (size);") -> str:
    return (
        f"CREATE TABLE a_old ({columns});\nINSERT INTO a_old (id, name, size) {copied};\n"
        f"DROP TABLE a;\nALTER TABLE a_old RENAME TO a;\n{after}\n"
    )


SOUND = rebuild(f"{REBUILT} DEFAULT 5 CHECK (size BETWEEN 1 AND 9)", "SELECT id, name, size FROM a")


async def test_a_sound_rebuild_is_no_false_alarm() -> None:
    assert failed(await tried(BASE, ADD_B + SOUND)) == {}


@pytest.mark.parametrize(
    ("second", "check", "told"),
    [
        pytest.param(
            ADD_B + SOUND.replace("SELECT id, name, size FROM a", "SELECT id, name, 5 FROM a"),
            "002_step: DOWN restores the data",
            "002_step.sql DOWN: table a: ",
            id="values",
        ),
        pytest.param(
            ADD_B + SOUND.replace(" FROM a;", " FROM a WHERE id > 1;"),
            "002_step: DOWN restores the data",
            "rows became",
            id="rows",
        ),
        pytest.param(
            ADD_B + SOUND.replace(" CHECK (size BETWEEN 1 AND 9)", ""),
            "002_step: DOWN restores the schema",
            "002_step.sql DOWN: CHECK (size between 1 and 9) of a is gone",
            id="check",
        ),
        pytest.param(
            ADD_B + SOUND.replace(" DEFAULT 5", ""),
            "002_step: DOWN restores the schema",
            "column a.size was (INTEGER DEFAULT 5) and is (INTEGER)",
            id="default",
        ),
        pytest.param(
            ADD_B + SOUND.replace(" UNIQUE", ""),
            "002_step: DOWN restores the schema",
            "UNIQUE (name) of a is gone",
            id="unique",
        ),
        pytest.param(
            ADD_B + SOUND.replace("CREATE INDEX a_size ON a (size);", ""),
            "002_step: DOWN restores the schema",
            "index quote_db__a_size is gone",
            id="index",
        ),
        pytest.param(
            "-- UP\nCREATE TABLE b (x TEXT);\n-- DOWN\nSELECT 1;\n",
            "002_step: DOWN restores the schema",
            "table b is left over",
            id="table left",
        ),
        pytest.param(
            "-- UP\nALTER TABLE a DROP COLUMN name;\n-- DOWN\nSELECT 1;\n",
            "002_step: UP runs",
            "002_step.sql line 2, UP statement 1: ",
            id="up fails",
        ),
        pytest.param(
            "-- UP\nALTER TABLE a ADD COLUMN b TEXT NOT NULL;\n-- DOWN\nSELECT 1;\n",
            "002_step: UP runs",
            "NOT NULL",
            id="fails on rows",
        ),
        pytest.param(
            "-- UP\nDROP INDEX a_size;\nALTER TABLE a RENAME COLUMN size TO s;\n"
            "UPDATE a SET s = 9 - s / 2 WHERE id > 0;\n"
            "-- DOWN\nALTER TABLE a RENAME COLUMN s TO size;\nCREATE INDEX a_size ON a (size);\n",
            "002_step: DOWN restores the data",
            "rows changed, for example",
            id="a change of values that is not taken back",
        ),
        pytest.param(
            "-- UP\nCREATE TABLE b (x TEXT);\n",
            "002_step: can be rolled back",
            "002_step.sql has no DOWN section for sqlite",
            id="no down",
        ),
        pytest.param(
            "-- UP\nCREATE TABLE b (x TEXT);\n-- DOWN\nDROP TABLE no_such;\n",
            "002_step: DOWN runs",
            "002_step.sql line 4, DOWN statement 1: no such table",
            id="down fails",
        ),
        pytest.param(
            "-- UP\nDROP TABLE trivia__scores;\n",
            "002_step: reads",
            "outside this plugin's namespace",
            id="refused",
        ),
    ],
)
async def test_a_fault_is_found(second: str, check: str, told: str) -> None:
    found = failed(await tried(BASE, second))
    assert check in found, found
    assert told in found[check]


async def test_rows_of_the_new_version_must_survive() -> None:
    narrow = (
        "-- UP\nCREATE TABLE b (id INTEGER PRIMARY KEY, kind TEXT CHECK (kind IN ('x', 'y')));\n"
        "-- DOWN\nDROP TABLE b;\n"
    )
    wider = (
        "-- UP\nCREATE TABLE b_new (id INTEGER PRIMARY KEY, kind TEXT CHECK "
        "(kind IN ('x', 'y', 'z')));\nINSERT INTO b_new SELECT * FROM b;\nDROP TABLE b;\n"
        "ALTER TABLE b_new RENAME TO b;\n"
        "-- DOWN\nCREATE TABLE b_old (id INTEGER PRIMARY KEY, kind TEXT CHECK "
        "(kind IN ('x', 'y')));\nINSERT INTO b_old SELECT * FROM b{};\nDROP TABLE b;\n"
        "ALTER TABLE b_old RENAME TO b;\n"
    )
    fails = failed(await tried(narrow, wider.format("")))
    assert "CHECK constraint" in fails["002_step: DOWN runs with rows of the new version"]
    loses = failed(await tried(narrow, wider.format(" WHERE kind IN ('x', 'y')")))
    assert "rows became" in loses["002_step: rows of the new version survive"]


async def test_a_counter_that_goes_back_is_found() -> None:
    first = "-- UP\nCREATE TABLE c (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);\n"
    first += "-- DOWN\nDROP TABLE c;\n"
    second = (
        "-- UP\nINSERT INTO c (v) VALUES ('x');\nDELETE FROM c WHERE v = 'x';\n"
        "-- DOWN\nUPDATE sqlite_sequence SET seq = 0 WHERE name = 'c';\n"
    )
    found = failed(await tried(first, second))
    assert "counter went back from 6 to 0" in found["002_step: DOWN restores the data"]


WRITTEN = """\
-- UP
CREATE TABLE b (id INTEGER PRIMARY KEY, value TEXT);
INSERT INTO b VALUES (1, CAST({value} AS TEXT));
-- DOWN
DROP TABLE b;
"""


@pytest.mark.parametrize("value", ["random()", "hex(randomblob(16))"])
async def test_what_chance_has_written_is_not_compared(value: str) -> None:
    checks = await tried(BASE, WRITTEN.format(value=value))

    assert failed(checks) == {}
    (check,) = [one for one in checks if one.name == "002_step: UP again gives the same data"]
    assert "uses the clock or chance" in check.message


@pytest.mark.process
@pytest.mark.parametrize("value", ["gen_random_uuid()", "localtime", "localtimestamp"])
async def test_what_the_clock_of_postgresql_has_written_is_not_compared(
    value: str, request: pytest.FixtureRequest
) -> None:
    scratch = partial(postgres_scratch, request.getfixturevalue("postgres").url())

    text = WRITTEN.format(value=value)
    checks = await tried(BASE, text, dialect=Dialect.POSTGRESQL, scratch=scratch)

    assert failed(checks) == {}


async def test_what_is_no_fault_is_only_remarked() -> None:
    second = "-- UP\nCREATE TABLE b (x TEXT DEFAULT 'y');\n"
    second += "INSERT INTO b VALUES (datetime('now'));\n-- DOWN\nDROP TABLE b;\n"
    third = "-- IRREVERSIBLE: we are not going back\n-- UP\nDROP TABLE b;\n"
    checks = await tried(BASE, second, third)
    assert failed(checks) == {}
    told = [check.message for check in checks if check.message]
    assert told[-1] == "declared irreversible: we are not going back"
    impossible = "-- UP\nCREATE TABLE n (x INTEGER NOT NULL CHECK (x > 3 AND x < 2));\n"
    impossible += "-- DOWN\nDROP TABLE n;\n"
    checks = await tried(impossible)
    assert failed(checks) == {}
    assert any("n took no generated row (CHECK constraint" in check.message for check in checks)


async def test_the_order_of_columns_is_remarked() -> None:
    second = "-- UP\nALTER TABLE b DROP COLUMN x;\n-- DOWN\nALTER TABLE b ADD COLUMN x INTEGER;\n"
    checks = await tried(
        "-- UP\nCREATE TABLE b (x INTEGER, y TEXT);\n-- DOWN\nDROP TABLE b;", second
    )
    assert list(failed(checks)) == ["002_step: DOWN restores the data"]
    assert any("in another order" in check.message for check in checks)


async def test_postgresql_needs_a_scratch_database() -> None:
    with pytest.raises(ValueError, match="scratch="):
        await tried(BASE, dialect=Dialect.POSTGRESQL)


async def test_the_database_of_the_service_stays_as_it_is(
    shipped: Migrator, database: Database, quotes: Namespace
) -> None:
    reply = await shipped.verify(quotes)
    assert reply.verified
    assert len(reply.checks) > 30
    assert await database.everything() == []


# --- generated rows ------------------------------------------------------------------------------

HARD = """
CREATE TABLE kinds (code TEXT PRIMARY KEY CHECK (length(code) = 4 AND code = upper(code)));
CREATE TABLE people (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL REFERENCES kinds (code),
    boss INTEGER REFERENCES people (id), email TEXT NOT NULL UNIQUE CHECK (email LIKE '%@%'),
    age INTEGER NOT NULL CHECK (age >= 18 AND age < 150), state VARCHAR(8) NOT NULL
        CHECK (state IN ('open', 'shut')), tags TEXT NOT NULL CHECK (json_valid(tags)),
    born DATE CHECK (born GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]'),
    share REAL CHECK (share > 0.25 AND share <= 0.5), low INTEGER NOT NULL, high INTEGER NOT NULL,
    twice INTEGER GENERATED ALWAYS AS (age * 2) STORED, CHECK (low < high)
);
CREATE TABLE passes (
    person INTEGER NOT NULL REFERENCES people (id), kind TEXT NOT NULL REFERENCES kinds (code),
    nth INTEGER NOT NULL CHECK (nth > 0), PRIMARY KEY (person, kind, nth)
);
CREATE TABLE stamps (
    person INTEGER, kind TEXT, nth INTEGER, text TEXT NOT NULL CHECK (length(text) BETWEEN 5 AND 9),
    FOREIGN KEY (person, kind, nth) REFERENCES passes (person, kind, nth)
);
CREATE TABLE solo (person INTEGER PRIMARY KEY REFERENCES people (id), flag BOOLEAN NOT NULL);
"""


async def test_rows_are_found_for_hard_constraints(
    database: Database, migrator: Migrator, quotes: Namespace, add: Callable[[str, str], Path]
) -> None:
    add("001_hard.sql", f"-- UP\n{HARD}")
    await migrator.apply(quotes, Apply())

    def steps() -> Steps[dict[str, str]]:
        structure = yield from read(Dialect.SQLITE, quotes.prefix)
        return (yield from fill(structure, Dialect.SQLITE))

    assert await database.engine.write(steps) == {}
    for table in ("kinds", "people", "passes", "stamps", "solo"):
        assert (await database.rows(f"SELECT count(*) FROM quote_db__{table}"))[0][0] >= 3, table
    assert await database.rows("PRAGMA foreign_key_check") == []


async def test_the_same_structure_has_no_differences(database: Database) -> None:
    await database.write("CREATE TABLE quote_db__a (x INTEGER CHECK(x>0), y TEXT)")
    before = await database.engine.read(_structure)
    assert differences(before, before, Dialect.SQLITE) == []
    await database.write("ALTER TABLE quote_db__a RENAME TO quote_db__b")
    await database.write('ALTER TABLE quote_db__b RENAME TO "quote_db__a"')
    assert differences(before, await database.engine.read(_structure), Dialect.SQLITE) == []
    await database.write("CREATE VIEW quote_db__v AS SELECT x FROM quote_db__a")
    await database.write(
        "CREATE TRIGGER quote_db__t AFTER INSERT ON quote_db__a BEGIN SELECT 1; END"
    )
    found = differences(before, await database.engine.read(_structure), Dialect.SQLITE)
    assert found == ["trigger quote_db__t is left over", "view v is left over"]


def _structure() -> Steps[Structure]:
    return read(Dialect.SQLITE, OWNER.prefix)
