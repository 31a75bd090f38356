"""`rosey check` and `--rosey-check-storage-access` (SPEC 5.6, 7)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dbservice.cli.app import run
from pytest_rosey.checks.command import check
from pytest_rosey.checks.storage_access import findings, findings_in, python_files
from tests import ROOT

pytest_plugins = ["pytester"]

FOUND = {
    "import sqlite3": "imports sqlite3",
    "import os, aiosqlite as db": "imports aiosqlite",
    "from sqlalchemy.orm import Session": "imports sqlalchemy",
    "def f():\n    import asyncpg": "imports asyncpg",
    "import psycopg.rows": "imports psycopg",
    "importlib.import_module('sqlite3')": "imports sqlite3",
    "__import__('aiosqlite')": "imports aiosqlite",
    "from dbservice import storage": "imports dbservice.storage",
    "from dbservice.engine.sqlite import SqliteEngine": "imports dbservice.engine.sqlite",
    "x = 'SELECT * FROM quotes WHERE id = ?'": "StorageClient.rows('quotes').get()",
    "x = '''\n  SELECT id\n    FROM quotes'''": "StorageClient.rows('quotes').get()",
    "x = 'SELECT ' + columns": "StorageClient.rows('table').get()",
    "x = f'SELECT {columns} FROM {table} WHERE id = {id}'": "rows('placeholder')",
    "x = 'INSERT OR IGNORE INTO quotes (a) VALUES (1)'": "rows('quotes').insert()",
    "x = 'UPDATE quotes SET score = score + 1'": "rows('quotes').update()",
    "x = 'DELETE FROM quotes'": "rows('quotes').delete()",
    "x = 'CREATE TABLE IF NOT EXISTS quotes (id)'": "a migration",
    "x = 'ALTER TABLE quotes ADD COLUMN a'": "a migration",
    "x = 'PRAGMA journal_mode=WAL'": "connections and transactions",
    "x = 'WITH t AS (SELECT 1) SELECT * FROM t'": "StorageClient.sql()",
    "x = 'select id, text from quotes where id = 1'": "rows('quotes').get()",
    "x = 'select * from quotes'": "rows('quotes').get()",
    "x = 'insert into quotes (a) values (1)'": "rows('quotes').insert()",
    "x = 'update quotes set score = 1'": "rows('quotes').update()",
    "x = 'delete from quotes where id = 1'": "rows('quotes').delete()",
    "x = 'create table quotes (id)'": "a migration",
    "def f(:": "it is no Python",
}
ALLOWED = (
    "import sqlite3  # rosey: allow",
    "import json",
    "import sqlite3_of_mine",
    "from . import sqlite3",
    "from .sqlalchemy import x",
    "from dbservice.client import StorageClient",
    '"""SELECT * FROM quotes is what this replaces."""',
    "def f():\n    'INSERT INTO quotes is gone'",
    "storage.sql('SELECT id FROM quotes WHERE id = $1', 1)",
    "x = 'Select a quote from the list'",
    "x = 'Delete from the list?'",
    "x = 'update the quotes set by you'",
    "x = 'Insert coins into the machine'",
    "x = 'create a table of quotes'",
    "x = 'Selected'",
    "# SELECT * FROM quotes",
)


@pytest.mark.parametrize(("source", "said"), FOUND.items(), ids=str)
def test_what_goes_past_the_service(source: str, said: str) -> None:
    (found,) = findings_in(source.encode(), "plugin.py")
    assert said in str(found)
    assert str(found).startswith("plugin.py:")


@pytest.mark.parametrize("source", ALLOWED)
def test_what_is_allowed(source: str) -> None:
    assert findings_in(source.encode(), "plugin.py") == []


def test_the_line_is_that_of_the_statement() -> None:
    source = "import os\n\nasync def f(db):\n    await db.execute(\n        'DELETE FROM quotes')\n"
    (found,) = findings_in(source.encode(), "plugin.py")
    assert found.line == 5


UNREADABLE = {
    "latin-1": (b"x = 1\ny = 'caf\xe9'\n", 2, "'utf-8' codec can't decode byte 0xe9"),
    "an unknown encoding": (b"# coding: nowhere\nx = 1\n", 1, "unknown encoding: nowhere"),
    "an encoding of bytes": (b"# coding: hex\nx = 1\n", 1, "not a text encoding"),
    "a NUL byte": (b"x = 1\nimport sqlite3\0\n", 1, "null bytes"),
}


@pytest.mark.parametrize(("source", "line", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_found_with_the_reason(
    source: bytes, line: int, reason: str
) -> None:
    (found,) = findings_in(source, "plugin.py")
    assert str(found).startswith(f"plugin.py:{line}: it is no Python: ")
    assert reason in str(found)


READABLE = {
    "a declared encoding": (b"# coding: latin-1\nx = 'caf\xe9'\nimport sqlite3 # ", 3),
    "a byte order mark": (b"\xef\xbb\xbfx = 'caf\xc3\xa9'\nimport sqlite3 # ", 2),
    "form feeds": (b"x = 1\n\x0c\nimport os\x0c\nimport sqlite3 # ", 4),
    "a separator of lines": ("x = '\u2028'\nimport sqlite3 # ".encode(), 2),
    "lines of Windows": (b"x = 1\r\nimport sqlite3 # ", 2),
    "lines of old Macs": (b"x = 1\rimport sqlite3 # ", 2),
    "a newline that is an escape": (b"# coding: utf-7\nx = 1+AAo-import sqlite3 # ", 3),
}


@pytest.mark.parametrize(("source", "line"), READABLE.values(), ids=READABLE)
def test_lines_are_counted_as_python_does(source: bytes, line: int) -> None:
    (found,) = findings_in(source, "plugin.py")
    assert found.line == line
    assert found.what.startswith("imports sqlite3")


@pytest.mark.parametrize("name", [name for name in READABLE if "escape" not in name])
def test_the_comment_is_looked_for_in_the_same_line(name: str) -> None:
    assert findings_in(READABLE[name][0] + b"rosey: allow", "plugin.py") == []


def test_tests_and_hidden_folders_are_not_looked_at(tmp_path: Path) -> None:
    code = [tmp_path / "a.py", tmp_path / "package" / "b.py"]
    others = ["test_a.py", "conftest.py", ".venv/c.py", "tests/d.py", "__pycache__/e.py"]
    for path in [*code, *(tmp_path / other for other in others)]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("import sqlite3\n")
    assert python_files([tmp_path]) == code
    assert python_files([tmp_path / "test_a.py"]) == [tmp_path / "test_a.py"]


class TestCommand:
    def test_findings(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "plugin.py").write_text("import sqlite3\n")
        assert check(tmp_path) == 1
        first, last = capsys.readouterr().out.splitlines()
        assert first.startswith(f"{tmp_path / 'plugin.py'}:1: imports sqlite3")
        assert last == "1 finding in 1 file"

    def test_json(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "plugin.py").write_text("import sqlite3\n")
        assert run(["check", str(tmp_path), "--json"]) == 1
        (finding,) = json.loads(capsys.readouterr().out)["findings"]
        assert (finding["line"], finding["file"]) == (1, str(tmp_path / "plugin.py"))

    def test_files_that_cannot_be_read(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
        (tmp_path / "latin.py").write_bytes(b"x = 'caf\xe9'\n")
        (tmp_path / "plugin.py").write_text("import sqlite3\n")
        assert check(tmp_path) == 1
        gone, latin, plugin, last = capsys.readouterr().out.splitlines()
        assert gone.startswith(f"{tmp_path / 'gone.py'}:1: it cannot be read: No such file")
        assert latin.startswith(f"{tmp_path / 'latin.py'}:1: it is no Python: ")
        assert plugin.startswith(f"{tmp_path / 'plugin.py'}:1: imports sqlite3")
        assert last == "3 findings in 3 files"

    def test_nothing_found(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "plugin.py").write_text("import json\n")
        assert check(tmp_path) == 0
        assert capsys.readouterr().out == "0 findings in 1 file\n"

    @pytest.mark.parametrize("paths", [[], ["nowhere"], ["empty"]])
    def test_nothing_to_look_at(
        self, tmp_path: Path, paths: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "empty").mkdir()
        assert run(["check", *(str(tmp_path / path) for path in paths)]) == 2
        assert capsys.readouterr().err.startswith("rosey: ")

    def test_it_is_a_command_of_rosey(self, capsys: pytest.CaptureFixture[str]) -> None:
        code = ROOT / "reference_plugin_quote_db" / "legacy" / "plugin.py"
        assert run(["check", str(code)]) == 1
        assert "imports aiosqlite" in capsys.readouterr().out


def test_the_reference_plugin_uses_the_service_only() -> None:
    package = ROOT / "reference_plugin_quote_db"
    told = [str(found) for file in python_files([package]) for found in findings(file)]
    exempt = ("/legacy/", "/benchmark/before.py", "/__main__.py")
    assert [line for line in told if not any(place in line for place in exempt)] == []


class TestOption:
    def test_an_item_for_each_file(self, project: pytest.Pytester) -> None:
        project.makepyfile(plugin="import sqlite3", other="import json", test_x="def test(): pass")
        result = project.runpytest_inprocess(
            "--rosey-check-storage-access", "--rosey-check-paths=.", "-v"
        )
        result.assert_outcomes(passed=2, failed=1)
        result.stdout.fnmatch_lines(
            [
                "rosey-storage-access::other.py PASSED*",
                "rosey-storage-access::plugin.py FAILED*",
                "plugin.py goes past the storage service.*",
                "    - plugin.py:1: imports sqlite3*; use dbservice.client.StorageClient*",
            ]
        )

    def test_a_file_that_cannot_be_read_is_a_failed_item(self, project: pytest.Pytester) -> None:
        (project.path / "latin.py").write_bytes(b"x = 'caf\xe9'\n")
        project.makepyfile(other="import json")
        result = project.runpytest_inprocess(
            "--rosey-check-storage-access", "--rosey-check-paths=."
        )
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["    - latin.py:1: it is no Python: *'utf-8' codec*0xe9*"])

    def test_the_ini_file_says_where(self, project: pytest.Pytester) -> None:
        project.makepyfile(plugin="import sqlite3")
        result = project.runpytest_inprocess(
            "--rosey-check-storage-access", "-o", "rosey_check_paths=plugin.py"
        )
        result.assert_outcomes(failed=1)

    @pytest.mark.parametrize("paths", [(), ("--rosey-check-paths=nowhere",)])
    def test_nothing_to_look_at_is_a_usage_error(
        self, project: pytest.Pytester, paths: tuple[str, ...]
    ) -> None:
        result = project.runpytest_inprocess("--rosey-check-storage-access", *paths)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*rosey*check*path*"])
