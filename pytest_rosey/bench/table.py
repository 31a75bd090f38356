"""What a run says, on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from pytest_rosey.bench.figures import Measurement, Run
from pytest_rosey.bench.targets import Outcome, outcomes, tally

COLOURS = {"met": "green", "missed": "red", "reported": "default", "not measured": "dim"}


def show(run: Run, console: Console) -> None:
    """Print the figures, and the targets that they reach."""
    console.print(_grid(LATENCIES, *latencies(run)))
    if any(run.all("throughput")):
        console.print(_rates(run))
    for race in run.races:
        console.print(f"{race.votes} votes at once, {race.contestant}: score {race.score}")
    for one in run.memory:
        console.print(
            f"memory of {one.process}: {one.empty:.0f} MB empty, {one.filled:.0f} MB with "
            f"{one.rows:,} rows, {one.peak:.0f} MB at most"
        )
    found = outcomes(run)
    measured = [one for one in found if one.value is not None]
    if measured:
        console.print(_targets(measured))
        console.print(f"Targets: {tally(found)}.")
    for reason in run.left_out:
        console.print(f"Left out: {reason}")
    console.print(conditions(run), style="dim")


def conditions(run: Run) -> str:
    """Return under what conditions it was measured, in one line."""
    machine = run.machine
    return (
        f"{run.preset}, {run.loop}, {machine.cores} cores, load {machine.load_before:.1f} before "
        f"and {machine.load_after:.1f} after, {machine.file_system}, fsync "
        f"{machine.fsync_ms:.2f} ms, Python {machine.versions['Python']}, {run.seconds:.0f} s"
    )


def disk(run: Run) -> str:
    """Return where the databases were, and how long it takes to wait for the disk."""
    machine = run.machine
    words = (
        f"all SQLite files on {machine.file_system}; a write that waits for it took "
        f"{machine.fsync_ms:.2f} ms"
    )
    has_postgres = "plugin on PostgreSQL" in run.contestants
    return f"{words}; PostgreSQL in the directory for temporary files" if has_postgres else words


LATENCIES = "One client: p50 / p95 / p99 in ms"


def latencies(run: Run) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return who takes part, and for each operation its name and their percentiles."""
    names = run.seats("latency")

    def cell(operation: str, name: str) -> str:
        found = next(run.all("latency", operation=operation, contestant=name), None)
        return "" if found is None else " / ".join(_milliseconds(found))

    rows = [
        (operation, *(cell(operation, name) for name in names))
        for operation in run.values("latency", "operation")
    ]
    return names, rows


def _milliseconds(one: Measurement) -> list[str]:
    return [f"{seconds * 1e3:.2f}" for seconds in (one.p50, one.p95, one.p99)]


def _rates(run: Run) -> Table:
    names = run.seats("throughput")

    def cell(operation: str, clients: int, name: str) -> str:
        found = run.all("throughput", operation=operation, clients=clients, contestant=name)
        return next((f"{one.rate:,.0f}" for one in found), "")

    rows = (
        (f"{operation}, {clients:,} clients", *(cell(operation, clients, name) for name in names))
        for operation in run.values("throughput", "operation")
        for clients in run.values("throughput", "clients", operation=operation)
    )
    return _grid("Many clients: calls a second", names, rows)


def _grid(title: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table with a column of figures for each contestant."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _targets(found: list[Outcome]) -> Table:
    table = Table(title="Targets", title_justify="left")
    for heading in ("what", "target", "measured", "value", "spread", ""):
        table.add_column(heading, justify="right" if heading in {"value", "spread"} else "left")
    for one in found:
        table.add_row(one.what, one.target, one.measured, value(one), spread(one), _verdict(one))
    return table


def value(one: Outcome) -> str:
    """Return the value of an outcome with its unit."""
    return "" if one.value is None else f"{_number(one.value)} {one.unit}"


def spread(one: Outcome) -> str:
    """Return where the middle half of the rounds lies."""
    return f"{_number(one.rounds.low)} to {_number(one.rounds.high)}" if one.rounds else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def verdict(one: Outcome) -> str:
    """Return the verdict in words."""
    return f"{one.verdict}, close" if one.is_close else one.verdict


def _verdict(one: Outcome) -> str:
    return f"[{COLOURS[one.verdict]}]{verdict(one)}[/]"
