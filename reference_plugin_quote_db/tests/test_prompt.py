"""The chat prompt of `python -m reference_plugin_quote_db`, without the stack behind it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from reference_plugin_quote_db.chat.prompt import converse, typed_lines

pytestmark = pytest.mark.asyncio


class Echo:
    async def handle_command(self, user: str, role: str, text: str) -> str:
        return f"{user} ({role}): {text}"


async def lines(*typed: str) -> AsyncIterator[str]:
    for line in typed:
        yield line


@pytest.mark.parametrize("leave", ["exit\n", " QUIT \n", "!quit"])
async def test_every_line_is_answered_until_the_end(leave: str) -> None:
    said: list[str] = []
    typed = lines("!quote 42\n", "\n", "  top\r\n", leave, "never\n")
    await converse(Echo(), typed, said.append, user="Joel", role="admin")
    assert said == ["Joel (admin): !quote 42", "Joel (admin): top"]


async def test_lines_of_a_pipe_come_as_they_are_written() -> None:
    reading, writing = os.pipe()
    asked: list[int] = []
    heard: list[str] = []
    with open(reading, encoding="utf-8") as stream:  # noqa: ASYNC230, PTH123 - a descriptor
        async with aclosing(typed_lines(stream, lambda: asked.append(len(heard)))) as typed:
            os.write(writing, "¿one?\ntw".encode())
            heard.append(await anext(typed))
            os.write(writing, b"o\nlast")
            heard.append(await anext(typed))
            os.close(writing)
            heard += [line async for line in typed]
    assert heard == ["¿one?\n", "two\n", "last"]
    # It asks once before each line, and once more before it finds the end.
    assert asked == [0, 1, 2, 2]


async def test_lines_of_a_file(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("one\ntwo\n")
    with script.open() as stream:
        assert [line async for line in typed_lines(stream, lambda: None)] == ["one\n", "two\n"]
