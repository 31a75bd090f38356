"""`rosey migrate`."""

from __future__ import annotations

import os
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from dbservice.cli.connecting import connect, database_url
from dbservice.cli.failure import REFUSED, UNREACHABLE, USAGE, CommandFailed
from dbservice.client import NoService, RequestTimeout, StorageClient, StorageError
from dbservice.embedded import Stack
from dbservice.migrate import migration_roots
from dbservice.protocol.codec import encode_json
from dbservice.protocol.messages import Reply
from dbservice.protocol.migrations import Applied, MigrationStatus, RolledBack
from dbservice.storage.errors import UnavailableError

_LONG = 600.0
"""Seconds that a migration may take before the command gives up waiting for the answer."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `rosey migrate`."""

    plugin: str
    verb: str
    version: str | None
    db: str | None
    nats: str | None
    migrations: list[Path] | None
    dry_run: bool
    to: str | None
    everything: bool
    as_json: bool


async def migrate(options: Options) -> int:
    """Do what the command line says; return the exit code.

    Raises:
        CommandFailed: it cannot be done; the text says why.
    """
    async with AsyncExitStack() as connected:
        storage = await _storage(options, connected)
        try:
            reply = await _send(storage, options)
        except (NoService, RequestTimeout) as error:
            raise CommandFailed(str(error), UNREACHABLE) from None
        except StorageError as error:
            raise CommandFailed(f"{error.code}: {error.message}", REFUSED) from None
    sys.stdout.write(_as_json(reply) if options.as_json else _as_text(reply))
    return 0


async def _storage(options: Options, connected: AsyncExitStack) -> StorageClient:
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
    raise CommandFailed(
        "Say where: --nats URL for a running service (or set ROSEY_NATS), or --db FILE for a "
        "database that no service holds (or set ROSEY_DB).",
        USAGE,
    )


async def _send(storage: StorageClient, options: Options) -> Reply:
    if options.verb == "status":
        return await storage.migrations.status()
    if options.verb == "apply":
        return await storage.migrations.apply(
            options.version, dry_run=options.dry_run, timeout=_LONG
        )
    return await storage.migrations.rollback(
        options.version,
        to=options.to,
        all=options.everything,
        dry_run=options.dry_run,
        timeout=_LONG,
    )


def _as_json(reply: Reply) -> str:
    return encode_json(reply).decode() + "\n"


def _as_text(reply: Reply) -> str:
    match reply:
        case MigrationStatus():
            return _status_text(reply)
        case Applied(migrations=[], current_version=version):
            return f"Nothing to apply: version {version} is the newest.\n"
        case RolledBack(migrations=[], current_version=version):
            return f"Nothing to roll back: at version {version}.\n"
        case Applied() | RolledBack():
            return _steps_text(reply)
    raise AssertionError(f"{type(reply).__name__} is no answer of this command")


def _steps_text(reply: Applied | RolledBack) -> str:
    done = "Applied" if isinstance(reply, Applied) else "Rolled back"
    would = "Would have " + done.lower()
    lines = [
        f"{would if reply.dry_run else done} {step.name} "
        f"({step.statements} statements, {step.duration_ms:.1f} ms)"
        for step in reply.migrations
    ]
    lines += [f"warning: {warning.get('message', warning)}" for warning in reply.warnings]
    lines.append(f"Now at version {reply.current_version}.")
    return "\n".join(lines) + "\n"


def _status_text(status: MigrationStatus) -> str:
    if status.checksum_mismatches:
        changed = ", ".join(status.checksum_mismatches)
        return f"Changed after they were applied: {changed}. Restore these files.\n"
    applied = len(status.applied_migrations)
    if status.up_to_date:
        return f"Up to date: {applied} migrations applied\n"
    lines = [f"{applied} migrations applied, {status.pending_count} pending:"]
    lines += [f"  {name}" for name in status.pending_migrations]
    return "\n".join(lines) + "\n"
