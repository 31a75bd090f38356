"""The provider that runs a container, on a real Docker engine (SPEC 5.3).

The engine is the one that answers here, or one that this module starts where it may: as root,
with `dockerd` installed. Nothing is pulled: the image is made of the binary of this machine.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_rosey.servers.docker_engine import DockerEngine, probe
from pytest_rosey.servers.nats import (
    BannerError,
    ContainerServer,
    ServerUnavailable,
    address_of,
    read_banner,
)
from pytest_rosey.servers.ownership import LABEL
from pytest_rosey.servers.postgres import PostgresContainer, unavailable_reason
from tests.pytest_rosey.servers import postgres_image as postgres_image_module
from tests.pytest_rosey.servers.process_watch import PATIENCE, is_alive, wait_until

pytestmark = pytest.mark.process

IMAGE = "rosey-test/nats:local"
# A signal that comes just before a system call does not end it, so each of them is short.
RUN = """
import select, sys
from pytest_rosey.servers.nats import ContainerServer
from pytest_rosey.servers.docker_engine import probe

server = ContainerServer(probe(), image=sys.argv[1])
server.start()
print(server.url, flush=True)
while not select.select([sys.stdin], [], [], 0.01)[0]:
    pass
"""
SUITE = """
import time

async def test_x(storage, nats_server, nats_client):
    await storage("quote-db").kv.set("k", 1)
    assert await storage("quote-db").kv.get("k") == 1
    assert (nats_server.provider, nats_client.connected_url.hostname) == ("container", "127.0.0.1")

def test_long(nats_server):
    print("in the middle of it", flush=True)
    for _ in range(6_000):
        time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def docker_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an engine that answers."""
    pytest.importorskip("testcontainers", reason="extra `container`")
    found = probe()
    if found.problem is None:
        yield found.url
        return
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(_own_engine(tmp_path_factory, found))


@contextlib.contextmanager
def _own_engine(tmp_path_factory: pytest.TempPathFactory, found: DockerEngine) -> Iterator[str]:
    dockerd = shutil.which("dockerd")
    if dockerd is None or os.geteuid() != 0:
        lacks = "there is no dockerd to start" if dockerd is None else "only root may start one"
        pytest.skip(f"no Docker engine: {found.name} {found.problem}, and {lacks}")
    place = tmp_path_factory.mktemp("dockerd")
    socket = place / "sock"
    with (place / "log").open("wb") as log:
        engine = subprocess.Popen(
            [
                dockerd,
                f"--data-root={place / 'data'}",
                f"--exec-root={place / 'exec'}",
                f"--pidfile={place / 'pid'}",
                f"--host=unix://{socket}",
                "--storage-driver=vfs",
            ],
            stdout=log,
            stderr=log,
            process_group=0,
        )
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", f"unix://{socket}")
            try:
                wait_until(
                    lambda: engine.poll() is not None or probe().problem is None,
                    "an answer of the engine",
                )
            except pytest.fail.Exception:
                pytest.skip(f"dockerd does not answer here: {_last_line(place / 'log')}")
            if engine.poll() is not None:
                pytest.skip(f"dockerd does not run here: {_last_line(place / 'log')}")
        yield f"unix://{socket}"
    finally:
        engine.terminate()
        engine.wait(PATIENCE)
        for mount in _mounts_below(place):
            subprocess.run(["umount", mount], check=False)
        shutil.rmtree(place, ignore_errors=True)


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"


def _mounts_below(place: Path) -> list[str]:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [mount for mount in reversed(mounts) if mount.startswith(f"{place}/")]


@pytest.fixture(scope="module")
def client(docker_host: str, nats_binary: Path) -> Iterator[Any]:
    """Docker's SDK on the engine, with our image."""
    import docker

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(nats_binary.resolve(), arcname="nats-server")
    connection = docker.DockerClient(base_url=docker_host, timeout=60)
    repository, _, tag = IMAGE.partition(":")
    entry = ['ENTRYPOINT ["/nats-server"]']
    connection.api.import_image_from_data(
        packed.getvalue(), repository=repository, tag=tag, changes=entry
    )
    yield connection
    connection.images.remove(IMAGE, force=True)
    connection.close()


@pytest.fixture
def ours(client: Any, docker_host: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Return which containers of ours there are."""
    monkeypatch.setenv("DOCKER_HOST", docker_host)

    def names() -> list[str]:
        # Not `containers.list()`: it asks again for each, and one may be gone by then.
        listed = client.api.containers(all=True, filters={"label": LABEL})
        return [container["Names"][0] for container in listed]

    assert names() == []
    return names


@pytest.fixture
def run(ours: object) -> Iterator[subprocess.Popen[str]]:
    """A process that has started a server and waits."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", RUN, IMAGE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_life_of_a_server(ours: Callable[[], list[str]]) -> None:
    server = ContainerServer(probe(), image=IMAGE)
    server.start()
    url = server.url
    assert address_of(url).host == "127.0.0.1"
    assert len(ours()) == 1

    server.pause()
    with pytest.raises(BannerError):
        read_banner(address_of(url), 0.2)
    server.resume()
    server.kill()
    with pytest.raises(BannerError):
        read_banner(address_of(url), 0.2)
    server.restart()
    assert (server.url, len(ours())) == (url, 1)
    assert "Server is ready" in server.log_tail()

    server.stop()
    assert ours() == []


@pytest.mark.parametrize("end", ["exit", "SIGINT", "SIGKILL"])
def test_nothing_is_left_however_the_run_ends(
    run: subprocess.Popen[str], ours: Callable[[], list[str]], end: str
) -> None:
    assert run.stdout is not None
    assert run.stdin is not None
    url = run.stdout.readline().strip()
    assert len(ours()) == 1
    if end == "exit":
        run.stdin.close()
    else:
        run.send_signal(signal.Signals[end])
    wait_until(lambda: not is_alive(run.pid), "the end of the run")
    wait_until(lambda: ours() == [], "the end of the container")
    with pytest.raises(BannerError):
        read_banner(address_of(url), 0.2)


def _stopped_in_the_middle(command: list[str], directory: Path, end: signal.Signals) -> str:
    """Run a suite, end it in its long test, and return what it printed."""
    output = ""
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True) as suite:
        assert suite.stdout is not None
        for line in suite.stdout:
            output += line
            if "in the middle of it" in line:
                suite.send_signal(end)
    assert "in the middle of it" in output
    return output


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_suite_on_a_container(
    ours: Callable[[], list[str]], tmp_path: Path, end: signal.Signals
) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:randomly"]
    command += ["--rosey-nats=auto", f"--rosey-nats-image={IMAGE}"]
    output = _stopped_in_the_middle(command, tmp_path, end)
    if end == signal.SIGINT:
        assert "1 passed" in output
        assert "rosey: nats=container 2." in output
        assert f"(container {IMAGE}: Docker engine at " in output
        assert "image is local)" in output
    wait_until(lambda: ours() == [], "the end of the container")


DATABASE_SUITE = """
import time

async def test_x(storage, db_service, rosey_migrations):
    await rosey_migrations.apply("quote-db")
    assert len(await rosey_migrations.rows("quote-db", "quotes")) == 5
    assert db_service.database.engine.url.host == "127.0.0.1"

def test_long():
    print("in the middle of it", flush=True)
    for _ in range(6_000):
        time.sleep(0.01)
"""
WITHOUT_BINARIES = """
from pytest_rosey.servers.postgres import choice, search
search._places = lambda: [("PATH", None)]
choice.DEFAULT_IMAGE = "rosey-test/postgres:local"
"""


@pytest.fixture(scope="module")
def postgres_image(client: Any) -> Iterator[str]:
    """An image with the PostgreSQL of this machine."""
    reason = unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    archive, entry = postgres_image_module.packed()
    name = "rosey-test/postgres"
    client.api.import_image_from_data(archive, repository=name, tag="local", changes=entry)
    yield f"{name}:local"
    client.images.remove(f"{name}:local", force=True)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_suite_on_postgresql_in_a_container(
    postgres_image: str, ours: Callable[[], list[str]], tmp_path: Path, end: signal.Signals
) -> None:
    (tmp_path / "test_suite.py").write_text(DATABASE_SUITE, "utf-8")
    (tmp_path / "conftest.py").write_text(WITHOUT_BINARIES, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:randomly", "--rosey-db=postgres"]
    output = _stopped_in_the_middle(command, tmp_path, end)
    if end == signal.SIGINT:
        assert "1 passed" in output
        version = r"rosey: nats=in-process \(default\), db=PostgreSQL \d+\.\d+ "
        where = rf"\(--rosey-db: container {postgres_image}: Docker engine at \S+, image is local\)"
        assert re.search(version + where, output)
    wait_until(lambda: ours() == [], "the end of the container")


def test_a_postgresql_container_that_ends_shows_its_log(
    client: Any, ours: Callable[[], list[str]]
) -> None:
    # It is the image of nats-server, which does not know what PostgreSQL is told.
    server = PostgresContainer(probe(), image=IMAGE)
    with pytest.raises(ServerUnavailable) as caught:
        server.start()
    assert f"the container of {IMAGE} ended before it was ready. Its last lines:" in str(
        caught.value
    )
    assert ours() == []
    with pytest.raises(ServerUnavailable, match="has not been started"):
        server.url()
