"""Bare table names become the plugin's own; everything else is refused (SPEC 4).

A plugin writes `quotes` and means `quote_db__quotes`. Two independent rules keep it inside its
namespace. First, the policy (`dbservice.sqltext.policy`) looks at *every* word of a command,
wherever it stands: one that belongs to another plugin, the service or the engine is refused.
Second, `_Walk` finds the places where a table, index, constraint, trigger or view is named and
puts the prefix there. A place that the walk does not know keeps its bare name, which no plugin
owns, so a gap in it cannot reach foreign data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from dbservice.protocol.limits import MAX_IDENTIFIER, MAX_QUERY_NESTING
from dbservice.protocol.names import IDENTIFIER, IDENTIFIER_RULE, Namespace
from dbservice.sqltext import sequence
from dbservice.sqltext.dialects import Dialect, quoted
from dbservice.sqltext.keywords import (
    ALTER_ACTIONS,
    ENDS_FROM,
    FORBIDDEN_COMMANDS,
    FORBIDDEN_OBJECTS,
    FORBIDDEN_TABLE_CLAUSES,
    NOT_AN_ALIAS,
    OBJECT_WORDS,
    TABLE_CONSTRAINTS,
)
from dbservice.sqltext.lexer import Command, Kind, SqlError, Token, at, joined
from dbservice.sqltext.policy import POLICIES, listed

COMMANDS = (
    "CREATE TABLE, INDEX, TRIGGER and VIEW, ALTER TABLE, DROP, INSERT, REPLACE, UPDATE, DELETE, "
    "SELECT and WITH"
)
_SCHEMAS = frozenset({"main", "temp", "public", "information_schema"})


def qualify(command: Command, namespace: Namespace, dialect: Dialect) -> str:
    """Return the command with the plugin's prefix on every bare table, index and trigger name.

    Args:
        command: one command, in the given dialect.
        namespace: whose migration it is.
        dialect: the engine it will run on.

    Raises:
        SqlError: the command is refused; the message says why and what to write instead.
    """
    _check_words(command.tokens, namespace, dialect)
    walk = _Walk(command.tokens, namespace, dialect)
    walk.command()
    POLICIES[dialect].check_computed(command.tokens)
    return _rewritten(command, walk.replacements())


def _rewritten(command: Command, replacements: dict[int, str]) -> str:
    parts, position = [], command.tokens[0].start
    for index in sorted(replacements):
        token = command.tokens[index]
        parts += [command.source[position : token.start], replacements[index]]
        position = token.end
    return joined([*parts, command.source[position : command.tokens[-1].end]])


def _check_words(tokens: Sequence[Token], namespace: Namespace, dialect: Dialect) -> None:
    for token in tokens:
        if token.kind is Kind.PARAMETER:
            raise SqlError(f"'{token.text}' is a parameter: write the value itself", token.line)
    POLICIES[dialect].check_names(
        tokens,
        lambda name: is_own_object(name, namespace),
        advice=f"write the bare name, or one that starts with '{namespace.prefix}'",
        exempt=(sequence.TABLE,) if dialect is Dialect.SQLITE else (),
    )


def _ends_of_parentheses(tokens: Sequence[Token]) -> dict[int, int]:
    """Return the index after each `)`, by that of its `(`."""
    ends: dict[int, int] = {}
    open_ones: list[int] = []
    for index, token in enumerate(tokens):
        if token.text == "(":
            open_ones.append(index)
        elif token.text == ")":
            if not open_ones:
                raise SqlError("')' closes nothing that was opened", token.line)
            ends[open_ones.pop()] = index + 1
    if open_ones:
        raise SqlError(
            "a parenthesis of this command is never closed: expected ')'",
            tokens[open_ones[-1]].line,
        )
    return ends


def is_own_table(name: str, namespace: Namespace) -> bool:
    """Whether `name` is a full table name of this plugin."""
    is_table_name = IDENTIFIER.fullmatch(name.removeprefix(namespace.prefix)) is not None
    return is_table_name and _is_prefixed(name, namespace)


def is_own_object(name: str, namespace: Namespace) -> bool:
    """Whether `name` is a full table, index or trigger name of this plugin.

    The usual `idx_quote_db__quotes_author` counts: a word for the kind of thing, then the prefix.
    What follows may be any text: `"by Name"` became `"quote_db__by Name"`.
    """
    word, _, rest = name.partition("_")
    return _is_prefixed(name, namespace) or (word in OBJECT_WORDS and _is_prefixed(rest, namespace))


def _is_prefixed(name: str, namespace: Namespace) -> bool:
    bare = name.removeprefix(namespace.prefix)
    return bare != name and bare[:1] not in ("", "_") and "__" not in bare


def _shortened(name: str) -> str:
    """Return a name that both engines take whole; the end of a long one becomes a digest."""
    if len(name.encode()) <= MAX_IDENTIFIER:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    kept = name.encode()[: MAX_IDENTIFIER - len(digest) - 1].decode(errors="ignore")
    return f"{kept}_{digest}"


def _spelled(name: str) -> str:
    """Return a name as it stands in SQL. Nobody asks for indexes by name, so any will do."""
    return name if IDENTIFIER.fullmatch(name) else quoted(name)


def _spelling(token: Token) -> str:
    """Return what stands between the quotes; a bare word as it is, so that case is repaired."""
    return token.name if token.kind is Kind.QUOTED_NAME else token.text


@dataclass(slots=True)
class _Scope:
    """The names that one query knows: its tables, its aliases, and those of queries around it.

    Attributes:
        tables: tables that stand in it without an alias, so that `name.column` means them.
        aliases: names that hide a table of the same name.
        ctes: names of WITH, and the token after which each may be used.
        functions: names of functions in FROM, and those that the query gives to their columns.
    """

    parent: _Scope | None = None
    tables: set[str] = field(default_factory=set)
    aliases: set[str] = field(default_factory=set)
    ctes: dict[str, int] = field(default_factory=dict)
    functions: dict[str, set[str]] = field(default_factory=dict)

    def outwards(self) -> Iterator[_Scope]:
        """Yield it and those around it, however deep it lies."""
        scope: _Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def knows(self, name: str) -> bool:
        """Whether it has a table or an alias of this name itself."""
        return name in self.aliases or name in self.tables

    def columns_of_function(self, name: str) -> set[str] | None:
        """Return the columns that the query names, if `name` is a function in FROM."""
        for scope in self.outwards():
            if name in scope.functions or scope.knows(name):
                return scope.functions.get(name)
        return None

    def is_cte(self, name: str, index: int) -> bool:
        return any(scope.ctes.get(name, index) < index for scope in self.outwards())

    def means_table(self, name: str, index: int) -> bool:
        """Whether `name.column` at this token speaks of a table and not of an alias or CTE."""
        for scope in self.outwards():
            if scope.knows(name):
                return name not in scope.aliases and not scope.is_cte(name, index)
        return False


@dataclass(slots=True)
class _Frame:
    """What stands between a pair of parentheses, or at the top.

    Attributes:
        scope: of the query it belongs to.
        base: parent of that scope; each arm of a UNION gets a scope of its own below it.
        is_query: it holds a query, not an expression or a list.
        in_from: a comma here separates tables.
        call: it holds the arguments of a function or other things that are no FROM list.
        function: where the name of that function stands, or None.
    """

    scope: _Scope
    base: _Scope | None = None
    is_query: bool = False
    in_from: bool = False
    call: bool = False
    function: int | None = None


class _Walk:
    """One pass over a command that finds the places where things are named."""

    def __init__(self, tokens: tuple[Token, ...], namespace: Namespace, dialect: Dialect) -> None:
        self._tokens = tokens
        self._namespace = namespace
        self._dialect = dialect
        self._policy = POLICIES[dialect]
        self._ends = _ends_of_parentheses(tokens)
        self._kind = ""
        self._frames = [_Frame(_Scope(), is_query=True)]
        self._tables: list[tuple[int, _Scope]] = []
        self._references: list[tuple[int, _Scope]] = []
        self._objects: list[int] = []
        self._no_function: set[int] = set()

    # --- looking -----------------------------------------------------------------------------

    def _keyword(self, index: int) -> str:
        return at(self._tokens, index).keyword

    def _text(self, index: int) -> str:
        return at(self._tokens, index).text

    def _is_name(self, index: int) -> bool:
        return at(self._tokens, index).is_name

    def _skip(self, index: int, *words: str) -> int:
        while self._keyword(index) in words:
            index += 1
        return index

    def _line(self, index: int) -> int:
        return self._tokens[min(index, len(self._tokens) - 1)].line

    def _after_parenthesis(self, index: int) -> int:
        """Return the index after the `)` that closes the `(` at `index`."""
        return self._ends.get(index, index + 1)

    @property
    def _frame(self) -> _Frame:
        return self._frames[-1]

    # --- commands ----------------------------------------------------------------------------

    def command(self) -> None:
        """Walk the whole command."""
        self._kind = self._keyword(0)
        match self._kind:
            case "CREATE":
                self._create()
            case "ALTER":
                self._alter()
            case "DROP":
                self._drop()
            case "COMMENT" if self._dialect is Dialect.POSTGRESQL:
                self._comment()
            case "PRAGMA" if self._is_foreign_keys():
                pass
            case "INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "SELECT" | "WITH":
                self._scan(0, len(self._tokens))
            case _:
                raise self._forbidden()

    def _forbidden(self) -> SqlError:
        first = self._kind or self._text(0)
        advice = FORBIDDEN_COMMANDS.get(first, f"a migration may use {COMMANDS}")
        return SqlError(f"{first} is refused: {advice}", self._line(0))

    def _create(self) -> None:
        index = 1
        if (self._keyword(1), self._keyword(2)) == ("OR", "REPLACE"):
            index = 3
        elif self._keyword(1) == "UNIQUE":
            index = 2
        what = self._keyword(index)
        name = self._skip(index + 1, "IF", "NOT", "EXISTS")
        match what:
            case "TABLE":
                self._create_table(name)
            case "INDEX":
                self._create_index(name)
            case "TRIGGER":
                self._create_trigger(name)
            case "VIEW":
                self._scan(self._columns_after(self._table(name)), len(self._tokens))
            case _:
                raise self._forbidden_object("CREATE", what or self._text(index), index)

    def _forbidden_object(self, verb: str, what: str, index: int) -> SqlError:
        advice = FORBIDDEN_OBJECTS.get(what, f"a migration may use {COMMANDS}")
        return SqlError(f"{verb} {what} is refused: {advice}", self._line(index))

    def _create_table(self, name: int) -> None:
        after = self._columns_after(self._table(name, own=True), skip=False)
        self._refuse_clauses(after)
        if self._text(after) == "(":
            for index in self._parts(after + 1):
                self._definition(index)
        self._scan(after, len(self._tokens))

    def _refuse_clauses(self, start: int) -> None:
        """Refuse what would tie a table to others: partitions and inheritance."""
        depth = 0
        for index in range(start, len(self._tokens)):
            depth += {"(": 1, ")": -1}.get(self._text(index), 0)
            if depth == 0 and self._keyword(index) in FORBIDDEN_TABLE_CLAUSES:
                word = self._keyword(index)
                raise SqlError(
                    f"{word} is refused: {FORBIDDEN_TABLE_CLAUSES[word]}", self._line(index)
                )

    def _parts(self, start: int) -> list[int]:
        """Return where the parts of a list start, which commas separate; it ends at its `)`."""
        found, depth = [start], 0
        for index in range(start, len(self._tokens)):
            depth += {"(": 1, ")": -1}.get(self._text(index), 0)
            if depth < 0:
                break
            if depth == 0 and self._text(index) == ",":
                found.append(index + 1)
        return found

    def _definition(self, index: int) -> None:
        """Look at one column or constraint of a table; `_scan` walks through it later."""
        if self._keyword(index) == "LIKE":
            self._table(index + 1)
        constraint = index + 2 if self._keyword(index) == "CONSTRAINT" else index
        if self._keyword(constraint) == "EXCLUDE":
            raise SqlError(
                "EXCLUDE is refused: it needs an extension for most types, and SQLite has nothing "
                "like it; write UNIQUE or CHECK, or let the plugin look before it writes",
                self._line(constraint),
            )
        is_column = self._is_name(index) and self._keyword(index) not in TABLE_CONSTRAINTS
        if is_column and self._is_name(index + 1):  # CREATE TABLE a (b) AS SELECT has no types
            self._policy.check_type(self._tokens, index + 1)

    def _columns_after(self, index: int, *, skip: bool = True) -> int:
        """Mark the `(` after a name as a list of columns, and step over it."""
        if self._text(index) != "(":
            return index
        self._no_function.add(index - 1)
        return self._after_parenthesis(index) if skip else index

    def _create_index(self, name: int) -> None:
        if self._keyword(name) == "CONCURRENTLY":
            raise self._concurrently(name)
        if self._keyword(name) != "ON":
            self._object(name)
            name += 1
        table = self._skip(name, "ON", "ONLY")
        after = self._table(table, own=True)
        if self._keyword(after) == "USING":
            after += 2
        self._columns_after(after, skip=False)
        self._scan(after, len(self._tokens))

    def _concurrently(self, index: int) -> SqlError:
        return SqlError(
            "CONCURRENTLY cannot run inside a transaction, and every migration runs in one: "
            "leave the word out",
            self._line(index),
        )

    def _create_trigger(self, name: int) -> None:
        self._object(name)
        on = next(
            (i for i in range(name + 1, len(self._tokens)) if self._keyword(i) == "ON"),
            len(self._tokens),
        )
        after = self._table(on + 1, own=True)
        begin = next(
            (i for i in range(after, len(self._tokens)) if self._keyword(i) == "BEGIN"),
            len(self._tokens),
        )
        self._scan(after, begin)
        start = begin + 1
        for index in range(start, len(self._tokens)):
            if self._text(index) == ";":
                outer = self._frames[0].scope
                self._frames = [_Frame(_Scope(outer), base=outer, is_query=True)]
                self._kind = self._keyword(start)
                self._scan(start, index)
                self._frames = [_Frame(outer, is_query=True)]
                start = index + 1

    def _alter(self) -> None:
        match self._keyword(1):
            case "TABLE":
                self._alter_table()
            case "INDEX" | "VIEW" if self._dialect is Dialect.POSTGRESQL:
                self._rename(self._keyword(1))
            case _:
                raise self._forbidden_object("ALTER", self._keyword(1) or self._text(1), 1)

    def _rename(self, what: str) -> None:
        """`ALTER INDEX a RENAME TO b`, and the same for a view."""
        name = self._skip(2, "IF", "EXISTS")
        if (self._keyword(name + 1), self._keyword(name + 2)) != ("RENAME", "TO"):
            raise SqlError(
                f"ALTER {what} is refused but for RENAME TO: write DROP {what} and create it anew",
                self._line(name),
            )
        note = self._table if what == "VIEW" else self._object
        note(name)
        note(name + 3)

    def _alter_table(self) -> None:
        action = self._table(self._skip(2, "IF", "EXISTS", "ONLY"), own=True)
        for index in self._parts(action):
            if self._keyword(index) not in ALTER_ACTIONS:
                raise SqlError(
                    f"ALTER TABLE … {self._keyword(index) or self._text(index)} is refused: a "
                    "migration may ADD, DROP, ALTER, RENAME and VALIDATE",
                    self._line(index),
                )
            self._action(index)
        self._scan(action, len(self._tokens))

    def _action(self, index: int) -> None:
        """Look at one action of ALTER TABLE; `_scan` walks through it later."""
        verb, following = self._keyword(index), self._keyword(index + 1)
        column = self._skip(index + 1, "COLUMN", "IF", "NOT", "EXISTS")
        if (verb, following) == ("RENAME", "TO"):
            self._table(index + 2)
        elif (verb, following) == ("RENAME", "CONSTRAINT"):
            self._on_constraint(index + 3)
        elif verb == "ADD":
            self._definition(column)
        elif verb == "ALTER" and following != "CONSTRAINT":
            kind = self._skip(column + 1, "SET", "DATA")
            if self._keyword(kind) == "TYPE":
                self._policy.check_type(self._tokens, kind + 1)

    def _drop(self) -> None:
        what = self._keyword(1)
        if what not in ("TABLE", "VIEW", "INDEX", "TRIGGER"):
            raise self._forbidden_object("DROP", what or self._text(1), 1)
        if self._keyword(2) == "CONCURRENTLY":
            raise self._concurrently(2)
        index = self._skip(2, "IF", "EXISTS")
        while True:
            if what in ("TABLE", "VIEW"):
                self._table(index)
            else:
                self._object(index)
            if self._text(index + 1) != ",":
                break
            index += 2
        if self._keyword(index + 1) == "ON":
            self._table(index + 2)

    def _comment(self) -> None:
        """`COMMENT ON what name IS 'text'`."""
        what, name = self._keyword(2), 3
        match what:
            case "TABLE" | "VIEW":
                self._table(name)
            case "COLUMN":
                self._tables.append((name, self._frame.scope))
                name += 2
            case "INDEX":
                self._object(name)
            case "CONSTRAINT" | "TRIGGER":
                self._object(name)
                name += 2
                self._table(name)
            case _:
                raise self._forbidden_object("COMMENT ON", what or self._text(2), 2)
        if self._keyword(1) != "ON" or self._keyword(name + 1) != "IS":
            raise SqlError(
                f"expected COMMENT ON {what} name IS 'text', with the bare name", self._line(name)
            )

    def _is_foreign_keys(self) -> bool:
        """Whether this is `PRAGMA foreign_keys = …`, which does nothing inside a transaction."""
        words = [token.name for token in self._tokens if token.is_name]
        is_either = words[1:2] in (["foreign_keys"], ["defer_foreign_keys"])
        return is_either and self._text(2) == "="

    # --- expressions and queries -------------------------------------------------------------

    def _scan(self, start: int, stop: int) -> None:
        """Walk the tokens of a query, an expression or the body of a definition."""
        index = start
        while index < stop:
            token = self._tokens[index]
            if token.text == "(":
                self._open(index)
            elif token.text == ")":
                self._close(index)
            elif token.text == "." and at(self._tokens, index - 1).kind is Kind.STRING:
                raise self._string_as_name(index - 1)
            elif token.text == "," and self._frame.in_from:
                self._source(index + 1)
            elif token.is_name:
                self._word(index)
            index += 1

    def _word(self, index: int) -> None:
        if self._text(index + 1) == ".":
            self._reference(index)
        elif self._text(index - 1) != ".":
            self._clause(index)

    def _clause(self, index: int) -> None:
        """Act on the words that say that a table's name follows."""
        keyword = self._keyword(index)
        if act := self._CLAUSES.get(keyword):
            act(self, index)
        elif keyword in ENDS_FROM:
            self._frame.in_from = False

    def _on_from(self, index: int) -> None:
        if self._keyword(index - 1) == "ROWS":
            raise SqlError("ROWS FROM is refused: name one function in FROM", self._line(index))
        if not self._is_from_of_function(index):
            self._from(index + 1)

    def _on_join(self, index: int) -> None:
        self._source(index + 1)

    def _on_target(self, index: int) -> None:
        self._target(index + 1)

    def _on_update(self, index: int) -> None:
        if self._starts_command(index):
            after = index + 1
            self._target(after + 2 if self._keyword(after) == "OR" else after)

    def _on_using(self, index: int) -> None:
        # DELETE … USING lists tables; JOIN … USING lists columns.
        if self._kind in ("DELETE", "WITH") and self._is_name(index + 1):
            self._from(index + 1)

    def _on_in(self, index: int) -> None:
        # SQLite: `id IN votes` looks into a table.
        if self._dialect is Dialect.SQLITE and self._text(index + 1) != "(":
            self._source(index + 1, alias=False)

    def _on_table(self, index: int) -> None:
        # PostgreSQL: `TABLE votes` is a query.
        if self._starts_command(index):
            self._source(index + 1, alias=False)

    def _on_indexed(self, index: int) -> None:
        if self._keyword(index + 1) == "BY":
            self._object(index + 2)

    def _on_constraint(self, index: int) -> None:
        # SQLite's are of a table; PostgreSQL's that have an index share the schema with all others.
        name = self._skip(index + 1, "IF", "EXISTS")
        if self._dialect is Dialect.POSTGRESQL and self._is_name(name):
            self._object(name)

    def _on_arm(self, _index: int) -> None:
        self._frame.scope = _Scope(self._frame.base)
        self._frame.in_from = False

    def _is_from_of_function(self, index: int) -> bool:
        """Whether this FROM belongs to `extract(… FROM …)` or `IS DISTINCT FROM`."""
        is_distinct = self._keyword(index - 1) == "DISTINCT" and self._keyword(index - 2) in (
            "IS",
            "NOT",
        )
        return self._frame.call or is_distinct

    def _starts_command(self, index: int) -> bool:
        """Whether a word starts a command and is not `FOR UPDATE`, `ON UPDATE` or a column."""
        return (
            index == 0
            or self._text(index - 1) in ("(", ")", ";")
            or self._keyword(index - 1) in ("BEGIN", "UNION", "ALL", "EXCEPT", "INTERSECT", "AS")
        )

    def _from(self, index: int) -> None:
        self._frame.in_from = True
        self._source(index)

    def _target(self, index: int) -> None:
        """A table that is written, created by SELECT INTO, or referred to by a foreign key."""
        index = self._skip(index, "ONLY", "TABLE")
        after = self._table(index)
        self._tables[-1] = (index, _Scope())  # never a name of WITH
        self._columns_after(after)
        if self._tokens[index - 1].keyword != "REFERENCES":
            self._alias(index, after)

    def _source(self, index: int, *, alias: bool = True) -> None:
        """A table, function or parenthesis in a FROM list."""
        index = self._skip(index, "ONLY", "LATERAL")
        if self._text(index) == "(":
            return
        if self._is_name(index) and self._text(index + 1) == "(":
            return  # a function; `_open` looks at its name
        after = self._table(index)
        if alias:
            self._alias(index, after)

    def _table(self, index: int, *, own: bool = False) -> int:
        """Note the table that is named at `index` and return the index after it.

        Args:
            index: where a table's name is expected.
            own: `name.column` in the rest of the command means this table.
        """
        if at(self._tokens, index).kind is Kind.STRING:
            raise self._string_as_name(index)
        if not self._is_name(index):
            seen = f"'{self._text(index)}'" if self._text(index) else "nothing"
            raise SqlError(f"expected the name of a table, found {seen}", self._line(index))
        if self._text(index + 1) == ".":
            raise SqlError(
                f"'{self._text(index)}.{self._text(index + 2)}' names a schema: write the table "
                "alone",
                self._line(index),
            )
        self._tables.append((index, self._frame.scope))
        if own:
            self._frame.scope.tables.add(self._tokens[index].name)
        return index + 1

    def _string_as_name(self, index: int) -> SqlError:
        return SqlError(
            f"{self._text(index)[:80]} is a string where a name is expected: write the name "
            "without quotes",
            self._line(index),
        )

    def _alias(self, table: int, index: int) -> None:
        """Note the alias after a table, or that it has none."""
        scope = self._frame.scope
        if not self._take_alias(index):
            scope.tables.add(self._tokens[table].name)

    def _take_alias(self, index: int) -> bool:
        explicit = self._keyword(index) == "AS"
        index += explicit
        if not self._is_name(index) or (
            not explicit and self._keyword(index) in NOT_AN_ALIAS | ENDS_FROM
        ):
            return False
        self._frame.scope.aliases.add(self._tokens[index].name)
        self._columns_after(index + 1)
        return True

    def _reference(self, index: int) -> None:
        """`name.column`: resolved when all tables of the command are known."""
        if self._text(index - 1) == ".":
            if at(self._tokens, index - 2).kind is Kind.STRING or self._is_name(index - 2):
                raise SqlError(
                    f"'{self._text(index - 2)}.{self._text(index)}.{self._text(index + 2)}' names "
                    "a schema: write table.column",
                    self._line(index),
                )
            return
        if self._text(index + 3) == "(":
            raise SqlError(
                f"'{self._text(index)}.{self._text(index + 2)}(…)' names a schema: write the "
                "function alone",
                self._line(index),
            )
        self._references.append((index, self._frame.scope))

    def _inside(self, scope: _Scope, index: int) -> _Scope:
        """Return the scope of a query that stands in another one."""
        if sum(1 for _ in scope.outwards()) > MAX_QUERY_NESTING:
            raise SqlError(
                f"queries are nested deeper than {MAX_QUERY_NESTING} levels", self._line(index)
            )
        return _Scope(scope)

    # --- WITH --------------------------------------------------------------------------------

    def _with(self, index: int) -> None:
        """Note the names that WITH defines; their bodies are walked as they come."""
        recursive = self._keyword(index + 1) == "RECURSIVE"
        forward = recursive or self._dialect is Dialect.SQLITE
        names: dict[str, int] = {}
        name = index + 1 + recursive
        while body := self._cte_body(name):
            end = self._after_parenthesis(body)
            # Without RECURSIVE, PostgreSQL knows the name only after its own body.
            names[self._tokens[name].name] = index if forward else end - 1
            self._no_function.add(name)
            if self._text(end) != ",":
                break
            name = end + 1
        if names:
            frame = self._frame
            frame.base = self._inside(frame.scope, index)
            frame.base.ctes = names
            frame.scope = _Scope(frame.base)

    def _cte_body(self, name: int) -> int | None:
        """Return where the body of `name [(columns)] AS [[NOT] MATERIALIZED] (` starts."""
        if not self._is_name(name):
            return None
        index = name + 1
        if self._text(index) == "(":
            index = self._after_parenthesis(index)
        if self._keyword(index) != "AS":
            return None
        index = self._skip(index + 1, "NOT", "MATERIALIZED")
        return index if self._text(index) == "(" else None

    _CLAUSES: ClassVar[Mapping[str, Callable[[_Walk, int], None]]] = {
        "FROM": _on_from,
        "JOIN": _on_join,
        "INTO": _on_target,
        "REFERENCES": _on_target,
        "UPDATE": _on_update,
        "USING": _on_using,
        "IN": _on_in,
        "TABLE": _on_table,
        "WITH": _with,
        "INDEXED": _on_indexed,
        "CONSTRAINT": _on_constraint,
        "UNION": _on_arm,
        "EXCEPT": _on_arm,
        "INTERSECT": _on_arm,
    }

    # --- parentheses -------------------------------------------------------------------------

    def _open(self, index: int) -> None:
        outer = self._frame
        if self._keyword(index + 1) in (
            "SELECT",
            "WITH",
            "VALUES",
            "TABLE",
            "INSERT",
            "UPDATE",
            "DELETE",
        ):
            scope = self._inside(outer.scope, index)
            self._frames.append(_Frame(scope, base=outer.scope, is_query=True))
            return
        is_call = self._is_call(index - 1)
        if is_call:
            self._policy.check_call(self._tokens[index - 1])
        is_join = outer.in_from and not is_call and self._opens_join(index)
        self._frames.append(
            _Frame(
                outer.scope,
                base=outer.base,
                in_from=is_join,
                call=not is_join,
                function=index - 1 if is_call else None,
            )
        )
        if is_join:
            self._source(index + 1)

    def _opens_join(self, index: int) -> bool:
        """Whether a `(` in a FROM list groups tables: it stands where a table may stand."""
        before = index - 1
        while self._text(before) == "(":
            before -= 1
        return self._text(before) == "," or self._keyword(before) in ("FROM", "JOIN", "LATERAL")

    def _is_call(self, index: int) -> bool:
        return index not in self._no_function and self._policy.is_call(self._tokens, index)

    def _close(self, index: int) -> None:
        closed = self._frame
        if len(self._frames) > 1:
            self._frames.pop()
        if self._frame.in_from and (closed.is_query or closed.call):
            after = index + 1
            if (self._keyword(after), self._keyword(after + 1)) == ("WITH", "ORDINALITY"):
                after += 2
            self._take_alias(after)
            if closed.function is not None:
                self._note_function(closed.function, after)

    def _note_function(self, index: int, after: int) -> None:
        """Note a function in FROM: `g.name` may be a call instead of a column of it."""
        name = self._tokens[index].name
        after += self._keyword(after) == "AS"
        columns = {name}
        if self._is_name(after) and self._tokens[after].name in self._frame.scope.aliases:
            name = self._tokens[after].name
            columns |= {name} | listed(self._tokens, after + 1)
        self._frame.scope.functions[name] = columns

    # --- the answer --------------------------------------------------------------------------

    def _object(self, index: int) -> None:
        if at(self._tokens, index).kind is Kind.STRING:
            raise self._string_as_name(index)
        if not self._is_name(index):
            raise SqlError("expected the name of an index or trigger", self._line(index))
        if self._text(index + 1) == ".":
            raise SqlError(
                f"'{self._text(index)}.{self._text(index + 2)}' names a schema: write the name "
                "alone",
                self._line(index),
            )
        self._objects.append(index)

    def replacements(self) -> dict[int, str]:
        """Return what to write instead of which token.

        Raises:
            SqlError: a name cannot be taken.
        """
        changed: dict[int, str] = {}
        for index, scope in self._tables:
            token = self._tokens[index]
            if scope.is_cte(token.name, index):
                continue
            if token.name.lower() == sequence.TABLE:
                changed |= sequence.qualified(self._tokens, index, self._full_table)
            elif (full := self._full_table(token.name, token.line)) != _spelling(token):
                changed[index] = full
        for index in self._objects:
            token = self._tokens[index]
            if (full := self._full_object(token)) != _spelling(token):
                changed[index] = _spelled(full)
        for index, scope in self._references:
            if full := self._table_meant(index, scope):
                changed[index] = full
        return changed

    def _table_meant(self, index: int, scope: _Scope) -> str:
        """Return the full name of the table that `name.column` means; empty if it is none."""
        token, field_token = self._tokens[index], index + 2
        columns = scope.columns_of_function(token.name)
        if columns is not None and self._is_name(field_token):
            self._policy.check_field(self._tokens[field_token], columns)
        if scope.means_table(token.name, index):
            return self._full_table(token.name, token.line)
        if token.name.lower() in _SCHEMAS and not any(
            around.knows(token.name) for around in scope.outwards()
        ):
            raise SqlError(
                f"'{token.text}.{self._text(field_token)}' names a schema: leave it out",
                token.line,
            )
        return ""

    def _full_table(self, name: str, line: int) -> str:
        if is_own_table(name, self._namespace):
            return self._short_enough(name, line)
        return self._short_enough(self._namespace.prefix + self._bare(name, line), line)

    def _full_object(self, token: Token) -> str:
        if is_own_object(token.name, self._namespace):
            return _shortened(token.name)
        return _shortened(self._namespace.prefix + token.name)

    def _bare(self, name: str, line: int) -> str:
        if "__" in name or not IDENTIFIER.fullmatch(name):
            raise SqlError(f"'{name[:80]}' is not a valid name: expected {IDENTIFIER_RULE}", line)
        return name

    def _short_enough(self, name: str, line: int) -> str:
        if len(name) > MAX_IDENTIFIER:
            raise SqlError(
                f"'{name}' has {len(name)} characters with the plugin's prefix, and the limit is "
                f"{MAX_IDENTIFIER}",
                line,
            )
        return name
