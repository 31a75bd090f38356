"""`rosey export` and `rosey import`: a plugin's namespace to a file, and back."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from dbservice.cli.connecting import database_of, is_memory, no_database, storage_at
from dbservice.cli.failure import UNREACHABLE, USAGE, CommandFailed
from dbservice.cli.options import Where
from dbservice.cli.output import counted, tell
from dbservice.cli.progress import Count, counting
from dbservice.client import StorageClient, ValidationError
from dbservice.protocol.errors import RequestError
from dbservice.protocol.names import namespace
from dbservice.protocol.system import Imported
from dbservice.transfer.lines import EndLine, Header, chained, read

PIPE: Final = "-"
"""The file name that stands for standard input or output."""

_PATIENT: Final = 86_400.0
"""Seconds that clearing, or making the tables, may take; a service that is gone is noticed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line of either command."""

    plugin: str
    file: str
    where: Where
    as_json: bool = False
    clear: bool = False


class _Mark(msgspec.Struct):
    """How far an export has come: the cursor of the next page, and the bytes before it."""

    after: str
    size: int


# -- export ----------------------------------------------------------------------------------------


async def export(asked: Asked) -> int:
    """Write a namespace to a file; return the exit code.

    Raises:
        CommandFailed: there is such a file.
        StorageError: the service refused it.
    """
    namespace(asked.plugin)
    if asked.file == PIPE and asked.as_json:
        raise CommandFailed("--json and '-' both want standard output: name a file.", USAGE)
    path = Path(asked.file)
    if asked.file != PIPE and path.exists():  # noqa: ASYNC240 - nothing else runs yet
        raise CommandFailed(
            f"There is a file {asked.file} already, and it is not overwritten: name another."
        )
    url = database_of(asked.where)
    missing = None if url is None else await no_database(url)
    if missing is not None:
        raise CommandFailed(f"{missing.reason}: there is nothing to export.", UNREACHABLE)
    async with AsyncExitStack() as connected:
        storage = await storage_at(asked.where, asked.plugin, connected)
        described = await storage.describe()
        if not (described.tables or described.keys or described.migrations):
            raise CommandFailed(
                f"'{asked.plugin}' has nothing here, neither tables nor keys nor migrations, so "
                "there is nothing to export. Are the name and the place right?"
            )
        records = sum(table.row_count for table in described.tables) + described.keys
        with counting(f"exporting {asked.plugin}", records) as count:
            if asked.file == PIPE:
                await _to_pipe(storage, count)
                return 0
            unfinished = _Unfinished(path)
            await unfinished.fill(storage, count)
    lines, checksum = unfinished.finish()
    told = {"success": True, "file": asked.file, "lines": lines, "checksum": checksum}
    text = (
        f"Exported {asked.plugin} to {asked.file}: {counted(lines, 'line')}, checksum {checksum}\n"
    )
    tell(told, text, as_json=asked.as_json)
    return 0


async def _to_pipe(storage: StorageClient, count: Count) -> None:
    async for page in storage.export_pages():
        sys.stdout.write(page.text)
        count(page.text.count("\n"))
    sys.stdout.flush()


class _Unfinished:
    """An export on its way: `FILE.part`, and beside it how far it has come.

    Args:
        path: where it will stand in the end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._mark = path.with_name(f"{path.name}.part.next")

    async def fill(self, storage: StorageClient, count: Count) -> None:
        """Write what is not there yet."""
        mark = self._read_mark()
        with self._part.open("r+b" if mark else "wb") as file:
            if mark:
                file.truncate(mark.size)
                count(sum(1 for _ in file))
            async for page in storage.export_pages(after=mark.after if mark else None):
                file.write(page.text.encode())
                file.flush()
                count(page.text.count("\n"))
                if isinstance(page.next, str):
                    self._write_mark(_Mark(page.next, file.tell()))
            os.fsync(file.fileno())

    def finish(self) -> tuple[int, str]:
        """Give it its name; return how many lines it has, and their checksum."""
        with self._part.open("rb") as file:
            end = _checked(file, None)
        self._part.rename(self._path)
        self._mark.unlink(missing_ok=True)
        return end.lines + 1, end.checksum or ""

    def _read_mark(self) -> _Mark | None:
        try:
            mark = msgspec.json.decode(self._mark.read_bytes(), type=_Mark)
            is_usable = self._part.stat().st_size >= mark.size
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return mark if is_usable else None

    def _write_mark(self, mark: _Mark) -> None:
        written = self._mark.with_suffix(".new")
        written.write_bytes(msgspec.json.encode(mark))
        written.replace(self._mark)


# -- import ----------------------------------------------------------------------------------------


async def import_(asked: Asked) -> int:
    """Store a file in an empty namespace; return the exit code.

    Raises:
        CommandFailed: it is no whole export of this plugin, or the namespace is not empty.
        StorageError: the service refused it.
    """
    namespace(asked.plugin)
    if is_memory(asked.where):
        raise CommandFailed("An import into :memory: is gone at once: name a file.", USAGE)
    with ExitStack() as opened:
        file = opened.enter_context(_opened(asked.file))
        end = _checked(file, asked.plugin)
        session = _digest(file)
        async with AsyncExitStack() as connected:
            storage = await storage_at(asked.where, asked.plugin, connected)
            store = partial(_store, storage, file, session, asked.plugin, end.lines)
            try:
                done = await store()
            except ValidationError as error:
                if error.details.get("field") not in ("plugin", "session"):
                    raise
                if not asked.clear:
                    raise _with_advice(error, asked) from None
                # The service has looked whether it can take the file: nothing is lost for one that
                # it cannot.
                await storage.clear(timeout=_PATIENT)
                done = await store()
    told = {"success": True, "file": asked.file, "checksum": end.checksum, "tables": done.tables}
    told |= {"rows": done.rows, "keys": done.keys, "migrations": done.migrations}
    text = (
        f"Imported {counted(done.rows, 'row')} of {counted(done.tables, 'table')} and "
        f"{counted(done.keys, 'key')} into {asked.plugin}, with "
        f"{counted(done.migrations, 'migration')}\n"
    )
    tell(told, text, as_json=asked.as_json)
    return 0


async def _store(
    storage: StorageClient, file: BinaryIO, session: str, plugin: str, lines: int
) -> Imported:
    with counting(f"importing {plugin}", lines) as count:
        return await storage.import_(_lines(file, count), session=session, timeout=_PATIENT)


def _with_advice(error: ValidationError, asked: Asked) -> CommandFailed:
    advice = f"To remove what is there and import the file: {_command(asked, clear=True)}"
    return CommandFailed(f"{error.message} {advice}", **error.details)


def _command(asked: Asked, *, clear: bool) -> str:
    """Return the command line again."""
    words = ["rosey", "import", asked.plugin, asked.file, *(["--clear"] if clear else [])]
    where = asked.where
    for option, value in (("--nats", where.nats), ("--db", where.db)):
        words += [option, value] if value else []
    for root in where.migrations or ():
        words += ["--migrations", str(root)]
    return shlex.join(words)


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """Open a file to be read more than once; what comes through a pipe is put aside first."""
    if name != PIPE:
        with Path(name).open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        yield file


def _checked(file: BinaryIO, plugin: str | None) -> EndLine:
    """Return the last line of an export, once everything above it is found to be whole.

    Args:
        file: the export; it is read from its beginning.
        plugin: whose it has to be, where that matters.

    Raises:
        CommandFailed: it is none, it is cut off, it was changed, or it is of another plugin.
    """
    file.seek(0)
    number, checksum, raw, end = 0, "", b"", None
    try:
        for number, raw in enumerate(file, 1):
            text = raw.decode().rstrip("\r\n")
            if number == 1:
                _check_header(text, plugin)
            if text.startswith('{"is":"end"'):
                end = read(text, number)
                break
            checksum = chained(checksum, text)
    except UnicodeDecodeError:
        raise CommandFailed(f"Line {number} is not UTF-8: this is no export.") from None
    except RequestError as error:
        if raw.endswith(b"\n"):
            raise CommandFailed(error.message) from None
    if not isinstance(end, EndLine):
        where = (
            f"behind line {number}" if raw.endswith(b"\n") or not raw else f"within line {number}"
        )
        raise CommandFailed(
            f"The export ends {where} without its end line: it was cut off. An export that was "
            "interrupted goes on when its command is repeated."
        )
    if any(map(bytes.strip, file)):
        raise CommandFailed(
            f"The export ends with line {number}, and the file goes on behind it: give each export "
            "a file of its own. Nothing was stored."
        )
    if end.lines != number - 1 or end.checksum not in (None, checksum):
        raise CommandFailed(
            "The export is not as it was written: its last line counts "
            f"{end.lines} lines with the checksum {end.checksum}, and there are {number - 1} with "
            f"{checksum}. Nothing was stored."
        )
    return end


def _check_header(text: str, plugin: str | None) -> None:
    header = read(text, 1)
    if not isinstance(header, Header):
        raise CommandFailed("This is no export: its first line is not the header of one.")
    if plugin not in (None, header.plugin):
        raise CommandFailed(
            f"This is an export of '{header.plugin}', not of '{plugin}': "
            f"rosey import {header.plugin} FILE",
            USAGE,
        )


def _digest(file: BinaryIO) -> str:
    """Return what tells this file from every other, and the same file again."""
    file.seek(0)
    digest = hashlib.sha256()
    for line in file:
        digest.update(line)
    return digest.hexdigest()


def _lines(file: BinaryIO, count: Count) -> Iterator[str]:
    file.seek(0)
    for line in file:
        yield line.decode()
        count(1)
