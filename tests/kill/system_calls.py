"""What strace tells of the system calls of a service, read back in order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TRACED = "pwrite64,pwritev,write,writev,fsync,fdatasync,sendto,sendmsg,recvfrom"
WRITES = ("pwrite64", "pwritev", "write")
SYNCS = ("fsync", "fdatasync")
SENDS = ("sendto", "sendmsg", "write", "writev")
RECEIVES = ("recvfrom",)

_BEGUN = re.compile(r"(\d+) +(\w+)\(\d+<(.*?)>(.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")


@dataclass
class Call:
    """A system call.

    Attributes:
        thread: that made it.
        name: of the call.
        target: the file or socket.
        text: what it wrote or read.
        begun: the line of the trace at which it began.
        ended: the line at which it returned, later if calls of other threads came between.
    """

    thread: str
    name: str
    target: str
    text: str
    begun: int
    ended: int


def strace_problem() -> str | None:
    """Return why no system calls can be traced here, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed (on Debian: apt-get install strace)"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return tried.stderr.decode() if tried.returncode else None


def strace(trace: Path, command: Sequence[str], *processes: int) -> list[str]:
    """Return the command line that traces another one, and processes that run already.

    Args:
        trace: the file to write to.
        command: what is started.
        processes: traced as well, with what they start from now on.
    """
    # Whole pages are printed: a page in octal has four characters for each byte.
    shown = ["strace", "-f", "-y", "-s", "70000", "-e", f"trace={TRACED}", "-o", str(trace)]
    return [*shown, *(f"--attach={process}" for process in processes), *command]


def children_of(process: int) -> list[int]:
    """Return the processes that a process has started, and that are still there."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def calls_in(trace: Path) -> list[Call]:
    """Return the calls of a trace in the order in which they began, with their ends."""
    open_calls: dict[str, Call] = {}
    calls: list[Call] = []
    for number, line in enumerate(trace.read_text("utf-8", errors="replace").splitlines()):
        if begun := _BEGUN.match(line):
            thread, name, target, rest = begun.groups()
            calls.append(Call(thread, name, target, rest, number, number))
            if rest.endswith("<unfinished ...>"):
                open_calls[thread] = calls[-1]
        elif resumed := _RESUMED.match(line):
            thread, name, rest = resumed.groups()
            call = open_calls.pop(thread)
            assert call.name == name
            call.text += rest
            call.ended = number
    return calls


def first(calls: Iterable[Call]) -> Call:
    """Return the first of them; there has to be one."""
    found = next(iter(calls), None)
    assert found is not None, "no such system call in the trace"
    return found


def made(calls: Iterable[Call], names: Sequence[str], text: str) -> Iterator[Call]:
    """Yield the calls of these names that wrote or read a text."""
    return (call for call in calls if call.name in names and text in call.text)
