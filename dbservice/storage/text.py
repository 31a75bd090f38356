"""Text comparison that does not depend on the engine (SPEC 2.5)."""

from __future__ import annotations


def lowered(text: str | None) -> str | None:
    """Return a text in lower case, character by character.

    A character whose lower case would be several characters stays as it is, so that the length
    and the positions of a text never change.
    """
    if text is None or text.isascii():
        return text.lower() if text else text
    return "".join(_lower(character) for character in text)


def _lower(character: str) -> str:
    small = character.lower()
    return small if len(small) == 1 else character
