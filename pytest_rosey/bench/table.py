"""What a run says, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pytest_rosey.bench.figures import Run
from pytest_rosey.bench.targets import Outcome, outcomes, tally

COLOURS = {"met": "green", "missed": "red", "not measured": "dim"}


def show(run: Run, console: Console) -> None:
    """Print the figures, and the targets that they reach."""
    console.print(_latencies(run))
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


def _latencies(run: Run) -> Table:
    names = run.seats("latency")
    table = Table(title="One client: p50 / p95 / p99 in ms", title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for operation in run.values("latency", "operation"):
        cells = []
        for name in names:
            found = next(run.all("latency", operation=operation, contestant=name), None)
            cells.append(
                ""
                if found is None
                else " / ".join(f"{value * 1e3:.2f}" for value in (found.p50, found.p95, found.p99))
            )
        table.add_row(operation, *cells)
    return table


def _rates(run: Run) -> Table:
    names = run.seats("throughput")
    table = Table(title="Many clients: calls a second", title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for operation in run.values("throughput", "operation"):
        for clients in run.values("throughput", "clients", operation=operation):
            cells = []
            for name in names:
                found = run.all("throughput", operation=operation, clients=clients, contestant=name)
                one = next(found, None)
                cells.append("" if one is None else f"{one.rate:,.0f}")
            table.add_row(f"{operation}, {clients:,} clients", *cells)
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
    if one.low is None or one.high is None:
        return ""
    return f"{_number(one.low)} to {_number(one.high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def verdict(one: Outcome) -> str:
    """Return the verdict in words."""
    return f"{one.verdict}, close" if one.is_close else one.verdict


def _verdict(one: Outcome) -> str:
    return f"[{COLOURS[one.verdict]}]{verdict(one)}[/]"
