"""nats-py clients as the fixtures hand them out: bound to the loop they were made on."""

from __future__ import annotations

import asyncio
import inspect
import traceback
import unittest
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from typing_extensions import override

from pytest_rosey.marks import Run, loop_scope_of

__tracebackhide__ = True


class WrongLoopError(RuntimeError):
    """A fixture's object was used on another event loop than the one it was made on."""


@dataclass(frozen=True, slots=True)
class LoopOwner:
    """What a client belongs to, and the loop that it lives on.

    Attributes:
        fixture: the fixture that made it.
        run: of the test.
        loop: the loop itself; by default the running one.
    """

    fixture: str
    run: Run
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def check(self) -> None:
        """Raise if the running loop is another one.

        Raises:
            WrongLoopError: saying how to bring both onto one loop.
        """
        if asyncio.get_running_loop() is self.loop:
            return
        raise WrongLoopError(
            f"'{self.fixture}' lives on the event loop of this test, whose loop scope is "
            f"'{loop_scope_of(self.run.item)}', and was used on another loop.\n{self._what_to_do()}"
        )

    def _what_to_do(self) -> str:
        item = self.run.item
        test_class = getattr(item, "cls", None)
        if test_class is not None and issubclass(test_class, unittest.TestCase):
            return (
                f"{test_class.__name__} is a unittest.TestCase, which runs coroutines on a loop of "
                "its own. Write the test as a function, or in a class without that base."
            )
        if item.get_closest_marker("anyio") is not None and not pytest_asyncio.is_async_test(item):
            return (
                "The test is marked @pytest.mark.anyio, so anyio runs it on a loop of its own. "
                "Mark it @pytest.mark.asyncio instead."
            )
        if not inspect.iscoroutinefunction(getattr(item, "obj", None)):
            return (
                "The test is a plain function and has started that loop itself, as by "
                "asyncio.run(). Write it as `async def`, and await there."
            )
        scope = loop_scope_of(item)
        default = item.config.getini("asyncio_default_fixture_loop_scope") or "not set"
        return (
            "An async fixture that uses it must run on the test's loop, but "
            f"asyncio_default_fixture_loop_scope is '{default}'. Do one of these:\n"
            f'  - @pytest_asyncio.fixture(loop_scope="{scope}") on that fixture\n'
            f"  - asyncio_default_fixture_loop_scope = {scope} in the ini file\n"
            "  - @pytest.mark.asyncio(loop_scope=...) or asyncio_default_test_loop_scope = ... "
            "to run the test on the fixture's loop"
        )


def told(error: BaseException) -> str:
    """Return an exception in a line, and where it was raised in another."""
    *_, frame = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error}\n  at {frame.filename}:{frame.lineno}"


class Tap(Protocol):
    """Sees what a client sends, before the client does."""

    def published(self, subject: str, payload: bytes, reply: str) -> None:
        """Take note of a message."""

    async def request(
        self, client: LoopBound, send: Callable[..., Awaitable[Msg]], *args: Any, **kwargs: Any
    ) -> Msg:
        """Return the answer to a request, which `send` gets; the arguments are nats-py's."""


class LoopBound(Client):
    """A nats-py client that says so when it is used on a foreign loop, where it would hang."""

    owner: LoopOwner
    tap: Tap | None = None

    async def _ping_interval(self) -> None:
        """Send no pings.

        nats-py sends them between two sleeps, and a test that has replaced asyncio.sleep by one
        that does not wait would spin for ever. It is one of the private methods of nats-py that
        are overridden; tests/pytest_rosey/test_clients.py guards it.
        """
        await asyncio.get_running_loop().create_future()

    @override
    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.owner.check()
        if self.tap is not None:
            self.tap.published(subject, payload, reply)
        await super().publish(subject, payload, reply, headers)

    @override
    async def subscribe(self, *args: Any, **kwargs: Any) -> Subscription:
        self.owner.check()
        return await super().subscribe(*args, **kwargs)

    @override
    async def request(self, subject: str, *args: Any, **kwargs: Any) -> Msg:
        self.owner.check()
        if subject.startswith("$JS."):
            self.owner.run.asked_jetstream = True
        if self.tap is not None:
            return await self.tap.request(self, super().request, subject, *args, **kwargs)
        return await super().request(subject, *args, **kwargs)

    @override
    async def flush(self, *args: Any, **kwargs: Any) -> None:
        self.owner.check()
        await super().flush(*args, **kwargs)

    @override
    async def drain(self) -> None:
        self.owner.check()
        await super().drain()

    @override
    async def close(self) -> None:
        self.owner.check()
        try:
            await super().close()
        except asyncio.CancelledError:
            # A task of nats-py's that was cancelled while it waited for the same transport has
            # cancelled that for everybody; it is closed all the same.
            task = asyncio.current_task()
            if not self.is_closed or (task is not None and task.cancelling()):
                raise
