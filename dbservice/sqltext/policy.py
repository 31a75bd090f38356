"""What SQL that a plugin wrote may say: one policy for each engine, asked by every reader.

Two readers take such SQL: migrations (`dbservice.sqltext.qualify`) and the SQL tier
(`dbservice.sql.query`). Each knows its own grammar and the commands that it takes (all but those
in `keywords`; one SELECT); what is a leak is decided here, for both. The rules look at words
wherever they stand, because no reader knows every place in which an engine computes. On PostgreSQL
that is more than calls: `x::type`, `CAST(x AS type)`, `type 'x'`, words such as `current_user`, and
a dot behind a value: `(x).f` and, where `g` is a function in FROM, `g.f` call `f`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from dbservice.sqltext import functions, types
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.keywords import BEFORE_PARENTHESIS, BEFORE_STRING, words
from dbservice.sqltext.lexer import Kind, SqlError, Token, at

_FIELDS = words("key value ordinality")
"""The columns of the allowed table functions."""

_ENGINE_PREFIXES = ("sqlite_", "pg_", "pragma_")
_ENGINE_NAMES = words("information_schema dbstat")
"""Names of the engines' own tables and functions: of both on both, since a plugin moves."""


class ForbiddenSqlError(SqlError):
    """SQL that could be read, and may not run.

    Args:
        message: what is refused and why, for the author of the SQL.
        line: where, counted from 1 in the whole text.
        word: what is refused.
    """

    def __init__(self, message: str, line: int, word: str) -> None:
        super().__init__(message, line)
        self.word = word


@dataclass(frozen=True, slots=True)
class Policy:
    """What SQL that a plugin wrote may say on one engine.

    Attributes:
        dialect: the engine.
        functions: lower-case names of the functions that may be called.
        types: lower-case first words of the types that may be named; None allows every word.
        types_with_arguments: those that may stand before a parenthesis.
        nameless_calls: words that the engine computes without parentheses, and that may not stand
            anywhere unless they are quoted, or a column or a label for sure.
        engine_names: names of the engine's own that no plugin may write, quoted or not.
    """

    dialect: Dialect
    functions: frozenset[str]
    types: frozenset[str] | None
    types_with_arguments: frozenset[str]
    nameless_calls: frozenset[str]
    engine_names: frozenset[str]

    def check_names(
        self,
        tokens: Sequence[Token],
        owns: Callable[[str], bool],
        *,
        advice: str = "write the bare name",
        exempt: Collection[str] = (),
    ) -> None:
        """Refuse names that are not the plugin's, whatever they name and wherever they stand.

        Args:
            tokens: of the whole command.
            owns: tells whether a name with `__` in it, in lower case, is the plugin's own.
            advice: what to write instead of such a name.
            exempt: names of the engine for which the reader has rules of its own.

        Raises:
            ForbiddenSqlError: the first word that is refused.
        """
        for token in tokens:
            if token.is_name:
                self._check_name(token, owns, advice, exempt)

    def _check_name(
        self, token: Token, owns: Callable[[str], bool], advice: str, exempt: Collection[str]
    ) -> None:
        name = folded(token)
        if name.startswith("_"):
            raise _forbidden(
                token, "starts with '_': such names belong to the service, choose another"
            )
        if name in exempt:
            return
        if name.startswith(_ENGINE_PREFIXES) or name in self.engine_names:
            raise _forbidden(token, "belongs to the database engine, not to a plugin")
        if "__" in name and not owns(name):
            raise _forbidden(token, f"is outside this plugin's namespace: {advice}")

    def check_computed(self, tokens: Sequence[Token]) -> None:
        """Refuse what PostgreSQL computes without a call that looks like one.

        Args:
            tokens: of the whole command.

        Raises:
            ForbiddenSqlError: the first word that is refused.
        """
        if self.dialect is Dialect.POSTGRESQL:
            for index in range(len(tokens)):
                self._check_computed(tokens, index)

    def _check_computed(self, tokens: Sequence[Token], index: int) -> None:
        token = tokens[index]
        before, after = at(tokens, index - 1), at(tokens, index + 1)
        is_bare = token.kind is Kind.WORD
        if is_bare and folded(token) in self.nameless_calls and not _comes_before_name(before):
            raise _forbidden(
                token,
                "is something that the engine computes and that is no plugin's business. A column "
                f'of that name is written "{folded(token)}", or table.{folded(token)}',
            )
        if token.text == before.text == ":":
            self.check_type(tokens, index + 1)
        elif token.keyword == "CAST" and after.text == "(":
            self.check_type(tokens, _after_as(tokens, index + 1))
        elif token.is_name and after.kind is Kind.STRING and token.keyword not in BEFORE_STRING:
            self.check_type(tokens, index)  # type 'x'
        elif token.text == "." and _ends_value(before) and after.is_name:
            self.check_field(after)

    def check_field(self, token: Token, columns: Collection[str] = ()) -> None:
        """Refuse `g.name` where `g` is a value, or a function in FROM, that has no such column.

        Args:
            token: the name after the dot.
            columns: names that the query itself gives to the function and its columns.

        Raises:
            ForbiddenSqlError: it would call the function `name` with the value of `g`.
        """
        known = _FIELDS | set(columns)
        if self.dialect is Dialect.POSTGRESQL and folded(token) not in known:
            raise _forbidden(
                token,
                "is no column here, so PostgreSQL would take it for a function: write calls with "
                "parentheses, and name the columns of a function in FROM with AS name (column)",
            )

    def is_call(self, tokens: Sequence[Token], index: int) -> bool:
        """Whether a word and the parenthesis behind it may be a call, as far as words tell."""
        if at(tokens, index + 1).text != "(":
            return False
        token = at(tokens, index)
        return token.is_name and token.keyword not in BEFORE_PARENTHESIS

    def check_call(self, token: Token) -> None:
        """Refuse a call, or a type with arguments, that is not on the list.

        Raises:
            ForbiddenSqlError: the function may not be called.
        """
        name = folded(token)
        if name not in self.functions and name not in self.types_with_arguments:
            raise ForbiddenSqlError(
                f"'{name[:80]}' is not among the functions and types that a plugin may use on "
                f"{self.dialect}",
                token.line,
                token.text,
            )

    def check_type(self, tokens: Sequence[Token], index: int) -> None:
        """Refuse a type that is not on the list.

        Args:
            tokens: of the whole command.
            index: where the name of the type starts.

        Raises:
            ForbiddenSqlError: the type may not be named.
        """
        if index >= len(tokens):
            return
        token = tokens[index]
        if not token.is_name or at(tokens, index + 1).text == "." or not self.has_type(token.name):
            raise ForbiddenSqlError(
                f"the type '{token.text[:80]}' is not among those that a plugin may use on "
                f"{self.dialect}",
                token.line,
                token.text,
            )

    def has_type(self, name: str) -> bool:
        """Whether a type may be named, by its first word."""
        return self.types is None or name.lower() in self.types


def folded(token: Token) -> str:
    """Return a name for comparing with lists: SQLite ignores the case of quoted ones, too."""
    return token.name.lower() if token.name.isascii() else token.name


def listed(tokens: Sequence[Token], opening: int) -> set[str]:
    """Return the names in the list of columns that may start at `opening`: `(a, b)`, `(a int)`."""
    if at(tokens, opening).text != "(":
        return set()
    closing = next(i for i in range(opening, len(tokens) + 1) if at(tokens, i).text in (")", ""))
    inside = range(opening + 1, closing)
    return {folded(tokens[i]) for i in inside if tokens[i - 1].text in ("(", ",")}


def _forbidden(token: Token, why: str) -> ForbiddenSqlError:
    return ForbiddenSqlError(f"'{token.name[:80]}' {why}", token.line, token.text)


def _comes_before_name(token: Token) -> bool:
    """Whether only a column (`t.user`) or a label (`AS user`) may stand behind the token."""
    return token.text.upper() in (".", "AS")


def _ends_value(token: Token) -> bool:
    """Whether the token ends a value that a dot may follow, other than a name."""
    return token.kind in (Kind.STRING, Kind.PARAMETER) or token.text in (")", "]")


def _after_as(tokens: Sequence[Token], opening: int) -> int:
    """Return the index of the type in `CAST(x AS type)`, whose parenthesis is at `opening`."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[index].text, 0)
        if depth == 0:
            break
        if depth == 1 and tokens[index].keyword == "AS":
            return index + 1
    return len(tokens)


POLICIES = {
    Dialect.SQLITE: Policy(
        Dialect.SQLITE,
        functions.ALLOWED[Dialect.SQLITE],
        types.ALLOWED[Dialect.SQLITE],
        types.WITH_ARGUMENTS[Dialect.SQLITE],
        nameless_calls=frozenset(),
        engine_names=_ENGINE_NAMES,
    ),
    Dialect.POSTGRESQL: Policy(
        Dialect.POSTGRESQL,
        functions.ALLOWED[Dialect.POSTGRESQL],
        types.ALLOWED[Dialect.POSTGRESQL],
        types.WITH_ARGUMENTS[Dialect.POSTGRESQL],
        nameless_calls=words(
            """
            current_catalog current_role current_schema current_user session_user system_user user
            """
        ),
        engine_names=_ENGINE_NAMES
        | words(
            """
            regclass regcollation regdictionary regnamespace regoper regoperator regproc
            regprocedure regrole regtype
            """
        ),
    ),
}
"""The policy of each engine."""
