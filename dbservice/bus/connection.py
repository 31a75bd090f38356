"""nats-py's client, made to survive whatever comes over the bus.

Anybody who may publish chooses bytes: a subject that is no UTF-8, a header block of one letter, a
status line of garbage, a form feed where nats-py's parser expects a word to go on. nats-py reads
all messages of a connection in one background task, and what it cannot digest ends that task, or
makes it wait for more for ever; nobody looks after it, so the connection stays open and deaf until
its PINGs go stale, which takes a minute.

Here a message that cannot be read is dropped and counted, and the next one is delivered. A
background task of the library that ends all the same is noticed at once, and the connection is
made anew.

What is used of nats-py's inside is listed in `tests/dbservice/bus/test_hooks.py`, which says so
when an upgrade moves it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error, ProtocolError, StaleConnectionError
from nats.protocol.parser import PERMISSIONS_ERR, Parser
from typing_extensions import override

from dbservice.bus import wire
from dbservice.runtime.logs import SparingLog

log: Final = logging.getLogger(__name__)

_LARGEST_HEADER_BLOCK: Final = 16_384
"""Bytes; nats-py takes 0.15 s for one of a megabyte, and whatever comes next waits for that."""


class SurvivingClient(Client):
    """A NATS client that no message ends.

    Attributes:
        dropped: how many messages could not be read and were left out.
        mended: how often a background task had ended and was replaced.
        on_renewal: called each time the connection was lost and is there again.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.dropped = 0
        self.mended = 0
        self._log = SparingLog(log)
        self._ps: Parser = _Reader(self)
        self._mending: asyncio.Task[None] | None = None
        self.on_renewal: Callable[[], None] | None = None

    def drop(self, frame: wire.Frame, error: Exception) -> None:
        """Count a frame that could not be digested."""
        self.dropped += 1
        self._log.warning(
            "unreadable message",
            "dropped a message that cannot be read (%s): %.200r",
            type(error).__name__,
            frame.raw,
        )

    @override
    async def subscribe(self, *args: Any, **kwargs: Any) -> Subscription:
        subscription = await super().subscribe(*args, **kwargs)
        self._watch(subscription)
        return subscription

    @override
    async def _process_connect_init(self) -> None:
        await super()._process_connect_init()
        for task in self._background:
            assert task is not None  # all three have just been started
            task.add_done_callback(self._on_end)

    @override
    async def _process_err(self, err_msg: str) -> None:
        """Connect anew after a complaint of the server, where nats-py would close for good."""
        if PERMISSIONS_ERR in err_msg or not self.is_connected:
            await super()._process_err(err_msg)
            return
        error = Error(f"nats: {err_msg.strip(chr(39))}")
        await self._error_cb(error)
        await self._process_op_err(error)

    @override
    async def _attempt_reconnect(self) -> None:
        while not self.is_closed:
            try:
                await super()._attempt_reconnect()
            except Exception as error:  # noqa: BLE001 - whatever a server or a callback did
                self.mended += 1
                self._log.warning("reconnecting", "reconnecting failed, trying again: %r", error)
                await asyncio.sleep(self.options["reconnect_time_wait"])
            else:
                if self.is_connected and self.on_renewal is not None:
                    self.on_renewal()
                return

    @property
    def _background(self) -> tuple[asyncio.Task[None] | None, ...]:
        return self._reading_task, self._flusher_task, self._ping_interval_task

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """Connect anew if a task of the connection at hand ended that should not have."""
        if task.cancelling() or not self.is_connected or task not in self._background:
            return
        self.mended += 1
        self._log.warning("task", "a task of the NATS connection ended; connecting anew: %r", task)
        self._mending = asyncio.create_task(self._process_op_err(StaleConnectionError()))

    def _watch(self, subscription: Subscription) -> None:
        task: asyncio.Task[None] | None = subscription._wait_for_msgs_task  # noqa: SLF001
        if task is not None:
            task.add_done_callback(partial(self._on_delivery_end, subscription))

    def _on_delivery_end(self, subscription: Subscription, task: asyncio.Task[None]) -> None:
        """Go on delivering if a callback ended the task that calls it."""
        is_wanted = self._subs.get(subscription._id) is subscription  # noqa: SLF001
        if task.cancelling() or self.is_closed or not is_wanted:
            return
        self.mended += 1
        self._log.warning("delivery", "a callback ended its delivery; going on: %r", task)
        subscription._start(self._error_cb)  # type: ignore[no-untyped-call]  # noqa: SLF001
        self._watch(subscription)


class _Reader(Parser):
    """Stands in for nats-py's parser; what it does with a frame is the client's own."""

    nc: SurvivingClient

    @override
    def reset(self) -> None:
        super().reset()
        self._frames = wire.Frames()

    @override
    async def parse(self, data: bytes = b"") -> None:
        frames = self._frames
        try:
            for frame in frames.feed(data):
                try:
                    await self._act(frame)
                except (OSError, ProtocolError):
                    raise  # the connection itself: nats-py makes it anew
                except Exception as error:  # noqa: BLE001 - the bytes are anybody's
                    self.nc.drop(frame, error)
                if self._frames is not frames:
                    return  # reset: the rest is of a connection that is over
        except wire.MalformedError as error:
            raise ProtocolError from error

    async def _act(self, frame: wire.Frame) -> None:
        client, head, verb = self.nc, frame.head, frame.verb
        if head is not None:
            if head.header_size > _LARGEST_HEADER_BLOCK:
                raise ValueError(f"{head.header_size} bytes of headers")
            await client._process_msg(  # noqa: SLF001
                int(head.sid), head.subject, head.reply, frame.payload, frame.header_block
            )
        elif verb == b"PING":
            await client._process_ping()  # noqa: SLF001
        elif verb == b"PONG":
            await client._process_pong()  # noqa: SLF001
        elif verb == b"-ERR":
            text = frame.arguments.decode(errors="replace").lower()
            await client._process_err(text)  # noqa: SLF001
        elif verb == b"INFO":
            await client._process_info(json.loads(frame.arguments))  # noqa: SLF001
        elif verb != b"+OK":
            raise ProtocolError
