"""What the figures are held against: the targets of the project (SPEC 9), as data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from pytest_rosey.bench.figures import (
    LARGEST,
    Figure,
    Measurement,
    Quartiles,
    Run,
    quartiles,
    ratio,
)

Verdict = Literal["met", "missed", "reported", "not measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One line of the table of targets.

    Attributes:
        what: what is measured.
        claimed: what the product document asks for, or claims; empty if it is silent.
        target: the aim, in words.
        measured: the figure itself.
        value: what the aim is about, most often a ratio; None if it was not measured.
        rounds: what the single rounds say, if there are any.
        limit: the aim; None where the figure is told and not judged.
        at_most: whether the value is to be below the limit, or else above it.
        unit: of value and limit: `x` for ratios.
    """

    what: str
    claimed: str
    target: str
    measured: str
    value: float | None
    rounds: Quartiles | None
    limit: float | None
    at_most: bool
    unit: str = "x"

    @property
    def verdict(self) -> Verdict:
        """Whether the aim was reached."""
        if self.value is None:
            return "not measured"
        if self.limit is None:
            return "reported"
        reached = self.value <= self.limit if self.at_most else self.value >= self.limit
        return "met" if reached else "missed"

    @property
    def is_close(self) -> bool:
        """Whether the rounds of this run do not agree about it."""
        if self.rounds is None or self.limit is None:
            return False
        return self.rounds.low <= self.limit <= self.rounds.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A ratio to reach, or to be told.

    Attributes:
        what: what is measured.
        claimed: what the product document says about it.
        scenario: where it is measured.
        operation: which.
        contestant: whose.
        base: whose is 1.
        figures: which of them.
        limits: the aim on asyncio, and the aim with uvloop; None for a ratio that is only told.
        at_most: whether the ratio is to be below the limit, or else above it.
        clients: how many at a time.
        base_scenario: where the base is measured, if that is elsewhere.
        least_cores: with fewer, the ratio is told and not judged.
    """

    what: str
    claimed: str = ""
    scenario: str = "latency"
    operation: str
    contestant: str = "service"
    base: str = "echo"
    figures: tuple[Figure, ...] = ("p50", "p95")
    limits: tuple[float, float] | None = None
    at_most: bool = True
    clients: int = 1
    base_scenario: str | None = None
    least_cores: int = 1

    def limit(self, run: Run) -> float | None:
        """The aim of a run, if it has one."""
        if self.limits is None or run.machine.cores < self.least_cores:
            return None
        return self.limits[run.loop == "uvloop"]


_READ: Final = (1.4, 1.5)
_WRITE: Final = (1.9, 2.2)
"""On asyncio, and with uvloop."""

GOALS: Final = (
    Goal(what="get by id", operation="get", limits=_READ),
    Goal(what="random", operation="random", limits=_READ),
    Goal(what="add (durable)", operation="add", limits=_WRITE),
    Goal(what="upvote", operation="upvote", limits=_WRITE),
    Goal(what="delete", operation="delete", limits=_WRITE),
    Goal(what="KV get", operation="kv get", limits=_READ),
    Goal(what="KV set (durable)", operation="kv set", limits=_WRITE),
    Goal(
        what="reads, 100 in flight",
        scenario="throughput",
        operation="get",
        figures=("rate",),
        limits=(0.5, 0.5),
        at_most=False,
        clients=100,
    ),
    Goal(
        what="durable writes, 100 in flight",
        scenario="throughput",
        operation="add",
        figures=("rate",),
        limits=(0.4, 0.4),
        at_most=False,
        clients=100,
    ),
)


def _beside_legacy(what: str, claimed: str, operation: str, clients: int = 10) -> Goal:
    return Goal(
        what=f"{what}, {clients} clients",
        claimed=claimed,
        scenario="throughput",
        operation=operation,
        contestant="plugin",
        base="legacy",
        figures=("rate",),
        clients=clients,
    )


TOLD: Final = (
    _beside_legacy("durable writes", "+42 %", "add"),
    _beside_legacy("durable writes", "+42 %", "add", 100),
    _beside_legacy("updates", "+44 %", "upvote"),
    _beside_legacy("deletes", "+34 %", "delete"),
    _beside_legacy("mixed load", "34 % faster", "mixed"),
    _beside_legacy("searches", "+59 %", "search"),
    Goal(
        what="hot get, through the plugin's cache",
        operation="hot get",
        contestant="plugin",
        base="legacy",
        figures=("p50",),
    ),
    Goal(
        what="adds beside 10 clients that search",
        scenario="beside searches",
        operation="add",
        contestant="plugin",
        base="plugin",
        base_scenario="without searches",
        figures=("p95",),
    ),
    Goal(
        what="durable writes on PostgreSQL, 100 in flight",
        scenario="throughput",
        operation="add",
        contestant="two replicas",
        base="one replica",
        figures=("rate",),
        limits=(1.3, 1.3),
        at_most=False,
        clients=100,
        least_cores=4,
    ),
)
"""Beside what is not comparable: the legacy plugin is no service and keeps no promise of one, ten
searching clients take cores from the echo, too, and so do replicas from their clients and database.
"""

BASE_ROWS: Final = 1_000
DATASET_LIMIT: Final = 1.5
MEMORY_LIMIT: Final = 100.0
RESTART_LIMIT: Final = 0.7
HANDLER_LIMIT: Final = 0.1
"""Milliseconds."""

ELSEWHERE: Final = {
    "`python -m tests.benchmarks.harness_figures`": (
        (
            "1,000 tests on `storage`",
            "≤ 5 s on one core, ≤ 4.5 x empty ones; with `-n 2` ≤ 0.6 x of that",
        ),
        ("`fake_nats` request and reply", "≤ 0.1 x echo"),
        ("`db_service` with three migrations", "≤ 2.5 ms"),
        ("real server, `nats_client` on it", "≤ 20 ms (container: ≤ 400 ms), ≤ 3 ms"),
        ("plugin loaded, nothing used", "≤ 10 modules, ≤ 1.05 x bare pytest"),
    ),
    "the summary of `pytest --rosey-explore`": (
        ("exploration, a place", "≤ 1.2 x a plain run of the test"),
    ),
    "`python -m tests.benchmarks.service_figures`": (
        (
            "an add beside ten clients that search, p95",
            "beside / alone ≤ 1.5 x that of an echo",
        ),
    ),
    "`python -m tests.benchmarks.search_figures`": (
        ("an indexed search, a word in 100 of 1,000,000 quotes", "≤ 5 ms, ≤ 0.1 x the scan"),
        ("an add with a search index", "≤ 1.5 x without"),
        ("an indexed search, 1,000 to 1,000,000 quotes", "≤ 1.5 x"),
    ),
    "`python -m tests.benchmarks.memory_figures`": (
        ("1,000,000 quotes, mixed load for an hour", "≤ 100 MB, flat"),
    ),
    "nothing in this repository": (
        (
            "a test on `fake_nats`, on `rosey_plugin`, on `rosey_plugin` and a real server",
            "≤ 2.5 x, ≤ 8 x, ≤ 11 x an empty test",
        ),
        (
            "100 in flight: KV get and set beside JetStream (sync always)",
            "≥ 1.0 x and ≥ 2.5 x JetStream",
        ),
        ("the same beside Redis (fsync always)", "≥ 1.0 x and ≥ 0.9 x Redis"),
    ),
}
"""The targets that a run does not measure, by what does."""


class Asked(NamedTuple):
    """What the product document asks of one client: p95 in ms."""

    operation: str
    contestant: str
    p95: float


ASKED: Final = (
    Asked("get", "plugin", 20),
    Asked("add", "plugin", 50),
    Asked("upvote", "plugin", 30),
    Asked("delete", "plugin", 30),
    Asked("random", "plugin", 30),
    Asked("search", "plugin", 100),
    Asked("kv get", "client", 10),
    Asked("kv set", "client", 10),
)
SUSTAINED: Final = 1_000.0
"""Operations a second, which it asks for, too."""


def outcomes(run: Run) -> list[Outcome]:
    """Return what a run says about every target, also about those that it did not measure."""
    found = [_asked(run, asked) for asked in ASKED]
    found += [_sustained(run, operation) for operation in ("get", "add")]
    found += [outcome for goal in GOALS for outcome in _of_goal(run, goal)]
    found.append(_handler(run))
    found += [outcome for goal in TOLD for outcome in _of_goal(run, goal)]
    return [*found, *_dataset(run), _memory(run), _restart(run)]


def _asked(run: Run, asked: Asked) -> Outcome:
    one = next(run.all("latency", operation=asked.operation, contestant=asked.contestant), None)
    return Outcome(
        what=f"{asked.operation} of the {asked.contestant}, p95",
        claimed=f"p95 ≤ {asked.p95:g} ms",
        target=f"≤ {asked.p95:g} ms",
        measured=milliseconds(one.p95) if one else "",
        value=one.p95 * 1e3 if one else None,
        rounds=quartiles(each.p95 * 1e3 for each in one.rounds) if one else None,
        limit=asked.p95,
        at_most=True,
        unit="ms",
    )


def _sustained(run: Run, operation: str) -> Outcome:
    one = next(run.all("throughput", operation=operation, contestant="plugin", clients=100), None)
    return Outcome(
        what=f"{operation} of the plugin, 100 in flight",
        claimed=f"{SUSTAINED:,.0f} ops/s",
        target=f"≥ {SUSTAINED:,.0f}/s",
        measured=shown(one, "rate") if one else "",
        value=one.rate if one else None,
        rounds=quartiles(each.rate for each in one.rounds) if one else None,
        limit=SUSTAINED,
        at_most=False,
        unit="/s",
    )


def _of_goal(run: Run, goal: Goal) -> Iterator[Outcome]:
    limit = goal.limit(run)
    sign, base = ("≤" if goal.at_most else "≥"), _base_name(goal)
    for figure in goal.figures:
        measured, related = _measured(run, goal, figure)
        yield Outcome(
            what=goal.what if figure == "rate" else f"{goal.what}, {figure}",
            claimed=goal.claimed,
            target=f"{sign} {limit:g} x {base}" if limit is not None else "",
            measured=measured,
            value=related.median if related else None,
            rounds=related,
            limit=limit,
            at_most=goal.at_most,
        )


def _base_name(goal: Goal) -> str:
    return "alone" if goal.base_scenario else goal.base


def _measured(run: Run, goal: Goal, figure: Figure) -> tuple[str, Quartiles | None]:
    try:
        one = run.find(goal.scenario, goal.operation, goal.contestant, clients=goal.clients)
        base = run.find(
            goal.base_scenario or goal.scenario, goal.operation, goal.base, clients=goal.clients
        )
    except KeyError:
        return "", None
    return f"{shown(one, figure)}, {_base_name(goal)} {shown(base, figure)}", ratio(
        one, base, figure
    )


def shown(one: Measurement, figure: Figure) -> str:
    """Return a figure with its unit."""
    value: float = getattr(one, figure)
    return f"{value:,.0f}/s" if figure == "rate" else milliseconds(value)


def milliseconds(seconds: float) -> str:
    """Return a time with three digits that count."""
    if seconds < 0.0001:
        return f"{seconds * 1e6:.1f} µs"
    value = seconds * 1e3
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"


def _handler(run: Run) -> Outcome:
    """What the service adds to the way over NATS where it asks no database."""
    added = None
    with suppress(KeyError):
        service, echo = (run.find("latency", "ping", name) for name in ("service", "echo"))
        pairs = zip(service.rounds, echo.rounds, strict=True)
        added = quartiles((one.p50 - base.p50) * 1e3 for one, base in pairs)
    return Outcome(
        what="handler without database (ping, p50, less echo)",
        claimed="handler < 5 ms",
        target=f"≤ {HANDLER_LIMIT:g} ms",
        measured=f"{added.median:.3f} ms" if added else "",
        value=added.median if added else None,
        rounds=added,
        limit=HANDLER_LIMIT,
        at_most=True,
        unit="ms",
    )


def _dataset(run: Run) -> list[Outcome]:
    rows = [size for size in run.values("dataset", "rows") if size > BASE_ROWS]
    largest = max(rows, default=None)
    found = []
    for operation in ("get", "upvote", "top", "random", "count"):
        related, measured = None, ""
        with suppress(KeyError):
            one = run.find("dataset", operation, "plugin", rows=largest)
            base = run.find("dataset", operation, "plugin", rows=BASE_ROWS)
            related = ratio(one, base, "p50")
            measured = f"{shown(one, 'p50')}, {shown(base, 'p50')} with {BASE_ROWS:,}"
        found.append(
            Outcome(
                what=f"{operation}, {f'{largest:,} rows' if largest else 'largest table'}, p50",
                claimed="",
                target=f"≤ {DATASET_LIMIT:g} x with {BASE_ROWS:,}",
                measured=measured,
                value=related.median if related else None,
                rounds=related,
                limit=DATASET_LIMIT,
                at_most=True,
            )
        )
    return found


def _memory(run: Run) -> Outcome:
    services = [one for one in run.memory if one.process in ("service", LARGEST)]
    service = max(services, key=lambda one: one.rows, default=None)
    rows = f" with {service.rows:,} rows" if service else ""
    return Outcome(
        what=f"memory of the service{rows}",
        claimed="peak 142 MB",
        target=f"≤ {MEMORY_LIMIT:g} MB",
        measured=f"{service.peak:.0f} MB" if service else "",
        value=service.peak if service else None,
        rounds=None,
        limit=MEMORY_LIMIT,
        at_most=True,
        unit="MB",
    )


def _restart(run: Run) -> Outcome:
    restart = run.restarts[0] if run.restarts else None
    seconds = quartiles(restart.seconds) if restart else None
    rows = f", {restart.rows:,} rows" if restart else ""
    return Outcome(
        what=f"restart to first reply{rows}",
        claimed="",
        target=f"≤ {RESTART_LIMIT:g} s",
        measured=f"{seconds.median:.2f} s" if seconds else "",
        value=seconds.median if seconds else None,
        rounds=seconds,
        limit=RESTART_LIMIT,
        at_most=True,
        unit="s",
    )


def tally(found: list[Outcome]) -> str:
    """Return how many of the targets were met, in words."""
    by_verdict = dict.fromkeys(get_args(Verdict), 0)
    for one in found:
        by_verdict[one.verdict] += 1
    return ", ".join(f"{number} {verdict}" for verdict, number in by_verdict.items() if number)
