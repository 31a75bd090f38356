"""The three migrations of quote-db on both engines: every way up and down, with many rows."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from dbservice.engine.errors import ConstraintError, InvalidValueError
from dbservice.migrate.files import Direction, read_migrations
from dbservice.migrate.migrator import Migrator
from dbservice.migrate.scratch import Scratch, postgres_scratch, sqlite_scratch
from dbservice.migrate.script import prepare
from dbservice.protocol.migrations import Apply, Rollback
from dbservice.protocol.names import Namespace
from dbservice.sqltext.dialects import Dialect
from tests.dbservice.migrate.migrated_database import SHIPPED, Database

LONG = os.environ.get("ROSEY_LONG") == "1"
QUOTES = "quote_db__quotes"
ROWS = 10_000 if LONG else 500
COLUMNS = {
    1: ["id", "text", "author", "added_by", "timestamp"],
    2: ["id", "text", "author", "added_by", "timestamp", "score"],
    3: ["id", "text", "author", "added_by", "timestamp", "score", "tags"],
}
INDEXES = {
    1: {"author": "author", "timestamp": "timestamp DESC", "added_by": "added_by"},
}
INDEXES[2] = INDEXES[3] = INDEXES[1] | {"score": "score DESC"}
RECENT = 4_000_000_000  # later than any clock that runs these tests


ENGINES = [Dialect.SQLITE, pytest.param(Dialect.POSTGRESQL, marks=pytest.mark.process)]


@pytest.fixture(params=ENGINES, ids=str)
async def database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """A database with nothing in it, on each engine."""
    scratch: Scratch = sqlite_scratch
    if request.param is Dialect.POSTGRESQL:
        scratch = partial(postgres_scratch, request.getfixturevalue("postgres").url())
    async with scratch() as engine:
        yield Database(engine)


async def fill(database: Database) -> None:
    """Insert rows, then delete the newest, so that the counter is ahead of the ids."""
    await database.write(
        f"INSERT INTO {QUOTES} (text, author, added_by, timestamp) "
        "WITH RECURSIVE number (n) AS "
        f"(SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < {ROWS - 1}) "
        "SELECT 'quote ' || n || ' #Tag' || (n % 7) || ' #b', 'author ' || (n % 13), "
        f"'user ' || (n % 17), {RECENT} + n FROM number"
    )
    await database.write(f"DELETE FROM {QUOTES} WHERE id > ?", (ROWS,))
    await database.write(f"DELETE FROM {QUOTES} WHERE id % 10 = 3")


async def rows_of_first(database: Database) -> list[tuple[object, ...]]:
    return await database.rows(
        f"SELECT id, text, author, added_by, timestamp FROM {QUOTES} ORDER BY id"
    )


async def check_shape(database: Database, version: int) -> None:
    assert await database.tables() == [QUOTES], "no copy is left over"
    assert await database.columns(QUOTES) == COLUMNS[version]
    assert await database.indexes(QUOTES) == {
        f"quote_db__idx_quotes_{name}": over for name, over in INDEXES[version].items()
    }
    await check_constraints(database, version)


async def check_constraints(database: Database, version: int) -> None:
    good: dict[str, object] = {"text": "x", "author": "y", "added_by": "z", "timestamp": 1}
    bad: list[dict[str, object]] = [
        {"id": 1},
        {"text": ""},
        {"text": None},
        {"text": "x" * 1001},
        {"author": "x" * 101},
        {"added_by": None},
        {"added_by": "x" * 51},
        {"timestamp": 0},
        {"timestamp": None},
    ]
    bad += [{"score": 101}, {"score": -101}] if version >= 2 else []
    bad += [{"tags": "no json"}] if version >= 3 else []
    for wrong in bad:
        row = good | wrong
        marks = ", ".join("?" * len(row))
        with pytest.raises((ConstraintError, InvalidValueError)):
            await database.write(
                f"INSERT INTO {QUOTES} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
            )


async def check_new_columns(database: Database, version: int) -> None:
    """Scores and tags are those that a migration gives: nobody voted in these tests."""
    if version >= 2:
        scores = await database.rows(f"SELECT id <= 5, score FROM {QUOTES} GROUP BY 1, 2")
        assert sorted(map(tuple, scores)) == [(False, 0), (True, 5)], "the first quotes are old"
    if version >= 3:
        for author, text, tags in await database.rows(f"SELECT author, text, tags FROM {QUOTES}"):
            more = ["mst3k", "classic"] if author == "MST3K" else []
            assert json.loads(tags) == re.findall(r"#(\w+)", text.lower()) + more


async def next_id(database: Database, version: int) -> int:
    """Insert a row, check its defaults, delete it again and return the id it got."""
    await database.write(f"INSERT INTO {QUOTES} (text, added_by, timestamp) VALUES ('x', 'y', 1)")
    (row,) = await database.rows(f"SELECT * FROM {QUOTES} ORDER BY id DESC LIMIT 1")
    found, *values = row
    await database.write(f"DELETE FROM {QUOTES} WHERE id = ?", (found,))
    if version >= 3:
        values[-1] = json.loads(values[-1])
    assert values == ["x", "Unknown", "y", 1, 0, []][: len(COLUMNS[version]) - 1]
    return int(found)


PATHS = [path for size in (1, 2, 3) for path in itertools.product((1, 2, 3), repeat=size)]
# Two moves are enough for every step from any version to any; the third finds what a step left.
SOME_PATHS = [*(path for path in PATHS if len(path) < 3), (2, 1, 2), (3, 1, 3), (3, 2, 3)]
PATHS_OF = {
    Dialect.SQLITE: PATHS,
    Dialect.POSTGRESQL: PATHS if LONG else SOME_PATHS,
}


@pytest.mark.parametrize(
    ("database", "path"),
    [
        pytest.param(dialect, path, marks=[pytest.mark.process] if dialect != "sqlite" else [])
        for dialect, paths in PATHS_OF.items()
        for path in paths
    ],
    indirect=["database"],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value)),
)
async def test_every_way_keeps_rows_ids_indexes_and_constraints(
    shipped: Migrator, database: Database, quotes: Namespace, path: tuple[int, ...]
) -> None:
    await shipped.apply(quotes, Apply(version=1))
    await fill(database)
    before = await rows_of_first(database)
    assert len(before) == ROWS * 9 // 10
    counter = await next_id(database, 1)
    assert counter == ROWS + 6, "five seeds, then the rows; deleted ids are not given again"
    current = 1
    for version in path:
        if version >= current:
            await shipped.apply(quotes, Apply(version=version))
        else:
            await shipped.rollback(quotes, Rollback(to=version))
        current = version
        assert await rows_of_first(database) == before
        assert await database.last_id(QUOTES) == counter
        await check_new_columns(database, version)
        await check_shape(database, version)
        # Rows that are refused use up ids on PostgreSQL.
        counter = await database.last_id(QUOTES) + 1
        assert await next_id(database, version) == counter


async def test_the_counter_survives_when_all_rows_are_gone(
    shipped: Migrator, database: Database, quotes: Namespace
) -> None:
    await shipped.apply(quotes, Apply())
    await database.write("DELETE FROM quote_db__quotes")
    await shipped.rollback(quotes, Rollback(to=1))
    assert await next_id(database, 1) == 6
    await shipped.rollback(quotes, Rollback(all=True))
    await shipped.apply(quotes, Apply())
    assert [row[0] for row in await rows_of_first(database)] == [1, 2, 3, 4, 5]


async def test_rolling_back_tags_keeps_scores(
    shipped: Migrator, database: Database, quotes: Namespace
) -> None:
    await shipped.apply(quotes, Apply())
    await database.write("UPDATE quote_db__quotes SET score = id * 7")
    await shipped.rollback(quotes, Rollback())
    found = await database.rows("SELECT score FROM quote_db__quotes ORDER BY id")
    assert found == [(7,), (14,), (21,), (28,), (35,)]


async def test_first_quotes(shipped: Migrator, database: Database, quotes: Namespace) -> None:
    await shipped.apply(quotes, Apply(version=1))
    found = await rows_of_first(database)
    assert [row[0] for row in found] == [1, 2, 3, 4, 5]
    assert {(row[2], row[3]) for row in found} == {("MST3K", "system")}
    assert found[2][1] == "If you're wondering how he eats and breathes"


async def test_quotes_older_than_a_year_start_with_five_points(
    shipped: Migrator, database: Database, quotes: Namespace
) -> None:
    await shipped.apply(quotes, Apply(version=1))
    day = 86_400
    for age in (0, 364 * day, 367 * day):
        await database.write(
            "INSERT INTO quote_db__quotes (text, added_by, timestamp) VALUES ('x', 'y', ?)",
            (int(time.time()) - age,),
        )
    await shipped.apply(quotes, Apply(version=2))
    found = await database.rows("SELECT score FROM quote_db__quotes WHERE id > 5 ORDER BY id")
    assert found == [(0,), (0,), (5,)]


@pytest.mark.parametrize(
    ("text", "author", "tags"),
    [
        ("no tag at all", "x", []),
        ("Keep #circulating the #tapes", "x", ["circulating", "tapes"]),
        ("#B #a #C", "x", ["b", "a", "c"]),
        ("#Foo #bar #FOO #bar", "x", ["foo", "bar"]),
        ("#one#two,#three.", "x", ["one", "two", "three"]),
        ("## # #- ##x", "x", ["x"]),
        ("at the end #", "x", []),
        ("#snake_case_2 (#in) '#quoted'", "x", ["snake_case_2", "in", "quoted"]),
        ("#café #Привет! #漢字。 #😀…", "x", ["café", "Привет", "漢字", "😀"]),
        ("#a\n#b\t#c\u00a0#d", "x", ["a", "b", "c", "d"]),
        ("nothing", "MST3K", ["mst3k", "classic"]),
        ("#Torgo", "MST3K", ["torgo", "mst3k", "classic"]),
        ("#classic #x", "MST3K", ["classic", "x", "mst3k"]),
        ("#x", "mst3k", ["x"]),
        ("#x", None, ["x"]),
    ],
)
async def test_tags_come_from_all_hashtags(
    shipped: Migrator,
    database: Database,
    quotes: Namespace,
    text: str,
    author: str | None,
    tags: list[str],
) -> None:
    await shipped.apply(quotes, Apply(version=2))
    await database.write(
        "INSERT INTO quote_db__quotes (text, author, added_by, timestamp) VALUES (?, ?, 'x', 1)",
        (text, author),
    )
    await shipped.apply(quotes, Apply())
    ((found,),) = await database.rows("SELECT tags FROM quote_db__quotes WHERE id = 6")
    assert json.loads(found) == tags


async def test_nothing_is_warned_about_on_the_way_up(shipped: Migrator, quotes: Namespace) -> None:
    assert (await shipped.apply(quotes, Apply())).warnings == []
    undone = await shipped.rollback(quotes, Rollback(all=True))
    assert [(warning["code"], warning["file"]) for warning in undone.warnings] == [
        ("DROP_COLUMN", "003_add_tags_column.sql"),
        ("DROP_COLUMN", "002_add_score_column.sql"),
        ("DROP_TABLE", "001_create_quotes_table.sql"),
    ]


@pytest.mark.parametrize("dialect", list(Dialect))
def test_both_engines_have_both_ways(quotes: Namespace, dialect: Dialect) -> None:
    files = read_migrations([SHIPPED], "quote-db")
    assert [file.name for file in files] == [
        "001_create_quotes_table",
        "002_add_score_column",
        "003_add_tags_column",
    ]
    for file, direction in itertools.product(files, Direction):
        script = prepare(file, direction, quotes, dialect)
        assert script.statements
        assert all("quote_db__" in statement.sql for statement in script.statements)


@pytest.mark.parametrize("database", [Dialect.SQLITE], indirect=True, ids=str)
async def test_the_migrations_of_the_seed_run_as_printed(
    migrator: Migrator, database: Database, quotes: Namespace, root: Path
) -> None:
    """Full names, IF NOT EXISTS and verification SELECTs, in one file with both sections."""
    (root / "quote-db" / "001_create_quotes_table.sql").write_text(
        "-- Migration: 001_create_quotes_table.sql\n-- Breaking Changes: No\n\n"
        "-- UP: Apply changes\n-- ==================\n"
        "CREATE TABLE IF NOT EXISTS quote_db__quotes (\n"
        "    id INTEGER PRIMARY KEY AUTOINCREMENT,\n    text TEXT NOT NULL\n);\n"
        "CREATE INDEX IF NOT EXISTS idx_quote_db__quotes_text ON quote_db__quotes(text);\n"
        "INSERT INTO quote_db__quotes (text) VALUES ('It''s just a show; relax');\n"
        "SELECT 'Seed data inserted: ' || COUNT(*) || ' quotes' AS result FROM quote_db__quotes;\n"
        "-- DOWN: Rollback changes\n-- ==================\n"
        "DROP INDEX IF EXISTS idx_quote_db__quotes_text;\nDROP TABLE IF EXISTS quote_db__quotes;\n"
        "SELECT 'Table quote_db__quotes dropped' AS result;\n"
    )
    assert (await migrator.apply(quotes, Apply())).migrations[0].statements == 4
    assert await database.rows(
        "SELECT name FROM sqlite_master WHERE name LIKE '%quote_db%' ORDER BY name"
    ) == [("idx_quote_db__quotes_text",), ("quote_db__quotes",)]
    assert (await migrator.rollback(quotes, Rollback())).current_version == 0
