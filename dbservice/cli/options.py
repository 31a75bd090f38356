"""The options of the commands, each spelled once: name, environment variable, help and default.

Reading them costs no import of what the commands do, so that a page of help is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from dbservice.server.settings import WORKERS, Settings

Verb = Literal["apply", "rollback", "status", "history", "verify", "repair", "new"]
LogLevel = Literal["debug", "info", "warning", "error"]
LoopName = Literal["auto", "asyncio", "uvloop"]

Flag = Parameter(negative=())
Many = Parameter(negative=())

_CONNECTIONS = Group("Connections", sort_key=1)
_MIGRATIONS = Group("Migrations", sort_key=2)
_LIMITS = Group("Limits", sort_key=3)
_OBSERVATION = Group("Observation", sort_key=4)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Output:
    """How a command tells what it did.

    Attributes:
        json: Print JSON, for scripts; errors too.
    """

    json: Annotated[bool, Flag] = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Where:
    """The service or the database that a command works on.

    Attributes:
        nats: URL of the NATS server of a running service, as nats://127.0.0.1:4222. [ROSEY_NATS]
        db: A database that no service holds: a file path, or a URL as sqlite+aiosqlite:///rosey.db
            or postgresql+asyncpg://rosey@127.0.0.1/rosey. [ROSEY_DB]
        migrations: Folder with one directory of migrations for each plugin, or that directory
            itself; may be repeated. Without it, ./migrations and those of installed packages.
    """

    nats: str | None = None
    db: str | None = None
    migrations: Annotated[list[Path] | None, Many] = None


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Serve:
    """The command line of `rosey serve`.

    Attributes:
        nats: URL of the NATS server, as nats://127.0.0.1:4222.
        db: The database: a file path, :memory:, or a URL as sqlite+aiosqlite:///rosey.db.
        migrations: Folder with one directory of migrations for each plugin, or that directory
            itself; may be repeated. Without it, ./migrations and those of installed packages.
        migrate: Apply all pending migrations before it says that it is ready.
        http: HOST:PORT for /health, /ready and /metrics, as 127.0.0.1:8080; port 0 takes a free
            one. Without it there is no HTTP.
        log_level: How much is logged; debug has a line for every request.
        loop: The event loop: auto is uvloop where it is installed.
        json: Print the line that says ready as JSON, and errors too.
        workers: Processes that search a database file; one more writes. What one of them does not
            finish in time is ended with it. 0 does everything in one process.
    """

    nats: Annotated[str | None, Parameter(group=_CONNECTIONS)] = None
    db: Annotated[str | None, Parameter(group=_CONNECTIONS)] = None
    migrations: Annotated[list[Path] | None, Many, Parameter(group=_MIGRATIONS)] = None
    migrate: Annotated[bool, Flag, Parameter(group=_MIGRATIONS, show_default=False)] = False
    http: Annotated[str | None, Parameter(group=_OBSERVATION)] = None
    log_level: Annotated[LogLevel, Parameter(group=_OBSERVATION)] = "info"
    loop: LoopName = "auto"
    json: Annotated[bool, Flag] = False
    workers: Annotated[int, Parameter(group=_LIMITS, validator=Number(gte=0))] = WORKERS


Limits = Annotated[Settings, Parameter(name="*", group=_LIMITS)]
"""The limits of `rosey serve`: every one that the service has is an option."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class StartPlugin:
    """The options of `rosey plugin start`.

    Attributes:
        nats: URL of the NATS server, as nats://127.0.0.1:4222.
        http: HOST:PORT for health checks, metrics and pages.
        log_level: How much is logged to stderr, as JSON lines.
        loop: The event loop: auto is uvloop where it is installed.
        json: Print the line that says ready as JSON, and errors too.
    """

    nats: Annotated[str | None, Parameter(env_var="ROSEY_NATS")] = None
    http: Annotated[str | None, Parameter(env_var="ROSEY_HTTP")] = None
    log_level: Annotated[LogLevel, Parameter(env_var="ROSEY_LOG_LEVEL")] = "info"
    loop: Annotated[LoopName, Parameter(env_var="ROSEY_LOOP")] = "auto"
    json: Annotated[bool, Flag] = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Migrate:
    """The options of `rosey migrate` that say what to do.

    Attributes:
        dry_run: Execute, report, and undo everything.
        strict: apply: refuse to run where there is a warning.
        to: rollback: stay at this version.
        all: rollback: every migration.
        by: Who to name in the history; by default you@this-machine.
    """

    dry_run: Annotated[bool, Flag] = False
    strict: Annotated[bool, Flag] = False
    to: str | None = None
    all: Annotated[bool, Flag] = False
    by: str | None = None
