"""The provider that runs a nats-server image (SPEC 5.3).

It is ready when the server greets: that takes a quarter of a second, where testcontainers' own
NATS class, which waits for a line in the log, takes more than one.
"""

# ruff: noqa: D102 - what the methods do is said in NatsServer
from __future__ import annotations

import os
import time
from pathlib import Path

from pytest_rosey.servers.address import LOOPBACK
from pytest_rosey.servers.docker_container import Container, Recipe
from pytest_rosey.servers.docker_engine import DockerEngine
from pytest_rosey.servers.errors import ServerControlError, ServerUnavailable, last_lines, said
from pytest_rosey.servers.nats.banner import BannerError, read_banner
from pytest_rosey.servers.nats.provider import NatsServer

DEFAULT_IMAGE = "nats:2.10-alpine"
"""The oldest series we support: what works on it works on every later one. A few MB to pull."""

START_TIMEOUT = 10.0
"""Seconds from the start of the container to the server's greeting."""

_PORT = 4222
_CONFIG = "/rosey-nats.conf"
_STORE = "/rosey-jetstream"
_POLL = 0.005
_HEAD_START = 1.0
"""Seconds for the published port before the container is also tried directly."""

_GREETING_TIMEOUT = 0.5
_KILL_TIMEOUT = 30


class ContainerServer(NatsServer):
    """A nats-server in a container, published on a random loopback port.

    Gone after `stop()`, at the exit of Python, and after a `kill -9` of it.

    Args:
        engine: an engine that answers.
        image: a nats-server image; its entry point must take nats-server's flags.
        config: a configuration file, copied into the container (what it includes is not).
    """

    provider = "container"

    def __init__(
        self,
        engine: DockerEngine,
        *,
        image: str = DEFAULT_IMAGE,
        config: Path | None = None,
    ) -> None:
        super().__init__()
        self.engine = engine
        self.image = image
        self.config = config
        self._container: Container | None = None
        self._published: int | None = None
        self._owner = os.getpid()
        self._old_log = ""

    def log_tail(self, lines: int = 40) -> str:
        return last_lines(self._log(), lines)

    def start(self) -> None:
        if self._container is not None and self._container.state in {"running", "paused"}:
            self.resume()
            return
        self._owner = os.getpid()
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        # A forked child inherits this object, and must not end its parent's server when it exits.
        if self._owner != os.getpid():
            return
        self._remove()
        self._published = self._url = None

    def restart(self) -> None:
        if self._url is None:
            raise ServerControlError(f"{self} cannot be restarted: it has not been started.")
        self._remove()
        self.start()

    def kill(self) -> None:
        container = self._running("killed")
        container.wrapped.kill()
        container.wrapped.wait(timeout=_KILL_TIMEOUT)

    def pause(self) -> None:
        container = self._running("paused")
        if container.state != "paused":
            container.wrapped.pause()

    def resume(self) -> None:
        container = self._running("resumed")
        if container.state == "paused":
            container.wrapped.unpause()

    def __str__(self) -> str:
        return f"the container of {self.image}"

    # -- starting --------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._remove()
        command = ["-a", "0.0.0.0", "-p", str(_PORT)]  # noqa: S104 - inside the container
        files = {}
        if self.config is None:
            command += ["-js", "-sd", _STORE]
        else:
            command += ["-c", _CONFIG]
            files[self.config] = _CONFIG
        recipe = Recipe(self.image, _PORT, "rosey-nats", command, files=files, in_memory=[_STORE])
        self._container = Container(self.engine, recipe, self._published)
        self._container.start()
        self._await_banner(self._container, time.monotonic() + START_TIMEOUT)

    def _await_banner(self, container: Container, deadline: float) -> None:
        error: BannerError | None = None
        head_start = time.monotonic() + _HEAD_START
        while time.monotonic() < deadline:
            if container.state in {"exited", "dead"}:
                raise ServerUnavailable(self._failure("ended before it was ready"))
            # The published port is ready a moment later than the container itself. It is
            # preferred, and a server that was reached through it stays there when it is restarted.
            was_published = self._url is not None and LOOPBACK in self._url
            directly = time.monotonic() > head_start and not was_published
            for address in container.addresses(directly=directly):
                try:
                    self._banner = read_banner(address, _GREETING_TIMEOUT)
                except BannerError as refused:
                    error = refused
                else:
                    self._url = f"nats://{address}"
                    return
            time.sleep(_POLL)
        raise ServerUnavailable(self._failure(f"was not ready within {START_TIMEOUT:g} s: {error}"))

    def _failure(self, what: str) -> str:
        config = "" if self.config is None else f"\nIts configuration file: {self.config}"
        return f"{self} {what}.{config}\n{said(last_lines(self._log(), 20))}"

    # -- ending ----------------------------------------------------------------------------------

    def _remove(self) -> None:
        """Remove the container, and leave the port as it is."""
        if self._container is not None:
            self._old_log = self._log()
            self._published = self._container.published
            self._container.remove()
            self._container = None

    def _running(self, participle: str) -> Container:
        if self._container is None or self._container.state not in {"running", "paused"}:
            raise ServerControlError(
                f"{self} cannot be {participle}: it does not run. "
                "`start()` starts it, also after `kill()` or a crash."
            )
        return self._container

    def _log(self) -> str:
        return self._old_log if self._container is None else self._container.log()
