"""`rosey migrate PLUGIN new NAME` writes a file that is numbered, named and parsed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbservice.migrate.files import Direction, parse
from dbservice.migrate.template import new_migration
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.sqltext.dialects import Dialect


def new(root: Path, name: str, plugin: str = "quote-db") -> Path:
    directory = root if root.name == plugin else root / plugin
    return new_migration(directory, plugin, name, author="ann", date="2026-11-21")


def test_numbers_follow_each_other(root: Path) -> None:
    first, second = new(root, "create_a"), new(root / "quote-db", "add_b2")
    assert [first.name, second.name] == ["001_create_a.sql", "002_add_b2.sql"]
    assert first.parent == second.parent == root / "quote-db"
    header = parse(second.name, second.read_bytes()).header
    assert (header["Dependencies"], header["Author"]) == ("001_create_a.sql", "ann")
    assert new(root, "start", plugin="trivia") == root / "trivia" / "001_start.sql"


def test_the_file_has_both_sections_and_nothing_in_them(root: Path) -> None:
    path = new(root, "create_a")
    file = parse(path.name, path.read_bytes())
    assert [section.direction for section in file.sections] == [Direction.UP, Direction.DOWN]
    assert file.irreversible is None
    for direction in Direction:
        assert file.commands(direction, Dialect.SQLITE) == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Add Tags", "Did you mean 'add_tags'?"),
        ("004_add-tags.sql", "Did you mean 'add_tags'?"),
        ("../../etc/passwd", "Did you mean 'etc_passwd'?"),
        ("", "is no name for a migration"),
        ("a__b", "Did you mean 'a_b'?"),
        ("a" * 81, "is no name for a migration"),
        ("été", "is no name for a migration"),
    ],
)
def test_bad_names_are_refused(root: Path, name: str, told: str) -> None:
    with pytest.raises(RequestError) as caught:
        new(root, name)
    assert caught.value.code is ErrorCode.VALIDATION_ERROR
    assert told in caught.value.message
    assert list(root.rglob("*.sql")) == []


def test_bad_plugins_and_unsound_sequences_are_refused(root: Path) -> None:
    with pytest.raises(RequestError):
        new(root, "ok", plugin="../x")
    (root / "quote-db" / "002_gap.sql").write_text("-- UP\nSELECT 1;\n")
    with pytest.raises(RequestError, match="leaves a gap"):
        new(root, "ok")
