"""Applies or rolls back migrations until it is killed; says on stdout how far it is.

Run as `python migration_child.py URL ROOT apply|rollback`. It writes `r` when it is about to
begin, `(` when a migration's transaction has begun, `.` for each of its statements and `)` when
it is committed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from dbservice.engine.urls import engine_for
from dbservice.migrate import Migrator
from dbservice.protocol.migrations import Apply, Rollback
from dbservice.protocol.names import namespace

PLUGIN = "killed"


def say(mark: str) -> None:
    os.write(1, mark.encode())


def told(steps: Any) -> Any:
    """Yield what an operation yields, with a mark for each statement."""
    say("(")
    statement = next(steps, None)
    while statement is not None:
        say(".")
        result = yield statement
        try:
            statement = steps.send(result)
        except StopIteration as stop:
            return stop.value
    return None


async def main(url: str, root: str, verb: str) -> None:
    engine = engine_for(url)
    await engine.open()
    exclusive = engine.exclusive

    async def watched(operation: Any, *, keep: bool = True) -> Any:
        answer = await exclusive(lambda: told(operation()), keep=keep)
        say(")")
        return answer

    engine.exclusive = watched  # type: ignore[method-assign]
    migrator = Migrator(engine, [Path(root)])
    say("r")
    if verb == "apply":
        await migrator.apply(namespace(PLUGIN), Apply())
    else:
        await migrator.rollback(namespace(PLUGIN), Rollback(all=True))
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
