"""The figures of the service against a bare echo over the same nats-server, in one run.

Run it: `python tests/benchmarks/service_figures.py [--uvloop] [--rounds N] [--directory DIR]`.

"Echo" is a nats-py request answered by a bare nats-py responder in a process of its own, through
the same server: the floor for anything that goes over NATS. The service is `rosey serve` on a
file (WAL, synchronous=FULL). Every figure is a ratio to the echo of the same round; machine and
load decide about milliseconds, much less about ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pytest_rosey.servers import choose

ROW = "rosey.db.row.quote-db."
KV = "rosey.db.kv.quote-db."
QUOTES = 1_000

ECHO = """
import asyncio, sys, nats
async def main():
    client = await nats.connect(sys.argv[1])
    async def answer(message):
        await client.publish(message.reply, message.data)
    await client.subscribe("echo", cb=answer)
    await asyncio.sleep(0)
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()
if sys.argv[2] == "uvloop":
    import uvloop
    uvloop.run(main())
asyncio.run(main())
"""

SERVE = """
import sys
if sys.argv.pop(1) == "uvloop":
    import uvloop
    uvloop.install()
from dbservice.cli import main
main(sys.argv[1:])
"""


def quote(number: int) -> dict[str, Any]:
    return {
        "text": f"quote number {number}",
        "author": f"author {number % 10}",
        "added_by": "bench",
        "timestamp": 1_700_000_000 + number,
    }


def request(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


MATCHING = {"$or": [{"text": {"$ilike": "%er 5%"}}, {"author": {"$ilike": "%er 5%"}}]}
NEWEST = {"field": "timestamp", "order": "desc"}
UPVOTE = {"score": {"$max": 1}}

# name: subject, payload, target of p50 and p95 on asyncio, with uvloop
CASES: dict[str, tuple[str, bytes, float, float]] = {
    "echo": ("echo", request(table="quotes", id=3), 1.0, 1.0),
    "get by id": (ROW + "select", request(table="quotes", id=3), 1.5, 1.3),
    "random": (ROW + "select", request(table="quotes", sort="$random", limit=1), 1.5, 1.3),
    "kv get": (KV + "get", request(key="total_count"), 1.5, 1.3),
    # Not a set: SQLite does not write a value that is there already, and no fsync is made.
    "kv incr": (KV + "incr", request(key="k"), 2.0, 1.7),
    "add": (ROW + "insert", request(table="quotes", data=quote(0)), 2.0, 1.7),
    "upvote": (
        ROW + "update",
        request(table="quotes", id=3, operations=UPVOTE, returning=["score"]),
        2.0,
        1.7,
    ),
    "search, 10 of 1,000": (
        ROW + "search",
        request(table="quotes", filters=MATCHING, sort=NEWEST, limit=10),
        4.0,
        4.0,
    ),
}
IN_FLIGHT = ("echo", "get by id", "add")


@contextmanager
def processes(loop: str, directory: str) -> Iterator[str]:
    """Start a nats-server, the echo and the service; yield the server's URL."""
    server = choose("binary").server
    server.start()
    database = Path(tempfile.mkdtemp(dir=directory)) / "bench.db"
    echo = _started([sys.executable, "-c", ECHO, server.url, loop], "ready")
    serve = ["serve", "--nats", server.url, "--db", str(database), "--migrate"]
    service = _started(
        [sys.executable, "-c", SERVE, loop, *serve, "--log-level", "warning"], "rosey: ready"
    )
    try:
        yield server.url
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(timeout=20)
        echo.kill()
        echo.wait()
        server.stop()


def _started(command: list[str], line: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while not process.stdout.readline().startswith(line):
        if process.poll() is not None:
            raise SystemExit(f"{command[2][:60]} ended with {process.returncode}")
    return process


async def measure(url: str, rounds: int, each: int) -> dict[str, list[float]]:
    """Return seconds of single requests, the cases taking turns."""
    client = await nats.connect(url)
    batch = [quote(number) for number in range(QUOTES)]
    await client.request(ROW + "insert_batch", request(table="quotes", rows=batch), timeout=10)
    taken: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in track(range(rounds), "one client", console=Console(stderr=True)):
        for name, (subject, payload, *_) in CASES.items():
            for _ in range(each):
                started = time.perf_counter()
                reply = await client.request(subject, payload, timeout=5)
                taken[name].append(time.perf_counter() - started)
            assert name == "echo" or json.loads(reply.data)["success"], reply.data
    await client.close()
    return taken


async def throughput(url: str, rounds: int) -> dict[str, list[float]]:
    """Return requests per second at 100 in flight, the cases taking turns."""
    client = await nats.connect(url)
    rates: dict[str, list[float]] = {name: [] for name in IN_FLIGHT}
    for _ in track(range(rounds), "100 in flight", console=Console(stderr=True)):
        for name in IN_FLIGHT:
            subject, payload, *_ = CASES[name]
            started = time.perf_counter()
            for _ in range(10):
                await asyncio.gather(
                    *(client.request(subject, payload, timeout=10) for _ in range(100))
                )
            rates[name].append(1_000 / (time.perf_counter() - started))
    await client.close()
    return rates


def report(taken: dict[str, list[float]], rates: dict[str, list[float]], loop: str) -> None:
    console = Console()
    table = Table(title=f"one client, {loop}; ratios to echo")
    for heading in ("request", "p50 µs", "p50", "p95 µs", "p95", "target"):
        table.add_column(heading, justify="left" if heading == "request" else "right")
    floor = taken["echo"]
    for name, seconds in taken.items():
        target = CASES[name][3 if loop == "uvloop" else 2]
        row = [name]
        for share in (0.5, 0.95):
            value, base = quantile(seconds, share), quantile(floor, share)
            row += [f"{value * 1e6:.0f}", f"{value / base:.2f} x"]
        table.add_row(*row, f"{target:.1f} x")
    console.print(table)
    base = statistics.median(rates["echo"])
    for name, values in rates.items():
        rate = statistics.median(values)
        console.print(f"100 in flight, {name}: {rate:,.0f}/s, {rate / base:.2f} x (target 0.7 x)")
    console.print(
        f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {sys.version.split()[0]}"
    )


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--uvloop", action="store_true", help="in all three processes")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of 40 requests a case")
    parser.add_argument("--directory", default=".", help="where the database file goes")
    options = parser.parse_args()
    loop = "uvloop" if options.uvloop else "asyncio"
    run = asyncio.run
    if options.uvloop:
        import uvloop

        run = uvloop.run
    with processes(loop, options.directory) as url:
        taken = run(measure(url, options.rounds, each=40))
        rates = run(throughput(url, rounds=5))
    report(taken, rates, loop)


if __name__ == "__main__":
    main()
