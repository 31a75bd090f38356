"""What is said before a migration runs, as a table of migrations and findings."""

from __future__ import annotations

from contextlib import suppress

import pytest

from dbservice.migrate.files import Direction, MigrationFile, parse
from dbservice.migrate.script import prepare
from dbservice.migrate.warnings import narrows, warnings_of
from dbservice.protocol import RequestError
from dbservice.protocol.names import namespace
from dbservice.sqltext.dialects import Dialect

QUOTES = namespace("quote-db")
FIRST = parse(
    "001_first.sql",
    b"-- UP\nCREATE TABLE a (id INTEGER PRIMARY KEY, b TEXT, c INTEGER);\n"
    b"CREATE INDEX by_b ON a (b);\n-- DOWN\nDROP TABLE a;\n",
)
REBUILD = (
    "CREATE TABLE n ({});\nINSERT INTO n SELECT 1;\nDROP TABLE a;\nALTER TABLE n RENAME TO a;\n"
)
ALL = "id INTEGER PRIMARY KEY, b TEXT, c INTEGER"


def found(
    file: MigrationFile, direction: Direction, dialect: Dialect = Dialect.SQLITE
) -> list[tuple[str, int | None]]:
    script = prepare(file, direction, QUOTES, dialect)
    files = [FIRST] if file is FIRST else [FIRST, file]
    warnings = warnings_of(files, [script], QUOTES, dialect)
    assert all(warning["file"] == file.file for warning in warnings)
    assert all(warning["message"] and warning["safer"] for warning in warnings)
    return [(warning["code"], warning["line"]) for warning in warnings]


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "command",
    [
        "ALTER TABLE a RENAME b TO c",
        "ALTER TABLE a RENAME TO c",
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS c TEXT",
        "ALTER TABLE a DROP COLUMN IF EXISTS b",
        "ALTER TABLE a ALTER COLUMN b TYPE TEXT",
        "ALTER TABLE a ALTER b SET NOT NULL, ADD CONSTRAINT d CHECK (b > 1)",
        "CREATE TABLE c AS SELECT * FROM a",
        "CREATE TABLE c (LIKE a INCLUDING ALL)",
        "UPDATE a SET b = 1, c = 2",
    ],
)
def test_what_is_cut_short_is_left_to_the_engine(command: str, dialect: Dialect) -> None:
    words = command.split()
    for end in range(3, len(words)):
        file = parse("002_second.sql", f"-- UP\n{' '.join(words[:end])};".encode())
        with suppress(RequestError):  # of the check of names, which comes first
            assert ("NAME_OUT_OF_REACH", 2) not in found(file, Direction.UP, dialect)


UP = [
    ("SELECT 1;", "SELECT 1;", []),
    ("DROP TABLE a;", "SELECT 1;", [("DROP_TABLE", 2)]),
    ("DROP TABLE IF EXISTS quote_db__a;", "SELECT 1;", [("DROP_TABLE", 2)]),
    ("ALTER TABLE a DROP COLUMN b;", "SELECT 1;", [("DROP_COLUMN", 2)]),
    ("\n\nALTER TABLE a DROP b;", "SELECT 1;", [("DROP_COLUMN", 4)]),
    ("ALTER TABLE a ADD COLUMN d TEXT;", "ALTER TABLE a DROP COLUMN d;", []),
    ("ALTER TABLE a ADD d TEXT NOT NULL;", "SELECT 1;", [("NOT_NULL_WITHOUT_DEFAULT", 2)]),
    ("ALTER TABLE a ADD d TEXT NOT NULL DEFAULT 'x';", "SELECT 1;", []),
    ("DELETE FROM a;", "SELECT 1;", [("DELETE_WITHOUT_WHERE", 2)]),
    ("DELETE FROM a WHERE b = 1;", "SELECT 1;", []),
    ("DELETE FROM a WHERE id IN (SELECT 1);", "SELECT 1;", []),
    ("DELETE FROM a LIMIT (SELECT 1 WHERE 1);", "SELECT 1;", [("DELETE_WITHOUT_WHERE", 2)]),
    ("UPDATE a SET b = 1;", "SELECT 1;", [("UPDATE_WITHOUT_WHERE", 2)]),
    ("UPDATE a SET b = (SELECT 1 WHERE 1), c = 2;", "SELECT 1;", [("UPDATE_WITHOUT_WHERE", 2)]),
    ("UPDATE a SET b = 1 WHERE c = 2;", "SELECT 1;", []),
    # Filling a column that the same file adds is no risk; another column with it is.
    ("ALTER TABLE a ADD d TEXT;\nUPDATE a SET d = 1;", "SELECT 1;", []),
    (
        "ALTER TABLE a ADD d TEXT;\nUPDATE a SET d = 1, b = 2;",
        "SELECT 1;",
        [("UPDATE_WITHOUT_WHERE", 3)],
    ),
    # Renamed things are followed.
    (
        "ALTER TABLE a RENAME TO z;\nALTER TABLE z DROP b;",
        "ALTER TABLE z RENAME TO a;",
        [("DROP_COLUMN", 3)],
    ),
    ("ALTER TABLE a RENAME COLUMN b TO z;", "ALTER TABLE a RENAME z TO b;", []),
    # What the same file creates may be changed at will.
    ("CREATE TABLE x (y TEXT);\nDELETE FROM x;\nUPDATE x SET y = 1;", "DROP TABLE x;", []),
    # A rebuild counts as the changes it amounts to.
    (REBUILD.format(ALL) + "CREATE INDEX by_b ON a (b);", "SELECT 1;", []),
    (REBUILD.format(ALL), "SELECT 1;", [("INDEX_LOST", 2)]),
    ("DROP INDEX by_b;\n" + REBUILD.format(ALL), "SELECT 1;", []),
    (
        REBUILD.format("id INTEGER PRIMARY KEY, c INTEGER") + "DROP INDEX by_b;",
        "SELECT 1;",
        [("DROP_COLUMN", 2)],
    ),
    (
        REBUILD.format("id INTEGER PRIMARY KEY, b INTEGER, c INTEGER, CHECK (b > 1)")
        + "CREATE INDEX by_b ON a (b);",
        "SELECT 1;",
        [("TYPE_NARROWED", 2)],
    ),
    (
        REBUILD.format("id INTEGER PRIMARY KEY, b TEXT, c TEXT") + "CREATE INDEX by_b ON a (b);",
        "SELECT 1;",
        [],
    ),
    # A copy that takes the table's name loses no column that it selects, but every constraint.
    (
        (
            "CREATE TABLE n AS SELECT * FROM a;\nDROP TABLE a;\nALTER TABLE n RENAME TO a;\n"
            "CREATE INDEX by_b ON a (b);"
        ),
        "SELECT 1;",
        [("CONSTRAINTS_LOST", 2)],
    ),
    (
        (
            "CREATE TABLE n AS SELECT id, a.b, upper(c) AS c FROM quote_db__a AS a;\n"
            "DROP TABLE a;\nALTER TABLE n RENAME TO a;\nDROP INDEX by_b;"
        ),
        "SELECT 1;",
        [("CONSTRAINTS_LOST", 2)],
    ),
    (
        (
            "CREATE TABLE n AS SELECT id, b FROM a;\nDROP TABLE a;\nALTER TABLE n RENAME TO a;\n"
            "DROP INDEX by_b;"
        ),
        "SELECT 1;",
        [("DROP_COLUMN", 2), ("CONSTRAINTS_LOST", 2)],
    ),
    (
        REBUILD.format("id INTEGER, b TEXT, c INTEGER") + "DROP INDEX by_b;",
        "SELECT 1;",
        [("CONSTRAINTS_LOST", 2)],
    ),
    # The other way round: rename, make anew, drop under the other name.
    (
        (
            f"ALTER TABLE a RENAME TO o;\nCREATE TABLE a ({ALL});\nINSERT INTO a SELECT * FROM o;\n"
            "DROP TABLE o;\nCREATE INDEX by_b ON a (b);"
        ),
        "SELECT 1;",
        [],
    ),
    (
        (
            "ALTER TABLE a RENAME TO o;\nCREATE TABLE a (id INTEGER PRIMARY KEY, b TEXT);\n"
            "DROP TABLE o;\nDROP INDEX by_b;"
        ),
        "SELECT 1;",
        [("DROP_COLUMN", 3)],
    ),
    ("DROP TABLE IF EXISTS n;\n" + REBUILD.format(ALL) + "DROP INDEX by_b;", "SELECT 1;", []),
    (
        "CREATE TABLE kept AS SELECT * FROM a;\nDROP TABLE a;",
        "DROP TABLE kept;",
        [("DROP_TABLE", 3)],
    ),
    # Columns that no request can name.
    ('CREATE TABLE x ("userName" TEXT);', "DROP TABLE x;", [("NAME_OUT_OF_REACH", 2)]),
    ("CREATE TABLE x (userName TEXT);", "DROP TABLE x;", [("NAME_OUT_OF_REACH", 2)]),
    (
        "ALTER TABLE a ADD [created at] TEXT;",
        "ALTER TABLE a DROP [created at];",
        [("NAME_OUT_OF_REACH", 2)],
    ),
    (
        "ALTER TABLE a RENAME c TO `C2`;",
        "ALTER TABLE a RENAME `C2` TO c;",
        [("NAME_OUT_OF_REACH", 2)],
    ),
    # The way back.
    ("SELECT 1;", None, [("DOWN_MISSING", None)]),
    ("SELECT 1;", "-- nothing", [("DOWN_MISSING", None)]),
    ("CREATE INDEX i ON a (c);", "SELECT 1;", [("INDEX_NOT_DROPPED", 2)]),
    ("CREATE INDEX i ON a (c);", "DROP INDEX i;", []),
    ("CREATE INDEX i ON a (c);", REBUILD.format(ALL) + "CREATE INDEX by_b ON a (b);", []),
    ("CREATE TABLE x (y TEXT);", "SELECT 1;", [("TABLE_NOT_DROPPED", 2)]),
    ("CREATE TABLE x (y TEXT);\nCREATE INDEX i ON x (y);", "DROP TABLE x;", []),
    ("ALTER TABLE a ADD d TEXT;", "ALTER TABLE a DROP b;", [("DOWN_LOSES_DATA", 5)]),
    ("SELECT 1;", "DROP TABLE a;", [("DOWN_LOSES_DATA", 5)]),
    ("SELECT 1;", "DELETE FROM a;", [("DOWN_LOSES_DATA", 5)]),
    (
        "ALTER TABLE a ADD d TEXT;",
        REBUILD.format("id INTEGER PRIMARY KEY, c INTEGER"),
        [("DOWN_LOSES_DATA", 5)],
    ),
    ("ALTER TABLE a ADD d TEXT;", REBUILD.format(ALL), []),
]


def test_a_lost_primary_key_is_named() -> None:
    file = second(
        "CREATE TABLE n AS SELECT * FROM a;\nDROP TABLE a;\nALTER TABLE n RENAME TO a;", "SELECT 1;"
    )
    script = prepare(file, Direction.UP, QUOTES, Dialect.SQLITE)
    told = [w["message"] for w in warnings_of([FIRST, file], [script], QUOTES, Dialect.SQLITE)]
    assert told[0].startswith("makes a anew without its primary key")


def second(up: str, down: str | None) -> MigrationFile:
    text = f"-- UP\n{up}\n\n-- DOWN\n{down}" if down is not None else f"-- UP\n{up}"
    if down is not None and up.count("\n"):
        text = f"-- UP\n{up}\n-- DOWN\n{down}"
    return parse("002_second.sql", text.encode())


@pytest.mark.parametrize(("up", "down", "expected"), UP)
def test_applying(up: str, down: str | None, expected: list[tuple[str, int | None]]) -> None:
    assert found(second(up, down), Direction.UP) == expected


@pytest.mark.parametrize(
    ("up", "down", "expected"),
    [
        ("ALTER TABLE a ALTER b TYPE VARCHAR(9);", "SELECT 1;", [("TYPE_NARROWED", 2)]),
        ("ALTER TABLE a ALTER COLUMN c TYPE BIGINT;", "SELECT 1;", []),
        (
            "ALTER TABLE a ALTER COLUMN c SET DATA TYPE SMALLINT;",
            "SELECT 1;",
            [("TYPE_NARROWED", 2)],
        ),
        ("ALTER TABLE a ALTER c SET NOT NULL;", "SELECT 1;", [("NOT_NULL_WITHOUT_DEFAULT", 2)]),
        (
            "ALTER TABLE a ADD d BIGINT NOT NULL, DROP b;",
            "SELECT 1;",
            [("NOT_NULL_WITHOUT_DEFAULT", 2), ("DROP_COLUMN", 2)],
        ),
        ("ALTER TABLE a ADD d TEXT;\nCREATE INDEX i ON a (d);", "ALTER TABLE a DROP d;", []),
        ("DROP TABLE a CASCADE;", "SELECT 1;", [("DROP_TABLE", 2)]),
        ("CREATE TABLE x (userName TEXT);", "DROP TABLE x;", []),
        ('CREATE TABLE x ("userName" TEXT);', "DROP TABLE x;", [("NAME_OUT_OF_REACH", 2)]),
        (
            (
                "CREATE TABLE n (LIKE a INCLUDING ALL);\nDROP TABLE a;\n"
                "ALTER TABLE n RENAME TO a;\nCREATE INDEX by_b ON a (b);"
            ),
            "SELECT 1;",
            [],
        ),
        (
            (
                "CREATE TABLE n (LIKE a);\nDROP TABLE a;\nALTER TABLE n RENAME TO a;\n"
                "ALTER TABLE a ADD PRIMARY KEY (id);\nDROP INDEX by_b;"
            ),
            "SELECT 1;",
            [],
        ),
    ],
)
def test_applying_on_postgresql(up: str, down: str, expected: list[tuple[str, int | None]]) -> None:
    assert found(second(up, down), Direction.UP, Dialect.POSTGRESQL) == expected


def test_an_irreversible_migration_says_so_when_it_is_applied() -> None:
    file = parse("002_cut.sql", b"-- UP\nSELECT 1;\n-- IRREVERSIBLE: texts are cut\n")
    assert found(file, Direction.UP) == [("IRREVERSIBLE", None)]


def test_rolling_back_says_what_is_lost() -> None:
    assert found(FIRST, Direction.UP) == []
    assert found(FIRST, Direction.DOWN) == [("DROP_TABLE", 5)]
    added = second("ALTER TABLE a ADD d TEXT;", REBUILD.format(ALL) + "CREATE INDEX by_b ON a (b);")
    assert found(added, Direction.DOWN) == [("DROP_COLUMN", 5)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("TEXT", "TEXT", False),
        ("INTEGER", "TEXT", False),
        ("TEXT", "INTEGER", True),
        ("", "INTEGER", True),
        ("INT", "BIGINT", False),
        ("BIGINT", "INTEGER", True),
        ("BIGINT", "DOUBLE PRECISION", True),
        ("REAL", "DOUBLE PRECISION", False),
        ("VARCHAR(10)", "VARCHAR(20)", False),
        ("VARCHAR(20)", "VARCHAR(10)", True),
        ("TEXT", "VARCHAR(10)", True),
        ("JSONB", "JSON", True),
    ],
)
def test_narrowing(old: str, new: str, expected: bool) -> None:
    assert narrows(old, new) is expected
