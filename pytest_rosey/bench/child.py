"""The processes that a run starts: `python -m pytest_rosey.bench.child LOOP ROLE ARGUMENT…`.

Each says `ready` on standard output, and ends with SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, cast


def main(arguments: Sequence[str]) -> int:
    """Take the role that is named; return the exit code."""
    loop, role, *rest = arguments
    if role == "serve":
        from dbservice.cli.app import run

        return run(["serve", *rest, "--loop", loop])
    from dbservice.cli.loops import runner
    from dbservice.cli.options import LoopName

    roles: dict[str, Callable[..., Coroutine[Any, Any, None]]]
    roles = {"echo": _echo, "search": _search, "memory": _memory}
    runner(cast("LoopName", loop))(roles[role](*rest))
    return 0


async def _echo(url: str) -> None:
    """Answer each request with its own payload: the least that anything over NATS can cost."""
    import nats

    from dbservice.runtime.barrier import barrier
    from pytest_rosey.bench.floors import ECHO

    client = await nats.connect(url)

    async def answer(message: Any) -> None:
        await client.publish(message.reply, message.data)

    await client.subscribe(ECHO, cb=answer)
    await barrier(client)
    await _ready_until_told()


async def _search(url: str, plugin: str, clients: str) -> None:
    """Search with several clients, from a line `go` on standard input to a line `rest`."""
    import nats

    from dbservice.runtime.plugin import start
    from pytest_rosey.bench.contestants import benchmark_of

    contestant = benchmark_of(plugin).modern(await nats.connect(url))
    await start(contestant)
    go = asyncio.Event()

    async def client() -> None:
        while True:
            await go.wait()
            await contestant.search()

    def told() -> None:
        if sys.stdin.readline() == "go\n":
            go.set()
        else:
            go.clear()

    asyncio.get_running_loop().add_reader(sys.stdin, told)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client()) for _ in range(int(clients))]
        await _ready_until_told()
        for task in tasks:
            task.cancel()


async def _memory(plugin: str, side: str, place: str, rows: str, operations: str) -> None:
    """Hold a contestant of one side alone; tell of each stage, and wait until it was looked at."""
    from dbservice.runtime.plugin import start, stop
    from pytest_rosey.bench.contestants import benchmark_of

    benchmark = benchmark_of(plugin)
    if side == "legacy":
        contestant = benchmark.legacy(Path(place))
    else:
        import nats

        contestant = benchmark.modern(await nats.connect(place))
    await start(contestant)
    _tell("ready")
    _reached("empty")
    keys = await contestant.fill(int(rows))
    _reached("filled")
    for number in range(int(operations)):
        await contestant.search()
        await contestant.get(keys[number % len(keys)])
    _reached("peak")
    await stop(contestant)


def _reached(stage: str) -> None:
    _tell(stage)
    sys.stdin.readline()


async def _ready_until_told() -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    _tell("ready")
    await told.wait()


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
