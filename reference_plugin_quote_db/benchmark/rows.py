"""The quotes that are stored and looked for, the same on both sides."""

from __future__ import annotations

AUTHORS = 10

WORD = "number 5"
"""What is searched for: 111 of 1,000 quotes have it."""


def text(number: int) -> str:
    """Return the text of a quote."""
    return f"quote number {number}"


def author(number: int) -> str:
    """Return the author of a quote."""
    return f"author {number % AUTHORS}"


def second(number: int) -> int:
    """Return when a quote was added, in Unix seconds."""
    return 1_700_000_000 + number
