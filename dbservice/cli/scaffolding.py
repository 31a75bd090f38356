"""`rosey scaffold`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dbservice.cli.failure import USAGE, CommandFailed
from dbservice.cli.migrating import author
from dbservice.cli.output import counted, tell
from dbservice.migrate.files import parse
from dbservice.migrate.ledger import APPLIED
from dbservice.protocol.migrations import HistoryEntry
from dbservice.protocol.names import Namespace, namespace
from dbservice.runtime.clock import timestamp
from dbservice.scaffold.scaffold import Scaffold, scaffold
from dbservice.scaffold.source import Source, SourceError, SourceTable
from dbservice.sqltext.dialects import Dialect
from dbservice.transfer.lines import (
    FORMAT,
    EndLine,
    Header,
    Line,
    RowLine,
    TableLine,
    cell,
    written,
)

_BEGINNING = '{"is":"namespace"'
"""What an export begins with."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line of `rosey scaffold`."""

    file: Path
    plugin: str
    out: Path
    as_json: bool = False


def run(asked: Asked) -> int:
    """Do what the command line says; return the exit code.

    Raises:
        CommandFailed: it cannot be done; the text says why.
    """
    owner = namespace(asked.plugin)
    try:
        with Source(asked.file, owner) as source:
            return _run(asked, owner, source)
    except SourceError as error:
        raise CommandFailed(str(error)) from None


def _run(asked: Asked, owner: Namespace, source: Source) -> int:
    made = scaffold(source, owner, asked.file.name)
    paths = _migrations_written(asked, made)
    rows = asked.out.parent / f"{asked.plugin}.jsonl"
    _write_rows(rows, _lines(source, made, owner))
    counts = {table.name: table.rows for table in source.tables}
    told = {"files": list(map(str, paths)), "rows_file": str(rows), "rows": counts}
    lines = [f"Wrote {path}" for path in paths]
    lines.append(
        f"Wrote {rows}: {counted(sum(counts.values()), 'row')} of {counted(len(counts), 'table')}"
    )
    lines += [f"note: {note}" for note in made.notes]
    lines.append(
        f"Look through them, then: rosey import {asked.plugin} {rows} --db rosey.db "
        f"--migrations {asked.out}"
    )
    value = {"success": True, **told, "notes": made.notes}
    tell(value, "".join(f"{line}\n" for line in lines), as_json=asked.as_json)
    return 0


def _migrations_written(asked: Asked, made: Scaffold) -> list[Path]:
    """Write the migrations, unless the same ones are there."""
    is_own = asked.out.resolve().name == asked.plugin
    directory = asked.out if is_own else asked.out / asked.plugin
    there = {path.name: path.read_text("utf-8") for path in sorted(directory.glob("*.sql"))}
    paths = [directory / name for name in made.files]
    if there == made.files:
        return paths
    if there:
        raise CommandFailed(
            f"{directory} has other migrations ({', '.join(there)}): a scaffold is where a plugin "
            "starts. Name an empty folder with --out.",
            USAGE,
        )
    directory.mkdir(parents=True, exist_ok=True)
    for path in paths:
        path.write_text(made.files[path.name], "utf-8")
    return paths


# --- rows ----------------------------------------------------------------------------------------


def _write_rows(path: Path, lines: Iterator[Line]) -> None:
    """Write an export; one of before is replaced, a file that is none stays."""
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            is_export = file.read(len(_BEGINNING)) == _BEGINNING
        if not is_export:
            raise CommandFailed(
                f"{path} is there, and is no export: move it away, or name another folder with "
                "--out; the rows are written beside it.",
                USAGE,
            )
    unfinished = path.with_name(f"{path.name}.part")
    with unfinished.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{written(line)}\n" for line in lines)
    unfinished.replace(path)


def _lines(source: Source, made: Scaffold, owner: Namespace) -> Iterator[Line]:
    """Yield the rows as `rosey export` would, had the service held them under the new names."""
    now = timestamp(time.time())
    yield Header(FORMAT, owner.plugin, Dialect.SQLITE, now, _history(made, now))
    count = 1
    for table in source.tables:
        columns = [table.columns[name] for name in table.stored]
        yield TableLine(table.name, columns, source.last_id(table), None)
        yield from _row_lines(source, table)
        count += 1 + table.rows
    yield EndLine(count)


def _row_lines(source: Source, table: SourceTable) -> Iterator[Line]:
    kinds = [table.types[name].type for name in table.stored]
    for row in source.rows(table):
        yield RowLine([cell(kind, value) for kind, value in zip(kinds, row, strict=True)])


def _history(made: Scaffold, now: str) -> list[HistoryEntry]:
    """Return the bookkeeping of the written files, which the import applies before the rows."""
    files = [parse(name, text.encode()) for name, text in made.files.items()]
    return [
        HistoryEntry(
            version=file.version,
            name=file.name,
            checksum=file.checksum,
            applied_at=now,
            applied_by=author(),
            execution_ms=0.0,
            state=APPLIED,
        )
        for file in files
    ]
