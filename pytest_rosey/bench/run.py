"""One run: the processes are started, the contestants take their seats, the scenarios follow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from dbservice.cli.loops import runner
from dbservice.cli.options import LoopName
from dbservice.runtime.plugin import start, stop
from pytest_rosey.bench import machine, scenarios
from pytest_rosey.bench.contestants import (
    Benchmark,
    Contestant,
    Seat,
    benchmark_of,
    check_contestant,
)
from pytest_rosey.bench.figures import LARGEST, Measurement, Memory, Race, Restart, Run
from pytest_rosey.bench.plan import Plan
from pytest_rosey.bench.processes import Site, World, child, no_postgres, postgres, world
from pytest_rosey.bench.scenarios import Amount
from pytest_rosey.bench.timing import Block, in_turns

Sides = Literal["legacy", "service", "compare"]

LABELS: Final = {
    "legacy": "the plugin as it was, on an SQLite file of its own",
    "sqlite": "SQLite in this process, WAL, synchronous=FULL: the floor under any database",
    "echo": "a bare NATS responder in a process of its own: the floor under any service",
    "service": "the service on SQLite (WAL, synchronous=FULL), asked with bare requests",
    "client": "the same through the storage client",
    "plugin": "the plugin as it is, on the service on SQLite",
    "plugin on PostgreSQL": "the same plugin on the service on PostgreSQL, fsync on",
    "one replica": "one service on PostgreSQL, asked with bare requests",
    "two replicas": "two services on one PostgreSQL, asked with bare requests",
}
_NAMESPACES: Final = {"service": "bench-bare", "client": "bench-client", "replicas": "bench-rep"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line of a run."""

    sides: Sides
    plugin: str
    plan: Plan
    directory: Path
    loop: LoopName
    with_postgres: bool


class Progress(Protocol):
    """Shows how far a run is."""

    def expect(self, turns: int) -> None:
        """So many more turns will come."""

    def step(self, what: str) -> None:
        """One of them begins."""


def measure(options: Options, progress: Progress) -> Run:
    """Make a run.

    Args:
        options: what to measure.
        progress: is told what comes.

    Raises:
        CommandFailed: uvloop is asked for and not installed.
        NoSuchBenchmarkError: the plugin has none.
        ServerUnavailable: a process of the run does not start.
    """
    benchmark = benchmark_of(options.plugin)
    run = runner(options.loop)
    with Site(options.directory, options.loop) as site:
        return run(_Run(options, benchmark, site, progress).measure())


@dataclass
class _Run:
    options: Options
    benchmark: Benchmark
    site: Site
    progress: Progress
    measurements: list[Measurement] = field(default_factory=list)
    races: list[Race] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def plan(self) -> Plan:
        return self.options.plan

    @property
    def with_legacy(self) -> bool:
        return self.options.sides != "service"

    @property
    def with_service(self) -> bool:
        return self.options.sides != "legacy"

    async def measure(self) -> Run:
        started, began = datetime.now(UTC), time.perf_counter()
        load_before = machine.load()
        fsync = machine.fsync_seconds(self.site.directory)
        with ExitStack() as processes:
            database = self._postgres(processes)
            await self._operations(database)
            if database is not None and "replicas" in self.plan.parts:
                await self._replicas(database)
        if "sizes" in self.plan.parts:
            await self._sizes()
        if "memory" in self.plan.parts:
            await self._memory()
        names = {one.key.contestant for one in self.measurements}
        return Run(
            command=self.options.sides,
            plugin=self.options.plugin,
            preset=self.plan.name,
            loop=self.options.loop,
            started=started.isoformat(timespec="seconds"),
            seconds=time.perf_counter() - began,
            machine=machine.describe(self.site.directory, load_before, fsync),
            contestants={name: LABELS[name] for name in LABELS if name in names},
            left_out=self.left_out,
            measurements=self.measurements,
            races=self.races,
            memory=self.memory,
            restarts=self.restarts,
        )

    def _postgres(self, processes: ExitStack) -> str | None:
        """Return the URL of a PostgreSQL database that was started, if there is to be one."""
        if not self.with_service:
            return None
        reason = no_postgres() if self.options.with_postgres else "--no-postgres"
        if reason is not None:
            self.left_out.append(f"PostgreSQL: {reason}")
            return None
        return postgres(processes).url()

    # -- the contestants -------------------------------------------------------------------------

    async def _seat(self, name: str, contestant: Any, rows: int, stack: AsyncExitStack) -> Seat:
        stack.push_async_callback(stop, contestant)
        await start(contestant)
        seat = Seat(name, contestant)
        await seat.fill(rows)
        return seat

    async def _legacy(self, rows: int, stack: AsyncExitStack) -> Seat:
        path = self.site.directory / f"legacy-{rows}-{time.monotonic_ns()}.db"
        return await self._seat("legacy", self._checked(self.benchmark.legacy(path)), rows, stack)

    def _checked(self, contestant: Contestant) -> Contestant:
        check_contestant(contestant, self.options.plugin)
        return contestant

    async def _plugin(self, name: str, where: World, rows: int, stack: AsyncExitStack) -> Seat:
        modern = self._checked(self.benchmark.modern(await _connected(where.url, stack)))
        return await self._seat(name, modern, rows, stack)

    def _world(self, stack: AsyncExitStack, name: str) -> World:
        database = f"{self.site.directory / name}.db"
        return stack.enter_context(world(self.site, database))

    async def _floors(self, where: World, stack: AsyncExitStack) -> list[Seat]:
        from pytest_rosey.bench.floors import Client, Echo, Requests

        stack.enter_context(child(self.site, "echo", where.url))
        contestants = {
            "echo": Echo(await _connected(where.url, stack), _NAMESPACES["service"]),
            "service": Requests(await _connected(where.url, stack), _NAMESPACES["service"]),
            "client": Client(await _connected(where.url, stack), _NAMESPACES["client"]),
        }
        rows = self.plan.rows
        return [await self._seat(name, one, rows, stack) for name, one in contestants.items()]

    # -- the scenarios ---------------------------------------------------------------------------

    async def _operations(self, database: str | None) -> None:
        """Single clients, many clients, writes beside searches, votes at the same time."""
        from pytest_rosey.bench.floors import Direct

        async with AsyncExitStack() as stack:
            seats: list[Seat] = []
            plugins: list[Seat] = []
            rows = self.plan.rows
            if self.with_legacy:
                plugins.append(await self._legacy(rows, stack))
            direct = Direct(self.site.directory / "direct.db")
            seats.append(await self._seat("sqlite", direct, rows, stack))
            where = None
            if self.with_service:
                where = self._world(stack, "service")
                seats += await self._floors(where, stack)
                plugins.append(await self._plugin("plugin", where, rows, stack))
            if database is not None:
                postgres_world = stack.enter_context(world(self.site, database))
                plugins.append(
                    await self._plugin("plugin on PostgreSQL", postgres_world, rows, stack)
                )
            await scenarios.settle()
            if "one client" in self.plan.parts:
                blocks = scenarios.latency([*plugins, *seats], self.plan.calls)
                blocks += scenarios.hot_gets(plugins, self.plan.calls)
                await self._in_turns(blocks, self.plan.rounds)
            if "many clients" in self.plan.parts:
                floors = [seat for seat in seats if seat.name in ("echo", "service")]
                await self._load(plugins, floors)
            on_sqlite = [seat for seat in plugins if seat.name != "plugin on PostgreSQL"]
            if "beside searches" in self.plan.parts:
                await self._beside_searches(on_sqlite, where)
            if "race" in self.plan.parts:
                votes = self.plan.votes
                self.races += [await scenarios.race(seat, votes) for seat in on_sqlite]

    async def _load(self, plugins: Sequence[Seat], floors: Sequence[Seat]) -> None:
        for clients, calls in self.plan.load_calls.items():
            amount = Amount(calls, clients, self.plan.load_seconds)
            blocks = scenarios.load([*plugins, *floors], ("get", "add"), amount)
            if clients == min(self.plan.load_calls):
                blocks += scenarios.load(plugins, ("upvote", "search", "mixed"), amount)
            await self._in_turns(blocks, self.plan.load_rounds)

    async def _beside_searches(self, plugins: Sequence[Seat], where: World | None) -> None:
        """Ten clients search beside one that writes; those of the service in another process."""
        calls = max(self.plan.calls, 50)
        with ExitStack() as processes:
            blocks = []
            for seat in plugins:
                blocks.append(scenarios.adds("without searches", seat, calls))
                if seat.name == "legacy" or where is None:
                    blocks.append(scenarios.adds_beside_searches(seat, calls))
                else:
                    arguments = (where.url, self.options.plugin, str(scenarios.SEARCHERS))
                    searching = processes.enter_context(child(self.site, "search", *arguments))
                    blocks.append(scenarios.adds_beside_process(seat, searching, calls))
            await self._in_turns(blocks, self.plan.load_rounds)

    async def _replicas(self, database: str) -> None:
        """One replica of the service against two, on the same PostgreSQL."""
        from pytest_rosey.bench.floors import Requests

        amount = Amount(self.plan.load_calls[100], 100, self.plan.load_seconds)
        async with AsyncExitStack() as stack:
            seats = []
            for name, replicas in (("one replica", 1), ("two replicas", 2)):
                where = stack.enter_context(world(self.site, database, replicas=replicas))
                contestant = Requests(await _connected(where.url, stack), _NAMESPACES["replicas"])
                seats.append(await self._seat(name, contestant, 0, stack))
            blocks = scenarios.load(seats, ("add",), amount)
            await self._in_turns(blocks, self.plan.load_rounds)

    async def _sizes(self) -> None:
        """Tables of several sizes, all there at the same time; then restarts on a large one."""
        by_size: dict[int, list[Seat]] = {}
        watched: dict[int, tuple[int, list[float]]] = {}
        self.progress.expect(len(self.plan.sizes))
        async with AsyncExitStack() as stack:
            large = None
            for rows in self.plan.sizes:
                seats = by_size[rows] = []
                self.progress.step(f"{rows:,} rows")
                if self.with_legacy:
                    seats.append(await self._legacy(rows, stack))
                if self.with_service:
                    where = self._world(stack, f"rows-{rows}")
                    service = where.services[0].pid
                    watched[rows] = service, [machine.resident_mb(service)]
                    seats.append(await self._plugin("plugin", where, rows, stack))
                    watched[rows][1].append(machine.resident_mb(service))
                    if rows <= 100_000:
                        large = rows, where, seats[-1]
            blocks = scenarios.sizes(by_size, self.plan.size_calls)
            await self._in_turns(blocks, self.plan.size_rounds)
            if watched:
                self._keep_largest(*max(watched.items()))
            if large is not None:
                await self._restart(*large)

    def _keep_largest(self, rows: int, watched: tuple[int, list[float]]) -> None:
        """Keep the memory of the service that holds the most rows, under the load it just had."""
        service, (empty, filled) = watched
        turns = self.plan.size_calls * (self.plan.size_rounds + 1)
        operations = turns * len(scenarios.SIZED)
        peak = machine.peak_mb(service)
        self.memory.append(Memory(LARGEST, empty, filled, peak, rows, operations))

    async def _restart(self, rows: int, where: World, seat: Seat) -> None:
        self.progress.expect(self.plan.restarts)
        seconds = []
        for _ in range(self.plan.restarts):
            self.progress.step(f"restart with {rows:,} rows")
            first = seat.keys[0]

            async def get(key: int = first) -> None:
                await seat.contestant.get(key)

            seconds.append(await where.restart(get))
        self.restarts.append(Restart(rows, seconds))

    async def _memory(self) -> None:
        if self.with_legacy:
            await self._stages("legacy", str(self.site.directory / "memory.db"), {})
        if self.with_service:
            async with AsyncExitStack() as stack:
                where = self._world(stack, "memory")
                await self._stages("plugin", where.url, {"service": where.services[0].pid})

    async def _stages(self, side: str, place: str, others: dict[str, int]) -> None:
        """Keep the memory of a process with one side, and of others, as it reaches each stage."""
        self.progress.expect(1)
        self.progress.step(f"memory, {side}")
        rows, operations = self.plan.memory_rows, self.plan.memory_operations
        arguments = self.options.plugin, side, place, str(rows), str(operations)
        process = await asyncio.to_thread(self.site.child, "memory", *arguments)
        processes = {side: process.pid, **others}
        stages: dict[str, list[float]] = {name: [] for name in processes}
        for look in (machine.resident_mb, machine.resident_mb, machine.peak_mb):
            await asyncio.to_thread(process.line)
            for name, pid in processes.items():
                stages[name].append(look(pid))
            process.tell("go on")
        await asyncio.to_thread(process.stop)
        for name, (empty, filled, peak) in stages.items():
            self.memory.append(Memory(name, empty, filled, peak, rows, operations))

    async def _in_turns(self, blocks: Sequence[Block], rounds: int) -> None:
        self.progress.expect(len(blocks) * (rounds + 1))
        self.measurements += await in_turns(blocks, rounds, self.progress.step)


async def _connected(url: str, stack: AsyncExitStack) -> Any:
    import nats

    client = await nats.connect(url)
    stack.push_async_callback(client.close)
    return client
