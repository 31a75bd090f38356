"""How a generated check says what it found."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

Block = tuple[str, str]
"""A title, and the text below it."""


class CheckFailed(AssertionError):  # noqa: N818 - it is a finding, not a defect
    """A generated check found a fault.

    Args:
        message: what is wrong, and what to do about it.
        context: what helps to find it, block by block.
    """

    def __init__(self, message: str, context: Sequence[Block] = ()) -> None:
        super().__init__(message, context)
        self.message = message
        self.context = tuple(context)

    def __str__(self) -> str:
        blocks = [f"{title}:\n{textwrap.indent(text, '    ')}" for title, text in self.context]
        return "\n\n".join([self.message, *blocks])


def listed(lines: Sequence[str]) -> str:
    """Return lines as a list for a context block."""
    return "\n".join(f"- {line}" for line in lines)
