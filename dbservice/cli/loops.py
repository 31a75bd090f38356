"""Which event loop a command that serves runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, Literal

from dbservice.cli.failure import USAGE, CommandFailed

LoopName = Literal["auto", "asyncio", "uvloop"]


def runner(name: LoopName) -> Callable[[Coroutine[Any, Any, int]], int]:
    """Return what runs a coroutine on an event loop.

    Args:
        name: `auto` is uvloop where it is installed, else asyncio.

    Raises:
        CommandFailed: uvloop is asked for and not installed.
    """
    if name == "asyncio":
        return asyncio.run
    try:
        run: Callable[[Coroutine[Any, Any, int]], int] = import_module("uvloop").run
    except ImportError:
        if name == "uvloop":
            raise CommandFailed(
                "--loop uvloop: uvloop is not installed. `pip install 'pytest-rosey[fast]'` brings "
                "it; without --loop it is used where it is there.",
                USAGE,
            ) from None
        return asyncio.run
    return run
