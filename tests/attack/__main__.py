"""Runs attacks and prints a table of what each did."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_rosey.servers.postgres import PostgresServer
from tests.attack.attacks import chosen
from tests.attack.fuzz import fuzzed
from tests.attack.stage import MEGABYTE, Line, staged

_KINDS = ("echo", "ping", "get", "search", "set", "insert")


def main() -> None:
    """Play what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--db", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--accounts", action="store_true", help="an account for each plugin")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each attack")
    parser.add_argument("--rate", type=float, default=180.0, help="of the neighbour, each second")
    parser.add_argument("--attacks", default="", help="words in the names of those to play")
    parser.add_argument("--fuzz", type=int, default=0, help="send so many generated requests")
    parser.add_argument("--seed", type=int, default=1, help="of those")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rosey-attack-") as directory:
        asyncio.run(_play(options, Path(directory).resolve()))


async def _play(options: argparse.Namespace, directory: Path) -> None:
    with _database(options.db, directory) as (url, server):
        how = {"accounts": options.accounts, "rate": options.rate, "server": server}
        async with staged(directory, url, **how) as stage:
            await stage.set_up()
            if options.fuzz:
                requests = fuzzed(options.seed)
                with stage.serving():
                    got, neighbour = await stage.beside_neighbour(requests, options.fuzz, 64)
                sys.stdout.write(f"{dict(got.most_common())}\nthe neighbour: {dict(neighbour)}\n")
                sys.stdout.write(stage.log.read_text("utf-8")[-4000:])
                return
            sys.stdout.write(heading())
            for attack in chosen(options.attacks, options.db):
                sys.stdout.write(shown(await stage.play(attack, options.seconds)))
                sys.stdout.flush()


@contextmanager
def _database(engine: str, directory: Path) -> Iterator[tuple[str, int | None]]:
    if engine == "sqlite":
        yield f"sqlite+aiosqlite:///{directory / 'rosey.db'}", None
        return
    server = PostgresServer()
    server.start()
    try:
        yield server.url(), server.pid
    finally:
        server.stop()


def heading() -> str:
    """Return the head of the table."""
    columns = ["attack", "answers", *_KINDS, "lost", "peak MB", "rest MB", "server MB", "log"]
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"


def shown(line: Line) -> str:
    """Return a line of the table: p50/p99 in milliseconds before, during and after."""
    got = ", ".join(f"{code} {number}" for code, number in line.got.most_common(3)) or "none"
    times = [
        " · ".join(
            f"{phase[kind]['p50']:.3g}/{phase[kind]['p99']:.3g}" for phase in line.phases.values()
        )
        for kind in _KINDS
    ]
    sizes = [str(round(size / MEGABYTE)) for size in (line.peak, line.rest, line.database)]
    cells = [line.attack, got, *times, str(line.lost), *sizes, str(line.logged)]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()
