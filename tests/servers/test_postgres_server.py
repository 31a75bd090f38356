"""The PostgreSQL server for tests: it starts, restarts, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from pytest_rosey.servers import ServerUnavailable
from pytest_rosey.servers import postgres as module
from pytest_rosey.servers.postgres import PostgresServer, find_postgres, unavailable_reason

needs_postgres = pytest.mark.skipif(
    unavailable_reason() is not None, reason=unavailable_reason() or ""
)

RUN_AND_WAIT = """
import sys, time
from pytest_rosey.servers.postgres import PostgresServer
server = PostgresServer()
server.start()
print(server.url(), server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


def ask(url: str, sql: str) -> Any:
    async def asked() -> Any:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(asked())


def directory_of(url: str) -> Path:
    return Path(url.partition("host=")[2])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(holds: Any) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return False


@needs_postgres
def test_it_runs_keeps_its_data_over_a_restart_and_leaves_nothing(server: PostgresServer) -> None:
    server.start()
    url, pid = server.url(), server.pid
    assert ask(url, "SHOW server_encoding") == "UTF8"
    assert ask(url, "SHOW listen_addresses") == ""
    ask(url, "CREATE TABLE kept (a BIGINT)")
    server.restart()
    assert server.url() == url
    assert server.pid != pid
    assert ask(url, "SELECT COUNT(*) FROM kept") == 0
    server.stop()
    assert not directory_of(url).exists()
    server.stop()
    with pytest.raises(ServerUnavailable, match="not been started"):
        server.url()


@needs_postgres
def test_only_its_own_user_can_enter_its_directory(server: PostgresServer) -> None:
    server.start()
    directory = directory_of(server.url()).stat()
    assert directory.st_mode & 0o777 == 0o700
    assert directory.st_uid != 0 or os.getuid() != 0


@needs_postgres
def test_a_killed_owner_leaves_no_server() -> None:
    owner = subprocess.Popen([sys.executable, "-c", RUN_AND_WAIT], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    url, pid = owner.stdout.readline().decode().split()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert eventually(lambda: not is_alive(int(pid)))
    assert eventually(lambda: not directory_of(url).exists())


@needs_postgres
def test_a_server_that_does_not_start_shows_its_log(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module._QUICK, "shared_buffers", "nonsense")
    with pytest.raises(ServerUnavailable, match=r"(?s)ended with exit code 1.*shared_buffers"):
        server.start()


def test_without_binaries_the_reason_names_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_places", lambda: [("PATH", None), ("here", Path("/nowhere"))])
    assert find_postgres().tried == ("PATH: not there", "here: /nowhere")
    reason = unavailable_reason()
    assert reason is not None
    assert "PATH: not there; here: /nowhere" in reason
    with pytest.raises(ServerUnavailable, match="no PostgreSQL server binaries"):
        PostgresServer().start()
