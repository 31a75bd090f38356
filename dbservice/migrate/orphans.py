"""Rows whose parent is not there: written to the file by somebody else than the service.

They are a warning of their plugin, and nobody else's business. A migration that builds on such a
table is refused, unless it mends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from dbservice.engine.steps import Statement, Steps
from dbservice.migrate.files import refusal
from dbservice.migrate.script import Script
from dbservice.protocol.names import Namespace
from dbservice.sqltext.dialects import Dialect

Orphans = Mapping[tuple[str, str], int]
"""How many rows of a table refer to rows of another that are not there; full names."""

# PostgreSQL does not let it come to that.
_FOUND = """
SELECT child.name, broken.parent, count(*)
FROM sqlite_master AS child, pragma_foreign_key_check(child.name) AS broken
WHERE child.type = 'table' AND substr(child.name, 1, ?) = ?
GROUP BY child.name, broken.parent ORDER BY child.name, broken.parent
"""


def find(dialect: Dialect, namespace: Namespace) -> Steps[Orphans]:
    """Return the orphans in a plugin's tables. Looks at every row that refers to another."""
    if dialect is Dialect.POSTGRESQL:
        return {}
    prefix = namespace.prefix
    found = yield Statement(_FOUND, (len(prefix), prefix))
    return {(child, parent): count for child, parent, count in found.rows}


def warned(orphans: Orphans, namespace: Namespace) -> list[dict[str, Any]]:
    """Return what is said of them beside other warnings (`dbservice.migrate.warnings`)."""
    return [
        {
            "code": "ORPHAN_ROWS",
            "message": _told(names, count, namespace),
            "safer": "delete these rows or give them back what they refer to; the service did not "
            "write them",
            "file": None,
            "line": None,
        }
        for names, count in orphans.items()
    ]


def refuse(script: Script, orphans: Orphans, namespace: Namespace) -> None:
    """Refuse a migration that has built on tables with orphans, and left them.

    Args:
        script: what ran.
        orphans: those that are there now.
        namespace: of the plugin.

    Raises:
        RequestError: MIGRATION_FAILED.
    """
    for names, count in orphans.items():
        if _speaks_of(script, names):
            raise refusal(
                script.file.file,
                None,
                f"it builds on rows that are not sound: {_told(names, count, namespace)}. Delete "
                "or mend them in this migration, before it goes on",
            )


def _speaks_of(script: Script, names: Iterable[str]) -> bool:
    pattern = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names))
    return any(pattern.search(statement.sql) for statement in script.statements)


def _told(names: tuple[str, str], count: int, namespace: Namespace) -> str:
    child, parent = (name.removeprefix(namespace.prefix) for name in names)
    rows = "1 row of" if count == 1 else f"{count} rows of"
    verb = "refers" if count == 1 else "refer"
    return f"{rows} {child} {verb} to rows of {parent} that are not there"
