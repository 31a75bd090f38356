"""A small process that cleans up when pytest can no longer do it (`kill -9`, out of memory).

The guard waits on a pipe whose other end only this process holds. When this process ends, in
whatever way, the pipe closes and the guard acts. Compared with Linux's parent-death signal this
needs no code between fork and exec, works on every POSIX system, and is not bound to the thread
that started the server (that signal fires when the *thread* ends, such as one of
`asyncio.to_thread`). Its one limit: a child forked without exec shares the pipe, so the guard
then waits for the end of that child as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

# HUP is what a paused server's group is sent when pytest dies: without the trap it would end the
# guard just when it is needed.
_REMOVE: Final = 'trap "" HUP INT TERM; read -r _; rm -rf -- "$1"; kill -KILL 0'


class Guard:
    """Runs `command`, which must wait for the end of its standard input and then clean up.

    It leads a process group of its own, so that no Ctrl-C reaches it. Processes that join the
    group (`process_group=guard.group`) can be signalled together, and their group's number cannot
    be used anew while the guard has not been released.

    A guard does not carry the mark of its run (see `run`): the sweep of another run would end it
    in the middle of its work.

    Args:
        command: what to run; it must ignore SIGHUP.
        env: the environment of the guard; None for this process's own.
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
        """Return a guard that removes a directory and kills its group."""
        return cls(["/bin/sh", "-c", _REMOVE, "rosey-guard", str(directory)])

    @property
    def group(self) -> int:
        """The process group."""
        return self._process.pid

    def freeze_group(self) -> None:
        """Stop (SIGSTOP) every process of the group but the guard."""
        os.killpg(self.group, signal.SIGSTOP)
        os.kill(self.group, signal.SIGCONT)

    def thaw_group(self) -> None:
        """Let every process of the group go on."""
        os.killpg(self.group, signal.SIGCONT)

    def release(self) -> None:
        """Kill the whole group, the guard included, before it could act."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()
