"""Migration files: found, checked and cut into sections (SPEC 4)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from dbservice.migrate.roots import plugin_directory
from dbservice.protocol.errors import ErrorCode, RequestError
from dbservice.sqltext.dialects import Dialect
from dbservice.sqltext.lexer import Command, SqlError, commands, is_open

FILE_NAME = re.compile(r"(\d{3})_([a-z0-9]+(?:_[a-z0-9]+)*)\.sql")
# Possessive: a line of nothing but blanks would be tried in a thousand times a thousand ways.
SECTION = re.compile(r"^--\s*+(UP|DOWN)\s*+(\((sqlite|postgresql)\))?\s*+(:.*)?$")
IRREVERSIBLE = re.compile(r"^--\s*+IRREVERSIBLE\s*+:\s*+(\S.*)$")
HEADER = re.compile(r"^--\s*+([A-Z][A-Za-z ]*+)\s*+:(.*)$")

# Lines that are comments by the rule but were surely meant as a section: an unknown engine, or
# (looked at only when a section is missing) another spelling.
_OTHER_ENGINE = re.compile(r"^--\s*(?:UP|DOWN)\s*\(\s*([\w-]+)\s*\)\s*(:.*)?$")
_NEAR_MISS = re.compile(r"^\s*--\s*(up|down)\b", re.IGNORECASE)

MOST_SECTION_LINES = 100
"""A file has six sections at the most; the others stand in comments and strings."""

EXPECTED_NAME = "NNN_snake_name.sql, for example 001_create_quotes_table.sql"
EXPECTED_SECTION = "a line '-- UP', '-- UP (sqlite)' or '-- UP (postgresql)'; the same for DOWN"


class Direction(StrEnum):
    """Which way a section leads."""

    UP = "UP"
    DOWN = "DOWN"


@dataclass(frozen=True, slots=True)
class Section:
    """The part of a file after one `-- UP` or `-- DOWN` line.

    Attributes:
        direction: which way it leads.
        engine: the one engine it is for, or None for both.
        line: the number of its first line of SQL.
        text: its SQL.
    """

    direction: Direction
    engine: Dialect | None
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One parsed file.

    Attributes:
        number: 3 for `003_add_tags_column.sql`.
        name: the file name without its ending.
        checksum: SHA-256 of the text, without byte order mark and with newlines normalised.
        header: what the comments at the top say, for example `{"Author": "..."}`.
        sections: all sections, in the order of the file.
        irreversible: why it cannot be rolled back, if it says so.
    """

    number: int
    name: str
    checksum: str
    header: dict[str, str]
    sections: tuple[Section, ...]
    irreversible: str | None
    _commands: dict[tuple[Direction, Dialect], list[Command]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def version(self) -> str:
        """`003`."""
        return self.name[:3]

    @property
    def file(self) -> str:
        """The file name; errors use it instead of a path."""
        return f"{self.name}.sql"

    @property
    def recorded(self) -> tuple[str, str]:
        """What the bookkeeping keeps of it: name and checksum."""
        return self.name, self.checksum

    def commands(self, direction: Direction, dialect: Dialect) -> list[Command]:
        """Return the SQL commands for one engine, from its own and the unmarked sections.

        They are read once, however often they are asked for.

        Raises:
            RequestError: MIGRATION_FAILED with file and line if a quote or comment is not closed.
        """
        if (direction, dialect) not in self._commands:
            self._commands[direction, dialect] = self._read(direction, dialect)
        return self._commands[direction, dialect]

    def _read(self, direction: Direction, dialect: Dialect) -> list[Command]:
        found: list[Command] = []
        for section in self.sections:
            if section.direction is direction and section.engine in (None, dialect):
                try:
                    found += commands(section.text, dialect, first_line=section.line)
                except SqlError as error:
                    raise refusal(self.file, error.line, error.message) from None
        return found

    def is_reversible(self, dialect: Dialect) -> bool:
        """Whether there is SQL, or at least a section of its own, that rolls it back."""
        return self.irreversible is None and (
            bool(self.commands(Direction.DOWN, dialect)) or self.marks(Direction.DOWN, dialect)
        )

    def marks(self, direction: Direction, dialect: Dialect) -> bool:
        """Whether a section is marked for this engine alone; such a one may be empty."""
        return any(
            section.direction is direction and section.engine is dialect
            for section in self.sections
        )


def refusal(
    file: str, line: int | None, message: str, *, expected: str | None = None
) -> RequestError:
    """Return the MIGRATION_FAILED error for a file that cannot be taken as it stands."""
    place = file if line is None else f"{file} line {line}"
    wish = f" Expected {expected}." if expected else ""
    return RequestError(
        ErrorCode.MIGRATION_FAILED,
        f"{place}: {message}.{wish}",
        file=file,
        line=line,
        expected=expected,
    )


def read_migrations(roots: Iterable[Path], plugin: str) -> list[MigrationFile]:
    """Read and check the files of a plugin; an unknown plugin has none.

    Args:
        roots: see `dbservice.migrate.roots`.
        plugin: a checked plugin name.

    Returns:
        The migrations in the order of their numbers.

    Raises:
        RequestError: MIGRATION_ORDER for a gap or a duplicate, MIGRATION_FAILED for a file that
            cannot be understood. Both name the file.
    """
    directory = plugin_directory(roots, plugin)
    if directory is None:
        return []
    files = [parse(path.name, path.read_bytes()) for path in migration_paths(directory)]
    check_numbering(files)
    return files


def migration_paths(directory: Path) -> list[Path]:
    """Return the files in a plugin's directory that should be migrations, by name.

    Hidden files are none: editors put their copies there.
    """
    found = (path for path in directory.iterdir() if path.suffix.lower() == ".sql")
    return sorted(path for path in found if not path.name.startswith("."))


def check_numbering(files: Iterable[MigrationFile]) -> None:
    """Check that the numbers run from 001 without gap or duplicate.

    Raises:
        RequestError: MIGRATION_ORDER naming the files.
    """
    previous: MigrationFile | None = None
    for file in files:
        wanted = previous.number + 1 if previous else 1
        if previous and file.number == previous.number:
            raise _out_of_order(
                f"{previous.file} and {file.file} have the same number {file.version}: "
                "renumber the newer one.",
                [previous.file, file.file],
            )
        if file.number != wanted:
            before = f"after {previous.file}" if previous else "at the start"
            raise _out_of_order(
                f"{file.file} leaves a gap {before}: expected number {wanted:03}.", [file.file]
            )
        previous = file


def _out_of_order(message: str, files: list[str]) -> RequestError:
    return RequestError(ErrorCode.MIGRATION_ORDER, message, files=files)


@lru_cache(maxsize=256)
def parse(file: str, content: bytes) -> MigrationFile:
    """Parse one file; one that has not changed is not parsed again.

    Args:
        file: its name, without folders.
        content: its bytes.

    Raises:
        RequestError: MIGRATION_FAILED naming file and line, and what was expected.
    """
    match = FILE_NAME.fullmatch(file)
    if not match:
        raise refusal(file, None, "this is not a migration's file name", expected=EXPECTED_NAME)
    text = _text(file, content)
    lines = text.split("\n")
    _check_number(file, lines)
    starts = _section_lines(lines)
    _check_engines(file, lines, starts)
    sections = _cut(file, lines, starts)
    if not any(section.direction is Direction.UP for section in sections):
        raise _no_section(file, lines)
    head = lines[: sections[0].line - 2]
    _check_head(file, head)
    migration = MigrationFile(
        number=int(match[1]),
        name=file.removesuffix(".sql"),
        checksum=hashlib.sha256(text.encode()).hexdigest(),
        header={
            found[1].rstrip(): found[2].strip() for line in head if (found := HEADER.match(line))
        },
        sections=tuple(sections),
        irreversible=_irreversible(lines, starts),
    )
    _check_one_way(migration)
    return migration


def _text(file: str, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise refusal(file, line, "this is not UTF-8", expected="a UTF-8 text file") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise refusal(file, line, "there is a NUL character", expected="a UTF-8 text file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


Starts = list[tuple[int, re.Match[str]]]
"""Where sections start: the index of the line, and what it says."""


def _cut(file: str, lines: list[str], starts: Starts) -> list[Section]:
    """Cut the lines into sections, which may come in any order but only once each."""
    stops = [*(index for index, _ in starts), len(lines)][1:]
    sections: list[Section] = []
    for (start, match), stop in zip(starts, stops, strict=True):
        direction, engine = Direction(match[1]), Dialect(match[3]) if match[3] else None
        for other in sections:
            if (other.direction, other.engine) == (direction, engine):
                raise refusal(
                    file,
                    start + 1,
                    f"the section '{match[0].rstrip()}' is here a second time, "
                    f"the first is on line {other.line - 1}",
                    expected="each section once",
                )
        text = "\n".join(lines[start + 1 : stop])
        sections.append(Section(direction, engine, start + 2, text))
    return sections


def _check_number(file: str, lines: list[str]) -> None:
    """Refuse what would take time of the square: what is above each such line is read again."""
    alike = sum(bool(SECTION.match(line) or _OTHER_ENGINE.match(line)) for line in lines)
    if alike > MOST_SECTION_LINES:
        raise refusal(
            file,
            None,
            f"{alike} lines look like the start of a section",
            expected=f"at most {MOST_SECTION_LINES}, those in comments and strings included",
        )


def _section_lines(lines: list[str]) -> Starts:
    """Return the lines that start sections: not those inside a string or a block comment."""
    found: Starts = []
    for index, line in enumerate(lines):
        if (match := SECTION.match(line)) and not _is_inside(lines, found, index):
            found.append((index, match))
    return found


def _is_inside(lines: list[str], starts: Starts, index: int) -> bool:
    """Whether a line continues what its section has opened, for every engine of the section."""
    start, section = next((s for s in reversed(starts) if s[0] < index), (-1, None))
    engine = section[3] if section else None
    above = "\n".join(lines[start + 1 : index])
    return all(is_open(above, dialect) for dialect in ([Dialect(engine)] if engine else Dialect))


def _check_engines(file: str, lines: list[str], starts: Starts) -> None:
    """Refuse `-- UP (mysql)`: by the rule a comment, so its SQL would join the section above."""
    for index, line in enumerate(lines):
        other = None if SECTION.match(line) else _OTHER_ENGINE.match(line)
        if other and not _is_inside(lines, starts, index):
            message = f"'{line.strip()}' names the unknown engine '{other[1]}'"
            raise refusal(file, index + 1, message, expected=EXPECTED_SECTION)


def _no_section(file: str, lines: list[str]) -> RequestError:
    _check_open(file, lines)
    for number, line in enumerate(lines, 1):
        if _NEAR_MISS.match(line):
            message = f"there is no UP section, and '{line.strip()[:60]}' is only a comment"
            return refusal(file, number, message, expected=EXPECTED_SECTION)
    return refusal(file, None, "there is no UP section", expected=EXPECTED_SECTION)


def _check_head(file: str, head: list[str]) -> None:
    """Refuse SQL above the first section, where it would silently never run."""
    if stray := _check_open(file, head):
        message = "there is SQL above the first section"
        raise refusal(file, stray[0].line, message, expected=EXPECTED_SECTION)


def _check_open(file: str, lines: list[str]) -> list[Command]:
    """Return the commands in lines that belong to no section; refuse what they leave open."""
    if all(not line.strip() or line.lstrip().startswith("--") for line in lines):
        return []
    try:
        return commands("\n".join(lines), Dialect.SQLITE)
    except SqlError as error:
        raise refusal(file, error.line, error.message) from None


def _irreversible(lines: list[str], starts: Starts) -> str | None:
    for index, line in enumerate(lines):
        if (match := IRREVERSIBLE.match(line)) and not _is_inside(lines, starts, index):
            return match[1].strip()
    return None


def _check_one_way(migration: MigrationFile) -> None:
    down = [section for section in migration.sections if section.direction is Direction.DOWN]
    if down and migration.irreversible is not None:
        message = "the file says that it is IRREVERSIBLE and has a DOWN section"
        raise refusal(migration.file, down[0].line - 1, message, expected="one of the two")
