"""What is known of one column."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dbservice.protocol.rows import ColumnType
from dbservice.sqltext.dialects import quoted

NUMBERS = frozenset({ColumnType.INTEGER, ColumnType.FLOAT})
TEXTS = frozenset({ColumnType.STRING, ColumnType.TEXT})


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        type: what it is on the wire.
        default: the default as its author may have written it, or None.
        max_length: characters at the most, where the declaration says so.
        native: the declared type as the engine names it.
        sequence: what generates the values, where they come from a sequence.
        kind: the row of the type map that it follows, where that is not the one of its type.
        generated: the database computes its values.
        by_trigger: a trigger of the plugin writes to the table, in whatever spelling.
        digits: of a decimal number, all and those behind the point, where declared.
        bits: of an integer.
        precision: digits behind the second, of a moment or a time of day.
        default_sql: the default as the engine writes it down.
    """

    name: str
    type: ColumnType
    nullable: bool = True
    default: str | None = None
    max_length: int | None = None
    primary_key: bool = False
    native: str = ""
    sequence: str = ""
    kind: str = ""
    generated: bool = False
    by_trigger: bool = False
    digits: tuple[int, int] | None = None
    bits: int = 64
    precision: int = 6
    default_sql: str | None = None

    @cached_property
    def sql(self) -> str:
        """The column's name as it stands in SQL."""
        return quoted(self.name)

    @cached_property
    def rule(self) -> str:
        """The name of its row of the type map."""
        return self.kind or self.type
