"""The rules for what users type. Each function returns the cleaned value or raises.

Lengths are counted in characters (code points), as the CHECKs of the migrations count them.
"""

from __future__ import annotations

import re
from typing import Final
from unicodedata import category

from dbservice.protocol.limits import MAX_INTEGER
from reference_plugin_quote_db.errors import ValidationError

MAX_TEXT: Final = 1000
MAX_AUTHOR: Final = 100
MAX_USERNAME: Final = 50
MAX_LIMIT: Final = 100
UNKNOWN_AUTHOR: Final = "Unknown"

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters, without tab and the line ends."""

_SURROGATES = re.compile(r"[\ud800-\udfff]")
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


def same_user(one: str, other: str) -> bool:
    """Return whether two names mean the same user: case does not count."""
    return one.casefold() == other.casefold()


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
