"""The figures of the service against a bare echo over the same nats-server, in one run.

Run it: `python -m tests.benchmarks.service_figures [--uvloop] [--rounds N] [--directory DIR]
[--json FILE]`.

"Echo" is a nats-py request answered by a bare nats-py responder in a process of its own, through
the same server: the floor for anything that goes over NATS. The service is `rosey serve` on a
file (WAL, synchronous=FULL). Every figure is a ratio to the echo of the same round; machine and
load decide about milliseconds, much less about ratios.

Three things are measured: single requests of one client; a closed loop of 100 workers, each of
which sends its next request when it has its reply; and the writes of one client while ten others,
in a process of their own, search as fast as they are answered.
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
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pytest_rosey.bench.figures import percentile
from pytest_rosey.bench.floors import ECHO
from pytest_rosey.servers.nats import choose

ROW = "rosey.db.row.quote-db."
KV = "rosey.db.kv.quote-db."
QUOTES = 1_000
EACH = 40
EACH_IN_FLIGHT = 3_000
ASIDE = Console(stderr=True)

Seconds = dict[str, list[float]]
Rates = dict[str, list[float]]
"""By name of the case."""


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
SEARCH = request(table="quotes", filters=MATCHING, sort=NEWEST, limit=10)


@dataclass(frozen=True)
class Case:
    """A kind of request.

    Attributes:
        payload: makes the payload from a number: a new one each time, or the id of a row that is
            there where rows are deleted. What is there already is not written by SQLite, and no
            fsync is made; so every write changes something.
        target: of p50 and p95, as ratios to echo, on asyncio.
        target_uvloop: the same with uvloop.
    """

    subject: str
    payload: Callable[[int], bytes]
    target: float
    target_uvloop: float


def always(payload: bytes) -> Callable[[int], bytes]:
    return lambda _: payload


def vote(number: int) -> bytes:
    up_or_down = {"score": {"$inc": 1 if number % 2 else -1}}
    return request(table="quotes", id=3, operations=up_or_down, returning=["score"])


CASES = {
    "echo": Case(ECHO, always(request(table="quotes", id=3)), 1.0, 1.0),
    "get by id": Case(ROW + "select", always(request(table="quotes", id=3)), 1.4, 1.5),
    "random": Case(
        ROW + "select", always(request(table="quotes", sort="$random", limit=1)), 1.4, 1.5
    ),
    "kv get": Case(KV + "get", always(request(key="total_count")), 1.4, 1.5),
    "kv set": Case(KV + "set", lambda number: request(key="k", value=number), 1.9, 2.2),
    "kv incr": Case(KV + "incr", always(request(key="n")), 1.9, 2.2),
    "add": Case(
        ROW + "insert", lambda number: request(table="quotes", data=quote(number)), 1.9, 2.2
    ),
    "upvote": Case(ROW + "update", vote, 1.9, 2.2),
    "delete": Case(ROW + "delete", lambda number: request(table="quotes", id=number), 1.9, 2.2),
    "search, 10 of 1,000": Case(ROW + "search", always(SEARCH), 4.0, 4.0),
}
IN_FLIGHT = 100
IN_FLIGHT_TARGETS = {"get by id": 0.5, "add": 0.4}
BESIDE = ("echo", "get by id", "add", "upvote")
BESIDE_SIZES = (1_000, 100_000)
BESIDE_TARGET = 1.5
SEARCHERS = 10

SEARCHING = """
import asyncio, sys, nats
async def search(url, payload, done):
    client = await nats.connect(url)
    while True:
        reply = await client.request("rosey.db.row.quote-db.search", payload, timeout=30)
        assert reply.data.startswith(b'{"success":true'), reply.data
        done.append(1)
async def main(url, payload, count):
    done = []
    tasks = [asyncio.create_task(search(url, payload, done)) for _ in range(int(count))]
    while len(done) < len(tasks):
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    stopped = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    before = len(done)
    await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    print(len(done) - before, flush=True)
    for task in tasks:
        if task.done():
            task.result()
        task.cancel()
asyncio.run(main(sys.argv[1], sys.argv[2].encode(), sys.argv[3]))
"""


@contextmanager
def processes(loop: str, directory: str) -> Iterator[str]:
    """Start a nats-server, the echo and the service; yield the server's URL."""
    server = choose("binary").server
    server.start()
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        echo = responder(server.url, loop)
        service = serve(server.url, Path(folder) / "bench.db", "--loop", loop)
        try:
            yield server.url
        finally:
            stop(service)
            stop(echo)
            server.stop()


def responder(url: str, loop: str = "asyncio") -> subprocess.Popen[str]:
    """Start the echo."""
    return started([sys.executable, "-m", "pytest_rosey.bench.child", loop, "echo", url], "ready")


def serve(url: str, database: Path | str, *options: str) -> subprocess.Popen[str]:
    """Start `rosey serve` on a database."""
    command = [sys.executable, "-m", "dbservice", "serve", "--nats", url, "--db", str(database)]
    command += ["--migrate", "--log-level", "warning", *options]
    return started(command, "rosey: ready")


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)


def started(command: list[str], line: str, **options: Any) -> subprocess.Popen[str]:
    """Start a process and return when it writes a line that begins so."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout is not None
    while not process.stdout.readline().startswith(line):
        if process.poll() is not None:
            raise SystemExit(f"{' '.join(command[1:])[:60]} ended with {process.returncode}")
    return process


class Asking:
    """A client that sends the requests of the cases.

    There are as many quotes after each turn of a case as before.

    Args:
        client: a connected client.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._newest = 0
        self._numbers = count(1)

    async def fill(self, size: int) -> None:
        """Add quotes that stay."""
        for first in track(range(0, size, 1_000), f"{size:,} quotes", console=ASIDE):
            rows = [quote(number) for number in range(first, first + min(1_000, size - first))]
            self._newest = max(await self._add(rows))

    async def numbers(self, name: str, many: int) -> Sequence[int]:
        """Return a number for each request of a turn; see `Case.payload`."""
        if name != "delete":
            return [next(self._numbers) for _ in range(many)]
        rows = [quote(number) for number in range(many)]
        ids = [await self._add(rows[at : at + 1_000]) for at in range(0, many, 1_000)]
        return [number for part in ids for number in part]

    async def request(self, name: str, number: int) -> None:
        """Send one request and see that it did what it was meant to."""
        case = CASES[name]
        reply = await self._client.request(case.subject, case.payload(number), timeout=30)
        if name != "echo" and not reply.data.startswith(b'{"success":true'):
            raise SystemExit(f"{name} failed: {reply.data.decode()}")
        if name == "delete" and b'"deleted":true' not in reply.data:
            raise SystemExit(f"there was nothing to delete: {reply.data.decode()}")

    async def tidy(self, name: str) -> None:
        """Remove what a turn has added."""
        if name == "add":
            newer = request(table="quotes", filters={"id": {"$gt": self._newest}})
            await self._client.request(ROW + "delete", newer, timeout=30)

    async def _add(self, rows: Sequence[dict[str, Any]]) -> list[int]:
        body = request(table="quotes", rows=rows)
        reply = await self._client.request(ROW + "insert_batch", body, timeout=30)
        ids: list[int] = json.loads(reply.data)["ids"]
        return ids


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Asking]:
    client = await nats.connect(url)
    yield Asking(client)
    await client.close()


async def alone(ask: Asking, name: str, many: int) -> list[float]:
    """Return seconds of requests, one after another."""
    taken = []
    for number in await ask.numbers(name, many):
        started = time.perf_counter()
        await ask.request(name, number)
        taken.append(time.perf_counter() - started)
    await ask.tidy(name)
    return taken


async def in_flight(ask: Asking, name: str, many: int) -> float:
    """Return requests per second: each of 100 workers sends the next when it has its reply."""
    numbers = iter(await ask.numbers(name, many))

    async def work() -> None:
        for number in numbers:
            await ask.request(name, number)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    seconds = time.perf_counter() - started
    await ask.tidy(name)
    return many / seconds


async def measure(url: str, rounds: int) -> tuple[Seconds, Rates]:
    """Return seconds of single requests, and rates at 100 in flight; the cases take turns."""
    taken: Seconds = {name: [] for name in CASES}
    rates: Rates = {name: [] for name in CASES}
    async with asking(url) as ask:
        await ask.fill(QUOTES)
        for _ in track(range(rounds), "one client", console=ASIDE):
            for name, seconds in taken.items():
                seconds += await alone(ask, name, EACH)
        for _ in track(range(max(1, rounds // 4)), "100 in flight", console=ASIDE):
            for name, found in rates.items():
                found.append(await in_flight(ask, name, EACH_IN_FLIGHT))
    return taken, rates


@dataclass
class Beside:
    """Requests of one client, without others and beside searches.

    Attributes:
        searches: how many were answered meanwhile, each second.
    """

    alone: Seconds = field(default_factory=lambda: {name: [] for name in BESIDE})
    beside: Seconds = field(default_factory=lambda: {name: [] for name in BESIDE})
    searches: list[float] = field(default_factory=list)


async def measure_beside(url: str, rounds: int) -> dict[int, Beside]:
    """Return what searches do to the requests of another client, by the number of quotes."""
    found = {size: Beside() for size in BESIDE_SIZES}
    async with asking(url) as ask:
        there = QUOTES
        for size, times in found.items():
            await ask.fill(size - there)
            there = size
            for _ in track(range(rounds), f"searches among {size:,}", console=ASIDE):
                for name, seconds in times.alone.items():
                    seconds += await alone(ask, name, EACH)
                with searching(url, times.searches):
                    for name, seconds in times.beside.items():
                        seconds += await alone(ask, name, EACH)
    return found


@contextmanager
def searching(url: str, rates: list[float]) -> Iterator[None]:
    """Let ten clients search as fast as they are answered; note how many searches a second."""
    command = [sys.executable, "-c", SEARCHING, url, SEARCH.decode(), str(SEARCHERS)]
    process = started(command, "ready", stdin=subprocess.PIPE)
    began = time.perf_counter()
    yield
    seconds = time.perf_counter() - began
    answered, _ = process.communicate()
    if process.returncode:
        raise SystemExit("the searching clients failed")
    rates.append(int(answered) / seconds)


# --- what comes out ------------------------------------------------------------------------------


def figures(taken: Seconds, rates: Rates, beside: dict[int, Beside], loop: str) -> dict[str, Any]:
    """Return what the measured times come to."""
    echo = statistics.median(rates["echo"])
    return {
        "loop": loop,
        "machine": {
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "python": sys.version.split()[0],
        },
        "one client": {
            name: {
                **compared(seconds, taken["echo"]),
                "target": CASES[name].target_uvloop if loop == "uvloop" else CASES[name].target,
            }
            for name, seconds in taken.items()
        },
        "in flight": {
            name: {
                "per second": statistics.median(found),
                "spread": [min(found), max(found)],
                "ratio": statistics.median(found) / echo,
                "target": IN_FLIGHT_TARGETS.get(name),
            }
            for name, found in rates.items()
        },
        "beside searches": {
            str(size): {
                "searches per second": statistics.median(times.searches),
                "target": BESIDE_TARGET,
                **{name: compared(times.beside[name], times.alone[name]) for name in times.beside},
            }
            for size, times in beside.items()
        },
    }


def compared(seconds: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """Return p50 and p95 in microseconds and against others."""
    found: dict[str, float] = {}
    for name, share in (("p50", 50), ("p95", 95)):
        value, of_base = (percentile(sorted(each), share) for each in (seconds, base))
        found |= {f"{name} µs": value * 1e6, name: value / of_base}
    return found


def report(found: dict[str, Any]) -> None:
    console = Console()
    loop = found["loop"]
    table = Table("request", title=f"one client, {loop}; ratios to echo")
    for heading in ("p50 µs", "p50", "p95 µs", "p95", "target"):
        table.add_column(heading, justify="right")
    for name, row in found["one client"].items():
        table.add_row(
            name,
            *(f"{row['p50 µs']:.0f}", f"{row['p50']:.2f} x"),
            *(f"{row['p95 µs']:.0f}", f"{row['p95']:.2f} x", f"{row['target']:.1f} x"),
        )
    console.print(table)
    table = Table("request", title=f"{IN_FLIGHT} in flight, {loop}; ratios to echo")
    for heading in ("per second", "least and most", "ratio", "target"):
        table.add_column(heading, justify="right")
    for name, row in found["in flight"].items():
        low, high = row["spread"]
        rate, ratio = f"{row['per second']:,.0f}", f"{row['ratio']:.2f} x"
        target = f"{row['target']} x" if row["target"] else ""
        table.add_row(name, rate, f"{low:,.0f} to {high:,.0f}", ratio, target)
    console.print(table)
    table = Table("quotes", "request", title="one client beside ten that search; ratios to alone")
    for heading in ("p50", "p95 µs", "p95", "to echo", "target", "searches/s"):
        table.add_column(heading, justify="right")
    for size, row in found["beside searches"].items():
        for name in BESIDE:
            table.add_row(
                *(f"{int(size):,}", name, f"{row[name]['p50']:.2f} x"),
                *(f"{row[name]['p95 µs']:.0f}", f"{row[name]['p95']:.2f} x"),
                *(f"{row[name]['p95'] / row['echo']['p95']:.2f} x", f"{row['target']:.1f} x"),
                f"{row['searches per second']:,.0f}",
            )
    console.print(table)
    console.print(
        "An echo beside searches shares nothing with them but the machine: see `to echo`."
    )
    machine = found["machine"]
    console.print(f"load {machine['load']}, {machine['cores']} cores, {machine['python']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--uvloop", action="store_true", help="in all three processes")
    parser.add_argument("--rounds", type=int, default=20, help=f"rounds of {EACH} requests a case")
    parser.add_argument("--directory", default=".", help="where the database file goes")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    loop = "uvloop" if options.uvloop else "asyncio"
    run = asyncio.run
    if options.uvloop:
        import uvloop

        run = uvloop.run
    with processes(loop, options.directory) as url:
        taken, rates = run(measure(url, options.rounds))
        beside = run(measure_beside(url, max(1, options.rounds // 2)))
    found = figures(taken, rates, beside, loop)
    report(found)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
