"""Checks a query that a plugin wrote, and puts the full names into it (SPEC 3.8).

Two readings of the same text must both find it harmless. The words are looked at one by one,
wherever they stand: no name of the service, of the engine or of another plugin, no function that
is not on the list. Then a real parser says what it is: one query made of parts that are known to
read only, from tables that are the plugin's own.

What runs is not the text that came: it is put together again from the words that were checked,
without comments, and with every string, quoted name and parameter written anew.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.dialect import Dialect as Grammar
from sqlglot.errors import ParseError, SqlglotError

from dbservice.engine.columns import Column
from dbservice.engine.tables import Table, unknown_column
from dbservice.protocol.errors import ErrorCode, RequestError, invalid
from dbservice.protocol.limits import MAX_QUERY_PARAMETERS
from dbservice.protocol.names import identifier
from dbservice.sqltext.dialects import Dialect, quoted
from dbservice.sqltext.functions import ALLOWED
from dbservice.sqltext.keywords import BEFORE_PARENTHESIS, TYPES

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
    *(exp.JSONPath, exp.JSONPathPart, exp.Condition),
)
"""What a query may consist of; `Condition` is every expression that has a value."""

_NOT_AMONG_THEM = (exp.SessionParameter, exp.Dot, exp.TableSample)

_NAMELESS_CALLS = frozenset(
    {"current_catalog", "current_role", "current_schema", "current_user", "session_user"}
    | {"system_user", "user"}
)
"""What PostgreSQL computes without parentheses, and is no plugin's business."""

_TYPES = frozenset(
    {"BIGINT", "BOOLEAN", "CHAR", "DATE", "DECIMAL", "DOUBLE", "FLOAT", "INT", "INTERVAL", "JSON"}
    | {"JSONB", "NUMERIC", "SMALLINT", "TEXT", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "UUID"}
    | {"VARCHAR", "ARRAY", "BLOB", "VARBINARY", "REAL", "TIMETZ", "BIT"}
)
_ODD_STRINGS = frozenset(
    {TokenType.BYTE_STRING, TokenType.HEREDOC_STRING, TokenType.UNICODE_STRING}
    | {TokenType.HEX_STRING, TokenType.BIT_STRING, TokenType.RAW_STRING, TokenType.NATIONAL_STRING}
)

Shape = Mapping[str, Column | None]
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
    types: Shape


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
        self._text = text
        self._dialect = dialect
        grammar = Grammar.get_or_raise(_GRAMMARS[dialect])
        try:
            self._tokens = _without_end(grammar.tokenize(text))
            _check_words(self._tokens, dialect)
            tree = _only_tree(grammar.parser().parse(list(self._tokens), text))
            _check_calls(self._tokens, _new_names(tree), dialect)
            _check_parts(tree)
            self._tree = tree
            self._reading = _Reading(dialect)
            self._reading.bind(self._tree, frozenset())
        except RecursionError:
            raise invalid("The query is nested too deeply.", field="query") from None
        except SqlglotError as error:
            raise _unreadable(error) from None

    @property
    def tables(self) -> list[str]:
        """The bare names of the tables it reads."""
        return sorted({_name(node.this) for node in self._reading.tables})

    def checked(self, tables: Mapping[str, Table]) -> CheckedQuery:
        """Return the query as it may run.

        Args:
            tables: the plugin's own, by bare name; one for each of `self.tables`.

        Raises:
            RequestError: VALIDATION_ERROR for a column that its table does not have.
        """
        types = _Types(tables, self._reading.tables).of(self._tree, {}, {})
        renamed = {
            node.this.meta["start"]: _renamed(node, tables[_name(node.this)])
            for node in self._reading.tables
        }
        sql, numbers = _rebuilt(self._text, self._tokens, renamed, self._dialect)
        return CheckedQuery(sql, numbers, frozenset(self._reading.names), types)


# --- words -------------------------------------------------------------------------------------


def _without_end(tokens: Sequence[Token]) -> list[Token]:
    """Leave out the semicolons at the end, and refuse any other."""
    words = list(tokens)
    while words and words[-1].token_type is TokenType.SEMICOLON:
        words.pop()
    if not words:
        raise invalid("The query is empty: expected one SELECT.", field="query")
    if any(word.token_type is TokenType.SEMICOLON for word in words):
        raise _forbidden("A query is one statement: there is a ';' with more behind it.", ";")
    return words


def _check_words(tokens: Sequence[Token], dialect: Dialect) -> None:
    if tokens[0].token_type not in (TokenType.SELECT, TokenType.WITH):
        raise _forbidden(
            f"{_shown(tokens[0].text.upper())} is refused: a query is one SELECT, or WITH … "
            "SELECT. Rows are written through the row operations, tables through migrations.",
            tokens[0].text,
        )
    for token in tokens:
        if token.token_type in _ODD_STRINGS:
            raise invalid(
                f"{_shown(token.text)} is not a plain string: write '…', or a parameter.",
                field="query",
            )
        if token.token_type is not TokenType.STRING:
            _check_name(token.text, dialect, is_quoted=token.token_type is TokenType.IDENTIFIER)


def _check_name(text: str, dialect: Dialect, *, is_quoted: bool) -> None:
    """Refuse a name that is not the plugin's, whatever it names and wherever it stands."""
    name = text.lower()
    if name.startswith("_") or "__" in name:
        raise _forbidden(
            f"{_shown(text)} is refused: write the bare names of your own tables. Names with '__' "
            "or a leading '_' belong to the service.",
            text,
        )
    if name.startswith(("sqlite_", "pg_", "information_schema")):
        raise _forbidden(f"{_shown(text)} is refused: it belongs to the database engine.", text)
    if not is_quoted and dialect is Dialect.POSTGRESQL and name in _NAMELESS_CALLS:
        raise _no_function(text)


def _check_calls(tokens: Sequence[Token], new_names: Collection[int], dialect: Dialect) -> None:
    """Refuse calls of functions that are not on the list.

    Args:
        tokens: the query's words.
        new_names: where a name stands that the query itself gives, with a list of columns.
        dialect: whose list.
    """
    for token, following in pairwise(tokens):
        if following.token_type is not TokenType.L_PAREN or not _may_name(token):
            continue
        name = token.text.lower()
        is_syntax = name.upper() in BEFORE_PARENTHESIS or name in TYPES
        is_bare = token.token_type not in (TokenType.IDENTIFIER, TokenType.STRING)
        if is_syntax and is_bare:
            continue
        if name not in ALLOWED[dialect] and token.start not in new_names:
            raise _no_function(token.text)


def _may_name(token: Token) -> bool:
    if token.token_type in (TokenType.IDENTIFIER, TokenType.STRING):
        return True
    return token.text[:1].isalpha() or token.text[:1] == "_"


def _new_names(tree: Node) -> frozenset[int]:
    """Return where `name (column, …)` names a part of the query, and calls nothing."""
    return frozenset(
        node.this.meta["start"]
        for node in tree.find_all(exp.TableAlias)
        if node.this is not None and "start" in node.this.meta
    )


# --- grammar -----------------------------------------------------------------------------------


def _only_tree(trees: Sequence[Node]) -> Node:
    if len(trees) != 1 or trees[0] is None:
        raise _forbidden("A query is one statement.", "query")
    return trees[0]


def _check_parts(tree: Node) -> None:
    for node in tree.walk():
        _check_part(node)
    if not isinstance(tree, exp.Select | exp.SetOperation):
        raise _forbidden("A query is one SELECT, or WITH … SELECT.", "query")


def _check_part(node: Node) -> None:
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
    if isinstance(node, exp.DataType) and getattr(node.this, "name", None) not in _TYPES:
        raise _forbidden(f"The type {_shown(node.sql())} is refused.", node.sql())


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

    def of(self, node: Node, queries: Mapping[str, Shape], outer: Mapping[str, Shape]) -> Shape:
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
        self, node: exp.Select, queries: Mapping[str, Shape], outer: Mapping[str, Shape]
    ) -> Shape:
        sources: dict[str, Shape] = {}
        for part in _own_parts(node):
            if isinstance(part, exp.Table):
                sources[part.alias_or_name.lower()] = self._of_table(part, queries)
            elif isinstance(part, exp.Subquery) and isinstance(part.parent, exp.From | exp.Join):
                sources[part.alias_or_name.lower()] = self.of(part, queries, outer)
        around = {**outer, **sources}
        for part in _own_parts(node):
            if isinstance(part, exp.Column):
                self._check_column(part, around)
            elif isinstance(part, exp.Query) and not isinstance(part, exp.Table):
                self.of(part, queries, around)
        types: dict[str, Column | None] = {}
        for projection in node.expressions:
            types |= _projected(projection, sources)
        return types

    def _of_table(self, node: exp.Table, queries: Mapping[str, Shape]) -> Shape:
        if any(node is own for own in self.nodes):
            return self.tables[_name(node.this)].columns
        return queries.get(node.name.lower(), {})

    def _check_column(self, node: exp.Column, around: Mapping[str, Shape]) -> None:
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


def _projected(node: Node, sources: Mapping[str, Shape]) -> Shape:
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


def _rebuilt(
    text: str, tokens: Sequence[Token], renamed: Mapping[int, str], dialect: Dialect
) -> tuple[str, tuple[int, ...]]:
    """Return the query's text from its words, and the numbers of its parameters."""
    parts: list[str] = []
    numbers: list[int] = []
    end = -1
    for position, token in enumerate(tokens):
        number = _parameter(tokens, position)
        if number == _SECOND_HALF:
            end = token.end
            continue
        # A letter that touches a quote changes what is between the quotes: E'\x41', U&"\005fkv".
        is_quoted = token.token_type in (TokenType.STRING, TokenType.IDENTIFIER)
        if parts and (is_quoted or token.start > end + 1):
            parts.append(" ")
        if number is not None:
            numbers.append(number)
        parts.append("?" if number else renamed.get(token.start) or _written(text, token, dialect))
        end = token.end
    return "".join(parts), tuple(numbers)


_SECOND_HALF = 0


def _parameter(tokens: Sequence[Token], position: int) -> int | None:
    """Return the number of a parameter; 0 for the number itself, where that is a second word."""
    token = tokens[position]
    if token.token_type is TokenType.VAR and token.text.startswith("$"):
        return _numbered(token.text[1:])
    if token.token_type is TokenType.PARAMETER and token.text == "$":
        return _numbered(tokens[position + 1].text if position + 1 < len(tokens) else "")
    before = tokens[position - 1] if position else None
    if before is not None and before.token_type is TokenType.PARAMETER:
        return _SECOND_HALF
    return None


def _numbered(digits: str) -> int:
    if (
        not digits.isdecimal()
        or not digits.isascii()
        or not 0 < int(digits) <= MAX_QUERY_PARAMETERS
    ):
        raise invalid(
            f"'${digits[:40]}' is not a parameter: expected $1 to ${MAX_QUERY_PARAMETERS}.",
            field="query",
        )
    return int(digits)


def _written(text: str, token: Token, dialect: Dialect) -> str:
    if token.token_type is TokenType.STRING:
        return "'" + token.text.replace("'", "''") + "'"
    if token.token_type is TokenType.IDENTIFIER:
        # SQLite takes a name in double quotes that nothing has for a text.
        if dialect is Dialect.SQLITE:
            return "`" + token.text.replace("`", "``") + "`"
        return quoted(token.text)
    # Names without quotes have no case; in small letters the result has the same ones everywhere.
    written = text[token.start : token.end + 1].lower()
    if "?" in written or "/*" in written or "--" in written or "\0" in written:
        raise invalid(
            f"{_shown(written)} is refused: write parameters as $1, $2 and so on.", field="query"
        )
    return written


# --- errors ------------------------------------------------------------------------------------


def _shown(text: str) -> str:
    return f"'{text[:80]}'"


def _forbidden(message: str, got: str) -> RequestError:
    return RequestError(ErrorCode.FORBIDDEN, message, field="query", got=got[:80])


def _no_function(name: str) -> RequestError:
    return _forbidden(
        f"The function {_shown(name)} is refused: it is not among those that a plugin may call.",
        name,
    )


def _unreadable(error: SqlglotError) -> RequestError:
    found = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
    line, column = found.get("line"), found.get("col")
    place = f" at line {line}, column {column}" if line else ""
    return invalid(
        f"The query cannot be read{place}: it is not SQL as this engine has it.",
        field="query",
        line=line,
        column=column,
    )
