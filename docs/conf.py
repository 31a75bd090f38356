"""How the site is built: `sphinx-build -W docs docs/_build/html`, offline and with no warning.

The pages under `reference/generated/` are written by `generate.py` before each build, from the code
that is installed, so that none of them can be out of date.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import version as installed
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "pytest-rosey"
version = release = installed("pytest-rosey")
copyright = "the pytest-rosey developers, MIT licence"  # noqa: A001 - Sphinx's name for it

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "reference/examples"]
html_theme = "furo"
html_title = "pytest-rosey"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
smartquotes = False  # they make a dash of the two of an option

myst_enable_extensions = ["colon_fence", "attrs_inline", "attrs_block", "tasklist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_numpy_docstring = False


def setup(app: Sphinx) -> None:
    """Write the generated pages before Sphinx looks for documents."""
    app.connect("builder-inited", _generated, priority=1)
    app.connect("source-read", _names_of_files)
    # Before napoleon, which takes a colon in single backticks for the end of a type.
    app.connect("autodoc-process-docstring", _code_in_backticks, priority=400)


def _generated(_app: Sphinx) -> None:
    import generate

    generate.write(HERE / "reference" / "generated")


def _names_of_files(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Show the name of the file above a block that is one; its mark is a comment for the tests."""
    source[0] = re.sub(
        r"<!-- (?:file|example|edit): (\S+) -->\n(?=```)", r"{.file}\n`\1`\n\n", source[0]
    )
    # A message is a text: it has no lines that would have to stay whole.
    source[0] = re.sub(r"<!-- message: [^\n]+ -->\n(?=```)", "{.message}\n", source[0])


def _code_in_backticks(_app: Sphinx, _what: str, _name: str, *rest: object) -> None:
    """Read `code` in docstrings as Markdown does; reStructuredText wants two backticks."""
    lines = rest[-1]
    assert isinstance(lines, list)
    lines[:] = [re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line) for line in lines]
