"""The service as users run it: a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from dbservice.cli.app import run
from pytest_rosey.servers.nats import BinaryServer, find_binary
from tests.dbservice.migrate.conftest import add, root

__all__ = ["add", "root"]


Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Say:
    """Run a command line in this process; return its exit code, output and errors."""
    for name in ("ROSEY_NATS", "ROSEY_DB", "ROSEY_HTTP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def say(*words: str) -> tuple[int, str, str]:
        code = run(words)
        return (code, *capsys.readouterr())

    return say


@dataclass
class Served:
    """A `rosey` process that said that it is ready."""

    process: subprocess.Popen[str]
    ready_line: str
    log: Path

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@pytest.fixture
def rosey(tmp_path):
    """Run a `rosey` command line to its end."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dbservice", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Served]]:
    """Start a `rosey` command that goes on, and wait for the line that says that it is ready."""
    started: list[Served] = []

    def start(command: str, *arguments: str, **environment: str) -> Served:
        log = tmp_path / f"{command}-{len(started)}.log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "dbservice", command, *arguments],
                cwd=tmp_path,
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("rosey: ready"):
                started.append(Served(process, line, log))
                return started[-1]
        pytest.fail(f"rosey {command} ended with {process.wait()}: {log.read_text('utf-8')}")

    yield start
    for served in started:
        if served.process.poll() is None:
            served.process.kill()
        served.process.wait()
        assert served.process.stdout is not None
        served.process.stdout.close()


@pytest.fixture
def serve(start: Callable[..., Served]) -> Callable[..., Served]:
    """Start `rosey serve`, as `start()` does."""
    return partial(start, "serve")


@pytest.fixture
def own_server() -> Iterator[BinaryServer]:
    """A nats-server of this test alone, which may be restarted."""
    path = find_binary().path
    assert path is not None
    with BinaryServer(path) as server:
        yield server
