"""Signs of life for work that takes longer than a second (SPEC 7)."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
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


Count = Callable[[int], None]
"""Told how many more are done."""


@contextmanager
def counting(what: str, total: int) -> Iterator[Count]:
    """Show a bar on a terminal while the block takes longer than a second.

    Args:
        what: what is going on, for example `exporting quote-db`.
        total: how many there will be, about.
    """
    if not sys.stderr.isatty():
        yield lambda _more: None
        return
    from rich.console import Console
    from rich.progress import Progress

    began, done = time.monotonic(), 0
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=max(total, 1), visible=False)

        def count(more: int) -> None:
            nonlocal done
            done += more
            is_long = time.monotonic() - began > PATIENCE
            bar.update(task, completed=min(done, total), visible=is_long)

        yield count


async def _show(what: str) -> None:
    await asyncio.sleep(PATIENCE)
    from rich.console import Console

    with Console(stderr=True).status(f"{what} …"):
        await asyncio.Event().wait()
