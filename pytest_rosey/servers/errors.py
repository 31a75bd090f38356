"""What can go wrong with a real server, and how its last words are shown."""

from __future__ import annotations


class ServerUnavailable(Exception):  # noqa: N818 - reads as the fact it states
    """There is no server to test with; the text says what was tried and what to do next."""


class ServerControlError(RuntimeError):
    """A server was asked for something that it cannot do in its present state."""


def last_lines(text: str, lines: int) -> str:
    """Return the last `lines` lines of `text`, without trailing white space."""
    return "\n".join(text.rstrip().splitlines()[-lines:]) if lines > 0 else ""


def said(text: str) -> str:
    """Word a server's last lines for the end of an error message."""
    if not text.strip():
        return "It wrote nothing."
    indented = "\n".join(f"    {line}".rstrip() for line in text.splitlines())
    return f"Its last lines:\n{indented}"
