"""What the fixtures of pytest-rosey cost, against what they spare, in one run.

Run it: `python -m tests.benchmarks.harness_figures [--rounds N] [--json FILE]`.

Whole pytest runs are told in CPU seconds (user and system, all of their processes): on a machine
that others use, too, wall time says more about them. Single operations are compared in turns, and
their medians are what counts; "echo" is a nats-py request answered by a bare nats-py responder in
a process of its own, through a nats-server.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

from pytest_rosey.servers.nats import ServerUnavailable, choose
from tests.benchmarks.service_figures import responder, stop

TESTS = 1_000
SMALL = 200
PAIRS = 12

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""
# Whatever else the machine's environment has installed is no part of the figures.
ALONE = [
    argument
    for plugin in ("cacheprovider", "randomly", "hypothesispytest", "benchmark", "cov")
    for argument in ("-p", f"no:{plugin}")
]

INTEGRATION = """
import pytest

@pytest.mark.parametrize("n", range({tests}))
async def test_requests(n, db_service, storage):
    kv = storage("notes").kv
    await kv.set("n", n)
    assert await kv.incr("n") == n + 1
    assert await kv.get("n") == n + 1
    assert len(db_service.requests) == 3
"""

ASYNC_TESTS = """
import pytest

@pytest.mark.parametrize("n", range({tests}))
async def test_it({parameters}): pass
"""

PLAIN_TESTS = """
import pytest

@pytest.mark.parametrize("n", range({tests}))
def test_it(n): assert n >= 0
"""

IN_TURNS = """
import json, time, nats, pytest
from pytest_rosey.databases.sqlite import SqliteCopies
from pytest_rosey.bench.floors import ECHO
from pytest_rosey.service.under_test import ServiceUnderTest
from pytest_rosey.fixtures.migration_runner import MigrationRunner
from pytest_rosey.databases.templates import Templates

PAYLOAD = json.dumps({{"table": "quotes", "id": 3}}).encode()

def save(name, **figures):
    with open(name + ".json", "w") as file:
        json.dump(figures, file)

async def seconds(work):
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started

async def test_round_trips(fake_nats):
    echo = await nats.connect({url!r})
    fake_nats.respond(ECHO, PAYLOAD)
    ours, theirs = [], []
    for _ in range({rounds}):
        for client, taken in ((fake_nats, ours), (echo, theirs)):
            for _ in range(40):
                taken.append(await seconds(lambda: client.request(ECHO, PAYLOAD)))
    await echo.close()
    save("round_trips", ours=ours, theirs=theirs)

async def test_migrated_databases(db_service, _rosey):
    nats = await _rosey.connect("benchmark")
    templates = Templates(SqliteCopies())

    async def with_service(work):
        service = ServiceUnderTest(
            "sqlite+aiosqlite://", nats, migrations=db_service.migration_roots,
            clock=db_service.clock,
        )
        await service.start()
        await work(service)
        await service.stop()

    async def copied(service):
        assert (await MigrationRunner(service, templates).apply("quote-db"))["current_version"] == 3

    async def run(service):
        assert (await service.directly("quote-db").migrations.apply()).current_version == 3

    await with_service(copied)
    ours, theirs = [], []
    for _ in range({rounds}):
        for _ in range(4):
            ours.append(await seconds(lambda: with_service(copied)))
            theirs.append(await seconds(lambda: with_service(run)))
    save("migrated_databases", ours=ours, theirs=theirs)
"""

MODULES = """
import json, sys, pytest
assert pytest.main(sys.argv[1:]) == 0
print("LOADED" + json.dumps(sorted(sys.modules)))
"""


@dataclass
class Figure:
    """One line of the report.

    Attributes:
        what: what was measured.
        value: in its unit; None if it cannot be measured on this machine.
        unit: of the value.
        limit: what the value should not exceed.
        ratio: to what it is compared with, if it is.
        ratio_limit: what the ratio should not exceed.
        remark: what it is compared with, or why there is no figure.
    """

    what: str
    value: float | None
    unit: str
    limit: float | None = None
    ratio: float | None = None
    ratio_limit: float | None = None
    remark: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether all limits are kept; None without a limit or a figure."""
        held = [
            value <= limit
            for value, limit in ((self.value, self.limit), (self.ratio, self.ratio_limit))
            if value is not None and limit is not None
        ]
        return all(held) if held else None


class Cost(NamedTuple):
    """What a pytest run took, in seconds."""

    wall: float
    cpu: float


def pytest_run(directory: Path, *arguments: str) -> Cost:
    """Run pytest on a directory and return its cost, workers included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # Assertion rewriting is paid once, as in any project whose caches may be written.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *ALONE, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        raise SystemExit(f"pytest {' '.join(arguments)} failed:\n{run.stdout}{run.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu)


def project(root: Path, name: str, body: str) -> Path:
    """Write a project of one test file, run it once to fill the caches, and return its folder."""
    directory = root / name
    directory.mkdir()
    (directory / "pytest.ini").write_text(INI, "utf-8")
    (directory / "test_it.py").write_text(body, "utf-8")
    return directory


def paired(rounds: int, what: str, *runs: Callable[[], Cost]) -> list[list[Cost]]:
    """Run things in turns, each round in the other order, once before for the caches."""
    costs: list[list[Cost]] = [[] for _ in runs]
    for run in runs:
        run()
    for number in track(range(rounds), what, console=Console(stderr=True)):
        order = list(zip(runs, costs, strict=True))
        for run, into in order if number % 2 else reversed(order):
            into.append(run())
    return costs


def thousand_tests(root: Path, rounds: int) -> Iterator[Figure]:
    directory = project(root, "thousand", INTEGRATION.format(tests=TESTS))
    empty = project(root, "thousand_empty", ASYNC_TESTS.format(tests=TESTS, parameters="n"))
    alone, two, nothing = paired(
        rounds,
        f"{TESTS} integration tests",
        lambda: pytest_run(directory),
        lambda: pytest_run(directory, "-n2"),
        lambda: pytest_run(empty),
    )
    base = statistics.median(cost.cpu for cost in nothing)
    for costs, how in ((alone, "one process"), (two, "-n 2")):
        wall = statistics.median(cost.wall for cost in costs)
        cpu = statistics.median(cost.cpu for cost in costs)
        yield Figure(
            f"{TESTS} integration tests, {how}",
            cpu,
            "s CPU",
            limit=5 if costs is alone else None,
            ratio=cpu / base,
            remark=f"wall {wall:.1f} s; ratio to {TESTS} empty async tests ({base:.1f} s)",
        )


@contextmanager
def echo() -> Iterator[str]:
    """Start a nats-server and a responder; yield the server's URL."""
    server = choose("binary").server
    server.start()
    answering = responder(server.url)
    try:
        yield server.url
    finally:
        stop(answering)
        server.stop()


def in_turns(root: Path, rounds: int) -> Iterator[Figure]:
    with echo() as url:
        directory = project(root, "in_turns", IN_TURNS.format(url=url, rounds=10 * rounds))
        pytest_run(directory)
    for name, what, limit, ratio_limit, remark in (
        ("round_trips", "fake_nats round trip", None, 0.1, "echo"),
        ("migrated_databases", "db_service, 3 migrations, by template", 2.5, None, "running them"),
    ):
        taken: dict[str, list[float]] = json.loads((directory / f"{name}.json").read_text("utf-8"))
        ours, theirs = (statistics.median(taken[key]) * 1e3 for key in ("ours", "theirs"))
        yield Figure(
            what,
            ours,
            "ms",
            limit=limit,
            ratio=ours / theirs,
            ratio_limit=ratio_limit,
            remark=f"{remark} {theirs:.2f} ms; medians of {len(taken['ours'])}, in turns",
        )


def clients(root: Path, rounds: int) -> Iterator[Figure]:
    directories = [
        project(root, name, ASYNC_TESTS.format(tests=SMALL, parameters=parameters))
        for name, parameters in (("clients", "n, nats_client"), ("no_clients", "n, nats_server"))
    ]
    with_client, without = paired(
        rounds,
        "nats_client on a real server",
        *(lambda d=directory: pytest_run(d, "--rosey-nats=binary") for directory in directories),
    )
    pairs = list(zip(with_client, without, strict=True))
    each = [(ours.wall - theirs.wall) * 1e3 / SMALL for ours, theirs in pairs]
    cpu = [(ours.cpu - theirs.cpu) * 1e3 / SMALL for ours, theirs in pairs]
    yield Figure(
        "nats_client on a real server, each test",
        statistics.median(each),
        "ms",
        limit=3,
        remark=f"against tests without it, {len(each)} pairs of {SMALL}; CPU "
        f"{statistics.median(cpu):.2f} ms",
    )


def server_start(provider: str, limit: float, rounds: int) -> Figure:
    what = f"start of a real server ({provider})"
    taken = []
    try:
        for _ in range(rounds):
            server = choose(provider).server
            started = time.perf_counter()
            server.start()
            taken.append((time.perf_counter() - started) * 1e3)
            server.stop()
    except ServerUnavailable as error:
        return Figure(what, None, "ms", limit=limit, remark=str(error).splitlines()[0])
    remark = f"median of {rounds}, slowest {max(taken):.0f} ms"
    return Figure(what, statistics.median(taken), "ms", limit=limit, remark=remark)


def unused(root: Path) -> Iterator[Figure]:
    directory = project(root, "unused", PLAIN_TESTS.format(tests=SMALL))
    without = ("-p", "no:rosey")
    added = modules(directory) - modules(directory, *without)
    yield Figure("plugin loaded, not used", len(added), "modules", limit=10)
    ours, theirs = paired(
        max(PAIRS, 10),
        "plugin loaded, not used",
        lambda: pytest_run(directory),
        lambda: pytest_run(directory, *without),
    )
    for measure in Cost._fields:
        with_it, base = (
            statistics.median(getattr(cost, measure) for cost in costs) for costs in (ours, theirs)
        )
        ratios = [
            getattr(a, measure) / getattr(b, measure) for a, b in zip(ours, theirs, strict=True)
        ]
        yield Figure(
            f"plugin loaded, not used, {SMALL} plain tests",
            with_it * 1e3,
            f"ms {measure}",
            ratio=statistics.median(ratios),
            ratio_limit=1.05,
            remark=f"without it {base * 1e3:.0f} ms; {len(ratios)} pairs",
        )


def modules(directory: Path, *arguments: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", MODULES, "-q", *ALONE, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(run.stdout.rpartition("LOADED")[2]))


def report(figures: list[Figure]) -> None:
    table = Table(title="what the harness costs")
    for heading in ("figure", "value", "target", "ratio", "target", "met", ""):
        table.add_column(heading, justify="left" if heading in ("figure", "") else "right")
    for figure in figures:
        met = {True: "yes", False: "NO", None: ""}[figure.is_met]
        table.add_row(
            figure.what,
            shown(figure.value, figure.unit),
            shown(figure.limit, figure.unit),
            shown(figure.ratio, "x"),
            shown(figure.ratio_limit, "x"),
            met,
            figure.remark,
        )
    Console(width=max(170, Console().width)).print(table)


def shown(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.3g} {unit}"


def slowdown() -> float:
    """Return how many times its best CPU time a fixed piece of work takes in the median.

    Cores that share their units with a busy neighbour need more CPU time for the same work: so
    much are the CPU seconds of this run to be discounted.
    """

    def piece() -> float:
        started = time.thread_time()
        for number in range(20_000):
            str(number % 97)
        return time.thread_time() - started

    taken = [piece() for _ in range(400)]
    return statistics.median(taken) / min(taken)


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "slowdown": slowdown(),
        "load": os.getloadavg(),
        "python": sys.version.split()[0],
        "when": time.strftime("%Y-%m-%d %H:%M"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each run is repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory(prefix="rosey-harness-") as folder:
        root = Path(folder)
        figures = [
            *thousand_tests(root, options.rounds),
            *in_turns(root, options.rounds),
            *clients(root, options.rounds),
            server_start("binary", 20, 4 * options.rounds),
            server_start("container", 400, options.rounds),
            *unused(root),
        ]
    after = machine()
    report(figures)
    print(
        f"{before['cores']} cores, load {before['load'][0]:.1f} to {after['load'][0]:.1f}; a fixed "
        f"piece of work took {before['slowdown']:.2f} to {after['slowdown']:.2f} times its best "
        "CPU time"
    )
    if options.json is not None:
        told = {
            "before": before,
            "after": after,
            "figures": [asdict(f) | {"met": f.is_met} for f in figures],
        }
        options.json.write_text(json.dumps(told, indent=2), "utf-8")


if __name__ == "__main__":
    main()
