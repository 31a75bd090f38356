"""A PostgreSQL server for a test run, from the binaries of this machine (SPEC 5.3).

It listens on a Unix socket in a directory that only its own user may enter, so there is no port
to collide on and nothing for other users of the machine to reach. What it stores need not survive
a crash of the machine, so it does not wait for the disk.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_rosey.servers import run
from pytest_rosey.servers.errors import ServerUnavailable, last_lines, said
from pytest_rosey.servers.guard import Guard

START_TIMEOUT = 20.0
"""Seconds from the start of the process until it takes connections."""

_INITDB_TIMEOUT = 60.0
_STOP_TIMEOUT = 10.0
_POLL = 0.01
_LOG = "postgres.log"
_DATA = "data"
_USER = "rosey"
_UNPRIVILEGED = ("postgres", "nobody")
_QUICK = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "log_min_messages": "warning",
}

# The processes of PostgreSQL are groups of their own; only the first of them can end them all,
# which is what SIGQUIT to the guard's group asks it for.
_GUARD_SCRIPT = """
trap "" HUP INT TERM QUIT
read -r _
kill -QUIT 0
tries=0
while [ -e "$1/data/postmaster.pid" ] && [ "$tries" -lt 50 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
rm -rf -- "$1"
kill -KILL 0
"""


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
    """Look for `initdb` and `postgres` on PATH, where `pg_config` says, and in Debian's place."""
    tried: list[str] = []
    for place, directory in _places():
        if directory is not None and _has_binaries(directory):
            return PostgresSearch(directory)
        tried.append(f"{place}: {directory or 'not there'}")
    return PostgresSearch(None, tuple(tried))


def unavailable_reason() -> str | None:
    """Return why no PostgreSQL server can be started here, or None if one can."""
    search = find_postgres()
    if search.binaries is None:
        return (
            "no PostgreSQL server binaries (initdb, postgres) were found; looked at "
            f"{'; '.join(search.tried)}. On Debian: apt-get install postgresql"
        )
    if os.getuid() == 0 and _unprivileged() is None:
        return (
            "PostgreSQL refuses to run as root, and this machine has none of the users "
            f"{', '.join(_UNPRIVILEGED)}. Run the tests as an ordinary user"
        )
    return None


class PostgresServer:
    """A PostgreSQL process with a directory of its own.

    Process and directory are gone after `stop()`, at the exit of Python, and after a `kill -9`
    of it. Run by root, the server itself belongs to an unprivileged user.

    Args:
        start_timeout: seconds from the start of the process until it takes connections.
    """

    def __init__(self, *, start_timeout: float = START_TIMEOUT) -> None:
        self._start_timeout = start_timeout
        self._binaries: Path | None = None
        self._directory: Path | None = None
        self._guard: Guard | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    @property
    def pid(self) -> int | None:
        """The first process of the server, or None."""
        return None if self._process is None else self._process.pid

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database on this server, as `DatabaseService` takes it."""
        return f"postgresql+asyncpg://{_USER}@/{database}?host={self._started_directory()}"

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the server's log."""
        log = self._started_directory() / _LOG
        return last_lines(log.read_text(errors="replace"), lines) if log.exists() else ""

    def start(self) -> None:
        """Make a database cluster and start the server; return when it takes connections.

        Raises:
            ServerUnavailable: there are no binaries, or it does not start; the text says why.
        """
        reason = unavailable_reason()
        if reason is not None:
            raise ServerUnavailable(reason)
        try:
            if self._directory is None:
                self._binaries = find_postgres().binaries
                self._make_cluster(self._made_directory())
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and remove what it stored. May be repeated."""
        # A forked child inherits this object, and must not end its parent's server when it exits.
        if self._directory is None or self._owner != os.getpid():
            return
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory = None
        atexit.unregister(self.stop)

    def restart(self) -> None:
        """End the server, cutting its connections, and start it on the same data."""
        self._end(signal.SIGINT)  # what it was told not to wait for, it writes down now
        self._launch()

    # -- starting --------------------------------------------------------------------------------

    def _made_directory(self) -> Path:
        directory = Path(tempfile.mkdtemp(prefix="rosey-pg-"))
        self._directory, self._owner = directory, os.getpid()
        atexit.register(self.stop)
        user = _unprivileged()
        if user is not None:
            os.chown(directory, user.pw_uid, user.pw_gid)
        return directory

    def _make_cluster(self, directory: Path) -> None:
        # Only the server's user can enter the directory, so whoever can connect may.
        command: list[str | Path] = [
            self._binary("initdb"),
            "-D",
            directory / _DATA,
            "-U",
            _USER,
            "-A",
            "trust",
        ]
        command += ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        done = subprocess.run(  # noqa: S603 - the machine's own PostgreSQL
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            text=True,
            errors="replace",
            timeout=_INITDB_TIMEOUT,
            check=False,
            **_as_unprivileged(),
        )
        if done.returncode != 0:
            raise ServerUnavailable(
                f"{command[0]} ended with exit code {done.returncode}. "
                f"{said(last_lines(done.stdout, 20))}"
            )

    def _launch(self) -> None:
        directory = self._started_directory()
        deadline = time.monotonic() + self._start_timeout
        self._guard = Guard(["/bin/sh", "-c", _GUARD_SCRIPT, "rosey-guard", str(directory)])
        with (directory / _LOG).open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the machine's own PostgreSQL
                self._command(directory),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env=os.environ | {run.MARK: run.run_id()},
                process_group=self._guard.group,
                **_as_unprivileged(),
            )
        while not _is_ready(directory / _DATA):
            self._still_starting(deadline)
            time.sleep(_POLL)

    def _command(self, directory: Path) -> Sequence[str | Path]:
        settings = [f"--{name}={value}" for name, value in _QUICK.items()]
        return [self._binary("postgres"), "-D", directory / _DATA, "-k", directory, *settings]

    def _still_starting(self, deadline: float) -> None:
        assert self._process is not None  # launched before
        code = self._process.poll()
        what = f"ended with exit code {code}" if code is not None else ""
        if not what and time.monotonic() > deadline:
            what = f"took no connections within {self._start_timeout:g} s"
        if what:
            raise ServerUnavailable(f"{self._binary('postgres')} {what}. {said(self.log_tail(20))}")

    def _binary(self, name: str) -> Path:
        assert self._binaries is not None  # found before
        return self._binaries / name

    def _started_directory(self) -> Path:
        if self._directory is None:
            raise ServerUnavailable("This PostgreSQL server has not been started.")
        return self._directory

    # -- ending ----------------------------------------------------------------------------------

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._guard is not None:
            self._guard.release()
        self._process = self._guard = None


def _is_ready(data: Path) -> bool:
    """Return whether the server says in its lock file that it takes connections."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"


def _places() -> list[tuple[str, Path | None]]:
    places: list[tuple[str, Path | None]] = []
    on_path = shutil.which("initdb")
    places.append(("PATH", Path(on_path).resolve().parent if on_path else None))
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        done = subprocess.run(  # noqa: S603 - the machine's own PostgreSQL
            [pg_config, "--bindir"], capture_output=True, text=True, timeout=5, check=False
        )
        places.append(("pg_config --bindir", Path(done.stdout.strip())))
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    return [*places, *(("/usr/lib/postgresql/*/bin", directory) for directory in debian)]


def _version(directory: Path) -> float:
    try:
        return float(directory.parent.name)
    except ValueError:
        return 0.0


def _has_binaries(directory: Path) -> bool:
    return all(os.access(directory / name, os.X_OK) for name in ("initdb", "postgres"))


def _unprivileged() -> pwd.struct_passwd | None:
    """Return the user that a server runs as when this process is root's, else None."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next((known[name] for name in _UNPRIVILEGED if name in known), None)


def _as_unprivileged() -> dict[str, Any]:
    user = _unprivileged()
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
