"""What is known of one column, and which types can do what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dbservice.protocol.rows import ColumnType
from dbservice.sqltext.dialects import quoted

NUMBERS = frozenset({ColumnType.INTEGER, ColumnType.FLOAT})
TEXTS = frozenset({ColumnType.STRING, ColumnType.TEXT})
ORDERED = NUMBERS | TEXTS | {ColumnType.DATETIME}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        max_length: characters at the most, where the declaration says so.
        default: the default as the engine writes it down, or None.
        native: the declared type as the engine names it, where its dialect cares.
        sequence: what generates the values, where they come from a sequence.
    """

    name: str
    type: ColumnType
    nullable: bool = True
    default: str | None = None
    max_length: int | None = None
    primary_key: bool = False
    native: str = ""
    sequence: str = ""

    @cached_property
    def sql(self) -> str:
        """The column's name as it stands in SQL."""
        return quoted(self.name)
