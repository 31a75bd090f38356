"""`python -m reference_plugin_quote_db`: try the plugin with nothing else running."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from dbservice.cli import main as rosey
from dbservice.embedded import Stack
from reference_plugin_quote_db.plugin import QuoteDBPlugin
from reference_plugin_quote_db.prompt import converse, typed_lines
from reference_plugin_quote_db.shipped import PLUGIN, migration_root

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
) -> None:
    """Type commands such as `!quote help`; `exit` or Ctrl-D ends the chat.

    Args:
        user: Your name.
        role: What you may do.
        database: The SQLite file that keeps the quotes; without it they are gone at the end.
    """
    place = database.resolve() if database else ":memory:"
    try:
        asyncio.run(_chat(user, role, f"sqlite+aiosqlite:///{place}"))
    except KeyboardInterrupt:
        sys.exit(130)


@app.command
def migrate(
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=True)],
) -> None:
    """Run `rosey migrate quote-db …`.

    Args:
        arguments: What would stand behind `rosey migrate quote-db`.
    """
    rosey(["migrate", PLUGIN, *arguments])


async def _chat(user: str, role: str, database_url: str) -> None:
    async with Stack(database_url=database_url, migrations=[migration_root()]) as stack:
        await stack.migrate(PLUGIN)
        plugin = QuoteDBPlugin(await stack.connect())
        await plugin.initialize()
        try:
            async with aclosing(typed_lines(sys.stdin, _ask)) as lines:
                await converse(plugin, lines, print, user=user, role=role)
        finally:
            await plugin.close()


def _ask() -> None:
    if sys.stdin.isatty():
        print("quote> ", end="", flush=True)  # noqa: T201 - this is a prompt


if __name__ == "__main__":
    app()
