"""The provider that runs a nats-server image through testcontainers.

testcontainers' own NATS class is not used: it polls the log once a second, publishes its port on
every interface, and needs a second container (Ryuk) to clean up. Ours publishes on loopback
only, is ready when the server greets, and is removed by a guard process if pytest dies.
"""

# ruff: noqa: D102 - what the methods do is said in NatsServer
from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import sys
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_rosey.servers import run
from pytest_rosey.servers.banner import Address, BannerError, read_banner
from pytest_rosey.servers.engine import Engine
from pytest_rosey.servers.errors import ServerControlError, ServerUnavailable, last_lines, said
from pytest_rosey.servers.guard import Guard
from pytest_rosey.servers.provider import NatsServer

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

DEFAULT_IMAGE = "nats:2.10-alpine"
"""The oldest series we support: what works on it works on every later one. A few MB to pull."""

START_TIMEOUT = 10.0
"""Seconds from the start of the container to the server's greeting."""

_LOOPBACK = "127.0.0.1"
_PORT = 4222
_CONFIG = "/rosey-nats.conf"
_POLL = 0.005
_HEAD_START = 1.0
"""Seconds for the published port before the container is also tried directly."""

_GREETING_TIMEOUT = 0.5
_REQUEST_TIMEOUT = 30
_LOG_LINES = 1000

_GUARD_CODE = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.stdin.read()
import docker
docker.from_env().containers.get(sys.argv[1]).remove(force=True, v=True)
"""


def missing_package() -> str | None:
    """Say which package the container provider lacks, or None. Imports nothing."""
    if importlib.util.find_spec("testcontainers") is None:
        return "testcontainers is not installed (pip install 'pytest-rosey[container]')"
    return None


def ensure_image(engine: Engine, image: str, seconds: float) -> str:
    """Make sure that an image is on this machine.

    Args:
        engine: an engine that answers.
        image: the name, with tag or digest.
        seconds: how long a pull may take; looked at whenever the engine reports progress.

    Returns:
        How it came here, for the report header: `image is local`, or `image pulled`.

    Raises:
        ServerUnavailable: it is not here and cannot be pulled in time.
    """
    with _quiet(engine):
        import docker  # a quarter of a second, only for those who use containers
        import requests  # comes with docker

        client = docker.from_env(timeout=max(seconds, 1))
        try:
            return _local_or_pulled(client, _full_name(image), time.monotonic() + seconds, seconds)
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise ServerUnavailable(
                f"the image {image} is not here and cannot be pulled: {_brief(error)}"
            ) from None
        finally:
            client.close()


def _local_or_pulled(client: Any, image: str, deadline: float, seconds: float) -> str:
    import docker  # see ensure_image

    with contextlib.suppress(docker.errors.ImageNotFound):
        client.images.get(image)
        return "image is local"
    for progress in client.api.pull(image, stream=True, decode=True):
        if "error" in progress:
            raise docker.errors.DockerException(progress["error"])
        # Leaving the stream ends the pull.
        if time.monotonic() > deadline:
            raise docker.errors.DockerException(f"it takes more than {seconds:g} s")
    return "image pulled"


class ContainerServer(NatsServer):
    """A nats-server in a container, published on a random loopback port.

    Gone after `stop()`, at the exit of Python, and after a `kill -9` of it.

    Args:
        engine: an engine that answers.
        image: a nats-server image; its entry point must take nats-server's flags.
        config: a configuration file, copied into the container (what it includes is not).
        start_timeout: seconds from the start of the container to the server's greeting.
    """

    provider = "container"

    def __init__(
        self,
        engine: Engine,
        *,
        image: str = DEFAULT_IMAGE,
        config: Path | None = None,
        start_timeout: float = START_TIMEOUT,
    ) -> None:
        super().__init__()
        self.engine = engine
        self.image = image
        self.config = config
        self._start_timeout = start_timeout
        self._container: DockerContainer | None = None
        self._guard: Guard | None = None
        self._published: int | None = None
        self._owner = 0
        self._old_log = ""

    def log_tail(self, lines: int = 40) -> str:
        return last_lines(self._log(), lines)

    def start(self) -> None:
        if self._container is not None and self._state() in {"running", "paused"}:
            self.resume()
            return
        self._owner = os.getpid()
        atexit.register(self.stop)
        try:
            with _quiet(self.engine):
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
        atexit.unregister(self.stop)

    def restart(self) -> None:
        if self._url is None:
            raise ServerControlError(f"{self} cannot be restarted: it has not been started.")
        self._remove()
        self.start()

    def kill(self) -> None:
        container = self._running("killed")
        container.kill()
        container.wait(timeout=_REQUEST_TIMEOUT)

    def pause(self) -> None:
        container = self._running("paused")
        if container.status != "paused":
            container.pause()

    def resume(self) -> None:
        container = self._running("resumed")
        if container.status == "paused":
            container.unpause()

    def __str__(self) -> str:
        return f"the container of {self.image}"

    # -- starting --------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._remove()
        name = f"rosey-nats-{uuid.uuid4().hex[:12]}"
        # The guard is there before the container is: nothing can be left in between.
        self._guard = Guard(
            [sys.executable, "-P", "-c", _GUARD_CODE, name],
            os.environ | {"DOCKER_HOST": self.engine.url},
        )
        try:
            self._container = self._made_container(name)
            _sweep(self._container.get_docker_client().client)
            self._container.start()
        except Exception as error:  # noqa: BLE001 - the SDK and testcontainers raise many kinds
            raise ServerUnavailable(f"{self} did not start: {_brief(error)}") from None
        self._await_banner(time.monotonic() + self._start_timeout)

    def _made_container(self, name: str) -> DockerContainer:
        from testcontainers.core.container import DockerContainer  # optional extra

        command = ["-a", "0.0.0.0", "-p", str(_PORT)]  # noqa: S104 - inside the container
        if self.config is not None:
            command += ["-c", _CONFIG]
        container = (
            DockerContainer(self.image, docker_client_kw={"timeout": _REQUEST_TIMEOUT})
            .with_name(name)
            .with_command(command)
            .with_kwargs(labels={run.LABEL: run.run_id()})
        )
        if self.config is not None:
            container.with_copy_into_container(self.config, _CONFIG)
        # Set by hand: `with_bind_ports` would publish the port on every interface.
        host = (_LOOPBACK,) if self._published is None else (_LOOPBACK, self._published)
        ports: dict[str, Any] = container.ports
        ports[f"{_PORT}/tcp"] = host
        return container

    def _await_banner(self, deadline: float) -> None:
        error: BannerError | None = None
        head_start = time.monotonic() + _HEAD_START
        while time.monotonic() < deadline:
            if self._state() in {"exited", "dead"}:
                raise ServerUnavailable(self._failure("ended before it was ready"))
            for address in self._addresses(directly=time.monotonic() > head_start):
                try:
                    self._banner = read_banner(address, _GREETING_TIMEOUT)
                except BannerError as refused:
                    error = refused
                else:
                    self._url = f"nats://{address}"
                    return
            time.sleep(_POLL)
        raise ServerUnavailable(
            self._failure(f"was not ready within {self._start_timeout:g} s: {error}")
        )

    def _addresses(self, *, directly: bool) -> list[Address]:
        """Where the server may be reached: on loopback, and from a sibling container directly.

        The published port is ready a moment later than the container itself. It is preferred, and
        a server that was reached through it stays there when it is restarted.
        """
        assert self._container is not None  # made before any wait
        network = self._container.get_wrapped_container().attrs["NetworkSettings"]
        published = (network.get("Ports") or {}).get(f"{_PORT}/tcp") or []
        addresses = []
        if published:
            self._published = int(published[0]["HostPort"])
            addresses.append(Address(_LOOPBACK, self._published))
        was_published = self._url is not None and _LOOPBACK in self._url
        if directly and not was_published and _is_in_a_container():
            networks = (network.get("Networks") or {}).values()
            addresses += [Address(n["IPAddress"], _PORT) for n in networks if n.get("IPAddress")]
        return addresses

    def _failure(self, what: str) -> str:
        config = "" if self.config is None else f"\nIts configuration file: {self.config}"
        return f"{self} {what}.{config}\n{said(last_lines(self._log(), 20))}"

    # -- ending ----------------------------------------------------------------------------------

    def _remove(self) -> None:
        """Remove container and guard, and leave the port as it is."""
        container, guard = self._container, self._guard
        if container is not None:
            self._old_log = self._log()
            with contextlib.suppress(Exception):  # gone already, or the engine is: the guard tries
                container.stop()
        if guard is not None:
            guard.release()
        self._container = self._guard = None

    def _running(self, participle: str) -> Any:
        if self._container is None or self._state() not in {"running", "paused"}:
            raise ServerControlError(
                f"{self} cannot be {participle}: it does not run. "
                "`start()` starts it, also after `kill()` or a crash."
            )
        return self._container.get_wrapped_container()

    def _state(self) -> str:
        assert self._container is not None  # asked by those who made it
        self._container.reload()
        return str(self._container.status)

    def _log(self) -> str:
        if self._container is None:
            return self._old_log
        with contextlib.suppress(Exception):  # never started, or gone: an empty log says so
            wrapped = self._container.get_wrapped_container()
            return bytes(wrapped.logs(tail=_LOG_LINES)).decode(errors="replace")
        return ""


def _is_in_a_container() -> bool:
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def _sweep(client: Any) -> None:
    """Remove the containers that dead runs of ours left."""
    for container in client.containers.list(all=True, filters={"label": run.LABEL}):
        if run.is_dead(container.labels.get(run.LABEL, "")):
            with contextlib.suppress(Exception):  # another run sweeps at the same time
                container.remove(force=True, v=True)


@contextlib.contextmanager
def _quiet(engine: Engine) -> Iterator[None]:
    """Use testcontainers without its manners: warnings at import, Ryuk, a changed environment."""
    before = os.environ.get("DOCKER_HOST")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from testcontainers.core.config import testcontainers_config

        ryuk_disabled = testcontainers_config.ryuk_disabled
        testcontainers_config.ryuk_disabled = True
        os.environ["DOCKER_HOST"] = engine.url
        try:
            yield
        finally:
            testcontainers_config.ryuk_disabled = ryuk_disabled
            if before is None:
                del os.environ["DOCKER_HOST"]
            else:
                os.environ["DOCKER_HOST"] = before


def _full_name(image: str) -> str:
    from testcontainers.core.config import testcontainers_config  # see _quiet

    return str(testcontainers_config.hub_image_name_prefix) + image


def _brief(error: Exception) -> str:
    """Word an SDK's error in one line: they are chains of chains."""
    explanation = getattr(error, "explanation", None)
    lines = str(explanation or error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
