"""docs/how-to/walkthrough-category.md, step by step, on a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import documents
from tests.docs.documents import Block

pytestmark = pytest.mark.process

DOCUMENT = "how-to/walkthrough-category.md"
COPIED = ("dbservice", "pytest_rosey", "reference_plugin_quote_db", "migrations", "pyproject.toml")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in COPIED:
        source = documents.ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    return tmp_path


def edit(block: Block, directory: Path) -> None:
    """Apply a diff without line numbers: what it shows must stand in the file, exactly once."""
    path = directory / block.argument
    lines = block.source.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if not line.startswith("+"))
    after = "".join(line[1:] for line in lines if not line.startswith("-"))
    text = path.read_text("utf-8")
    assert text.count(before) == 1, (
        f"{block}: these lines stand in {block.argument} {text.count(before)} times:\n{before}"
    )
    path.write_text(text.replace(before, after), "utf-8")


def run(block: Block, directory: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-e", "-c", block.source],
        cwd=directory,
        # The copy, not the project that is installed.
        env={**os.environ, "PATH": path, "PYTHONPATH": str(directory), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{block} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def test_every_step_works(copy: Path) -> None:
    printed = ""
    for block in documents.blocks(DOCUMENT):
        if block.kind == "file":
            path = copy / block.argument
            assert not path.exists(), f"{block}: {block.argument} is there already"
            path.write_text(block.source, "utf-8")
        elif block.kind == "edit":
            edit(block, copy)
        elif block.kind == "output":
            assert documents.matches(block.source, printed), f"{block}: it prints\n{printed}"
        else:
            assert block.kind == "run"
            printed = run(block, copy)


def test_the_number_of_lines_is_right() -> None:
    written = {"product": 0, "test": 0}
    for block in documents.blocks(DOCUMENT):
        lines = block.source.splitlines()
        if block.kind == "edit":
            lines = [line[1:] for line in lines if line.startswith("+")]
        elif block.kind != "file":
            continue
        kind = "test" if "/tests/" in block.argument else "product"
        written[kind] += sum(bool(line.strip()) for line in lines)
    text = (documents.DOCS / DOCUMENT).read_text("utf-8")
    told = re.search(r"\*\*(\d+) lines\*\* and \*\*(\d+) lines\*\* of tests", text)
    assert told, "the walk-through does not say how many lines it takes"
    assert {"product": int(told[1]), "test": int(told[2])} == written
