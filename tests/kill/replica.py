"""A service in a process of its own that is killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import ROOT
from tests.kill.traced_service import Marks

_LOOKS = 10_000
"""At the shared memory, before other tasks get a turn: some milliseconds."""


@dataclass(frozen=True)
class Death:
    """Where the transactions of a process were when it was killed.

    Attributes:
        open: begun, and COMMIT not sent.
        committing: within COMMIT.
        committed: in the whole life of the process.
    """

    open: int
    committing: int
    committed: int

    @property
    def place(self) -> str:
        """Name the place of the foremost transaction."""
        if self.committing:
            return "inside"
        return "before" if self.open else "after"


class Replica:
    """`rosey serve` with these arguments, by way of `traced_service.py`.

    Args:
        arguments: of `rosey serve`.
        log: a file for what it logs.
    """

    def __init__(self, *arguments: str, log: Path) -> None:
        shared = os.memfd_create("marks")
        os.ftruncate(shared, Marks.SIZE)
        self._arguments = arguments
        self._log = log
        self._pid: int | None = None
        self.marks = Marks(shared)
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.kill.traced_service", str(shared)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                pass_fds=[shared],
            )
        os.close(shared)

    def start(self) -> None:
        """Start the service and return when it says that it is ready."""
        assert self._process.stdin is not None
        self.marks.clear()
        self._process.stdin.write(json.dumps(self._arguments).encode() + b"\n")
        self._process.stdin.flush()
        self._pid = int(self._line("pid").split()[1])
        self._line("rosey: ready")

    async def has(self, place: int, more_than: int = 0) -> None:
        """Wait until more transactions are at a place, and return at that very instant.

        Args:
            place: one of `Marks`.
            more_than: how many there were before.
        """
        async with asyncio.timeout(20):
            while not any(self.marks[place] > more_than for _ in range(_LOOKS)):  # noqa: ASYNC110
                await asyncio.sleep(0)

    @property
    def pid(self) -> int:
        """The process that was started last."""
        assert self._pid is not None
        return self._pid

    def kill(self) -> Death:
        """Kill it with SIGKILL, and tell where it was."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._line("ended").split() == ["ended", str(-signal.SIGKILL)]
        places = Marks.OPEN, Marks.COMMITTING, Marks.COMMITTED
        return Death(*(self.marks[place] for place in places))

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        os.kill(self.pid, signal.SIGTERM)
        assert self._line("ended").split() == ["ended", "0"], self._log.read_text("utf-8")

    def close(self) -> None:
        """End everything, however it stands."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _line(self, beginning: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            text = line.decode()
            if text.startswith(beginning):
                return text
            if text.startswith("ended"):
                break
        pytest.fail(f"the service ended by itself: {self._log.read_text('utf-8')[-2000:]}")
