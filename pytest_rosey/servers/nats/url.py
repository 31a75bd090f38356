"""The provider for a server that somebody else runs, named by its URL."""

# ruff: noqa: D102 - what the methods do is said in NatsServer
from __future__ import annotations

from typing import NoReturn

from dbservice.runtime.redaction import redacted
from pytest_rosey.servers.errors import ServerControlError, ServerUnavailable
from pytest_rosey.servers.nats.banner import (
    BannerError,
    address_of,
    read_banner,
)
from pytest_rosey.servers.nats.provider import NatsServer
from pytest_rosey.servers.nats.responder import SILENT, answer_to

WORKER = "{worker}"
"""Stands in a URL for the name of the pytest-xdist worker (`gw0`, `gw1`, …)."""

_TIMEOUT = 2.0
_SHOWN_BYTES = 200


class UrlServer(NatsServer):
    """A running server; `start()` looks whether it answers and is free, `stop()` does nothing.

    Args:
        url: where it listens; `{worker}` in it is replaced by `worker`.
        worker: the name of this pytest-xdist worker, `master` without xdist.
        workers: how many workers take part in the run.

    Raises:
        ServerUnavailable: several workers would share one URL.
    """

    provider = "url"

    def __init__(self, url: str, *, worker: str = "master", workers: int = 1) -> None:
        if workers > 1 and WORKER not in url:
            raise ServerUnavailable(
                f"{workers} workers would share {redacted(url)}, and answer each "
                "other's requests.\n"
                "Give each one a server or an account of its own with {worker} in the URL, as in "
                "--rosey-nats='nats://{worker}:PASSWORD@HOST:PORT' ({worker} becomes gw0, gw1, …), "
                "or run with -n0."
            )
        super().__init__()
        self._url: str = url.replace(WORKER, worker)

    def log_tail(self, lines: int = 40) -> str:  # noqa: ARG002 - the log is on its own machine
        return ""

    def start(self) -> None:
        """Check that a NATS server answers, and that no database service is on it already.

        Raises:
            ServerUnavailable: nobody answers, it is not NATS, or another service would answer
                the tests' requests.
        """
        if self._banner is not None:
            return
        try:
            self._banner = read_banner(address_of(self._url), _TIMEOUT)
        except BannerError as error:
            raise ServerUnavailable(
                f"No NATS server answers at {self}, which --rosey-nats names.\n{error}\n"
                "Start one there, or let pytest-rosey start one: --rosey-nats=auto."
            ) from None
        try:
            self._refuse_another_service()
        except ServerUnavailable:
            self._banner = None
            raise

    def stop(self) -> None:
        """Do nothing: the server is not ours."""

    def restart(self) -> None:
        self._refuse("restarted")

    def kill(self) -> None:
        self._refuse("killed")

    def pause(self) -> None:
        self._refuse("paused")

    def resume(self) -> None:
        self._refuse("resumed")

    def __str__(self) -> str:
        return redacted(self._url)

    def _refuse(self, participle: str) -> NoReturn:
        raise ServerControlError(
            f"The server at {self} cannot be {participle}: it was given by its URL, so it is not "
            "ours to stop.\n"
            "Tests that need this run with a server of our own: --rosey-nats=binary or "
            "--rosey-nats=container."
        )

    def _refuse_another_service(self) -> None:
        from dbservice.protocol import Family, subject_for  # not at plugin load

        ping = subject_for(Family.SERVICE, "ping")
        answer = answer_to(self._url, ping, _TIMEOUT)
        if answer is None:
            return
        shown = answer[:_SHOWN_BYTES].decode(errors="replace")
        told = "is subscribed and says nothing" if answer == SILENT else f"answered {shown}"
        raise ServerUnavailable(
            f"Another service is already on {self}: asked {ping}, it {told}.\n"
            "It would answer the tests' requests. Stop it (a process left by an earlier run?), or "
            "give the tests a server or an account of their own."
        )
