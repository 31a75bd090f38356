"""The generated pages of the reference, one function a page.

Each asks the code for what it knows: pytest for the fixtures, the plugin for its options and
markers, the command line for its help, the contract for its operations. The examples of operations
and errors are requests that a service of this build has answered; the other entries' stand in
`reference/examples`, one section an entry, and are run by `tests/docs`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from operations import EXAMPLES, Exchange, exchanges, refusals, scraped
from type_examples import EXAMPLES as EXAMPLE_VALUES

from dbservice.engine.type_map import TYPE_MAP
from dbservice.protocol import asyncapi, errors, reference
from dbservice.protocol.operations import OPERATIONS


def write(directory: Path) -> None:
    """Write all pages into a directory, which is made if it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    plugin = _Plugin.asked()
    logging.disable(logging.WARNING)  # of the plugin whose requests are examples
    pages = {
        "operations.md": operations(),
        "errors.md": error_codes(),
        "types.md": types(),
        "fixtures.md": fixtures(),
        "options.md": options(plugin),
        "markers.md": markers(plugin),
        "test-api.md": test_api(),
        "acceptance.md": acceptance(),
        "cli.md": command_line(),
        "contract.md": contract(),
        "contract.schema.json": json.dumps(reference.json_schema(), indent=2),
        "asyncapi.json": json.dumps(asyncapi.asyncapi(), indent=2),
        "metrics.md": metrics(),
    }
    for name, text in pages.items():
        path = directory / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
    logging.disable(logging.NOTSET)


# --- the examples ---------------------------------------------------------------------------------


class Examples:
    """The examples of one page: what comes before the entries, each entry's, what comes after.

    Args:
        page: the name of the file in `reference/examples`.
    """

    def __init__(self, page: str) -> None:
        text = (Path(__file__).parent / "reference/examples" / page).read_text("utf-8")
        text, found, after = text.partition("## Run them\n")
        self.after = found + after
        self.preface, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
        self.entries = dict(section.split("\n", 1) for section in sections)

    def page(self, entries: Mapping[str, Iterable[str]], after: str = "") -> str:
        """Return a page: the text of each entry, and its example."""
        lines = [self.preface.rstrip()]
        for name, told in entries.items():
            lines += ["", f"## {name}", "", *told]
            lines += ["", self.entries[name].strip()] if name in self.entries else []
        return "\n".join(lines) + f"\n\n{self.after}{after}"


# --- the contract --------------------------------------------------------------------------------


def operations() -> str:
    """Return the page of operations, each with a request and the reply that it got."""
    answered = asyncio.run(exchanges())
    missing = [f"{family}.{name}" for family, name in OPERATIONS if (family, name) not in EXAMPLES]
    assert not missing, f"docs/operations.py has no example for {', '.join(missing)}"
    lines = [
        "# Operations by example",
        "",
        (
            "Each request below was sent to a service when this page was built, in this order; "
            "what follows it is the reply. Times and ids of another build differ."
        ),
    ]
    for exchange in answered:
        lines += _exchange(exchange)
    return "\n".join(lines) + "\n"


def _exchange(exchange: Exchange) -> Iterator[str]:
    yield from ("", f"## {exchange.family}.{exchange.name}", "")
    yield OPERATIONS[exchange.family, exchange.name].summary
    yield from ("", f"`{exchange.subject}`", "")
    yield from ("```json", json.dumps(exchange.request, indent=2, ensure_ascii=False), "```", "")
    yield from ("```json", json.dumps(exchange.reply, indent=2, ensure_ascii=False), "```")


def contract() -> str:
    """Return the page of the contract in the forms that tools read."""
    return """# The contract, for tools

- {download}`JSON Schema (2020-12) <contract.schema.json>` of all requests and replies, as
  `rosey contract jsonschema` prints it
- {download}`AsyncAPI 3.0 <asyncapi.json>`, as `rosey contract asyncapi` prints it; a test holds it
  against the official schema

For people: [the subjects](../nats-subjects.md), [each operation by example](operations.md).
"""


def error_codes() -> str:
    """Return the page of error codes, with the exception that the client raises for each."""
    from dbservice import client

    answered = asyncio.run(refusals())
    classes: dict[str, type[Exception]] = {}
    for value in vars(client).values():
        if isinstance(value, type) and issubclass(value, client.StorageError):
            code = getattr(value, "code", None)
            if code is not None:
                classes.setdefault(str(code), value)
    entries = {}
    for code, meaning in errors.MEANINGS.items():
        raised = classes[code]
        told = [f"{meaning[0].upper()}{meaning[1:]}. The client raises `{raised.__name__}`."]
        if code in answered:
            told += _refusal(*answered[code])
        entries[str(code)] = told
    return Examples("errors.md").page(entries)


def _refusal(subject: str, payload: str, reply: object) -> Iterator[str]:
    shown = payload if len(payload) < 200 else f"{payload[:40]}… {len(payload)} bytes"
    yield from ("", f"`{subject}`", "")
    yield from ("```text", shown, "```", "")
    yield from ("```json", json.dumps(reply, indent=2, ensure_ascii=False), "```")


# --- the pytest plugin ---------------------------------------------------------------------------


class _Plugin:
    """Stands where pytest's parser and configuration stand, and keeps what the plugin declares."""

    def __init__(self) -> None:
        self.options: list[tuple[str, str]] = []
        self.ini: list[tuple[str, str]] = []
        self.markers: list[str] = []

    @classmethod
    def asked(cls) -> _Plugin:
        from pytest_rosey import marks
        from pytest_rosey.plugin import pytest_addoption

        plugin = cls()
        pytest_addoption(plugin)  # type: ignore[arg-type]
        marks.declare(plugin)  # type: ignore[arg-type]
        return plugin

    def getgroup(self, *_: str) -> _Plugin:
        return self

    def addoption(self, *names: str, help: str = "", **_: object) -> None:  # noqa: A002
        self.options.append((", ".join(names), help))

    def addini(self, name: str, help: str, **_: object) -> None:  # noqa: A002
        self.ini.append((name, help))

    def addinivalue_line(self, _: str, line: str) -> None:
        self.markers.append(line)


def _fixtures() -> Iterator[tuple[str, str, str]]:
    """Yield name, scope and description of each public fixture, as `pytest --fixtures` has them."""
    with tempfile.TemporaryDirectory() as empty:
        command = [sys.executable, "-m", "pytest", "--fixtures", "-v", "-p", "no:cacheprovider"]
        shown = subprocess.run(command, cwd=empty, capture_output=True, text=True, check=False)
    ours = re.split(r"^-+ fixtures defined from (.+?) -+$", shown.stdout, flags=re.MULTILINE)
    for module, text in zip(ours[1::2], ours[2::2], strict=True):
        if module.startswith("pytest_rosey"):
            for found in _FIXTURE.finditer(text):
                if not found["name"].startswith("_"):
                    doc = textwrap.dedent(found["doc"]).strip()
                    yield found["name"], found["scope"] or "function", doc


_FIXTURE = re.compile(
    r"^(?P<name>\w+)(?: \[(?P<scope>\w+) scope\])? -- \S+\n(?P<doc>(?:(?: .*)?\n)*)", re.MULTILINE
)


def types() -> str:
    """Return the page of the type map; each cell is a test."""
    lines = [
        "# Column types",
        "",
        (
            "A column follows the row that its declared type names. What is shown is what is "
            "compared, sorted by, grouped by, exported and seen by the SQL tier, on both engines, "
            "whoever wrote it: after a migration, in its transaction, values in another spelling "
            "are rewritten, and one that a column cannot carry refuses the migration."
        ),
        "",
        "| Type | On SQLite | On PostgreSQL | Written | Shown | Refused, say | Remarks |",
        "|---|---|---|---|---|---|---|",
    ]
    for example in EXAMPLE_VALUES:
        rule = TYPE_MAP[example.rule]
        remarks = [example.note] if example.note else []
        if rule.patterned:
            remarks.append("`$like`")
        engines = (example.sqlite, example.postgresql)
        cells = [
            f"`{cell.declared or 'no type'}` holds `{cell.stored}`" if cell else ""
            for cell in engines
        ]
        cells += [_as_json(example.written), _as_json(example.shown)]
        cells += [", ".join(map(_as_json, example.refused)), "; ".join(remarks)]
        lines.append(f"| {rule.type} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _as_json(value: object) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def fixtures() -> str:
    """Return the page of fixtures."""
    return Examples("fixtures.md").page(
        {
            name: [f"Scope: {scope}.", "", *_docstring(doc)]
            for name, scope, doc in sorted(_fixtures())
        }
    )


def test_api() -> str:
    """Return the page of what a test may import, or gets from a fixture."""
    import pytest_rosey

    lines = ["# What fixtures give, type by type", "", "All of it is imported from `pytest_rosey`."]
    for name in pytest_rosey.__all__:
        kind = "autoclass" if isinstance(getattr(pytest_rosey, name), type) else "autofunction"
        lines += ["", f"## {name}", "", "```{eval-rst}", f".. {kind}:: pytest_rosey.{name}", "```"]
    return "\n".join(lines) + "\n"


def options(plugin: _Plugin) -> str:
    """Return the page of command-line options and ini keys."""
    told = {name: [_plain(text)] for name, text in [*plugin.options, *plugin.ini]}
    return Examples("options.md").page(told)


def markers(plugin: _Plugin) -> str:
    """Return the page of markers."""
    told = {}
    for line in plugin.markers:
        signature, _, text = line.partition(": ")
        name = signature.partition("(")[0]
        told[name] = [f"`@pytest.mark.{signature}`", "", _plain(text)]
    return Examples("markers.md").page(told)


def _docstring(text: str) -> Iterator[str]:
    """Yield a Google-style docstring as Markdown: its sections become bold words and lists."""
    section = False
    for line in text.splitlines():
        if line.rstrip(":") in ("Args", "Returns", "Raises", "Yields", "Attributes", "Example"):
            section = line != "Example:"
            yield from ("", f"**{line.rstrip(':')}**", "")
        elif section and line.startswith("    ") and not line.startswith("     "):
            name, colon, rest = line.strip().partition(": ")
            yield f"- `{name}`: {rest}" if colon else f"- {line.strip()}"
        elif section and line.startswith("     "):
            yield f"  {line.strip()}"
        else:
            yield line


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("%%", "%").replace("<", "&lt;")


# --- what was asked for ---------------------------------------------------------------------------


def acceptance() -> str:
    """Return the page of acceptance criteria: each, where it is shown, and the verdict."""
    groups = tomllib.loads((Path(__file__).parent / "acceptance.toml").read_text("utf-8"))
    lines = [
        "# Acceptance",
        "",
        (
            "A test that is named here is part of the suite, which fails if it is gone; what is "
            "measured stands in [the performance report](../../explanation/performance.md)."
        ),
    ]
    for group in groups.values():
        lines += ["", f"## {group['title']}"]
        for name, criteria in itertools.groupby(group["criterion"], lambda one: one["id"]):
            lines += ["", f"### {name}", "", *itertools.chain(*map(_criterion, criteria))]
    return "\n".join(lines) + "\n"


def _criterion(criterion: dict[str, Any]) -> Iterator[str]:
    verdict = "met"
    if "shown" in criterion:
        where = [f"`{reference}`" for reference in criterion["shown"]]
    elif "measured" in criterion:
        lines = {line: measured(line) for line in criterion["measured"]}
        where = [f"{line}: {told}" for line, (told, _) in lines.items()]
        verdict = ", ".join(dict.fromkeys(said for _, said in lines.values()))
    elif "figure" in criterion:
        where = [criterion["figure"]]
    elif "not_met" in criterion:
        where, verdict = [criterion["not_met"]], "not met"
    else:
        where, verdict = [criterion["not_here"]], "not shown here"
    yield f"- **{verdict}**: {criterion['asks']}"
    yield from (f"  - {place}" for place in where)


def measured(what: str) -> tuple[str, str]:
    """Return figure and verdict of a line in the table of targets of the performance report."""
    report = (Path(__file__).parent / "explanation/performance.md").read_text("utf-8")
    for line in report.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == what:
            return cells[3], cells[-1]
    raise LookupError(f"the performance report has no line '{what}'")


# --- the command line ----------------------------------------------------------------------------


def command_line() -> str:
    """Return the page of `rosey`, as its own help says it."""
    from dbservice.cli import app as cli

    for command in entry_points(group=cli.EXTERNAL_COMMANDS):
        if command.name not in cli.app:
            cli.app.command(command.load(), name=command.name)
    told = cli.app.generate_docs(output_format="markdown", recursive=True, heading_level=1)
    # Without the list of contents, which the page has beside it.
    _, *sections = re.split(r"^##+ (?=rosey )", told, flags=re.MULTILINE)
    entries = {name: [text.strip()] for name, text in (part.split("\n", 1) for part in sections)}
    return Examples("commands.md").page(entries, "\n".join(["## Exit codes", "", *_exit_codes()]))


def _exit_codes() -> Iterator[str]:
    from dbservice.cli.failure import EXIT_CODES

    yield from ("| code | means |", "|---|---|")
    yield from (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    yield ""


# --- what is measured in production --------------------------------------------------------------


def metrics() -> str:
    """Return the page of metrics of the service and of the reference plugin."""
    lines = [
        "# Metrics",
        "",
        (
            "`/metrics` serves them in the format of Prometheus. The samples are those of a "
            "service and a plugin that ran when this page was built."
        ),
    ]
    for title, text in asyncio.run(scraped()).items():
        lines += ["", f"## {title}"]
        for found in _FAMILY.finditer(text):
            samples = found["samples"].splitlines()
            counted = [line for line in samples if not line.endswith(" 0.0")] or samples
            lines += ["", f"### {found['name']}", "", f"{_plain(found['help'])} ({found['type']})"]
            lines += ["", "```text", *counted[:3], "```"]
    return "\n".join(lines) + "\n"


_FAMILY = re.compile(
    r"# HELP (?P<name>\w+(?<!_created)) (?P<help>.+)\n# TYPE \w+ (?P<type>\w+)\n"
    r"(?P<samples>(?:[^#].*\n)+)"
)
