"""What every real nats-server looks like to the fixtures, whoever provides it (SPEC 5.3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Literal, Self

from pytest_rosey.servers.errors import ServerControlError
from pytest_rosey.servers.nats.banner import Banner

Provider = Literal["binary", "container", "url"]


class NatsServer(ABC):
    """A real NATS server, synchronous on purpose: it outlives every event loop of the run.

    As a context manager it is started on entry and stopped on exit.
    """

    provider: ClassVar[Provider]

    def __init__(self) -> None:
        self._url: str | None = None
        self._banner: Banner | None = None

    @property
    def url(self) -> str:
        """The address clients connect to, credentials included.

        Raises:
            ServerControlError: the server has not been started.
        """
        if self._url is None:
            raise ServerControlError(f"{self} has no URL yet: start() gives it one.")
        return self._url

    @property
    def version(self) -> str:
        """The server's version as its INFO line gives it, for example `2.15.1`.

        Raises:
            ServerControlError: the server has not been started.
        """
        if self._banner is None:
            raise ServerControlError(f"{self} has told no version yet: start() asks for it.")
        return self._banner.version

    @property
    def asks_for_tls(self) -> bool:
        """Whether clients must speak TLS to it."""
        return self._banner is not None and self._banner.tls_required

    @abstractmethod
    def log_tail(self, lines: int = 40) -> str:
        """Return the last `lines` lines the server wrote, also after it has ended.

        Empty if nothing was written, or if the log is not ours to read.
        """

    @abstractmethod
    def start(self) -> None:
        """Start the server and return when it has greeted; do nothing if it runs.

        A paused server is resumed, so that a test that forgot to do so harms no other.
        After `kill()` it comes back at the same URL, after `stop()` at a new one.

        Raises:
            ServerUnavailable: it did not start; the text shows the server's own last lines.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stop the server and remove everything it left. Does nothing if it does not run."""

    @abstractmethod
    def restart(self) -> None:
        """Stop the server if it runs, and start it again at the same URL.

        Raises:
            ServerUnavailable: as for `start()`.
            ServerControlError: the server was never started, or is not ours.
        """

    @abstractmethod
    def kill(self) -> None:
        """End the server as a crash would (SIGKILL); `restart()` brings it back.

        Raises:
            ServerControlError: the server does not run, or is not ours.
        """

    @abstractmethod
    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connections stay open and nothing answers.

        Raises:
            ServerControlError: the server does not run, or is not ours.
        """

    @abstractmethod
    def resume(self) -> None:
        """Let a paused server go on (SIGCONT); what was sent meanwhile is then executed.

        Raises:
            ServerControlError: the server does not run, or is not ours.
        """

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
