"""What a search index is worth, and what it costs, on both engines, in one run.

Run it: `python -m tests.benchmarks.search_figures [--sizes 1000,10000] [--rounds N] [--directory
DIR] [--json FILE]`.

One service has the same quotes twice, under two plugins: one at quote-db's three migrations, one
with a fourth that makes a search index. All that is compared takes turns within each round, the
legacy plugin's own scan among it, so that the load of the machine meets all sides alike. The rare
word stands in 100 quotes (in a tenth of them where there are fewer than 1,000), the common one in a
tenth; a search is the chat's: text or author, the newest ten, and the total.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import asyncpg
import nats
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from pytest_rosey.bench.floors import ECHO
from pytest_rosey.servers.nats import choose
from pytest_rosey.servers.postgres.binary import PostgresServer
from reference_plugin_quote_db import legacy
from reference_plugin_quote_db.quotes import matching
from reference_plugin_quote_db.schema import NEWEST_FIRST
from reference_plugin_quote_db.shipped import PLUGIN, migration_root
from tests.benchmarks.service_figures import responder, serve, stop

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PLAIN, INDEXED = PLUGIN, "quote-index"
RARE, COMMON = "needle", "haystack"
RARE_ROWS = 100
EACH = 5
ADDS_EACH = 20
IN_FLIGHT = 100
EACH_IN_FLIGHT = 1_000
COLUMNS = ("text", "author", "added_by", "timestamp")
INDEX = """-- UP
CREATE INDEX quotes_search ON quotes USING trigram (text, author);
-- DOWN
DROP INDEX quotes_search;
"""
ASIDE = Console(stderr=True)

Quote = tuple[str, str, str, int]
Turn = Callable[[], Awaitable[object]]


def quotes(size: int) -> Iterator[Quote]:
    """Yield quotes, the rare and the common word in some of them."""
    rare_every = max(size // RARE_ROWS, 10)
    for number, (text, author, by, when) in enumerate(islice(plain_quotes(size), size)):
        special = f" {RARE}" * (number % rare_every == 1) + f" {COMMON}" * (number % 10 == 2)
        yield text + special, author, by, when


def plain_quotes(seed: int) -> Iterator[Quote]:
    """Yield quotes of eight words out of 3,000, without an end."""
    chance = random.Random(seed)
    words = [f"word{number:04}" for number in range(3_000)]
    for number in count():
        text = " ".join(chance.choices(words, k=8))
        yield text, f"author {number % 1_000}", "bench", 1_700_000_000 + number


# --- the two engines -----------------------------------------------------------------------------


class OnFile:
    """Quotes in an SQLite file."""

    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self.database = str(folder / "bench.db")

    def fill(self, table: str, rows: Iterator[Quote]) -> None:
        """Add quotes past the service, which is not there yet."""
        insert_into(self.database, table, rows)

    def size(self) -> int:
        """Return the bytes of everything."""
        return Path(self.database).stat().st_size

    def close(self) -> None:
        """Nothing has to be ended."""


class OnPostgres:
    """Quotes on a PostgreSQL server that waits for the disk."""

    name = "PostgreSQL"

    def __init__(self, _folder: Path) -> None:
        self._server = PostgresServer(durable=True)
        self._server.start()
        self.database = self._server.url()

    def fill(self, table: str, rows: Iterator[Quote]) -> None:
        """Add quotes past the service, which is not there yet."""
        asyncio.run(self._copy(table, rows))

    def size(self) -> int:
        """Return the bytes of everything."""
        return asyncio.run(self._value("SELECT pg_database_size(current_database())"))

    def close(self) -> None:
        """End the server."""
        self._server.stop()

    async def _copy(self, table: str, rows: Iterator[Quote]) -> None:
        connection = await asyncpg.connect(self.database.replace("+asyncpg", ""))
        await connection.copy_records_to_table(table, records=rows, columns=COLUMNS)
        await connection.execute(f"ANALYZE {table}")
        await connection.close()

    async def _value(self, sql: str) -> int:
        connection = await asyncpg.connect(self.database.replace("+asyncpg", ""))
        value: int = await connection.fetchval(sql)
        await connection.close()
        return value


ENGINES: dict[str, Callable[[Path], OnFile | OnPostgres]] = {
    "sqlite": OnFile,
    "postgresql": OnPostgres,
}


def insert_into(file: str, table: str, rows: Iterator[Quote]) -> None:
    """Add quotes to an SQLite file that nobody else has open."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executemany(
            f"INSERT INTO {table} ({', '.join(COLUMNS)}) VALUES (?, ?, ?, ?)", rows
        )


def migrate(engine: OnFile | OnPostgres, roots: Path, plugin: str, version: int) -> float:
    """Apply migrations of a plugin and return how many seconds they took."""
    command = [sys.executable, "-m", "dbservice", "migrate", plugin, "apply", str(version)]
    command += ["--db", engine.database, "--migrations", str(roots), "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return float(json.loads(done.stdout)["duration_ms"]) / 1_000


@contextmanager
def migrations(folder: Path) -> Iterator[Path]:
    """Have quote-db's migrations twice, once with an index behind them."""
    roots = folder / "migrations"
    for plugin in (PLAIN, INDEXED):
        shutil.copytree(migration_root() / PLUGIN, roots / plugin)
    (roots / INDEXED / "004_add_search.sql").write_text(INDEX, "utf-8")
    yield roots


# --- what is measured ----------------------------------------------------------------------------


@dataclass
class Figures:
    """Of one engine and size.

    Attributes:
        build_seconds: what the migration that makes the index took.
        index_bytes: what the database grew by it.
        seconds: of single requests, by what was asked.
        rates: adds a second at 100 in flight, by plugin.
    """

    build_seconds: float
    index_bytes: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)


class Asking:
    """A client of both plugins.

    Args:
        client: a connected client.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._quotes = plain_quotes(1)

    async def echo(self) -> None:
        """Ask the bare responder."""
        await self._client.request(ECHO, b"{}")

    async def search(self, plugin: str, word: str) -> int:
        """Return how many quotes have a word."""
        filters = matching(word)
        found = await self._ask(plugin, "search", filters=filters, sort=NEWEST_FIRST, limit=10)
        return int(found["total"])

    async def add(self, plugin: str) -> None:
        """Add a quote that no search finds."""
        row = dict(zip(COLUMNS, next(self._quotes), strict=True))
        await self._ask(plugin, "insert", data=row)

    async def adds_in_flight(self, plugin: str) -> float:
        """Return adds a second: each of 100 workers sends the next when it has its reply."""
        left = iter(range(EACH_IN_FLIGHT))

        async def work() -> None:
            for _ in left:
                await self.add(plugin)

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        return EACH_IN_FLIGHT / (time.perf_counter() - began)

    async def _ask(self, plugin: str, operation: str, **fields: Any) -> dict[str, Any]:
        body = json.dumps({"table": "quotes", **fields}).encode()
        subject = f"rosey.db.row.{plugin}.{operation}"
        reply: dict[str, Any] = json.loads((await self._client.request(subject, body, 120)).data)
        if not reply["success"]:
            raise SystemExit(f"{subject}: {reply['error']}")
        return reply


async def measure(url: str, found: Figures, file: Path, rounds: int) -> None:
    """Let all that is compared take turns, and note how long each took."""
    client = await nats.connect(url)
    ask, old = Asking(client), legacy.QuoteDBPlugin(str(file))
    await old.initialize()
    groups: list[tuple[int, dict[str, Turn]]] = [(ADDS_EACH, {"echo": ask.echo})]
    for word in (RARE, COMMON):
        group: dict[str, Turn] = {f"{word} legacy": partial(old.search_quotes, word)}
        for plugin in (INDEXED, PLAIN):
            group[f"{word} {plugin}"] = partial(ask.search, plugin, word)
        groups.append((EACH, group))
    adds = {f"add {plugin}": partial(ask.add, plugin) for plugin in (INDEXED, PLAIN)}
    groups.append((ADDS_EACH, {**adds}))
    for number in range(rounds + 1):
        for each, group in groups:
            for what, turn in [*group.items()] * each:
                taken = await timed(turn)
                if number:  # the first round is not counted
                    found.seconds.setdefault(what, []).append(taken)
    for _ in range(rounds):  # last, because so many adds make a small table large
        for plugin in (INDEXED, PLAIN):
            found.rates.setdefault(plugin, []).append(await ask.adds_in_flight(plugin))
    for word in (RARE, COMMON):
        assert await ask.search(INDEXED, word) == await ask.search(PLAIN, word)
    await old.close()
    await client.close()


async def timed(turn: Turn) -> float:
    began = time.perf_counter()
    await turn()
    return time.perf_counter() - began


def measured(kind: str, size: int, folder: Path, rounds: int) -> Figures:
    """Return the figures of one engine and size."""
    engine, server, file = ENGINES[kind](folder), choose("binary").server, folder / "legacy.db"
    try:
        with migrations(folder) as roots:
            for plugin in (PLAIN, INDEXED):
                migrate(engine, roots, plugin, 3)
                engine.fill(f"{plugin.replace('-', '_')}__quotes", quotes(size))
            before = engine.size()
            found = Figures(migrate(engine, roots, INDEXED, 4), engine.size() - before)
            asyncio.run(make(file))
            insert_into(str(file), "quotes", quotes(size))
            server.start()
            echo = responder(server.url)
            options = ("--migrations", str(roots), "--statement-timeout", "60")
            service = serve(server.url, engine.database, *options)
            try:
                asyncio.run(measure(server.url, found, file, rounds))
            finally:
                stop(service)
                stop(echo)
        return found
    finally:
        server.stop()
        engine.close()


async def make(file: Path) -> None:
    """Make the legacy plugin's file."""
    old = legacy.QuoteDBPlugin(str(file))
    await old.initialize()
    await old.close()


# --- what comes out ------------------------------------------------------------------------------


def figures(found: Figures) -> dict[str, float]:
    """Return milliseconds at p50, and ratios: below 1 where the index is quicker."""
    p50 = {what: statistics.median(taken) * 1e3 for what, taken in found.seconds.items()}
    rate = {plugin: statistics.median(rates) for plugin, rates in found.rates.items()}
    return {
        "echo, ms": p50["echo"],
        "rare word, ms": p50[f"{RARE} {INDEXED}"],
        "to the scan": p50[f"{RARE} {INDEXED}"] / p50[f"{RARE} {PLAIN}"],
        "to legacy": p50[f"{RARE} {INDEXED}"] / p50[f"{RARE} legacy"],
        "common word, ms": p50[f"{COMMON} {INDEXED}"],
        "common to the scan": p50[f"{COMMON} {INDEXED}"] / p50[f"{COMMON} {PLAIN}"],
        "common to legacy": p50[f"{COMMON} {INDEXED}"] / p50[f"{COMMON} legacy"],
        "add, ms": p50[f"add {INDEXED}"],
        "add to without": p50[f"add {INDEXED}"] / p50[f"add {PLAIN}"],
        "in flight to without": rate[PLAIN] / rate[INDEXED],
        "adds/s in flight": rate[INDEXED],
        "build, s": found.build_seconds,
        "index, MB": found.index_bytes / 1e6,
    }


def report(found: dict[str, dict[int, dict[str, float]]]) -> None:
    """Print a table for each engine."""
    for engine, sizes in found.items():
        table = Table("", title=f"{engine}: the search index, by the number of quotes")
        for size in sizes:
            table.add_column(f"{size:,}", justify="right")
        for what in next(iter(sizes.values())):
            table.add_row(what, *(f"{row[what]:,.3g}" for row in sizes.values()))
        Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of quotes")
    parser.add_argument("--engines", default=",".join(ENGINES), help="which")
    parser.add_argument("--rounds", type=int, default=8, help=f"rounds of {EACH} searches a case")
    parser.add_argument("--directory", default=".", help="where the database files go")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    found: dict[str, dict[int, dict[str, float]]] = {}
    for engine in options.engines.split(","):
        for size in map(int, options.sizes.split(",")):
            ASIDE.print(f"{engine}, {size:,} quotes")
            with tempfile.TemporaryDirectory(dir=options.directory) as folder:
                result = figures(measured(engine, size, Path(folder), options.rounds))
            found.setdefault(engine, {})[size] = result
            if options.json is not None:
                options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    report(found)


if __name__ == "__main__":
    main()
