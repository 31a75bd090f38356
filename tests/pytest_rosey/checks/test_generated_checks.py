"""`--rosey-check-migrations`: each check passes where it should and sees its fault (SPEC 5.6)."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import pytest

from dbservice.migrate.scratch import postgres_scratch
from pytest_rosey.checks import migrations as checks
from pytest_rosey.checks import under_check
from pytest_rosey.checks.failure import CheckFailed
from pytest_rosey.checks.under_check import MigrationWarning, PluginMigrations
from pytest_rosey.servers.postgres import PostgresServer

pytest_plugins = ["pytester"]

SOUND = {
    "001_create_notes.sql": """
-- UP
CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE INDEX idx_notes_text ON notes (text);
-- DOWN
DROP TABLE notes;
""",
    "002_add_score.sql": """
-- UP
ALTER TABLE notes ADD COLUMN score INTEGER NOT NULL DEFAULT 0;
-- DOWN
ALTER TABLE notes DROP COLUMN score;
""",
}
SECOND = "002_add_score.sql"


@pytest.fixture(autouse=True)
def no_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "postgres", lambda: None)


def written(root: Path, files: dict[str, str], plugin: str = "notes") -> PluginMigrations:
    directory = root / plugin
    directory.mkdir(parents=True)
    for name, text in files.items():
        (directory / name).write_text(text, "utf-8")
    return PluginMigrations(plugin, directory)


@pytest.mark.parametrize("name", checks.__all__)
def test_sound_migrations_pass(tmp_path: Path, name: str) -> None:
    getattr(checks, name)(written(tmp_path, SOUND))


def second(up: str, down: str) -> dict[str, str]:
    return {**SOUND, SECOND: f"-- UP\n{up}\n-- DOWN\n{down}\n"}


FAULTS = {
    "a file's name": (
        "test_names_and_numbering",
        {**SOUND, "3-more.sql": "-- UP\n"},
        "no names of migrations: 3-more.sql",
    ),
    "a gap": (
        "test_names_and_numbering",
        {"001_a.sql": SOUND["001_create_notes.sql"], "003_b.sql": SOUND[SECOND]},
        "003_b.sql leaves a gap after 001_a.sql: expected number 002",
    ),
    "no DOWN": (
        "test_up_and_down_present",
        {**SOUND, SECOND: "-- UP\nDROP TABLE notes;\n"},
        "002_add_score.sql: no DOWN for sqlite",
    ),
    "DOWN for one engine": (
        "test_up_and_down_present",
        {**SOUND, SECOND: "-- UP\nSELECT 1;\n-- DOWN (sqlite)\nSELECT 1;\n"},
        "002_add_score.sql: no DOWN for postgresql",
    ),
    "a statement that fails": (
        "test_apply_all",
        second("ALTER TABLE nodes ADD COLUMN score INTEGER;", "SELECT 1;"),
        "no such table: notes__nodes",
    ),
    "an excerpt of it": (
        "test_apply_one_by_one",
        second("ALTER TABLE nodes ADD COLUMN score INTEGER;", "SELECT 1;"),
        ">    2 ALTER TABLE nodes ADD COLUMN score INTEGER;",
    ),
    "a DOWN that keeps something": (
        "test_round_trip_restores_schema_and_data",
        second("ALTER TABLE notes ADD COLUMN score INTEGER;", "SELECT 1;"),
        "002_add_score: DOWN restores the schema",
    ),
    "a DOWN that loses rows": (
        "test_round_trip_restores_schema_and_data",
        second(
            "ALTER TABLE notes ADD COLUMN score INTEGER;",
            "ALTER TABLE notes DROP COLUMN score; DELETE FROM notes WHERE id > 1;",
        ),
        "6 rows became 1",
    ),
    "a foreign table": (
        "test_no_foreign_tables",
        second("DELETE FROM quote_db__quotes WHERE id = 1;", "SELECT 1;"),
        "002_add_score.sql line 2: 'quote_db__quotes'",
    ),
    "engines that differ": (
        "test_engines_agree",
        {
            **SOUND,
            SECOND: "-- UP (sqlite)\nALTER TABLE notes ADD COLUMN score INTEGER;\n"
            "-- UP (postgresql)\nALTER TABLE notes ADD COLUMN points INTEGER;\n"
            "-- DOWN\nSELECT 1;\n",
        },
        "column notes.points is there on postgresql only",
    ),
}


@pytest.mark.parametrize(("check", "files", "said"), FAULTS.values(), ids=FAULTS)
def test_each_fault_is_found(tmp_path: Path, check: str, files: dict[str, str], said: str) -> None:
    with pytest.raises(CheckFailed) as failed:
        getattr(checks, check)(written(tmp_path, files))
    assert said in str(failed.value)


def test_the_round_trip_is_run_on_postgresql_too(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = partial(postgres_scratch, postgres.url())
    monkeypatch.setattr(checks, "postgres", lambda: scratch)
    wrong = second(
        "ALTER TABLE notes ADD COLUMN score INTEGER;",
        "-- DOWN (sqlite)\nALTER TABLE notes DROP COLUMN score;\n-- DOWN (postgresql)\nSELECT 1;",
    )
    checks.test_engines_agree(written(tmp_path / "sound", SOUND))
    found = written(tmp_path / "wrong", wrong)
    checks.test_round_trip_restores_schema_and_data(found)
    with pytest.raises(CheckFailed, match="way up, down and up again on postgresql") as failed:
        checks.test_engines_agree(found)
    assert "002_add_score: DOWN restores the schema" in str(failed.value)


def test_a_directory_that_is_no_plugin(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="'Notes' is not a plugin name"):
        checks.test_names_and_numbering(written(tmp_path, SOUND, "Notes"))


def test_warnings_are_warnings(tmp_path: Path) -> None:
    files = second("ALTER TABLE notes DROP COLUMN text;", "SELECT 1;")
    with pytest.warns(MigrationWarning) as warned:
        checks.test_safety_warnings(written(tmp_path, files))
    said = [(Path(w.filename).name, w.lineno, str(w.message)) for w in warned]
    assert any(
        name == SECOND and line == 2 and "drops the column notes.text" in text
        for name, line, text in said
    )
    assert len(said) == len(set(said))


@pytest.mark.parametrize(
    ("check", "broken", "said"),
    [
        ("test_apply_again_changes_nothing", "apply", "a second time left a trace"),
        ("test_dry_run_leaves_no_trace", "apply", "dry run of 001_create_notes.sql UP left"),
        ("test_dry_run_leaves_no_trace", "rollback", "dry run of 001_create_notes.sql DOWN left"),
    ],
)
def test_a_service_that_leaves_traces_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: str, broken: str, said: str
) -> None:
    original = getattr(under_check.Migrator, broken)
    numbers = itertools.count()

    async def leaves_something(self, owner, request):  # type: ignore[no-untyped-def]
        if broken == "rollback" or request.dry_run or check.startswith("test_apply"):
            self._engine._in_memory().execute(f"CREATE TABLE t{next(numbers)} (a)")
        return await original(self, owner, request)

    monkeypatch.setattr(under_check.Migrator, broken, leaves_something)
    with pytest.raises(CheckFailed, match=said):
        getattr(checks, check)(written(tmp_path, SOUND))


def test_the_option_adds_sorted_items(project: pytest.Pytester) -> None:
    for plugin in ("zebra", "apple"):
        written(project.path / "migrations", SOUND, plugin)
    project.makepyfile("def test_mine(): pass")
    result = project.runpytest_inprocess(
        "--rosey-check-migrations", "-v", "-k", "mine or not engines"
    )
    result.assert_outcomes(passed=19, deselected=2)
    items = [line.split()[0] for line in result.outlines if line.startswith("rosey-migrations/")]
    assert items[0] == "rosey-migrations/apple::apply_again_changes_nothing"
    assert items == sorted(items)


def test_a_failure_has_a_sentence_and_blocks_and_no_code_of_ours(
    project: pytest.Pytester,
) -> None:
    written(project.path / "other", second("ALTER TABLE nope ADD COLUMN a TEXT;", "SELECT 1;"))
    result = project.runpytest_inprocess(
        "--rosey-check-migrations", "--rosey-migrations=other", "-k", "apply_all"
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*rosey-migrations/notes: apply_all*",
            "002_add_score.sql line 2, UP statement 1: no such table: notes__nope*",
            "*002_add_score.sql:2:",
            "    >    2 ALTER TABLE nope ADD COLUMN a TEXT;",
        ]
    )
    result.stdout.no_fnmatch_line("*raise *")


def test_nothing_to_check_is_a_usage_error(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("--rosey-check-migrations")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no migrations to check in *migrations.*--rosey-migrations=DIR*"])


def test_they_can_be_imported(project: pytest.Pytester) -> None:
    written(project.path / "migrations", SOUND)
    project.makepyfile(
        """
        from pytest_rosey.checks.migrations import test_apply_all, test_names_and_numbering
        """
    )
    result = project.runpytest_inprocess("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::test_apply_all?notes? PASSED*"])


def test_those_that_are_imported_show_no_code_of_ours_either(project: pytest.Pytester) -> None:
    files = second("ALTER TABLE notes DROP COLUMN text; DROP TABLE nope;", "SELECT 1;")
    written(project.path / "migrations", files)
    project.makepyfile(
        """
        from pytest_rosey.checks.migrations import test_apply_all, test_safety_warnings
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "*no such column: text*",
            "*- 002_add_score.sql drops the column notes.text*",
            "*- 002_add_score.sql drops the table nope*",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_rosey*.py:*")
    result.stdout.no_fnmatch_line("*asyncio*runners.py*")


def test_those_that_are_imported_where_there_is_nothing_to_check(
    project: pytest.Pytester,
) -> None:
    project.makepyfile("from pytest_rosey.checks.migrations import test_apply_all")
    result = project.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["rosey: there are no migrations to check in *"])
    result.stdout.no_fnmatch_line("*.py:*: in *")


def test_in_a_sound_project_warnings_are_listed(project: pytest.Pytester) -> None:
    files = second("ALTER TABLE notes DROP COLUMN text;", "SELECT 1;")
    written(project.path / "migrations", files)
    result = project.runpytest_inprocess(
        "--rosey-check-migrations", "-k", "safety", "-W", "default::UserWarning"
    )
    result.assert_outcomes(passed=1, warnings=result.parseoutcomes()["warnings"])
    result.stdout.fnmatch_lines(
        ["*002_add_score.sql:2: MigrationWarning: 002_add_score.sql drops the column*"]
    )
