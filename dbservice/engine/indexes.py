"""What is known of the indexes of a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Index:
    """One index of a table.

    Attributes:
        columns: empty where it is over an expression.
        unique: no two rows may share what is in `columns`; false for part of the rows.
        sql: the command that makes it, where that was asked for.
    """

    name: str
    columns: tuple[str, ...]
    unique: bool
    sql: str = ""


@dataclass(frozen=True, slots=True)
class SearchIndex:
    """An index that answers `$like` and `$ilike`.

    Attributes:
        name: with the plugin's prefix.
        table: the full name.
        columns: whose text is in it.
    """

    name: str
    table: str
    columns: tuple[str, ...]
