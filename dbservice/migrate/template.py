"""A new, empty migration file (SPEC 4)."""

from __future__ import annotations

import re
from pathlib import Path

from dbservice.migrate.files import FILE_NAME, MigrationFile, check_numbering, parse
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.protocol.names import namespace

NAME = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
NAME_RULE = "lower-case letters and digits in words joined by single '_', for example add_tags"
_LONGEST_NAME = 80
_LAST = 999

_TEXT = """\
-- Migration: {file}
-- Description: {description}
-- Author: {author}
-- Date: {date}
-- Dependencies: {before}
-- Breaking Changes: No

-- Tables are written under their bare names; the service adds the prefix of {plugin}.
-- '-- UP (sqlite)' and '-- UP (postgresql)' start sections for one engine only.

-- UP: what changes


-- DOWN: how it is undone, rows included; or instead a line '-- IRREVERSIBLE: reason'

"""


def new_migration(directory: Path, plugin: str, name: str, *, author: str, date: str) -> Path:
    """Write a file with both sections under the next number and return its path.

    Args:
        directory: of the plugin's migrations; it is made if it is missing.
        plugin: the plugin's name.
        name: what the migration does, as `add_tags_column`.
        author: for the header.
        date: for the header, as `2026-11-21`.

    Raises:
        RequestError: the plugin's or the migration's name is malformed, the files that are there
            are no sound sequence, or the number 999 is taken.
    """
    namespace(plugin)
    if len(name) > _LONGEST_NAME or not NAME.fullmatch(name):
        raise RequestError(
            ErrorCode.VALIDATION_ERROR,
            f"'{name[:80]}' is no name for a migration: expected {NAME_RULE}.{_suggestion(name)}",
            field="name",
            expected=NAME.pattern,
            got=name[:80],
        )
    before = _newest(directory)
    number = before.number + 1 if before else 1
    if number > _LAST:
        raise RequestError(
            ErrorCode.MIGRATION_ORDER,
            f"{before.file if before else ''} has the last number there is: start a new sequence "
            "under another plugin name, or merge old migrations.",
        )
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{number:03}_{name}.sql"
    text = _TEXT.format(
        file=path.name,
        description=name.replace("_", " ").capitalize(),
        author=author,
        date=date,
        before=before.file if before else "None (first migration)",
        plugin=plugin,
    )
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    return path


def _newest(directory: Path) -> MigrationFile | None:
    paths = sorted(path for path in directory.glob("*.sql") if FILE_NAME.fullmatch(path.name))
    files = [parse(path.name, path.read_bytes()) for path in paths]
    check_numbering(files)
    return files[-1] if files else None


def _suggestion(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", re.sub(r"^\d{3}_|\.sql$", "", name.lower()))
    better = "_".join(words)[:_LONGEST_NAME]
    return f" Did you mean '{better}'?" if better else ""
