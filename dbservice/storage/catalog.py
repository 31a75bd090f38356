"""Which tables a plugin has: read from the database, remembered, and an unknown one refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from dbservice.engine import postgres_tables, sqlite_tables
from dbservice.engine.dialect import SqlDialect
from dbservice.engine.steps import Steps
from dbservice.engine.tables import Table
from dbservice.protocol.errors import Reason, RequestError, did_you_mean, invalid, nearest
from dbservice.protocol.names import Namespace
from dbservice.sqltext.dialects import Dialect


class _Reader(Protocol):
    """Reads the catalog of an engine."""

    def names(self, kind: str, prefix: str) -> Steps[list[str]]:
        """Return the full names of the tables or views (`kind`) with a prefix, sorted."""

    def load(self, name: str, full_name: str) -> Steps[Table | None]:
        """Return a table or view by its full name, or None."""


_READERS: Mapping[Dialect, _Reader] = {
    Dialect.SQLITE: sqlite_tables,
    Dialect.POSTGRESQL: postgres_tables,
}


class Catalog:
    """The tables of all plugins on a database.

    What was read stays valid for as long as the database's schema version does not move; the
    version is asked for in the same snapshot as the rows, so that a migration on any connection
    is noticed by the next operation and by no earlier one.

    Args:
        dialect: of the engine.
    """

    def __init__(self, dialect: SqlDialect) -> None:
        self._dialect = dialect
        self._reader = _READERS[dialect.name]
        # One attribute, because the engine's threads all read and replace it.
        self._known: tuple[int, dict[tuple[str, str], Table]] = (-1, {})

    def table(self, namespace: Namespace, name: str) -> Steps[Table]:
        """Return a table of a plugin.

        Raises:
            RequestError: VALIDATION_ERROR, with reason TABLE_NOT_REGISTERED where there is no
                such table.
        """
        table = yield from self.find(namespace, name)
        if table is None:
            raise (yield from self._not_registered(namespace, name))
        return table

    def written_table(self, namespace: Namespace, name: str) -> Steps[Table]:
        """Return a table of a plugin that a request writes to.

        Raises:
            RequestError: VALIDATION_ERROR, also where it is a view.
        """
        table = yield from self.table(namespace, name)
        if table.is_view:
            raise invalid(
                f"'{name}' is a view: it can be read and not written. Write to the table that it "
                "reads from.",
                field="table",
                got=name,
            )
        return table

    def find(self, namespace: Namespace, name: str) -> Steps[Table | None]:
        """Return a table of a plugin, or None."""
        version = (yield self._dialect.schema_version).rows[0][0]
        known_version, tables = self._known
        key = (namespace.prefix, name)
        if version != known_version:
            tables = {}
        elif key in tables:
            return tables[key]
        table = yield from self._reader.load(name, namespace.table(name))
        if table is not None:
            tables[key] = table
            self._known = (version, tables)
        return table

    def full_names(self, namespace: Namespace) -> Steps[list[str]]:
        """Return the full names of a plugin's tables, sorted."""
        return (yield from self._reader.names("TABLE", namespace.prefix))

    def views(self, namespace: Namespace) -> Steps[list[str]]:
        """Return the full names of a plugin's views, sorted."""
        return (yield from self._reader.names("VIEW", namespace.prefix))

    def _not_registered(self, namespace: Namespace, name: str) -> Steps[RequestError]:
        names = [full[len(namespace.prefix) :] for full in (yield from self.full_names(namespace))]
        has = f"it has {', '.join(names)}" if names else "it has no tables; apply its migrations"
        return invalid(
            f"Table '{name}' is not registered for plugin '{namespace.plugin}': {has}."
            f"{did_you_mean(name, names)}",
            reason=Reason.TABLE_NOT_REGISTERED,
            field="table",
            got=name,
            nearest=nearest(name, names),
        )
