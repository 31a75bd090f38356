"""The command line's table of contents; each command's work is imported when it runs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine, Sequence
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from dbservice.cli.failure import REFUSED, USAGE, CommandFailed

EXTERNAL_COMMANDS = "rosey.commands"

app = App(
    name="rosey",
    version=lambda: version("pytest-rosey"),
    help=(
        "The database service of Rosey's chat plugins.\n\n"
        "Try it: `rosey serve --db rosey.db --migrate` starts the service, "
        "`rosey migrate quote-db status` asks it which migrations it has."
    ),
)

Nats = Annotated[
    str | None, Parameter(help="URL of the NATS server, as nats://127.0.0.1:4222. [ROSEY_NATS]")
]
Db = Annotated[
    str | None,
    Parameter(help="A file path, :memory:, or a URL as sqlite+aiosqlite:///rosey.db. [ROSEY_DB]"),
]
Roots = Annotated[
    list[Path] | None,
    Parameter(
        negative=(),
        help="Folder with one directory of migrations for each plugin, or that directory itself; "
        "may be repeated. Without it, the migrations of installed packages are used.",
    ),
]
AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON, for scripts.")]


@app.command
def serve(
    *,
    nats: Nats = None,
    db: Db = None,
    http: Annotated[
        str | None,
        Parameter(
            env_var="ROSEY_HTTP", help="HOST:PORT for /health and /ready, as 127.0.0.1:8080."
        ),
    ] = None,
    migrations: Roots = None,
    migrate: Annotated[
        bool, Parameter(negative=(), help="Apply all pending migrations before serving.")
    ] = False,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Parameter(env_var="ROSEY_LOG_LEVEL", help="How much is logged to stderr, as JSON lines."),
    ] = "info",
) -> int:
    """Serve the storage of all plugins until SIGTERM or Ctrl-C.

    Prints one line that begins `rosey: ready` once requests are answered. On SIGTERM or Ctrl-C it
    takes no more requests, answers those it has, and ends; a second signal ends it at once.

    Without --nats it uses nats://127.0.0.1:4222; without --db, the file rosey.db here.
    """
    from dbservice.cli import serving

    options = serving.Options(
        nats=nats or os.environ.get("ROSEY_NATS") or "nats://127.0.0.1:4222",
        db=db or os.environ.get("ROSEY_DB") or "rosey.db",
        http=http,
        migrations=migrations,
        migrate=migrate,
        log_level=log_level,
    )
    return _run(serving.serve(options))


@app.command
def migrate(
    plugin: str,
    verb: Literal["apply", "rollback", "status"],
    version: str | None = None,
    /,
    *,
    db: Db = None,
    nats: Nats = None,
    migrations: Roots = None,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Execute, report, and undo everything.")
    ] = False,
    to: Annotated[str | None, Parameter(help="rollback: stay at this version.")] = None,
    all_: Annotated[
        bool, Parameter(name="--all", negative=(), help="rollback: every migration.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Apply, roll back or list a plugin's migrations.

    `rosey migrate quote-db apply` applies all that are pending, `apply 002` up to and including
    002. `rollback` takes back the newest, `rollback 002` that one and all above it,
    `rollback --to 001` all above 001.

    Works on a running service (--nats) or directly on a database that no service holds (--db).
    With neither, the environment decides: ROSEY_NATS, else ROSEY_DB.

    Parameters
    ----------
    plugin
        The plugin's name, for example quote-db.
    verb
        What to do.
    version
        A version: 3, 003, or 003_add_tags_column.
    """
    from dbservice.cli import migrating

    options = migrating.Options(
        plugin=plugin,
        verb=verb,
        version=version,
        db=db,
        nats=nats,
        migrations=migrations,
        dry_run=dry_run,
        to=to,
        everything=all_,
        as_json=json,
    )
    return _run(migrating.migrate(options))


@app.command
def contract(form: Literal["markdown", "jsonschema"] = "markdown", /) -> int:
    """Print the wire contract: every subject, request, reply, operator and error code.

    Parameters
    ----------
    form
        markdown for reading, jsonschema (2020-12) for tools.
    """
    from dbservice.protocol import reference
    from dbservice.protocol.codec import encode_json

    if form == "markdown":
        sys.stdout.write(reference.markdown())
    else:
        sys.stdout.write(encode_json(reference.json_schema()).decode() + "\n")
    return 0


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    for entry in entry_points(group=EXTERNAL_COMMANDS):
        if arguments[:1] == [entry.name]:
            app.command(entry.load(), name=entry.name)
    result = app(list(arguments), result_action="return_value")
    return result if isinstance(result, int) else 0


def _run(work: Coroutine[Any, Any, int]) -> int:
    from dbservice.client import StorageError

    try:
        return asyncio.run(work)
    except CommandFailed as failure:
        return _failed(str(failure), failure.exit_code)
    except StorageError as error:
        return _failed(f"{error.code}: {error.message}", REFUSED)
    except NotADirectoryError as error:
        return _failed(str(error), USAGE)
    except KeyboardInterrupt:
        return 130


def _failed(message: str, exit_code: int) -> int:
    sys.stderr.write(f"rosey: {message}\n")
    return exit_code
