"""Rows that satisfy a table's constraints, made up from its declaration (SPEC 4, 5.6).

A migration that is tried on empty tables hides what it does to rows. Candidates for each column
come from its type and from the CHECKs that mention it; whether they satisfy the constraints, the
engine says: a row that it refuses teaches which candidates to prefer for the next try.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from dbservice.engine.errors import EngineError, StatementTimeoutError, UnavailableError
from dbservice.engine.steps import Statement, Steps
from dbservice.migrate.structure import Column, ForeignKey, Structure, Table
from dbservice.sqltext.dialects import Dialect, quoted
from dbservice.sqltext.lexer import Kind, Token, tokens

ROWS = 6
"""Rows that every table gets."""

_TRIES = 60
_LONGEST = 2_000
_DATES = ("2026-01-02T03:04:05.000000Z", "1999-12-31T23:59:59.000000Z", "2031-07-01T00:00:00Z")
_TEXTS = ("a", "Keep circulating the tapes", 'l\'été "quoted" -- not a comment; 100%', "", "Zoë")
_JSON = ("[]", '{"a": [1, 2.5, null, true]}', '["été"]')
_LETTERS = ("abcdefghij", "defghijabc", "ABCDEFGHIJ", "DEFGHIJABC", "GHIJABCDEF", "0123456789")
_FILLERS = ("ab", "cde", "x7", "QR", "7", "m-n")
_PATTERNS = frozenset({"LIKE", "ILIKE", "GLOB"})


class _Omitted:
    """Leaves a column to its default."""


_OMITTED = _Omitted()


def fill(structure: Structure, dialect: Dialect, *, seed: int = 0) -> Steps[dict[str, str]]:
    """Insert rows into every table, parents before children.

    Args:
        structure: the tables.
        dialect: of the engine.
        seed: the same seed makes the same rows.

    Returns:
        The tables that took no row at all, with the engine's last reason.
    """
    refused: dict[str, str] = {}
    for table in structure.parents_first():
        maker = _Maker(table, dialect, random.Random(f"{seed} {table.name}"))  # noqa: S311
        taken = 0
        for number in range(ROWS):
            taken += yield from maker.insert(number)
        if not taken:
            refused[table.name] = maker.reason
    return refused


class _Maker:
    """Makes the rows of one table, and remembers what the engine refused."""

    def __init__(self, table: Table, dialect: Dialect, dice: random.Random) -> None:
        self._table = table
        self._dialect = dialect
        self._dice = dice
        self._unique = {name for key in table.unique_keys for name in key}
        self._of_keys = {name: key for key in table.foreign_keys for name in key.columns}
        self._columns = [column for column in table.columns.values() if not column.generated]
        self._pools = {
            column.name: list(_candidates(column, table, dialect)) for column in self._columns
        }
        self._blame: Counter[tuple[str, str]] = Counter()
        self._tried = 0
        self.reason = ""

    def insert(self, number: int) -> Steps[bool]:
        """Insert one row; return whether the engine took one in the end."""
        parents = yield from self._parents()
        for _ in range(_TRIES):
            self._tried += 1
            row = self._row(number, parents)
            error = yield from self._attempt(row)
            if error is None:
                return True
            self._learn(row, error)
        return False

    def _row(self, number: int, parents: dict[ForeignKey, list[tuple[Any, ...]]]) -> dict[str, str]:
        row: dict[str, str] = {}
        for column in self._columns:
            if column.name in self._of_keys:
                continue
            value = self._value(column, number)
            if not isinstance(value, _Omitted):
                row[column.name] = literal(value, self._dialect)
        for key, found in parents.items():
            referred = self._dice.choice(found) if found else (None,) * len(key.columns)
            row |= {
                name: literal(value, self._dialect)
                for name, value in zip(key.columns, referred, strict=True)
            }
        return row

    def _value(self, column: Column, number: int) -> Any:
        if column.name == self._table.counts_itself:
            return _OMITTED
        if number == 0 and column.default is not None and self._tried % 2:
            return _OMITTED
        may_be_null = not column.required and not column.key
        if may_be_null and self._dice.random() < 0.2:
            return None
        pool = self._pools[column.name]
        if column.name in self._unique:
            pool = [*pool, *_fresh(column, self._tried, self._dice)]
        weights = [
            1 / (1 + self._blame[column.name, literal(value, self._dialect)]) ** 2 for value in pool
        ]
        return self._dice.choices(pool, weights)[0]

    def _parents(self) -> Steps[dict[ForeignKey, list[tuple[Any, ...]]]]:
        """Return what each foreign key may refer to."""
        found = {}
        for key in self._table.foreign_keys:
            table = quoted(self._table.full_name.removesuffix(self._table.name) + key.table)
            columns = ", ".join(map(quoted, key.referred))
            try:
                asked = yield Statement(f"SELECT {columns} FROM {table} LIMIT 50")  # noqa: S608
            except (UnavailableError, StatementTimeoutError):
                raise
            except EngineError:
                continue  # it refers to a table that is not there, which SQLite permits
            found[key] = asked.rows
        return found

    def _attempt(self, row: dict[str, str]) -> Steps[EngineError | None]:
        names, values = ", ".join(map(quoted, row)), ", ".join(row.values())
        what = f"({names}) VALUES ({values})" if row else "DEFAULT VALUES"
        table = quoted(self._table.full_name)
        yield Statement("SAVEPOINT generated")
        try:
            yield Statement(f"INSERT INTO {table} {what}")
        except (UnavailableError, StatementTimeoutError):
            raise
        except EngineError as error:
            yield Statement("ROLLBACK TO SAVEPOINT generated")
            yield Statement("RELEASE SAVEPOINT generated")
            return error
        yield Statement("RELEASE SAVEPOINT generated")
        return None

    def _learn(self, row: dict[str, str], error: EngineError) -> None:
        """Put the blame on the columns that the engine names, or on all."""
        self.reason = str(error)
        words = set(re.findall(r"\w+", self.reason))
        # The engine may name the constraint; its expression tells which columns it is about.
        words |= {w for c in self._table.checks for w in re.findall(r"\w+", c) if c in self.reason}
        named = [name for name in row if name in words] or list(row)
        self._blame.update((name, row[name]) for name in named)


def _fresh(column: Column, number: int, dice: random.Random) -> Iterator[Any]:
    """Yield values that no row has yet, several times, so that they are likely to be picked."""
    if _is(column, "INT", "NUM", "DEC", "SERIAL"):
        yield from (number, number + 1_000, number * 7 + dice.randrange(5))
    elif _is(column, "CHAR", "TEXT", "CLOB") or not column.type:
        yield from (f"x{number}", f"text-{number}", f"{number}")


def _candidates(column: Column, table: Table, dialect: Dialect) -> Iterator[Any]:
    yield from _by_type(column)
    for check in table.checks:
        found = list(tokens(check, dialect))
        if any(token.is_name and token.name.lower() == column.name.lower() for token in found):
            yield from _by_check(column, found)


def _by_type(column: Column) -> Iterator[Any]:
    if _is(column, "JSON"):
        yield from _JSON
    elif _is(column, "BOOL"):
        yield from (True, False)
    elif _is(column, "TIMESTAMP", "DATETIME"):
        yield from _DATES
    elif _is(column, "DATE"):
        yield from (date[:10] for date in _DATES)
    elif _is(column, "INT", "SERIAL"):
        yield from (1, 7, 42, 1_700_000_000, 0, -3)
    elif _is(column, "REAL", "FLOA", "DOUB", "NUM", "DEC"):
        yield from (0.5, 1.0, 12.25, 0.0, -2.75)
    elif _is(column, "UUID"):
        yield from (f"00000000-0000-4000-8000-{number:012}" for number in range(9))
    elif _is(column, "BLOB", "BYTEA"):
        yield from (b"", b"\x00\x01\xff")
    else:
        yield from _sized(column)


def _sized(column: Column) -> Iterator[str]:
    length = re.search(r"\((\d+)\)", column.type)
    longest = int(length[1]) if length else None
    yield from (text[:longest] for text in _TEXTS)
    if longest:
        yield "x" * min(longest, _LONGEST)


def _by_check(column: Column, found: Sequence[Token]) -> Iterator[Any]:
    """Yield the literals of a CHECK, their neighbours, texts as long as it says, and matches."""
    words = {token.keyword for token in found}
    for index, token in enumerate(found):
        if token.kind is Kind.STRING:
            before = found[index - 1].keyword if index else ""
            if before in _PATTERNS:
                yield from (_matching(token.value, filler) for filler in _FILLERS)
            else:
                yield token.value
        elif token.kind is Kind.NUMBER:
            yield from _near(token.text, negative=index > 0 and found[index - 1].text == "-")
    if words & {"LENGTH", "CHAR_LENGTH", "OCTET_LENGTH"}:
        yield from _of_lengths(found)
    if words & {"JSON_VALID", "JSON_TYPE", "JSON"}:
        yield from _JSON
    if "UPPER" in words:
        yield "ABC"
    if words & {"DATE", "DATETIME", "STRFTIME", "JULIANDAY"} and not _is(column, "INT", "REAL"):
        yield from (_DATES[0][:10], f"{_DATES[0][:10]} 03:04:05")


def _near(number: str, *, negative: bool) -> Iterator[int | float]:
    try:
        value: int | float = int(number, 0)
    except ValueError:
        value = float(number.replace("_", ""))
    value = -value if negative else value
    yield from (value, value + 1, value - 1)


def _of_lengths(found: Sequence[Token]) -> Iterator[str]:
    """Yield texts about as long as the numbers say: small letters, capitals and digits."""
    for token in found:
        if token.kind is Kind.NUMBER and token.text.isdigit():
            for length in (int(token.text), int(token.text) - 1, int(token.text) + 1):
                if 0 < length <= _LONGEST:
                    yield from (_long(letters, length) for letters in _LETTERS)


def _long(letters: str, length: int) -> str:
    return (letters * (length // len(letters) + 1))[:length]


def _matching(pattern: str, filler: str) -> str:
    """Return a text that a LIKE or GLOB pattern takes, as far as that is easily said."""
    text = re.sub(r"\[\^[^\]]*\]", "~", pattern)
    text = re.sub(r"\[(.)[^\]]*\]", r"\1", text)
    return re.sub(r"[?_]", "x", re.sub(r"[*%]", filler, text))


def _is(column: Column, *words: str) -> bool:
    return any(word in column.type for word in words)


def literal(value: Any, dialect: Dialect) -> str:
    """Return a value as it stands in SQL; the engine gives it the type of its column."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).upper()
        case int() | float():
            return repr(value)
        case bytes():
            return f"X'{value.hex()}'" if dialect is Dialect.SQLITE else f"'\\x{value.hex()}'"
        case _:
            return "'" + str(value).replace("'", "''") + "'"
