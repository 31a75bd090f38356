"""`rosey migrate`."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dbservice.cli.connecting import connect, database_url
from dbservice.cli.failure import REFUSED, UNREACHABLE, USAGE, CommandFailed
from dbservice.cli.migration_report import report
from dbservice.cli.progress import waiting
from dbservice.client import NoService, RequestTimeout, StorageClient, StorageError
from dbservice.embedded import Stack
from dbservice.engine.errors import UnavailableError
from dbservice.migrate import migration_roots
from dbservice.migrate.template import new_migration
from dbservice.protocol.codec import encode_json
from dbservice.protocol.errors import RequestError
from dbservice.protocol.messages import Reply
from dbservice.protocol.migrations import Repaired, Verified

LONG = 600.0
"""Seconds that a migration may take before the command gives up waiting for the answer."""

_DEFAULT_ROOT = Path("migrations")
_LONGEST_AUTHOR = 100
_DOING = {
    "apply": "applying migrations",
    "rollback": "rolling back migrations",
    "verify": "trying migrations on a scratch database",
}


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `rosey migrate`."""

    plugin: str
    verb: str
    version: str | None
    db: str | None = None
    nats: str | None = None
    migrations: list[Path] | None = None
    dry_run: bool = False
    strict: bool = False
    to: str | None = None
    everything: bool = False
    by: str | None = None
    as_json: bool = False


async def migrate(options: Options) -> int:
    """Do what the command line says; return the exit code.

    Raises:
        CommandFailed: it cannot be done; the text says why.
    """
    if options.verb == "new":
        return _new(options)
    async with AsyncExitStack() as connected:
        storage = await storage_at(options, connected)
        try:
            async with waiting(f"{_DOING.get(options.verb, options.verb)} of {options.plugin}"):
                reply = await _send(storage, options)
        except (NoService, RequestTimeout) as error:
            raise CommandFailed(str(error), UNREACHABLE) from None
        except StorageError as error:
            if options.as_json:
                said = {"code": error.code, "message": error.message, "details": error.details}
                shown = encode_json({"success": False, "error": said})
                sys.stdout.write(shown.decode() + "\n")
            raise CommandFailed(f"{error.code}: {error.message}", REFUSED) from None
    if options.as_json:
        sys.stdout.write(encode_json(reply).decode() + "\n")
    else:
        report(reply, history=options.verb == "history")
    return REFUSED if isinstance(reply, Verified) and not reply.verified else 0


async def storage_at(options: Options, connected: AsyncExitStack) -> StorageClient:
    """Return a client on the service or the database that the command line names.

    Args:
        options: the command line.
        connected: closes what was opened.

    Raises:
        CommandFailed: nothing answers there, or it does not say where.
    """
    nats, database = _where(options)
    if database is None:
        client = await connect(nats)
        connected.push_async_callback(client.close)
        return StorageClient(client, options.plugin)
    roots = migration_roots(options.migrations or ())
    stack = Stack(database_url=database_url(database), migrations=roots)
    try:
        await connected.enter_async_context(stack)
    except UnavailableError as error:
        raise CommandFailed(str(error), UNREACHABLE) from None
    return StorageClient(await stack.connect(), options.plugin)


def author() -> str:
    """Return who runs the command, for the history: `alice@laptop`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without an account, as in containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:_LONGEST_AUTHOR]


def _where(options: Options) -> tuple[str, str | None]:
    """Return the NATS URL or the database to work on: options first, then the environment."""
    nats, database = options.nats, options.db
    if nats and database:
        raise CommandFailed("Send the request to --nats or to --db, not to both.", USAGE)
    if not nats and not database:
        nats, database = os.environ.get("ROSEY_NATS"), os.environ.get("ROSEY_DB")
    if nats and options.migrations:
        raise CommandFailed(
            "--migrations goes with --db: a running service has its own folders.", USAGE
        )
    if nats:
        return nats, None
    if database:
        return "", database
    if options.verb == "verify":
        return "", ":memory:"  # it works on a scratch database anyway
    raise CommandFailed(
        "Say where: --nats URL for a running service (or set ROSEY_NATS), or --db FILE for a "
        "database that no service holds (or set ROSEY_DB).",
        USAGE,
    )


async def _send(storage: StorageClient, options: Options) -> Reply:
    migrations, by = storage.migrations, options.by or author()
    match options.verb:
        case "apply":
            return await migrations.apply(
                options.version,
                dry_run=options.dry_run,
                strict=options.strict,
                applied_by=by,
                timeout=LONG,
            )
        case "rollback":
            return await migrations.rollback(
                options.version,
                to=options.to,
                all=options.everything,
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


def _new(options: Options) -> int:
    if options.version is None:
        raise CommandFailed(
            "Say what it does: rosey migrate PLUGIN new NAME, for example add_tags_column.", USAGE
        )
    root = options.migrations[0] if options.migrations else _DEFAULT_ROOT
    if not root.is_dir():
        raise CommandFailed(
            f"There is no folder '{root}': make it, or name another with --migrations DIR.", USAGE
        )
    today = datetime.now(UTC).date().isoformat()
    who = (options.by or author()).partition("@")[0]
    try:
        path = new_migration(root, options.plugin, options.version, author=who, date=today)
    except RequestError as error:
        raise CommandFailed(error.message, USAGE) from None
    except OSError as error:
        raise CommandFailed(f"The file cannot be written: {error}.") from None
    shown = encode_json({"success": True, "file": str(path)}).decode()
    sys.stdout.write(f"{shown}\n" if options.as_json else f"Wrote {path}\n")
    return 0
