"""Files: names, numbering, sections, checksums. Errors are compared whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dbservice.migrate import roots as roots_module
from dbservice.migrate.files import Direction, parse, read_migrations
from dbservice.migrate.roots import migration_roots, plugins, shipped_roots
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.sqltext.dialects import Dialect

NAME = "001_first.sql"
SECTIONS = "a line '-- UP', '-- UP (sqlite)' or '-- UP (postgresql)'; the same for DOWN"


def up(text: str, dialect: Dialect = Dialect.SQLITE) -> list[str]:
    return [c.text for c in parse(NAME, text.encode()).commands(Direction.UP, dialect)]


def down(text: str, dialect: Dialect = Dialect.SQLITE) -> list[str]:
    return [c.text for c in parse(NAME, text.encode()).commands(Direction.DOWN, dialect)]


def test_a_whole_file() -> None:
    file = parse(
        "012_add_tags.sql",
        b"-- Migration: 012_add_tags.sql\n-- Description: Add tags\n-- Date: 2026-11-21\n"
        b"-- Breaking Changes: No\n\n-- UP: Apply changes\n-- ====\n-- UPDATE is no section\n"
        b"SELECT 1;\n-- DOWN: Rollback changes\nSELECT 2;\n",
    )
    assert (file.number, file.version, file.name, file.file) == (
        12,
        "012",
        "012_add_tags",
        "012_add_tags.sql",
    )
    assert file.header == {
        "Migration": "012_add_tags.sql",
        "Description": "Add tags",
        "Date": "2026-11-21",
        "Breaking Changes": "No",
    }
    assert [(s.direction, s.engine, s.line) for s in file.sections] == [
        (Direction.UP, None, 7),
        (Direction.DOWN, None, 11),
    ]
    assert file.irreversible is None


@pytest.mark.parametrize(
    ("line", "is_section"),
    [
        ("-- UP", True),
        ("--UP", True),
        ("-- UP  ", True),
        ("--   UP : remark", True),
        ("-- UP: Apply (sqlite) changes", True),
        ("-- UP(sqlite)", True),
        ("-- UP (sqlite): remark", True),
        ("-- UPDATE scores", False),
        ("-- Up", False),
        ("-- up", False),
        (" -- UP", False),
        ("-- UP and away", False),
        ("--- UP", False),
        ("# UP", False),
    ],
)
def test_section_lines(line: str, is_section: bool) -> None:
    text = f"-- DOWN\nSELECT 0;\n-- UP (postgresql)\nSELECT 9;\n{line}\nSELECT 1;"
    assert up(text) == (["SELECT 1"] if is_section and line != "# UP" else [])


def test_sections_of_one_engine_and_of_both_run_in_the_order_of_the_file() -> None:
    text = (
        "-- UP (sqlite)\nSELECT 's1';\n-- UP (postgresql)\nSELECT 'p1';\n-- UP\nSELECT 'both';\n"
        "-- DOWN (postgresql)\nSELECT 'p2';\n-- DOWN\nSELECT 'down';\n"
    )
    assert up(text) == ["SELECT 's1'", "SELECT 'both'"]
    assert up(text, Dialect.POSTGRESQL) == ["SELECT 'p1'", "SELECT 'both'"]
    assert down(text) == ["SELECT 'down'"]
    assert down(text, Dialect.POSTGRESQL) == ["SELECT 'p2'", "SELECT 'down'"]


def test_the_checksum_does_not_depend_on_newlines_or_byte_order_mark() -> None:
    text = "-- UP\nSELECT 'ä';\n"
    expected = hashlib.sha256(text.encode()).hexdigest()
    variants = [text.encode(), text.encode("utf-8-sig"), text.replace("\n", "\r\n").encode()]
    variants.append(text.replace("\n", "\r").encode())
    assert {parse(NAME, content).checksum for content in variants} == {expected}
    assert parse(NAME, text.replace("ä", "a").encode()).checksum != expected


@pytest.mark.parametrize(
    ("sql", "reversible", "reason"),
    [
        ("-- DOWN\nSELECT 1;", True, None),
        ("-- DOWN\n-- nothing", False, None),
        ("-- DOWN (sqlite): nothing to do\n", True, None),
        ("-- DOWN (postgresql)\nSELECT 1;", False, None),
        ("-- IRREVERSIBLE: the old values are gone  ", False, "the old values are gone"),
        ("", False, None),
    ],
)
def test_reversible(sql: str, reversible: bool, reason: str | None) -> None:
    file = parse(NAME, f"-- UP\nSELECT 1;\n{sql}".encode())
    assert (file.is_reversible(Dialect.SQLITE), file.irreversible) == (reversible, reason)


@pytest.mark.parametrize(
    ("name", "content", "line", "message"),
    [
        (
            "1_first.sql",
            b"-- UP\n",
            None,
            (
                "1_first.sql: this is not a migration's file name. Expected NNN_snake_name.sql, "
                "for example 001_create_quotes_table.sql."
            ),
        ),
        (
            "001-first.sql",
            b"-- UP\n",
            None,
            (
                "001-first.sql: this is not a migration's file name. Expected NNN_snake_name.sql, "
                "for example 001_create_quotes_table.sql."
            ),
        ),
        (NAME, b"", None, f"001_first.sql: there is no UP section. Expected {SECTIONS}."),
        (
            NAME,
            b"-- Up\nSELECT 1;\n-- DOWN\nSELECT 2;",
            1,
            (
                "001_first.sql line 1: there is no UP section, and '-- Up' is only a comment. "
                f"Expected {SECTIONS}."
            ),
        ),
        (
            NAME,
            b"-- UP\n-- UP (mysql)\n",
            2,
            (
                "001_first.sql line 2: '-- UP (mysql)' names the unknown engine 'mysql'. "
                f"Expected {SECTIONS}."
            ),
        ),
        (
            NAME,
            b"-- UP\nSELECT 1;\n-- UP: again\n",
            3,
            (
                "001_first.sql line 3: the section '-- UP: again' is here a second time, the first "
                "is on line 1. Expected each section once."
            ),
        ),
        (
            NAME,
            b"-- UP\n/*\n" + 100 * b"-- UP\n" + b"*/\nSELECT 1;\n",
            None,
            (
                "001_first.sql: 101 lines look like the start of a section. Expected at most 100, "
                "those in comments and strings included."
            ),
        ),
        (
            NAME,
            b"-- Author: me\nSELECT 1;\n-- UP\n",
            2,
            f"001_first.sql line 2: there is SQL above the first section. Expected {SECTIONS}.",
        ),
        (
            NAME,
            b"-- Author: me\n/* open\n-- UP\n",
            2,
            "001_first.sql line 2: the comment /* that opens here is never closed.",
        ),
        (
            NAME,
            b"-- UP\n-- IRREVERSIBLE: x\n-- DOWN\n",
            3,
            (
                "001_first.sql line 3: the file says that it is IRREVERSIBLE and has a DOWN "
                "section. Expected one of the two."
            ),
        ),
        (
            NAME,
            b"-- UP\nSELECT '\xff';",
            2,
            "001_first.sql line 2: this is not UTF-8. Expected a UTF-8 text file.",
        ),
        (
            NAME,
            b"-- UP\nSELECT '\0';",
            2,
            "001_first.sql line 2: there is a NUL character. Expected a UTF-8 text file.",
        ),
    ],
)
def test_files_that_cannot_be_understood(
    name: str, content: bytes, line: int | None, message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        parse(name, content)
    assert caught.value.message == message
    assert caught.value.code is ErrorCode.MIGRATION_FAILED
    assert caught.value.details["file"] == name
    assert caught.value.details.get("line") == line


@pytest.mark.parametrize(
    "line",
    [
        f"-- UP{' ' * 200_000}x",
        f"-- IRREVERSIBLE{' ' * 200_000}x",
        f"-- Author{' ' * 200_000}x",
        f"-- Author: me{' ' * 200_000}x",
    ],
    ids=lambda line: f"{line[:9]}",
)
def test_a_line_of_blanks_is_looked_at_once(line: str) -> None:
    """If each blank ended in a search of its own, this would take hours."""
    file = parse(NAME, f"{line}\n-- UP\nSELECT 1;\n-- DOWN\nSELECT 1;\n".encode())
    assert len(file.sections) == 2


def test_an_unclosed_quote_is_reported_with_its_line_in_the_file() -> None:
    file = parse(NAME, b"-- Author: me\n\n-- UP\nSELECT 1;\nSELECT 'a;\n")
    with pytest.raises(RequestError) as caught:
        file.commands(Direction.UP, Dialect.SQLITE)
    assert caught.value.message == (
        "001_first.sql line 5: the quote ' that opens here is never closed."
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["002_a.sql"], "002_a.sql leaves a gap at the start: expected number 001."),
        (
            ["001_a.sql", "003_b.sql"],
            "003_b.sql leaves a gap after 001_a.sql: expected number 002.",
        ),
        (
            ["001_a.sql", "001_b.sql"],
            "001_a.sql and 001_b.sql have the same number 001: renumber the newer one.",
        ),
        (["000_a.sql", "001_b.sql"], "000_a.sql leaves a gap at the start: expected number 001."),
    ],
)
def test_numbering(
    root: Path, add: Callable[[str, str], Path], names: list[str], message: str
) -> None:
    for name in names:
        add(name, "-- UP\nSELECT 1;")
    with pytest.raises(RequestError) as caught:
        read_migrations([root], "quote-db")
    assert (caught.value.code, caught.value.message) == (ErrorCode.MIGRATION_ORDER, message)


def test_other_files_are_left_alone(root: Path, add: Callable[[str, str], Path]) -> None:
    add("README.md", "words")
    add(".001_a.sql", "an editor's backup")
    add("001_a.sql", "-- UP\nSELECT 1;")
    assert [file.name for file in read_migrations([root], "quote-db")] == ["001_a"]


def test_a_root_may_be_the_plugins_own_directory(
    root: Path, add: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    add("001_a.sql", "-- UP\nSELECT 1;")
    empty = tmp_path_factory.mktemp("empty")
    for given in ([root], [root / "quote-db"], [empty, root]):
        assert [file.name for file in read_migrations(given, "quote-db")] == ["001_a"]
        assert plugins(given) == {"quote-db": root / "quote-db"}
    assert read_migrations([root, root / "quote-db"], "trivia") == []


def test_a_root_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="expected a folder with one directory per plugin"):
        migration_roots([tmp_path / "nowhere"])


def shipped_by_a_package() -> Path:
    return Path(__file__).parent


def test_packages_name_their_roots_by_entry_point(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []
    point = EntryPoint("x", f"{__name__}:shipped_by_a_package", "rosey.migrations")

    def entry_points(*, group: str) -> list[EntryPoint]:
        asked.append(group)
        return [point, point]

    monkeypatch.setattr(roots_module, "entry_points", entry_points)
    assert shipped_roots() == [Path(__file__).parent]
    monkeypatch.chdir(tmp_path)
    assert migration_roots() == [Path(__file__).parent]
    (tmp_path / "migrations").mkdir()
    assert migration_roots() == [tmp_path / "migrations", Path(__file__).parent]
    assert migration_roots(["/"]) == [Path("/")]
    assert asked == ["rosey.migrations"] * 3


@pytest.mark.parametrize(
    "inside",
    [
        "INSERT INTO a VALUES ('\n-- DOWN\n');",
        "/* as before:\n-- DOWN\n-- UP (postgresql)\n*/ SELECT 1;",
        'SELECT 1 AS "\n-- DOWN\n";',
        "INSERT INTO a VALUES ('it''s\n-- UP (mysql)\n-- DOWN\n-- IRREVERSIBLE: no\n');",
    ],
)
@pytest.mark.parametrize("mark", ["-- UP", "-- UP (sqlite)", "-- UP (postgresql)"])
def test_a_section_line_inside_a_string_or_comment_starts_none(inside: str, mark: str) -> None:
    file = parse("001_first.sql", f"{mark}\n{inside}\n-- DOWN\nSELECT 2;\n".encode())
    assert [section.direction for section in file.sections] == [Direction.UP, Direction.DOWN]
    assert file.sections[0].text.strip() == inside
    assert file.irreversible is None


def test_a_section_line_after_a_closed_string_starts_one() -> None:
    text = b"-- UP: don't\nSELECT 'a';\n-- it's all\n-- DOWN\nSELECT 2;\n"
    assert [section.line for section in parse("001_first.sql", text).sections] == [2, 5]
