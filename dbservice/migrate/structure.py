"""What a database consists of: tables, constraints, indexes, triggers and views (SPEC 4).

Read from the engine's own catalog. What the catalog of SQLite does not hold (CHECKs, generated
columns, collations) is found in the text of CREATE TABLE with the tokens of the lexer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dbservice.engine.indexes import Index
from dbservice.engine.steps import Statement, Steps
from dbservice.migrate.changes import split
from dbservice.sqltext.dialects import Dialect, quoted
from dbservice.sqltext.lexer import Token, tokens

AUTOINCREMENT = "AUTOINCREMENT"
WITHOUT_ROWID = "WITHOUT ROWID"
STRICT = "STRICT"

_CONSTRAINTS = frozenset({"CHECK", "NOT", "PRIMARY", "UNIQUE"})
_OF_TABLES = frozenset({"CHECK", "CONSTRAINT", "FOREIGN", "PRIMARY", "UNIQUE"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: as the database has it.
        type: as it is declared, in upper case.
        required: NOT NULL.
        default: as SQL, or None.
        key: its place in the primary key, from 1; 0 if it is not in it.
        generated: the expression of a generated column, `IDENTITY` where the engine counts, or "".
        collation: where one is declared.
    """

    name: str
    type: str
    required: bool = False
    default: str | None = None
    key: int = 0
    generated: str = ""
    collation: str = ""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Columns that refer to those of another table, which is named without the prefix."""

    columns: tuple[str, ...]
    table: str
    referred: tuple[str, ...]
    on_update: str = "NO ACTION"
    on_delete: str = "NO ACTION"
    deferred: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: without the prefix.
        full_name: as the database has it.
        checks: the expression of every CHECK.
        uniques: the columns of every UNIQUE constraint.
        triggers: the command that makes each, by name.
        options: AUTOINCREMENT, WITHOUT ROWID, STRICT.
        resolutions: constraints with an ON CONFLICT clause that does something: the column, or ""
            for a constraint of the table, and the text.
        sql: the command that makes it, where the engine keeps it.
    """

    name: str
    full_name: str
    columns: Mapping[str, Column]
    checks: tuple[str, ...] = ()
    uniques: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    indexes: tuple[Index, ...] = ()
    triggers: Mapping[str, str] = field(default_factory=dict)
    options: frozenset[str] = frozenset()
    resolutions: tuple[tuple[str, str], ...] = ()
    sql: str = ""

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The columns of the primary key, in its order."""
        keyed = [column for column in self.columns.values() if column.key]
        return tuple(column.name for column in sorted(keyed, key=lambda column: column.key))

    @property
    def unique_keys(self) -> list[tuple[str, ...]]:
        """Every set of columns that no two rows may share."""
        indexed = [index.columns for index in self.indexes if index.unique and index.columns]
        return [key for key in (self.primary_key, *self.uniques, *indexed) if key]

    @property
    def counts_itself(self) -> str:
        """The column whose value the engine gives to a row that has none, or ""."""
        for column in self.columns.values():
            if column.generated == "IDENTITY" or (column.default or "").startswith("nextval("):
                return column.name
        key = self.primary_key
        is_rowid = len(key) == 1 and self.columns[key[0]].type == "INTEGER"
        return key[0] if is_rowid and self.sql and WITHOUT_ROWID not in self.options else ""


@dataclass(frozen=True, slots=True)
class Structure:
    """Tables by their names without prefix, and the commands that make the views."""

    tables: Mapping[str, Table]
    views: Mapping[str, str]

    def parents_first(self) -> list[Table]:
        """Return the tables so that foreign keys point backwards, as far as that is possible."""
        ordered: dict[str, Table] = {}
        waiting = dict(sorted(self.tables.items()))
        while waiting:
            ready = [name for name, table in waiting.items() if not _parents(table) & set(waiting)]
            for name in ready or [next(iter(waiting))]:
                ordered[name] = waiting.pop(name)
        return list(ordered.values())


def _parents(table: Table) -> set[str]:
    return {key.table for key in table.foreign_keys} - {table.name}


def read(dialect: Dialect, prefix: str, *, skip: frozenset[str] = frozenset()) -> Steps[Structure]:
    """Read every table and view whose name starts with `prefix`.

    Args:
        dialect: of the engine.
        prefix: of a plugin; empty reads all that the engine does not keep for itself.
        skip: full names of tables to leave out (SQLite).
    """
    if dialect is Dialect.POSTGRESQL:
        return (yield from _read_postgresql(prefix))
    return (yield from _read_sqlite(prefix, skip))


# --- comparing -----------------------------------------------------------------------------------


def differences(before: Structure, after: Structure, dialect: Dialect) -> list[str]:
    """Return in words what `after` lacks, has more, or has otherwise than `before`."""
    old, new = dict(_described(before, dialect)), dict(_described(after, dialect))
    found = [f"{what} is gone" for what in old if what not in new]
    found += [f"{what} is left over" for what in new if what not in old]
    found += [
        f"{what} was ({old[what]}) and is ({new[what]})"
        for what in old
        if what in new and old[what] != new[what]
    ]
    return sorted(found)


def reordered(before: Structure, after: Structure) -> list[str]:
    """Return the tables that have the same columns in another order."""
    return [
        name
        for name, table in before.tables.items()
        if name in after.tables
        and list(table.columns) != (columns := list(after.tables[name].columns))
        and sorted(table.columns) == sorted(columns)
    ]


def plain(text: str, dialect: Dialect) -> str:
    """Return SQL without quotes around names, comments and the case of words."""
    return " ".join(token.name if token.is_name else token.text for token in tokens(text, dialect))


def _described(structure: Structure, dialect: Dialect) -> Iterator[tuple[str, str]]:
    for table in structure.tables.values():
        yield f"table {table.name}", ", ".join(sorted(table.options))
        yield from _constraints(table, dialect)
        for index in table.indexes:
            yield f"index {index.name}", plain(index.sql, dialect)
        for name, sql in table.triggers.items():
            yield f"trigger {name}", plain(sql, dialect)
    for name, sql in structure.views.items():
        yield f"view {name}", plain(sql, dialect)


def _constraints(table: Table, dialect: Dialect) -> Iterator[tuple[str, str]]:
    for column in table.columns.values():
        parts = [column.type, "NOT NULL" if column.required else "", column.collation]
        parts += [f"DEFAULT {plain(column.default, dialect)}" if column.default else ""]
        parts += [f"AS {plain(column.generated, dialect)}" if column.generated else ""]
        parts += [f"PRIMARY KEY {column.key}" if column.key else ""]
        yield f"column {table.name}.{column.name}", " ".join(part for part in parts if part)
    checks = Counter(plain(check, dialect) for check in table.checks)
    for check, times in checks.items():
        yield f"CHECK ({check}) of {table.name}", str(times)
    for unique in table.uniques:
        yield f"UNIQUE ({', '.join(unique)}) of {table.name}", ""
    for key in table.foreign_keys:
        columns, referred = ", ".join(key.columns), ", ".join(key.referred)
        how = f"ON UPDATE {key.on_update} ON DELETE {key.on_delete}"
        how += " DEFERRED" if key.deferred else ""
        yield f"foreign key {table.name} ({columns}) to {key.table} ({referred})", how


# --- SQLite --------------------------------------------------------------------------------------

_OBJECTS = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master "
    "WHERE substr(tbl_name, 1, ?) = ? AND tbl_name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
    "AND sql IS NOT NULL ORDER BY name"
)


def _read_sqlite(prefix: str, skip: frozenset[str]) -> Steps[Structure]:
    found = (yield Statement(_OBJECTS, (len(prefix), prefix))).rows
    found = [row for row in found if row[2] not in skip]
    tables = {}
    for kind, full_name, _, sql in found:
        if kind == "table":
            triggers = {n: text for k, n, of, text in found if k == "trigger" and of == full_name}
            indexes = {n: text for k, n, of, text in found if k == "index" and of == full_name}
            name = full_name.removeprefix(prefix)
            tables[name] = yield from _read_table(name, full_name, prefix, sql, indexes, triggers)
    views = {n.removeprefix(prefix): text for k, n, _, text in found if k == "view"}
    return Structure(tables, views)


def _read_table(
    name: str,
    full_name: str,
    prefix: str,
    sql: str,
    indexes: Mapping[str, str],
    triggers: Mapping[str, str],
) -> Steps[Table]:
    text = _CreateTable(sql)
    declared = yield Statement(
        'SELECT name, upper(type), "notnull", dflt_value, pk FROM pragma_table_xinfo(?) '
        "WHERE hidden <> 1",
        (full_name,),
    )
    columns = {
        column: Column(
            column,
            kind,
            bool(required),
            default,
            key,
            text.generated.get(column.lower(), ""),
            text.collations.get(column.lower(), ""),
        )
        for column, kind, required, default, key in declared.rows
    }
    listed = yield Statement(
        'SELECT name, "unique" AND NOT partial, origin FROM pragma_index_list(?) ORDER BY name',
        (full_name,),
    )
    made, uniques = [], []
    for index, unique, origin in listed.rows:
        info = yield Statement("SELECT name FROM pragma_index_info(?) ORDER BY seqno", (index,))
        key = tuple(row[0] for row in info.rows)
        if origin == "c":
            plain_key = key if None not in key else ()
            is_unique = bool(unique and plain_key)
            made.append(Index(index, plain_key, is_unique, indexes[index]))
        elif origin == "u":
            uniques.append(key)
    foreign_keys = yield from _read_foreign_keys(full_name, prefix, text)
    return Table(
        name,
        full_name,
        columns,
        tuple(text.checks),
        tuple(sorted(uniques)),
        foreign_keys,
        tuple(made),
        triggers,
        text.options,
        tuple(text.resolutions),
        sql,
    )


def _read_foreign_keys(
    full_name: str, prefix: str, text: _CreateTable
) -> Steps[tuple[ForeignKey, ...]]:
    listed = yield Statement(
        'SELECT id, "table", "from", "to", on_update, on_delete '
        "FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq",
        (full_name,),
    )
    keys: dict[int, ForeignKey] = {}
    for number, table, column, referred, on_update, on_delete in listed.rows:
        if referred is None:  # the primary key is meant
            asked = yield Statement(
                "SELECT name FROM pragma_table_xinfo(?) WHERE pk > 0 ORDER BY pk", (table,)
            )
            done = len(keys[number].columns) if number in keys else 0
            referred = asked.rows[done][0] if done < len(asked.rows) else ""
        before = keys.get(number)
        keys[number] = ForeignKey(
            (*(before.columns if before else ()), column),
            table.removeprefix(prefix),
            (*(before.referred if before else ()), referred),
            on_update,
            on_delete,
            text.deferred,
        )
    return tuple(keys.values())


class _CreateTable:
    """What only the text of CREATE TABLE says.

    Attributes:
        checks: the expressions of all CHECKs, as they are written.
        generated: the expression of each generated column, by its name in lower case.
        collations: the collation of each column that names one.
        options: AUTOINCREMENT, WITHOUT ROWID, STRICT.
        resolutions: see `Table`.
        deferred: some foreign key is checked at the end of the transaction.
    """

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self.checks: list[str] = []
        self.generated: dict[str, str] = {}
        self.collations: dict[str, str] = {}
        self.resolutions: list[tuple[str, str]] = []
        found = list(tokens(sql, Dialect.SQLITE))
        start = next((i for i, token in enumerate(found) if token.text == "("), len(found))
        stop = _closing(found, start)
        for part in split(found[start + 1 : stop]):
            self._take(part)
        inside = [token.keyword for token in found[start:stop]]
        behind = " ".join(token.keyword or token.text for token in found[stop:])
        self.deferred = "DEFERRED" in inside
        options = {option for option in (STRICT, WITHOUT_ROWID) if option in behind}
        self.options = frozenset(options | ({AUTOINCREMENT} & set(inside)))

    def _take(self, part: Sequence[Token]) -> None:
        name = part[0].name.lower() if part else ""
        index = constraint = 0
        while index < len(part):
            keyword = part[index].keyword
            if keyword in _CONSTRAINTS:
                constraint = index
            elif keyword == "CONFLICT" and index and part[index - 1].keyword == "ON":
                self._take_resolution(part, constraint, index)
            opens = index + 1 < len(part) and part[index + 1].text == "("
            if keyword == "COLLATE" and index + 1 < len(part):
                self.collations[name] = part[index + 1].name.upper()
            if opens and keyword in ("CHECK", "AS"):
                expression = self._inside(part, index + 1)
                if keyword == "CHECK":
                    self.checks.append(expression)
                else:
                    self.generated[name] = expression
            index = _closing(part, index + 1) if opens else index + 1

    def _take_resolution(self, part: Sequence[Token], constraint: int, conflict: int) -> None:
        """Take `UNIQUE (a) ON CONFLICT REPLACE`; after a CHECK, SQLite ignores the clause."""
        how = part[conflict + 1]
        if part[constraint].keyword == "CHECK" or how.keyword == "ABORT":  # as without a clause
            return
        first = part[0]
        column = "" if first.keyword in _OF_TABLES else first.text if first.keyword else first.name
        self.resolutions.append((column, self._sql[part[constraint].start : how.end]))

    def _inside(self, part: Sequence[Token], opening: int) -> str:
        return self._sql[part[opening].end : part[_closing(part, opening)].start].strip()


def _closing(found: Sequence[Token], opening: int) -> int:
    """Return the index of the `)` that closes the `(` at `opening`."""
    depth = 0
    for index in range(opening, len(found)):
        depth += {"(": 1, ")": -1}.get(found[index].text, 0)
        if depth == 0:
            return index
    return len(found)


# --- PostgreSQL ----------------------------------------------------------------------------------

_PG_COLUMNS = """
SELECT c.relname::text, a.attname::text, upper(format_type(a.atttypid, a.atttypmod)), a.attnotnull,
    pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text,
    CASE WHEN a.attcollation <> t.typcollation THEN l.collname::text ELSE '' END
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
    AND substr(c.relname::text, 1, ?) = ?
ORDER BY c.relname, a.attnum
"""
_PG_CONSTRAINTS = """
SELECT c.relname::text, n.contype::text, pg_get_constraintdef(n.oid), f.relname::text,
    ARRAY(SELECT a.attname::text FROM unnest(n.conkey) WITH ORDINALITY AS k (num, place)
        JOIN pg_attribute a ON a.attrelid = n.conrelid AND a.attnum = k.num ORDER BY k.place),
    ARRAY(SELECT a.attname::text FROM unnest(n.confkey) WITH ORDINALITY AS k (num, place)
        JOIN pg_attribute a ON a.attrelid = n.confrelid AND a.attnum = k.num ORDER BY k.place),
    n.confupdtype::text, n.confdeltype::text, n.condeferred
FROM pg_constraint n JOIN pg_class c ON c.oid = n.conrelid
LEFT JOIN pg_class f ON f.oid = n.confrelid
WHERE c.relnamespace = current_schema()::regnamespace AND substr(c.relname::text, 1, ?) = ?
ORDER BY c.relname, n.conname
"""
_PG_INDEXES = """
SELECT t.relname::text, c.relname::text, i.indisunique AND i.indpred IS NULL,
    pg_get_indexdef(i.indexrelid),
    ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (num, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num ORDER BY k.place),
    i.indexprs IS NULL
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
WHERE t.relnamespace = current_schema()::regnamespace AND substr(t.relname::text, 1, ?) = ?
    AND NOT EXISTS (SELECT 1 FROM pg_constraint n WHERE n.conindid = i.indexrelid
        AND n.contype IN ('p', 'u', 'x'))
ORDER BY c.relname
"""
_PG_VIEWS = """
SELECT c.relname::text, pg_get_viewdef(c.oid) FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'v'
    AND substr(c.relname::text, 1, ?) = ? ORDER BY c.relname
"""
_PG_ACTIONS = {
    "a": "NO ACTION",
    "r": "RESTRICT",
    "c": "CASCADE",
    "n": "SET NULL",
    "d": "SET DEFAULT",
}


def _read_postgresql(prefix: str) -> Steps[Structure]:
    named = (len(prefix), prefix)
    columns = (yield Statement(_PG_COLUMNS, named)).rows
    constraints = (yield Statement(_PG_CONSTRAINTS, named)).rows
    indexes = (yield Statement(_PG_INDEXES, named)).rows
    views = (yield Statement(_PG_VIEWS, named)).rows
    tables = {}
    for full_name in dict.fromkeys(row[0] for row in columns):
        of_table = [row for row in constraints if row[0] == full_name]
        key = next((list(row[4]) for row in of_table if row[1] == "p"), [])
        name = full_name.removeprefix(prefix)
        tables[name] = Table(
            name,
            full_name,
            {row[1]: _pg_column(row, key) for row in columns if row[0] == full_name},
            tuple(_pg_check(row[2]) for row in of_table if row[1] == "c"),
            tuple(sorted(tuple(row[4]) for row in of_table if row[1] == "u")),
            tuple(_pg_foreign_key(row, prefix) for row in of_table if row[1] == "f"),
            tuple(
                Index(index, tuple(columns) if is_plain else (), unique and is_plain, sql)
                for table, index, unique, sql, columns, is_plain in indexes
                if table == full_name
            ),
        )
    return Structure(tables, {name.removeprefix(prefix): sql for name, sql in views})


def _pg_column(row: tuple[object, ...], key: list[str]) -> Column:
    _, name, kind, required, default, identity, generated, collation = row
    text = str(default) if default is not None else None
    return Column(
        str(name),
        str(kind),
        bool(required),
        None if generated else text,
        key.index(str(name)) + 1 if name in key else 0,
        "IDENTITY" if identity else (text or "") if generated else "",
        str(collation or ""),
    )


def _pg_check(definition: str) -> str:
    """`CHECK ((a > 0))` holds the expression."""
    return definition.removeprefix("CHECK (").removesuffix(")")


def _pg_foreign_key(row: tuple[object, ...], prefix: str) -> ForeignKey:
    _, _, _, table, columns, referred, on_update, on_delete, deferred = row
    assert isinstance(columns, list)
    assert isinstance(referred, list)
    return ForeignKey(
        tuple(columns),
        str(table).removeprefix(prefix),
        tuple(referred),
        _PG_ACTIONS[str(on_update)],
        _PG_ACTIONS[str(on_delete)],
        bool(deferred),
    )


# --- rows ----------------------------------------------------------------------------------------

Rows = Counter[tuple[str, ...]]
"""Rows of a table, written down so that 1, 1.0 and '1' differ; equal rows are counted."""


def read_rows(table: Table, columns: Sequence[str]) -> Steps[Rows]:
    """Return all rows of a table, as far as `columns` goes."""
    listed = ", ".join(map(quoted, columns)) or "NULL"
    found = yield Statement(f"SELECT {listed} FROM {quoted(table.full_name)}")  # noqa: S608
    return Counter(tuple(map(repr, row)) for row in found.rows)
