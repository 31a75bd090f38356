"""Follow a page as a reader does who has nothing yet: `python -m tests.docs.follow PAGE...`.

Builds the wheel, and for each page makes an empty folder and an environment with the wheel and the
extras that the page names first, writes the files that it shows, runs its commands in order, and
tells the seconds of each. Whoever types takes longer; what is told is the machine's part.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.docs import documents

PAGES = ("start/tutorial.md", "how-to/move-any-plugin.md")
"""The newcomer's and the migrator's."""


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        wheels = Path(directory, "wheels")
        timed("build the wheel", lambda: run(f"uv build --wheel -o {wheels}", documents.ROOT))
        (wheel,) = wheels.glob("*.whl")
        for page in sys.argv[1:] or PAGES:
            place = Path(directory, page.replace("/", "-"))
            place.mkdir()
            print(f"\n{page}")
            began = time.monotonic()
            follow(page, place, wheel)
            print(f"{time.monotonic() - began:6.1f} s  from the empty folder to the end")


def follow(page: str, place: Path, wheel: Path) -> None:
    """Do what a page says, in a folder."""
    named = re.search(r"pytest-rosey(\[[\w,]+\])", (documents.DOCS / page).read_text("utf-8"))
    extras = named[1] if named else ""
    install = f"python3 -m venv .venv && .venv/bin/pip install -q '{wheel}{extras}'"
    timed(f"pip install pytest-rosey{extras}", lambda: run(install, place))
    for block in documents.blocks(page):
        if block.kind in {"file", "example"}:
            path = place / block.argument
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.source, "utf-8")
        elif block.kind == "run" and block.language == "sh":
            timed(block.source.splitlines()[0], partial(run, block.source, place))


def run(command: str, place: Path) -> None:
    path = f"{place / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "100"}
    ran = subprocess.run(
        ["bash", "-e", "-c", command], cwd=place, env=environment, capture_output=True, text=True
    )
    if ran.returncode:
        sys.exit(f"{command}\nended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")


def timed(name: str, act: Callable[[], None]) -> None:
    began = time.monotonic()
    act()
    print(f"{time.monotonic() - began:6.1f} s  {name}")


if __name__ == "__main__":
    main()
