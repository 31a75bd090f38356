"""Chat with the quote plugin, with nothing else running."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from dbservice.cli import main as rosey
from dbservice.cli.boundary import run
from dbservice.cli.connecting import connect, nats_url
from dbservice.cli.failure import REFUSED, USAGE, CommandFailed
from dbservice.cli.options import Output
from dbservice.cli.output import tell
from dbservice.client import StorageClient
from dbservice.embedded import Stack
from reference_plugin_quote_db.chat.prompt import converse, typed_lines
from reference_plugin_quote_db.errors import MigrationsPending
from reference_plugin_quote_db.legacy import command as import_command
from reference_plugin_quote_db.legacy.chat import LegacyChat, LegacyFileMissing
from reference_plugin_quote_db.legacy.command import INCOMPLETE
from reference_plugin_quote_db.legacy.file import LegacyFileError
from reference_plugin_quote_db.legacy.importer import NEEDED_VERSION, ImportConflict
from reference_plugin_quote_db.legacy.switch import legacy_wanted
from reference_plugin_quote_db.plugin import QuoteDBPlugin
from reference_plugin_quote_db.shipped import PLUGIN, migration_root

IMPORT_TIMEOUT = 30.0
"""Seconds for one batch."""

IMPORT_FAILURES = (LegacyFileError, ImportConflict, MigrationsPending)
"""What says by itself what to do."""

app = App(
    name="python -m reference_plugin_quote_db",
    help="A chat with the quote plugin, on a database service of its own.",
    version_flags=(),
)


@app.default
def chat(
    *,
    user: str = "guest",
    role: Literal["user", "moderator", "admin"] = "user",
    database: Path | None = None,
    output: Output = Output(),  # noqa: B008 - it is frozen
) -> None:
    """Type commands such as `!quote help`; `exit` or Ctrl-D ends the chat.

    Args:
        user: Your name.
        role: What you may do.
        database: The SQLite file that keeps the quotes; without it they are gone at the end. With
            QUOTE_DB_LEGACY=true, it is the legacy plugin that answers, on QUOTE_DB_LEGACY_FILE.
        output: How answers are printed.
    """
    place = database.resolve() if database else ":memory:"

    def say(reply: str) -> None:
        tell({"reply": reply}, f"{reply}\n", as_json=output.json)

    try:
        if legacy_wanted():
            asyncio.run(_talk(LegacyChat(None), user, role, say))
        else:
            asyncio.run(_chat(user, role, say, f"sqlite+aiosqlite:///{place}"))
    except LegacyFileMissing as error:
        raise CommandFailed(str(error), REFUSED) from None


@app.command
def migrate(
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=True)],
) -> None:
    """Run `rosey migrate quote-db …`.

    Args:
        arguments: What would stand behind `rosey migrate quote-db`.
    """
    rosey(["migrate", PLUGIN, *arguments])


@app.command
def import_legacy(
    file: Path,
    /,
    *,
    nats: str | None = None,
    database: Path | None = None,
    again: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Bring the quotes of the legacy plugin's file into the database service.

    Stop the legacy plugin first. The file is only read. An import that was interrupted goes on
    where it stopped. In the end every quote is compared.

    Exit status: 0 every quote is in the service; 1 some are not, and the report says which and
    why; 2 wrong command line; 3 no NATS server answers, or the database cannot be opened.

    Args:
        file: The legacy file, as quotes.db.
        nats: URL of the NATS server of a running service, as nats://127.0.0.1:4222.
        database: The SQLite file of a service that does not run; its migrations are applied.
        again: Look at every quote again, for example when refused ones were repaired.
    """
    if (nats is None) == (database is None):
        raise CommandFailed(
            "Name the place to import into: either --nats URL or --database FILE.", USAGE
        )
    if nats is not None:
        work = _import_over_nats(file, nats, again=again)
    else:
        assert database is not None
        work = _import_into_file(file, database, again=again)
    try:
        return asyncio.run(work)
    except IMPORT_FAILURES as error:
        raise CommandFailed(str(error), INCOMPLETE) from None


async def _import_over_nats(file: Path, url: str, *, again: bool) -> int:
    client = await connect(nats_url(url))
    try:
        storage = StorageClient(client, PLUGIN, timeout=IMPORT_TIMEOUT, retries=3)
        return await import_command.import_legacy(storage, file, again=again)
    finally:
        await client.close()


async def _import_into_file(file: Path, database: Path, *, again: bool) -> int:
    url = f"sqlite+aiosqlite:///{database.resolve()}"  # noqa: ASYNC240 - nothing else runs yet
    async with Stack(database_url=url, migrations=[migration_root()]) as stack:
        storage = StorageClient(await stack.connect(), PLUGIN, timeout=IMPORT_TIMEOUT)
        if (await storage.migrations.status()).current_version < NEEDED_VERSION:
            await storage.migrations.apply(NEEDED_VERSION)
        status = await import_command.import_legacy(storage, file, again=again)
        # Only now, so that migration 003 finds the hashtags of the imported quotes.
        await storage.migrations.apply()
        return status


async def _chat(user: str, role: str, say: Callable[[str], None], database_url: str) -> None:
    async with Stack(database_url=database_url, migrations=[migration_root()]) as stack:
        await stack.migrate(PLUGIN)
        plugin = QuoteDBPlugin(await stack.connect())
        await _talk(plugin, user, role, say)


async def _talk(
    plugin: QuoteDBPlugin | LegacyChat, user: str, role: str, say: Callable[[str], None]
) -> None:
    await plugin.initialize()
    try:
        async with aclosing(typed_lines(sys.stdin, _ask)) as lines:
            await converse(plugin, lines, say, user=user, role=role)
    finally:
        await plugin.close()


def _ask() -> None:
    if sys.stdin.isatty():
        print("quote> ", end="", flush=True)  # noqa: T201 - this is a prompt


if __name__ == "__main__":
    sys.exit(run(app, sys.argv[1:]))
