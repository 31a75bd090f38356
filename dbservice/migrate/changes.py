"""What the commands of a migration do to tables, as far as its safety goes (SPEC 4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise

from dbservice.sqltext.keywords import TABLE_CONSTRAINTS
from dbservice.sqltext.lexer import Command, Token, at

_COLUMN_ENDS = frozenset(
    {"NOT", "NULL", "DEFAULT", "CHECK", "PRIMARY", "UNIQUE", "REFERENCES", "COLLATE", "GENERATED"}
    | {"CONSTRAINT", "AS", "USING", "AUTOINCREMENT"}
)
PRIMARY_KEY = "primary key"


class ChangeKind(Enum):
    """What a command does."""

    CREATE_TABLE = auto()
    DROP_TABLE = auto()
    RENAME_TABLE = auto()
    ADD_COLUMN = auto()
    DROP_COLUMN = auto()
    RENAME_COLUMN = auto()
    CHANGE_TYPE = auto()
    FORBID_NULL = auto()
    ADD_CONSTRAINT = auto()
    DROP_CONSTRAINTS = auto()
    CREATE_INDEX = auto()
    DROP_INDEX = auto()
    DELETE_ALL = auto()
    UPDATE_ALL = auto()


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One thing that a command does.

    Attributes:
        kind: what.
        table: the bare name of the table; empty for DROP_INDEX.
        line: where the command starts.
        name: the column, the index, or the new name of a table.
        type: the declared type of a column, or the new name of a column.
        columns: of CREATE TABLE, name to declared type; of UPDATE_ALL, the columns it sets.
        constraints: the kinds of constraints that a table gets, or loses.
        source: the table whose columns CREATE TABLE takes over: AS SELECT *, LIKE.
        copies: of CREATE TABLE, that it is AS SELECT, which keeps no constraint.
        spelled: the columns that it gives a table, as they stand in the file.
        risky: of ADD COLUMN, that it is NOT NULL and has no default.
    """

    kind: ChangeKind
    table: str
    line: int
    name: str = ""
    type: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    constraints: frozenset[str] = frozenset()
    source: str = ""
    copies: bool = False
    spelled: tuple[str, ...] = ()
    risky: bool = False


Columns = Mapping[str, str]
"""Names of columns to their declared types; a type that is not known is empty."""


@dataclass(slots=True)
class Schema:
    """What is known of tables from the commands that made them, under bare names.

    Attributes:
        tables: the columns of each.
        indexes: the table of each.
        constraints: the kinds of constraints that each table has.
    """

    tables: dict[str, Columns] = field(default_factory=dict)
    indexes: dict[str, str] = field(default_factory=dict)
    constraints: dict[str, frozenset[str]] = field(default_factory=dict)

    def take(self, changes: Iterable[SchemaChange]) -> None:
        """Change the schema as the changes say."""
        for change in changes:
            self._take(change)

    def after(self, changes: Iterable[SchemaChange]) -> Schema:
        """Return another schema, with the changes; columns are shared, never changed in place."""
        new = Schema(dict(self.tables), dict(self.indexes), dict(self.constraints))
        new.take(changes)
        return new

    def _take(self, change: SchemaChange) -> None:
        table = change.table
        match change.kind:
            case ChangeKind.CREATE_TABLE:
                self.tables[table] = {**self.tables.get(change.source, {}), **change.columns}
                self.constraints[table] = change.constraints
            case ChangeKind.DROP_TABLE:
                self.tables.pop(table, None)
                self.constraints.pop(table, None)
                self.indexes = {i: t for i, t in self.indexes.items() if t != table}
            case ChangeKind.RENAME_TABLE:
                self.tables[change.name] = self.tables.pop(table, {})
                self.constraints[change.name] = self.constraints.pop(table, frozenset())
                self.indexes = {
                    i: change.name if t == table else t for i, t in self.indexes.items()
                }
            case ChangeKind.ADD_CONSTRAINT:
                self.constraints[table] = self.constraints.get(table, _NONE) | change.constraints
            case ChangeKind.CREATE_INDEX:
                self.indexes[change.name] = table
            case ChangeKind.DROP_INDEX:
                self.indexes.pop(change.name, None)
            case _:
                self.tables[table] = _changed(self.tables.get(table, {}), change)


_NONE: frozenset[str] = frozenset()


def _changed(columns: Columns, change: SchemaChange) -> Columns:
    match change.kind:
        case ChangeKind.ADD_COLUMN | ChangeKind.CHANGE_TYPE:
            return {**columns, change.name: change.type}
        case ChangeKind.DROP_COLUMN:
            return {name: kind for name, kind in columns.items() if name != change.name}
        case ChangeKind.RENAME_COLUMN:
            return {change.type if n == change.name else n: kind for n, kind in columns.items()}
        case _:
            return columns


def changes_of(commands: Iterable[Command], prefix: str) -> list[SchemaChange]:
    """Return what the commands do, in order.

    Args:
        commands: of one direction, as they stand in the file.
        prefix: of the plugin; it is taken off, so that both spellings of a name are one.
    """
    return [change for command in commands for change in _Reader(command, prefix).changes()]


class _Reader:
    """Reads the changes of one command."""

    def __init__(self, command: Command, prefix: str) -> None:
        self._tokens = command.tokens
        self._line = command.line
        self._prefix = prefix

    def changes(self) -> Iterator[SchemaChange]:
        """Yield what the command does."""
        words = [self._keyword(0), self._keyword(1)]
        if words[0] == "CREATE":
            yield from self._create()
        elif words == ["DROP", "TABLE"]:
            for name in self._names(2):
                yield self._change(ChangeKind.DROP_TABLE, name)
        elif words == ["DROP", "INDEX"]:
            for name in self._names(2):
                yield self._change(ChangeKind.DROP_INDEX, "", name=name)
        elif words == ["ALTER", "TABLE"]:
            yield from self._alter()
        elif words[0] in ("DELETE", "UPDATE"):
            yield from self._without_where()

    def _change(self, kind: ChangeKind, table: str, **more: object) -> SchemaChange:
        return SchemaChange(kind, table, self._line, **more)  # type: ignore[arg-type]

    def _keyword(self, index: int) -> str:
        return at(self._tokens, index).keyword

    def _name(self, index: int) -> str:
        return at(self._tokens, index).name.removeprefix(self._prefix)

    def _skip(self, index: int, *words: str) -> int:
        while self._keyword(index) in words:
            index += 1
        return index

    def _names(self, index: int) -> list[str]:
        index = self._skip(index, "IF", "EXISTS")
        return [
            self._name(i)
            for i in range(index, len(self._tokens))
            if self._tokens[i].is_name and self._keyword(i) not in ("CASCADE", "RESTRICT")
        ]

    def _create(self) -> Iterator[SchemaChange]:
        what = self._skip(1, "UNIQUE")
        name = self._skip(what + 1, "IF", "NOT", "EXISTS")
        if self._keyword(what) == "TABLE":
            yield self._created(name)
        elif self._keyword(what) == "INDEX":
            end = len(self._tokens)
            on = next((i for i in range(name, end) if self._keyword(i) == "ON"), end)
            table = self._name(self._skip(on + 1, "ONLY"))
            yield self._change(
                ChangeKind.CREATE_INDEX,
                table,
                name=self._name(name) if on > name else "",
                constraints=frozenset({"UNIQUE"} if what > 1 else ()),
            )

    def _created(self, name: int) -> SchemaChange:
        rest = self._tokens[name + 1 :]
        table = self._name(name)
        outside = list(_outside(rest))
        words = [token.keyword for token in outside]
        if "AS" in words and "SELECT" in words:
            columns, source = _selected(outside[words.index("SELECT") + 1 :], self._prefix)
            return self._change(
                ChangeKind.CREATE_TABLE, table, columns=columns, source=source, copies=True
            )
        parts = _definitions(rest)
        like = next((part for part in parts if part[0].keyword == "LIKE"), ())
        keeps_all = {"ALL", "INDEXES"} & {token.keyword for token in like}
        return self._change(
            ChangeKind.CREATE_TABLE,
            table,
            columns={part[0].name: _type(part[1:]) for part in parts if _is_column(part)},
            constraints=frozenset(_CONSTRAINTS.values()) if keeps_all else _constraints(rest),
            source=at(like, 1).name.removeprefix(self._prefix),
            spelled=tuple(part[0].text for part in parts if _is_column(part)),
        )

    def _alter(self) -> Iterator[SchemaChange]:
        index = self._skip(2, "IF", "EXISTS", "ONLY")
        table = self._name(index)
        for action in split(self._tokens[index + 1 :]):
            if change := self._action(table, action):
                yield change

    def _action(self, table: str, tokens: Sequence[Token]) -> SchemaChange | None:
        words = [token.keyword for token in tokens] + [""] * 4
        if words[:2] == ["RENAME", "TO"]:
            return self._change(
                ChangeKind.RENAME_TABLE, table, name=at(tokens, 2).name.removeprefix(self._prefix)
            )
        if words[1] in ("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"):
            if words[0] != "ADD":
                return None
            return self._change(ChangeKind.ADD_CONSTRAINT, table, constraints=_constraints(tokens))
        rest = [token for token in tokens[1:] if token.keyword not in ("COLUMN", "IF", "EXISTS")]
        if words[0] == "ADD":
            return self._added(table, rest)
        if words[0] == "DROP":
            return self._change(ChangeKind.DROP_COLUMN, table, name=at(rest, 0).name)
        if words[0] == "RENAME":
            return self._change(
                ChangeKind.RENAME_COLUMN,
                table,
                name=at(rest, 0).name,
                type=at(rest, 2).name,
                spelled=(at(rest, 2).text,),
            )
        if words[0] == "ALTER":
            return self._altered(table, rest)
        return None

    def _added(self, table: str, rest: Sequence[Token]) -> SchemaChange:
        if at(rest, 0).keyword == "NOT":  # IF NOT EXISTS
            rest = rest[1:]
        words = [token.keyword for token in rest]
        required = _requires(rest)
        filled = {"DEFAULT", "GENERATED", "AS"} & set(words) or "SERIAL" in " ".join(words)
        return self._change(
            ChangeKind.ADD_COLUMN,
            table,
            name=at(rest, 0).name,
            type=_type(rest[1:]),
            spelled=(at(rest, 0).text,),
            risky=required and not filled,
        )

    def _altered(self, table: str, rest: Sequence[Token]) -> SchemaChange | None:
        words = [token.keyword for token in rest]
        if "TYPE" in words[1:4]:
            after = words.index("TYPE", 1) + 1
            return self._change(
                ChangeKind.CHANGE_TYPE, table, name=rest[0].name, type=_type(rest[after:])
            )
        if words[1:4] == ["SET", "NOT", "NULL"]:
            return self._change(ChangeKind.FORBID_NULL, table, name=at(rest, 0).name)
        return None

    def _without_where(self) -> Iterator[SchemaChange]:
        outside = list(_outside(self._tokens))
        words = [token.keyword for token in outside]
        if "WHERE" in words:
            return
        index = self._skip(1, "OR", "IGNORE", "REPLACE", "ABORT", "FAIL", "ROLLBACK")
        index = self._skip(index, "FROM", "ONLY")
        if words[0] == "DELETE":
            yield self._change(ChangeKind.DELETE_ALL, self._name(index))
        elif "SET" in words:
            assigned = split(outside[words.index("SET") + 1 :])
            columns = {part[0].name: "" for part in assigned if part}
            yield self._change(ChangeKind.UPDATE_ALL, self._name(index), columns=columns)


def _definitions(tokens: Sequence[Token]) -> list[list[Token]]:
    """Return what stands between the commas of the parenthesis that `tokens` starts with."""
    if not tokens or tokens[0].text != "(":
        return []
    depth, end = 0, len(tokens)
    for index, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0:
            end = index
            break
    return [part for part in split(tokens[1:end]) if part]


def _is_column(part: Sequence[Token]) -> bool:
    return part[0].is_name and part[0].keyword not in TABLE_CONSTRAINTS


_CONSTRAINTS = {
    "PRIMARY": PRIMARY_KEY,
    "UNIQUE": "UNIQUE",
    "CHECK": "CHECK",
    "REFERENCES": "foreign key",
    "DEFAULT": "DEFAULT",
}


def _constraints(tokens: Iterable[Token]) -> frozenset[str]:
    """Return the kinds of constraints that a definition speaks of."""
    return frozenset(_CONSTRAINTS[t.keyword] for t in tokens if t.keyword in _CONSTRAINTS)


def _requires(tokens: Iterable[Token]) -> bool:
    """Whether a column is declared NOT NULL."""
    return ("NOT", "NULL") in pairwise(token.keyword for token in tokens)


def _selected(tokens: Sequence[Token], prefix: str) -> tuple[dict[str, str], str]:
    """Return the columns of a SELECT by name, and the table that `*` stands for.

    Their types are not known, and neither is the name of an expression without AS.
    """
    words = [token.keyword for token in tokens]
    stop = words.index("FROM") if "FROM" in words else len(words)
    parts = split(tokens[:stop])
    names = {part[-1].name: "" for part in parts if part and part[-1].is_name}
    has_star = any(part and part[-1].text == "*" for part in parts)
    source = at(tokens, stop + 1).name if has_star else ""
    return names, source.removeprefix(prefix)


def _type(tokens: Sequence[Token]) -> str:
    """Return the declared type that `tokens` start with, in upper case."""
    parts: list[str] = []
    for token in tokens:
        if token.keyword in _COLUMN_ENDS:
            break
        joined = token.text in "(),[]" or (parts and parts[-1].endswith(("(", ",")))
        parts.append(token.text.upper() if joined or not parts else f" {token.text.upper()}")
    return "".join(parts)


def split(tokens: Sequence[Token]) -> list[list[Token]]:
    """Split at the commas that stand outside parentheses."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if token.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _outside(tokens: Iterable[Token]) -> Iterator[Token]:
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and token.text != ")":
            yield token
