"""A search index answers `$like` and `$ilike` from trigrams, and changes no result."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from dbservice.engine import sqlite_search
from dbservice.engine.dialect import dialect_of
from dbservice.engine.steps import Statement, Steps
from dbservice.migrate import Migrator
from dbservice.protocol.errors import RequestError
from dbservice.protocol.filters import parse_filters
from dbservice.protocol.migrations import Apply, Rollback
from dbservice.protocol.names import namespace
from dbservice.sqltext.dialects import Dialect
from dbservice.storage import search_indexes
from dbservice.storage.catalog import Catalog
from dbservice.storage.database import Database
from dbservice.storage.rows import Matching
from tests import SEED
from tests.dbservice.storage.caller import ONLY_ON_SQLITE, Caller, Json
from tests.dbservice.storage.conftest import Applies

SEARCHES = 120
SEEDS = int(os.environ.get("ROSEY_SEARCH_SEEDS", "4"))
"""How many tables are written and searched with and without an index."""

TABLES = ("CREATE TABLE t ({id}, a TEXT, b VARCHAR(4000), n BIGINT)",)
INDEX = "CREATE INDEX t_search ON t USING trigram (a, b)"


@pytest.fixture
async def indexed(plugin: Caller, apply: Applies) -> Caller:
    """Return a plugin with a table that has a search index, made before any row."""
    await apply(*TABLES, INDEX)
    return plugin


async def has_index(plugin: Caller, table: str = "t") -> list[Json]:
    """Return the search indexes that a table is described with."""
    described = await plugin.row("schema.describe", table=table)
    return [index for index in described["indexes"] if index.get("search")]


async def found(plugin: Caller, pattern: str, column: str = "a", table: str = "t") -> list[int]:
    return await plugin.ids({column: {"$ilike": pattern}}, table=table)


async def test_an_index_is_described(indexed: Caller) -> None:
    [index] = await has_index(indexed)
    assert index["columns"] == ["a", "b"]
    assert index["unique"] is False
    assert index["name"].endswith("t_search")


@pytest.mark.parametrize(
    ("pattern", "asks"), [("%abc%", True), ("%ab%", False), ("%a_c%", False), ("%abcd\\%%", True)]
)
async def test_an_index_is_asked_for_three_characters_or_more(
    indexed: Caller, database: Database, pattern: str, asks: bool
) -> None:
    own, catalog = namespace("quote-db"), Catalog(dialect_of(database.engine.dialect))
    table = await database.engine.read(lambda: catalog.table(own, "t"))
    sql = Matching(table, parse_filters({"$not": {"a": {"$ilike": pattern}}})).sql
    assert ("MATCH" in sql or "_rosey_fold" in sql) is asks


async def test_whatever_writes_keeps_the_index(indexed: Caller, apply: Applies) -> None:
    await indexed.row("insert", table="t", data={"id": 1, "a": "Hello world", "b": "x"})
    await indexed.row(
        "insert_batch", table="t", rows=[{"id": 2, "a": "HELLO"}, {"id": 3, "b": "hello"}]
    )
    assert await found(indexed, "%hello%") == [1, 2]
    assert await found(indexed, "%hello%", "b") == [3]
    await indexed.row("update", table="t", id=1, data={"a": "goodbye"})
    await indexed.row("upsert", table="t", data={"id": 2, "a": "good morning"}, on=["id"])
    assert await found(indexed, "%hello%") == []
    assert await found(indexed, "%good%") == [1, 2]
    await apply(
        "INSERT INTO t (id, a) VALUES (9, 'goodness')",
        "UPDATE t SET a = 'bad' WHERE id = 1",
    )
    assert await found(indexed, "%good%") == [2, 9]
    await indexed.row("delete", table="t", filters={"a": {"$like": "good%"}})
    assert await found(indexed, "%good%") == []
    assert await found(indexed, "%bad%") == [1]


@ONLY_ON_SQLITE
async def test_written_rows_are_indexed_together(indexed: Caller, database: Database) -> None:
    async def waiting() -> int:
        def steps() -> Steps[int]:
            table = "_search_quote_db__t_search__written"
            return int((yield Statement(f"SELECT COUNT(DISTINCT row) FROM {table}")).rows[0][0])

        return await database.engine.read(steps)

    await indexed.row("insert", table="t", data={"a": "hello"})
    assert await waiting() == 1
    rows = [{"a": f"row {number}"} for number in range(sqlite_search.TOGETHER)]
    await indexed.row("insert_batch", table="t", rows=rows)
    assert await waiting() < sqlite_search.TOGETHER / 2
    await indexed.row("insert", table="t", data={"a": "x" * sqlite_search.TOGETHER_CHARACTERS})
    await indexed.row("update", table="t", id=1, data={"a": "goodbye"})
    assert await waiting() <= 1
    assert await found(indexed, "%hello%") == []
    assert await found(indexed, "%goodbye%") == [1]
    assert await found(indexed, "%row 127%") == [129]


async def test_a_write_that_fails_leaves_the_index_as_it_was(indexed: Caller) -> None:
    await indexed.row("insert", table="t", data={"id": 1, "a": "hello"})
    await indexed.refused_row("insert_batch", table="t", rows=[{"id": 2, "a": "hello"}, {"id": 1}])
    assert await found(indexed, "%hello%") == [1]


async def test_an_index_over_rows_that_are_there_is_filled(plugin: Caller, apply: Applies) -> None:
    await apply(*TABLES, "INSERT INTO t (id, a) VALUES (1, 'Übermut')")
    await apply(INDEX)
    assert len(await has_index(plugin)) == 1
    assert await found(plugin, "%üBERM%") == [1]


async def test_drop_index_takes_it_back(indexed: Caller, apply: Applies) -> None:
    await indexed.row("insert", table="t", data={"id": 1, "a": "hello"})
    await apply("DROP INDEX t_search")
    assert await has_index(indexed) == []
    assert await found(indexed, "%hello%") == [1]
    await apply(INDEX)
    assert len(await has_index(indexed)) == 1
    with pytest.raises(RequestError, match="already exists"):
        await apply(INDEX)
    await apply(INDEX.replace("INDEX", "INDEX IF NOT EXISTS"))


async def test_an_index_survives_the_rebuild_of_its_table(indexed: Caller, apply: Applies) -> None:
    await indexed.row("insert", table="t", data={"id": 1, "a": "hello"})
    await apply(
        "CREATE TABLE t_new ({id}, a TEXT, b TEXT, n BIGINT, more TEXT)",
        "INSERT INTO t_new (id, a, b, n) SELECT id, a, b, n FROM t",
        "DROP TABLE t",
        "ALTER TABLE t_new RENAME TO t",
    )
    assert len(await has_index(indexed)) == 1
    assert await found(indexed, "%hello%") == [1]
    await indexed.row("insert", table="t", data={"id": 2, "a": "hello again"})
    assert await found(indexed, "%hello%") == [1, 2]


async def test_an_index_follows_the_names_of_its_table_and_columns(
    indexed: Caller, apply: Applies
) -> None:
    await indexed.row("insert", table="t", data={"id": 1, "a": "hello"})
    await apply("ALTER TABLE t RENAME TO u", "ALTER TABLE u RENAME COLUMN a TO c")
    [index] = await has_index(indexed, "u")
    assert index["columns"] == ["c", "b"]
    assert await found(indexed, "%hello%", "c", "u") == [1]
    await indexed.row("insert", table="u", data={"id": 2, "c": "hello again"})
    assert await found(indexed, "%hello%", "c", "u") == [1, 2]


async def test_an_index_goes_with_its_table(indexed: Caller, apply: Applies) -> None:
    await apply("DROP TABLE t")
    await apply(*TABLES)
    assert await has_index(indexed) == []
    await apply(INDEX)
    await indexed.clear()
    assert await _left(indexed.database) == []


async def _left(database: Database) -> list[Any]:
    def steps() -> Steps[list[Any]]:
        return (yield Statement("SELECT name FROM _searches")).rows

    return await database.engine.read(steps)


async def test_a_rollback_takes_the_index_along(
    plugin: Caller, database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations" / "quote-db"
    folder.mkdir(parents=True)
    is_postgres = database.engine.dialect is Dialect.POSTGRESQL
    key = "BIGINT GENERATED BY DEFAULT AS IDENTITY" if is_postgres else "INTEGER"
    (folder / "001_t.sql").write_text(
        f"-- UP\nCREATE TABLE t (id {key} PRIMARY KEY, a TEXT, b TEXT);\n-- DOWN\nDROP TABLE t;\n",
        "utf-8",
    )
    (folder / "002_i.sql").write_text(f"-- UP\n{INDEX};\n-- DOWN\nDROP INDEX t_search;\n", "utf-8")
    migrator = Migrator(database.engine, [folder.parent])
    own = namespace("quote-db")
    applied = await migrator.apply(own, Apply())
    assert applied.warnings == []
    assert len(await has_index(plugin)) == 1
    await migrator.rollback(own, Rollback(version="002"))
    assert await has_index(plugin) == []
    await migrator.apply(own, Apply())
    assert len(await has_index(plugin)) == 1
    await migrator.rollback(own, Rollback(all=True))
    assert await _left(database) == []
    verified = await migrator.verify(own)
    assert verified.verified, verified


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("CREATE INDEX s ON t USING trigram (n)", "no text column"),
        ("CREATE INDEX s ON t USING trigram (c)", "no text column"),
        ("CREATE INDEX s ON absent USING trigram (a)", "no table 'absent'"),
        ("CREATE UNIQUE INDEX s ON t USING trigram (a)", "is written as"),
    ],
)
async def test_what_cannot_be_searched_is_refused(
    indexed: Caller, apply: Applies, statement: str, told: str
) -> None:
    with pytest.raises(RequestError, match=told):
        await apply(statement)


@ONLY_ON_SQLITE
async def test_a_table_without_an_integer_key_is_refused(plugin: Caller, apply: Applies) -> None:
    with pytest.raises(RequestError, match="no INTEGER PRIMARY KEY"):
        await apply("CREATE TABLE k (k TEXT PRIMARY KEY)", "CREATE INDEX s ON k USING trigram (k)")


@pytest.mark.parametrize("make_engine", ["file"], indirect=True)
async def test_a_plain_sqlite_shell_does_not_write_past_the_index(
    indexed: Caller, database: Database
) -> None:
    await indexed.row("insert", table="t", data={"id": 1, "a": "hello"})
    shell = sqlite3.connect(database.engine.path)  # type: ignore[attr-defined]
    with pytest.raises(sqlite3.OperationalError, match="rosey_lower"):
        shell.execute("UPDATE quote_db__t SET a = 'other'")
    for trigger in ("update", "update_store"):
        shell.execute(f'DROP TRIGGER "_search_quote_db__t_search__{trigger}"')
    shell.execute("UPDATE quote_db__t SET a = 'other' WHERE id = 1")
    shell.commit()
    shell.close()
    assert await has_index(indexed) == []
    assert await found(indexed, "%other%") == [1]


async def test_a_registered_field_is_searched(plugin: Caller) -> None:
    fields = [{"name": "a", "type": "text", "search": True}, {"name": "n", "type": "integer"}]
    registered = {"table": "r", "schema": {"fields": fields}}
    assert (await plugin.row("schema.register", **registered))["created"] is True
    assert (await plugin.row("schema.register", **registered))["created"] is False
    [index] = await has_index(plugin, "r")
    assert index["columns"] == ["a"]
    await plugin.row("insert", table="r", data={"a": "hello"})
    assert await found(plugin, "%HELLO%", table="r") == [1]
    await plugin.row("schema.drop", table="r")
    assert await _left(plugin.database) == []


async def test_search_on_a_table_that_is_there_fills_the_index(plugin: Caller) -> None:
    plain = [{"name": "a", "type": "text"}]
    await plugin.row("schema.register", table="r", schema={"fields": plain})
    await plugin.row("insert", table="r", data={"a": "hello"})
    await plugin.row(
        "schema.register", table="r", schema={"fields": [{**plain[0], "search": True}]}
    )
    assert len(await has_index(plugin, "r")) == 1
    assert await found(plugin, "%hello%", table="r") == [1]


async def test_search_on_a_number_is_refused(plugin: Caller) -> None:
    fields = [{"name": "n", "type": "integer", "search": True}]
    error = await plugin.refused_row("schema.register", table="r", schema={"fields": fields})
    assert error["code"] == "VALIDATION_ERROR"
    assert error["details"]["field"] == "schema.fields[0].search"


async def test_a_text_folded_by_another_unicode_is_folded_anew(
    indexed: Caller, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await indexed.row("insert", table="t", data={"id": 1, "a": "hello"})
    monkeypatch.setattr(search_indexes, "FOLDING", "99.0")
    dialect = dialect_of(database.engine.dialect)
    await database.engine.exclusive(lambda: search_indexes.refresh(dialect))
    assert await found(indexed, "%hello%") == [1]

    def folding() -> Steps[list[Any]]:
        return (yield Statement("SELECT DISTINCT folding FROM _searches")).rows

    assert await database.engine.read(folding) == [("99.0",)]


LETTERS = [
    "a",
    "b",
    "A",
    "B",
    "é",
    "É",
    "e\u0301",
    "ß",
    "ẞ",
    "İ",
    "ı",
    "Σ",
    "σ",
    "ς",
    "K",
    "\u212a",
]
LETTERS += [
    "\n",
    "\t",
    " ",
    "%",
    "_",
    "\\",
    '"',
    "'",
    "*",
    "?",
    "[",
    "]",
    "漢",
    "字",
    "😀",
    "\ufffe",
]
LETTERS += ["ǅ", "ﬁ", "1", "-"]
# ruff: noqa: RUF001 - letters that look alike are what folding is tried with


def some_text(rng: random.Random) -> str:
    return "".join(rng.choices(LETTERS, k=rng.randint(0, 12)))


def some_pattern(rng: random.Random, texts: list[str]) -> str:
    """Return a piece of a text, in another case, with wildcards and escapes."""
    text = rng.choice([*texts, some_text(rng)])
    start = rng.randint(0, max(0, len(text) - 3))
    piece = text[start : start + rng.randint(0, 6)]
    piece = "".join(rng.choice([str.upper, str.lower, str])(letter) for letter in piece)
    escaped = "".join(f"\\{letter}" if letter in "%_\\" else letter for letter in piece)
    if escaped and rng.random() < 0.3:
        at = rng.randrange(len(piece) + 1)
        escaped = escaped if "\\" in escaped else piece[:at] + rng.choice("%_") + piece[at + 1 :]
    return rng.choice(["{}", "%{}%", "{}%", "%{}", "_{}%"]).replace("{}", escaped)


@pytest.mark.parametrize("seed", range(SEED, SEED + SEEDS))
async def test_an_index_changes_no_result(
    plugin: Caller, apply: Applies, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(sqlite_search, "TOGETHER", (1, 5, 20, 128)[seed % 4])
    await apply(*(TABLES[0].replace(" t ", f" {name} ") for name in ("t", "u")), INDEX)
    texts: list[str] = []
    for _ in range(60):
        change = rng.random()
        row = {"a": some_text(rng), "b": rng.choice([None, some_text(rng)]), "n": rng.randint(0, 9)}
        texts.append(row["a"])
        for table in ("t", "u"):
            if change < 0.7:
                await plugin.row("insert", table=table, data=row)
            elif change < 0.85:
                await plugin.row(
                    "update", table=table, filters={"n": row["n"]}, data={"a": row["a"]}
                )
            else:
                await plugin.row("delete", table=table, filters={"n": row["n"]})
    for _ in range(SEARCHES):
        likes: list[Json] = [
            {rng.choice("ab"): {rng.choice(["$like", "$ilike"]): some_pattern(rng, texts)}}
            for _ in range(2)
        ]
        filters = rng.choice(
            [
                likes[0],
                {"$or": likes},
                {"$and": likes},
                {"$nor": likes},
                {"$not": likes[0]},
                {"$or": [likes[0], {"n": {"$gt": 5}}]},
                {"$not": {"$or": likes}},
            ]
        )
        assert await plugin.ids(filters, table="t") == await plugin.ids(filters, table="u"), filters
    print(f"{SEARCHES} searches")
