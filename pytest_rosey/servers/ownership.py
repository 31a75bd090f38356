"""What a run starts is its own: marked, watched, and swept once its owner is dead.

The mark names its run so exactly (boot, pid namespace, pid, start time) that a later run can
tell a dead owner from a living one. Whatever cannot be told is left alone: a suite that kills
its neighbour's server is worse than a forgotten process.

A watchdog cleans up when pytest can no longer do it (`kill -9`, out of memory). It waits on a
pipe whose other end only this process holds. When this process ends, in whatever way, the pipe
closes and the watchdog acts. Compared with Linux's parent-death signal this needs no code between
fork and exec, works on every POSIX system, and is not bound to the thread that started the server
(that signal fires when the *thread* ends, such as one of `asyncio.to_thread`). Its one limit: a
child forked without exec shares the pipe, so the watchdog then waits for the end of that child as
well.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

MARK = "ROSEY_RUN_ID"
"""The environment variable that our processes carry."""

LABEL = "rosey.run-id"
"""The label that our containers carry; its value is the same mark."""

_PROC = Path("/proc")
_ENDED = ("Z", "X")

# HUP is what a paused server's group is sent when pytest dies: without the trap it would end the
# watchdog just when it is needed.
_REMOVE: Final = 'trap "" HUP INT TERM; read -r _; rm -rf -- "$1"; kill -KILL 0'


def run_id() -> str:
    """Return this process's mark: `place/pid/start`."""
    # Not cached: a forked child is a run of its own and may outlive its parent.
    pid = os.getpid()
    return f"{_place()}/{pid}/{_start_of(pid)}"


def is_dead(mark: str) -> bool:
    """Return whether the run that set `mark` is known to have ended.

    False whenever that cannot be known, as for the mark of another machine or container.
    """
    match mark.split("/"):
        case [place, pid, start] if place == _place() and pid.isdecimal():
            return not _exists(int(pid)) or _start_of(int(pid)) != start
        case _:
            return False


def sweep() -> list[int]:
    """Kill the processes that dead runs of ours left behind, and return their pids.

    Touches only processes of this user, in this pid namespace, that carry the mark of a dead
    run. Needs Linux's /proc; elsewhere nothing is swept.
    """
    if not (_PROC / "self" / "environ").exists():
        return []
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if pid != os.getpid() and _kill_if_left_over(pid)]


def _kill_if_left_over(pid: int) -> bool:
    # A process may end at any step of this, and one of another user may not be looked at.
    with contextlib.suppress(OSError):
        # The handle comes before the look: a pid that is used anew in between cannot be hit.
        handle = os.pidfd_open(pid)
        try:
            if _is_left_over(_PROC / str(pid)):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False


def _is_left_over(process: Path) -> bool:
    if process.stat().st_uid != os.getuid():
        return False
    environment = (process / "environ").read_bytes().split(b"\0")
    prefix = f"{MARK}=".encode()
    marks = [entry.removeprefix(prefix) for entry in environment if entry.startswith(prefix)]
    same_namespace = _namespace(process) == _namespace(_PROC / "self")
    return bool(marks) and same_namespace and is_dead(marks[0].decode(errors="replace"))


def _place() -> str:
    """Name the set of processes among which a pid is unique."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{_namespace(_PROC / 'self')}"
    except OSError:
        return platform.node().replace("/", "-")


def _namespace(process: Path) -> int:
    return (process / "ns/pid").stat().st_ino


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _start_of(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty where that is unknown.

    Also empty for a process that has ended and only waits for its parent to take note.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return ""
    # The second field is the command in parentheses and may itself hold blanks and parentheses.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in _ENDED else fields[19]


class Watchdog:
    """Runs `command`, which must wait for the end of its standard input and then clean up.

    It leads a process group of its own, so that no Ctrl-C reaches it. Processes that join the
    group (`process_group=watchdog.group`) can be signalled together, and its number cannot
    be used anew while the watchdog has not been released.

    A watchdog does not carry the mark of its run: the sweep of another run would end it
    in the middle of its work.

    Args:
        command: what to run; it must ignore SIGHUP.
        env: the environment of the watchdog; None for this process's own.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - commands of ours
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=env,
            process_group=0,
        )

    @classmethod
    def removing(cls, directory: Path) -> Self:
        """Return a watchdog that removes a directory and kills its group."""
        return cls(["/bin/sh", "-c", _REMOVE, "rosey-watchdog", str(directory)])

    @property
    def group(self) -> int:
        """The process group."""
        return self._process.pid

    def freeze_group(self) -> None:
        """Stop (SIGSTOP) every process of the group but the watchdog."""
        os.killpg(self.group, signal.SIGSTOP)
        os.kill(self.group, signal.SIGCONT)

    def thaw_group(self) -> None:
        """Let every process of the group go on."""
        os.killpg(self.group, signal.SIGCONT)

    def release(self) -> None:
        """Kill the whole group, the watchdog included, before it could act."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()
