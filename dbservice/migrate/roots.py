"""Where migration files lie (SPEC 4)."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

ENTRY_POINTS = "rosey.migrations"
"""Entry-point group in which a package names a function that returns its migration root."""


def shipped_roots() -> list[Path]:
    """Return the migration roots of all installed packages, in the order of their names."""
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    return list(dict.fromkeys(Path(point.load()()) for point in found))


def migration_roots(given: Iterable[str | Path] = ()) -> list[Path]:
    """Return the roots to use: those `given`, or else the shipped ones.

    Args:
        given: folders from the command line or the constructor of the service.

    Raises:
        NotADirectoryError: one of them is no folder.
    """
    roots = [Path(root) for root in given] or shipped_roots()
    for root in roots:
        if not root.is_dir():
            raise NotADirectoryError(
                f"the migration root {root} is not a folder: expected a folder with one "
                "directory per plugin, or the directory of one plugin"
            )
    return roots


def plugin_directory(roots: Iterable[Path], plugin: str) -> Path | None:
    """Return the first directory with the migrations of `plugin`, or None.

    Args:
        roots: folders with a directory per plugin, or directories of one plugin.
        plugin: a checked plugin name.
    """
    for root in roots:
        if (root / plugin).is_dir():
            return root / plugin
        if root.resolve().name == plugin and root.is_dir():
            return root
    return None


def plugins(roots: Iterable[Path]) -> dict[str, Path]:
    """Return every plugin that has migrations below `roots`, with its directory."""
    found: dict[str, Path] = {}
    for root in roots:
        own = [root] if any(root.glob("*.sql")) else []
        for directory in own or sorted(entry for entry in root.iterdir() if entry.is_dir()):
            if any(directory.glob("*.sql")):
                found.setdefault(directory.resolve().name, directory)
    return found
