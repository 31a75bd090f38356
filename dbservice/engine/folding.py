"""Text comparison that does not depend on the engine (SPEC 2.5)."""

from __future__ import annotations

from functools import cache
from typing import Final

_BEYOND_CASE: Final = 0x20000
"""The first character after which none has a lower case: ideographs, tags, private ones."""


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
def capitals_and_smalls() -> tuple[str, str]:
    """Return every character that has another lower case, and those, in the same places."""
    pairs = [(capital, small) for small, several in _capitals().items() for capital in several]
    return "".join(pair[0] for pair in pairs), "".join(pair[1] for pair in pairs)


def trigrams(pattern: str) -> list[str]:
    r"""Return the folded runs of three characters that every text has which matches a pattern.

    Args:
        pattern: of `%`, `_` and `\`, as `$like` and `$ilike` take it.
    """
    found: dict[str, None] = {}
    for part in _literals(pattern):
        folded = lowered(part) or ""
        found |= dict.fromkeys(folded[at : at + 3] for at in range(len(folded) - 2))
    return list(found)


def _literals(pattern: str) -> list[str]:
    """Return what stands between the wildcards of a pattern."""
    parts, characters = [""], iter(pattern)
    for character in characters:
        if character in "%_":
            parts.append("")
        else:
            parts[-1] += next(characters) if character == "\\" else character
    return parts


@cache
def _capitals() -> dict[str, str]:
    """Return for each lower-case character those that become it."""
    found: dict[str, str] = {}
    for capital in map(chr, range(_BEYOND_CASE)):  # all 1,114,112 hold the event loop for 0.15 s
        small = in_small(capital)
        if small != capital:
            found[small] = found.get(small, "") + capital
    return found
