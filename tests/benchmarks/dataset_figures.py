"""What a growing table costs: time of single requests, memory, and time to come back.

Run it: `python tests/benchmarks/dataset_figures.py [--largest N] [--directory DIR]`.

For each size the service starts on a file of its own, gets that many quotes, answers the same
requests, and is started again on the full file. Ratios are to the smallest size of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from rich.console import Console
from rich.progress import track
from rich.table import Table
from service_figures import KV, NEWEST, ROW, UPVOTE, quantile, quote, request

from pytest_rosey.servers import choose

SIZES = (1_000, 10_000, 100_000, 1_000_000)
BEST = [{"field": "score", "order": "desc"}]
ALL_UPVOTED = {"score": {"$gte": 1}}
REQUESTS = {
    "get": (ROW + "select", request(table="quotes", id=500)),
    "upvote": (ROW + "update", request(table="quotes", id=500, operations=UPVOTE)),
    "random": (ROW + "select", request(table="quotes", sort="$random", limit=1)),
    "top 10": (
        ROW + "select",
        request(table="quotes", filters=ALL_UPVOTED, sort=BEST, limit=10),
    ),
    "newest 10": (ROW + "select", request(table="quotes", sort=NEWEST, limit=10)),
    "count (cached)": (KV + "get", request(key="total_count")),
}


class Served:
    """`rosey serve` on a file."""

    def __init__(self, url: str, database: Path) -> None:
        started = time.perf_counter()
        command = [sys.executable, "-m", "dbservice", "serve", "--nats", url, "--db", str(database)]
        self.process = subprocess.Popen(
            [*command, "--migrate", "--log-level", "warning"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        while not self.process.stdout.readline().startswith("rosey: ready"):
            if self.process.poll() is not None:
                raise SystemExit("rosey serve ended")
        self.start_seconds = time.perf_counter() - started

    def megabytes(self) -> float:
        """Return the resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)


async def fill(client: Client, size: int) -> None:
    batches = range(0, size, 1_000)
    for first in track(batches, f"{size:,} quotes", console=Console(stderr=True)):
        rows = [quote(number) for number in range(first, first + 1_000)]
        reply = await client.request(
            ROW + "insert_batch",
            request(table="quotes", rows=rows, counters={"total_count": 1_000}),
            timeout=30,
        )
        assert json.loads(reply.data)["success"], reply.data


async def timed(client: Client, rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in REQUESTS}
    for _ in range(rounds):
        for name, (subject, payload) in REQUESTS.items():
            started = time.perf_counter()
            reply = await client.request(subject, payload, timeout=10)
            taken[name].append(time.perf_counter() - started)
            assert json.loads(reply.data)["success"], reply.data
    return {name: quantile(seconds, 0.5) * 1e6 for name, seconds in taken.items()}


async def measured(url: str, size: int, directory: str) -> dict[str, Any]:
    database = Path(tempfile.mkdtemp(dir=directory)) / "bench.db"
    served = Served(url, database)
    client = await nats.connect(url)
    await fill(client, size)
    figures: dict[str, Any] = await timed(client, rounds=300)
    figures["memory MB"] = served.megabytes()
    served.stop()
    again = Served(url, database)
    started = time.perf_counter()
    await client.request(*REQUESTS["get"], timeout=10)
    figures["restart to reply ms"] = (again.start_seconds + time.perf_counter() - started) * 1e3
    again.stop()
    await client.close()
    for leftover in database.parent.iterdir():
        leftover.unlink()
    database.parent.rmdir()
    return figures


def report(figures: dict[int, dict[str, Any]]) -> None:
    table = Table(title="p50 µs by number of quotes; ratio to the smallest")
    table.add_column("what")
    for size in figures:
        table.add_column(f"{size:,}", justify="right")
    smallest = next(iter(figures.values()))
    for name, base in smallest.items():
        row = [f"{one[name]:,.0f} ({one[name] / base:.2f} x)" for one in figures.values()]
        table.add_row(name, *row)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--directory", default=".", help="where the database files go")
    options = parser.parse_args()
    server = choose("binary").server
    server.start()
    try:
        report(
            {
                size: asyncio.run(measured(server.url, size, options.directory))
                for size in SIZES
                if size <= options.largest
            }
        )
    finally:
        server.stop()


if __name__ == "__main__":
    main()
