"""`rosey migrate` says what happened: to people, to scripts, and by its exit code."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from dbservice.cli import main, migrating, migration_report, progress

FIRST = "-- UP\nCREATE TABLE a (b INTEGER);\n-- DOWN\nDROP TABLE a;\n"
LOSSY = "-- UP\nALTER TABLE a ADD COLUMN c INTEGER;\nUPDATE a SET b = 1;\n"
LOSSY += "-- DOWN\nALTER TABLE a DROP COLUMN c;\n"


class Said(NamedTuple):
    code: int
    out: str
    err: str


Rosey = Callable[..., Said]


EVERYWHERE = pytest.mark.parametrize(
    "where",
    [
        "sqlite",
        "postgresql",
        pytest.param("sqlite, served", marks=pytest.mark.process),
        pytest.param("postgresql, served", marks=pytest.mark.process),
    ],
    indirect=True,
)
"""On both engines; with the database at hand, and over a nats-server from a service that has it."""


@pytest.fixture
def where(
    request: pytest.FixtureRequest, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Let the environment say where the database is; return what a command line adds to that."""
    engine, _, served = getattr(request, "param", "sqlite").partition(", ")
    file = str(tmp_path / "rosey.db")
    database = file if engine == "sqlite" else request.getfixturevalue("empty_postgres")
    at = ["--migrations", str(root)]
    for name in ("ROSEY_NATS", "ROSEY_DB"):
        monkeypatch.delenv(name, raising=False)
    if not served:
        monkeypatch.setenv("ROSEY_DB", database)
        return at
    nats = request.getfixturevalue("nats_server").url
    request.getfixturevalue("serve")("--nats", nats, "--db", database, *at)
    monkeypatch.setenv("ROSEY_NATS", nats)
    return []


@pytest.fixture
def rosey(
    where: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Rosey:
    """Run `rosey migrate quote-db …` with the root of the test."""
    monkeypatch.setattr(migrating, "author", lambda: "ann@home")

    def run(*words: str, plugin: str = "quote-db") -> Said:
        with pytest.raises(SystemExit) as ended:
            main(["migrate", plugin, *words, *where])
        return Said(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration_report, "is_terminal", lambda: True)


def test_status_stays_plain_in_a_pipe(
    rosey: Rosey, add: Callable[[str, str], Path], root: Path, tmp_path: Path
) -> None:
    add("001_first.sql", FIRST)
    files = f"Files: {root / 'quote-db'}\n"
    (tmp_path / "rosey.db").touch()
    assert rosey("status").out == f"0 migrations applied, 1 pending:\n  001_first\n{files}"
    assert rosey("history").out == "Nothing is applied.\n"
    assert rosey("apply").code == 0
    assert rosey("status") == Said(0, f"Up to date: 1 migration applied\n{files}", "")
    assert json.loads(rosey("status", "--json").out)["directory"] == str(root / "quote-db")


def test_what_only_reads_makes_no_database(
    rosey: Rosey, add: Callable[[str, str], Path], tmp_path: Path
) -> None:
    add("001_first.sql", FIRST)
    file = tmp_path / "rosey.db"
    for verb in ("status", "history", "rollback", "repair"):
        said = rosey(verb)
        assert (said.code, said.out) == (3, "")
        assert f"There is no database {file}" in said.err
        assert f"rosey migrate quote-db apply --db {file}" in said.err
    assert rosey("verify").code == 0
    dry = rosey("apply", "--dry-run")
    assert (dry.code, f"There is no database {file} yet" in dry.err) == (0, True)
    assert "Would have applied 001_first" in dry.out
    assert not file.exists()
    assert rosey("apply").code == 0
    assert file.exists()


def test_what_only_reads_leaves_the_database_of_another_program_alone(
    rosey: Rosey, add: Callable[[str, str], Path], tmp_path: Path
) -> None:
    add("001_first.sql", FIRST)
    file = tmp_path / "rosey.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE quotes (id INTEGER PRIMARY KEY)")
    before = file.read_bytes()
    for verb in ("status", "history", "rollback", "repair"):
        said = rosey(verb)
        assert said.code == 3
        assert f"{file} is a database of another program, so nothing is applied there" in said.err
    dry = rosey("apply", "--dry-run")
    assert f"{file} is a database of another program: this runs on an empty one" in dry.err
    assert (dry.code, rosey("verify").code) == (0, 0)
    assert file.read_bytes() == before


@pytest.mark.parametrize("where", ["postgresql"], indirect=True)
def test_it_leaves_that_of_another_program_on_postgresql_alone(
    rosey: Rosey, add: Callable[[str, str], Path], empty_postgres: str
) -> None:
    add("001_first.sql", FIRST)
    asyncio.run(execute(empty_postgres, "CREATE TABLE theirs (id INTEGER)"))
    lines = [[verb] for verb in ("status", "history", "rollback", "repair", "verify")]
    for words in [*lines, ["apply", "--dry-run"]]:
        said = rosey(*words)
        assert (said.code, said.out) == (3, ""), words
        assert "' is one of another program, so nothing is applied there" in said.err
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert asyncio.run(execute(empty_postgres, tables)) == 1
    assert rosey("apply").code == 0
    assert rosey("status").out.startswith("Up to date: 1")


async def execute(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    value = await connection.fetchval(statement)
    await connection.close()
    return value


@EVERYWHERE
def test_a_plugin_without_migrations_is_an_error(
    rosey: Rosey, add: Callable[[str, str], Path], root: Path, where: list[str]
) -> None:
    add("001_first.sql", FIRST)
    assert rosey("apply").code == 0
    told, places = "This service has no migrations for 'qoute-db'", []
    if where:
        told = "There are no migrations for 'qoute-db'. Looked in:\n"
        told += f"  - {root}\nDid you mean 'quote-db'?\n"
        places = [str(root)]
    for verb in ("status", "apply", "rollback", "verify", "repair", "history"):
        said = rosey(verb, plugin="qoute-db")
        assert (said.code, said.out) == (1, ""), verb
        assert f"MIGRATION_NOT_FOUND: {told}" in said.err
        error = json.loads(rosey(verb, "--json", plugin="qoute-db").out)["error"]
        assert error["details"].get("places", []) == places


@EVERYWHERE
def test_files_that_are_gone_or_renamed_are_told(
    rosey: Rosey, add: Callable[[str, str], Path]
) -> None:
    path = add("001_first.sql", FIRST)
    rosey("apply")
    path.rename(path.with_name("001_other.sql"))
    assert "Applied, but no file has the name any more: 001_first." in rosey("status").out
    said = rosey("apply")
    assert (said.code, "its file is called 001_other.sql now" in said.err) == (1, True)
    assert rosey("repair").out == "Recorded the change of 001_other\n"
    assert rosey("status").out.startswith("Up to date: 1")
    path.with_name("001_other.sql").rename(path.with_name("001_other.SQL"))
    for verb in ("status", "apply"):
        said = rosey(verb)
        assert "001_other.SQL" in said.out + said.err, verb


@EVERYWHERE
def test_an_earlier_version_with_later_ones_pending(
    rosey: Rosey, add: Callable[[str, str], Path]
) -> None:
    add("001_first.sql", FIRST)
    add("002_second.sql", LOSSY)
    rosey("apply", "1")
    assert rosey("apply", "1").out == (
        "Nothing to apply: at version 1 already; 1 later ones are pending: 002_second.\n"
    )
    rosey("apply")
    assert rosey("apply").out == "Nothing to apply: version 2 is the newest.\n"


def test_shown_sql_can_be_run(rosey: Rosey, add: Callable[[str, str], Path]) -> None:
    text = "-- UP\nCREATE TABLE a ( -- one\n  b TEXT -- two\n);\nINSERT INTO a VALUES ('x\n  y');\n"
    add("001_first.sql", text + "-- DOWN\nDROP TABLE a;\n")
    shown = rosey("apply", "--dry-run").out
    connection = sqlite3.connect(":memory:")
    connection.executescript("\n".join(shown.splitlines()[1:-1]))
    assert connection.execute("SELECT b FROM quote_db__a").fetchall() == [("x\n  y",)]
    connection.close()


def test_history_tells_who_and_when(rosey: Rosey, add: Callable[[str, str], Path]) -> None:
    add("001_first.sql", FIRST)
    add("002_second.sql", LOSSY)
    rosey("apply", "1")
    rosey("apply", "--by", "bob")
    first, second = rosey("history").out.splitlines()
    assert "001_first  by ann@home, " in first
    assert "002_second  by bob, " in second
    assert json.loads(rosey("history", "--json").out)["history"][0]["applied_by"] == "ann@home"


@pytest.mark.usefixtures("terminal")
def test_status_is_a_table_on_a_terminal(rosey: Rosey, add: Callable[[str, str], Path]) -> None:
    add("001_first.sql", FIRST)
    rosey("apply")
    add("002_second.sql", LOSSY)
    out = rosey("status").out
    for word in ("Migration", "Applied at", "001_first", "ann@home", "applied", "pending"):
        assert word in out
    assert "1 migration applied, 1 pending:" in out
    add("001_first.sql", FIRST + "-- later\n")
    assert "changed" in rosey("history").out


def test_warnings_name_the_safer_way(rosey: Rosey, add: Callable[[str, str], Path]) -> None:
    add("001_first.sql", FIRST)
    rosey("apply")
    add("002_second.sql", LOSSY)
    dry = rosey("apply", "--dry-run")
    assert "Would have applied 002_second (2 statements" in dry.out
    assert "\n-- 0 rows:\nUPDATE quote_db__a SET b = 1;\n" in dry.out
    assert (
        "warning: 002_second.sql:3: changes every row of a [UPDATE_WITHOUT_WHERE]\n"
        "  safer: add a WHERE that names the rows\n"
    ) in dry.out


def test_strict_refuses_where_there_is_a_warning(
    rosey: Rosey, add: Callable[[str, str], Path]
) -> None:
    add("001_first.sql", FIRST)
    assert rosey("apply", "--strict").code == 0
    add("002_second.sql", LOSSY)
    refused = rosey("apply", "--strict")
    assert refused.code == 1
    assert refused.err == (
        "rosey: MIGRATION_FAILED: 002_second.sql changes every row of a, and with 'strict' a "
        "warning is a refusal: add a WHERE that names the rows. Nothing was applied.\n"
    )
    told = json.loads(rosey("apply", "--strict", "--json").out)
    assert (told["success"], told["error"]["code"]) == (False, "MIGRATION_FAILED")
    assert told["error"]["details"]["warnings"][0]["code"] == "UPDATE_WITHOUT_WHERE"
    assert rosey("status").out.startswith("1 migration applied, 1 pending")
    assert rosey("apply").code == 0


def test_repair_records_a_deliberate_change(
    rosey: Rosey, add: Callable[[str, str], Path], where: list[str]
) -> None:
    add("001_first.sql", FIRST)
    Path(where[-1], "rosey.db").touch()
    assert rosey("repair").out == "Nothing is applied, so there is nothing to repair.\n"
    rosey("apply")
    assert rosey("repair").out == "Nothing to repair: every applied file is as it was.\n"
    add("001_first.sql", FIRST + "-- later\n")
    assert "record a deliberate change with 'repair'" in rosey("status").out
    assert rosey("apply").code == 1
    assert rosey("repair").out == "Recorded the change of 001_first\n"
    assert json.loads(rosey("repair", "--json").out)["repaired"] == []
    assert "001_first (repaired)  by ann@home" in rosey("history").out
    assert rosey("apply").code == 0


def test_verify_needs_no_database_and_tells_faults(
    rosey: Rosey, add: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROSEY_DB")
    add("001_first.sql", FIRST)
    sound = rosey("verify")
    assert (sound.code, sound.out.splitlines()[-1][:9]) == (0, "Verified:")
    add("002_second.sql", "-- UP\nDELETE FROM a WHERE b > 0;\n-- DOWN\nSELECT 1;\n")
    faulty = rosey("verify")
    assert faulty.code == 1
    assert "FAILED  002_second: DOWN restores the data\n        002_second.sql DOWN:" in faulty.out
    assert "Not verified: " in faulty.out
    assert json.loads(rosey("verify", "--json").out)["verified"] is False


def test_new_writes_a_file(rosey: Rosey, root: Path) -> None:
    wrote = rosey("new", "add_tags")
    path = root / "quote-db" / "001_add_tags.sql"
    assert wrote == Said(0, f"Wrote {path}\n", "")
    assert "-- Author: ann\n" in path.read_text("utf-8")
    assert json.loads(rosey("new", "more", "--json").out)["file"].endswith("002_more.sql")
    assert rosey("new", "Bad Name").code == 2
    missing = rosey("new")
    assert (missing.code, "Say what it does" in missing.err) == (2, True)


def test_new_writes_where_apply_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dbservice.migrate.roots.shipped_roots", lambda: [tmp_path / "shipped"])
    natural = tmp_path / "shipped" / "theirs" / "migrations"
    natural.mkdir(parents=True)
    (natural / "001_first.sql").write_text(FIRST, "utf-8")

    def new(plugin: str, *words: str) -> str:
        with pytest.raises(SystemExit):
            main(["migrate", plugin, "new", "add_tags", *words])
        out, err = capsys.readouterr()
        return out.removeprefix("Wrote ").strip() or err

    assert new("theirs") == str(natural / "002_add_tags.sql")
    assert new("mine") == str(Path("migrations/mine/001_add_tags.sql"))
    assert new("mine") == str(tmp_path / "migrations/mine/002_add_tags.sql")
    assert "expected a folder" in new("mine", "--migrations", "nowhere")


def test_the_author_is_who_runs_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert migrating.author().count("@") >= 1

    def nobody() -> str:
        raise KeyError("no account")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 200)
    assert len(migrating.author()) == 100
    assert migrating.author().partition("@")[0].isdigit()


async def test_a_spinner_shows_only_on_a_terminal_and_only_when_it_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with progress.waiting("working"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    async with progress.waiting("working"):
        pass
    assert capsys.readouterr().err == ""
    shown = asyncio.Event()

    class Status:
        def __init__(self, text: str) -> None:
            assert text == "working …"

        def __enter__(self) -> None:
            shown.set()

        def __exit__(self, *_error: object) -> None:
            pass

    monkeypatch.setattr("rich.console.Console.status", lambda _self, text: Status(text))
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    async with progress.waiting("working"):
        await asyncio.wait_for(shown.wait(), 10)
