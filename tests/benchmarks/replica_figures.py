"""Durable writes on PostgreSQL: one replica of the service against two, in turns, in one run.

Run it: `python tests/benchmarks/replica_figures.py [--rounds N]`. PostgreSQL runs with fsync on. On
a machine with few cores the replicas, PostgreSQL, nats-server and the client share them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import nats
from rich.console import Console
from service_figures import ROW, quote, request

from pytest_rosey.servers import choose
from pytest_rosey.servers.postgres import PostgresServer

IN_FLIGHT = 100
ADD = request(table="quotes", data=quote(0))


@contextmanager
def replicas(count: int, nats_url: str, database: str) -> Iterator[None]:
    command = [sys.executable, "-m", "dbservice", "serve", "--nats", nats_url, "--db", database]
    running: list[subprocess.Popen[str]] = []
    for _ in range(count):
        process = subprocess.Popen(
            [*command, "--migrate", "--log-level", "warning"], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        while not process.stdout.readline().startswith("rosey: ready"):
            if process.poll() is not None:
                raise SystemExit("rosey serve ended")
    yield
    for process in running:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


async def writes_per_second(url: str, writes: int) -> float:
    """Let 100 workers write, each the next when it has its reply."""
    client = await nats.connect(url)
    numbers = iter(range(writes))

    async def work() -> None:
        for _ in numbers:
            reply = await client.request(ROW + "insert", ADD, timeout=30)
            if not reply.data.startswith(b'{"success":true'):
                raise SystemExit(f"a write failed: {reply.data.decode()}")

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    seconds = time.perf_counter() - started
    await client.close()
    return writes / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    server, postgres = choose("binary").server, PostgresServer(durable=True)
    server.start()
    postgres.start()
    rates: dict[int, list[float]] = {1: [], 2: []}
    try:
        for _ in range(options.rounds):
            for count, found in rates.items():
                with replicas(count, server.url, postgres.url()):
                    found.append(asyncio.run(writes_per_second(server.url, writes=2_000)))
    finally:
        server.stop()
        postgres.stop()
    medians = {count: statistics.median(found) for count, found in rates.items()}
    console = Console()
    for count, rate in medians.items():
        spread = f"{min(rates[count]):,.0f} to {max(rates[count]):,.0f}"
        console.print(f"{count} replica(s): {rate:,.0f} durable writes/s ({spread})")
    console.print(f"two against one: {medians[2] / medians[1]:.2f} x (target 1.3 x)")
    console.print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
