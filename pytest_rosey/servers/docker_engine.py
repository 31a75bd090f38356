"""Is there a Docker engine? Decided in well under a second, and without importing Docker's SDK.

The SDK takes a quarter of a second to import, and a hung engine or a lost host keeps its
constructor waiting; a plain `GET /_ping` says the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dbservice.runtime.redaction import redacted

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
PROBE_TIMEOUT = 0.4
"""Seconds for connecting and for the answer, each."""

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class DockerEngine:
    """What was found out about the container engine.

    Attributes:
        url: its address, as DOCKER_HOST has it.
        problem: why it cannot be used, in words that follow the address; None if it answers.
    """

    url: str
    problem: str | None

    @property
    def name(self) -> str:
        """The address for a reader: the bare path of a socket, else the URL."""
        return redacted(self.url).removeprefix("unix://")


def probe() -> DockerEngine:
    """Ask the container engine of this user whether it is there."""
    url = engine_url()
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix":
            problem = _ask(_unix(parts.path))
        elif parts.scheme == "tcp" and parts.hostname in _LOOPBACK:
            problem = _ask(_tcp(parts.hostname, parts.port or 2375))
        else:
            problem = "is on another machine, whose loopback cannot be reached from here"
    except TimeoutError:
        problem = "did not answer in time"
    except FileNotFoundError:
        problem = "does not exist"
    except ValueError as error:
        problem = f"is no address of an engine ({error})"
    except OSError as error:
        problem = f"cannot be reached ({(error.strerror or str(error)).lower()})"
    return DockerEngine(url, problem)


def engine_url() -> str:
    """Return the engine's address: DOCKER_HOST, else Docker's current context, else the socket."""
    return os.environ.get("DOCKER_HOST") or _context_url() or DEFAULT_ENGINE


def _context_url() -> str | None:
    try:
        home = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        config = json.loads((home / "config.json").read_bytes())
        name = os.environ.get("DOCKER_CONTEXT") or config["currentContext"]
        digest = hashlib.sha256(name.encode()).hexdigest()
        meta = json.loads((home / "contexts/meta" / digest / "meta.json").read_bytes())
        return str(meta["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError):
        return None


def _unix(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PROBE_TIMEOUT)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _tcp(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), PROBE_TIMEOUT)


def _ask(connection: socket.socket) -> str | None:
    with connection:
        connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        answer = connection.recv(4096)
    if answer.startswith(b"HTTP/") and b" 200 " in answer.split(b"\r\n", 1)[0]:
        return None
    return f"is no Docker engine: it answered {answer[:60]!r}"
