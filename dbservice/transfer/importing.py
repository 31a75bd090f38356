"""Reading an export into an empty namespace: all of it, or nothing (SPEC 2.1).

The pieces are kept aside as they come. The last one reads them all and stores what they say in one
transaction, so that whatever goes wrong before leaves the namespace as empty as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dbservice.engine.dialect import SqlDialect, dialect_of
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.tables import Table
from dbservice.migrate import Migrator
from dbservice.protocol.errors import RequestError, invalid
from dbservice.protocol.limits import IMPORT_WINDOW
from dbservice.protocol.names import Namespace, identifier
from dbservice.protocol.rows import Register, TableSchema
from dbservice.protocol.system import Import, Imported
from dbservice.runtime.clock import Clock
from dbservice.sqltext.dialects import Dialect, quoted
from dbservice.storage import search_indexes
from dbservice.storage.catalog import Catalog
from dbservice.storage.idempotency import AnswerStore
from dbservice.storage.keys import KeyStore
from dbservice.storage.normal_form import Misfit, normalise
from dbservice.storage.schemas import SchemaStore
from dbservice.transfer.layout import Layout
from dbservice.transfer.lines import (
    AnswerLine,
    EndLine,
    Header,
    KeyLine,
    Line,
    RowLine,
    TableLine,
    read,
    stored,
    wrong_line,
)

_KEEP = (
    "INSERT INTO _imports (plugin, session, part, text, sent_at) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (plugin, part) DO UPDATE SET text = excluded.text, sent_at = excluded.sent_at"
)


class Importer:
    """Fills empty namespaces.

    Args:
        dialect: of the engine.
        migrator: makes the tables.
        clock: gives keys their new end.
    """

    def __init__(self, dialect: Dialect, migrator: Migrator, clock: Clock) -> None:
        self._dialect = dialect
        self._migrator = migrator
        self._clock = clock

    def take(self, namespace: Namespace, request: Import) -> Steps[Imported]:
        """Keep a piece; with the last one, store everything.

        Raises:
            RequestError: VALIDATION_ERROR if the namespace is not empty, a piece is missing, or a
                line cannot be taken; and whatever replaying the migrations raises.
        """
        work = _Import(self._dialect, self._migrator, self._clock, namespace)
        yield from work.check_empty()
        yield from self._keep(namespace, request)
        if not request.finish:
            return Imported(finished=False)
        yield from self._check_parts(namespace, request)
        reply = yield from work.run(request)
        yield Statement("DELETE FROM _imports WHERE plugin = ?", (namespace.plugin,))
        return reply

    def forget(self, namespace: Namespace) -> Steps[None]:
        """Discard what was sent of an import that is not finished."""
        yield Statement("DELETE FROM _imports WHERE plugin = ?", (namespace.plugin,))

    def _keep(self, namespace: Namespace, request: Import) -> Steps[None]:
        plugin, now = namespace.plugin, self._clock.time()
        if request.part == 0:
            yield Statement(
                "DELETE FROM _imports WHERE (plugin = ? AND session <> ?) OR sent_at < ?",
                (plugin, request.session, now - IMPORT_WINDOW),
            )
        others = yield Statement(
            "SELECT 1 FROM _imports WHERE plugin = ? AND session <> ? LIMIT 1",
            (plugin, request.session),
        )
        if others.rows:
            raise invalid(
                "Another import into this namespace was begun after this one. Only one can run: "
                "begin again with part 0.",
                field="session",
            )
        yield Statement(_KEEP, (plugin, request.session, request.part, request.text, now))

    def _check_parts(self, namespace: Namespace, request: Import) -> Steps[None]:
        found = yield Statement(
            "SELECT COUNT(*), MAX(part) FROM _imports WHERE plugin = ?", (namespace.plugin,)
        )
        count, last = found.rows[0]
        if count != request.part + 1 or last != request.part:
            raise invalid(
                f"Part {request.part} is to be the last of {request.part + 1}, and {count} are "
                "here. Send every part of the session, and the last one with 'finish'.",
                field="part",
                expected=request.part + 1,
                got=count,
            )


@dataclass(slots=True)
class _Import:
    """One import that is being stored."""

    dialect: Dialect
    migrator: Migrator
    clock: Clock
    namespace: Namespace
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def _sql(self) -> SqlDialect:
        return dialect_of(self.dialect)

    def check_empty(self) -> Steps[None]:
        """Refuse a namespace in which anything is.

        Raises:
            RequestError: VALIDATION_ERROR.
        """
        catalog = Catalog(self._sql)
        tables = yield from catalog.full_names(self.namespace)
        views = yield from catalog.views(self.namespace)
        keys = yield from KeyStore(self.clock, self._sql).number(self.namespace)
        history = yield from self.migrator.history(self.namespace)
        if tables or views or keys or history:
            raise invalid(
                f"The namespace of '{self.namespace.plugin}' is not empty: it has "
                f"{len(tables)} tables, {keys} keys and {len(history)} migrations. Clear it first, "
                "or import elsewhere.",
                field="plugin",
                tables=len(tables),
                keys=keys,
                migrations=len(history),
            )

    def run(self, request: Import) -> Steps[Imported]:
        """Store all lines of all parts."""
        reader = _Lines(self.namespace.plugin, request.part)
        header = yield from reader.next()
        if not isinstance(header, Header):
            raise wrong_line(1, "an export begins with its header")
        if header.plugin != self.namespace.plugin:
            raise wrong_line(
                1, f"this is an export of another plugin than '{self.namespace.plugin}'"
            )
        yield from self.migrator.replayed(self.namespace, header.migrations)
        writer = _Writer(self.dialect, self.clock, self.namespace, self.counts)
        yield from writer.begin()
        while not isinstance(line := (yield from reader.next()), EndLine):
            yield from writer.take(line, reader.number)
        if line.lines != reader.number - 1:
            raise wrong_line(reader.number, f"it counts {line.lines} lines above it")
        yield from reader.check_end()
        yield from writer.finish()
        return Imported(
            finished=True,
            tables=self.counts["tables"],
            rows=self.counts["rows"],
            keys=self.counts["keys"],
            migrations=len(header.migrations),
        )


class _Lines:
    """The lines of an import, read a part at a time.

    Attributes:
        number: of the line that was read last, from 1.
    """

    def __init__(self, plugin: str, last: int) -> None:
        self.number = 0
        self._plugin = plugin
        self._last = last
        self._part = 0
        self._ready: Iterator[str] = iter(())
        self._unfinished: list[str] = []

    def next(self) -> Steps[Line]:
        """Return the next line.

        Raises:
            RequestError: VALIDATION_ERROR if there is none, or it is none of an export.
        """
        text = yield from self._next_text()
        self.number += 1
        if text is None:
            raise wrong_line(self.number, "the export ends before its end line; it was cut off")
        return read(text, self.number)

    def check_end(self) -> Steps[None]:
        """Refuse anything behind the end line.

        Raises:
            RequestError: VALIDATION_ERROR.
        """
        if (yield from self._next_text()) is not None:
            raise wrong_line(self.number + 1, "it stands behind the end of the export")

    def _next_text(self) -> Steps[str | None]:
        while True:
            for text in self._ready:
                if text.strip():
                    return text
            if self._part > self._last:
                text, self._unfinished = "".join(self._unfinished), []
                return text if text.strip() else None
            yield from self._read_part()

    def _read_part(self) -> Steps[None]:
        result = yield Statement(
            "SELECT text FROM _imports WHERE plugin = ? AND part = ?", (self._plugin, self._part)
        )
        self._part += 1
        whole, ended, rest = result.rows[0][0].rpartition("\n")
        if ended:
            lines = "".join([*self._unfinished, whole]).split("\n")
            self._ready, self._unfinished = iter(lines), [rest]
        else:
            self._unfinished.append(rest)


class _Writer:
    """Stores lines."""

    def __init__(
        self, dialect: Dialect, clock: Clock, namespace: Namespace, counts: Counter[str]
    ) -> None:
        sql = dialect_of(dialect)
        self._sql = sql
        self._namespace = namespace
        self._counts = counts
        # Not the service's catalogue: what happens here may be undone, and must not be remembered.
        self._catalog = Catalog(sql)
        self._schemas = SchemaStore(self._catalog, sql)
        self._keys = KeyStore(clock, sql)
        self._answers = AnswerStore(clock, sql)
        self._layout = Layout(dialect)
        self._back: list[str] = []
        self._insert = ""
        self._width = 0
        self._table: TableLine | None = None
        self._stored: list[tuple[Table, int | None]] = []

    def begin(self) -> Steps[None]:
        """Empty the tables that the migrations made: the export has what they put in, too."""
        tables = []
        for full_name in (yield from self._catalog.full_names(self._namespace)):
            name = full_name.removeprefix(self._namespace.prefix)
            tables.append((yield from self._catalog.table(self._namespace, name)))
        self._back = yield from self._layout.let_go(tables)
        for table in tables:
            yield Statement(f"DELETE FROM {table.sql}")  # noqa: S608 - quoted

    def take(self, line: Line, number: int) -> Steps[None]:
        """Store one line.

        Raises:
            RequestError: VALIDATION_ERROR.
        """
        match line:
            case RowLine():
                yield from self._row(line, number)
            case TableLine():
                yield from self._begin_table(line, number)
            case KeyLine():
                yield from self._keys.restore(
                    self._namespace, line.key, line.value, line.expires_in
                )
                self._counts["keys"] += 1
            case AnswerLine():
                answer = (line.key, line.fingerprint, line.kind, line.reply)
                yield from self._answers.restore(self._namespace, answer, line.age)
            case _:
                raise wrong_line(number, "a header stands only at the beginning")

    def finish(self) -> Steps[None]:
        """Set the sequences, and put back what was taken off."""
        for table, sequence in self._stored:
            yield from self._layout.set_sequence(table, sequence)
        for table, _ in self._stored:
            for entry in (yield from normalise(table)):
                if isinstance(entry, Misfit) and not entry.is_default:
                    raise _not_carried(entry)
        for sql in self._back:
            yield Statement(sql)
        yield from search_indexes.refill(self._namespace, self._sql)

    def _begin_table(self, line: TableLine, number: int) -> Steps[None]:
        identifier(line.name, field="table")
        table = yield from self._catalog.find(self._namespace, line.name)
        if table is None:
            table = yield from self._registered(line, number)
        columns = yield from self._layout.columns(table)
        if sorted(columns) != sorted(line.columns):
            raise wrong_line(number, f"the table '{line.name}' has other columns here")
        self._insert = _insert(self._sql, table, line.columns)
        self._width = len(line.columns)
        self._stored.append((table, line.sequence))
        self._counts["tables"] += 1

    def _registered(self, line: TableLine, number: int) -> Steps[Table]:
        if line.fields is None:
            raise wrong_line(
                number,
                f"the table '{line.name}' is made by no migration of this service, and was not "
                "registered by the plugin",
            )
        request = Register(table=line.name, schema=TableSchema(fields=line.fields))
        yield from self._schemas.register(self._namespace, request)
        return (yield from self._catalog.table(self._namespace, line.name))

    def _row(self, line: RowLine, number: int) -> Steps[None]:
        if not self._insert or len(line.values) != self._width:
            raise wrong_line(number, f"expected a row of {self._width} values behind its table")
        values = [stored(value, number) for value in line.values]
        yield Statement(self._insert, values)
        self._counts["rows"] += 1


def _not_carried(misfit: Misfit) -> RequestError:
    return invalid(
        f"Column '{misfit.column.name}' of table '{misfit.table}' is {misfit.column.type} and "
        f"cannot carry {str(misfit.value)[:60]}, which the import has. Nothing was stored.",
        field=misfit.column.name,
    )


def _insert(dialect: SqlDialect, table: Table, columns: Sequence[str]) -> str:
    names = ", ".join(quoted(name) for name in columns)
    places = ", ".join(dialect.written(table.columns[name]) for name in columns)
    return f"INSERT INTO {table.sql} ({names}) {dialect.any_key}VALUES ({places})"
