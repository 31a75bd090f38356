"""Finds code of a plugin that goes past the storage service (SPEC 5.6).

It reads the source, and neither imports nor runs it. A comment `# rosey: allow` at the end of a
line says that the line is meant as it is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ALLOWED = re.compile(r"#\s*rosey:\s*allow\b")

_DRIVERS = {
    "sqlite3": "SQLite",
    "pysqlite3": "SQLite",
    "apsw": "SQLite",
    "aiosqlite": "SQLite",
    "psycopg": "PostgreSQL",
    "psycopg2": "PostgreSQL",
    "psycopg_pool": "PostgreSQL",
    "pg8000": "PostgreSQL",
    "asyncpg": "PostgreSQL",
    "aiopg": "PostgreSQL",
    "sqlalchemy": "the database",
    "sqlmodel": "the database",
    "databases": "the database",
    "peewee": "the database",
    "tortoise": "the database",
}
_OPEN = ("client", "protocol", "runtime", "embedded")
"""The rooms of `dbservice` that a plugin may enter."""
_SKIPPED = {"__pycache__", "node_modules", "site-packages", "tests", "build", "dist"}

_CLIENT = "dbservice.client.StorageClient: `.rows(table)` and `.kv`"
_NAME = r'[\w."$]+'

# In capitals it is taken for SQL as soon as it begins like it; otherwise it has to look like SQL
# further on, since "select a quote from the list" is English.
_CAPITALS = re.compile(
    rf"""\s*(?:
        (?P<SELECT>SELECT\s+.*?(?:\sFROM\s+(?P<selected>{_NAME})|$))
      | (?P<INSERT>(?:INSERT|REPLACE)\s+(?:OR\s+\w+\s+)?INTO\s+(?P<inserted>{_NAME}))
      | (?P<UPDATE>UPDATE\s+(?:OR\s+\w+\s+)?(?P<updated>{_NAME})\s+SET\s)
      | (?P<DELETE>DELETE\s+FROM\s+(?P<deleted>{_NAME}))
      | (?P<SCHEMA>(?:CREATE|DROP|ALTER)\s+(?:TEMP\s+|UNIQUE\s+|VIRTUAL\s+|OR\s+REPLACE\s+)*
          (?:TABLE|INDEX|VIEW|TRIGGER)\s)
      | (?P<WITH>WITH\s+(?:RECURSIVE\s+)?\w+(?:\s*\([^)]*\))?\s+AS\s*\()
      | (?P<OTHER>PRAGMA\s+\w|ATTACH\s+DATABASE|BEGIN(?:\s+(?:IMMEDIATE|EXCLUSIVE|TRANSACTION))?
          ;?\s*$|SAVEPOINT\s+\w|VACUUM;?\s*$)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ANY_CASE = re.compile(
    rf"""\s*(?:
        (?P<SELECT>select\s+(?:distinct\s+)?
          (?:\*|{_NAME}(?:\([^)]*\))?(?:\s*,\s*{_NAME}(?:\([^)]*\))?)*)
          \s+from\s+(?P<selected>{_NAME})
          (?:\s*;?\s*$|\s+(?:where|order\s+by|group\s+by|limit|join|left|inner)\s))
      | (?P<INSERT>insert\s+(?:or\s+\w+\s+)?into\s+(?P<inserted>{_NAME})\s*(?:\(|values\b|select\b))
      | (?P<UPDATE>update\s+(?P<updated>{_NAME})\s+set\s+{_NAME}\s*=)
      | (?P<DELETE>delete\s+from\s+(?P<deleted>{_NAME})(?:\s*;?\s*$|\s+where\s))
      | (?P<SCHEMA>create\s+(?:unique\s+)?(?:table|index)\s+(?:if\s+not\s+exists\s+)?{_NAME}\s*
          (?:\(|on\s)|(?:drop|alter)\s+table\s+(?:if\s+exists\s+)?{_NAME}\s*(?:;?\s*$|add|drop|rename))
      | (?P<OTHER>pragma\s+\w+\s*(?:=|\(|;))
    )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_INSTEAD = {
    "SELECT": "{rows}.get(), .select(), .search(), .count() or .aggregate(); or "
    "StorageClient.sql(), which reads with SQL",
    "INSERT": "{rows}.insert(), .insert_many() or .upsert()",
    "UPDATE": "{rows}.update()",
    "DELETE": "{rows}.delete()",
    "SCHEMA": "a migration: migrations/<plugin>/NNN_name.sql",
    "WITH": "StorageClient.sql(), which reads with SQL",
    "OTHER": "nothing: connections and transactions are the service's business",
}


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place that goes past the service.

    Attributes:
        file: as it was given.
        line: its number, from 1.
        what: what stands there.
        instead: what to use.
    """

    file: str
    line: int
    what: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}; use {self.instead}"


def python_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files below the paths that are code of a plugin, sorted.

    Tests, hidden files and folders, and installed packages are left out below a path, never the
    path itself.

    Raises:
        FileNotFoundError: a path does not exist, or has no code below it.
    """
    found: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
        below = {file for file in path.rglob("*.py") if _is_code(file.relative_to(path))}
        if path.is_dir() and not below:
            raise FileNotFoundError(f"there is no code of a plugin (*.py) in {path}")
        found |= below if path.is_dir() else {path}
    return sorted(found)


def findings(file: Path, name: Path | None = None) -> list[Finding]:
    """Return what one file has that goes past the service, in the order of its lines.

    Args:
        file: is read.
        name: what to call it; by default as it is given.
    """
    shown = str(file if name is None else name)
    try:
        source = file.read_bytes()
    except OSError as error:
        return [Finding(shown, 1, f"it cannot be read: {error.strerror}", "a file that can be")]
    return findings_in(source, shown)


def findings_in(source: bytes, name: str) -> list[Finding]:
    """Return what the text of a file has that goes past the service, in the order of its lines.

    Args:
        source: as it is in the file, in the encoding that it declares.
        name: what to call the file.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:  # the latter for a NUL byte, before Python 3.11.4
        line, reason = getattr(error, "lineno", None), getattr(error, "msg", error)
        return [Finding(name, line or 1, f"it is no Python: {reason}", "Python")]
    lines = _lines(source)
    found = {
        Finding(name, line, what, instead)
        for line, what, instead in _Reader(tree).found()
        # A slice: there are encodings in which an escape is a newline.
        if not ALLOWED.search("".join(lines[line - 1 : line]))
    }
    return sorted(found)


_Found = tuple[int, str, str]


class _Reader:
    """Looks at every node of a module."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._passed_over = set(_docstrings(tree)) | set(_queries(tree)) | set(_parts(tree))

    def found(self) -> Iterator[_Found]:
        for node in ast.walk(self._tree):
            match node:
                case ast.Import(names=names):
                    for alias in names:
                        yield from _imported(alias.name, node.lineno)
                case ast.ImportFrom(module=str(module), level=0, names=names):
                    full_names = [module, *(f"{module}.{alias.name}" for alias in names)]
                    yield from list(_imported_any(full_names, node.lineno))[:1]
                case ast.Call(args=[ast.Constant(value=str(name)), *_]) if _imports(node.func):
                    yield from _imported(name, node.lineno)
                case ast.Constant(value=str(text)) if node not in self._passed_over:
                    yield from _sql(text, node.lineno)
                case ast.JoinedStr() if node not in self._passed_over:
                    yield from _sql(_template(node), node.lineno)


def _lines(source: bytes) -> list[str]:
    """Return the lines as Python counts them: a form feed, for one, begins none."""
    text = source.decode(errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _is_code(path: Path) -> bool:
    name = path.name
    return not (
        any(part in _SKIPPED or part.startswith(".") for part in path.parts)
        or name.startswith("test_")
        or name.endswith("_test.py")
        or name == "conftest.py"
    )


def _docstrings(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield texts that are statements of their own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.JoinedStr):
            yield node.value


def _queries(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what is handed to the service's own SQL tier: `storage.sql("SELECT …")`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="sql"), args=[query, *_]):
                yield query


def _parts(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the pieces of f-strings, which are looked at as a whole."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield from (part for part in ast.walk(node) if part is not node)


def _template(node: ast.JoinedStr) -> str:
    parts = [
        str(part.value) if isinstance(part, ast.Constant) else "placeholder" for part in node.values
    ]
    return "".join(parts)


def _imports(function: ast.expr) -> bool:
    match function:
        case ast.Name(id="__import__" | "import_module"):
            return True
        case ast.Attribute(attr="import_module"):
            return True
        case _:
            return False


def _imported_any(names: Sequence[str], line: int) -> Iterator[_Found]:
    for name in names:
        yield from _imported(name, line)


def _imported(name: str, line: int) -> Iterator[_Found]:
    package = name.partition(".")[0]
    if package in _DRIVERS:
        yield line, f"imports {package}, which reaches {_DRIVERS[package]} directly", _CLIENT
    elif package == "dbservice" and name.partition(".")[2].partition(".")[0] not in ("", *_OPEN):
        yield line, f"imports {name}, which is inside the database service", _CLIENT


def _sql(text: str, line: int) -> Iterator[_Found]:
    match = _CAPITALS.match(text) or _ANY_CASE.match(text)
    if match is None:
        return
    found = {name: value for name, value in match.groupdict().items() if value is not None}
    kind = next(name for name in found if name in _INSTEAD)
    table = next((value.strip('"') for name, value in found.items() if name.islower()), "table")
    shown = " ".join(text.split())
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    yield line, f"has SQL: '{shown}'", _INSTEAD[kind].format(rows=f"StorageClient.rows('{table}')")
