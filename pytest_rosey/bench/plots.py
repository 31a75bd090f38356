"""The pictures of a report, each a function from a run to SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from pytest_rosey.bench.drawing import (
    INK,
    MUTED,
    Anchor,
    Drawing,
    Linear,
    Log,
    apart,
    log_around,
)
from pytest_rosey.bench.figures import CURVE, Measurement, Run
from pytest_rosey.bench.targets import milliseconds

COLOURS: Final = {
    "legacy": "#c2410c",
    "plugin": "#1d4ed8",
    "plugin on PostgreSQL": "#7e22ce",
    "client": "#0891b2",
    "service": "#047857",
    "echo": "#6b7280",
    "sqlite": "#a16207",
    "one replica": "#64748b",
    "two replicas": "#334155",
}
"""Told apart also without red and green, and dark enough for text on white."""

_ORDER: Final = (
    "legacy",
    "plugin",
    "plugin on PostgreSQL",
    "client",
    "service",
    "echo",
    "sqlite",
)
_SINGLE: Final = (
    "get",
    "hot get",
    "add",
    "upvote",
    "delete",
    "random",
    "search",
    "kv get",
    "kv set",
)


ABOUT_EQUAL: Final = 1.1
"""Less of a difference is called none."""


class Speed(NamedTuple):
    """How many times as fast the plugin is as it was."""

    name: str
    times: float
    before: str
    after: str

    @property
    def verdict(self) -> Literal["faster", "equal", "slower"]:
        """Who wins, from the side of the plugin as it is."""
        if max(self.times, 1 / self.times) < ABOUT_EQUAL:
            return "equal"
        return "faster" if self.times > 1 else "slower"

    @property
    def factor(self) -> str:
        """How many times the faster one is as fast as the slower one."""
        return f"{max(self.times, 1 / self.times):.1f} x"


def speeds(run: Run) -> list[Speed]:
    """Return the speed of the plugin against the legacy one, in everything both did."""
    found = []
    for operation in _SINGLE:
        pair = _both(run, "latency", operation, 1)
        if pair is not None:
            old, new = pair
            times = old.p50 / new.p50
            before, after = milliseconds(old.p50), milliseconds(new.p50)
            found.append(Speed(f"{operation}, 1 client", times, before, after))
    for clients in run.values("throughput", "clients"):
        for operation in run.values("throughput", "operation", clients=clients):
            pair = _both(run, "throughput", operation, clients)
            if pair is not None:
                old, new = pair
                times = new.rate / old.rate
                before, after = f"{old.rate:,.0f}/s", f"{new.rate:,.0f}/s"
                found.append(Speed(f"{operation}, {clients:,} clients", times, before, after))
    return found + _speeds_of_the_largest(run)


def _speeds_of_the_largest(run: Run) -> list[Speed]:
    largest = max(run.values("dataset", "rows"), default=0)
    found = []
    for operation in run.values("dataset", "operation", rows=largest):
        sides = {
            one.key.contestant: one.p50
            for one in run.all("dataset", operation=operation, rows=largest)
        }
        if sides.keys() >= {"legacy", "plugin"}:
            old, new = sides["legacy"], sides["plugin"]
            name = f"{operation}, {largest:,} rows"
            found.append(Speed(name, old / new, milliseconds(old), milliseconds(new)))
    return found


def _both(
    run: Run, scenario: str, operation: str, clients: int
) -> tuple[Measurement, Measurement] | None:
    try:
        old = run.find(scenario, operation, "legacy", clients=clients)
        return old, run.find(scenario, operation, "plugin", clients=clients)
    except KeyError:
        return None


def speed_plot(found: Sequence[Speed]) -> str:
    """Draw who is faster: bars to the right for the plugin as it is, to the left for legacy."""
    step, left, right, top, width = 24, 210, 250, 46, 1060
    height = top + step * len(found) + 34
    most = max(2.0, *(max(one.times, 1 / one.times) for one in found)) * 1.2
    scale = Log(1 / most, most, left, width - right)
    before, after = COLOURS["legacy"], COLOURS["plugin"]
    picture = Drawing(width, height, "How many times as fast the plugin is as its legacy version")
    for value in Log(1, most, 0, 1).ticks((1, 2, 5)):
        for place in (scale(value), scale(1 / value)):
            words = "equal" if value == 1 else f"{value:g} x"
            picture.line(place, top - 6, place, height - 28)
            picture.text(place, height - 12, words, anchor="middle", colour=MUTED, size=11)
    picture.line(scale(1), top - 10, scale(1), height - 28, INK, 1.5)
    words = "legacy is faster"
    picture.text(scale(1) - 12, 20, words, anchor="end", colour=before, size=13, bold=True)
    picture.text(scale(1) + 12, 20, "on the service is faster", colour=after, size=13, bold=True)
    picture.text(width - 8, 20, "legacy → on the service", anchor="end", colour=MUTED, size=12)
    for number, one in enumerate(found):
        _speed_bar(picture, scale, one, top + number * step, left)
    return picture.svg()


def _speed_bar(picture: Drawing, scale: Log, one: Speed, y: float, left: float) -> None:
    wins = one.times >= 1
    colour = COLOURS["plugin"] if wins else COLOURS["legacy"]
    x1, x2 = sorted((scale(1), scale(one.times)))
    change = f"{one.before} → {one.after}"
    picture.box(x1, y - 7, x2 - x1, 15, colour, opacity=0.85, tip=f"{one.name}: {change}")
    picture.text(left - 40, y + 5, one.name, anchor="end")
    anchor: Anchor = "start" if wins else "end"
    place = x2 + 5 if wins else x1 - 5
    words = "equal" if one.verdict == "equal" else one.factor
    picture.text(place, y + 5, words, anchor=anchor, colour=colour, bold=True)
    picture.text(picture.width - 8, y + 5, change, anchor="end", colour=MUTED, size=11)


def latency_plots(run: Run) -> str:
    """Draw the distribution of single calls, one picture an operation."""
    names = [name for name in _ORDER if name in run.seats("latency")]
    operations = [name for name in _SINGLE if any(run.all("latency", operation=name))]
    everything = [one for one in run.all("latency") if one.key.contestant in names]
    low = min(_at(one, 2) for one in everything)
    high = max(one.p99 for one in everything)
    return "".join(_latency(run, operation, names, low, high) for operation in operations)


def _latency(run: Run, operation: str, names: Sequence[str], low: float, high: float) -> str:
    left, top, step, width = 140, 30, 22, 520
    there = [
        one for name in names for one in run.all("latency", operation=operation, contestant=name)
    ]
    height = top + step * len(there) + 34
    scale = log_around([low, high], left, width - 66)
    picture = Drawing(width, height, f"Time of one {operation}, for each contestant")
    picture.text(8, 16, operation, size=14, bold=True)
    _time_axis(picture, scale, top - 4, height - 30)
    for number, one in enumerate(there):
        y = top + number * step + step / 2
        colour = COLOURS[one.key.contestant]
        tip = (
            f"{one.key.contestant}: p50 {milliseconds(one.p50)}, p95 {milliseconds(one.p95)}, "
            f"p99 {milliseconds(one.p99)}, {one.calls:,} calls"
        )
        picture.text(left - 8, y + 4, one.key.contestant, anchor="end", colour=colour, size=11)
        picture.line(scale(_at(one, 2)), y, scale(one.p99), y, colour, 1.5)
        x1, x2 = scale(_at(one, 24)), scale(_at(one, 76))
        picture.box(x1, y - 6, max(x2 - x1, 3), 12, colour, opacity=0.35, tip=tip)
        picture.line(scale(one.p95), y - 5, scale(one.p95), y + 5, colour, 2)
        picture.dot(scale(one.p50), y, colour, tip=tip)
        picture.text(width - 6, y + 4, milliseconds(one.p50), anchor="end", colour=INK, size=11)
    return picture.svg()


def _time_axis(picture: Drawing, scale: Log, top: float, bottom: float) -> None:
    for value in scale.ticks():
        picture.line(scale(value), top, scale(value), bottom)
        words = f"{value * 1e3:g} ms"
        picture.text(scale(value), bottom + 16, words, anchor="middle", colour=MUTED, size=11)


def _at(one: Measurement, percent: int) -> float:
    return one.curve[CURVE.index(percent)]


def throughput_plots(run: Run) -> str:
    """Draw calls a second against the number of clients, for reads and for durable writes."""
    return "".join(
        _throughput(run, operation, title)
        for operation, title in (("get", "Reads (get)"), ("add", "Durable writes (add)"))
        if len(run.values("throughput", "clients", operation=operation)) > 0
    )


def _throughput(run: Run, operation: str, title: str) -> str:
    series = {}
    for name in _ORDER:
        single = run.all("latency", operation=operation, contestant=name)
        many = run.all("throughput", operation=operation, contestant=name)
        points = sorted((one.key.clients, one.rate) for one in (*single, *many))
        if len(points) > 1:
            series[name] = [(float(clients), rate) for clients, rate in points]
    return _lines(
        title,
        series,
        x_words="clients, each waiting for its reply before it sends the next request",
        y_words="calls a second",
        y_text=lambda value: f"{value:,.0f}",
    )


def dataset_plots(run: Run) -> str:
    """Draw the time of one call against the number of rows, one picture an operation."""
    pictures = []
    for operation in run.values("dataset", "operation"):
        series = {
            name: [
                (float(one.key.rows), one.p50)
                for one in run.all("dataset", operation=operation, contestant=name)
            ]
            for name in run.seats("dataset")
        }
        pictures.append(
            _lines(
                operation,
                series,
                x_words="rows in the table",
                y_words="p50 of one call",
                y_text=milliseconds,
                height=250,
            )
        )
    return "".join(pictures)


def _lines(
    title: str,
    series: dict[str, list[tuple[float, float]]],
    *,
    x_words: str,
    y_words: str,
    y_text: Callable[[float], str],
    height: float = 320,
) -> str:
    left, right, top, bottom, width = 70, 150, 46, 46, 520
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    across = Log(min(xs), max(xs), left, width - right)
    up = log_around(ys, height - bottom, top)
    picture = Drawing(width, height, f"{title}: {y_words} against {x_words}")
    picture.text(8, 16, title, size=14, bold=True)
    picture.text(8, 34, y_words, colour=MUTED, size=11)
    for value in up.ticks() if len(up.ticks()) > 1 else up.ticks((1, 2, 5)):
        picture.line(left, up(value), width - right, up(value))
        picture.text(left - 6, up(value) + 4, y_text(value), anchor="end", colour=MUTED, size=11)
    for value in sorted(set(xs)):
        picture.line(across(value), top, across(value), height - bottom)
        words = f"{value:,.0f}"
        place = across(value)
        picture.text(place, height - bottom + 16, words, anchor="middle", colour=MUTED, size=11)
    picture.text(left, height - 8, x_words, colour=MUTED, size=11)
    ends = apart([up(points[-1][1]) for points in series.values()], 15)
    for (name, points), place in zip(series.items(), ends, strict=True):
        colour = COLOURS[name]
        picture.path([(across(x), up(y)) for x, y in points], colour)
        for x, y in points:
            picture.dot(across(x), up(y), colour, 3, f"{name}: {y_text(y)} at {x:,.0f}")
        words = f"{name} {y_text(points[-1][1])}"
        picture.text(width - right + 8, place + 4, words, colour=colour, size=11)
    return picture.svg()


LAYERS: Final = (
    ("NATS, there and back", "echo", "#9ca3af"),
    ("service and database", "service", COLOURS["service"]),
    ("storage client", "client", COLOURS["client"]),
    ("plugin", "plugin", COLOURS["plugin"]),
)
"""What each contestant adds to the one before it."""


def layers(run: Run, operation: str) -> list[float]:
    """Return what each layer adds to the median of an operation, in seconds.

    Empty if a layer was not measured. Differences below 0, which are noise, count as 0.
    """
    try:
        totals = [run.find("latency", operation, name).p50 for _, name, _ in LAYERS]
    except KeyError:
        return []
    before = [0.0, *totals]
    return [max(0.0, total - base) for base, total in zip(before, totals, strict=False)]


def breakdown_plot(run: Run) -> str:
    """Draw where the time of one call goes, from the measured differences."""
    bars = [(name, layers(run, name)) for name in _SINGLE if layers(run, name)]
    if not bars:
        return ""
    left, right, top, step, width = 90, 120, 40, 30, 1060
    height = top + step * len(bars) + 40
    scale = Linear(max(sum(parts) for _, parts in bars), left, width - right)
    picture = Drawing(width, height, "Where the time of one call goes")
    x = float(left)
    for words, _, colour in LAYERS:
        picture.box(x, 8, 12, 12, colour)
        picture.text(x + 18, 18, words)
        x += 40 + len(words) * 7
    for value in scale.ticks():
        picture.line(scale(value), top - 6, scale(value), height - 30)
        words = f"{value * 1e3:g} ms"
        picture.text(scale(value), height - 14, words, anchor="middle", colour=MUTED, size=11)
    for number, (name, parts) in enumerate(bars):
        y, start = top + number * step, 0.0
        picture.text(left - 8, y + 14, name, anchor="end")
        for (words, _, colour), part in zip(LAYERS, parts, strict=True):
            tip = f"{name}, {words}: {milliseconds(part)}"
            picture.box(scale(start), y, scale(part) - left, 18, colour, tip=tip)
            start += part
        together = run.find("latency", name, "plugin").p50
        picture.text(scale(start) + 6, y + 14, milliseconds(together), bold=True)
    return picture.svg()


def memory_plot(run: Run) -> str:
    """Draw the memory of each process at three stages."""
    stages = (("empty", "#d1d5db"), ("filled", "#93c5fd"), ("peak", "#1d4ed8"))
    left, top, step, width = 150, 14, 62, 1060
    height = top + step * len(run.memory) + 10
    most = max(one.peak for one in run.memory)
    scale = Linear(most, left, width - 130)
    picture = Drawing(width, height, "Resident memory of each process, in MB")
    for number, one in enumerate(run.memory):
        y = top + number * step
        picture.text(left - 8, y + 28, one.process, anchor="end", bold=True)
        for place, (stage, colour) in enumerate(stages):
            value = getattr(one, stage)
            picture.box(left, y + place * 17, scale(value) - left, 14, colour)
            words = {"filled": f"{one.rows:,} rows"}.get(stage, stage)
            picture.text(scale(value) + 6, y + place * 17 + 11, f"{value:.0f} MB, {words}", size=11)
    return picture.svg()
