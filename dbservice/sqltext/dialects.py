"""Whose SQL a text is, and how a name is quoted in it."""

from __future__ import annotations

from enum import StrEnum


class Dialect(StrEnum):
    """The SQL spoken by an engine; the value is also how migration files name it."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


def quoted(name: str) -> str:
    """Return an identifier that is safe to stand in SQL. The name itself was checked before."""
    return '"' + name.replace('"', '""') + '"'
