"""Which event loop a command that serves runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, TypeVar

from dbservice.cli.failure import USAGE, CommandFailed
from dbservice.cli.options import LoopName

T = TypeVar("T")


def runner(name: LoopName) -> Callable[[Coroutine[Any, Any, T]], T]:
    """Return what runs a coroutine on an event loop.

    Args:
        name: `auto` is uvloop where it is installed, else asyncio.

    Raises:
        CommandFailed: uvloop is asked for and not installed.
    """
    if name == "asyncio":
        return asyncio.run
    try:
        run: Callable[[Coroutine[Any, Any, T]], T] = import_module("uvloop").run
    except ImportError:
        if name == "uvloop":
            raise CommandFailed(
                "--loop uvloop: uvloop is not installed. "
                "`pip install 'pytest-rosey[fast]'` brings it.",
                USAGE,
            ) from None
        return asyncio.run
    return run
