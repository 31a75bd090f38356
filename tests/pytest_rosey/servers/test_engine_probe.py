"""Finding out whether a container engine answers."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_rosey.servers.docker_engine import DockerEngine, engine_url, probe


@pytest.fixture(autouse=True)
def no_engine_of_this_machine(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@pytest.fixture
def socket_path(tmp_path_factory) -> Path:
    # Names of Unix sockets are limited to about 100 bytes.
    return tmp_path_factory.mktemp("s") / "d.sock"


@pytest.fixture
def unix_engine(socket_path, monkeypatch):
    """Listen on a Unix socket, and answer the first connection with the given bytes."""
    with ExitStack() as stack:

        def listen(answer: bytes | None) -> str:
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(str(socket_path))
            listening.listen()
            if answer is not None:

                def serve() -> None:
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(1000)
                        connection.sendall(answer)

                threading.Thread(target=serve, daemon=True).start()
            monkeypatch.setenv("DOCKER_HOST", f"unix://{socket_path}")
            return f"unix://{socket_path}"

        yield listen


def test_engine_answers(unix_engine):
    url = unix_engine(b"HTTP/1.1 200 OK\r\nServer: Docker\r\n\r\nOK")
    engine = probe()
    assert engine == DockerEngine(url, None)
    assert engine.name == url.removeprefix("unix://")


def test_no_socket(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert probe() == DockerEngine("unix:///nowhere/docker.sock", "does not exist")


def test_stale_socket(unix_engine, socket_path, monkeypatch):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(socket_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket_path}")
    assert probe().problem == "cannot be reached (connection refused)"


def test_engine_hangs(unix_engine, monkeypatch):
    monkeypatch.setattr("pytest_rosey.servers.docker_engine.PROBE_TIMEOUT", 0.05)
    unix_engine(None)
    assert probe().problem == "did not answer in time"


def test_something_else_answers(unix_engine):
    unix_engine(b"SSH-2.0-OpenSSH\r\n")
    assert probe().problem == "is no Docker engine: it answered b'SSH-2.0-OpenSSH\\r\\n'"


def test_engine_that_refuses(unix_engine):
    unix_engine(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
    assert probe().problem == (
        "is no Docker engine: it answered b'HTTP/1.1 500 Internal Server Error\\r\\n\\r\\n'"
    )


def test_no_permission(unix_engine, socket_path, monkeypatch):
    unix_engine(None)

    def refuse(self: socket.socket, address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert probe().problem == "cannot be reached (permission denied)"


def test_tcp_engine_on_loopback(listener, monkeypatch):
    address = listener(lambda connection: connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK"))
    monkeypatch.setenv("DOCKER_HOST", f"tcp://{address}")
    assert probe() == DockerEngine(f"tcp://{address}", None)


@pytest.mark.parametrize("url", ["tcp://docker:2375", "ssh://me@example.org"])
def test_engine_of_another_machine(monkeypatch, url):
    monkeypatch.setenv("DOCKER_HOST", url)
    assert probe() == DockerEngine(
        url, "is on another machine, whose loopback cannot be reached from here"
    )


def test_default_socket():
    assert engine_url() == "unix:///var/run/docker.sock"


def test_current_context(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"currentContext": "mine"}')
    for name, host in (("mine", "unix:///mine.sock"), ("other", "unix:///other.sock")):
        meta = tmp_path / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
        meta.mkdir(parents=True)
        (meta / "meta.json").write_text(
            json.dumps({"Endpoints": {"docker": {"Host": host}}}), "utf-8"
        )
    assert engine_url() == "unix:///mine.sock"
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    assert engine_url() == "unix:///other.sock"
    monkeypatch.setenv("DOCKER_HOST", "unix:///first.sock")
    assert engine_url() == "unix:///first.sock"


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"currentContext": "gone"}'])
def test_unreadable_context_means_the_default(tmp_path, config):
    (tmp_path / "config.json").write_text(config, "utf-8")
    assert engine_url() == "unix:///var/run/docker.sock"


@pytest.mark.process
def test_nothing_heavy_is_imported():
    """SPEC 5.8: neither nats nor Docker's packages, nor asyncio, before somebody needs them."""
    code = (
        "import sys, pytest_rosey.servers.nats as s; s.find_binary(); "
        "print([m for m in ('asyncio', 'nats', 'docker', 'testcontainers', 'requests', 'ssl') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
