"""Existing databases become migrations and rows of the service, and nothing is lost silently."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dbservice.cli import main
from dbservice.client import StorageClient
from dbservice.embedded import Stack
from dbservice.migrate.files import parse
from dbservice.migrate.scratch import postgres_scratch
from dbservice.migrate.verify import verify
from dbservice.protocol.names import IDENTIFIER, namespace
from dbservice.scaffold.renaming import Names, rewritten, valid
from dbservice.scaffold.scaffold import TABLES_FILE, Scaffold, scaffold
from dbservice.scaffold.source import Source, SourceError, as_text
from dbservice.sqltext.dialects import Dialect
from tests.dbservice.scaffold.existing_databases import DATABASES

OWNER = namespace("old-bot")


@pytest.fixture(params=sorted(DATABASES))
def existing(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"{request.param}.sqlite"
    DATABASES[request.param](path)
    return path


@pytest.fixture
def source(existing: Path) -> Iterator[Source]:
    with Source(existing, OWNER) as opened:
        yield opened


@pytest.fixture
def made(source: Source, existing: Path) -> Scaffold:
    return scaffold(source, OWNER, existing.name)


@pytest.fixture(params=["sqlite", "postgresql"])
async def storage(
    request: pytest.FixtureRequest, made: Scaffold, tmp_path: Path
) -> AsyncIterator[StorageClient]:
    """The service with the scaffold's files, before anything was applied."""
    directory = tmp_path / "roots" / OWNER.plugin
    directory.mkdir(parents=True)
    for name, text in made.files.items():
        (directory / name).write_text(text, "utf-8")
    url = "sqlite+aiosqlite://"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").url()
    async with Stack(database_url=url, migrations=[directory]) as stack:
        client = StorageClient(await stack.connect(), OWNER.plugin, timeout=30)
        yield client
        await client.clear()


@pytest.fixture
def exported(existing: Path, tmp_path: Path) -> list[str]:
    """The lines of the export that the command writes."""
    line = ["scaffold", str(existing), "--plugin", OWNER.plugin, "--out", str(tmp_path / "out")]
    assert exit_code(line) == 0
    return (tmp_path / f"{OWNER.plugin}.jsonl").read_text("utf-8").splitlines()


async def test_every_row_arrives_as_it_was(
    storage: StorageClient, source: Source, existing: Path, exported: list[str]
) -> None:
    imported = await storage.import_(exported)
    assert imported.rows == sum(table.rows for table in source.tables)
    assert (await storage.migrations.status()).up_to_date
    with closing(sqlite3.connect(existing)) as original:
        for table in source.tables:
            old = list(original.execute(f'SELECT * FROM "{table.table.full_name}"'))
            names = [table.columns[name] for name in _names(original, table.table.full_name)]
            before = [dict(zip(names, row, strict=True)) for row in old]
            after = [row async for row in _all_rows(storage, table.name, names)]
            assert len(after) == len(before) == table.rows, table.name
            assert checksum(after, names) == checksum(before, names), table.name


@pytest.mark.parametrize(
    "dialect",
    [Dialect.SQLITE, pytest.param(Dialect.POSTGRESQL, marks=pytest.mark.process)],
)
async def test_the_migrations_pass_their_own_trial(
    made: Scaffold, dialect: Dialect, request: pytest.FixtureRequest
) -> None:
    files = [parse(name, text.encode()) for name, text in made.files.items()]
    scratch = None
    if dialect is Dialect.POSTGRESQL:
        scratch = partial(postgres_scratch, request.getfixturevalue("postgres").url())
    checks = await verify(files, OWNER, dialect, scratch=scratch)
    assert [check for check in checks if not check.passed] == []
    assert any(check.name.endswith("UP again gives the same data") for check in checks)


def test_reading_changes_nothing(existing: Path) -> None:
    before = hashlib.sha256(existing.read_bytes()).digest()
    with Source(existing, OWNER) as source:
        scaffold(source, OWNER, existing.name)
        for table in source.tables:
            assert len(list(source.rows(table))) == table.rows
    assert hashlib.sha256(existing.read_bytes()).digest() == before


# --- what is said --------------------------------------------------------------------------------


@pytest.fixture
def wild(tmp_path: Path) -> Path:
    path = tmp_path / "wild.sqlite"
    DATABASES["wild"](path)
    return path


def test_what_is_left_out_is_said(wild: Path) -> None:
    with Source(wild, OWNER) as source:
        notes = "\n".join(scaffold(source, OWNER, wild.name).notes)
    for told in (
        "virtual table words: left out",
        "column Order.payload: binary values are imported as base64 text",
        "column Order.at: declared DATETIME, but 'yesterday' does not fit that (",
        "foreign key order details (what) to nowhere: left out, there is no such table",
        "foreign key orphan (hen_id) to hen: left out, rows refer to rows that are not there",
        "'2fast' is renamed to x_2fast",
        "'order details' is renamed to order_details_2",
        "view secret: left out on sqlite, 'load_extension' is not among the functions",
        "triggers weird_trigger: left out on PostgreSQL",
        "index odd index: left out on PostgreSQL",
        "names are written in lower case",
    ):
        assert told in notes


def test_lost_conflict_clauses_are_said(tmp_path: Path) -> None:
    path = tmp_path / "clauses.sqlite"
    with closing(sqlite3.connect(path)) as made:
        made.executescript("""
        CREATE TABLE Fans (
            Id INTEGER PRIMARY KEY ON CONFLICT REPLACE AUTOINCREMENT,
            "full name" TEXT COLLATE NOCASE UNIQUE on conflict ignore
                NOT NULL ON CONFLICT FAIL,
            conflict TEXT NOT NULL ON CONFLICT ABORT DEFAULT 'on conflict replace',
            plain TEXT UNIQUE CHECK (plain <> '') REFERENCES conflict ON DELETE CASCADE,
            CONSTRAINT both UNIQUE (plain,
                conflict) ON CONFLICT ROLLBACK,
            CHECK (length(plain) < 9) ON CONFLICT IGNORE
        );
        CREATE TABLE conflict (a TEXT PRIMARY KEY);
        """)
    with Source(path, OWNER) as source:
        told = scaffold(source, OWNER, path.name)
    end = "loses its ON CONFLICT clause, rows that break the constraint are refused"
    said = [" ".join(note.split()) for note in told.notes if "ON CONFLICT" in note]
    assert said == [
        f"column Fans.Id: 'PRIMARY KEY ON CONFLICT REPLACE' {end}",
        f"column Fans.full name: 'UNIQUE on conflict ignore' {end}",
        f"column Fans.full name: 'NOT NULL ON CONFLICT FAIL' {end}",
        f"table Fans: 'UNIQUE (plain, conflict) ON CONFLICT ROLLBACK' {end}",
    ]
    text = told.files[TABLES_FILE].upper()
    assert text.count("ON CONFLICT") == text.count("DEFAULT 'ON CONFLICT REPLACE'") == 2


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16"])
def test_text_that_is_not_utf8_is_said(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "latin.sqlite"
    damaged = "x'636166e9'" if encoding == "UTF-8" else "x'630061006600e9d8'"
    with closing(sqlite3.connect(path)) as made:
        made.execute(f"PRAGMA encoding = '{encoding}'")
        made.executescript(f"""
        CREATE TABLE t (
            id INTEGER PRIMARY KEY, name TEXT, short VARCHAR(9), raw BLOB,
            loud TEXT GENERATED ALWAYS AS (name || '!'), fine TEXT
        );
        INSERT INTO t (name, short, raw, fine) VALUES
            (CAST({damaged} AS TEXT), 'ok', {damaged}, 'café �'),
            (CAST({damaged} AS TEXT), CAST({damaged} AS TEXT), x'ff', NULL), ('né', '', '', '');
        """)
    with Source(path, OWNER) as source:
        notes = scaffold(source, OWNER, path.name).notes
        names = [row[1] for row in source.rows(source.tables[0])]
    end = "not UTF-8, what cannot be read is replaced by �"
    assert [note for note in notes if "UTF-8" in note] == [
        f"column t.name: 2 values are {end}",
        f"column t.short: 1 value is {end}",
    ]
    assert [name.rstrip("�") for name in names] == ["caf", "caf", "né"]
    assert [name.isascii() for name in names] == [False] * 3


def test_a_definition_that_is_not_utf8_is_said(tmp_path: Path) -> None:
    path = tmp_path / "latin.sqlite"
    with closing(sqlite3.connect(path)) as made:
        made.executescript("""
        CREATE TABLE t (a TEXT DEFAULT 'cafX');
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = CAST(replace(CAST(sql AS BLOB), 'X', x'e9') AS TEXT);
        """)
    with Source(path, OWNER) as source:
        told = scaffold(source, OWNER, path.name)
    assert "DEFAULT 'caf�'" in told.files[TABLES_FILE]
    assert [note for note in told.notes if note.startswith("some definitions are not UTF-8")]


def test_nothing_in_the_file_can_start_a_section(tmp_path: Path) -> None:
    path = tmp_path / "x\n-- UP\nDROP TABLE y;\x1b[31m.db"
    with closing(sqlite3.connect(path)) as made:
        made.executescript("""
        CREATE TABLE t (
        -- DOWN
            a TEXT DEFAULT 'x
-- DOWN
y', "b
-- UP
" TEXT);
        CREATE VIEW v AS SELECT a
-- DOWN
/* more
-- UP (postgresql)
*/      FROM t;
        CREATE VIEW w AS SELECT 'a
-- IRREVERSIBLE: x
b' AS c FROM t;
        """)
    with Source(path, OWNER) as source:
        made_of_it = scaffold(source, OWNER, path.name)
    text = made_of_it.files[TABLES_FILE]
    file = parse(TABLES_FILE, text.encode())
    assert len(file.sections) == 4
    assert file.irreversible is None
    assert "CREATE VIEW v AS SELECT a\n" in text
    assert "CREATE VIEW w" not in text
    notes = "\n".join(made_of_it.notes)
    assert "default of t.a: left out, a line in it would start a section" in notes
    assert "view w: left out, a line in it would start a section" in notes
    assert all(note.isprintable() for note in made_of_it.notes)
    assert text.splitlines()[1].startswith("-- Description: Create the tables of x -- UP DROP")


def test_triggers_come_after_the_rows(wild: Path) -> None:
    with Source(wild, OWNER) as source:
        files = scaffold(source, OWNER, wild.name).files
    assert list(files) == [TABLES_FILE, "002_create_triggers.sql"]
    assert "TRIGGER" not in files[TABLES_FILE]


def test_ids_of_deleted_rows_are_not_given_again(tmp_path: Path) -> None:
    path = tmp_path / "game.sqlite"
    DATABASES["game"](path)
    with Source(path, OWNER) as source:
        text = scaffold(source, OWNER, path.name).files[TABLES_FILE]
    assert "INSERT INTO sqlite_sequence (name, seq) VALUES ('transfers', 900);" in text
    assert "IDENTITY (START WITH 901) PRIMARY KEY" in text


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "1", "Größe in m²", "a__b", "__x", "pg_class", "sqlite_x", "select"),
        *("information_schema", "x'; DROP TABLE y; --", "日本", "A" * 300, "tab\tnew\nline"),
    ],
)
def test_every_name_becomes_a_valid_one(name: str) -> None:
    names = Names(40)
    given = [names.give(name), names.give(f"{name} ")]
    assert len(set(given)) == 2
    for new in given:
        assert IDENTIFIER.fullmatch(new)
        assert "__" not in new
        assert len(new) <= 40
        assert not new.startswith(("pg_", "sqlite_"))
    assert valid("AlbumId") == "albumid"


def test_names_are_replaced_only_where_they_are_names() -> None:
    names = {"order details": "order_details", "x": "x_1", "group": "group"}
    text = """SELECT "Order Details".x, 'x', "group", [x] /* x */ FROM "Order Details" -- x"""
    assert rewritten(text, names) == (
        """SELECT order_details.x_1, 'x', "group", x_1 FROM order_details"""
    )
    assert rewritten('a = "no such name"', names) == "a = 'no such name'"
    assert rewritten('"group"IN(1)AND"x"IS NULL', names) == '"group"IN(1)AND x_1 IS NULL'


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    text, empty = tmp_path / "a.txt", tmp_path / "empty.db"
    text.write_text("not a database, but long enough to be looked at as one" * 20, "utf-8")
    sqlite3.connect(empty).close()
    for path, told in (
        (tmp_path / "missing.db", "There is no file"),
        (tmp_path, "There is no file"),
        (text, "cannot be read as an SQLite database"),
    ):
        with pytest.raises(SourceError, match=told):
            Source(path, OWNER)
    with closing(sqlite3.connect(empty)) as made:
        made.execute("CREATE TABLE t (a)")
        made.execute("DROP TABLE t")
    with pytest.raises(SourceError, match="has no tables"):
        Source(empty, OWNER)


def test_a_database_of_the_service_is_none_of_one_plugin(tmp_path: Path) -> None:
    file = tmp_path / "rosey.db"
    assert exit_code(["migrate", "quote-db", "apply", "--db", str(file)]) == 0
    with pytest.raises(SourceError, match=f"rosey export PLUGIN FILE --db {file}"):
        Source(file, OWNER)


# --- the command ---------------------------------------------------------------------------------


def test_the_command_writes_migrations_and_rows(
    wild: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, rows = tmp_path / "out", tmp_path / "old-bot.jsonl"
    line = ["scaffold", str(wild), "--plugin", "old-bot", "--out", str(out)]
    assert exit_code(line) == 0
    told = capsys.readouterr().out
    assert f"Wrote {out / 'old-bot' / TABLES_FILE}" in told
    assert f"Wrote {rows}: " in told
    assert "note: virtual table words: left out" in told
    assert told.endswith(f"rosey import old-bot {rows} --db rosey.db --migrations {out}\n")
    with closing(sqlite3.connect(wild)) as changed:  # the old program goes on meanwhile
        changed.execute('DELETE FROM "order-details"')
        changed.commit()
    assert exit_code([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["order_details"] == 0
    rows.write_text("somebody's notes")
    assert exit_code(line) == 2
    assert "is there, and is no export" in capsys.readouterr().err
    (out / "old-bot" / TABLES_FILE).write_text("-- UP\nSELECT 1;\n")
    assert exit_code(line) == 2
    assert "has other migrations" in capsys.readouterr().err
    assert exit_code(["scaffold", str(wild), "--plugin", "Old Bot", "--out", str(out)]) == 2
    assert exit_code(["scaffold", str(out), "--plugin", "old-bot"]) == 1


def existing_of(tmp_path: Path, sql: str) -> Path:
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as made:
        made.executescript(sql)
    return path


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_computed_words_infinities_circles_and_the_next_id(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = existing_of(
        tmp_path,
        """
        CREATE TABLE people (id INTEGER PRIMARY KEY, user TEXT, localtime TEXT, weight REAL,
            friend INTEGER NOT NULL REFERENCES pets (id));
        CREATE TABLE pets (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL REFERENCES people (id));
        CREATE VIEW names AS SELECT user, people.localtime AS "at" FROM people WHERE user <> 'x';
        INSERT INTO people VALUES (7, 'ada', 'noon', 9e999, 3);
        INSERT INTO pets VALUES (3, 7);
        """,
    )
    line = ["scaffold", str(path), "--plugin", "old-bot", "--out", str(tmp_path / "out")]
    assert exit_code(line) == 0
    told = "column people.weight: it holds infinities (1 of 1 rows, first id 7: 'inf')"
    assert told in capsys.readouterr().out
    lines = (tmp_path / "old-bot.jsonl").read_text("utf-8").splitlines()
    async with Stack(database_url=database_url, migrations=[tmp_path / "out"]) as stack:
        storage = StorageClient(await stack.connect(), "old-bot", timeout=20)
        assert (await storage.import_(lines)).rows == 2
        assert await storage.rows("names").select({}) == [{"user": "ada", "at": "noon"}]
        assert await storage.rows("people").select({}, columns=["weight"]) == [{"weight": "inf"}]
        assert await storage.rows("people").insert({"user": "bob", "friend": 3}) == 8
        await storage.clear()


@pytest.fixture
def database_url(engine: str, request: pytest.FixtureRequest) -> str:
    is_sqlite = engine == "sqlite"
    return "sqlite+aiosqlite://" if is_sqlite else request.getfixturevalue("empty_postgres")


def test_a_dirty_row_is_counted_and_named(tmp_path: Path) -> None:
    path = existing_of(
        tmp_path,
        """
        CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, at DATETIME, j JSON TEXT);
        WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1000)
        INSERT INTO t SELECT x, x, '2024-01-01 00:00:00', '{}' FROM c;
        UPDATE t SET n = 'many' WHERE id = 17;
        UPDATE t SET at = 'yesterday' WHERE id IN (5, 900);
        UPDATE t SET j = '{' WHERE id = 3;
        """,
    )
    with Source(path, OWNER) as source:
        notes = "\n".join(scaffold(source, OWNER, path.name).notes)
    assert (
        "column t.n: declared INTEGER, but holds text values (1 of 1000 rows, first id 17: 'many')"
    ) in notes
    assert "'yesterday' does not fit that (2 of 1000 rows, first id 5: 'yesterday')" in notes
    assert "not every value is JSON (1 of 1000 rows, first id 3: '{')" in notes


def exit_code(line: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(line)
    assert isinstance(ended.value.code, int)
    return ended.value.code


# --- comparing -----------------------------------------------------------------------------------


def _names(original: sqlite3.Connection, table: str) -> list[str]:
    return [row[0] for row in original.execute("SELECT name FROM pragma_table_xinfo(?)", (table,))]


async def _all_rows(
    storage: StorageClient, table: str, names: list[str]
) -> AsyncIterator[dict[str, Any]]:
    described = await storage.rows(table).describe()
    if any(column.primary_key for column in described.columns):
        async for row in storage.rows(table).iterate():
            yield row
        return
    sort = [{"field": name, "order": "asc"} for name in names]
    offset = 0
    while rows := await storage.rows(table).select(sort=sort, limit=1000, offset=offset):
        offset += len(rows)
        for row in rows:
            yield row


def checksum(rows: list[dict[str, Any]], names: list[str]) -> str:
    written = sorted(json.dumps([comparable(row[name]) for name in names]) for row in rows)
    return hashlib.sha256("\n".join(written).encode()).hexdigest()


def comparable(value: Any) -> Any:
    """Return a value so that what was stored and what the service returns are the same."""
    match value:
        case None:
            return None
        case dict() | list():
            return json.dumps(value, sort_keys=True)
        case bool():
            return str(float(value))
        case int() | float():
            return str(float(value))
        case bytes():
            return as_text(value)
    for reading in (_as_json, _as_moment, _as_number):
        if (read := reading(value)) is not None:
            return read
    return value


def _as_json(text: str) -> str | None:
    return json.dumps(json.loads(text), sort_keys=True) if text.startswith("{") else None


def _as_moment(text: str) -> str | None:
    return text[:19].replace(" ", "T") if text[:2] == "20" and text[10:11] in ("T", " ") else None


def _as_number(text: str) -> str | None:
    try:
        return str(float(text))
    except ValueError:
        return None


def test_a_unique_index_over_some_rows_is_no_key_to_refer_to(tmp_path: Path) -> None:
    path = existing_of(
        tmp_path,
        """
        CREATE TABLE parents (name TEXT, gone INTEGER);
        CREATE UNIQUE INDEX by_name ON parents (name) WHERE gone = 0;
        CREATE TABLE children (parent TEXT REFERENCES parents (name));
        """,
    )
    with Source(path, OWNER) as source:
        notes = "\n".join(scaffold(source, OWNER, path.name).notes)
    assert "left out, the columns it refers to are not unique" in notes
