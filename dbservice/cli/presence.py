"""A long wait that ends with whoever was asked: no command waits for a service that is gone."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any, Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from dbservice.cli.failure import UNREACHABLE, CommandFailed
from dbservice.protocol import subjects

INTERVAL: Final = 2.0
"""Seconds between two pings; a ping has as long to be answered."""

MISSES: Final = 3
"""Pings in a row without an answer after which the wait ends."""

_GATHERED: Final = 0.25
"""Seconds after the first answer in which further replicas are heard."""

_PING: Final = subjects.subject_for(subjects.Family.SERVICE, "ping")
_REPLICAS: Final = f"$SRV.PING.{subjects.SERVICE_NAME}"


class _Pong(msgspec.Struct):
    """What a replica answers; the rest of it is not needed here."""

    id: str


class WatchedClient:
    """A NATS client that pings the service while it waits for an answer.

    Whoever takes a request and dies answers no ping either; whoever was started in its stead has
    another id, and knows nothing of the request.

    Args:
        client: a connected client.
        interval: seconds between two pings.
    """

    def __init__(self, client: Client, *, interval: float = INTERVAL) -> None:
        self._client = client
        self._interval = interval

    @property
    def max_payload(self) -> int:
        """The largest message that the server takes, in bytes."""
        return self._client.max_payload

    async def request(
        self,
        subject: str,
        payload: bytes,
        /,
        *,
        timeout: float,  # noqa: ASYNC109 - as nats-py has it
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """Send a request, as nats-py's client does.

        Raises:
            CommandFailed: the service is gone while it is waited for.
        """
        asked = self._client.request(subject, payload, timeout=timeout, headers=headers)
        if timeout <= self._interval * MISSES:
            return await asked
        answer = asyncio.ensure_future(asked)
        gone = asyncio.create_task(self._watch())
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise CommandFailed(
                f"The database service is gone: {MISSES} pings in a row were not answered while "
                "its answer was waited for. What it was asked may have been done or not. Start it "
                "again, look (`rosey migrate PLUGIN status`), and repeat the command.",
                UNREACHABLE,
            )
        finally:
            for task in (answer, gone):
                task.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)

    async def _watch(self) -> None:
        """Return when nobody is left of those who were there at first."""
        at_first = await self._replicas(set())
        misses = 0
        while misses < MISSES:
            began = time.monotonic()
            misses = 0 if await self._is_present(at_first) else misses + 1
            await asyncio.sleep(self._interval - (time.monotonic() - began))

    async def _is_present(self, at_first: set[str]) -> bool:
        if at_first:
            return bool(await self._replicas(at_first) & at_first)
        # Where replicas cannot be told apart, any answer is one.
        try:
            await self._client.request(_PING, b"{}", timeout=self._interval)
        except (Error, OSError):
            return False
        return True

    async def _replicas(self, wanted: set[str]) -> set[str]:
        """Return the ids of who answers, as soon as one of the wanted is among them."""
        found: set[str] = set()
        enough = asyncio.Event()

        async def hear(message: Msg) -> None:
            with suppress(msgspec.MsgspecError):  # "no responders" has no body
                found.add(msgspec.json.decode(message.data, type=_Pong).id)
            if not wanted or found & wanted:
                enough.set()

        inbox = self._client.new_inbox()
        try:
            answers = await self._client.subscribe(inbox, cb=hear)
            await self._client.publish(_REPLICAS, reply=inbox)
            with suppress(TimeoutError):
                await asyncio.wait_for(enough.wait(), self._interval)
            if not wanted:
                await asyncio.sleep(min(_GATHERED, self._interval))
            await answers.unsubscribe()
        except (Error, OSError):  # the connection is lost, which is a miss
            return set()
        return found
