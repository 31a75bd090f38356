"""A chat with the plugin on the terminal, or with lines from a pipe or a file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final, Protocol, TextIO

LEAVE: Final = frozenset({"exit", "quit", "!quit"})
LONGEST_LINE: Final = 2**20
"""Bytes of a line that are looked at; the plugin refuses far shorter texts as too long."""


class Talker(Protocol):
    """A plugin that answers chat commands."""

    async def handle_command(self, user: str, role: str, text: str) -> str:
        """Return the answer to a line of chat."""


async def converse(
    plugin: Talker,
    lines: AsyncIterator[str],
    say: Callable[[str], None],
    *,
    user: str,
    role: str,
) -> None:
    """Answer each line until `exit` or the end.

    Args:
        plugin: who answers.
        lines: what is typed; empty lines are passed over.
        say: shows an answer.
        user: who types.
        role: what they are: `user`, `moderator` or `admin`.
    """
    async for line in lines:
        text = line.strip()
        if text.lower() in LEAVE:
            return
        if text:
            say(await plugin.handle_command(user, role, text))


async def typed_lines(stream: TextIO, ask: Callable[[], None]) -> AsyncGenerator[str, None]:
    """Yield the lines of a terminal, a pipe or a file; the loop goes on while it waits.

    No thread waits for input, so Ctrl-C ends the program at once.

    Args:
        stream: standard input.
        ask: called before each line; shows the prompt.
    """
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    loop = asyncio.get_running_loop()
    descriptor = stream.fileno()

    def feed() -> None:
        data = os.read(descriptor, 65_536)
        if data:
            reader.feed_data(data)
        else:
            loop.remove_reader(descriptor)
            reader.feed_eof()

    try:
        loop.add_reader(descriptor, feed)
    except PermissionError:  # a file on disk: it is always ready, and cannot be waited for
        reader.feed_data(stream.buffer.read())
        reader.feed_eof()
    try:
        ask()
        while line := await _next_line(reader):
            yield line.decode(errors="replace")
            ask()
    finally:
        loop.remove_reader(descriptor)


async def _next_line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line, or the beginning of one that is too long; nothing at the end."""
    line = b""
    while True:
        try:
            return (line + await reader.readuntil())[:LONGEST_LINE]
        except asyncio.IncompleteReadError as error:
            return (line + error.partial)[:LONGEST_LINE]
        except asyncio.LimitOverrunError as error:
            line = (line + await reader.readexactly(error.consumed))[:LONGEST_LINE]
