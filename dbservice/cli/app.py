"""The command line's table of contents; each command's work is imported when it runs."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter
from cyclopts.config import Env

from dbservice.cli import boundary
from dbservice.cli.failure import EXIT_CODES
from dbservice.cli.options import Flag, Limits, Migrate, Output, Serve, StartPlugin, Verb, Where
from dbservice.server.settings import Settings

EXTERNAL_COMMANDS: Final = "rosey.commands"

FileOrPipe = Annotated[str, Parameter(allow_leading_hyphen=True)]

app = App(
    name="rosey",
    version=lambda: version("pytest-rosey"),
    help=(
        "The database service of Rosey's chat plugins.\n\n"
        "Try it: `rosey serve --nats nats://127.0.0.1:4222 --db rosey.db --migrate` starts the "
        "service, `rosey migrate quote-db status --nats nats://127.0.0.1:4222` asks it which "
        "migrations it has."
    ),
    help_epilogue=(
        f"Exit codes: {'; '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}. "
        "With --json errors are JSON on standard output too."
    ),
)


@app.command(config=Env("ROSEY_", command=False))
def serve(
    *,
    options: Serve = Serve(),  # noqa: B008 - they are frozen
    settings: Limits = Settings(),  # noqa: B008
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

    Example: `rosey serve --nats nats://127.0.0.1:4222 --db rosey.db --http 127.0.0.1:8080`
    """
    from dbservice.cli.loops import runner
    from dbservice.cli.serving import serve

    return runner(options.loop)(serve(options, settings))


@app.command
def migrate(
    plugin: str,
    verb: Verb,
    version: str | None = None,
    /,
    *,
    where: Where = Where(),  # noqa: B008 - they are frozen
    options: Migrate = Migrate(),  # noqa: B008
    output: Output = Output(),  # noqa: B008
) -> int:
    """Apply, roll back, list, try or write a plugin's migrations.

    `rosey migrate quote-db apply` applies all that are pending, `apply 002` up to and including
    002. `rollback` takes back the newest, `rollback 002` that one and all above it,
    `rollback --to 001` all above 001. `status` tells what is applied and what is pending,
    `history` by whom and when. `verify` runs everything up, down and up again on a scratch
    database. `repair` records that files were changed on purpose after they were applied.
    `new add_tags` writes an empty file under the next number.

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
    import asyncio

    from dbservice.cli import migrating

    asked = migrating.Asked(plugin, verb, version, where, options, as_json=output.json)
    return asyncio.run(migrating.migrate(asked))


@app.command
def scaffold(
    file: Path,
    /,
    *,
    plugin: Annotated[str, Parameter(help="The plugin that gets the tables, as quote-db.")],
    out: Annotated[Path, Parameter(help="The folder to write migrations to.")] = Path("migrations"),
    output: Output = Output(),  # noqa: B008 - it is frozen
) -> int:
    """Write migration 001 and an export of the rows from an existing SQLite database.

    The file is only read. Tables, indexes and views become 001_create_tables.sql for both
    engines, triggers 002_create_triggers.sql; what cannot be carried over is said. The rows become
    PLUGIN.jsonl beside the folder of --out, under their own ids; `rosey import` applies the
    migrations and stores them.

    Parameters
    ----------
    file
        The SQLite database.
    """
    from dbservice.cli import scaffolding

    return scaffolding.run(scaffolding.Asked(file, plugin, out, as_json=output.json))


@app.command(name="export")
def export_namespace(
    plugin: str,
    file: FileOrPipe,
    /,
    *,
    where: Where = Where(),  # noqa: B008 - they are frozen
    output: Output = Output(),  # noqa: B008
) -> int:
    """Write all that a plugin has to a file: rows, keys, and which migrations it has.

    The file is the same for both engines: `rosey import` takes it. Each page of it is one
    snapshot, and the file says when each was read; for one moment of everything stop the plugin,
    or use the backup of the database itself. A file that exists is not overwritten. An export that
    was interrupted goes on when the command is repeated.

    Example: `rosey export quote-db quote-db.jsonl --nats nats://127.0.0.1:4222`

    Parameters
    ----------
    plugin
        The plugin's name, for example quote-db.
    file
        Where to write; - is standard output.
    """
    import asyncio

    from dbservice.cli import transferring

    asked = transferring.Asked(plugin, file, where, as_json=output.json)
    return asyncio.run(transferring.export(asked))


@app.command(name="import")
def import_namespace(
    plugin: str,
    file: FileOrPipe,
    /,
    *,
    clear: Annotated[
        bool, Flag, Parameter(help="Remove all that the plugin has before: it is lost.")
    ] = False,
    where: Where = Where(),  # noqa: B008 - they are frozen
    output: Output = Output(),  # noqa: B008
) -> int:
    """Store a file of `rosey export` for a plugin that has nothing yet.

    The file is looked through first: one that was cut off or changed is refused before anything is
    sent. It is stored in parts, between which others are served; until the last one the plugin's
    requests are answered with LOCK_TIMEOUT. An import that was interrupted goes on when the command
    is repeated with the same file.

    Example: `rosey import quote-db quote-db.jsonl --db rosey.db`

    Parameters
    ----------
    plugin
        The plugin's name, for example quote-db.
    file
        What to read; - is standard input.
    """
    import asyncio

    from dbservice.cli import transferring

    asked = transferring.Asked(plugin, file, where, as_json=output.json, clear=clear)
    return asyncio.run(transferring.import_(asked))


@app.command
def contract(
    form: Literal["markdown", "jsonschema", "asyncapi"] = "markdown",
    /,
    *,
    output: Output = Output(),  # noqa: B008 - it is frozen
) -> int:
    """Print the wire contract: every subject, request, reply, operator and error code.

    Parameters
    ----------
    form
        markdown for reading, jsonschema (2020-12) or asyncapi (3.0) for tools.
    """
    from dbservice.cli.output import tell
    from dbservice.protocol import asyncapi, reference

    if form == "markdown":
        text = reference.markdown()
        tell({"markdown": text}, text, as_json=output.json)
    else:
        made = reference.json_schema() if form == "jsonschema" else asyncapi.asyncapi()
        tell(made, as_json=True)
    return 0


@app.command
def permissions(
    *plugins: str,
    users: Annotated[
        bool,
        Flag,
        Parameter(help="One account with permissions, for a server that has no more."),
    ] = False,
    password_file: Annotated[
        Path | None,
        Parameter(help="Lines NAME=password, to be written into the configuration."),
    ] = None,
    output: Output = Output(),  # noqa: B008 - it is frozen
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
    from dbservice.cli.output import tell
    from dbservice.cli.permitting import configuration

    text = configuration(plugins, users=users, password_file=password_file)
    tell({"success": True, "configuration": text}, text, as_json=output.json)
    return 0


@app.command
def completion(
    shell: Literal["bash", "zsh", "fish"],
    /,
    *,
    output: Output = Output(),  # noqa: B008 - it is frozen
) -> int:
    """Print what makes a shell complete commands and options.

    bash: `rosey completion bash > ~/.local/share/bash-completion/completions/rosey`

    zsh: `rosey completion zsh > ~/.zfunc/_rosey`, with `fpath+=~/.zfunc` before `compinit`

    fish: `rosey completion fish > ~/.config/fish/completions/rosey.fish`

    Parameters
    ----------
    shell
        The shell that is to complete.
    """
    from dbservice.cli.output import tell

    script = app.generate_completion(shell=shell)  # nosec B604
    tell({"success": True, "shell": shell, "script": script}, script, as_json=output.json)
    return 0


plugin = App(name="plugin", help="Run chat plugins, each as a process of its own.")
app.command(plugin)


@plugin.command(name="start")
def start_plugin(
    name: str,
    /,
    *,
    options: StartPlugin = StartPlugin(),  # noqa: B008 - it is frozen
) -> int:
    """Run a chat plugin until SIGTERM or Ctrl-C.

    Prints one line that begins `rosey: ready` once the plugin answers. On SIGTERM or Ctrl-C it
    finishes the commands it has, and ends; a second signal ends it at once.

    Parameters
    ----------
    name
        The plugin's name, as `rosey plugin list` shows it.
    """
    from dbservice.cli import plugins
    from dbservice.cli.loops import runner

    return runner(options.loop)(plugins.start(name, options))


@plugin.command(name="list")
def list_plugins(*, output: Output = Output()) -> int:  # noqa: B008 - it is frozen
    """List the chat plugins of the installed packages."""
    from dbservice.cli import plugins

    return plugins.list_plugins(as_json=output.json)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    _add_external_commands(arguments)
    return boundary.run(app, arguments)


def _add_external_commands(arguments: Sequence[str]) -> None:
    """Name the commands of other packages; only the one that is called is imported."""
    for entry in entry_points(group=EXTERNAL_COMMANDS):
        if entry.name not in app:
            called = entry.name in arguments[:1]
            app.command(entry.value, name=entry.name, help=None if called else _summary(entry))


def _summary(entry: EntryPoint) -> str:
    """Return the first line of a command's module, which is read and not imported."""
    package, *inner = entry.module.split(".")
    found = find_spec(package)
    for folder in (found.submodule_search_locations if found else None) or ():
        module = Path(folder, *inner)
        for file in (module.with_suffix(".py"), module / "__init__.py"):
            if file.is_file():
                told = ast.get_docstring(ast.parse(file.read_bytes())) or ""
                return told.partition("\n")[0]
    return f"Of {entry.dist.name}." if entry.dist else ""
