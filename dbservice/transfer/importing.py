"""Reading an export into an empty namespace, a part at a time (SPEC 2.1).

Each part is one transaction, so that others get their turn between them. What has to be known from
one part to the next stands in `_imports`; as long as something stands there, the namespace is the
import's alone. The same export goes on where it stopped; `clear` ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from dbservice.engine.dialect import SqlDialect, dialect_of
from dbservice.engine.steps import Statement, Steps
from dbservice.engine.tables import Table
from dbservice.migrate import Migrator
from dbservice.protocol.errors import RequestError, invalid
from dbservice.protocol.names import Namespace, identifier
from dbservice.protocol.rows import Register, TableSchema
from dbservice.protocol.system import Import, Imported
from dbservice.runtime.clock import Clock
from dbservice.sqltext.dialects import Dialect, quoted
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
    PageLine,
    RowLine,
    TableLine,
    chained,
    read,
    stored,
    wrong_line,
)

ROWS_A_STATEMENT = 100

ROWS_LOOKED_AT = 5_000
"""Rows that are looked over in one transaction, when all are there: it takes some 50 ms."""

_MOST_PARAMETERS = 30_000
"""Both engines take some 32,000."""

_KEEP = (
    "INSERT INTO _imports (plugin, session, part, text, sent_at) VALUES (?, ?, 0, ?, ?) "
    "ON CONFLICT (plugin, part) DO UPDATE "
    "SET session = excluded.session, text = excluded.text, sent_at = excluded.sent_at"
)


class Progress(Struct):
    """What is known of an import between two of its parts.

    Attributes:
        parts: how many parts were taken.
        characters: how many characters they had together.
        lines: how many whole lines.
        checksum: of these lines.
        unfinished: the beginning of the next line.
        has_begun: the header was read, and the tables were made.
        has_ended: the end line was read.
        table: the line of the table whose rows come.
        back: the SQL that puts back what was taken off the tables.
        sequences: the tables that came, with the last id each gave out.
        looked_over: how many of these tables are.
        looked_at: the position of the last row of the next one that was; None for none.
        migrations: how many made the tables.
        rows: how many were stored.
        keys: how many were stored.
    """

    parts: int = 0
    characters: int = 0
    lines: int = 0
    checksum: str = ""
    unfinished: str = ""
    has_begun: bool = False
    has_ended: bool = False
    table: TableLine | None = None
    back: list[str] = field(default_factory=list)
    sequences: list[tuple[str, int | None]] = field(default_factory=list)
    looked_over: int = 0
    looked_at: int | None = None
    migrations: int = 0
    rows: int = 0
    keys: int = 0


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
        """Store what a part says; with the last one, leave the namespace to its plugin.

        Looking over many rows takes several transactions: the reply says that the import is not
        finished, and an empty part asks to go on.

        Raises:
            RequestError: VALIDATION_ERROR if the namespace is not empty, a part is missing, or a
                line cannot be taken; and whatever replaying the migrations raises. Of this part
                nothing is stored then.
        """
        progress = yield from self._progress(namespace, request)
        if request.part < progress.parts:
            return _taken(progress)  # sent again, or by somebody who takes the import up again
        if request.part > progress.parts:
            raise invalid(
                f"Part {request.part} came, and part {progress.parts} is the next: send the parts "
                "in their order.",
                field="part",
                expected=progress.parts,
                got=request.part,
            )
        writer = _Writer(self._dialect, self._migrator, self._clock, namespace, progress)
        yield from writer.take(request.text)
        progress.parts += 1
        progress.characters += len(request.text)
        if not (request.finish and (yield from writer.finish())):
            text = msgspec.json.encode(progress).decode()
            now = self._clock.time()
            yield Statement(_KEEP, (namespace.plugin, request.session, text, now))
            return _taken(progress)
        yield from self.forget(namespace)
        return _taken(progress, finished=True)

    def forget(self, namespace: Namespace) -> Steps[None]:
        """Forget an import that is not finished."""
        yield Statement("DELETE FROM _imports WHERE plugin = ?", (namespace.plugin,))

    def _progress(self, namespace: Namespace, request: Import) -> Steps[Progress]:
        """Return how far the import has come that this part belongs to."""
        found = yield Statement(
            "SELECT session, text FROM _imports WHERE plugin = ? ORDER BY part LIMIT 1",
            (namespace.plugin,),
        )
        session, text = found.rows[0] if found.rows else (None, "")
        progress = _decoded(text)
        if session == request.session and progress is not None:
            return progress
        self._check_files(namespace, request.text)
        if progress is not None and progress.has_begun:
            raise invalid(
                "Another export is being imported here: send that one to its end, or clear the "
                "namespace first.",
                field="session",
            )
        yield from self._check_empty(namespace)
        yield from self.forget(namespace)
        return Progress()

    def _check_files(self, namespace: Namespace, text: str) -> None:
        """Refuse what other migrations have made, before anybody clears a namespace for it."""
        first, is_whole, _ = text.partition("\n")
        header = read(first, 1) if is_whole and first.strip() else None
        if isinstance(header, Header):
            self._migrator.same_files(namespace, header.migrations)

    def _check_empty(self, namespace: Namespace) -> Steps[None]:
        sql = dialect_of(self._dialect)
        catalog = Catalog(sql)
        tables = yield from catalog.full_names(namespace)
        views = yield from catalog.views(namespace)
        keys = yield from KeyStore(self._clock, sql).number(namespace)
        history = yield from self._migrator.history(namespace)
        if tables or views or keys or history:
            raise invalid(
                f"The namespace of '{namespace.plugin}' is not empty: it has "
                f"{len(tables)} tables, {keys} keys and {len(history)} migrations. Clear it first, "
                "or import elsewhere.",
                field="plugin",
                tables=len(tables),
                keys=keys,
                migrations=len(history),
            )


def _decoded(text: str) -> Progress | None:
    """Return what `_imports` says, or None: older services kept the parts themselves there."""
    try:
        return msgspec.json.decode(text, type=Progress)
    except msgspec.MsgspecError:
        return None


def _taken(progress: Progress, *, finished: bool = False) -> Imported:
    return Imported(
        finished=finished,
        parts=progress.parts,
        characters=progress.characters,
        tables=len(progress.sequences),
        rows=progress.rows,
        keys=progress.keys,
        migrations=progress.migrations,
    )


class _Writer:
    """Stores lines."""

    def __init__(
        self,
        dialect: Dialect,
        migrator: Migrator,
        clock: Clock,
        namespace: Namespace,
        progress: Progress,
    ) -> None:
        sql = dialect_of(dialect)
        self._sql = sql
        self._migrator = migrator
        self._namespace = namespace
        self._progress = progress
        # Not the service's catalogue: what happens here may be undone, and must not be remembered.
        self._catalog = Catalog(sql)
        self._schemas = SchemaStore(self._catalog, sql)
        self._keys = KeyStore(clock, sql)
        self._answers = AnswerStore(clock, sql)
        self._layout = Layout(dialect)
        self._rows: list[list[Any]] = []

    def take(self, text: str) -> Steps[None]:
        """Store the lines of a part, as far as they are whole.

        Raises:
            RequestError: VALIDATION_ERROR.
        """
        *lines, self._progress.unfinished = (self._progress.unfinished + text).split("\n")
        for line in lines:
            yield from self._take_text(line)
        yield from self._store_rows()

    def finish(self) -> Steps[bool]:
        """Look over some rows; behind the last ones, make the tables what they are to be.

        Returns:
            Whether that is done.

        Raises:
            RequestError: VALIDATION_ERROR if the export is not whole.
        """
        rest, self._progress.unfinished = self._progress.unfinished, ""
        yield from self._take_text(rest)
        yield from self._store_rows()
        if not self._progress.has_ended:
            raise wrong_line(
                self._progress.lines + 1, "the export ends before its end line; it was cut off"
            )
        tables = []
        for name, sequence in self._progress.sequences:
            table = yield from self._catalog.table(self._namespace, name)
            yield from self._layout.set_sequence(table, sequence)
            tables.append(table)
        if not (yield from self._look_over(tables)):
            return False
        for sql in self._progress.back:
            yield Statement(sql)
        yield from self._layout.check_references(tables)
        return True

    def _look_over(self, tables: Sequence[Table]) -> Steps[bool]:
        """Bring what is not in normal form into it, some rows at a time; return if all are."""
        progress = self._progress
        while progress.looked_over < len(tables):
            table = tables[progress.looked_over]
            found = yield from self._layout.slice(table, progress.looked_at, ROWS_LOOKED_AT)
            for entry in (yield from normalise(table, found.rows)):
                if isinstance(entry, Misfit) and not entry.is_default:
                    raise _not_carried(entry)
            progress.looked_at = found.last
            if found.last is not None:
                return False
            progress.looked_over += 1
        return True

    def _take_text(self, text: str) -> Steps[None]:
        if not text.strip():
            return
        progress = self._progress
        number = progress.lines + 1
        if progress.has_ended:
            raise wrong_line(number, "it stands behind the end of the export")
        line = read(text, number)
        if isinstance(line, Header) == progress.has_begun:
            raise wrong_line(
                number,
                "a header stands only at the beginning"
                if progress.has_begun
                else "an export begins with its header",
            )
        yield from self._take(line, number)
        progress.lines, progress.checksum = number, chained(progress.checksum, text)

    def _take(self, line: Line, number: int) -> Steps[None]:
        if isinstance(line, RowLine):
            yield from self._row(line, number)
            return
        yield from self._store_rows()
        match line:
            case KeyLine():
                owner = self._namespace
                yield from self._keys.restore(owner, line.key, line.value, line.expires_in)
                self._progress.keys += 1
            case TableLine():
                yield from self._begin_table(line, number)
            case AnswerLine():
                answer = (line.key, line.fingerprint, line.kind, line.reply)
                yield from self._answers.restore(self._namespace, answer, line.age)
            case Header():
                yield from self._begin(line)
            case PageLine():
                pass  # for whoever reads the file
            case EndLine():
                self._end(line, number)

    def _begin(self, header: Header) -> Steps[None]:
        """Make the tables, and empty them: the export has what the migrations put in, too."""
        if header.plugin != self._namespace.plugin:
            raise wrong_line(
                1, f"this is an export of another plugin than '{self._namespace.plugin}'"
            )
        yield from self._migrator.replayed(self._namespace, header.migrations)
        tables = []
        for full_name in (yield from self._catalog.full_names(self._namespace)):
            name = full_name.removeprefix(self._namespace.prefix)
            tables.append((yield from self._catalog.table(self._namespace, name)))
        self._progress.back = yield from self._layout.let_go(tables)
        for table in tables:
            yield Statement(f"DELETE FROM {table.sql}")  # noqa: S608 - quoted
        self._progress.has_begun = True
        self._progress.migrations = len(header.migrations)

    def _end(self, line: EndLine, number: int) -> None:
        progress = self._progress
        if line.lines != progress.lines:
            raise wrong_line(number, f"it counts {line.lines} lines above it")
        if line.checksum not in (None, progress.checksum):
            raise wrong_line(number, "its checksum is another: a line above it was changed")
        progress.has_ended = True

    def _begin_table(self, line: TableLine, number: int) -> Steps[None]:
        identifier(line.name, field="table")
        table = yield from self._catalog.find(self._namespace, line.name)
        if table is None:
            table = yield from self._registered(line, number)
        columns = yield from self._layout.columns(table)
        if sorted(columns) != sorted(line.columns):
            raise wrong_line(number, f"the table '{line.name}' has other columns here")
        self._progress.table = line
        self._progress.sequences.append((line.name, line.sequence))

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
        table = self._progress.table
        if table is None or len(line.values) != len(table.columns):
            width = 0 if table is None else len(table.columns)
            raise wrong_line(number, f"expected a row of {width} values behind its table")
        self._rows.append([stored(value, number) for value in line.values])
        if len(self._rows) >= min(ROWS_A_STATEMENT, _MOST_PARAMETERS // len(table.columns)):
            yield from self._store_rows()

    def _store_rows(self) -> Steps[None]:
        """Insert the rows that were read, together."""
        line, rows, self._rows = self._progress.table, self._rows, []
        if line is None or not rows:
            return
        table = yield from self._catalog.table(self._namespace, line.name)
        sql = _insert(self._sql, table, line.columns, len(rows))
        yield Statement(sql, [value for row in rows for value in row])
        self._progress.rows += len(rows)


def _not_carried(misfit: Misfit) -> RequestError:
    return invalid(
        f"Column '{misfit.column.name}' of table '{misfit.table}' is {misfit.column.type} and "
        f"cannot carry {str(misfit.value)[:60]}, which the import has. Clear the namespace, and "
        "correct the value where it was exported.",
        field=misfit.column.name,
    )


def _insert(dialect: SqlDialect, table: Table, columns: Sequence[str], rows: int) -> str:
    names = ", ".join(quoted(name) for name in columns)
    places = ", ".join(dialect.written(table.columns[name]) for name in columns)
    values = ", ".join([f"({places})"] * rows)
    return f"INSERT INTO {table.sql} ({names}) {dialect.any_key}VALUES {values}"
