"""Each fixture, option, key, marker, command, metric and error code: an entry, and an example."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.docs import documents

pytestmark = pytest.mark.process

PAGES = {
    "fixtures.md": 18,
    "options.md": 26,
    "markers.md": 6,
    "cli.md": 19,
    "errors.md": 20,
    "metrics.md": 23,
    "operations.md": 29,
}
"""How many entries each generated page has at least."""

WITHOUT = {"rosey plugin", "rosey bench", "Exit codes", "Run them"}
"""Headings that are no entries: their commands are."""

EXAMPLE = re.compile(r"^```(?!console)\w", re.MULTILINE)
"""A block, without the usage of a command."""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("generated")
    code = f"import generate, pathlib; generate.write(pathlib.Path({str(directory)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=documents.DOCS, check=True)
    return directory


def entries(page: str) -> dict[str, str]:
    """Return the text of each entry: of the headings that have none below them."""
    found = re.split(r"^(#{2,3}) (.+)\n", page, flags=re.MULTILINE)
    levels, names, texts = found[1::3], found[2::3], found[3::3]
    below = [*levels[1:], "##"]
    told = zip(levels, names, texts, below, strict=True)
    return {n: text for level, n, text, after in told if after <= level and n not in WITHOUT}


@pytest.mark.parametrize("page", PAGES)
def test_every_entry_has_an_example(page: str, generated: Path) -> None:
    found = entries((generated / page).read_text("utf-8"))
    assert [name for name, text in found.items() if not EXAMPLE.search(text)] == []
    assert len(found) >= PAGES[page]


def test_every_example_has_an_entry(generated: Path) -> None:
    for page in (documents.DOCS / "reference/examples").glob("*.md"):
        name = "cli.md" if page.name == "commands.md" else page.name
        assert (
            entries(page.read_text("utf-8")).keys()
            <= entries((generated / name).read_text("utf-8")).keys()
        )


def test_the_ini_keys_are_taken(pytester: Any) -> None:
    """All examples in one file, as the page has them, and a run with it."""
    name = "reference/examples/options.md"
    blocks = [block for block in documents.blocks(name) if block.language == "ini"]
    keys = [block.source.partition("[pytest]\n")[2] for block in blocks]
    for block in documents.blocks(name):
        if block.kind == "file":
            pytester.path.joinpath(block.argument).parent.mkdir(parents=True, exist_ok=True)
            pytester.path.joinpath(block.argument).write_text(block.source, "utf-8")
    pytester.makefile(".ini", pytest="[pytest]\n" + "".join(keys))
    result = pytester.runpytest_subprocess("--strict-config", "-p", "no:randomly")
    result.assert_outcomes(passed=1)
    assert len(keys) >= 14


def test_extras_variables_and_events_stand_on_their_page() -> None:
    told = (documents.DOCS / "reference/environment.md").read_text("utf-8")
    project = tomllib.loads((documents.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = set(project["optional-dependencies"])
    for package in ("dbservice", "pytest_rosey", "reference_plugin_quote_db"):
        for source in (documents.ROOT / package).rglob("*.py"):
            for text in told_by(source) if "tests" not in source.parts else ():
                named.update(VARIABLE.findall(text) if text not in OF_NO_READER else ())
                named.update(EVENT.findall(text))
    missing = {name for name in named if f"`{name}`" not in told}
    assert missing == set()


VARIABLE = re.compile(r"^(?:ROSEY|QUOTE_DB|DOCKER|PG|OTEL)_?[A-Z_]+$")
EVENT = re.compile(r"^quote\.(?:add|delete)\.\w+$")
OF_NO_READER = {
    "ROSEY_RUN_ID",
    "PGDATA",
    "ROSEY_",
    "ROSEY_PASSWORD_",
    "ROSEY_ADMIN",
    "ROSEY_GATEWAY",
    "QUOTE_DB_USE_LEGACY",
}
"""What no reader sets: marks of our processes, beginnings of names, users of a nats-server."""


@pytest.mark.parametrize("name", documents.NAMES)
def test_the_modules_that_a_page_names_are_there(name: str) -> None:
    there = [path.as_posix() for path in documents.ROOT.glob("[!.]*/**/*.py")]
    there += [f"/{block.argument}" for block in documents.blocks(name)]
    named = re.findall(r"`((?:[\w-]+/)*[\w-]+\.py)`", (documents.DOCS / name).read_text("utf-8"))
    assert [one for one in named if not any(path.endswith(f"/{one}") for path in there)] == []


PRIVATE = re.compile(r"\bSPEC\b|\b[Tt]he seeds?\b|[Ff]ounding document")
"""What readers of the site have no copy of."""


def test_users_are_told_of_no_paper_that_they_do_not_have(generated: Path) -> None:
    pages = [documents.ROOT / "README.md", *documents.DOCS.rglob("*.md"), *generated.glob("*.md")]
    pages += [documents.ROOT / "reference_plugin_quote_db/README.md"]
    texts = {str(page): page.read_text("utf-8") for page in pages if "_build" not in page.parts}
    for package in ("dbservice", "pytest_rosey", "reference_plugin_quote_db"):
        for source in (documents.ROOT / package).rglob("*.py"):
            if "tests" not in source.parts:
                texts[str(source)] = "\n".join(told_by(source))
    assert {name for name, text in texts.items() if PRIVATE.search(text)} == set()


def told_by(source: Path) -> list[str]:
    """Return the texts in a module: all of a part that the site shows, else without docstrings."""
    tree = ast.parse(source.read_text("utf-8"))
    nodes = list(ast.walk(tree))
    found = {id(node): node.value for node in nodes if isinstance(node, ast.Constant)}
    if not any(part in source.as_posix() for part in SHOWN):
        for node in nodes:
            if isinstance(node, ast.Expr):
                found.pop(id(node.value), None)
    return [text for text in found.values() if isinstance(text, str)]


SHOWN = ("dbservice/client/", "dbservice/protocol/", "dbservice/runtime/plugin.py")
