"""Where nats-py may connect to, and which of its clients are open (SPEC 5.3, 5.5).

nats-py is not imported for this: what it does is watched from the moment somebody imports it.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import pytest

from pytest_rosey import marks
from pytest_rosey.marks import current_run
from pytest_rosey.options import settings

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import FrameType, ModuleType

    from nats.aio.client import Client

_CLIENT_MODULE = "nats.aio.client"
_MICRO = "nats.micro.service"
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")
_DEFAULT_PORT = 4222

_FORGOTTEN = """\
A test tried to connect to the NATS server at {host}, which is not on this machine. \
Was a mock or a fixture forgotten? If the test is to talk to that server, allow it:
  - --rosey-nats=nats://{host}:PORT runs the tests on it
  - rosey_allow_hosts = {host} in the ini file
  - @pytest.mark.rosey_allow_hosts("{host}") on the test"""
_ASK_FOR_THE_URL = """\
A test on the in-process bus connected to NATS's default address, {host}:4222, where whoever \
happens to listen would answer. The bus of the test is at the URL that the fixture nats_url gives; \
hand that to the code that connects."""

_NOT_A_PLACE = ("nats", "pytest_rosey", "asyncio")

_CONNECTIONS = pytest.StashKey["Connections"]()


def watch(config: pytest.Config) -> None:
    """Watch nats-py until the run ends."""
    config.stash[_CONNECTIONS] = Connections(config)
    config.stash[_CONNECTIONS].start()
    config.add_cleanup(config.stash[_CONNECTIONS].stop)


def connections(config: pytest.Config) -> Connections:
    """Return what is known of the connections of a run."""
    return config.stash[_CONNECTIONS]


class Connections:
    """Watches nats-py: lets it connect to allowed hosts only, and tells tests' runs of its clients.

    Args:
        config: whose settings say which hosts are allowed.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._allowed: set[str] = set()
        self._of_the_test: Sequence[str] = ()
        self._undo: list[Callable[[], None]] = []

    def start(self) -> None:
        """Watch from now on, or from the moment that nats-py is imported."""
        if _CLIENT_MODULE in sys.modules:
            self._arm()
            return
        finder = _Finder(self._arm)
        sys.meta_path.insert(0, finder)
        self._undo.append(finder.remove)

    def stop(self) -> None:
        """Leave nats-py as it was."""
        while self._undo:
            self._undo.pop()()

    def allow(self, host: str) -> None:
        """Allow a host for the rest of the run."""
        self._allowed.add(host.lower())

    def allow_for_a_test(self, hosts: Sequence[str]) -> None:
        """Allow hosts until the next test is set up."""
        self._of_the_test = hosts

    # -- what replaces methods of nats-py ---------------------------------------------------------

    def _arm(self) -> None:
        from nats import js  # nats-py has been imported by now
        from nats.aio import client, transport

        # In the transport, because there reconnects and servers told of by others come by, too.
        self._replace(transport.TcpTransport, "connect", self._checked)
        self._replace(transport.WebSocketTransport, "connect", self._checked)
        self._replace(transport.WebSocketTransport, "connect_tls", self._checked)
        self._replace(client.Client, "connect", _remembered)
        self._replace(client.Client, "subscribe", _watching)
        # It wraps callbacks in its own, which acknowledges.
        self._replace(js.JetStreamContext, "subscribe_bind", _watching)

    def _replace(self, owner: type, name: str, wrapped: Callable[[Any], Any]) -> None:
        original = getattr(owner, name)
        replacement = functools.wraps(original)(wrapped(original))
        setattr(owner, name, replacement)
        self._undo.append(lambda: setattr(owner, name, original))

    def _checked(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def connect(transport: Any, uri: Any, *args: Any, **kwargs: Any) -> None:
            __tracebackhide__ = True
            try:
                self._check(uri if isinstance(uri, str) else uri.geturl())
            except pytest.fail.Exception:
                # nats-py does that for errors only, and a web socket has begun a session by now.
                transport.close()
                await transport.wait_closed()
                raise
            await original(transport, uri, *args, **kwargs)

        return connect

    def _check(self, url: str) -> None:
        __tracebackhide__ = True
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if _LOOPBACK.fullmatch(host):
            if parts.port in (None, _DEFAULT_PORT) and self._is_on_the_in_process_bus():
                _refuse(_ASK_FOR_THE_URL.format(host=host))
        elif not self._is_allowed(host):
            _refuse(_FORGOTTEN.format(host=host))

    def _is_on_the_in_process_bus(self) -> bool:
        run = current_run.get()
        return run is not None and run.bus == marks.FAKE

    def _is_allowed(self, host: str) -> bool:
        chosen = settings(self._config)
        named = None
        with suppress(ValueError):  # told where the server is chosen
            named = urlsplit(chosen.nats.value).hostname
        patterns = (*chosen.allow_hosts, *self._of_the_test, *self._allowed)
        return host == named or any(fnmatchcase(host, pattern.lower()) for pattern in patterns)


def _remembered(original: Callable[..., Any]) -> Callable[..., Any]:
    async def connect(client: Client, *args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        run = current_run.get()
        if run is not None:
            run.opened[client] = _place(sys._getframe(1))  # noqa: SLF001
        await original(client, *args, **kwargs)

    return connect


def _watching(original: Callable[..., Any]) -> Callable[..., Any]:
    place = list(inspect.signature(original).parameters).index("cb")

    async def subscribe(*args: Any, **kwargs: Any) -> Any:
        run = current_run.get()
        if run is not None and len(args) > place:
            args = (*args[:place], _watched(args[place], run), *args[place + 1 :])
        elif run is not None and "cb" in kwargs:
            kwargs["cb"] = _watched(kwargs["cb"], run)
        return await original(*args, **kwargs)

    return subscribe


def _watched(callback: Any, run: marks.Run) -> Any:
    """Return a subscription's callback; if it is the test's own, its failures are the test's.

    nats-py hands what a callback raises to the `error_cb` of the client, and goes on; of what the
    handler of an endpoint raises it makes a reply with the status 500.
    """
    owner: Any = getattr(callback, "__self__", None)
    if _is_endpoint(owner):
        owner._handler = _watched(owner._handler, run)  # noqa: SLF001
    if not _is_of_the_test(callback, run.item):
        return callback

    @functools.wraps(callback)
    async def watched(message: Any) -> None:
        try:
            await callback(message)
        except (Exception, pytest.fail.Exception) as error:
            if error not in run.broken_callbacks and not _is_reply(error):
                run.broken_callbacks.append(error)
            if isinstance(error, Exception):
                raise
            # Of pytest.fail, nats-py's task would die, and the subscription with it.
            raise AssertionError(str(error)) from None

    return watched


def _is_endpoint(owner: Any) -> bool:
    micro = sys.modules.get(_MICRO)
    return micro is not None and isinstance(owner, micro.Endpoint)


def _is_reply(error: BaseException) -> bool:
    """Return whether a handler has raised what nats.micro has for it to be answered with."""
    micro = sys.modules.get(_MICRO)
    return micro is not None and isinstance(error, micro.ServiceError)


def _is_of_the_test(callback: Any, item: pytest.Item) -> bool:
    """Return whether a function was written where a test is or comes from, or in a conftest."""
    file = _file_of(callback)
    return (
        os.path.basename(file) == "conftest.py"  # noqa: PTH119
        or file == str(item.path)
        or (file != "" and file == _file_of(getattr(item, "obj", None)))
    )


def _file_of(function: Any) -> str:
    """Return the file that a function was written in; empty where there is none."""
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    code = getattr(function, "__code__", None)
    return str(getattr(code, "co_filename", ""))  # of an AsyncMock all that is a mock


def _refuse(text: str) -> NoReturn:
    """Fail the test, whoever swallows this."""
    __tracebackhide__ = True
    run = current_run.get()
    # Not an Exception: nats-py and the code under test would swallow it and try again.
    refusal = pytest.fail.Exception(text)
    if run is not None:
        run.refusals.append(refusal)
    raise refusal


class _Finder:
    """Finds nats-py's client once, in the usual way, and says when it has been imported."""

    def __init__(self, imported: Callable[[], None]) -> None:
        self._imported = imported

    def remove(self) -> None:
        """Find nothing more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return nothing, but for nats-py's client."""
        del path, target
        if name != _CLIENT_MODULE:
            return None
        self.remove()
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._imported()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _place(frame: FrameType | None) -> str:
    """Return the line of the caller that is neither nats-py nor ours."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _NOT_A_PLACE:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown place"
