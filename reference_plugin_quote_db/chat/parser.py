r"""What users type, taken apart: `!quote add "some text" Author`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from reference_plugin_quote_db.errors import ValidationError

COMMAND: Final = "!quote"

_NUMBER = re.compile(r"#?([0-9]{1,19})")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\s+(.*))?', re.DOTALL)
_CURLY = re.compile(r"^“([^”]*)”(?=\s|$)")
_ATTRIBUTED = re.compile(r"(?:(.*)\s)?--(?:\s+(.*))?", re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')


@dataclass(frozen=True, slots=True)
class Command:
    """A line of chat.

    Attributes:
        action: the word behind `!quote`, in lower case.
        arguments: all that is behind the action, as it was typed.
    """

    action: str
    arguments: str = ""


def parse(text: str) -> Command:
    """Return the command in a line of chat, with or without `!quote`.

    Nothing behind `!quote` means `random`, and a number means `get`.
    """
    action, rest = _first_word(text)
    if action.lower() == COMMAND:
        action, rest = _first_word(rest)
    if not action:
        return Command("random")
    if _NUMBER.fullmatch(action) and not rest:
        return Command("get", action)
    return Command(action.lower(), rest)


def text_and_author(arguments: str) -> tuple[str, str | None]:
    r"""Return the text and the author in the arguments of `add`; the author may be None.

    Three spellings: `"text" Author`, `text -- Author`, and text alone. Inside quotes, `\"` and
    `\\` stand for a quote and a backslash. Of several `--` the last one counts.

    Raises:
        ValidationError: if a quote is opened and not closed.
    """
    arguments = _straight(arguments)
    quoted = _QUOTED.fullmatch(arguments)
    if quoted and not _ATTRIBUTED.fullmatch(quoted[2] or ""):
        return _unescaped(quoted[1]), unquoted(quoted[2] or "")
    attributed = _ATTRIBUTED.fullmatch(arguments)
    if attributed:
        return unquoted(attributed[1] or ""), unquoted(attributed[2] or "")
    if arguments.startswith('"') and '"' not in arguments[1:]:
        raise ValidationError('The closing " is missing')
    return arguments, None


def unquoted(text: str) -> str:
    """Return a text without the quotes around it, if it has some."""
    text = text.strip()
    quoted = _QUOTED.fullmatch(text)
    return _unescaped(quoted[1]) if quoted and quoted[2] is None else text


def number(text: str) -> int:
    """Return the number in `42` or `#42`; 0, which no rule allows, if there is none."""
    match = _NUMBER.fullmatch(text)
    return int(match[1]) if match else 0


def number_and_word(text: str) -> tuple[int, str]:
    """Return what stands in `42 funny`; 0 and an empty word, which no rule allows, if they miss."""
    first, rest = _first_word(text)
    return number(first), rest


def join(words: list[str]) -> str:
    """Return one line of arguments; a word that has blanks in it is quoted."""
    return " ".join(_quoted(word) if not word or re.search(r"\s", word) else word for word in words)


def _first_word(text: str) -> tuple[str, str]:
    word, *rest = text.split(maxsplit=1) or [""]
    return word, rest[0].strip() if rest else ""


def _straight(text: str) -> str:
    """Return a text with the curly quotes that phones put around it made straight."""
    return _CURLY.sub(lambda match: _quoted(match[1]), text)


def _quoted(word: str) -> str:
    return '"' + re.sub(r'([\\"])', r"\\\1", word) + '"'


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)
