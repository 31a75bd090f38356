"""Where the migrations are found, in a checkout and in an installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference_plugin_quote_db import shipped
from reference_plugin_quote_db.shipped import migration_root


def test_the_migrations_are_there() -> None:
    names = [path.name for path in sorted((migration_root() / "quote-db").glob("*.sql"))]
    assert names == [
        "001_create_quotes_table.sql",
        "002_add_score_column.sql",
        "003_add_tags_column.sql",
    ]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(shipped, "__file__", str(package / "shipped.py"))
    return package


def test_an_installation_looks_inside_the_package_first(package: Path) -> None:
    # Beside an installed package may lie somebody else's 'migrations'.
    (package.parent / "migrations" / "quote-db").mkdir(parents=True)
    (package / "migrations" / "quote-db").mkdir(parents=True)
    assert migration_root() == package / "migrations"


def test_a_checkout_has_them_beside_the_package(package: Path) -> None:
    (package.parent / "migrations" / "quote-db").mkdir(parents=True)
    assert migration_root() == package.parent / "migrations"


def test_migrations_that_are_missing(package: Path) -> None:
    (package.parent / "migrations" / "another-plugin").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="migrations of quote-db are missing") as raised:
        migration_root()
    assert str(package / "migrations") in str(raised.value)
