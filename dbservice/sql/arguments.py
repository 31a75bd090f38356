"""What PostgreSQL's functions may be given in a query (SPEC 3.4).

PostgreSQL neither looks at its statement timeout within one call of these nor limits what they
build: a search takes time of text x needle, and what fills up to a length takes that length. So
lengths and needles are written out, or are parameters, and are short. On SQLite a worker process
bounds both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from dbservice.protocol.errors import Reason, RequestError, invalid
from dbservice.protocol.limits import MAX_FREE_PATTERN
from dbservice.sqltext.lexer import Kind, Token

_LONGEST: Final = 10_000
"""Characters that a text may be filled up to."""

_LENGTHS: Final = {"lpad": 1, "rpad": 1, "repeat": 1}
_SHORT: Final = {
    "strpos": 1,
    "split_part": 1,
    "string_to_array": 1,
    "string_to_table": 1,
    "array_to_string": 1,
    "position": 0,
}
"""Which argument is the length, or the text that is searched for or stands between others."""

_REPLACEMENTS: Final = {"replace": (1, 2), "regexp_replace": (2,)}
"""Which arguments are searched for or put in the place of what is found."""

_SETS: Final = frozenset({"btrim", "ltrim", "rtrim", "translate", "trim"})
"""Which look each character of a text up in another one: all arguments but one are short."""

_SIDES: Final = frozenset({"BOTH", "LEADING", "TRAILING"})

_MOST_JOINED: Final = 16
"""How often a query may write `||`: each makes a text of its own, and all are kept."""

_MOST_ENCODED: Final = 4
"""How often a query may call encode(): it makes a text twice as long, and that of its own again."""

_MATCHES: Final = frozenset({"LIKE", "ILIKE"})
_CONTAINS: Final = frozenset({"@>", "&&", "?|", "?&"})
"""Operators that look each element of what stands behind them up in what stands before."""

_WIDE: Final = re.compile(r"\*|\d{5}")

Words = Sequence[Token]


def check_arguments(words: Words, params: Sequence[Any]) -> None:
    """Refuse what would take much time or memory within one call.

    Args:
        words: of the query.
        params: the values of its parameters.

    Raises:
        RequestError: VALIDATION_ERROR with reason LIMIT; the message says what is taken.
    """
    if sum(word.text == "|" == before.text for before, word in pairwise(words)) > _MOST_JOINED:
        raise _over(f"A query has '||' at most {_MOST_JOINED} times: join more texts with concat()")
    if sum(word.is_name and word.name == "encode" for word in words) > _MOST_ENCODED:
        raise _over(f"A query calls encode() at most {_MOST_ENCODED} times")
    for index, word in enumerate(words):
        operator = words[index - 1].text + word.text if index else ""
        if word.keyword in _MATCHES:
            _check_needle(words[index + 1 : index + 2], params, word.text)
        elif operator == "~~":
            raise _refused("'~~' is written LIKE, and what it looks for is a short text")
        elif operator == "<@":
            raise _refused("'a <@ b' is written 'b @> a', where 'a' is a short text")
        elif operator in _CONTAINS:
            _check_needle(words[index + 1 : index + 2], params, f"'{operator}'")
        elif index + 1 < len(words) and words[index + 1].text == "(" and word.is_name:
            _check_call(word.name, list(_arguments(words, index + 1)), params)


def _check_call(name: str, arguments: Sequence[Words], params: Sequence[Any]) -> None:
    if name in _LENGTHS and len(arguments) > _LENGTHS[name]:
        length = _value(arguments[_LENGTHS[name]], params)
        if not isinstance(length, int) or length > _LONGEST:
            raise _refused(f"The length in {name}() is a number of at most {_LONGEST}")
    if name == "format" and arguments:
        pattern = _value(arguments[0], params)
        if not isinstance(pattern, str) or _WIDE.search(pattern):
            raise _refused("The text in format() has no '*' and no width of five digits")
        _check_needle(arguments[0], params, "format()")
    if name in _SHORT and len(arguments) > _SHORT[name]:
        _check_needle(arguments[_SHORT[name]], params, f"{name}()")
    for place in _REPLACEMENTS.get(name, ()):
        for argument in arguments[place : place + 1]:
            _check_needle(argument, params, f"{name}()")
    if name in _SETS:
        texts = [[word for word in words if word.keyword not in _SIDES] for words in arguments]
        for argument in [text for text in texts if text and not _is_short(text, params)][1:]:
            _check_needle(argument, params, f"{name}()")


def _is_short(words: Words, params: Sequence[Any]) -> bool:
    text = _value(words, params)
    return text is None or (isinstance(text, str) and len(text) <= MAX_FREE_PATTERN)


def _check_needle(words: Words, params: Sequence[Any], where: str) -> None:
    if not _is_short(words, params):
        raise _refused(
            f"What {where} looks for or puts in is a text of at most {MAX_FREE_PATTERN} characters"
        )


def _value(words: Words, params: Sequence[Any]) -> Any:
    """Return the value of an argument that is one literal or parameter; else something odd."""
    if len(words) != 1:
        return ...
    [word] = words
    if word.kind is Kind.STRING:
        return word.text
    if word.kind is Kind.PARAMETER:
        number = word.text.lstrip("$?")
        return params[int(number) - 1] if number and 0 < int(number) <= len(params) else ...
    return int(word.text) if word.kind is Kind.NUMBER and word.text.isdigit() else ...


def _arguments(words: Words, opening: int) -> Iterator[Words]:
    """Yield the arguments of a call; `x IN y` are two of them, and so are `x FROM y`."""
    depth, start = 0, opening + 1
    for index in range(opening, len(words)):
        text = words[index].text
        depth += (text in ("(", "[")) - (text in (")", "]"))
        ends = depth == 1 and (text == "," or words[index].keyword in ("IN", "FROM"))
        if ends or not depth:
            yield words[start:index]
            start = index + 1
        if not depth:
            return


def _refused(what: str) -> RequestError:
    return _over(
        f"{what}, written out or given as a parameter: within one call PostgreSQL cannot be stopped"
    )


def _over(what: str) -> RequestError:
    return invalid(f"{what}.", reason=Reason.LIMIT, field="query")
