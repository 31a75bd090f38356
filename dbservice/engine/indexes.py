"""What is known of the indexes of a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Index:
    """One index of a table; `columns` is empty where it is over an expression."""

    name: str
    columns: tuple[str, ...]
    unique: bool


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
