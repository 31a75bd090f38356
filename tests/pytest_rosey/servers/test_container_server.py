"""The provider that runs a container, on an engine that is a fake and servers that are real."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pytest_rosey.servers import docker_container as docker_module
from pytest_rosey.servers.docker_container import ensure_image, missing_package
from pytest_rosey.servers.docker_engine import DockerEngine, probe
from pytest_rosey.servers.nats import (
    DEFAULT_IMAGE,
    BannerError,
    ContainerServer,
    ServerControlError,
    ServerUnavailable,
    address_of,
    read_banner,
)
from pytest_rosey.servers.ownership import LABEL, run_id
from tests.pytest_rosey.servers.fake_engine import FakeEngine
from tests.pytest_rosey.servers.process_watch import PATIENCE, is_alive, wait_until

pytestmark = pytest.mark.process


@dataclass
class Running:
    fake: FakeEngine
    engine: DockerEngine


@pytest.fixture
def running(nats_binary, tmp_path, monkeypatch) -> Iterator[Running]:
    pytest.importorskip("testcontainers", reason="extra `container`")
    fake = FakeEngine(nats_binary, tmp_path, images={DEFAULT_IMAGE})
    with fake.serve() as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{http.server_address[1]}")
        yield Running(fake, probe())
        http.shutdown()
        thread.join(PATIENCE)
    for left in fake.containers.values():
        left.server.stop()


@pytest.fixture
def started(running) -> Iterator[ContainerServer]:
    with ContainerServer(running.engine) as server:
        yield server


def test_start_and_stop(running):
    assert running.engine.problem is None
    server = ContainerServer(running.engine)
    with pytest.raises(ServerControlError, match="has no URL yet"):
        _ = server.url
    server.start()
    server.start()
    guard = server._container._watchdog
    assert guard is not None
    address = address_of(server.url)
    assert address.host == "127.0.0.1"
    assert read_banner(address, 2).version == server.version
    assert server.provider == "container"
    assert server.log_tail(1).endswith("[INF] Server is ready")

    server.stop()
    server.stop()

    assert len(running.fake.removed) == 1
    assert running.fake.containers == {}
    assert not is_alive(guard.group)
    assert server.log_tail(1).endswith("[INF] Server is ready")
    with pytest.raises(BannerError, match="Nothing listens"):
        read_banner(address, 2)


def test_what_the_engine_is_asked_for(running, started):
    (spec,) = running.fake.created
    assert spec["Image"] == DEFAULT_IMAGE
    assert spec["Cmd"][:4] == ["-a", "0.0.0.0", "-p", "4222"]
    assert spec["Cmd"][4:6] == ["-js", "-sd"], "JetStream, with a store that goes with it"
    assert spec["Labels"][LABEL] == run_id()
    assert spec["HostConfig"]["PortBindings"] == {
        "4222/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]
    }
    assert len(running.fake.containers) == 1, "no second container such as Ryuk"


def test_environment_is_left_as_it_was(running, monkeypatch):
    from testcontainers.core.config import testcontainers_config

    ryuk_disabled = testcontainers_config.ryuk_disabled
    monkeypatch.delenv("DOCKER_HOST")
    with ContainerServer(running.engine):
        assert "DOCKER_HOST" not in os.environ
        assert testcontainers_config.ryuk_disabled is ryuk_disabled


def test_restart_keeps_the_url(started):
    url, first = started.url, read_banner(address_of(started.url), 2)
    started.restart()
    assert started.url == url
    assert read_banner(address_of(url), 2).server_id != first.server_id


def test_kill_and_restart(started):
    url = started.url
    started.kill()
    with pytest.raises(BannerError, match="Nothing listens"):
        read_banner(address_of(url), 2)
    with pytest.raises(ServerControlError) as caught:
        started.pause()
    assert str(caught.value) == (
        f"the container of {DEFAULT_IMAGE} cannot be paused: it does not run. "
        "`start()` starts it, also after `kill()` or a crash."
    )
    started.restart()
    assert started.url == url
    assert read_banner(address_of(url), 2)


def test_pause_and_resume(started):
    started.resume()
    started.pause()
    started.pause()
    with pytest.raises(BannerError, match="said nothing for"):
        read_banner(address_of(started.url), 0.1)
    started.resume()
    assert read_banner(address_of(started.url), 5)
    started.pause()
    started.start()
    assert read_banner(address_of(started.url), 5)


def test_config_is_copied_into_the_container(running, tmp_path):
    config = tmp_path / "mine.conf"
    config.write_text("max_payload: 100\n")
    with ContainerServer(running.engine, config=config) as server:
        assert running.fake.created[0]["Cmd"][-2:] == ["-c", "/rosey-nats.conf"]
        assert read_banner(address_of(server.url), 2).max_payload == 100


def test_server_that_ends_is_reported(running, tmp_path):
    config = tmp_path / "bad.conf"
    config.write_text("foo_bar: 3\n")
    server = ContainerServer(running.engine, config=config)
    with pytest.raises(ServerUnavailable) as caught:
        server.start()
    (name,) = running.fake.removed
    assert str(caught.value) == (
        f"the container of {DEFAULT_IMAGE} ended before it was ready.\n"
        f"Its configuration file: {config}\n"
        "Its last lines:\n"
        f'    nats-server: {tmp_path}/{name}.conf:1:0: unknown field "foo_bar"'
    )
    assert running.fake.containers == {}


def test_image_that_is_not_there(running):
    running.fake.pull_progress = [{"error": "manifest unknown"}]
    with pytest.raises(ServerUnavailable) as caught:
        ContainerServer(running.engine, image="nats:none").start()
    assert str(caught.value).startswith("the container of nats:none did not start: ")


def test_engine_that_goes_away(running, unused_address):
    gone = DockerEngine(f"tcp://{unused_address}", None)
    with pytest.raises(ServerUnavailable) as caught:
        ContainerServer(gone).start()
    assert str(caught.value).startswith(
        f"the container of {DEFAULT_IMAGE} did not start: Error while fetching server API version: "
    )
    assert "refused" in str(caught.value)


# -- the image -----------------------------------------------------------------------------------


def test_image_is_local(running):
    assert ensure_image(running.engine, DEFAULT_IMAGE, 20) == "image is local"
    assert running.fake.pulled == []


def test_image_is_pulled(running):
    assert ensure_image(running.engine, "nats:2.12", 20) == "image pulled"
    assert running.fake.pulled == ["nats:2.12"]


def test_image_cannot_be_pulled(running):
    running.fake.pull_progress = [{"status": "Pulling"}, {"error": "manifest unknown"}]
    with pytest.raises(ServerUnavailable) as caught:
        ensure_image(running.engine, "nats:none", 20)
    assert str(caught.value) == (
        "the image nats:none is not here and cannot be pulled: manifest unknown"
    )


def test_image_takes_too_long(running):
    with pytest.raises(ServerUnavailable) as caught:
        ensure_image(running.engine, "nats:2.12", 0)
    assert str(caught.value) == (
        "the image nats:2.12 is not here and cannot be pulled: it takes more than 0 s"
    )


def test_missing_package(monkeypatch):
    assert missing_package() is None
    monkeypatch.setattr(docker_module.importlib.util, "find_spec", lambda name: None)
    assert missing_package() == (
        "testcontainers is not installed (pip install 'pytest-rosey[container]')"
    )


# -- nothing is left -----------------------------------------------------------------------------


def test_nothing_is_left_when_python_is_killed(running):
    code = """
import sys
from pytest_rosey.servers.nats import ContainerServer
from pytest_rosey.servers.docker_engine import probe

server = ContainerServer(probe())
server.start()
print(server._container._watchdog.group, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as python:
        assert python.stdout is not None
        guard = int(python.stdout.readline())
        assert len(running.fake.containers) == 1
        python.kill()
        python.wait(PATIENCE)
        wait_until(lambda: running.fake.containers == {}, "the container's end")
        wait_until(lambda: not is_alive(guard), "the guard's end")


def test_containers_of_dead_runs_are_swept(running):
    place, pid, _ = run_id().split("/")
    for name, mark in (("dead", f"{place}/{pid}/1"), ("mine", run_id()), ("other", "host/1/1")):
        spec = {"Cmd": [], "Labels": {LABEL: mark}, "HostConfig": {}}
        running.fake.create(name, spec)
    with ContainerServer(running.engine):
        assert running.fake.removed == ["dead"]
