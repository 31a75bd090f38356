"""What was acknowledged is on the disk: seen in the order of the service's system calls.

A killed process leaves the page cache alive, so a kill cannot show this.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from dbservice.protocol.headers import REQUEST_ID

pytestmark = pytest.mark.kill

TRACED = "pwrite64,write,fsync,fdatasync,sendto,sendmsg"
WRITES = ("pwrite64", "write")
SYNCS = ("fsync", "fdatasync")
SENDS = ("sendto", "sendmsg")
ALONE, TOGETHER = 50, 50

_BEGUN = re.compile(r"(\d+) +(\w+)\(\d+<(.*?)>(.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")


@dataclass
class Call:
    """A system call.

    Attributes:
        name: of the call.
        target: the file or socket.
        text: what it wrote.
        begun: the line of the trace at which it began.
        ended: the line at which it returned, later if calls of other threads came between.
    """

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


@pytest.fixture
def traced(real_nats: str, disk: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `rosey serve` under strace; the trace is written to `disk/trace`."""
    problem = strace_problem()
    if problem is not None:
        pytest.skip(problem)
    # Whole WAL frames are printed: a page in octal has four characters for each byte.
    command = ["strace", "-f", "-y", "-s", "70000", "-e", f"trace={TRACED}", "-o", "trace"]
    command += [sys.executable, "-m", "dbservice", "serve", "--nats", real_nats, "--db", "kept.db"]
    with (disk / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=disk, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    ready = process.stdout.readline()
    assert ready.startswith(b"rosey: ready"), (disk / "log").read_text()
    yield process
    if process.poll() is None:
        os.kill(served(disk / "trace"), signal.SIGKILL)
    process.wait()
    process.stdout.close()


async def test_each_reply_follows_the_sync_of_its_transaction(
    traced: subprocess.Popen[bytes], real_nats: str, disk: Path
) -> None:
    client = await nats.connect(real_nats)
    alone = [f"alone-{number:03}-" for number in range(ALONE)]
    together = [f"together-{number:03}-" for number in range(TOGETHER)]
    for name in alone:
        await acknowledged(client, name)
    await asyncio.gather(*(acknowledged(client, name) for name in together))
    await client.close()
    os.kill(served(disk / "trace"), signal.SIGTERM)
    assert await asyncio.to_thread(traced.wait, 30) == 0
    calls = list(parsed((disk / "trace").read_text(errors="replace").splitlines()))
    syncs = [sync_before_reply(calls, name) for name in (*alone, *together)]
    assert len({sync.begun for sync in syncs[:ALONE]}) == ALONE
    report(syncs)


async def acknowledged(client: Client, name: str) -> None:
    """Set a key; its name is in the page that is written, and as request id in the reply."""
    payload = f'{{"key": "{name}", "value": 1}}'.encode()
    reply = await client.request(
        "rosey.db.kv.traced.set", payload, timeout=30, headers={REQUEST_ID: name}
    )
    assert b'"success":true' in reply.data


def sync_before_reply(calls: Sequence[Call], name: str) -> Call:
    """Return the sync that made a write durable before its reply was sent."""
    written = first(call for call in calls if is_page(call) and name in call.text)
    synced = first(call for call in calls if is_sync(call) and call.begun > written.ended)
    replied = first(call for call in calls if call.name in SENDS and name in call.text)
    assert synced.ended < replied.begun, f"{name} was acknowledged before it was on the disk"
    return synced


def is_page(call: Call) -> bool:
    return call.name in WRITES and call.target.endswith("-wal")


def is_sync(call: Call) -> bool:
    return call.name in SYNCS and call.target.endswith("-wal")


def first(calls: Iterator[Call]) -> Call:
    found = next(calls, None)
    assert found is not None, "no such system call in the trace"
    return found


def parsed(lines: Sequence[str]) -> Iterator[Call]:
    """Yield the calls of a trace in the order in which they began, with their ends."""
    open_calls: dict[str, Call] = {}
    calls: list[Call] = []
    for number, line in enumerate(lines):
        if begun := _BEGUN.match(line):
            thread, name, target, rest = begun.groups()
            calls.append(Call(name, target, rest, number, number))
            if rest.endswith("<unfinished ...>"):
                open_calls[thread] = calls[-1]
        elif resumed := _RESUMED.match(line):
            thread, name, rest = resumed.groups()
            call = open_calls.pop(thread)
            assert call.name == name
            call.text += rest
            call.ended = number
    assert not open_calls
    yield from calls


def served(trace: Path) -> int:
    """Return the process that strace started: the first that it tells of."""
    with trace.open(errors="replace") as lines:
        return int(next(lines).split()[0])


def report(syncs: Sequence[Call]) -> None:
    shared = len({sync.begun for sync in syncs[ALONE:]})
    sys.stdout.write(
        f"\n{ALONE} writes one by one: each had a sync ({syncs[0].name}) of its own between its "
        f"page and its reply; {TOGETHER} at once shared {shared}\n"
    )
