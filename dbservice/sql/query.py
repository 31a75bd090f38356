"""Checks a query that a plugin wrote, and puts the full names into it (SPEC 3.8).

Two readings of the same text must both find it harmless. The words are looked at one by one,
wherever they stand: the policy (`dbservice.sqltext.policy`), which migrations ask as well, knows
which of them are no plugin's business. Then a real parser says what it is: one query made of parts
that are known to read only, from tables that are the plugin's own.

What is parsed and what runs is not the text that came: it is put together again from the words
that were checked, without comments, and with every string, quoted name and parameter written anew.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as Grammar
from sqlglot.errors import ParseError, SqlglotError
from typing_extensions import override

from dbservice.engine.columns import Column
from dbservice.engine.tables import Table, unknown_column
from dbservice.protocol.errors import ErrorCode, Reason, RequestError, invalid
from dbservice.protocol.limits import MAX_QUERY_PARAMETERS, MAX_QUERY_WORDS
from dbservice.protocol.names import identifier
from dbservice.sql.arguments import check_arguments
from dbservice.sqltext.dialects import Dialect, quoted
from dbservice.sqltext.lexer import Kind, SqlError, Token, tokens
from dbservice.sqltext.policy import POLICIES, ForbiddenSqlError, Policy, listed

Node = Any
"""A part of a parsed query. The parser's versions have different base classes for it."""

# It would log queries that it does not understand; they are refused, which says enough.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

_GRAMMARS = {Dialect.SQLITE: "sqlite", Dialect.POSTGRESQL: "postgres"}

_PARTS = (
    *(exp.Select, exp.SetOperation, exp.Subquery, exp.With, exp.CTE, exp.From, exp.Join),
    *(exp.Table, exp.TableAlias, exp.Identifier, exp.Lateral, exp.Values, exp.Unnest),
    *(exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset),
    *(exp.Distinct, exp.Window, exp.WindowSpec, exp.Filter, exp.WithinGroup),
    *(exp.Alias, exp.Star, exp.Tuple, exp.Interval, exp.Var, exp.Escape, exp.Collate),
    *(exp.DataType, exp.DataTypeParam, exp.Cube, exp.Rollup, exp.GroupingSets),
    *(exp.JSONPath, exp.JSONPathPart, exp.AtTimeZone, exp.Condition),
)
"""What a query may consist of; `Condition` is every expression that has a value."""

_NOT_AMONG_THEM = (exp.SessionParameter, exp.Dot, exp.TableSample)

Columns = Mapping[str, Column | None]
"""The columns of something to select from; None where the type is not known."""


@dataclass(frozen=True, slots=True)
class CheckedQuery:
    """A query that may run.

    Attributes:
        sql: with full names, and `?` for each parameter.
        numbers: which parameter goes to each `?`, counted from 1.
        names: the names besides its own tables that it reads from: of WITH, of table functions.
        types: the table columns among the columns of the result, by name.
    """

    sql: str
    numbers: tuple[int, ...]
    names: frozenset[str]
    types: Columns


class Query:
    """A query, read and found to be one SELECT.

    Args:
        text: what the plugin wrote.
        dialect: the engine whose SQL it is.

    Attributes:
        tables: the bare names of the tables it reads.

    Raises:
        RequestError: VALIDATION_ERROR or FORBIDDEN; the message says what is wrong with it.
    """

    def __init__(self, text: str, dialect: Dialect) -> None:
        self._dialect = dialect
        policy = POLICIES[dialect]
        try:
            self._words = _Words(text, dialect)
            policy.check_names(self._words.tokens, _owns_none, advice=_BARE_NAMES)
            policy.check_computed(self._words.tokens)
            self._tree = _only_tree(_parsed(self._words.text, dialect))
            _check_calls(self._words, _new_names(self._tree), policy)
            _check_parts(self._tree, policy)
            _check_fields(self._words, self._tree, policy)
            self._reading = _Reading(dialect)
            self._reading.bind(self._tree, frozenset())
        except (RecursionError, _TooManyStepsError):
            raise invalid("The query is nested too deeply.", field="query") from None
        except ForbiddenSqlError as error:
            raise _forbidden(f"The query is refused: {error.message}.", error.word) from None
        except SqlError as error:
            raise _unreadable(error.line, None) from None
        except SqlglotError as error:
            raise _not_parsed(error) from None

    @property
    def tables(self) -> list[str]:
        """The bare names of the tables it reads."""
        return sorted({_name(node.this) for node in self._reading.tables})

    def checked(self, tables: Mapping[str, Table], params: Sequence[Any] = ()) -> CheckedQuery:
        """Return the query as it may run.

        Args:
            tables: the plugin's own, by bare name; one for each of `self.tables`.
            params: the values of its parameters.

        Raises:
            RequestError: VALIDATION_ERROR for a column that its table does not have, or an
                argument that would cost too much.
        """
        if self._dialect is Dialect.POSTGRESQL:
            check_arguments(self._words.tokens, params)
        types = _Types(tables, self._reading.tables).of(self._tree, {}, {})
        renamed = {
            node.this.meta["start"]: _renamed(node, tables[_name(node.this)])
            for node in self._reading.tables
        }
        sql = self._words.rewritten(renamed)
        return CheckedQuery(sql, self._words.numbers, frozenset(self._reading.names), types)


# --- words -------------------------------------------------------------------------------------

_BARE_NAMES = "write the bare names of your own tables"


def _owns_none(_name: str) -> bool:
    """In a query tables have bare names, the plugin's own too."""
    return False


class _Words:
    """The words of a query, and the text that is made of them.

    Attributes:
        tokens: the words, without the semicolons at the end.
        starts: the word that starts at an offset of `text`.
        text: the query as the parser gets it.
        numbers: the parameters in their order, counted from 1.
    """

    def __init__(self, text: str, dialect: Dialect) -> None:
        self.tokens = _without_end(list(tokens(text, dialect)))
        _check_first(self.tokens[0])
        self.numbers = tuple(_numbered(t) for t in self.tokens if t.kind is Kind.PARAMETER)
        self._parts = [_written(token, dialect) for token in self.tokens]
        self.starts: dict[int, int] = {}
        length = 0
        for index, part in enumerate(self._parts):
            length += len(self._gap(index))
            self.starts[length] = index
            length += len(part)
        self.text = self._joined(self._parts)

    def rewritten(self, renamed: Mapping[int, str]) -> str:
        """Return the query as it runs: with `?` for every parameter.

        Args:
            renamed: what to write instead, by the offset in `text` at which a word starts.
        """
        parts = list(self._parts)
        for index, token in enumerate(self.tokens):
            if token.kind is Kind.PARAMETER:
                parts[index] = "?"
        for start, name in renamed.items():
            parts[self.starts[start]] = name
        return self._joined(parts)

    def _joined(self, parts: Sequence[str]) -> str:
        return "".join(self._gap(index) + part for index, part in enumerate(parts))

    def _gap(self, index: int) -> str:
        """Return what stands before a word: a blank where there was one, and around quotes.

        A letter that touches a quote changes what is between the quotes: E'…'. A parameter
        that touches a comma starts a dollar quote for the parser: $1,$2.
        """
        if index == 0:
            return ""
        before, token = self.tokens[index - 1], self.tokens[index]
        is_apart = {before.kind, token.kind} & {Kind.STRING, Kind.QUOTED_NAME, Kind.PARAMETER}
        return " " if is_apart or token.start > before.end else ""


def _without_end(words: list[Token]) -> list[Token]:
    """Leave out the semicolons at the end, and refuse any other."""
    while words and words[-1].text == ";":
        words.pop()
    if not words:
        raise invalid("The query is empty: expected one SELECT.", field="query")
    if any(word.text == ";" for word in words):
        raise _forbidden("A query is one statement: there is a ';' with more behind it.", ";")
    if len(words) > MAX_QUERY_WORDS:
        raise invalid(
            f"The query has {len(words)} words and signs; at most {MAX_QUERY_WORDS} are taken. "
            "Ask in several queries.",
            reason=Reason.LIMIT,
            field="query",
            expected=MAX_QUERY_WORDS,
            got=len(words),
        )
    return words


def _check_first(first: Token) -> None:
    if first.keyword not in ("SELECT", "WITH"):
        raise _forbidden(
            f"{_shown(first.text.upper())} is refused: a query is one SELECT, or WITH … "
            "SELECT. Rows are written through the row operations, tables through migrations.",
            first.text,
        )


def _written(token: Token, dialect: Dialect) -> str:
    """Return a word as it stands in the text that is parsed and run."""
    match token.kind:
        case Kind.PARAMETER:
            return f"${_numbered(token)}"
        case Kind.STRING if not token.text.startswith("'"):
            raise invalid(
                f"{_shown(token.text)} is not a plain string: write '…', or a parameter.",
                field="query",
            )
        case Kind.STRING:
            return token.text
        case Kind.QUOTED_NAME if dialect is Dialect.SQLITE:
            # SQLite takes a name in double quotes that nothing has for a text.
            return "`" + token.name.replace("`", "``") + "`"
        case Kind.QUOTED_NAME:
            return quoted(token.name)
        case _ if token.text in ("?", "{", "}"):
            raise _no_parameter(token.text)
        case _:
            # Names without quotes have no case; in small letters the result has the same ones
            # everywhere.
            return token.text.lower()


def _numbered(token: Token) -> int:
    digits = token.text[1:]
    if not token.text.startswith("$") or not (digits.isdecimal() and digits.isascii()):
        raise _no_parameter(token.text)
    if not 0 < int(digits) <= MAX_QUERY_PARAMETERS:
        raise invalid(
            f"'${digits[:40]}' is not a parameter: expected $1 to ${MAX_QUERY_PARAMETERS}.",
            field="query",
        )
    return int(digits)


def _no_parameter(text: str) -> RequestError:
    return invalid(
        f"{_shown(text)} is refused: write parameters as $1, $2 and so on.", field="query"
    )


def _check_calls(words: _Words, new_names: Collection[int], policy: Policy) -> None:
    """Refuse calls of functions that are not on the list.

    Args:
        words: the query's.
        new_names: where a name stands that the query itself gives, with a list of columns.
        policy: of the engine.
    """
    for start, index in words.starts.items():
        if policy.is_call(words.tokens, index) and start not in new_names:
            policy.check_call(words.tokens[index])


def _check_fields(words: _Words, tree: Node, policy: Policy) -> None:
    """Refuse `g.name` where `g` is a function in FROM, and `name` no column that is known of it."""
    columns = _columns_of_functions(words, tree, policy)
    for index, token in enumerate(words.tokens[:-2]):
        name, after = token.name, words.tokens[index + 2]
        if words.tokens[index + 1].text == "." and after.is_name and name in columns:
            policy.check_field(after, columns[name])


def _columns_of_functions(words: _Words, tree: Node, policy: Policy) -> dict[str, set[str]]:
    """Return the names that functions in FROM have, with the columns that the query names."""
    found = {
        token.name: {token.name}
        for index, token in enumerate(words.tokens)
        if policy.is_call(words.tokens, index)
    }
    for node in tree.find_all(exp.TableAlias):
        source = node.parent
        is_function = isinstance(source, exp.Unnest | exp.Lateral) or (
            isinstance(source, exp.Table) and not isinstance(source.this, exp.Identifier)
        )
        if node.this is None:
            continue
        name = _name(node.this)
        if is_function:
            place = words.starts.get(node.this.meta.get("start", -1), len(words.tokens))
            found[name] = {name} | listed(words.tokens, place + 1)
        else:
            found.pop(name, None)
    return found


def _new_names(tree: Node) -> frozenset[int]:
    """Return where `name (column, …)` names a part of the query, and calls nothing."""
    return frozenset(
        node.this.meta["start"]
        for node in tree.find_all(exp.TableAlias)
        if node.this is not None and "start" in node.this.meta
    )


# --- grammar -----------------------------------------------------------------------------------

_FREE_STEPS = 1_000
_STEPS = 4
"""What the parser may take for each word. Ordinary queries take two."""


class _TooManyStepsError(Exception):
    """The parser goes back and forth: `array[array[…` doubles its way with every bracket."""


def _parsed(text: str, dialect: Dialect) -> Sequence[Node]:
    """Return what a text consists of, in time of its length.

    Raises:
        SqlglotError: it is not SQL.
        _TooManyStepsError: the parser does not come to an end with it.
    """
    grammar = Grammar.get_or_raise(_GRAMMARS[dialect])
    found = grammar.tokenize(text)
    return list(_parser(dialect)(dialect=grammar).parse(found, text))


@cache
def _parser(dialect: Dialect) -> Any:
    parser: Any = Grammar.get_or_raise(_GRAMMARS[dialect]).parser_class

    class Bounded(parser):  # type: ignore[misc]
        """Counts its steps, forth and back."""

        steps = 0

        @override
        def _advance(self, times: int = 1) -> None:
            self.steps += 1
            if self.steps > _FREE_STEPS + _STEPS * len(self._tokens):
                raise _TooManyStepsError
            super()._advance(times)

    return Bounded


def _only_tree(trees: Sequence[Node]) -> Node:
    if len(trees) != 1 or trees[0] is None:
        raise _forbidden("A query is one statement.", "query")
    return trees[0]


def _check_parts(tree: Node, policy: Policy) -> None:
    for node in tree.walk():
        _check_part(node, policy)
    if not isinstance(tree, exp.Select | exp.SetOperation):
        raise _forbidden("A query is one SELECT, or WITH … SELECT.", "query")


def _check_part(node: Node, policy: Policy) -> None:
    if isinstance(node, exp.Placeholder):
        raise invalid("Write parameters as $1, $2 and so on.", field="query")
    if not isinstance(node, _PARTS) or isinstance(node, _NOT_AMONG_THEM):
        what = node.key.upper()
        raise _forbidden(f"{what} is refused: the SQL tier only reads, row by row.", what)
    if isinstance(node, exp.Table | exp.Column) and (
        node.args.get("db") or node.args.get("catalog")
    ):
        raise _forbidden(
            f"{_shown(node.sql())} is refused: write the bare name, without a schema.", node.sql()
        )
    if isinstance(node, exp.In) and node.args.get("field") is not None:
        raise _forbidden("'IN name' is refused: write IN (SELECT … FROM name).", "IN")
    if isinstance(node, exp.Select) and _locks(node):
        raise _forbidden("SELECT … INTO and FOR UPDATE are refused: a query only reads.", "SELECT")
    if isinstance(node, exp.Select) and not node.expressions:
        raise invalid("The query cannot be read: a SELECT names no columns.", field="query")
    if isinstance(node, exp.DataType) and not policy.has_type(_first_word(node, policy.dialect)):
        raise _forbidden(f"The type {_shown(node.sql())} is refused.", node.sql())


def _first_word(node: Node, dialect: Dialect) -> str:
    """Return the first word of a type as the engine spells it."""
    found = re.match(r"\w+", node.sql(_GRAMMARS[dialect]))
    return found.group() if found else ""


def _locks(node: Node) -> bool:
    return bool(node.args.get("into") or node.args.get("locks") or node.args.get("kind"))


@dataclass(slots=True)
class _Reading:
    """Tells the plugin's tables from the names that the query itself gives.

    Attributes:
        tables: where a table is named.
        names: of WITH and of table functions.
    """

    dialect: Dialect
    tables: list[exp.Table] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def bind(self, node: Node, visible: frozenset[str]) -> None:
        """Look at a part of the query, within which some names of WITH are visible."""
        queries = _with(node)
        if queries is not None:
            for query in queries.expressions:
                name = _name(query.args["alias"].this)
                self.names.add(name)
                inside = visible | {name} if queries.args.get("recursive") else visible
                self.bind(query.this, inside)
                visible |= {name}
        if isinstance(node, exp.Table):
            self._source(node, visible)
        for child in node.iter_expressions():
            if child is not queries:
                self.bind(child, visible)

    def _source(self, node: exp.Table, visible: frozenset[str]) -> None:
        if node.this is None:
            raise _forbidden("ROWS FROM is refused: name one table or function.", "ROWS FROM")
        if not isinstance(node.this, exp.Identifier):
            self.names.add(node.this.name.lower() or node.this.key)
            return
        name = _name(node.this)
        if name not in visible:
            identifier(name, field="query")
            if "start" not in node.this.meta:
                raise _forbidden(f"{_shown(name)} cannot be read from here.", name)
            self.tables.append(node)


@dataclass(slots=True)
class _Types:
    """Finds out which columns of the result are columns of a table."""

    tables: Mapping[str, Table]
    nodes: Sequence[exp.Table]

    def of(
        self, node: Node, queries: Mapping[str, Columns], outer: Mapping[str, Columns]
    ) -> Columns:
        """Return the columns of a query.

        Args:
            node: the query.
            queries: of WITH, by name.
            outer: what the queries around it select from.

        Raises:
            RequestError: VALIDATION_ERROR for a column that its table does not have.
        """
        known = dict(queries)
        named = _with(node)
        for query in named.expressions if named is not None else ():
            name = _name(query.args["alias"].this)
            known[name] = {}
            shape = self.of(query.this, known, outer)
            known[name] = {} if query.args["alias"].args.get("columns") else shape
        if isinstance(node, exp.SetOperation):
            self.of(node.expression, known, outer)
            return self.of(node.this, known, outer)
        if isinstance(node, exp.Subquery):
            return self.of(node.this, known, outer)
        if isinstance(node, exp.Select):
            return self._of_select(node, known, outer)
        return {}

    def _of_select(
        self, node: exp.Select, queries: Mapping[str, Columns], outer: Mapping[str, Columns]
    ) -> Columns:
        parts = list(_own_parts(node))
        sources: dict[str, Columns] = {
            part.alias_or_name.lower(): self._of_table(part, queries)
            for part in parts
            if isinstance(part, exp.Table)
        }
        # Each query once: looked at twice, every level of nesting would double the time.
        others = [part for part in parts if isinstance(part, exp.Query) and not _is_table(part)]
        for part in others:
            if _is_source(part):
                sources[part.alias_or_name.lower()] = self.of(part, queries, {**outer, **sources})
        around = {**outer, **sources}
        for part in others:
            if not _is_source(part):
                self.of(part, queries, around)
        for part in parts:
            if isinstance(part, exp.Column):
                self._check_column(part, around)
        types: dict[str, Column | None] = {}
        for projection in node.expressions:
            types |= _projected(projection, sources)
        return types

    def _of_table(self, node: exp.Table, queries: Mapping[str, Columns]) -> Columns:
        if any(node is own for own in self.nodes):
            return self.tables[_name(node.this)].columns
        return queries.get(node.name.lower(), {})

    def _check_column(self, node: exp.Column, around: Mapping[str, Columns]) -> None:
        """Refuse `table.name` where the table has no such column.

        PostgreSQL would take it for a call of the function `name` with the row.
        """
        if not node.table or isinstance(node.this, exp.Star):
            return
        shape = around.get(node.table.lower(), {})
        name = _name(node.this)
        if shape and all(shape.values()) and name not in shape and name not in _ROW_NAMES:
            raise unknown_column(name, "query", shape, node.table[:80])


_ROW_NAMES = frozenset({"rowid", "oid", "ctid"})


def _is_table(node: Node) -> bool:
    return isinstance(node, exp.Table)


def _is_source(node: Node) -> bool:
    return isinstance(node, exp.Subquery) and isinstance(node.parent, exp.From | exp.Join)


def _projected(node: Node, sources: Mapping[str, Columns]) -> Columns:
    """Return which columns an entry of a SELECT list gives."""
    value = node.this if isinstance(node, exp.Alias) else node
    if isinstance(value, exp.Star):
        return {name: column for shape in sources.values() for name, column in shape.items()}
    if not isinstance(value, exp.Column):
        return {node.output_name: None}
    within = [sources.get(value.table.lower(), {})] if value.table else list(sources.values())
    if isinstance(value.this, exp.Star):
        return within[0]
    found = next((shape[_name(value.this)] for shape in within if _name(value.this) in shape), None)
    return {node.alias_or_name if isinstance(node, exp.Alias) else value.name: found}


def _own_parts(node: Node) -> Iterator[Node]:
    """Yield the parts of a query, but of the queries within it only their first node."""
    named = _with(node)
    for child in node.iter_expressions():
        if child is named:
            continue
        yield child
        if not isinstance(child, exp.Select | exp.SetOperation | exp.Subquery):
            yield from _own_parts(child)


def _with(node: Node) -> Node | None:
    # The parser's name for it has changed between its versions.
    return node.args.get("with_") or node.args.get("with")


def _name(node: Node) -> str:
    """Return a name as the engines compare it: without quotes it has no case."""
    name: str = node.name
    return name if node.args.get("quoted") else name.lower()


# --- putting it together -----------------------------------------------------------------------


def _renamed(node: exp.Table, table: Table) -> str:
    """Return what stands in the place of a bare table name."""
    if node.args.get("alias"):
        return table.sql
    return f"{table.sql} AS {quoted(table.name)}"


# --- errors ------------------------------------------------------------------------------------


def _shown(text: str) -> str:
    return f"'{text[:80]}'"


def _forbidden(message: str, got: str) -> RequestError:
    return RequestError(ErrorCode.FORBIDDEN, message, field="query", got=got[:80])


def _not_parsed(error: SqlglotError) -> RequestError:
    found = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
    return _unreadable(found.get("line"), found.get("col"))


def _unreadable(line: int | None, column: int | None) -> RequestError:
    place = f" at line {line}" if line else ""
    place += f", column {column}" if column else ""
    return invalid(
        f"The query cannot be read{place}: it is not SQL as this engine has it.",
        field="query",
        line=line,
        column=column,
    )
