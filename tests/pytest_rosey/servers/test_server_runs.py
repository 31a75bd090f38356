"""The mark on our processes, and the sweep of what dead runs left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_rosey.servers import ownership
from tests.pytest_rosey.servers.process_watch import PATIENCE, is_alive, wait_until

pytestmark = pytest.mark.process

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="the sweep reads /proc")
OWNER = "from pytest_rosey.servers.ownership import run_id; import sys; print(run_id(), flush=True)"

Sleeper = Callable[[str | None], subprocess.Popen[bytes]]


@pytest.fixture
def dead_mark() -> str:
    """The mark of a run that has ended."""
    return subprocess.run(
        [sys.executable, "-c", OWNER], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    """Start a process that carries a mark."""
    started = []

    def start(mark: str | None) -> subprocess.Popen[bytes]:
        environment = {"PATH": os.environ["PATH"]} | ({ownership.MARK: mark} if mark else {})
        started.append(subprocess.Popen(["sleep", "60"], env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_this_run_is_alive():
    assert not ownership.is_dead(ownership.run_id())


@needs_proc
def test_a_process_may_have_a_name_that_is_no_text():
    named = f"open('/proc/self/comm', 'wb').write(bytes([255])); {OWNER}"
    ran = subprocess.run([sys.executable, "-c", named], capture_output=True, text=True, check=True)
    assert ownership.is_dead(ran.stdout.strip())


def test_run_that_has_ended_is_dead(dead_mark):
    assert ownership.is_dead(dead_mark)


def test_run_that_goes_on_is_alive_and_then_dead():
    with subprocess.Popen(
        [sys.executable, "-c", f"{OWNER}; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        mark = owner.stdout.readline().strip()
        assert not ownership.is_dead(mark)
        owner.kill()
        wait_until(lambda: not is_alive(owner.pid), "the owner's end")
        # It has not been reaped yet: its pid still exists.
        assert ownership.is_dead(mark)


@needs_proc
def test_pid_that_is_used_anew_is_another_run():
    place, pid, start = ownership.run_id().split("/")
    assert ownership.is_dead(f"{place}/{pid}/{int(start) - 1}")


@pytest.mark.parametrize("mark", ["", "x", "a/b", "a/b/c/d", "{place}/-1/5", "elsewhere/1/1"])
def test_what_cannot_be_known_is_not_dead(mark):
    assert not ownership.is_dead(mark.format(place=ownership.run_id().split("/")[0]))


@needs_proc
def test_sweep_kills_what_a_dead_run_left(sleeper, dead_mark):
    left = sleeper(dead_mark)
    assert left.pid in ownership.sweep()
    assert left.wait(PATIENCE) == -signal.SIGKILL


@needs_proc
@pytest.mark.parametrize("mark", [None, "elsewhere/1/1", "this run"])
def test_sweep_leaves_everything_else_alone(sleeper, mark):
    process = sleeper(ownership.run_id() if mark == "this run" else mark)
    assert process.pid not in ownership.sweep()
    assert process.poll() is None


@needs_proc
def test_server_carries_the_mark_and_its_guard_does_not(server):
    """A guard that carried it could be swept by another run in the middle of its work."""

    def environment(pid: int) -> list[bytes]:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")

    mark = f"{ownership.MARK}={ownership.run_id()}".encode()
    assert mark in environment(server.pid)
    assert mark not in environment(server._watchdog.group)
    assert ownership.MARK not in os.environ
