"""Text comparison that does not depend on the engine (SPEC 2.5)."""

from __future__ import annotations

import sys
from functools import cache


def lowered(text: str | None) -> str | None:
    """Return a text in lower case, character by character.

    A character whose lower case would be several characters stays as it is, so that the length
    and the positions of a text never change.
    """
    if text is None or text.isascii():
        return text.lower() if text else text
    return "".join(in_small(character) for character in text)


def in_small(character: str) -> str:
    """Return a character's lower case, or itself where that is not one character."""
    small = character.lower()
    return small if len(small) == 1 else character


def in_lower_case(text: str) -> tuple[str, str]:
    """Return all characters that have one of a text's as their lower case, and that lower case.

    Both strings have the same length; a character and its lower case stand at the same place.
    """
    pairs = [(capital, small) for small in set(text) for capital in _capitals().get(small, "")]
    return "".join(pair[0] for pair in pairs), "".join(pair[1] for pair in pairs)


@cache
def _capitals() -> dict[str, str]:
    """Return for each lower-case character those that become it."""
    found: dict[str, str] = {}
    for capital in map(chr, range(sys.maxunicode + 1)):
        small = in_small(capital)
        if small != capital:
            found[small] = found.get(small, "") + capital
    return found
