"""What is known of a table: its columns, its keys, its indexes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from dbservice.engine.columns import Column
from dbservice.engine.dialect import SqlDialect
from dbservice.engine.indexes import Index, SearchIndex
from dbservice.protocol.errors import Reason, RequestError, did_you_mean, invalid, nearest
from dbservice.protocol.rows import ColumnType
from dbservice.sqltext.dialects import quoted

CREATED_AT = "created_at"
UPDATED_AT = "updated_at"

_INSERTIONS = 64
"""Texts that are kept of a table; which columns a row names is its sender's choice."""

_BESIDE_FILTERS = frozenset({"sort", "limit", "offset", "columns", "after"})


@dataclass(frozen=True)
class Table:
    """One table of a plugin.

    Attributes:
        name: the bare name, as it stands in requests.
        full_name: the name in the database.
        dialect: the SQL of the engine that it is on.
        searches: the search indexes, by their names.
        is_view: it is a view, which can be read and not written.
    """

    name: str
    full_name: str
    columns: Mapping[str, Column]
    dialect: SqlDialect
    indexes: tuple[Index, ...] = ()
    is_view: bool = False
    searches: tuple[SearchIndex, ...] = ()

    @cached_property
    def sql(self) -> str:
        """The table's name as it stands in SQL."""
        return quoted(self.full_name)

    @cached_property
    def primary_key(self) -> tuple[Column, ...]:
        """The columns of the primary key."""
        return tuple(column for column in self.columns.values() if column.primary_key)

    @cached_property
    def id_column(self) -> Column | None:
        """The primary key if it is one column, else None."""
        key = self.primary_key
        return key[0] if len(key) == 1 else None

    @cached_property
    def is_stamped(self) -> bool:
        """Whether the service keeps `created_at` and `updated_at` of its rows."""
        stamps = (self.columns.get(CREATED_AT), self.columns.get(UPDATED_AT))
        return all(stamp is not None and stamp.type is ColumnType.DATETIME for stamp in stamps)

    @cached_property
    def stamps(self) -> tuple[Column, ...]:
        """The columns that a new row gets the present moment in.

        SQLite's own CURRENT_TIMESTAMP writes a form that does not compare with the service's.
        """
        kept = (CREATED_AT, UPDATED_AT) if self.is_stamped else ()
        return tuple(
            column
            for column in self.columns.values()
            if column.type is ColumnType.DATETIME
            and (column.name in kept or (column.default or "").upper() == "CURRENT_TIMESTAMP")
        )

    def search_index(self, column: Column) -> SearchIndex | None:
        """Return an index that has the text of a column."""
        return next((index for index in self.searches if column.name in index.columns), None)

    @cached_property
    def defaults(self) -> Mapping[str, str]:
        """What to write into a column that a row leaves out, where the engine would spell it."""
        found = {name: self.dialect.default(column) for name, column in self.columns.items()}
        return {name: sql for name, sql in found.items() if sql is not None}

    @cached_property
    def select_by_id(self) -> str:
        """The query for a whole row by its id; the table has to have one."""
        key = self.required_id_column()
        columns = ", ".join(map(self.dialect.shown, self.columns.values()))
        matching = f"{self.dialect.compared(key)} = {self.dialect.operand(key)}"
        return f"SELECT {columns} FROM {self.sql} WHERE {matching}"

    def insertion(self, names: tuple[str, ...]) -> str:
        """Return the INSERT of a row with values for these columns, as far as it goes by them."""
        made = self._insertions.get(names)
        if made is None:
            if len(self._insertions) >= _INSERTIONS:
                self._insertions.clear()
            made = self._insertions[names] = self._insertion(names)
        return made

    def _insertion(self, names: tuple[str, ...]) -> str:
        parts = {name: self.dialect.written(self.columns[name]) for name in names}
        parts |= {name: sql for name, sql in self.defaults.items() if name not in parts}
        if not parts:
            return f"INSERT INTO {self.sql} DEFAULT VALUES"
        columns = ", ".join(self.columns[name].sql for name in parts)
        key = self.id_column
        given = self.dialect.any_key if key is not None and key.name in names else ""
        return f"INSERT INTO {self.sql} ({columns}) {given}VALUES ({', '.join(parts.values())})"

    @cached_property
    def _insertions(self) -> dict[tuple[str, ...], str]:
        return {}

    def column(self, name: str, field: str) -> Column:
        """Return a column by its name.

        Args:
            name: what the request said.
            field: where it stood, for the error.

        Raises:
            RequestError: VALIDATION_ERROR with reason UNKNOWN_COLUMN.
        """
        column = self.columns.get(name)
        if column is None:
            raise unknown_column(name, field, self.columns, self.name)
        return column

    def written_column(self, name: str, field: str) -> Column:
        """Return a column that a request writes, by its name.

        Raises:
            RequestError: VALIDATION_ERROR with reason UNKNOWN_COLUMN, or IMMUTABLE_COLUMN where
                the database computes its values.
        """
        column = self.column(name, field)
        if column.generated:
            raise invalid(
                f"Column '{name}' is generated: the database computes it from other columns, so it "
                "can be read and not written. Leave it out.",
                reason=Reason.IMMUTABLE_COLUMN,
                field=field,
                got=name,
            )
        return column

    def required_id_column(self) -> Column:
        """Return the single-column primary key.

        Raises:
            RequestError: VALIDATION_ERROR if the key has several columns, or there is none.
        """
        if self.id_column is None:
            raise invalid(
                f"Table '{self.name}' has no single-column primary key, so its rows have no id. "
                "Use 'filters'.",
                field="id",
            )
        return self.id_column

    def is_unique_key(self, names: Iterable[str]) -> bool:
        """Return whether the engine keeps these columns together unique."""
        wanted = set(names)
        key = {column.name for column in self.primary_key}
        return wanted == key or any(
            index.unique and wanted == set(index.columns) for index in self.indexes
        )


def unknown_column(name: str, field: str, known: Iterable[str], table: str) -> RequestError:
    """Return the error for a column that a table does not have."""
    names = list(known)
    hint = did_you_mean(name, names)
    if name in _BESIDE_FILTERS and field.startswith("filters."):
        hint = f" '{name}' goes beside 'filters', not inside."
    return invalid(
        f"Column '{name[:80]}' is not in schema of table '{table}': it has "
        f"{', '.join(names)}.{hint}",
        reason=Reason.UNKNOWN_COLUMN,
        field=field[:200],
        got=name[:80],
        expected=names,
        nearest=nearest(name, names),
    )
