"""The rules for what users type. Each function returns the cleaned value or raises.

Lengths are counted in characters (code points), as the CHECKs of the migrations count them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Any, Final
from unicodedata import category, normalize

from dbservice.protocol.limits import MAX_BATCH, MAX_INTEGER
from dbservice.runtime.clock import Clock
from reference_plugin_quote_db import schema
from reference_plugin_quote_db.errors import ValidationError

MAX_TEXT: Final = 1000
MAX_AUTHOR: Final = 100
MAX_USERNAME: Final = 50
MAX_LIMIT: Final = 100
MAX_TAG: Final = 50
UNKNOWN_AUTHOR: Final = "Unknown"

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters, without tab and the line ends."""

_SURROGATES = re.compile(r"[\ud800-\udfff]")
_NOT_FOR_CHAT = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_TAG = re.compile(r"[0-9A-Z_a-z\u00c0-\u1fff\u2070-\u2fff\u3040-\U0010ffff]+")
_HASHTAG = re.compile(f"#({_TAG.pattern})")
_ASCII_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_GIVEN: Final = (schema.TEXT, schema.AUTHOR, schema.ADDED_BY)
_NARROW_AUTHOR = re.compile(r"[a-zA-Z0-9 \-_.']+")


def quote_text(text: str) -> str:
    """Return the text of a quote without surrounding blanks and control characters.

    Raises:
        ValidationError: if it is empty, longer than 1000 characters, or not proper text.
    """
    text = _encodable(text, "Quote text")
    if "\0" in text:
        raise ValidationError("Quote text contains null bytes")
    text = _CONTROLS.sub("", text).strip()
    if not _is_visible(text):
        raise ValidationError("Quote text cannot be empty")
    return _at_most(MAX_TEXT, text, "Quote text")


def author(name: str | None, *, strict: bool = False) -> str:
    """Return the author's name, `Unknown` if there is none.

    Args:
        name: any printable characters, at most 100.
        strict: allow only ASCII letters, digits, blanks and `- _ . '`.

    Raises:
        ValidationError: if the name is too long or has other characters.
    """
    name = _encodable(name or "", "Author name").strip()
    if not name:
        return UNKNOWN_AUTHOR
    _at_most(MAX_AUTHOR, name, "Author name")
    if not _is_printable(name) or (strict and not _NARROW_AUTHOR.fullmatch(name)):
        raise ValidationError("Author name contains invalid characters")
    return name


def username(name: str) -> str:
    """Return the name of a user as given; names are compared with `same_user()`.

    Raises:
        ValidationError: if it is empty, longer than 50 characters, or not printable.
    """
    name = _encodable(name, "Username").strip()
    if not name:
        raise ValidationError("Username cannot be empty")
    _at_most(MAX_USERNAME, name, "Username")
    if not _is_printable(name):
        raise ValidationError("Username contains invalid characters")
    return name


def user_key(name: str) -> str:
    """Return what the spellings of one user's name have in common.

    That is NFC and lower case, letter by letter: a fold that maps different letters onto each other
    (a long s onto s) would give one user the quotes of another.
    """
    return normalize("NFC", lowered(normalize("NFC", name.strip())))


def same_user(one: str, other: str) -> bool:
    """Return whether two names mean the same user: case does not count."""
    return user_key(one) == user_key(other)


def lowered(text: str) -> str:
    """Return a text in lower case letter by letter, as `$ilike` compares."""
    return "".join(map(str.lower, text))


def quote_id(number: int) -> int:
    """Return the id of a quote.

    Raises:
        ValidationError: if it is not an integer from 1 to 2**63 - 1.
    """
    if not _is_integer(number) or not 1 <= number <= MAX_INTEGER:
        raise ValidationError("Invalid quote ID (must be positive integer)")
    return number


def limit(number: int) -> int:
    """Return how many results to give at the most.

    Raises:
        ValidationError: if it is not an integer from 1 to 100.
    """
    if not _is_integer(number) or not 1 <= number <= MAX_LIMIT:
        raise ValidationError(f"Invalid limit (must be 1-{MAX_LIMIT})")
    return number


def tag(name: str) -> str:
    """Return a tag as it is stored: without `#`, its ASCII letters in lower case.

    Raises:
        ValidationError: if that is not 1 to 50 letters, digits or `_`.
    """
    name = _encodable(name, "Tag").strip().removeprefix("#")
    if len(name) > MAX_TAG or not _TAG.fullmatch(name):
        raise ValidationError(f"Invalid tag (1-{MAX_TAG} letters, digits or _)")
    return name.translate(_ASCII_LOWER)


def hashtags(text: str) -> list[str]:
    """Return the tags in a text: every hashtag once, in the order of the text.

    Migration 003 finds the same ones in the quotes that were there before it.
    """
    found = (match[1].translate(_ASCII_LOWER) for match in _HASHTAG.finditer(text))
    return list(dict.fromkeys(found))


def escaped(value: Any) -> Any:
    """Return a copy of a quote whose texts can stand in HTML: `<` is `&lt;`, and so on."""
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, list):
        return [escaped(each) for each in value]
    return {name: escaped(each) for name, each in value.items()} if type(value) is dict else value


def printable(text: str) -> str:
    """Return a text that a chat can show: without characters that control how it is shown.

    Line ends and tabs stay. What turns the direction of writing goes, too: it can make a reply look
    like another one.
    """
    return _NOT_FOR_CHAT.sub("", text)


def page(number: int) -> int:
    """Return the number of a page; the first is 1.

    Raises:
        ValidationError: if it is not a positive integer.
    """
    if not _is_integer(number) or not 1 <= number <= MAX_INTEGER:
        raise ValidationError("Invalid page (must be positive integer)")
    return number


def search_query(query: str) -> str:
    """Return what to look for, without surrounding blanks and control characters.

    Raises:
        ValidationError: if nothing is left, or more than a quote can hold.
    """
    query = _CONTROLS.sub("", _encodable(query, "Search query")).strip()
    if not query:
        raise ValidationError("Search query cannot be empty")
    return _at_most(MAX_TEXT, query, "Search query")


def whole_number(value: Any) -> int | None:
    """Return a number that is not negative, also if it was written as text; None for all else."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if type(value) is int and value >= 0 else None


class Drafts:
    """Makes rows.

    Args:
        clock: tells when a quote was added.
        strict_authors: allow only ASCII letters, digits, blanks and `- _ . '` in authors' names.
    """

    def __init__(self, clock: Clock, *, strict_authors: bool) -> None:
        self._clock = clock
        self._strict_authors = strict_authors

    def author(self, name: str | None) -> str:
        """Return an author's name as `author()` has it."""
        return author(name, strict=self._strict_authors)

    def row(self, text: str, author: str | None, added_by: str) -> dict[str, Any]:
        """Return the row of a quote that is added now. The hashtags of its text are its tags.

        Raises:
            ValidationError: if one of the values breaks a rule.
        """
        text = quote_text(text)
        row = {
            schema.TEXT: text,
            schema.AUTHOR: self.author(author),
            schema.ADDED_BY: username(added_by),
            schema.TIMESTAMP: int(self._clock.time()),
        }
        tags = hashtags(text)
        return {**row, schema.TAGS: tags} if tags else row

    def rows(self, quotes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of quotes that are added together.

        Raises:
            ValidationError: if there are over 1000, or naming the first one that is not valid.
        """
        if len(quotes) > MAX_BATCH:
            raise ValidationError(f"Too many quotes at once (max {MAX_BATCH})")
        return [self._numbered(number, quote) for number, quote in enumerate(quotes, 1)]

    def _numbered(self, number: int, quote: Mapping[str, Any]) -> dict[str, Any]:
        unknown = quote.keys() - _GIVEN
        if unknown:
            raise ValidationError(
                f"Quote {number}: unknown {', '.join(sorted(unknown))}; "
                f"expected {', '.join(_GIVEN)}"
            )
        text, name, added_by = (quote.get(field) for field in _GIVEN)
        try:
            return self.row(text or "", name, added_by or "")
        except ValidationError as error:
            raise ValidationError(f"Quote {number}: {error}") from error


def _encodable(text: str, what: str) -> str:
    if not isinstance(text, str):
        raise ValidationError(f"{what} must be text, not {type(text).__name__}")
    if _SURROGATES.search(text):
        raise ValidationError(f"{what} contains invalid characters")
    return text


def _at_most(length: int, text: str, what: str) -> str:
    if len(text) > length:
        raise ValidationError(f"{what} too long (max {length} characters)")
    return text


def _is_printable(text: str) -> bool:
    # isprintable() counts only the ASCII blank as printable; names have others, too.
    return all(char.isprintable() or category(char) == "Zs" for char in text)


def _is_visible(text: str) -> bool:
    return any(not char.isspace() and category(char) != "Cf" for char in text)


def _is_integer(number: object) -> bool:
    # True is an int to Python, and no number to anybody else.
    return isinstance(number, int) and not isinstance(number, bool)
