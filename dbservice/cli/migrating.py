"""`rosey migrate`."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from dbservice.cli.connecting import (
    IN_MEMORY,
    database_of,
    is_named,
    no_database,
    storage_at,
)
from dbservice.cli.failure import REFUSED, UNREACHABLE, USAGE, CommandFailed
from dbservice.cli.migration_report import report
from dbservice.cli.options import Migrate, Verb, Where
from dbservice.cli.output import tell
from dbservice.cli.progress import waiting
from dbservice.client import MigrationNotFound, StorageClient
from dbservice.migrate import migration_roots, plugin_directory
from dbservice.migrate.roots import DEFAULT_ROOT, places_told
from dbservice.migrate.template import new_migration
from dbservice.protocol.messages import Reply
from dbservice.protocol.migrations import Applied, MigrationStatus, Repaired, Verified
from dbservice.protocol.names import namespace

LONG = 86_400.0
"""Seconds that a migration may take; a service that is gone is noticed long before."""

_LONGEST_AUTHOR = 100
_DOING = {
    "apply": "applying migrations",
    "rollback": "rolling back migrations",
    "verify": "trying migrations on a scratch database",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line of `rosey migrate`."""

    plugin: str
    verb: Verb
    version: str | None
    where: Where
    options: Migrate
    as_json: bool = False


async def migrate(asked: Asked) -> int:
    """Do what the command line says; return the exit code.

    Raises:
        CommandFailed: it cannot be done; the text says why.
        StorageError: the service refused it.
    """
    _check_options(asked)
    if asked.verb == "new":
        return _new(asked)
    where = await _without_making(asked)
    database = database_of(where)
    roots = [] if database is None else migration_roots(where.migrations or ())
    async with AsyncExitStack() as connected:
        storage = await storage_at(where, asked.plugin, connected)
        async with waiting(f"{_DOING.get(asked.verb, asked.verb)} of {asked.plugin}"):
            reply = await _answered(storage, asked, roots)
        standing = await _standing(storage, reply)
    directory = plugin_directory(roots, asked.plugin)
    if asked.as_json:
        tell(_with_directory(reply, directory), as_json=True)
    else:
        report(reply, history=asked.verb == "history", standing=standing, directory=directory)
    return REFUSED if isinstance(reply, Verified) and not reply.verified else 0


async def _without_making(asked: Asked) -> Where:
    """Return where to work so that what only reads makes no database where none is.

    Raises:
        CommandFailed: there is none, and the command needs one.
    """
    where = asked.where
    if asked.verb == "verify" and not is_named(where):
        return replace(where, db=IN_MEMORY)  # it works on a scratch database anyway
    url = database_of(where)
    if url is None or (asked.verb == "apply" and not asked.options.dry_run):
        return where
    missing = await no_database(url)
    if missing is None:
        return where
    if missing.file is None:  # what is in memory is another engine
        raise CommandFailed(
            f"{missing.reason}, so nothing is applied there. If it is the right one, "
            f"`rosey migrate {asked.plugin} apply` with the same --db begins there.",
            UNREACHABLE,
        )
    if asked.verb == "verify":
        return replace(where, db=IN_MEMORY)
    if asked.verb == "apply":
        sys.stderr.write(f"{missing.reason}: this runs on an empty one in memory.\n")
        return replace(where, db=IN_MEMORY)
    raise CommandFailed(
        f"{missing.reason}, so nothing is applied there. If the path is right, make it: "
        f"rosey migrate {asked.plugin} apply --db {missing.file}",
        UNREACHABLE,
    )


async def _answered(storage: StorageClient, asked: Asked, roots: list[Path]) -> Reply:
    try:
        return await _send(storage, asked)
    except MigrationNotFound as error:
        if "roots" not in error.details or not roots:
            raise  # it has some; or a running service knows the places, and may not say them
        details = error.details | {"places": [str(root) for root in roots]}
        raise MigrationNotFound(places_told(roots, asked.plugin), details=details) from None


async def _standing(storage: StorageClient, reply: Reply) -> MigrationStatus | None:
    """Return how things stand where nothing was done, which explains why."""
    match reply:
        case Applied(migrations=[]) | Repaired(repaired=[]):
            return await storage.migrations.status()
    return None


def _with_directory(reply: Reply, directory: Path | None) -> Any:
    told = msgspec.to_builtins(reply)
    is_status = isinstance(reply, MigrationStatus) and directory is not None
    return told | {"directory": str(directory)} if is_status else told


_VERBS_OF: Final = {
    "version": ("apply", "rollback", "new"),
    "dry_run": ("apply", "rollback"),
    "strict": ("apply",),
    "to": ("rollback",),
    "all": ("rollback",),
}
"""What each option goes with; with another verb it would be passed over."""


def _check_options(asked: Asked) -> None:
    given = {"version": asked.version, **asdict(asked.options)}
    for name, verbs in _VERBS_OF.items():
        if given[name] and asked.verb not in verbs:
            option = f"--{name.replace('_', '-')}" if name != "version" else "A version"
            raise CommandFailed(
                f"{option} does not go with {asked.verb}, but with "
                f"{' and '.join(verbs)}. See: rosey migrate --help",
                USAGE,
            )


def author() -> str:
    """Return who runs the command, for the history: `alice@laptop`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without an account, as in containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:_LONGEST_AUTHOR]


async def _send(storage: StorageClient, asked: Asked) -> Reply:
    migrations, options = storage.migrations, asked.options
    by = options.by or author()
    match asked.verb:
        case "apply":
            return await migrations.apply(
                asked.version,
                dry_run=options.dry_run,
                strict=options.strict,
                applied_by=by,
                timeout=LONG,
            )
        case "rollback":
            return await migrations.rollback(
                asked.version,
                to=options.to,
                all=options.all,
                dry_run=options.dry_run,
                applied_by=by,
                timeout=LONG,
            )
        case "verify":
            return await migrations.verify(timeout=LONG)
        case "repair":
            return Repaired(repaired=await migrations.repair())
        case _:
            return await migrations.status()


def _new(asked: Asked) -> int:
    if asked.version is None:
        raise CommandFailed(
            f"Say what it does, for example: rosey migrate {asked.plugin} new add_tags_column",
            USAGE,
        )
    directory = _directory_of_new(asked.plugin, asked.where.migrations or [])
    today = datetime.now(UTC).date().isoformat()
    who = (asked.options.by or author()).partition("@")[0]
    path = new_migration(directory, asked.plugin, asked.version, author=who, date=today)
    tell({"success": True, "file": str(path)}, f"Wrote {path}\n", as_json=asked.as_json)
    return 0


def _directory_of_new(plugin: str, given: list[Path]) -> Path:
    """Return where `apply` looks for the plugin's files, or will look once there is one."""
    namespace(plugin)
    directory = plugin_directory(migration_roots(given), plugin)
    if directory is not None:
        return directory
    root = given[0] if given else DEFAULT_ROOT
    return root if root.resolve().name == plugin else root / plugin
