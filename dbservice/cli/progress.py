"""Signs of life for work that takes longer than a second (SPEC 7)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

PATIENCE: Final = 1.0
"""Seconds before anything is shown."""


@asynccontextmanager
async def waiting(what: str) -> AsyncIterator[None]:
    """Show a spinner on a terminal while the block takes longer than a second.

    Args:
        what: what is going on, for example `applying migrations of quote-db`.
    """
    if not sys.stderr.isatty():
        yield
        return
    shown = asyncio.create_task(_show(what))
    try:
        yield
    finally:
        shown.cancel()
        with suppress(asyncio.CancelledError):
            await shown


async def _show(what: str) -> None:
    await asyncio.sleep(PATIENCE)
    from rich.console import Console

    with Console(stderr=True).status(f"{what} …"):
        await asyncio.Event().wait()
