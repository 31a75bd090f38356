"""A chat plugin of Rosey, and where its migrations are."""

from pathlib import Path

from karma_board.plugin import KarmaBoard

__all__ = ["KarmaBoard", "migration_root"]


def migration_root():
    """Return the folder that has the directory `karma-board` of the migrations."""
    return Path(__file__).parent / "migrations"
