"""SQL as tokens and commands (SPEC 4).

Both engines' rules for quotes, comments and bodies are followed exactly, because everything above
(where a command ends, which words are table names, what is refused) stands on them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from dbservice.sqltext.dialects import Dialect


class SqlError(Exception):
    """SQL that cannot be taken as it stands.

    Args:
        message: what is wrong and what to write instead, for the author of the SQL.
        line: where, counted from 1 in the whole file.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class Kind(Enum):
    """What a token is. Blanks and comments are no tokens."""

    WORD = auto()
    QUOTED_NAME = auto()
    STRING = auto()
    NUMBER = auto()
    PARAMETER = auto()
    MARK = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of SQL.

    Attributes:
        kind: what it is.
        text: exactly what stands in the source.
        line: the line on which it starts, counted from 1.
        start: its offset in the source, in characters.
    """

    kind: Kind
    text: str
    line: int
    start: int

    @property
    def end(self) -> int:
        """The offset just after the token."""
        return self.start + len(self.text)

    @property
    def keyword(self) -> str:
        """The word in upper case, or an empty string if this is no bare word."""
        return self.text.upper() if self.kind is Kind.WORD else ""

    @property
    def is_name(self) -> bool:
        """Whether it can name something: a bare word or a quoted name."""
        return self.kind in (Kind.WORD, Kind.QUOTED_NAME)

    @property
    def name(self) -> str:
        """The name as the engine reads it: quotes removed, a bare ASCII word in lower case."""
        if self.kind is Kind.QUOTED_NAME:
            closing = self.text[-1]
            return self.text[1:-1].replace(closing * 2, closing)
        return self.text.lower() if self.text.isascii() else self.text

    @property
    def value(self) -> str:
        """The content of a plain string literal."""
        return self.text[1:-1].replace("''", "'")


_NO_TOKEN = Token(Kind.MARK, "", 0, 0)


def at(tokens: Sequence[Token], index: int) -> Token:
    """Return a token, or one without text before the first and after the last."""
    return tokens[index] if 0 <= index < len(tokens) else _NO_TOKEN


@dataclass(frozen=True, slots=True)
class Command:
    """One SQL command, without its closing semicolon.

    Attributes:
        source: the text the tokens' offsets point into.
        tokens: at least one.
    """

    source: str
    tokens: tuple[Token, ...]

    @property
    def text(self) -> str:
        """The command as it stands in the source, comments between its tokens included."""
        return self.source[self.tokens[0].start : self.tokens[-1].end]

    @property
    def line(self) -> int:
        """The line on which the command starts."""
        return self.tokens[0].line


# Letters, digits and everything beyond ASCII; Python's own \s and \w see Unicode blanks and
# letters where the engines see name characters.
_NAME_START = r"[A-Za-z_\u0080-\U0010ffff]"
_NAME_CHARACTER = r"[A-Za-z0-9_$\u0080-\U0010ffff]"
_NAME_REST = rf"{_NAME_CHARACTER}*"
_BLANK = r"(?P<blank>[ \t\r\n\f]+|--[^\n]*)"
_NUMBER = r"(?P<number>0[xX][0-9a-fA-F_]+|(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?)"
_MARK = r"(?P<mark>[!-/:-@\[-^`{-~])"

_SQLITE = re.compile(
    "|".join(
        (
            _BLANK,
            r"(?P<comment>/\*)",
            r"(?P<string>[xX]?'(?:[^']|'')*+')",
            r"""(?P<quoted>"(?:[^"]|"")*+"|`(?:[^`]|``)*+`|\[[^\]]*\])""",
            r"""(?P<unclosed>[xX]?'|"|`|\[)""",
            rf"(?P<parameter>\?\d*|[:@#$]{_NAME_CHARACTER}+)",
            _NUMBER,
            rf"(?P<word>{_NAME_START}{_NAME_REST})",
            _MARK,
        )
    )
)
_POSTGRESQL = re.compile(
    "|".join(
        (
            _BLANK,
            r"(?P<comment>/\*)",
            r"(?P<string>[eE]'(?:[^'\\]|\\.|'')*+'|(?:[bBnNxX]|[uU]&)?'(?:[^']|'')*+')",
            r"""(?P<quoted>(?:[uU]&)?"(?:[^"]|"")*+")""",
            r"""(?P<unclosed>(?:[bBeEnNxX]|[uU]&)?'|(?:[uU]&)?")""",
            rf"(?P<body>\$(?:{_NAME_START}[A-Za-z0-9_\u0080-\U0010ffff]*)?\$)",
            r"(?P<parameter>\$\d+)",
            _NUMBER,
            rf"(?P<word>{_NAME_START}{_NAME_REST})",
            _MARK,
        )
    ),
    re.DOTALL,
)
_IN_A_WORD = re.compile(_NAME_CHARACTER)
_GOES_ON = re.compile(rf"{_NAME_CHARACTER}|['\"]")
_PATTERN = {Dialect.SQLITE: _SQLITE, Dialect.POSTGRESQL: _POSTGRESQL}
_OPENERS = {
    Dialect.SQLITE: ("'", '"', "`", "[", "/*"),
    Dialect.POSTGRESQL: ("'", '"', "$", "/*"),
}
_KINDS = {
    "word": Kind.WORD,
    "quoted": Kind.QUOTED_NAME,
    "string": Kind.STRING,
    "body": Kind.STRING,
    "number": Kind.NUMBER,
    "parameter": Kind.PARAMETER,
    "mark": Kind.MARK,
}


def tokens(source: str, dialect: Dialect, *, first_line: int = 1) -> Iterator[Token]:
    """Yield the tokens of `source`.

    Args:
        source: SQL, with newlines normalised.
        dialect: whose rules of quoting to follow.
        first_line: the number of the first line, where `source` is part of a file.

    Raises:
        SqlError: a quote, comment or dollar quote is not closed, or a character belongs nowhere.
    """
    pattern = _PATTERN[dialect]
    position, line = 0, first_line
    while position < len(source):
        match = pattern.match(source, position)
        if match is None:
            raise SqlError(f"the character {source[position]!r} has no place in SQL", line)
        group = match.lastgroup or ""
        end = _end(source, match, group, dialect, line)
        text = source[position:end]
        if group in _KINDS:
            yield Token(_KINDS[group], text, line, position)
        line += text.count("\n")
        position = end


def joined(parts: Iterable[str]) -> str:
    """Return SQL that is made of tokens and what stood between them, some of them replaced.

    A quoted name may touch the word beside it, as in `FROM"a"WHERE`; what is written in its place
    may not, and gets a blank.
    """
    text: list[str] = []
    for part in filter(None, parts):
        if text and _IN_A_WORD.match(text[-1][-1]) and _GOES_ON.match(part):
            text.append(" ")
        text.append(part)
    return "".join(text)


def is_open(source: str, dialect: Dialect) -> bool:
    """Whether `source` ends inside a string, a quoted name or a block comment."""
    if not any(opener in source for opener in _OPENERS[dialect]):
        return False
    try:
        deque(tokens(source, dialect), maxlen=0)
    except SqlError:
        return True
    return False


def _end(source: str, match: re.Match[str], group: str, dialect: Dialect, line: int) -> int:
    """Return the offset after the token that `match` begins."""
    if group == "comment":
        return _comment_end(source, match.start(), dialect, line)
    if group == "body":
        closing = source.find(match.group(), match.end())
        if closing < 0:
            raise SqlError(f"the {match.group()} that opens here is never closed", line)
        return closing + len(match.group())
    if group == "unclosed":
        raise SqlError(f"the quote {match.group()} that opens here is never closed", line)
    if group == "quoted" and match.group()[0] in "uU":
        raise SqlError('names written U&"..." are refused: write the name itself', line)
    return match.end()


def _comment_end(source: str, start: int, dialect: Dialect, line: int) -> int:
    """Return the offset after the block comment at `start`; PostgreSQL nests them."""
    ends = r"/\*|\*/" if dialect is Dialect.POSTGRESQL else r"\*/"
    depth = 1
    for match in re.compile(ends).finditer(source, start + 2):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    raise SqlError("the comment /* that opens here is never closed", line)


def commands(source: str, dialect: Dialect, *, first_line: int = 1) -> list[Command]:
    """Split `source` into commands. Empty ones are left out; the last needs no semicolon.

    Raises:
        SqlError: as `tokens()`, and for a trigger or body without its END.
    """
    found: list[Command] = []
    collected: list[Token] = []
    body = _Body(dialect)
    for token in tokens(source, dialect, first_line=first_line):
        if token.text == ";" and not body.is_open:
            if collected:
                found.append(Command(source, tuple(collected)))
            collected, body = [], _Body(dialect)
            continue
        collected.append(token)
        body.take(token)
    if body.is_open:
        raise SqlError(body.complaint, collected[0].line)
    if collected:
        found.append(Command(source, tuple(collected)))
    return found


class _Body:
    """Tells whether a semicolon here stands inside a command.

    SQLite: from CREATE TRIGGER to an END that follows a semicolon, which is SQLite's own rule and
    needs no counting of CASE. PostgreSQL: between parentheses (CREATE RULE), and between BEGIN
    ATOMIC and its END.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._head: list[str] = []
        self._previous = ""
        self._trigger = False
        self._depth = 0
        self._parentheses = 0

    @property
    def is_open(self) -> bool:
        return self._trigger or self._depth > 0 or self._parentheses > 0

    @property
    def complaint(self) -> str:
        if self._trigger:
            return "the trigger that starts here is never closed: expected '; END;'"
        if self._depth:
            return "the BEGIN ATOMIC of this command is never closed: expected 'END;'"
        return "a parenthesis of this command is never closed: expected ')'"

    def take(self, token: Token) -> None:
        word = token.keyword or token.text
        if self._dialect is Dialect.SQLITE:
            self._take_sqlite(word)
        else:
            self._take_postgresql(word)
        self._previous = word

    def _take_sqlite(self, word: str) -> None:
        if len(self._head) < 3:
            self._head.append(word)
            started = [entry for entry in self._head if entry not in ("TEMP", "TEMPORARY")]
            self._trigger = started[:2] == ["CREATE", "TRIGGER"]
        elif self._trigger and word == "END" and self._previous == ";":
            self._trigger = False

    def _take_postgresql(self, word: str) -> None:
        if word in ("(", ")"):
            self._parentheses = max(0, self._parentheses + (1 if word == "(" else -1))
        elif word == "ATOMIC" and self._previous == "BEGIN":
            self._depth = 1
        elif self._depth and word in ("CASE", "END"):
            self._depth += 1 if word == "CASE" else -1
