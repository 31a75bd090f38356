"""The command line's table of contents; each command's work is imported when it runs."""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Sequence
from contextlib import closing
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Group, Parameter
from cyclopts.validators import Number

from dbservice.cli.failure import REFUSED, USAGE, CommandFailed
from dbservice.cli.loops import LoopName, runner
from dbservice.server.settings import Settings

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
Loop = Annotated[
    LoopName,
    Parameter(env_var="ROSEY_LOOP", help="The event loop: auto is uvloop where it is installed."),
]


_CONNECTIONS = Group("Connections", sort_key=1)
_MIGRATIONS = Group("Migrations", sort_key=2)
_LIMITS = Group("Limits", sort_key=3)
_OBSERVATION = Group("Observation", sort_key=4)
_DEFAULTS = Settings()


@app.command
def serve(
    *,
    nats: Annotated[
        str,
        Parameter(group=_CONNECTIONS, env_var="ROSEY_NATS", help="URL of the NATS server."),
    ] = "nats://127.0.0.1:4222",
    db: Annotated[
        str,
        Parameter(
            group=_CONNECTIONS,
            env_var="ROSEY_DB",
            help="The database: a file path, :memory:, or a URL as sqlite+aiosqlite:///rosey.db.",
        ),
    ] = "rosey.db",
    migrations: Annotated[
        list[Path] | None,
        Parameter(
            group=_MIGRATIONS,
            negative=(),
            env_var="ROSEY_MIGRATIONS",
            help="Folder with one directory of migrations for each plugin, or that directory "
            "itself; may be repeated. Without it, the migrations of installed packages are used.",
        ),
    ] = None,
    migrate: Annotated[
        bool,
        Parameter(
            group=_MIGRATIONS,
            negative=(),
            env_var="ROSEY_MIGRATE",
            show_default=False,
            help="Apply all pending migrations before it says that it is ready.",
        ),
    ] = False,
    max_in_flight: Annotated[
        int,
        Parameter(
            group=_LIMITS,
            env_var="ROSEY_MAX_IN_FLIGHT",
            validator=Number(gte=1),
            help="Requests served at a time. One plugin alone gets at most seven eighths of them.",
        ),
    ] = _DEFAULTS.max_in_flight,
    max_queued: Annotated[
        int,
        Parameter(
            group=_LIMITS,
            env_var="ROSEY_MAX_QUEUED",
            validator=Number(gte=0),
            help="Requests that may wait for that; plugins take turns. Further ones are answered "
            "with OVERLOADED.",
        ),
    ] = _DEFAULTS.max_queued,
    statement_timeout: Annotated[
        float,
        Parameter(
            group=_LIMITS,
            env_var="ROSEY_STATEMENT_TIMEOUT",
            validator=Number(gt=0),
            help="Seconds after which an SQL statement is stopped.",
        ),
    ] = _DEFAULTS.statement_timeout,
    drain_timeout: Annotated[
        float,
        Parameter(
            group=_LIMITS,
            env_var="ROSEY_DRAIN_TIMEOUT",
            validator=Number(gt=0),
            help="Seconds to answer what was taken, once it is told to end.",
        ),
    ] = _DEFAULTS.drain_timeout,
    sweep_interval: Annotated[
        float,
        Parameter(
            group=_LIMITS,
            env_var="ROSEY_SWEEP_INTERVAL",
            validator=Number(gt=0),
            help="Seconds between two removals of expired keys.",
        ),
    ] = _DEFAULTS.sweep_interval,
    http: Annotated[
        str | None,
        Parameter(
            group=_OBSERVATION,
            env_var="ROSEY_HTTP",
            help="HOST:PORT for /health, /ready and /metrics, as 127.0.0.1:8080; port 0 takes a "
            "free one. Without it there is no HTTP.",
        ),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Parameter(
            group=_OBSERVATION,
            env_var="ROSEY_LOG_LEVEL",
            help="How much is logged; debug has a line for every request.",
        ),
    ] = "info",
    loop: Loop = "auto",
) -> int:
    """Serve the storage of all plugins until SIGTERM or Ctrl-C.

    Prints one line that begins `rosey: ready` on standard output once requests are answered. The
    log goes to standard error, one JSON object a line; its first line has the configuration.

    On SIGTERM or Ctrl-C it takes no more requests, answers those it has, and ends; a second
    signal ends it at once. When the NATS server or the database goes away, it waits for them to
    come back, and /ready says 503 meanwhile.

    Every option can be set by the environment variable named beside it; the option wins.

    Spans go to OpenTelemetry when it is set up in this process:
    `opentelemetry-instrument rosey serve`.

    Exit codes: 0 ended by a signal, 1 a migration failed or a port is taken, 2 wrong command
    line, 3 no NATS server or no database.

    Example: `rosey serve --nats nats://127.0.0.1:4222 --db rosey.db --http 127.0.0.1:8080`
    """
    from dbservice.cli import serving

    options = serving.Options(
        nats=nats,
        db=db,
        http=http,
        migrations=migrations,
        migrate=migrate,
        log_level=log_level,
        settings=Settings(
            max_in_flight=max_in_flight,
            max_queued=max_queued,
            statement_timeout=statement_timeout,
            drain_timeout=drain_timeout,
            sweep_interval=sweep_interval,
        ),
    )
    return _run(serving.serve(options), loop)


@app.command
def migrate(
    plugin: str,
    verb: Literal["apply", "rollback", "status", "history", "verify", "repair", "new"],
    version: str | None = None,
    /,
    *,
    db: Db = None,
    nats: Nats = None,
    migrations: Roots = None,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Execute, report, and undo everything.")
    ] = False,
    strict: Annotated[
        bool, Parameter(negative=(), help="apply: refuse to run where there is a warning.")
    ] = False,
    to: Annotated[str | None, Parameter(help="rollback: stay at this version.")] = None,
    all_: Annotated[
        bool, Parameter(name="--all", negative=(), help="rollback: every migration.")
    ] = False,
    by: Annotated[
        str | None, Parameter(help="Who to name in the history; by default you@this-machine.")
    ] = None,
    json: AsJson = False,
) -> int:
    """Apply, roll back, list, try or write a plugin's migrations.

    `rosey migrate quote-db apply` applies all that are pending, `apply 002` up to and including
    002. `rollback` takes back the newest, `rollback 002` that one and all above it,
    `rollback --to 001` all above 001. `status` tells what is applied and what is pending,
    `history` by whom and when. `verify` runs everything up, down and up again on a scratch
    database. `repair` records that files were changed on purpose after they were applied.
    `new add_tags` writes an empty file under the next number.

    Exit codes: 0 done; 1 refused, failed or not verified; 2 the command line is wrong;
    3 nothing answers.

    Works on a running service (--nats) or directly on a database that no service holds (--db).
    With neither, the environment decides: ROSEY_NATS, else ROSEY_DB.

    Parameters
    ----------
    plugin
        The plugin's name, for example quote-db.
    verb
        What to do.
    version
        A version: 3, 003, or 003_add_tags_column; for `new` the name of the migration.
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
        strict=strict,
        to=to,
        everything=all_,
        by=by,
        as_json=json,
    )
    return _run(migrating.migrate(options))


@app.command
def scaffold(
    file: Path,
    /,
    *,
    plugin: Annotated[str, Parameter(help="The plugin that gets the tables, as quote-db.")],
    out: Annotated[Path, Parameter(help="The folder to write migrations to.")] = Path("migrations"),
    import_: Annotated[
        bool, Parameter(name="--import", negative=(), help="Also import the rows.")
    ] = False,
    db: Db = None,
    nats: Nats = None,
    json: AsJson = False,
) -> int:
    """Write migration 001 from an existing SQLite database, and import its rows.

    The file is only read. Tables, indexes and views become 001_create_tables.sql for both
    engines, triggers 002_create_triggers.sql; what cannot be carried over is said. With --import
    the rows go through the service on --nats, or into a database that no service holds (--db):
    parents before children, under their own ids, before the triggers are there.

    Exit codes: 0 done; 1 it cannot be read or was refused; 2 the command line is wrong;
    3 nothing answers.

    Parameters
    ----------
    file
        The SQLite database.
    """
    from dbservice.cli import scaffolding

    options = scaffolding.Options(
        file=file, plugin=plugin, out=out, carries=import_, db=db, nats=nats, as_json=json
    )
    return _run(scaffolding.run(options))


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


@app.command
def permissions(
    *plugins: str,
    users: Annotated[
        bool,
        Parameter(negative=(), help="One account with permissions, for a server that has no more."),
    ] = False,
    password_file: Annotated[
        Path | None,
        Parameter(help="Lines NAME=password, to be written into the configuration."),
    ] = None,
) -> int:
    """Print a nats-server configuration in which each plugin reaches its own namespace only.

    `rosey permissions quote-db trivia > rosey.conf`, then `nats-server -c rosey.conf`. There is a
    user for each plugin, and ROSEY_DB (the service), ROSEY_ADMIN (migrations, clear, import) and
    ROSEY_GATEWAY (sends commands). Without --password-file no password is printed: the server
    takes each from an environment variable that the first lines name.

    Parameters
    ----------
    plugins
        The plugins' names, for example quote-db.
    """
    from dbservice.cli.permitting import print_permissions

    try:
        return print_permissions(plugins, users=users, password_file=password_file)
    except CommandFailed as failure:
        return _failed(str(failure), failure.exit_code)


plugin = App(name="plugin", help="Run chat plugins, each as a process of its own.")
app.command(plugin)


@plugin.command(name="start")
def start_plugin(
    name: str,
    /,
    *,
    nats: Annotated[
        str, Parameter(env_var="ROSEY_NATS", help="URL of the NATS server.")
    ] = "nats://127.0.0.1:4222",
    http: Annotated[
        str | None,
        Parameter(env_var="ROSEY_HTTP", help="HOST:PORT for health checks, metrics and pages."),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Parameter(env_var="ROSEY_LOG_LEVEL", help="How much is logged to stderr, as JSON lines."),
    ] = "info",
    loop: Loop = "auto",
) -> int:
    """Run a chat plugin until SIGTERM or Ctrl-C.

    Prints one line that begins `rosey: ready` once the plugin answers. On SIGTERM or Ctrl-C it
    finishes the commands it has, and ends; a second signal ends it at once.

    Exit codes: 0 ended by a signal, 1 the plugin does not start, 2 wrong command line or no such
    plugin, 3 no NATS server or no database service answers.

    Parameters
    ----------
    name
        The plugin's name, as `rosey plugin list` shows it.
    """
    from dbservice.cli import plugins

    return _run(plugins.start(plugins.Options(name, nats, http, log_level)), loop)


@plugin.command(name="list")
def list_plugins(*, json: AsJson = False) -> int:
    """List the chat plugins of the installed packages."""
    from dbservice.cli import plugins

    return plugins.list_plugins(as_json=json)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    external = entry_points(group=EXTERNAL_COMMANDS)
    for entry in external:
        if arguments[:1] == [entry.name] and entry.name not in app:
            app.command(entry.load(), name=entry.name)
    if list(arguments) in ([], ["-h"], ["--help"]):
        # Named and not loaded: a page of help should not cost the imports of them all.
        names = ", ".join(sorted(external.names))
        app.help_epilogue = f"Installed packages add: {names}; see `rosey NAME --help`."
    result = app(list(arguments), result_action="return_value")
    return result if isinstance(result, int) else 0


def _run(work: Coroutine[Any, Any, int], loop: LoopName = "asyncio") -> int:
    from dbservice.client import StorageError

    try:
        with closing(work):
            return runner(loop)(work)
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
