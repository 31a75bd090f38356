"""The code blocks of the documents, and what each is for.

A block is run unless a comment in the line above says what else to do with it:

    <!-- file: PATH -->        write it to PATH, beside the blocks that are run
    <!-- example: PATH -->     it stands like this in tests/examples/moving_in/PATH; written to PATH
    <!-- edit: PATH -->        a diff without line numbers, applied to PATH
    <!-- from: MODULE NAME --> it stands like this in the package's MODULE (`verbatim.py`)
    <!-- output -->            what the block before it prints; `…` stands for anything
    <!-- message: NAME -->     what the failure NAME says (`test_troubleshooting.py`)
    <!-- not run: REASON -->   counted; at most one block in twenty

Blocks of the language `text` without a comment are pictures, and no code; those of a configuration
language have run when their parser took them. A page that says `<!-- one story -->` is run from its
beginning to its end, any other section by section.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sybil import Document, Region
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

from tests import ROOT

DOCS = ROOT / "docs"
NAMES = tuple(
    sorted(
        path.relative_to(DOCS).as_posix()
        for path in DOCS.rglob("*.md")
        if "generated" not in path.parts and "_build" not in path.parts
    )
)
"""Every page that somebody wrote."""

PICTURE = "text"
STORY = "<!-- one story -->"

_MARK = re.compile(r"<!-- (?P<kind>[a-z ]+?)(?:: (?P<argument>[^\n]*?))? -->\n\Z")
_KINDS = {"example", "file", "edit", "from", "output", "message", "not run"}


@dataclass(frozen=True, slots=True)
class Block:
    """One code block.

    Attributes:
        document: the name of its file.
        section: the heading of the second level above it.
        line: where it begins.
        language: what stands behind the fence.
        kind: what is done with it, `run` if no comment says otherwise.
        argument: what stands behind the kind.
        source: the code.
        start: where the code begins in the text of the document.
    """

    document: str
    section: str
    line: int
    language: str
    kind: str
    argument: str
    source: str
    start: int

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(name: str) -> list[Block]:
    """Return the blocks of a document, without its pictures."""
    lexer = FencedCodeBlockLexer(r"\w+")

    def parse(document: Document) -> Iterable[Region]:
        for region in lexer(document):
            region.parsed = region.lexemes
            region.evaluator = _nothing
            yield region

    document = Document.parse(str(DOCS / name), parse)
    found = [_block(name, document.text, example.region) for example in document.examples()]
    return [block for block in found if block.kind != "run" or block.language != PICTURE]


def sections(name: str) -> dict[str, list[Block]]:
    """Return the blocks of a document by section."""
    found: dict[str, list[Block]] = {}
    for block in blocks(name):
        found.setdefault(block.section, []).append(block)
    return found


def matches(pattern: str, text: str) -> bool:
    """Return whether a text is what a document shows; `…` stands for anything in a line."""
    parts = [re.escape(part) for part in pattern.strip().split("…")]
    return re.fullmatch("[^\n]*".join(parts), text.strip()) is not None


def _block(name: str, text: str, region: Region) -> Block:
    before = text[: region.start]
    mark = _MARK.search(before)
    kind = mark["kind"] if mark else "run"
    assert kind in {*_KINDS, "run"}, f"{name}: unknown mark '{kind}'"
    headings = re.findall(r"^## (.+)$", before, re.MULTILINE)
    source = region.lexemes["source"]
    return Block(
        document=name,
        section=headings[-1] if headings else "",
        line=before.count("\n") + 1,
        language=region.lexemes["language"],
        kind=kind,
        argument=(mark["argument"] or "") if mark else "",
        source=str(source),
        start=region.start + source.offset,
    )


def _nothing(_example: object) -> None:
    """Stand in for sybil's evaluators: blocks with `await` need the test's own loop."""
