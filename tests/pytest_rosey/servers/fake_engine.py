"""A container engine in 100 lines: enough of Docker's HTTP interface for one NATS container.

Its "containers" are real nats-server processes, so that greetings, signals and logs are real. It
shows that our calls go through testcontainers and Docker's SDK as we think they do, and in which
order; that a real engine agrees is for a test with a real engine to show.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pytest_rosey.servers.nats import BinaryServer


@dataclass
class FakeContainer:
    name: str
    spec: dict[str, Any]
    server: BinaryServer
    state: str = "created"

    @property
    def binding(self) -> dict[str, str]:
        return self.spec["HostConfig"]["PortBindings"]["4222/tcp"][0]

    def start(self) -> None:
        if self.binding.get("HostPort"):
            self.server._port = int(self.binding["HostPort"])
        self.server.start()
        self.state = "running"

    def described(self) -> dict[str, Any]:
        ports = {}
        if self.state == "running":
            port = self.server.url.rpartition(":")[2]
            ports = {"4222/tcp": [{"HostIp": self.binding["HostIp"], "HostPort": port}]}
        return {
            "Id": self.name,
            "Name": f"/{self.name}",
            "State": {"Status": self.state},
            "Config": {"Labels": self.spec["Labels"], "Tty": False},
            "NetworkSettings": {"Ports": ports, "Networks": {}},
        }


@dataclass
class FakeEngine:
    """What the engine knows; tests read `containers`, `removed` and `pulled`."""

    binary: Path
    directory: Path
    images: set[str] = field(default_factory=set)
    pull_progress: list[dict[str, str]] = field(default_factory=lambda: [{"status": "Pulling"}])
    containers: dict[str, FakeContainer] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    pulled: list[str] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)

    def create(self, name: str, spec: dict[str, Any]) -> None:
        self.created.append(spec)
        config = self.directory / f"{name}.conf"
        with_config = "-c" in spec["Cmd"]
        server = BinaryServer(self.binary, config=config if with_config else None)
        self.containers[name] = FakeContainer(name, spec, server)

    def remove(self, name: str) -> None:
        self.removed.append(name)
        self.containers.pop(name).server.stop()

    def act(self, name: str, verb: str) -> None:
        container = self.containers[name]
        if verb == "start":
            with contextlib.suppress(Exception):
                container.start()
            container.state = "running" if container.server._url else "exited"
        elif verb == "kill":
            container.server.kill()
            container.state = "exited"
        elif verb == "pause":
            container.server.pause()
            container.state = "paused"
        elif verb == "unpause":
            container.server.resume()
            container.state = "running"

    def serve(self) -> ThreadingHTTPServer:
        engine = self

        class Handler(_Handler):
            known = engine

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    known: FakeEngine

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        path = self._path()
        if path == "/_ping":
            self._answer(200, b"OK")
        elif path == "/version":
            self._answer(200, {"ApiVersion": "1.43", "MinAPIVersion": "1.24"})
        elif match := re.fullmatch(r"/images/(.+)/json", path):
            there = match[1] in self.known.images
            self._answer(200 if there else 404, {"Id": "sha256:1", "message": "No such image"})
        elif path == "/containers/json":
            self._answer(200, [{"Id": name} for name in self.known.containers])
        elif match := re.fullmatch(r"/containers/([^/]+)/(json|logs)", path):
            self._describe(match[1], match[2])
        else:
            self._answer(404, {"message": f"fake engine: no {path}"})

    def _describe(self, name: str, what: str) -> None:
        container = self.known.containers.get(name)
        if container is None:
            self._answer(404, {"message": f"No such container: {name}"})
        elif what == "json":
            self._answer(200, container.described())
        else:
            log = container.server.log_tail(1000).encode()
            # Docker puts the stream's number and the length before each piece of output.
            self._answer(200, b"\x02\0\0\0" + len(log).to_bytes(4, "big") + log)

    def do_POST(self) -> None:
        path, query = self._path(), parse_qs(urlsplit(self.path).query)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/containers/create":
            self.known.create(query["name"][0], json.loads(body))
            self._answer(201, {"Id": query["name"][0], "Warnings": []})
        elif path == "/images/create":
            self.known.pulled.append(f"{query['fromImage'][0]}:{query['tag'][0]}")
            self._stream(json.dumps(line).encode() for line in self.known.pull_progress)
        elif match := re.fullmatch(r"/containers/([^/]+)/wait", path):
            self._answer(200, {"StatusCode": 137})
        elif match := re.fullmatch(r"/containers/([^/]+)/(\w+)", path):
            self.known.act(match[1], match[2])
            self._answer(204, b"")
        else:
            self._answer(404, {"message": f"fake engine: no {path}"})

    def do_PUT(self) -> None:
        name = self._path().split("/")[2]
        archive = self.rfile.read(int(self.headers["Content-Length"]))
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            (member,) = tar.getmembers()
            file = tar.extractfile(member)
            assert file is not None
            (self.known.directory / f"{name}.conf").write_bytes(file.read())
        self._answer(200, b"")

    def do_DELETE(self) -> None:
        self.known.remove(self._path().split("/")[2])
        self._answer(204, b"")

    def _path(self) -> str:
        return re.sub(r"^/v[0-9.]+", "", unquote(urlsplit(self.path).path))

    def _stream(self, pieces: Iterable[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (*pieces, b""):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def _answer(self, status: int, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
