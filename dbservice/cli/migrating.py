"""`rosey migrate`."""

from __future__ import annotations

import getpass
import os
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dbservice.cli.connecting import is_named, storage_at
from dbservice.cli.failure import REFUSED, USAGE, CommandFailed
from dbservice.cli.migration_report import report
from dbservice.cli.options import Migrate, Verb, Where
from dbservice.cli.output import tell
from dbservice.cli.progress import waiting
from dbservice.client import StorageClient
from dbservice.migrate.template import new_migration
from dbservice.protocol.messages import Reply
from dbservice.protocol.migrations import Repaired, Verified

LONG = 86_400.0
"""Seconds that a migration may take; a service that is gone is noticed long before."""

_DEFAULT_ROOT = Path("migrations")
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
    if asked.verb == "new":
        return _new(asked)
    where = asked.where
    if asked.verb == "verify" and not is_named(where):
        where = replace(where, db=":memory:")  # it works on a scratch database anyway
    async with AsyncExitStack() as connected:
        storage = await storage_at(where, asked.plugin, connected)
        async with waiting(f"{_DOING.get(asked.verb, asked.verb)} of {asked.plugin}"):
            reply = await _send(storage, asked)
    if asked.as_json:
        tell(reply, as_json=True)
    else:
        report(reply, history=asked.verb == "history")
    return REFUSED if isinstance(reply, Verified) and not reply.verified else 0


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
    root = (asked.where.migrations or [_DEFAULT_ROOT])[0]
    if not root.is_dir():
        raise CommandFailed(
            f"There is no folder '{root}': make it, or name another with --migrations DIR.", USAGE
        )
    today = datetime.now(UTC).date().isoformat()
    who = (asked.options.by or author()).partition("@")[0]
    path = new_migration(root, asked.plugin, asked.version, author=who, date=today)
    tell({"success": True, "file": str(path)}, f"Wrote {path}\n", as_json=asked.as_json)
    return 0
