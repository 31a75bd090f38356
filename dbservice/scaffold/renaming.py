"""Names of an existing database as names that the service takes (SPEC 2.1)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache

from dbservice.protocol.limits import MAX_IDENTIFIER
from dbservice.protocol.names import IDENTIFIER
from dbservice.sqltext.dialects import Dialect, quoted
from dbservice.sqltext.lexer import Kind, Token, joined, tokens
from dbservice.sqltext.policy import POLICIES

_OF_ENGINES = ("sqlite_", "pg_")


class Names:
    """Gives every name a valid one that nothing else of its kind has.

    Args:
        max_length: how many characters a name may have.

    Attributes:
        given: the new name by the old one, in the order of asking.
    """

    def __init__(self, max_length: int = MAX_IDENTIFIER) -> None:
        self._max_length = max_length
        self._taken: set[str] = set()
        self.given: dict[str, str] = {}

    def give(self, name: str) -> str:
        """Return the new name for `name`."""
        base = valid(name)[: self._max_length].rstrip("_")
        new, number = base, 2
        while new in self._taken:
            end = f"_{number}"
            new, number = base[: self._max_length - len(end)].rstrip("_") + end, number + 1
        self._taken.add(new)
        self.given[name] = new
        return new

    @property
    def changed(self) -> dict[str, str]:
        """The names that are more than written in lower case."""
        return {old: new for old, new in self.given.items() if old.lower() != new}


def valid(name: str) -> str:
    """Return a well-formed name that resembles `name`."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    words = [word for word in re.split(r"[^a-z0-9]+", plain) if word]
    new = "_".join(words) or "unnamed"
    if not IDENTIFIER.fullmatch(new) or new.startswith(_OF_ENGINES):
        new = f"x_{new}"
    return "information" if new == "information_schema" else new


def printable(text: str) -> str:
    """Return text from a foreign file as it may be shown: one line, nothing for the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def spelled(name: str) -> str:
    """Return a valid name as it stands in SQL: quoted if it is a word of either engine."""
    return quoted(name) if name in _reserved() else name


def rewritten(sql: str, names: Mapping[str, str]) -> str:
    """Return SQL for SQLite with other names in it, and without comments.

    A name in double quotes that means nothing is a string to SQLite, and is written as one.

    Args:
        sql: an expression or a command.
        names: new names by old ones in lower case.
    """
    parts, position, is_label = [], 0, False
    for token in tokens(sql, Dialect.SQLITE):
        parts += [_gap(sql[position : token.start])]
        if is_label and token.kind is Kind.QUOTED_NAME:
            parts += [quoted(names.get(token.name.lower(), token.name))]
        else:
            parts += [_respelled(token, names) if token.is_name else token.text]
        position, is_label = token.end, token.keyword == "AS"
    return joined(parts)


def _gap(text: str) -> str:
    """Return what stands between two tokens without its comments.

    A comment could be a line that starts a section of the migration file.
    """
    if not text.strip():
        return text
    return "\n" if "\n" in text else " "


def _respelled(token: Token, names: Mapping[str, str]) -> str:
    new = names.get(token.name.lower())
    if token.kind is Kind.QUOTED_NAME:
        if new is None:
            return "'" + token.name.replace("'", "''") + "'"
        return spelled(new)
    if new is None:
        return token.text
    # PostgreSQL would compute these words instead of reading the column.
    is_computed = new in POLICIES[Dialect.POSTGRESQL].nameless_calls or new in _MOMENTS
    return quoted(new) if is_computed else token.text if new == token.name else spelled(new)


_MOMENTS = ("localtime", "localtimestamp")


@cache
def _reserved() -> frozenset[str]:
    from sqlalchemy.dialects import postgresql, sqlite

    both = (postgresql.dialect(), sqlite.dialect())  # type: ignore[no-untyped-call]
    return frozenset().union(*(one.identifier_preparer.reserved_words for one in both))
