"""Where this package's migrations are."""

from __future__ import annotations

from pathlib import Path

PLUGIN = "quote-db"


def migration_root() -> Path:
    """Return the folder that has the directory `quote-db` of this plugin's migrations.

    A wheel has it inside this package; a checkout has it beside this package.

    Raises:
        FileNotFoundError: if it is in neither place.
    """
    package = Path(__file__).resolve().parent
    places = [package / "migrations", package.parent / "migrations"]
    for place in places:
        if (place / PLUGIN).is_dir():
            return place
    raise FileNotFoundError(
        f"The migrations of {PLUGIN} are missing: expected a directory '{PLUGIN}' in "
        f"{places[0]} (installed) or {places[1]} (checkout). Install pytest-rosey again."
    )
