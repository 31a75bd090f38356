"""Where migration files lie: one lookup for the command line, the service and the fixtures.

A root is a folder with one directory per plugin (`quote-db/001_….sql`, or the natural layout
`quote-db/migrations/001_….sql`), or one of those directories itself. The first root that has files
of a plugin is the plugin's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from dbservice.protocol.errors import ErrorCode, RequestError, did_you_mean

ENTRY_POINTS = "rosey.migrations"
"""Entry-point group in which a package names a function that returns its migration root."""

DEFAULT_ROOT = Path("migrations")
"""The root in the working directory, which comes before those of installed packages."""

_FOLDER = "migrations"
_NEARLY = re.compile(r"\d.*\.sql", re.IGNORECASE)


def shipped_roots() -> list[Path]:
    """Return the migration roots of all installed packages, in the order of their names."""
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    return list(dict.fromkeys(Path(point.load()()) for point in found))


def migration_roots(given: Iterable[str | Path] = (), *, own: Path = DEFAULT_ROOT) -> list[Path]:
    """Return the roots to use: those `given`, or else `./migrations` and the shipped ones.

    Args:
        given: folders from the command line, the ini file or the constructor of the service.
        own: what to look at instead of `./migrations`.

    Raises:
        NotADirectoryError: one of them is no folder.
    """
    roots = [Path(root) for root in given]
    for root in roots:
        if not root.is_dir():
            raise NotADirectoryError(
                f"the migration root {root} is not a folder: expected a folder with one "
                "directory per plugin, or the directory of one plugin"
            )
    if roots:
        return roots
    return [*([own.absolute()] if own.is_dir() else []), *shipped_roots()]


def plugin_directory(roots: Iterable[Path], plugin: str) -> Path | None:
    """Return the first directory with migrations of `plugin`, or None.

    Args:
        roots: see above.
        plugin: a checked plugin name.
    """
    places = (place for root in roots for place in _places(root, plugin))
    return next((place for place in places if _holds_migrations(place)), None)


def plugins(roots: Iterable[Path]) -> dict[str, Path]:
    """Return every plugin that has migrations below `roots`, with its directory."""
    found: dict[str, Path] = {}
    for root in roots:
        for name in _names(root):
            directory = plugin_directory([root], name)
            if directory is not None:
                found.setdefault(name, directory)
    return found


def no_migrations(roots: Sequence[Path], plugin: str) -> RequestError:
    """Return the error for a plugin without migrations, as it may go over the wire."""
    read = "1 migration root" if len(roots) == 1 else f"{len(roots)} migration roots"
    return RequestError(
        ErrorCode.MIGRATION_NOT_FOUND,
        f"This service has no migrations for '{plugin}': it read {read} and found no "
        "NNN_name.sql of this plugin. Its log has the places.",
        plugin=plugin,
        roots=len(roots),
    )


def places_told(roots: Sequence[Path], plugin: str) -> str:
    """Return where migrations of a plugin were looked for, and what is called nearly like it."""
    lines = [f"There are no migrations for '{plugin}'. Looked in:"]
    # A checkout and its installed package may name the same folder.
    places = [f"  - {_told(root, plugin)}" for root in dict.fromkeys(roots)]
    lines += places or ["  - nowhere: there is no root"]
    hint = did_you_mean(plugin, list(plugins(roots))).strip()
    advice = "A root is a folder with PLUGIN/001_name.sql or PLUGIN/migrations/001_name.sql in it."
    return "\n".join([*lines, hint or advice])


def _told(root: Path, plugin: str) -> str:
    there = [place for place in _places(root, plugin) if place.is_dir()]
    if not root.is_dir():
        return f"{root} (which is not there)"
    return f"{there[0]} (which has no NNN_name.sql)" if there else str(root)


def _places(root: Path, plugin: str) -> Iterator[Path]:
    """Yield where a root may have the migrations of a plugin, in the order of looking."""
    yield from (root / plugin, root / plugin / _FOLDER)
    here = root.resolve()
    if here.name == plugin:
        yield from (root, root / _FOLDER)
    elif here.name == _FOLDER and here.parent.name == plugin:
        yield root


def _names(root: Path) -> list[str]:
    """Return the plugins that a root may be about."""
    here = root.resolve()
    if _holds_migrations(root):
        return [here.parent.name if here.name == _FOLDER else here.name]
    if _holds_migrations(root / _FOLDER):
        return [here.name]
    below = (
        sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    )
    return [*below, here.name]


def _holds_migrations(directory: Path) -> bool:
    """Whether there is a migration, or what was surely meant as one."""
    if not directory.is_dir():
        return False
    return any(_NEARLY.fullmatch(path.name) for path in directory.iterdir())
