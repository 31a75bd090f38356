"""The page on performance: what a run says about the targets and about the product document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from pytest_rosey.bench.contestants import claims_of
from pytest_rosey.bench.figures import Measurement, Memory, Race, Run
from pytest_rosey.bench.plots import layers
from pytest_rosey.bench.table import LATENCIES, disk, latencies, spread, value, verdict
from pytest_rosey.bench.targets import ELSEWHERE, milliseconds, outcomes, tally

NOTHING: Final = "not measured"


def markdown_report(run: Run) -> str:
    """Return the document."""
    claims = claims_of(run.plugin)
    parts = [
        "# Performance",
        (
            "Written by `rosey bench report RUN.json --markdown docs/explanation/performance.md`; "
            "every figure is of one run. Measure yours: `rosey bench compare --html report.html`."
        ),
        *_conditions(run, claims),
        *_targets(run),
        *_percentiles(run),
        *_layers(run, claims),
        *(_claims(run, claims) if claims else ()),
    ]
    return "\n\n".join(parts) + "\n"


def _claims(run: Run, claims: Any) -> list[str]:
    return [
        "## What the product document claims, and what was measured",
        (
            "Its section 14 has figures that nobody measured. Below they stand beside ours. Its "
            "milliseconds are those of another machine: compare *claimed* and *measured*."
        ),
        *_latency(run, claims),
        *_throughput(run, claims),
        *_concurrency(run, claims),
        *_memory(run, claims),
        *_sizes(run, claims),
        *claims.NOT_MEASURABLE,
        *_summary(run, claims),
    ]


# -- the run --------------------------------------------------------------------------------------


def _conditions(run: Run, claims: Any) -> list[str]:
    machine = run.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    lines = [
        f"{run.started}, `{run.preset}`, {run.loop} in all processes, {run.seconds:.0f} s.",
        f"{machine.processor}, {machine.cores} cores, {machine.memory_mb:,} MB, {machine.system}.",
        f"Load {machine.load_before:.2f} before the run, {machine.load_after:.2f} at its end.",
        f"Databases: {disk(run)}.",
        f"{versions}.",
        f"Left out: {'; '.join(run.left_out) or 'nothing'}.",
    ]
    fair = [
        (
            "All contestants take turns within each round, in another order each round; ratios are "
            "medians of the rounds' ratios, so that load of the machine hits both sides alike. The "
            "spread is the middle half of the rounds. Times of a call are of all calls."
        ),
        (
            "The first round is not counted. A turn of one operation, or of adds and then deletes, "
            "begins with three calls of one client that are not counted either; a turn of the "
            "mixture does not, nor one of adds that are compared with and without searches. "
            "Garbage is collected before each turn; during it, the collector works as it does in "
            "production."
        ),
        (
            "The service waits for the disk before it says that something is stored: SQLite has "
            "WAL and synchronous=FULL, PostgreSQL fsync, full page writes and synchronous commits."
        ),
        *(claims.SIDES if claims else ()),
        "Many clients are a closed loop: each sends its next request when its reply came.",
    ]
    return [
        "## The run",
        _list(lines),
        "Who took part:",
        _list(f"**{name}**: {words}" for name, words in run.contestants.items()),
        "Fair play:",
        _list(fair),
    ]


def _targets(run: Run) -> list[str]:
    found = outcomes(run)
    rows = [
        (
            one.what,
            one.claimed,
            one.target,
            one.measured,
            value(one),
            spread(one),
            verdict(one) if one.verdict != "missed" else f"**{verdict(one)}**",
        )
        for one in found
    ]
    headings = ("what", "asked for", "target", "measured", "value", "spread", "verdict")
    elsewhere = [
        f"{what}: {target}; measured by {measured_by}"
        for measured_by, targets in ELSEWHERE.items()
        for what, target in targets
    ]
    return [
        f"## Targets: {tally(found)}",
        "*close* means that the rounds of this run do not agree about it.",
        _table(headings, rows),
        "*reported* figures stand beside what they cannot be judged by. Further targets:",
        _list(elsewhere),
    ]


def _percentiles(run: Run) -> list[str]:
    names, rows = latencies(run)
    return ["## Percentiles", f"{LATENCIES}.", _table(("operation", *names), rows), *_advice(run)]


def _advice(run: Run) -> list[str]:
    """Return which tier is for what, with what the client pays for each."""
    paid = {one.key.operation: one.p95 for one in run.all("latency", contestant="client")}
    asked = {"KV": ("kv get", "kv set"), "rows": ("get", "search")}
    told = {
        tier: " and ".join(f"{name} {milliseconds(paid[name])}" for name in names)
        for tier, names in asked.items()
        if paid.keys() >= set(names)
    }
    if len(told) < len(asked):
        return []
    return [
        (
            f"KV for one value under a name that you know ({told['KV']} at p95); rows for whatever "
            f"is found by what it holds ({told['rows']}); the SQL tier for a question over several "
            "tables, reading only."
        )
    ]


def _layers(run: Run, claims: Any) -> list[str]:
    operations = [name for name in run.values("latency", "operation") if layers(run, name)]
    if not operations:
        return []
    rows = []
    for operation in operations:
        parts = layers(run, operation)
        together = run.find("latency", operation, "plugin").p50
        rows.append((operation, *(milliseconds(part) for part in (*parts, together))))
    return [
        "## Where the time goes",
        " ".join(
            (
                "Medians of one client; each layer is what it adds to the one before it, and",
                "counts as 0 if that was measured to be less than nothing. *Together* is the",
                "median of the plugin.",
                *((claims.LAYER_OF_WRITES,) if claims else ()),
            )
        ),
        _table(("operation", "NATS", "service and database", "client", "plugin", "together"), rows),
    ]


# -- the claims -----------------------------------------------------------------------------------


def _latency(run: Run, claims: Any) -> list[str]:
    rows, failed = [], []
    for claim in claims.LATENCY:
        claimed = 1 - claim.modern / claim.legacy
        words = (
            f"{claim.legacy} ({claim.legacy_p95}) → {claim.modern} ({claim.modern_p95}), "
            f"{_percent(claimed)}"
        )
        old, new = _pair(run, claim.operation)
        if old is None or new is None:
            rows.append((claim.title, words, "", "", NOTHING))
            continue
        measured = 1 - new.mean / old.mean
        change = _change(old.mean, new.mean)
        rows.append((claim.title, words, _mean_p95(old), _mean_p95(new), change))
        failed += _failed(
            claim.title, claims.REASONS[claim.operation], claimed, measured, old.mean, new.mean
        )
    return [
        "### 14.2 Latency",
        "One client; mean (p95) in ms.",
        _table(("operation", "claimed", "legacy", "on the service", "measured"), rows),
        *_verdicts(rows, failed),
    ]


def _pair(run: Run, operation: str) -> tuple[Measurement | None, Measurement | None]:
    """Return both sides of an operation; the document's search is one among a hundred quotes."""
    scenario, rows = ("dataset", 100) if operation == "search" else ("latency", 1_000)
    old = next(run.all(scenario, operation=operation, contestant="legacy", rows=rows), None)
    new = next(run.all(scenario, operation=operation, contestant="plugin", rows=rows), None)
    return old, new


def _throughput(run: Run, claims: Any) -> list[str]:
    rows, failed = [], []
    for claim in claims.THROUGHPUT:
        claimed = claim.modern / claim.legacy - 1
        old, new = _rates(run, claim.operation)
        words = f"{claim.legacy:g} → {claim.modern:g}, {claimed:+.0%}"
        if old is None or new is None:
            rows.append((claim.title, words, "", "", NOTHING))
            continue
        measured = new / old - 1
        rows.append((claim.title, words, f"{old:,.0f}", f"{new:,.0f}", f"{measured:+.0%}"))
        if measured < claimed:
            failed.append(
                f"{claim.title}: claimed {claimed:+.0%}, measured {measured:+.0%}: "
                f"{claims.REASONS[claim.operation]}."
            )
    return [
        "### 14.3 Throughput",
        "Calls a second of 10 clients, 1,000 quotes.",
        _table(("operation", "claimed", "legacy", "on the service", "measured"), rows),
        *_verdicts(rows, failed),
        *((claims.SHARED_COMMITS,) if any(legacy for _, _, legacy, *_ in rows) else ()),
    ]


def _rates(run: Run, operation: str) -> tuple[float | None, float | None]:
    def rate(name: str) -> float | None:
        found = run.all("throughput", operation=operation, contestant=name, clients=10)
        return next((one.rate for one in found), None)

    return rate("legacy"), rate("plugin")


def _concurrency(run: Run, claims: Any) -> list[str]:
    rows: list[Sequence[str]] = []
    failed: list[str] = []
    for claim in claims.CONCURRENCY:
        claimed = 1 - claim.modern / claim.legacy
        old, new = _rates(run, claim.operation)
        words = f"{claim.legacy} s → {claim.modern} s, {_percent(claimed)}"
        if old is None or new is None:
            rows.append((claim.title, words, "", "", NOTHING))
            continue
        before, after = (claims.CONCURRENT_OPERATIONS / rate for rate in (old, new))
        change = _change(before, after)
        rows.append((claim.title, words, f"{before:.2f} s", f"{after:.2f} s", change))
        failed += _failed(
            claim.title, claims.REASONS[claim.operation], claimed, 1 - after / before, before, after
        )
    for name, score in claims.RACE.items():
        race = next((race for race in run.races if race.contestant == name), None)
        rows.append(_race_row(name, score, race, claims))
        if race is not None and race.score < score * race.votes / claims.VOTES:
            failed.append(
                f"{rows[-1][0]}: claimed a score of {score}, but it kept {race.score} of "
                f"{race.votes} votes{claims.LOST_VOTES.get(name, '')}."
            )
    return [
        "### 14.4 Concurrency",
        (
            f"Ten clients; the seconds are what {claims.CONCURRENT_OPERATIONS:,} operations take "
            "at the measured rates. The mixture is six gets, a search, a random quote, a vote and "
            "an add."
        ),
        _table(("scenario", "claimed", "legacy", "on the service", "measured"), rows),
        *_verdicts(rows, failed),
    ]


_BOTH: Final = ("legacy", "plugin")


def _race_row(name: str, claimed: int, race: Race | None, claims: Any) -> Sequence[str]:
    words = f"votes at once, {name}"
    if race is None:
        return f"{claims.VOTES} {words}", f"score {claimed}", "", "", NOTHING
    scores = (f"score {race.score}" if name == side else "" for side in _BOTH)
    as_claimed = race.score * claims.VOTES == claimed * race.votes
    return (
        f"{race.votes} {words}",
        f"score {claimed}",
        *scores,
        "as claimed" if as_claimed else f"{race.votes - race.score} lost",
    )


def _memory(run: Run, claims: Any) -> list[str]:
    by_process = {one.process: one for one in run.memory}
    if not {"legacy", "plugin", "service"} <= by_process.keys():
        return []
    rows = []
    for claim in claims.MEMORY:
        legacy, plugin, service = (
            f"{getattr(by_process[name], claim.stage):.0f}" for name in (*_BOTH, "service")
        )
        rows.append((claim.title, f"{claim.legacy:g} → {claim.modern:g}", legacy, plugin, service))
    legacy_side = by_process["legacy"]
    return [
        "### 14.5 Memory",
        (
            "Resident MB of three processes: the legacy plugin, the plugin, and the service that "
            "it asks, read together with it at each stage. *Loaded* are "
            f"{legacy_side.rows:,} quotes (claimed: with {claims.MEMORY_ROWS:,}); the peak is the "
            f"most that a process ever held, up to the end of {legacy_side.operations:,} searches "
            "and as many gets."
        ),
        _table(("stage", "claimed", "legacy", "plugin", "service, shared by all plugins"), rows),
        _memory_verdict(by_process, claims),
    ]


def _memory_verdict(found: dict[str, Memory], claims: Any) -> str:
    legacy, plugin, service = (found[name].peak for name in (*_BOTH, "service"))
    claim = next(claim for claim in claims.MEMORY if claim.stage == "peak")
    claimed = 1 - claim.modern / claim.legacy
    if 1 - (plugin + service) / legacy >= claimed:
        return f"Holds: {plugin + service:.0f} MB together against {legacy:.0f} MB."
    return (
        f"Does not hold: the plugin needs {plugin:.0f} MB and the service {service:.0f} MB, the "
        f"legacy plugin {legacy:.0f} MB; {claimed:.0%} less is claimed."
    )


def _sizes(run: Run, claims: Any) -> list[str]:
    rows, failed = [], []
    for claim in claims.SIZES:
        found = [
            next(run.all("dataset", operation="search", contestant=name, rows=claim.rows), None)
            for name in _BOTH
        ]
        words = f"{claim.legacy:,.0f} → {claim.modern:,.0f}"
        if found[0] is None or found[1] is None:
            rows.append((f"{claim.rows:,}", words, "", "", NOTHING))
            continue
        old, new = found[0].p95, found[1].p95
        rows.append(
            (f"{claim.rows:,}", words, f"{old * 1e3:.1f}", f"{new * 1e3:.1f}", _change(old, new))
        )
        claimed = 1 - claim.modern / claim.legacy
        title = f"A search among {claim.rows:,} quotes"
        failed += _failed(title, claims.REASONS["search"], claimed, 1 - new / old, old, new)
    reason = "Both read every quote; no index helps a search for a part of a text."
    return [
        "### 14.8 Growing tables",
        "p95 of a search that many quotes match, 10 returned, in ms.",
        _table(("quotes", "claimed", "legacy", "on the service", "measured"), rows),
        *_verdicts(rows, failed),
        *((reason,) if failed else ()),
        *_sized(run),
    ]


def _sized(run: Run) -> list[str]:
    sizes = run.values("dataset", "rows")
    rows: list[Sequence[str]] = []
    for operation in run.values("dataset", "operation"):
        for name in run.seats("dataset"):
            found = run.all("dataset", operation=operation, contestant=name)
            rows.append((f"{operation}, {name}", *(milliseconds(one.p50) for one in found)))
    return (
        [_table(("p50 of one call", *(f"{size:,} rows" for size in sizes)), rows)] if rows else []
    )


def _summary(run: Run, claims: Any) -> list[str]:
    lines = []
    changes = [
        new.mean / old.mean
        for old, new in (_pair(run, claim.operation) for claim in claims.LATENCY)
        if old is not None and new is not None
    ]
    if changes:
        average = sum(changes) / len(changes)
        lines.append(f"29 % better latency on average: {_change(1, average)} for one client.")
    for operation, words in (("add", "42 % more writes"), ("search", "59 % more searches")):
        old, new = _rates(run, operation)
        if old is not None and new is not None:
            lines.append(f"{words}: {new / old - 1:+.0%} with ten clients.")
    peaks = {one.process: one.peak for one in run.memory}
    if {"legacy", "plugin", "service"} <= peaks.keys():
        lines.append(
            f"24 % less memory: {peaks['legacy']:.0f} MB before, {peaks['plugin']:.0f} MB for the "
            f"plugin now, and {peaks['service']:.0f} MB for the service."
        )
    if run.races:
        kept = ", ".join(
            f"{race.contestant} kept {race.score} of {race.votes}" for race in run.races
        )
        lines.append(f"No more races: of the votes at once, {kept}.")
    return ["### 14.10 Summary", "Claimed, and measured:", _list(lines)] if lines else []


# -- words ----------------------------------------------------------------------------------------


def _failed(
    title: str, reason: str, claimed: float, measured: float, before: float, after: float
) -> list[str]:
    if measured >= claimed:
        return []
    return [(f"{title}: claimed {_percent(claimed)}, measured {_change(before, after)}: {reason}.")]


def _verdicts(rows: Sequence[Sequence[str]], failed: Sequence[str]) -> list[str]:
    """Say what does not hold, or that what was measured does; nothing if nothing was."""
    unmeasured = sum(row[-1] == NOTHING for row in rows)
    if failed:
        return ["What does not hold:\n\n" + _list(failed)]
    if unmeasured == len(rows):
        return []
    return ["What was measured holds." if unmeasured else "All of it holds."]


def _percent(share: float) -> str:
    return f"{share:.0%} faster"


def _change(before: float, after: float) -> str:
    """Say how much faster or slower something is after than before."""
    if after <= before:
        return f"{1 - after / before:.0%} faster"
    return (
        f"{after / before:.1f} x slower"
        if after > 2 * before
        else f"{after / before - 1:.0%} slower"
    )


def _mean_p95(one: Measurement) -> str:
    return f"{one.mean * 1e3:.2f} ({one.p95 * 1e3:.2f})"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
