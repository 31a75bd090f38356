"""The three migrations of quote-db on SQLite: every way up and down, with many rows."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from migrate_database import SHIPPED, Database

from dbservice.migrate.files import Direction, read_migrations
from dbservice.migrate.migrator import Migrator
from dbservice.migrate.script import prepare
from dbservice.protocol.migrations import Apply, Rollback
from dbservice.protocol.names import Namespace
from dbservice.storage.dialect import Dialect
from dbservice.storage.errors import ConstraintError

ROWS = 10_000
COLUMNS = {
    1: ["id", "text", "author", "added_by", "timestamp"],
    2: ["id", "text", "author", "added_by", "timestamp", "score"],
    3: ["id", "text", "author", "added_by", "timestamp", "score", "tags"],
}
INDEXES = {
    1: ["idx_quotes_added_by", "idx_quotes_author", "idx_quotes_timestamp"],
    2: ["idx_quotes_added_by", "idx_quotes_author", "idx_quotes_score", "idx_quotes_timestamp"],
}
INDEXES[3] = INDEXES[2]
RECENT = 4_000_000_000  # later than any clock that runs these tests


async def fill(database: Database) -> None:
    """Insert rows, then delete the newest, so that the counter is ahead of the ids."""
    rows = [
        (f"quote {n} #Tag{n % 7} #b", f"author {n % 13}", f"user {n % 17}", RECENT + n)
        for n in range(ROWS)
    ]
    await database.write_many(
        "INSERT INTO quote_db__quotes (text, author, added_by, timestamp) VALUES (?, ?, ?, ?)",
        rows,
    )
    await database.write("DELETE FROM quote_db__quotes WHERE id > ?", (ROWS,))
    await database.write("DELETE FROM quote_db__quotes WHERE id % 10 = 3")


async def rows_of_first(database: Database) -> list[tuple[object, ...]]:
    return await database.rows(
        "SELECT id, text, author, added_by, timestamp FROM quote_db__quotes ORDER BY id"
    )


async def check_shape(database: Database, version: int) -> None:
    info = await database.rows("SELECT name FROM pragma_table_info('quote_db__quotes')")
    assert [name for (name,) in info] == COLUMNS[version]
    indexes = await database.rows(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'quote_db__quotes' "
        "ORDER BY name"
    )
    assert [name.removeprefix("quote_db__") for (name,) in indexes] == INDEXES[version]
    assert await database.rows("SELECT name FROM sqlite_master WHERE name LIKE '%new'") == []
    await check_constraints(database, version)


async def check_constraints(database: Database, version: int) -> None:
    good: dict[str, object] = {"text": "x", "author": "y", "added_by": "z", "timestamp": 1}
    bad: list[dict[str, object]] = [
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
        with pytest.raises(ConstraintError):
            await database.write(
                f"INSERT INTO quote_db__quotes ({', '.join(row)}) VALUES ({marks})",
                tuple(row.values()),
            )


async def next_id(database: Database) -> int:
    """Insert a row, delete it again and return the id it got."""
    await database.write(
        "INSERT INTO quote_db__quotes (text, added_by, timestamp) VALUES ('x', 'y', 1)"
    )
    ((found,),) = await database.rows("SELECT max(id) FROM quote_db__quotes")
    await database.write("DELETE FROM quote_db__quotes WHERE id = ?", (found,))
    return int(found)


PATHS = [path for size in (1, 2, 3) for path in itertools.product((1, 2, 3), repeat=size)]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: "-".join(map(str, path)))
async def test_every_way_keeps_rows_ids_indexes_and_constraints(
    shipped: Migrator, database: Database, quotes: Namespace, path: tuple[int, ...]
) -> None:
    await shipped.apply(quotes, Apply(version=1))
    await fill(database)
    before = await rows_of_first(database)
    assert len(before) == ROWS * 9 // 10
    counter = await next_id(database)
    assert counter == ROWS + 6, "five seeds, then the rows; deleted ids are not given again"
    current = 1
    for version in path:
        if version >= current:
            await shipped.apply(quotes, Apply(version=version))
        else:
            await shipped.rollback(quotes, Rollback(to=version))
        current = version
        assert await rows_of_first(database) == before
        await check_shape(database, version)
        counter += 1
        assert await next_id(database) == counter


async def test_the_counter_survives_when_all_rows_are_gone(
    shipped: Migrator, database: Database, quotes: Namespace
) -> None:
    await shipped.apply(quotes, Apply())
    await database.write("DELETE FROM quote_db__quotes")
    await shipped.rollback(quotes, Rollback(to=1))
    assert await next_id(database) == 6
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
    ((now,),) = await database.rows("SELECT CAST(strftime('%s', 'now') AS INTEGER)")
    day = 86_400
    for age in (0, 300 * day, 400 * day):
        await database.write(
            "INSERT INTO quote_db__quotes (text, added_by, timestamp) VALUES ('x', 'y', ?)",
            (now - age,),
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
