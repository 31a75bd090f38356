"""What a plugin has to offer, and its life: constructed, started, stopped.

Written once, for everything that runs plugins of others: the fixture `rosey_plugin`,
`rosey plugin start` and `rosey bench`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, ClassVar, Final, Protocol, TypeVar

from dbservice.runtime.http import Handler

__tracebackhide__ = True  # in a failing test pytest shows the line of the caller

P = TypeVar("P")


class Plugin(Protocol):
    """A plugin as it is run: a class whose first argument is a connected NATS client.

    Where the constructor has a parameter `namespace`, it is given the name under which the plugin
    keeps its data. Everything below is optional; a plugin that has none of it is run, too. Methods
    may be coroutines or plain functions, and are called without arguments.
    """

    errors: ClassVar[tuple[type[Exception], ...]] = ()
    """What its calls may raise besides a `StorageError` and the classes of its own package."""

    best_effort: ClassVar[tuple[str, ...]] = ()
    """Patterns of what may be lost when a call fails in the middle, as `kv:ratelimit:*`."""

    async def initialize(self) -> None:
        """Begin to work. What it raises ends the start, and its text is shown."""

    async def close(self) -> None:
        """Finish what was begun. The client stays open: whoever opened it closes it."""

    async def readiness(self) -> None:
        """Raise an error if commands cannot be taken at this moment, and return if they can.

        It is asked after the database service has answered and the migrations were found to be
        applied, so it is also the moment to try a service again that was given up.
        """

    def http_routes(self) -> Mapping[str, Handler]:
        """Return what it serves over HTTP: handlers by path."""


METHODS: Final = ("initialize", "close", "readiness", "http_routes")


class PluginError(TypeError):
    """Something cannot be run as a plugin; the text says what is different, and from what."""


def check(plugin: object) -> None:
    """Return if a plugin, or a class of plugins, has nothing that a runner would misunderstand.

    Raises:
        PluginError: if a method of the protocol needs arguments, or is no method; or if `errors` or
            `best_effort` are something else.
    """
    for name in METHODS:
        _check_method(plugin, name)
    errors, best_effort = getattr(plugin, "errors", ()), getattr(plugin, "best_effort", ())
    if not _is_tuple(errors, lambda each: isinstance(each, type) and issubclass(each, Exception)):
        raise PluginError(
            f"{_name(plugin)}.errors is {errors!r}: expected a tuple of exception classes."
        )
    if not _is_tuple(best_effort, lambda each: isinstance(each, str)):
        raise PluginError(
            f"{_name(plugin)}.best_effort is {best_effort!r}: expected a tuple of patterns, as "
            "('kv:ratelimit:*',)."
        )


def construct(
    make: Callable[..., P], client: Any, *, namespace: str | None = None, **options: Any
) -> P:
    """Return a new plugin.

    Args:
        make: its class, or a function that returns one.
        client: a connected NATS client, its first argument.
        namespace: its name; passed where the constructor has a parameter `namespace`.
        options: further arguments.

    Raises:
        PluginError: if it takes other arguments, or the result fails `check()`.
    """
    signature = inspect.signature(make)
    if namespace is not None and "namespace" in signature.parameters:
        options = {"namespace": namespace, **options}
    try:
        signature.bind(client, **options)
    except TypeError as error:
        given = ", ".join(["client", *(f"{name}=…" for name in options)])
        raise PluginError(
            f"{_name(make)}{signature} cannot be called as {_name(make)}({given}): {error}. A "
            "plugin's constructor takes a connected NATS client first; give everything else a "
            "default, or pass it by name."
        ) from None
    plugin = make(client, **options)
    check(plugin)
    return plugin


async def start(plugin: object) -> None:
    """Await `initialize()`, where the plugin has it."""
    await _called(plugin, "initialize")


async def stop(plugin: object) -> None:
    """Await `close()`, where the plugin has it."""
    await _called(plugin, "close")


async def check_readiness(plugin: object) -> None:
    """Await `readiness()`, where the plugin has it.

    Raises:
        Exception: whatever the plugin says stands in its way.
    """
    await _called(plugin, "readiness")


def routes_of(plugin: object) -> Mapping[str, Handler]:
    """Return what a plugin serves over HTTP; nothing, where it has no `http_routes()`."""
    routes: Mapping[str, Handler] = getattr(plugin, "http_routes", dict)()
    return routes


async def _called(plugin: object, method: str) -> None:
    result = getattr(plugin, method, _nothing)()
    if inspect.isawaitable(result):
        await result


def _nothing() -> None:
    """Stand in for a method that the plugin does not have."""


def _check_method(plugin: object, name: str) -> None:
    method = getattr(plugin, name, None)
    if method is None:
        return
    if not callable(method):
        raise PluginError(
            f"{_name(plugin)}.{name} is {method!r}: expected a method, because a plugin's "
            f"{name}() is called by whoever runs it. Rename yours if it means something else."
        )
    signature = inspect.signature(method)
    static = inspect.getattr_static(plugin, name) if isinstance(plugin, type) else None
    unbound = isinstance(static, FunctionType)
    try:
        signature.bind(*[plugin] if unbound else [])
    except TypeError as error:
        raise PluginError(
            f"{_name(plugin)}.{name}{signature} cannot be called as {name}(): {error}. A plugin's "
            f"{name}() is called without arguments by whoever runs it. Rename yours if it means "
            "something else, or give its arguments defaults."
        ) from None


def _is_tuple(value: object, holds: Callable[[object], bool]) -> bool:
    return isinstance(value, tuple) and all(map(holds, value))


def _name(plugin: object) -> str:
    named = plugin if hasattr(plugin, "__name__") else type(plugin)
    return str(getattr(named, "__name__", named))
