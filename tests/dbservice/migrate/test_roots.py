"""One lookup for where a plugin's migrations lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbservice.migrate.roots import places_told, plugin_directory, plugins


@pytest.fixture
def natural(tmp_path: Path) -> Path:
    """`plugins/x/migrations/001_a.sql`, and things beside it that are none."""
    made = tmp_path / "plugins" / "quote-db" / "migrations"
    made.mkdir(parents=True)
    (made / "001_a.sql").write_text("-- UP\nSELECT 1;\n-- DOWN\nSELECT 1;\n")
    (tmp_path / "plugins" / "trivia").mkdir()
    (tmp_path / "plugins" / "trivia" / "notes.sql").write_text("SELECT 1")
    return tmp_path / "plugins"


@pytest.mark.parametrize("below", ["", "quote-db", "quote-db/migrations"])
def test_the_natural_layout_and_each_folder_of_it(natural: Path, below: str) -> None:
    root, wanted = natural / below, natural / "quote-db" / "migrations"
    assert plugin_directory([root], "quote-db") == wanted
    assert plugins([root]) == {"quote-db": wanted}
    assert plugin_directory([root], "trivia") is None


def test_the_first_root_with_files_wins(natural: Path, tmp_path: Path) -> None:
    empty, other = tmp_path / "empty", tmp_path / "other"
    (empty / "quote-db").mkdir(parents=True)
    (other / "quote-db").mkdir(parents=True)
    (other / "quote-db" / "001_b.sql").write_text("-- UP\nSELECT 1;\n")
    wanted = natural / "quote-db" / "migrations"
    assert plugin_directory([empty, natural, other], "quote-db") == wanted
    assert plugin_directory([empty, other, natural], "quote-db") == other / "quote-db"


def test_a_root_named_like_another_plugin_is_not_its_own(natural: Path) -> None:
    assert plugin_directory([natural / "quote-db"], "plugins") is None


def test_the_places_and_the_nearest_name_are_told(natural: Path, tmp_path: Path) -> None:
    told = places_told([natural, tmp_path / "gone"], "qoute-db")
    assert told == (
        "There are no migrations for 'qoute-db'. Looked in:\n"
        f"  - {natural}\n"
        f"  - {tmp_path / 'gone'} (which is not there)\n"
        "Did you mean 'quote-db'?"
    )
    assert f"{natural / 'trivia'} (which has no NNN_name.sql)" in places_told([natural], "trivia")
    assert "PLUGIN/migrations/001_name.sql" in places_told([], "trivia")
