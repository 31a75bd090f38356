"""The two pictures of the README: what pytest says, as SVG. `python docs/pictures.py` draws them.

What is shown is what pytest printed for the tests below, without the lines that change from run to
run; a test holds the committed pictures against a fresh run.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent / "_static"
WIDTH = 110

CONTRACT = """
import pytest
from dbservice.client import StorageClient

@pytest.mark.asyncio
async def test_a_note_is_found(fake_nats):
    fake_nats.respond("rosey.db.row.notes.select", {"success": True, "rows": [], "count": "0"})
    await StorageClient(fake_nats, "notes").rows("notes").select({})
"""

EXPLORATION = """
import pytest
from dbservice.client import StorageClient

class Counter:
    def __init__(self, nats, namespace="counter"):
        self._keys = StorageClient(nats, namespace).kv

    async def visit(self, user):
        await self._keys.incr(f"visits:{user}")
        await self._keys.incr("visits")

@pytest.mark.asyncio
@pytest.mark.rosey_explore
async def test_a_visit_counts(rosey_plugin):
    counter = await rosey_plugin(Counter, namespace="counter", migrate=False)
    await counter.visit("ada")
"""


def contract_check() -> str:
    """Return the lines in which a reply of the wrong shape is told."""
    lines = _pytest(CONTRACT)
    first = next(number for number, line in enumerate(lines) if line.startswith("E "))
    told = [line[1:].strip() for line in lines[first:] if line.startswith("E ")]
    return "\n".join(["$ pytest", *_folded(told)])


def exploration() -> str:
    """Return the table of an exploration, and the first place that it found."""
    lines = _pytest(EXPLORATION)
    first = next(number for number, line in enumerate(lines) if "breaks when" in line)
    table = next(number for number, line in enumerate(lines) if re.match(r" +1  2  3", line))
    rows = [line for line in lines[table : table + 3] if line.strip()]
    faults = [line for line in lines[table + 3 :] if re.match(r" +\d+ [a-z-]+: ", line)]
    return "\n".join(
        ["$ pytest", *_folded(lines[first : first + 5]), "", *rows, "", *_folded(faults)]
    )


PICTURES = {"contract-check.svg": contract_check, "exploration.svg": exploration}


def svg(text: str, title: str) -> str:
    """Return a terminal that shows a text."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text(text))
    return console.export_svg(title=title, unique_id=title)


def _pytest(source: str) -> list[str]:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "test_it.py").write_text(source, "utf-8")
        options = ["-p", "no:randomly", "-p", "no:cacheprovider", "--color=no", "--tb=short"]
        command = [sys.executable, "-m", "pytest", *options, "test_it.py"]
        shown = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return shown.stdout.splitlines()


def _folded(lines: list[str]) -> list[str]:
    found: list[str] = []
    for line in lines:
        found += textwrap.wrap(line, WIDTH - 2, subsequent_indent="  ") or [""]
    return found


if __name__ == "__main__":
    for name, text in PICTURES.items():
        (HERE / name).write_text(svg(text(), name.removesuffix(".svg")), "utf-8")
