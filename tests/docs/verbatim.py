"""Code in the documents that is taken from the plugins: `<!-- from: legacy add_quote -->`.

`python -m tests.docs.verbatim` writes the present code into the documents.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import FunctionType
from typing import Any

from reference_plugin_quote_db import QuoteDBPlugin, legacy
from tests.docs.documents import DOCS, NAMES, Block, blocks

PLUGINS: dict[str, type[Any]] = {"legacy": legacy.QuoteDBPlugin, "modern": QuoteDBPlugin}


def method(plugin: str, name: str) -> FunctionType:
    """Return a method of one of the plugins, from the class that does the work.

    The layers above it (retries, rights, metrics) override it and call it.
    """
    classes = reversed(PLUGINS[plugin].__mro__)
    owner = next((kind for kind in classes if name in vars(kind)), None)
    if owner is None:
        raise LookupError(f"the {plugin} plugin has no method '{name}' any more")
    found = inspect.unwrap(vars(owner)[name])
    assert isinstance(found, FunctionType)
    return found


def current(block: Block) -> str:
    """Return the code that a block should show."""
    plugin, name = block.argument.split()
    return code(method(plugin, name))


def code(function: FunctionType) -> str:
    """Return the code of a function without its docstring.

    The reader of a comparison sees the code; what it promises stands in the reference.
    """
    text = textwrap.dedent(inspect.getsource(function))
    (tree,) = ast.parse(text).body
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    lines = text.splitlines(keepends=True)
    if ast.get_docstring(tree) is None:
        return text
    docstring = tree.body[0]
    return "".join([*lines[: docstring.lineno - 1], *lines[docstring.end_lineno or 0 :]])


def refresh(name: str) -> None:
    """Write the present code into a document."""
    path = DOCS / name
    text = path.read_text("utf-8")
    # From the end, so that the places of the blocks before stay what they are.
    for block in reversed(blocks(name)):
        if block.kind == "from":
            end = block.start + len(block.source)
            text = text[: block.start] + current(block) + text[end:]
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    for document in NAMES:
        refresh(document)
