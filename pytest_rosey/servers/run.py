"""Whose server is it? A mark on what this run starts, and a sweep of what dead runs left.

The mark names its run so exactly (boot, pid namespace, pid, start time) that a later run can
tell a dead owner from a living one. Whatever cannot be told is left alone: a suite that kills
its neighbour's server is worse than a forgotten process.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
from pathlib import Path

MARK = "ROSEY_RUN_ID"
"""The environment variable that our processes carry."""

LABEL = "rosey.run-id"
"""The label that our containers carry; its value is the same mark."""

_PROC = Path("/proc")
_ENDED = ("Z", "X")


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
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return ""
    # The second field is the command in parentheses and may itself hold blanks and parentheses.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in _ENDED else fields[19]
