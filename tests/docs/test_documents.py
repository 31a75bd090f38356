"""Every code block of the documents is run, or says why it cannot be."""

from __future__ import annotations

import ast
import configparser
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from reference_plugin_quote_db import QuoteDBPlugin
from tests.docs import documents, verbatim
from tests.docs.documents import Block

EVERY_BLOCK = [block for name in documents.NAMES for block in documents.blocks(name)]
OPERATIONS = (
    "add_quote",
    "add_quotes",
    "get_quote",
    "random_quote",
    "search_quotes",
    "delete_quote",
    "upvote_quote",
    "downvote_quote",
    "top_quotes",
    "count_quotes",
)
PARSERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
    "ini": lambda text: configparser.ConfigParser(interpolation=None).read_string(text),
}
"""What takes a block of configuration; a block that it took has run."""

WRITTEN = {"example", "file"}

BY_ITSELF = {"how-to/walkthrough-category.md"}
"""Documents with a test file of their own."""


def groups() -> list[Any]:
    """Return the blocks that are run together, by section or, if it is one story, by document."""
    found = []
    for name in documents.NAMES:
        if name in BY_ITSELF:
            continue
        by_section = documents.sections(name)
        if documents.STORY in (documents.DOCS / name).read_text("utf-8"):
            by_section = {"": [block for blocks in by_section.values() for block in blocks]}
        for section, blocks in by_section.items():
            active = [block for block in blocks if block.kind in WRITTEN | {"run", "output"}]
            active = [block for block in active if not is_configuration(block)]
            if any(block.kind not in WRITTEN for block in active):
                found.append(pytest.param(active, id=f"{name} {section}".strip()))
    return found


def is_configuration(block: Block) -> bool:
    return block.kind == "run" and block.language in PARSERS


def is_shell(blocks: list[Block]) -> bool:
    return any(block.language == "sh" for block in blocks)


SHELL = [group for group in groups() if is_shell(group.values[0])]
PYTHON = [group for group in groups() if not is_shell(group.values[0])]


# -- running ------------------------------------------------------------------------------------


async def run_python(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block in which `await` may stand anywhere."""
    source = "\n" * block.line + block.source
    path = str(documents.DOCS / block.document)
    code = compile(source, path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, namespace)
    if inspect.isawaitable(result):
        await result


def run_shell(block: Block, directory: Path, nats: str) -> str:
    """Run a block with the commands of this environment, and return what it prints.

    A reader has no pytest-randomly, and meets no warning.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.Popen(
        ["bash", "-e", "-c", block.source],
        cwd=directory,
        env=dict(
            os.environ, PATH=path, COLUMNS="100", ROSEY_NATS=nats, PYTEST_ADDOPTS="-p no:randomly"
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    printed, told = ran.communicate()
    with suppress(ProcessLookupError):  # a block that failed leaves a service on everybody's bus
        os.killpg(ran.pid, signal.SIGKILL)
    assert ran.returncode == 0, f"{block} ended with {ran.returncode}:\n{printed}{told}"
    assert "Warning" not in told, f"{block} warns:\n{told}"
    return printed


def write(block: Block, directory: Path) -> None:
    path = directory / block.argument
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.source, "utf-8")


@pytest.mark.process
@pytest.mark.parametrize("blocks", SHELL)
def test_shell_blocks(blocks: list[Block], tmp_path: Path, nats_server: Any) -> None:
    printed = ""
    for block in blocks:
        if block.kind in WRITTEN:
            write(block, tmp_path)
        elif block.kind == "output":
            shown = re.sub(r"\d+\.\d+s", "…s", printed)
            assert documents.matches(block.source, shown), f"{block}: it prints\n{printed}"
        else:
            assert block.language == "sh", f"{block}: no Python among shell blocks"
            printed = run_shell(block, tmp_path, nats_server.url)


@pytest.fixture
async def namespace(
    rosey_plugin: Any,
    storage: Any,
    nats_client: Any,
    rosey_clock: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """What the blocks may use: the plugin of each kind, its storage, the bus, the clock."""
    monkeypatch.chdir(tmp_path)
    return {
        "plugin": await rosey_plugin(QuoteDBPlugin, namespace="quote-db"),
        "storage": storage("quote-db"),
        "nats": nats_client,
        "clock": rosey_clock,
    }


@pytest.mark.parametrize("blocks", PYTHON)
async def test_python_blocks(blocks: list[Block], namespace: dict[str, Any]) -> None:
    for block in blocks:
        assert block.language == "python", f"{block}: {block.language} is not run anywhere"
        await run_python(block, namespace)


@pytest.mark.parametrize("block", [b for b in EVERY_BLOCK if b.kind == "example"], ids=str)
def test_examples_stand_in_their_files(block: Block) -> None:
    written = documents.ROOT / "tests/examples/moving_in" / block.argument
    assert block.source == written.read_text("utf-8")


CONFIGURATION = [block for block in EVERY_BLOCK if is_configuration(block)]


@pytest.mark.parametrize("block", CONFIGURATION, ids=str)
def test_configuration_blocks_parse(block: Block) -> None:
    PARSERS[block.language](block.source)


# -- what the blocks are ------------------------------------------------------------------------


@pytest.mark.parametrize("block", [block for block in EVERY_BLOCK if block.kind == "from"], ids=str)
def test_code_from_the_plugins_stands_in_them(block: Block) -> None:
    assert block.source == verbatim.current(block), (
        f"{block} shows {block.argument} as it was: run `python -m tests.docs.verbatim`"
    )


def test_before_and_after_of_every_operation() -> None:
    shown = {block.argument for block in documents.blocks("how-to/migration-guide.md")}
    for name in ("initialize", *OPERATIONS):
        assert {f"legacy {name}", f"modern {name}"} <= shown


def test_few_blocks_are_not_run() -> None:
    skipped = [block for block in EVERY_BLOCK if block.kind == "not run"]
    for block in skipped:
        assert len(block.argument.split()) >= 3, f"{block} does not say why it is not run"
    assert len(skipped) <= 0.05 * len(EVERY_BLOCK), [str(block) for block in skipped]


def test_the_guide_is_complete() -> None:
    text = (documents.DOCS / "how-to/migration-guide.md").read_text("utf-8")
    assert len(re.findall(r"^- \[ \] \*\*\d+\.", text, re.MULTILINE)) >= 16
    assert len([block for block in EVERY_BLOCK if block.kind == "message"]) >= 8
    patterns = re.findall(
        r"^## (\d+)\. ", (documents.DOCS / "how-to/patterns.md").read_text("utf-8"), re.MULTILINE
    )
    assert patterns == [str(number) for number in range(1, 13)]
