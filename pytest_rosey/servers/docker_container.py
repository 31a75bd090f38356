"""Containers of a test run, through testcontainers: published on loopback, and never left behind.

What testcontainers would do by itself is not used: it polls logs once a second, publishes ports on
every interface, and needs a second container (Ryuk) to clean up.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import sys
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_rosey.servers import ownership
from pytest_rosey.servers.address import LOOPBACK, Address
from pytest_rosey.servers.docker_engine import DockerEngine
from pytest_rosey.servers.errors import ServerUnavailable
from pytest_rosey.servers.ownership import Watchdog

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

_REQUEST_TIMEOUT = 30
_LOG_LINES = 1000

_WATCHDOG_CODE = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.stdin.read()
import docker
docker.from_env().containers.get(sys.argv[1]).remove(force=True, v=True)
"""


def missing_package() -> str | None:
    """Say which package the container providers lack, or None. Imports nothing."""
    if importlib.util.find_spec("testcontainers") is None:
        return "testcontainers is not installed (pip install 'pytest-rosey[container]')"
    return None


def require_usable(engine: DockerEngine) -> None:
    """Raise if containers cannot be started.

    Raises:
        ServerUnavailable: there is no engine, or a package is missing.
    """
    if engine.problem is not None:
        raise ServerUnavailable(f"no Docker engine: {engine.name} {engine.problem}")
    lacking = missing_package()
    if lacking is not None:
        raise ServerUnavailable(f"a Docker engine answers at {engine.name}, but {lacking}")


def ensure_image(engine: DockerEngine, image: str, seconds: float) -> str:
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
                f"the image {image} is not here and cannot be pulled: {brief(error)}"
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


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to run in a container.

    Attributes:
        image: its name.
        port: what listens inside.
        name: how the names of such containers begin.
        command: arguments of the image's entry point.
        environment: variables inside.
        files: what is copied inside, and where to.
        in_memory: directories inside that are kept in memory.
    """

    image: str
    port: int
    name: str
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    in_memory: Sequence[str] = ()


class Container:
    """A container with one port, published on a random port of loopback.

    Gone after `remove()`, at the exit of Python, and after a `kill -9` of it.

    Args:
        engine: an engine that answers.
        recipe: what to run.
        published: the port on loopback; by default a random one.
    """

    def __init__(self, engine: DockerEngine, recipe: Recipe, published: int | None = None) -> None:
        self.published = published
        """The port on loopback, once it is known."""
        self._engine = engine
        self._recipe = recipe
        self._owner = os.getpid()
        self._container: DockerContainer | None = None
        self._watchdog: Watchdog | None = None

    def start(self) -> None:
        """Start it; what runs inside need not be ready when this returns.

        Raises:
            ServerUnavailable: it did not start.
        """
        name = f"{self._recipe.name}-{uuid.uuid4().hex[:12]}"
        atexit.register(self.remove)
        with _quiet(self._engine):
            # The watchdog is there before the container is: nothing can be left in between.
            self._watchdog = Watchdog(
                [sys.executable, "-P", "-c", _WATCHDOG_CODE, name],
                os.environ | {"DOCKER_HOST": self._engine.url},
            )
            try:
                self._container = self._made(name)
                _sweep(self._container.get_docker_client().client)
                self._container.start()
            except Exception as error:  # noqa: BLE001 - the SDK and testcontainers raise many kinds
                raise ServerUnavailable(
                    f"the container of {self._recipe.image} did not start: {brief(error)}"
                ) from None

    def remove(self) -> None:
        """End and remove it. May be repeated."""
        # A forked child inherits this object, and must not end its parent's server when it exits.
        if self._owner != os.getpid():
            return
        if self._container is not None:
            with contextlib.suppress(Exception):  # gone, or the engine is: the other tries
                self._container.stop()
        if self._watchdog is not None:
            self._watchdog.release()
        self._container = self._watchdog = None
        atexit.unregister(self.remove)

    @property
    def state(self) -> str:
        """What the engine says of it, for example `running`, `paused` or `exited`."""
        self.wrapped.reload()
        return str(self.wrapped.status)

    @property
    def wrapped(self) -> Any:
        """The container as Docker's SDK has it."""
        assert self._container is not None  # started before
        return self._container.get_wrapped_container()

    def log(self) -> str:
        """Return what it wrote; empty if it is gone."""
        if self._container is not None:
            with contextlib.suppress(Exception):  # never started, or gone: an empty log says so
                return bytes(self.wrapped.logs(tail=_LOG_LINES)).decode(errors="replace")
        return ""

    def addresses(self, *, directly: bool) -> list[Address]:
        """Return where it may be reached: on loopback, and from a sibling container directly.

        Args:
            directly: also return the container's own address, where this process is in one too.
        """
        network = self.wrapped.attrs["NetworkSettings"]
        published = (network.get("Ports") or {}).get(f"{self._recipe.port}/tcp") or []
        addresses = []
        if published:
            self.published = int(published[0]["HostPort"])
            addresses.append(Address(LOOPBACK, self.published))
        if directly and _is_in_a_container():
            networks = (network.get("Networks") or {}).values()
            addresses += [
                Address(n["IPAddress"], self._recipe.port) for n in networks if n.get("IPAddress")
            ]
        return addresses

    def _made(self, name: str) -> DockerContainer:
        from testcontainers.core.container import DockerContainer  # optional extra

        recipe = self._recipe
        container = (
            DockerContainer(recipe.image, docker_client_kw={"timeout": _REQUEST_TIMEOUT})
            .with_name(name)
            .with_command(list(recipe.command))
            .with_envs(**recipe.environment)
            .with_kwargs(labels={ownership.LABEL: ownership.run_id()})
        )
        for place in recipe.in_memory:
            container.with_tmpfs_mount(place)
        for file, place in recipe.files.items():
            container.with_copy_into_container(file, place)
        # Set by hand: `with_bind_ports` would publish the port on every interface.
        host = (LOOPBACK,) if self.published is None else (LOOPBACK, self.published)
        ports: dict[str, Any] = container.ports
        ports[f"{recipe.port}/tcp"] = host
        return container


def brief(error: Exception) -> str:
    """Word an SDK's error in one line: they are chains of chains."""
    explanation = getattr(error, "explanation", None)
    lines = str(explanation or error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


def _is_in_a_container() -> bool:
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def _sweep(client: Any) -> None:
    """Remove the containers that dead runs of ours left."""
    for container in client.containers.list(all=True, filters={"label": ownership.LABEL}):
        if ownership.is_dead(container.labels.get(ownership.LABEL, "")):
            with contextlib.suppress(Exception):  # another run sweeps at the same time
                container.remove(force=True, v=True)


@contextlib.contextmanager
def _quiet(engine: DockerEngine) -> Iterator[None]:
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
