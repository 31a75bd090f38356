"""A PostgreSQL server for a test run, from the binaries of this machine (SPEC 5.3).

It listens on a Unix socket in a directory that only its own user may enter, so there is no port
to collide on and nothing for other users of the machine to reach. What it stores need not survive
a crash of the machine, so it does not wait for the disk, and where there is room it does not use
one: making a database copies some three hundred files, which in memory takes a fifth of the time.
"""

# ruff: noqa: D102 - what the methods do is said in PostgresProvider
from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from pytest_rosey.servers import ownership
from pytest_rosey.servers.command import answered
from pytest_rosey.servers.errors import ServerUnavailable, last_lines, said
from pytest_rosey.servers.ownership import Watchdog
from pytest_rosey.servers.postgres.provider import PostgresProvider
from pytest_rosey.servers.postgres.search import require_postgres, unprivileged_user

START_TIMEOUT = 20.0
"""Seconds from the start of the process until it takes connections."""

MEMORY = Path("/dev/shm")  # noqa: S108 - its directories there are made by mkdtemp
"""Where Linux keeps files in memory."""

ROOM = 2**30
"""Bytes that must be free there; a server with its databases takes some 200 MB."""

_INITDB_TIMEOUT = 60.0
_STOP_TIMEOUT = 10.0
_POLL = 0.01
_LOG = "postgres.log"
_DATA = "data"
_USER = "rosey"
SETTINGS = {
    "listen_addresses": "",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "log_min_messages": "warning",
}
"""How a server is to run in tests."""

CARELESS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "64MB",
}
"""What makes it faster, for data that need not survive a crash."""

# The processes of PostgreSQL are groups of their own; only the first of them can end them all,
# which is what SIGQUIT to the watchdog's group asks it for.
_WATCHDOG_SCRIPT = """
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


class PostgresServer(PostgresProvider):
    """A PostgreSQL process with a directory of its own.

    Process and directory are gone after `stop()`, at the exit of Python, and after a `kill -9`
    of it. Run by root, the server itself belongs to an unprivileged user.

    Args:
        durable: use it as outside of tests: on the disk, and waiting for it.
    """

    provider = "binary"

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        self._binaries: Path | None = None
        self._directory: Path | None = None
        self._watchdog: Watchdog | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    @property
    def pid(self) -> int | None:
        """The first process of the server, or None."""
        return None if self._process is None else self._process.pid

    @override
    def url(self, database: str | None = None) -> str:
        directory = self._started_directory()
        return f"postgresql+asyncpg://{_USER}@/{database or 'postgres'}?host={directory}"

    def start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        try:
            if self._directory is None:
                self._binaries = require_postgres()
                self._make_cluster(self._made_directory())
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
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
        parent = None if self._durable or not _is_roomy(MEMORY) else MEMORY
        directory = Path(tempfile.mkdtemp(prefix="rosey-pg-", dir=parent))
        self._directory, self._owner = directory, os.getpid()
        atexit.register(self.stop)
        user = unprivileged_user()
        if user is not None:
            os.chown(directory, user.pw_uid, user.pw_gid)
        return directory

    def _make_cluster(self, directory: Path) -> None:
        # Only the server's user can enter the directory, so whoever can connect may.
        command: list[str | Path] = [self._binary("initdb"), "-D", directory / _DATA]
        command += ["-U", _USER, "-A", "trust"]
        command += ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        try:
            done = answered(command, _INITDB_TIMEOUT, cwd=directory, **_as_unprivileged())
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerUnavailable(f"{command[0]} cannot be run: {error}.") from None
        if done.returncode != 0:
            raise ServerUnavailable(
                f"{command[0]} ended with exit code {done.returncode}. "
                f"{said(last_lines(done.stdout, 20))}"
            )

    def _launch(self) -> None:
        directory = self._started_directory()
        deadline = time.monotonic() + START_TIMEOUT
        self._watchdog = Watchdog(
            ["/bin/sh", "-c", _WATCHDOG_SCRIPT, "rosey-watchdog", str(directory)]
        )
        with (directory / _LOG).open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the machine's own PostgreSQL
                self._command(directory),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env=os.environ | {ownership.MARK: ownership.run_id()},
                process_group=self._watchdog.group,
                **_as_unprivileged(),
            )
        while not _is_ready(directory / _DATA, self._process.pid):
            self._still_starting(deadline)
            time.sleep(_POLL)

    def _command(self, directory: Path) -> Sequence[str | Path]:
        chosen = SETTINGS if self._durable else SETTINGS | CARELESS
        settings = [f"--{name}={value}" for name, value in chosen.items()]
        return [self._binary("postgres"), "-D", directory / _DATA, "-k", directory, *settings]

    def _still_starting(self, deadline: float) -> None:
        assert self._process is not None  # launched before
        code = self._process.poll()
        what = f"ended with exit code {code}" if code is not None else ""
        if not what and time.monotonic() > deadline:
            what = f"took no connections within {START_TIMEOUT:g} s"
        if what:
            raise ServerUnavailable(f"{self._binary('postgres')} {what}. {said(self._log_tail())}")

    def _log_tail(self) -> str:
        log = self._started_directory() / _LOG
        return last_lines(log.read_text(errors="replace"), 20) if log.exists() else ""

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
        if self._watchdog is not None:
            self._watchdog.release()
        self._process = self._watchdog = None


def _is_ready(data: Path, server: int) -> bool:
    """Return whether a server says in its lock file that it takes connections.

    A server that was killed leaves its own behind, which says the same.
    """
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[0] == str(server) and lines[7].strip() == "ready"


def _is_roomy(directory: Path) -> bool:
    """Return whether a directory has room for a server, if it is there and writable at all."""
    if not os.access(directory, os.W_OK | os.X_OK):
        return False
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize >= ROOM


def _as_unprivileged() -> dict[str, Any]:
    user = unprivileged_user()
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
