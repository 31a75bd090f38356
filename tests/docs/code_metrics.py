"""How much code the legacy plugin and the modern one are, measured on the files themselves.

`python tests/docs/code_metrics.py` writes the tables into docs/how-to/migration-guide.md.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from tests import ROOT
from tests.docs.verbatim import method

PACKAGE = ROOT / "reference_plugin_quote_db"
GUIDE = ROOT / "docs/how-to/migration-guide.md"
BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"

LEGACY = PACKAGE / "legacy.py"
NOT_PARTS = {
    "__init__.py",
    "__main__.py",
    "legacy.py",
    "legacy_file.py",
    "legacy_import.py",
    "import_command.py",
    "switch.py",
}
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
CORE = sorted({Path(method("modern", name).__code__.co_filename) for name in OPERATIONS})
"""The modules that do what the legacy plugin does."""

SET_UPS = (
    (PACKAGE / "tests/test_legacy.py", "old"),
    (PACKAGE / "tests/test_integration.py", "plugin"),
)

Function = ast.FunctionDef | ast.AsyncFunctionDef

_SQL = re.compile(r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|DROP|PRAGMA)\b")
_DRIVER = {"connect", "execute", "executemany", "commit", "rollback", "fetchone", "fetchall"}
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
_BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.comprehension,
    ast.match_case,
)


@dataclass(frozen=True)
class Module:
    """One module: its tree, and the numbers of the lines that hold code."""

    tree: ast.Module
    code: frozenset[int]

    @classmethod
    def read(cls, path: Path) -> Module:
        """Read a module. Blank lines, comments and docstrings are no code."""
        text = path.read_text()
        tree = ast.parse(text)
        code: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type not in _NO_CODE:
                code.update(range(token.start[0], token.end[0] + 1))
        for constant in _docstrings(tree):
            code.difference_update(range(constant.lineno, (constant.end_lineno or 0) + 1))
        return cls(tree, frozenset(code))

    def functions(self) -> list[Measured]:
        """Return all functions and methods."""
        nodes = [node for node in ast.walk(self.tree) if isinstance(node, Function)]
        return [Measured(node, self._lines(node), complexity(node)) for node in nodes]

    def _lines(self, node: Function) -> int:
        return len(self.code.intersection(range(node.lineno, (node.end_lineno or 0) + 1)))


@dataclass(frozen=True)
class Measured:
    """A function, its lines of code, and its branches."""

    node: Function
    lines: int
    branches: int


def complexity(function: ast.AST) -> int:
    """Return McCabe's number: one, and one for every branch."""
    branches = 1
    for node in ast.walk(function):
        branches += isinstance(node, _BRANCHES)
        branches += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
        branches += len(node.ifs) if isinstance(node, ast.comprehension) else 0
    return branches


def sql_strings(tree: ast.AST) -> list[str]:
    """Return the string constants that are SQL."""
    docstrings = {id(constant) for constant in _docstrings(tree)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
        and _SQL.match(node.value)
    ]


def driver_calls(tree: ast.AST) -> int:
    """Return how often a connection is opened, used, committed or read from."""
    return sum(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _DRIVER
        for node in ast.walk(tree)
    )


def modern() -> list[Path]:
    """Return all modules of the modern plugin."""
    return sorted(path for path in PACKAGE.glob("*.py") if path.name not in NOT_PARTS)


def figures(paths: Iterable[Path]) -> dict[str, str]:
    """Return the figures of some modules taken together."""
    modules = [Module.read(path) for path in paths]
    functions = [function for module in modules for function in module.functions()]
    lengths = [function.lines for function in functions]
    branches = [function.branches for function in functions]
    sql = [text for module in modules for text in sql_strings(module.tree)]
    return {
        "lines of code": f"{sum(len(module.code) for module in modules)}",
        "functions": f"{len(functions)}",
        "lines in a function, on average": f"{mean(lengths):.1f}",
        "cyclomatic complexity, on average": f"{mean(branches):.2f}",
        "cyclomatic complexity, at most": f"{max(branches)}",
        "SQL strings": f"{len(sql)}",
        "lines of SQL": f"{sum(len(text.strip().splitlines()) for text in sql)}",
        "calls of a database driver": f"{sum(driver_calls(module.tree) for module in modules)}",
    }


CLAIMED = {
    "lines of code": "485 → 298",
    "lines in a function, on average": "24 → 15",
    "cyclomatic complexity, on average": "6.8 → 3.2",
    "SQL strings": "12 → 0",
    "lines of SQL": "80 → 0",
    "lines of test set-up": "40 → 10",
}
"""Sections 8.7 and 14.6 of the product document: legacy → modern."""


def table() -> str:
    """Return both tables as Markdown."""
    columns = [figures([LEGACY]), figures(CORE), figures(modern())]
    before, after = (str(_set_up(path, name)) for path, name in SET_UPS)
    columns = [
        {**column, "lines of test set-up": lines}
        for column, lines in zip(columns, (before, after, after), strict=True)
    ]
    rows = [
        f"| {name} | {' | '.join(column[name] for column in columns)} | {CLAIMED.get(name, '')} |"
        for name in columns[0]
    ]
    core = ", ".join(f"`{path.name}`" for path in CORE)
    heads = f"`legacy.py` | the same operations: {core} | all {len(modern())} modules"
    return "\n".join(
        [
            f"| | {heads} | the product document says |",
            "|---|--:|--:|--:|--:|",
            *rows,
            "",
            "| operation | lines, legacy | lines, modern | branches, legacy | branches, modern |",
            "|---|--:|--:|--:|--:|",
            *_operations(),
            "",
        ]
    )


def refresh() -> None:
    """Write the tables into the guide."""
    text = GUIDE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    GUIDE.write_text(f"{before}{BEGIN}{table()}{END}{after}")


def _operations() -> Iterator[str]:
    """Yield a row for each operation, one for the private functions that they share, and a sum."""
    both = [_functions([LEGACY]), _functions(CORE)]
    rows = [(f"`{name}`", [_named(functions, {name}) for functions in both]) for name in OPERATIONS]
    rows.append(("what they share", [_shared(functions) for functions in both]))
    sums = [0, 0, 0, 0]
    for name, found in rows:
        numbers = [sum(function.lines for function in functions) for functions in found]
        numbers += [sum(function.branches for function in functions) for functions in found]
        sums = [total + number for total, number in zip(sums, numbers, strict=True)]
        yield f"| {name} | {' | '.join(map(str, numbers))} |"
    yield f"| together | {' | '.join(map(str, sums))} |"


def _shared(functions: list[Measured]) -> list[Measured]:
    """Return the private functions that the operations call, each once."""
    private = {found.node.name for found in functions if found.node.name.startswith("_")}
    shared: set[str] = set()
    waiting = set(OPERATIONS)
    while waiting:
        called = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for function in _named(functions, waiting)
            for node in ast.walk(function.node)
            if isinstance(node, ast.Attribute | ast.Name)
        }
        waiting = (called & private) - shared
        shared |= waiting
    return _named(functions, shared)


def _functions(paths: Iterable[Path]) -> list[Measured]:
    return [function for path in paths for function in Module.read(path).functions()]


def _named(functions: list[Measured], names: set[str]) -> list[Measured]:
    return [function for function in functions if function.node.name in names]


def _set_up(path: Path, name: str) -> int:
    (fixture,) = _named(_functions([path]), {name})
    return fixture.lines


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield docstrings, and the strings that describe constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


if __name__ == "__main__":
    refresh()
