"""Tables made and described by requests (SPEC 2.4, `schema.*`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from dbservice.engine.columns import Column
from dbservice.engine.dialect import SqlDialect
from dbservice.engine.errors import ConstraintError, EngineError
from dbservice.engine.indexes import SearchIndex
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.tables import CREATED_AT, UPDATED_AT, Table
from dbservice.engine.type_map import to_stored
from dbservice.protocol.errors import Reason, invalid
from dbservice.protocol.limits import MAX_IDENTIFIER, MAX_TABLES
from dbservice.protocol.names import Namespace, identifier
from dbservice.protocol.rows import (
    Column as DescribedColumn,
)
from dbservice.protocol.rows import (
    ColumnType,
    Describe,
    Described,
    Drop,
    Dropped,
    Field,
    Register,
    Registered,
)
from dbservice.protocol.rows import (
    Index as DescribedIndex,
)
from dbservice.sqltext.dialects import quoted
from dbservice.storage import search_indexes
from dbservice.storage.catalog import Catalog

RESERVED = ("id", CREATED_AT, UPDATED_AT)

_ROWS_TO_INDEX = 10_000
"""A search index over more rows would hold the writer longer than a plugin may."""

_COLLATED = (ColumnType.STRING, ColumnType.TEXT)


class SchemaStore:
    """Operations on tables.

    Args:
        catalog: knows the tables.
        dialect: of the engine.
    """

    def __init__(self, catalog: Catalog, dialect: SqlDialect) -> None:
        self._catalog = catalog
        self._dialect = dialect

    def register(self, namespace: Namespace, request: Register) -> Steps[Registered]:
        """Create a table, or confirm that it is there as described.

        Raises:
            RequestError: VALIDATION_ERROR for a malformed description, or with a diff where the
                table is there with other columns.
        """
        fields = request.schema.fields
        full_name = namespace.table(request.table)
        yield from self._dialect.lock(f"table {full_name}")
        searched = _searched(fields)
        table = yield from self._present(namespace, request)
        if table is not None:
            if not _has_searches(table, searched):
                yield from self._search(namespace, table, searched)
            return Registered(table=request.table, created=False)
        if len((yield from self._catalog.full_names(namespace))) >= MAX_TABLES:
            raise invalid(
                f"The plugin '{namespace.plugin}' has {MAX_TABLES} tables already: drop one that "
                "is not used, or make further ones in a migration.",
                reason=Reason.LIMIT,
                field="table",
                limit=MAX_TABLES,
            )
        yield Statement(_create_sql(self._dialect, full_name, fields))
        for field in fields:
            if field.unique:
                name = _index_name(full_name, field.name, "unique")
                yield Statement(
                    f"CREATE UNIQUE INDEX {quoted(name)} ON {quoted(full_name)} "
                    f"({quoted(field.name)})"
                )
        if searched:
            table = yield from self._catalog.table(namespace, request.table)
            yield from self._search(namespace, table, searched)
        return Registered(table=request.table, created=True)

    def registered(self, namespace: Namespace, request: Register) -> Steps[Registered | None]:
        """Return the answer to a registration that has nothing to do, None if it has.

        Raises:
            RequestError: as for `register`.
        """
        table = yield from self._present(namespace, request)
        if table is None or not _has_searches(table, _searched(request.schema.fields)):
            return None
        return Registered(table=request.table, created=False)

    def _present(self, namespace: Namespace, request: Register) -> Steps[Table | None]:
        """Return the table that a registration describes, if it is there, and just so."""
        _check_fields(request.schema.fields)
        table = yield from self._catalog.find(namespace, request.table)
        if table is not None:
            _check_same(table, request.schema.fields)
        return table

    def describe(self, namespace: Namespace, request: Describe) -> Steps[Described]:
        """Describe a table and count its rows.

        Raises:
            RequestError: VALIDATION_ERROR if there is no such table.
        """
        table = yield from self._catalog.table(namespace, request.table)
        result = yield Statement(f"SELECT COUNT(*) FROM {table.sql}")
        return Described(
            columns=[described(column) for column in table.columns.values()],
            indexes=[
                DescribedIndex(index.name, list(index.columns), index.unique)
                for index in table.indexes
            ]
            + [
                DescribedIndex(index.name, list(index.columns), unique=False, search=True)
                for index in table.searches
            ],
            row_count=result.rows[0][0],
        )

    def drop(self, namespace: Namespace, request: Drop) -> Steps[Dropped]:
        """Drop a table."""
        table = yield from self._catalog.find(namespace, request.table)
        if table is None:
            return Dropped(dropped=False)
        if table.is_view:
            raise invalid(
                f"'{request.table}' is a view, which a migration made: drop it in a migration.",
                field="table",
                got=request.table,
            )
        yield from search_indexes.clear(namespace, self._dialect, table.full_name)
        try:
            yield from self._dialect.drop("TABLE", [table.full_name])
        except ConstraintError as error:
            error.is_missing = False
            raise
        return Dropped(dropped=True)

    def _search(self, namespace: Namespace, table: Table, names: tuple[str, ...]) -> Steps[None]:
        """Make the search index that a registration asks for.

        Raises:
            RequestError: VALIDATION_ERROR where it would take long, or cannot be.
        """
        counted = yield Statement(f"SELECT COUNT(*) FROM {table.sql}")
        if counted.rows[0][0] > _ROWS_TO_INDEX:
            raise invalid(
                f"Table '{table.name}' has {counted.rows[0][0]} rows, and its search index would "
                "hold up other requests while it is built. Make it in a migration: CREATE INDEX "
                f"{table.name}_search ON {table.name} USING trigram ({', '.join(names)}).",
                field="schema.fields",
                limit=_ROWS_TO_INDEX,
            )
        try:
            yield from search_indexes.check(table, names, self._dialect)
        except EngineError as error:
            raise invalid(
                f"The search index cannot be made: {error}.", field="schema.fields"
            ) from error
        name = _index_name(table.full_name, "", "search")
        yield from search_indexes.drop(namespace, name, self._dialect)
        index = SearchIndex(name, table.full_name, names)
        yield from search_indexes.create(namespace, index, self._dialect)

    def clear(self, namespace: Namespace) -> Steps[int]:
        """Drop every table and view of a plugin; return how many tables there were."""
        yield from search_indexes.clear(namespace, self._dialect)
        yield from self._dialect.drop("VIEW", (yield from self._catalog.views(namespace)))
        tables = yield from self._catalog.full_names(namespace)
        yield from self._dialect.drop("TABLE", tables)
        return len(tables)


def _searched(fields: Sequence[Field]) -> tuple[str, ...]:
    return tuple(field.name for field in fields if field.search)


def _has_searches(table: Table, names: Sequence[str]) -> bool:
    return all(table.search_index(table.columns[name]) for name in names)


def _check_fields(fields: Sequence[Field]) -> None:
    seen: set[str] = set()
    for position, field in enumerate(fields):
        path = f"schema.fields[{position}]"
        identifier(field.name, field=f"{path}.name")
        if field.name in RESERVED:
            raise invalid(
                f"'{field.name}' is added to every table by the service. Leave it out of 'fields'.",
                field=f"{path}.name",
                got=field.name,
            )
        if field.name in seen:
            raise invalid(f"'{field.name}' stands twice in 'fields'.", field=f"{path}.name")
        if field.max_length is not UNSET and field.type is not ColumnType.STRING:
            raise invalid(
                f"'max_length' goes with type 'string'; '{field.name}' is {field.type}.",
                field=f"{path}.max_length",
            )
        if field.search and field.type not in _COLLATED:
            raise invalid(
                f"'search' goes with types 'string' and 'text'; '{field.name}' is {field.type}.",
                field=f"{path}.search",
            )
        _default_of(field, f"{path}.default")
        seen.add(field.name)


def _column_of(field: Field) -> Column:
    length = None if field.max_length is UNSET else field.max_length
    return Column(field.name, field.type, nullable=not field.required, max_length=length)


def _default_of(field: Field, path: str) -> Any:
    return None if field.default is UNSET else to_stored(_column_of(field), field.default, path)


def _create_sql(dialect: SqlDialect, full_name: str, fields: Sequence[Field]) -> str:
    moment = dialect.declared[ColumnType.DATETIME]
    columns = [
        f'"id" {dialect.id_declared}',
        *(_column_sql(dialect, field) for field in fields),
        f'"{CREATED_AT}" {moment} NOT NULL',
        f'"{UPDATED_AT}" {moment} NOT NULL',
    ]
    return f"CREATE TABLE {quoted(full_name)} ({', '.join(columns)})"


def _column_sql(dialect: SqlDialect, field: Field) -> str:
    length = "" if field.max_length is UNSET else f"({field.max_length})"
    parts = [quoted(field.name), dialect.declared[field.type] + length]
    if field.type in _COLLATED:
        parts.append(dialect.collation)
    if field.required:
        parts.append("NOT NULL")
    if field.default is not UNSET:
        parts.append(f"DEFAULT {_literal(_default_of(field, field.name))}")
    parts.append(dialect.column_check(_column_of(field)))
    return " ".join(filter(None, parts))


def _literal(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case int() | float():
            return repr(value)
        case _:
            return "'" + str(value).replace("'", "''") + "'"


def _index_name(full_name: str, column: str, kind: str) -> str:
    # Two underscores stand in no name, so no other table or index can have this one.
    name = f"{full_name}__{column}__{kind}" if column else f"{full_name}__{kind}"
    if len(name) > MAX_IDENTIFIER:
        raise invalid(
            f"The name of the {kind} index over '{column or full_name}' would have {len(name)} "
            f"characters; the limit is {MAX_IDENTIFIER}. Shorten the table's or the column's name.",
            reason=Reason.LIMIT,
            field="schema.fields",
            limit=MAX_IDENTIFIER,
        )
    return name


def _check_same(table: Table, fields: Sequence[Field]) -> None:
    """Refuse a description that differs from the table; TEXT and VARCHAR hold the same."""
    present = {
        name: _broad(column.type) for name, column in table.columns.items() if name not in RESERVED
    }
    wanted = {field.name: _broad(field.type) for field in fields}
    difference = {
        "missing": sorted(wanted.keys() - present.keys()),
        "unexpected": sorted(present.keys() - wanted.keys()),
        "type": sorted(
            name for name in wanted.keys() & present.keys() if wanted[name] != present[name]
        ),
    }
    if any(difference.values()):
        told = "; ".join(
            f"{what}: {', '.join(names)}" for what, names in difference.items() if names
        )
        raise invalid(
            f"Table '{table.name}' is there with other columns ({told}). Change it with a "
            "migration.",
            field="schema.fields",
            difference=difference,
        )


def _broad(column_type: ColumnType) -> ColumnType:
    return ColumnType.TEXT if column_type is ColumnType.STRING else column_type


def described(column: Column) -> DescribedColumn:
    """Return a column as replies and exports describe it."""
    return DescribedColumn(
        column.name, column.type, column.nullable, column.default, column.primary_key
    )
