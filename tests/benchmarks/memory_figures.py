"""The memory of the service under a steady mixed load, for as long as you like.

Run it: `python -m tests.benchmarks.memory_figures [--minutes M] [--quotes N] [--rate R]
[--directory DIR] [--json FILE]`.

`rosey serve` gets a file with many quotes and is started again on it, so that everything that it
comes to hold is seen to come. Then it answers a bounded number of requests a second: gets, pages
of a search, adds and as many deletes, upvotes, keys with a lifetime, and now and then a search
that counts all its matches, which looks at every row. The rows stay as many as they were; keys
expire and are swept. Its resident memory is read all along.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from rich.console import Console
from rich.progress import Progress, TextColumn, track

from pytest_rosey.bench.targets import MEMORY_LIMIT
from pytest_rosey.servers.nats import choose
from tests.benchmarks.service_figures import KV, MATCHING, NEWEST, ROW, quote, request, serve, stop

WORKERS = 20
"""Requests under way at the most; a service that falls behind is not buried."""

LIFETIME = 60
"""Seconds that a key lives: some thousands of them are there at a time."""

BARS = "▁▂▃▄▅▆▇█"
PLOT_WIDTH = 60

# How often each kind of request comes, in a hundred.
MIX = {"get": 40, "add": 15, "delete": 15, "upvote": 10, "search": 10, "set": 5, "incr": 5}


@dataclass(frozen=True)
class Sample:
    """What the process held at one moment.

    Attributes:
        second: since the load began.
        resident_mb: all of its memory.
        own_mb: without the pages of files.
    """

    second: float
    resident_mb: float
    own_mb: float


class Load:
    """A steady mix of requests.

    Args:
        client: a connected client.
        quotes: how many there are.
        rate: requests a second.
        search_every: seconds between two searches that count all matches.

    Attributes:
        answered: how many replies, by kind of request.
        failed: how many of them were failures, by error code; and timeouts.
    """

    def __init__(self, client: Client, quotes: int, rate: float, search_every: float) -> None:
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._client = client
        self._quotes = quotes
        self._rate = rate
        self._search_every = search_every
        self._rng = random.Random(20261122)
        self._added: deque[int] = deque()
        self._number = 0

    async def run(self, seconds: float) -> None:
        """Send requests for so long."""
        end = time.monotonic() + seconds
        times = self._times(end)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WORKERS):
                tasks.create_task(self._work(times))
            tasks.create_task(self._search_all(end))

    def _times(self, end: float) -> Iterator[float]:
        """Yield when the next request is due; what was missed is left out, not made up for."""
        due = time.monotonic()
        while due < end:
            yield due
            due = max(due + 1 / self._rate, time.monotonic() - 1)

    async def _work(self, times: Iterator[float]) -> None:
        for due in times:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            kind = self._rng.choices(list(MIX), list(MIX.values()))[0]
            await self._send(kind, *self._request(kind))

    async def _search_all(self, end: float) -> None:
        body: dict[str, Any] = {"table": "quotes", "filters": MATCHING, "sort": NEWEST, "limit": 10}
        while time.monotonic() + self._search_every < end:
            await asyncio.sleep(self._search_every)
            await self._send("search with total", ROW + "search", request(**body))

    def _request(self, kind: str) -> tuple[str, bytes]:
        self._number += 1
        any_id = self._rng.randint(1, self._quotes)
        match kind:
            case "add":
                body: dict[str, Any] = {"data": quote(self._number)}
                body["counters"] = {"total_count": 1}
                body["idempotency_key"] = f"add {self._number}"
                return ROW + "insert", request(table="quotes", **body)
            case "delete" if self._added:
                body = {"id": self._added.popleft(), "counters": {"total_count": -1}}
                return ROW + "delete", request(table="quotes", **body)
            case "upvote":
                body = {"operations": {"score": {"$inc": 1}}, "returning": ["score"]}
                return ROW + "update", request(table="quotes", id=any_id, **body)
            case "search":
                # Ten of the newest match, so that they are found soon among however many.
                filters = {"text": {"$ilike": "%Number%5%"}}
                body = {"filters": filters, "sort": NEWEST, "limit": 10}
                return ROW + "select", request(table="quotes", **body)
            case "set":
                body = {"value": {"page": self._number}, "ttl_seconds": LIFETIME}
                return KV + "set", request(key=f"page:{self._number}", **body)
            case "incr":
                return KV + "incr", request(key=f"hits:{any_id % 100}")
            case _:
                return ROW + "select", request(table="quotes", id=any_id)

    async def _send(self, kind: str, subject: str, payload: bytes) -> None:
        try:
            reply = json.loads((await self._client.request(subject, payload, timeout=30)).data)
        except TimeoutError:
            self.failed["no answer"] += 1
            return
        self.answered[kind] += 1
        if not reply["success"]:
            self.failed[reply["error"]["code"]] += 1
        elif kind == "add":
            self._added.append(reply["id"])


async def watched(service: int, load: Load, seconds: float, every: float) -> list[Sample]:
    """Put the load on the service; return what it held all along."""
    samples: list[Sample] = []
    columns = *Progress.get_default_columns(), TextColumn("{task.fields[now]}")
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("steady load", total=seconds, now="")
        running = asyncio.create_task(load.run(seconds))
        began = time.monotonic()
        while not running.done():
            samples.append(sample(service, time.monotonic() - began))
            now = f"{samples[-1].resident_mb:.1f} MB"
            progress.update(bar, completed=samples[-1].second, now=now)
            await asyncio.wait([running], timeout=every)
        await running
        progress.update(bar, completed=seconds)
    return samples


def sample(process: int, second: float) -> Sample:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines()
    )
    resident, own = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))
    return Sample(round(second, 1), round(resident, 2), round(own, 2))


def figures(samples: Sequence[Sample]) -> dict[str, float]:
    """Return what the samples come to, in MB; the slopes in MB an hour."""
    values = [each.resident_mb for each in samples]
    tenth = max(1, len(values) // 10)
    first, last = statistics.median(values[:tenth]), statistics.median(values[-tenth:])
    return {
        "start": values[0],
        "median of the first tenth": first,
        "median of the last tenth": last,
        "last against first tenth": last / first,
        "max": max(values),
        "max without pages of files": max(each.own_mb for each in samples),
        "slope, MB/h": slope(samples),
        "slope of the second half, MB/h": slope(samples[len(samples) // 2 :]),
    }


def slope(samples: Sequence[Sample]) -> float:
    if len(samples) < 2:
        return 0.0
    seconds, values = [s.second for s in samples], [s.resident_mb for s in samples]
    return statistics.linear_regression(seconds, values).slope * 3600


def plot(samples: Sequence[Sample]) -> str:
    """Return a line of bars from 0 to the maximum, and under it one from the least to the most."""
    size = max(1, -(-len(samples) // PLOT_WIDTH))
    values = [
        max(each.resident_mb for each in samples[at : at + size])
        for at in range(0, len(samples), size)
    ]
    low, high = min(values), max(values)
    return "\n".join(
        f"{base:6.1f} to {high:.1f} MB  " + "".join(bar(value, base, high) for value in values)
        for base in (0.0, low)
    )


def bar(value: float, low: float, high: float) -> str:
    share = (value - low) / (high - low) if high > low else 0.0
    return BARS[min(int(share * len(BARS)), len(BARS) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--quotes", type=int, default=1_000_000, help="whole thousands")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two samples")
    parser.add_argument("--search-every", type=float, default=10.0, help="seconds, with a total")
    parser.add_argument("--directory", default=".", help="where the database file goes")
    parser.add_argument("--json", type=Path, help="write samples and figures to this file")
    options = parser.parse_args()
    server = choose("binary").server
    server.start()
    try:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            found = asyncio.run(measured(server.url, Path(directory) / "memory.db", options))
    finally:
        server.stop()
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


async def fill(client: Client, quotes: int) -> None:
    batches = range(0, quotes, 1_000)
    for first in track(batches, f"{quotes:,} quotes", console=Console(stderr=True)):
        rows = [quote(number) for number in range(first, first + 1_000)]
        body = request(table="quotes", rows=rows, counters={"total_count": len(rows)})
        reply = await client.request(ROW + "insert_batch", body, timeout=30)
        assert json.loads(reply.data)["success"], reply.data


async def measured(url: str, database: Path, options: argparse.Namespace) -> dict[str, Any]:
    client = await nats.connect(url)
    filling = serve(url, database)
    await fill(client, options.quotes)
    stop(filling)
    service = serve(url, database)
    load = Load(client, options.quotes, options.rate, options.search_every)
    began = time.monotonic()
    samples = await watched(service.pid, load, options.minutes * 60, options.every)
    seconds = time.monotonic() - began
    stop(service)
    await client.close()
    found = figures(samples)
    report(found, samples, load, seconds)
    return {
        "options": {**vars(options), "json": None},
        "figures": found,
        "answered": dict(load.answered),
        "failed": dict(load.failed),
        "requests per second": sum(load.answered.values()) / seconds,
        "samples": [asdict(each) for each in samples],
    }


def report(found: dict[str, float], samples: Sequence[Sample], load: Load, seconds: float) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(plot(samples))
    for name, value in found.items():
        console.print(f"{name:32} {value:8.2f}")
    verdict = "within" if found["max"] <= MEMORY_LIMIT else "over"
    console.print(f"{verdict} the target of {MEMORY_LIMIT:g} MB")
    rate = sum(load.answered.values()) / seconds
    console.print(f"{rate:,.0f} requests/s for {seconds / 60:.1f} minutes: {dict(load.answered)}")
    console.print(f"failed: {dict(load.failed) or 'none'}")
    console.print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
