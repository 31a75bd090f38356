"""`rosey scaffold`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dbservice.cli import migrating
from dbservice.cli.connecting import storage_at
from dbservice.cli.failure import USAGE, CommandFailed
from dbservice.cli.options import Where
from dbservice.cli.progress import PATIENCE
from dbservice.client import StorageClient
from dbservice.protocol.codec import encode_json
from dbservice.protocol.errors import RequestError
from dbservice.protocol.names import Namespace, namespace
from dbservice.scaffold.carry import Progress, carry
from dbservice.scaffold.scaffold import TABLES_FILE, Scaffold, scaffold
from dbservice.scaffold.source import Source, SourceError

_FIRST = TABLES_FILE.removesuffix(".sql")


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line of `rosey scaffold`."""

    file: Path
    plugin: str
    out: Path
    carries: bool
    where: Where
    as_json: bool = False


async def run(options: Asked) -> int:
    """Do what the command line says; return the exit code.

    Raises:
        CommandFailed: it cannot be done; the text says why.
    """
    try:
        owner = namespace(options.plugin)
        with Source(options.file, owner) as source:
            return await _run(options, owner, source)
    except SourceError as error:
        raise CommandFailed(str(error)) from None
    except RequestError as error:
        raise CommandFailed(error.message, USAGE) from None


async def _run(options: Asked, owner: Namespace, source: Source) -> int:
    made = scaffold(source, owner, options.file.name)
    paths = _written(options, made)
    carried: dict[str, int] = {}
    if options.carries:
        carried = await _import(options, source)
    if options.as_json:
        told = {"files": list(map(str, paths)), "notes": made.notes, "imported": carried}
        sys.stdout.write(encode_json({"success": True, **told}).decode() + "\n")
        return 0
    lines = [f"Wrote {path}" for path in paths]
    lines += [f"note: {note}" for note in made.notes]
    lines += [f"Imported {rows} rows into {table}" for table, rows in carried.items()]
    if not options.carries:
        lines.append(
            f"Look through them, then: rosey scaffold {options.file} --plugin {options.plugin} "
            f"--out {options.out} --import --db FILE"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _written(options: Asked, made: Scaffold) -> list[Path]:
    """Write the files, unless the same ones are there."""
    is_own = options.out.resolve().name == options.plugin
    directory = options.out if is_own else options.out / options.plugin
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
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in paths:
            path.write_text(made.files[path.name], "utf-8")
    except OSError as error:
        raise CommandFailed(f"The migrations cannot be written: {error}.") from None
    return paths


async def _import(options: Asked, source: Source) -> dict[str, int]:
    where = options.where
    if where.db and not where.migrations:
        where = replace(where, migrations=[options.out])
    async with AsyncExitStack() as connected:
        storage = await storage_at(where, options.plugin, connected)
        await _make_tables(storage, options)
        with _shown() as progress:
            carried = await carry(source, storage, progress)
        await storage.migrations.apply(applied_by=migrating.author(), timeout=migrating.LONG)
        await _compare(storage, source)
    return carried


async def _make_tables(storage: StorageClient, options: Asked) -> None:
    status = await storage.migrations.status()
    known = [*status.applied_migrations, *status.pending_migrations]
    if known[:1] != [_FIRST]:
        raise CommandFailed(
            f"The service does not have {TABLES_FILE} of {options.plugin}: start it with "
            f"--migrations {options.out}, or copy the files to where it looks."
        )
    if status.current_version > 1:
        raise CommandFailed(
            f"{options.plugin} is at version {status.current_version} already, so its rows were "
            f"imported before. To start again: rosey migrate {options.plugin} rollback --all"
        )
    await storage.migrations.apply(1, applied_by=migrating.author(), timeout=migrating.LONG)


async def _compare(storage: StorageClient, source: Source) -> None:
    for table in source.tables:
        there = await storage.rows(table.name).count()
        if there != table.rows:
            raise CommandFailed(
                f"{table.name} has {there} rows after the import, and the file has {table.rows}. "
                "Was the table in use meanwhile?"
            )


@contextmanager
def _shown() -> Iterator[Progress | None]:
    """Show on a terminal how far the import is, once it takes longer than a second."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    began = time.monotonic()
    with Bar(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(table: str, done: int, total: int) -> None:
            if time.monotonic() - began < PATIENCE:
                return
            if table not in tasks:
                tasks[table] = bar.add_task(table, total=total)
            bar.update(tasks[table], completed=done)

        yield show
