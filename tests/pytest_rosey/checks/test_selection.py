"""Generated checks are selected as other tests are (SPEC 5.6)."""

from __future__ import annotations

import pytest

from pytest_rosey.checks import migrations as checks
from tests.pytest_rosey.conftest import INI

pytest_plugins = ["pytester"]

MIGRATION = """
-- UP
CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
-- DOWN
DROP TABLE notes;
"""


@pytest.fixture
def checked(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project whose ini file asks for the checks in every run, on SQLite alone."""
    monkeypatch.setattr(checks, "postgres", lambda: None)
    pytester.makeini(f"{INI.rstrip()} --rosey-check-migrations\nrosey_migrations = migrations\n")
    directory = pytester.path / "migrations" / "notes"
    directory.mkdir(parents=True)
    (directory / "001_create_notes.sql").write_text(MIGRATION, "utf-8")
    pytester.makepyfile(test_own="def test_one(): pass\ndef test_two(): pass")
    return pytester


def passed(result: pytest.RunResult) -> int:
    assert result.ret == 0, result.stdout.str()
    return result.parseoutcomes()["passed"]


def test_a_single_named_test_runs_alone(checked: pytest.Pytester) -> None:
    assert passed(checked.runpytest_inprocess("test_own.py::test_one")) == 1


def test_everything_has_the_checks_and_so_has_a_folder(checked: pytest.Pytester) -> None:
    everything = passed(checked.runpytest_inprocess())
    assert everything > 5
    assert passed(checked.runpytest_inprocess(".")) == everything


def test_the_printed_ids_can_be_run(checked: pytest.Pytester) -> None:
    listing = checked.runpytest_inprocess("--collect-only", "-q")
    ids = [line for line in listing.outlines if line.startswith("rosey-migrations/")]
    assert passed(checked.runpytest_inprocess(ids[0])) == 1
    assert passed(checked.runpytest_inprocess(ids[0], "test_own.py::test_two")) == 2
    assert passed(checked.runpytest_inprocess("rosey-migrations/notes")) == len(ids)


def test_the_printed_ids_of_files_can_be_run(checked: pytest.Pytester) -> None:
    (checked.path / "code").mkdir()
    for name in ("a", "b"):
        (checked.path / f"code/{name}.py").touch()
    options = ("--rosey-check-storage-access", "--rosey-check-paths=code")
    listing = checked.runpytest_inprocess(*options, "--collect-only", "-q")
    ids = [line for line in listing.outlines if line.startswith("rosey-storage-access")]
    assert ids == [f"rosey-storage-access::code/{name}.py" for name in ("a", "b")]
    assert passed(checked.runpytest_inprocess(*options, ids[0])) == 1
    assert passed(checked.runpytest_inprocess(options[1], ids[1], "test_own.py::test_two")) == 2
    assert passed(checked.runpytest_inprocess(*options, "rosey-storage-access")) == 2


def test_an_id_that_is_none_is_a_usage_error(checked: pytest.Pytester) -> None:
    result = checked.runpytest_inprocess("rosey-migrations/notes::nothing")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: rosey: there is no check rosey-migrations/notes::nothing. There are:"]
    )
