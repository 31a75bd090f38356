"""What the commands of a migration do to tables, as far as its safety goes (SPEC 4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise

from dbservice.sqltext.lexer import Command, Token

_COLUMN_ENDS = frozenset(
    {"NOT", "NULL", "DEFAULT", "CHECK", "PRIMARY", "UNIQUE", "REFERENCES", "COLLATE", "GENERATED"}
    | {"CONSTRAINT", "AS", "USING", "AUTOINCREMENT"}
)
_TABLE_CONSTRAINTS = frozenset(
    {"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE", "LIKE"}
)


class Deed(Enum):
    """What a command does."""

    CREATE_TABLE = auto()
    DROP_TABLE = auto()
    RENAME_TABLE = auto()
    ADD_COLUMN = auto()
    DROP_COLUMN = auto()
    RENAME_COLUMN = auto()
    CHANGE_TYPE = auto()
    FORBID_NULL = auto()
    CREATE_INDEX = auto()
    DROP_INDEX = auto()
    DELETE_ALL = auto()
    UPDATE_ALL = auto()


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a command does.

    Attributes:
        deed: what.
        table: the bare name of the table; empty for DROP_INDEX.
        line: where the command starts.
        name: the column, the index, or the new name of a table.
        type: the declared type of a column, or the new name of a column.
        columns: of CREATE TABLE, name to declared type; of UPDATE_ALL, the columns it sets.
        risky: of ADD COLUMN, that it is NOT NULL and has no default.
    """

    deed: Deed
    table: str
    line: int
    name: str = ""
    type: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    risky: bool = False


@dataclass(slots=True)
class Shape:
    """Tables with their columns, and indexes with their tables, under bare names."""

    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    indexes: dict[str, str] = field(default_factory=dict)

    def take(self, facts: Iterable[Fact]) -> None:
        """Change the shape as the facts say."""
        for fact in facts:
            self._take(fact)

    def _take(self, fact: Fact) -> None:
        columns = self.tables.get(fact.table, {})
        match fact.deed:
            case Deed.CREATE_TABLE:
                self.tables[fact.table] = dict(fact.columns)
            case Deed.DROP_TABLE:
                self.tables.pop(fact.table, None)
                self.indexes = {i: t for i, t in self.indexes.items() if t != fact.table}
            case Deed.RENAME_TABLE:
                self.tables[fact.name] = self.tables.pop(fact.table, {})
                self.indexes = {
                    i: fact.name if t == fact.table else t for i, t in self.indexes.items()
                }
            case Deed.ADD_COLUMN | Deed.CHANGE_TYPE:
                columns[fact.name] = fact.type
            case Deed.DROP_COLUMN:
                columns.pop(fact.name, None)
            case Deed.RENAME_COLUMN:
                columns[fact.type] = columns.pop(fact.name, "")
            case Deed.CREATE_INDEX:
                self.indexes[fact.name] = fact.table
            case Deed.DROP_INDEX:
                self.indexes.pop(fact.name, None)


def facts_of(commands: Iterable[Command], prefix: str) -> list[Fact]:
    """Return what the commands do, in order.

    Args:
        commands: of one direction, as they stand in the file.
        prefix: of the plugin; it is taken off, so that both spellings of a name are one.
    """
    return [fact for command in commands for fact in _Reader(command, prefix).facts()]


class _Reader:
    """Reads the facts of one command."""

    def __init__(self, command: Command, prefix: str) -> None:
        self._tokens = command.tokens
        self._line = command.line
        self._prefix = prefix

    def facts(self) -> Iterator[Fact]:
        """Yield what the command does."""
        words = [self._keyword(0), self._keyword(1)]
        if words[0] == "CREATE":
            yield from self._create()
        elif words == ["DROP", "TABLE"]:
            for name in self._names(2):
                yield self._fact(Deed.DROP_TABLE, name)
        elif words == ["DROP", "INDEX"]:
            for name in self._names(2):
                yield self._fact(Deed.DROP_INDEX, "", name=name)
        elif words == ["ALTER", "TABLE"]:
            yield from self._alter()
        elif words[0] in ("DELETE", "UPDATE"):
            yield from self._without_where()

    def _fact(self, deed: Deed, table: str, **more: object) -> Fact:
        return Fact(deed, table, self._line, **more)  # type: ignore[arg-type]

    def _keyword(self, index: int) -> str:
        return self._tokens[index].keyword if index < len(self._tokens) else ""

    def _name(self, index: int) -> str:
        if index >= len(self._tokens):
            return ""
        return self._tokens[index].name.removeprefix(self._prefix)

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

    def _create(self) -> Iterator[Fact]:
        what = self._skip(1, "UNIQUE")
        name = self._skip(what + 1, "IF", "NOT", "EXISTS")
        if self._keyword(what) == "TABLE":
            columns = dict(_columns(self._tokens[name + 1 :]))
            yield self._fact(Deed.CREATE_TABLE, self._name(name), columns=columns)
        elif self._keyword(what) == "INDEX":
            on = next(i for i in range(name, len(self._tokens)) if self._keyword(i) == "ON")
            table = self._name(self._skip(on + 1, "ONLY"))
            yield self._fact(Deed.CREATE_INDEX, table, name=self._name(name) if on > name else "")

    def _alter(self) -> Iterator[Fact]:
        index = self._skip(2, "IF", "EXISTS", "ONLY")
        table = self._name(index)
        for action in split(self._tokens[index + 1 :]):
            if fact := self._action(table, action):
                yield fact

    def _action(self, table: str, tokens: Sequence[Token]) -> Fact | None:
        words = [token.keyword for token in tokens] + [""] * 4
        if words[:2] == ["RENAME", "TO"]:
            return self._fact(
                Deed.RENAME_TABLE, table, name=tokens[2].name.removeprefix(self._prefix)
            )
        if words[1] in ("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"):
            return None
        rest = [token for token in tokens[1:] if token.keyword not in ("COLUMN", "IF", "EXISTS")]
        if words[0] == "ADD":
            return self._added(table, rest)
        if words[0] == "DROP":
            return self._fact(Deed.DROP_COLUMN, table, name=rest[0].name)
        if words[0] == "RENAME":
            return self._fact(Deed.RENAME_COLUMN, table, name=rest[0].name, type=rest[2].name)
        if words[0] == "ALTER":
            return self._altered(table, rest)
        return None

    def _added(self, table: str, rest: Sequence[Token]) -> Fact:
        if rest[0].keyword == "NOT":  # IF NOT EXISTS
            rest = rest[1:]
        words = [token.keyword for token in rest]
        required = ("NOT", "NULL") in pairwise(words)
        filled = {"DEFAULT", "GENERATED", "AS"} & set(words) or "SERIAL" in " ".join(words)
        return self._fact(
            Deed.ADD_COLUMN,
            table,
            name=rest[0].name,
            type=_type(rest[1:]),
            risky=required and not filled,
        )

    def _altered(self, table: str, rest: Sequence[Token]) -> Fact | None:
        words = [token.keyword for token in rest]
        if "TYPE" in words[1:4]:
            after = words.index("TYPE", 1) + 1
            return self._fact(Deed.CHANGE_TYPE, table, name=rest[0].name, type=_type(rest[after:]))
        if words[1:4] == ["SET", "NOT", "NULL"]:
            return self._fact(Deed.FORBID_NULL, table, name=rest[0].name)
        return None

    def _without_where(self) -> Iterator[Fact]:
        outside = list(_outside(self._tokens))
        words = [token.keyword for token in outside]
        if "WHERE" in words:
            return
        index = self._skip(1, "OR", "IGNORE", "REPLACE", "ABORT", "FAIL", "ROLLBACK")
        index = self._skip(index, "FROM", "ONLY")
        if words[0] == "DELETE":
            yield self._fact(Deed.DELETE_ALL, self._name(index))
        elif "SET" in words:
            assigned = split(outside[words.index("SET") + 1 :])
            columns = {part[0].name: "" for part in assigned if part}
            yield self._fact(Deed.UPDATE_ALL, self._name(index), columns=columns)


def _columns(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Yield name and declared type of each column in the parenthesis that `tokens` starts with."""
    if not tokens or tokens[0].text != "(":
        return
    depth, end = 0, len(tokens)
    for index, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0:
            end = index
            break
    for part in split(tokens[1:end]):
        if part and part[0].is_name and part[0].keyword not in _TABLE_CONSTRAINTS:
            yield part[0].name, _type(part[1:])


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
