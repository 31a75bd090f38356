"""One page with everything a run says; it needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

from pytest_rosey.bench import plots
from pytest_rosey.bench.contestants import claims_of
from pytest_rosey.bench.figures import Run
from pytest_rosey.bench.table import conditions, disk, spread, value, verdict
from pytest_rosey.bench.targets import Outcome, outcomes, tally

_STYLE: Final = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2937; background: #f8fafc; margin: 0; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 8px 0; }
h2 { font-size: 21px; margin: 40px 0 4px; }
p { max-width: 76ch; margin: 6px 0 12px; }
.muted { color: #6b7280; font-size: 14px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(205px, 1fr)); gap: 12px;
  margin: 20px 0; }
.tile, figure { background: #fff; border: 1px solid #e5e7eb; border-radius: 10px; }
.tile { padding: 14px 16px; }
.tile b { display: block; font-size: 28px; line-height: 1.2; }
.tile.after b { color: #1d4ed8; } .tile.before b { color: #c2410c; }
.tile small { color: #4b5563; }
figure { margin: 12px 0; padding: 14px; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); gap: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; background: #fff; }
th, td { text-align: left; padding: 6px 10px; border-bottom: 1px solid #e5e7eb;
  vertical-align: top; }
th { background: #f1f5f9; position: sticky; top: 0; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.met { color: #047857; font-weight: 600; } .missed { color: #b91c1c; font-weight: 600; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px;
  margin-right: 6px; }
dt { font-weight: 600; } dd { margin: 0 0 6px 0; color: #4b5563; }
"""
_COMPARED: Final = {
    "faster": "faster on the service",
    "equal": "equal",
    "slower": "slower",
}
_SIGNS: Final = {"met": "✓", "missed": "✗", "reported": "·", "not measured": "·"}


def html_report(run: Run) -> str:
    """Return the page."""
    title = f"{run.plugin}: before and after the storage service"
    parts = [
        f"<h1>{escape(title)}</h1>",
        (
            f'<p class="muted">{escape(run.started)} · {escape(conditions(run))} · '
            f"{escape(run.machine.processor)}</p>"
        ),
        *_tiles(run),
        *_speeds(run),
        *_targets(run),
        *_section(
            "How long one call takes",
            "One client. The dot is the median (its value stands at the right), the box holds the "
            "middle half of the calls, the bar marks p95, the line ends at p99. Time grows tenfold "
            "from one grid line to the next.",
            plots.latency_plots(run),
            grid=True,
        ),
        *_section(
            "Where the time goes",
            "Medians of one client, each layer less the one below it; what was measured to be "
            "less than nothing counts as 0. The figure beside a bar is the median of the plugin. "
            "Service and database is what the service adds to a bare NATS responder, the wait for "
            f"the disk included. {_of_plugin(run, 'LAYER_OF_WRITES')}",
            plots.breakdown_plot(run),
        ),
        *_section(
            "How many calls a second",
            "Closed loop: each client waits for its reply. Both axes are logarithmic.",
            plots.throughput_plots(run),
            grid=True,
        ),
        *_section(
            "What a growing table costs",
            "A flat line is a cost that does not depend on the number of rows.",
            plots.dataset_plots(run),
            grid=True,
        ),
        *_races(run),
        *_section(
            "Memory",
            "Resident memory, measured in processes of their own; that of the service is read "
            "together with that of the plugin. The plugin on the service needs both: its own "
            "process, and the service, which all plugins share.",
            plots.memory_plot(run) if run.memory else "",
        ),
        *_conditions(run),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _of_plugin(run: Run, words: str) -> str:
    """Return what a plugin's benchmark says of itself, under a name; nothing if that is nothing."""
    return str(getattr(claims_of(run.plugin), words, ""))


def _section(title: str, words: str, picture: str, *, grid: bool = False) -> list[str]:
    if not picture:
        return []
    inside = f'<div class="grid">{picture}</div>' if grid else picture
    return [f"<h2>{escape(title)}</h2>", f"<p>{escape(words)}</p>", f"<figure>{inside}</figure>"]


def _tiles(run: Run) -> list[str]:
    """Return what is to be seen first: who is faster, and by how much."""
    wanted = ("get, 1 client", "hot get, 1 client", "add, 1 client", "add, 10 clients")
    tiles = []
    words = {"equal": "no difference", "faster": "faster on the service"}
    for one in plots.speeds(run):
        if one.name in wanted:
            side = "before" if one.verdict == "slower" else "after"
            tiles.append(
                f'<div class="tile {side}"><small>{escape(one.name)}</small>'
                f"<b>{one.factor}</b>{words.get(one.verdict, 'slower on the service')}<br>"
                f"<small>{escape(one.before)} → {escape(one.after)}</small></div>"
            )
    tiles += [
        f'<div class="tile before"><small>{race.votes} votes at the same time</small>'
        f"<b>{race.votes - race.score} lost</b>by the legacy plugin<br>"
        f"<small>{_kept(run)}</small></div>"
        for race in run.races
        if race.contestant == "legacy" and race.score < race.votes
    ]
    return [f'<div class="tiles">{"".join(tiles)}</div>'] if tiles else []


def _kept(run: Run) -> str:
    kept = next((one for one in run.races if one.contestant == "plugin"), None)
    return f"on the service: {kept.votes - kept.score} lost" if kept else ""


def _speeds(run: Run) -> list[str]:
    found = plots.speeds(run)
    if not found:
        return []
    counts = {kind: sum(one.verdict == kind for one in found) for kind in _COMPARED}
    title = ", ".join(f"{_COMPARED[kind]} in {number}" for kind, number in counts.items())
    return _section(
        f"Of {len(found)} comparisons: {title}",
        "The plugin on the storage service (SQLite behind NATS, in another process) against the "
        "plugin on its own SQLite file in the same process. Medians of one client; calls a second "
        f"of many. {_of_plugin(run, 'SIDES_IN_SHORT')}",
        plots.speed_plot(found),
    )


def _targets(run: Run) -> list[str]:
    found = outcomes(run)
    if all(one.value is None for one in found):
        return []
    rows = "".join(_row(one) for one in found)
    return [
        f"<h2>Targets: {escape(tally(found))}</h2>",
        (
            "<p>Ratios, differences and rates are medians of the rounds of this run; times of a "
            "call are of all calls. The spread is the middle half of the rounds. <q>close</q> "
            "means that the rounds do not agree.</p>"
        ),
        (
            '<figure><table><thead><tr><th scope="col">what</th><th scope="col">asked for</th>'
            '<th scope="col">target</th><th scope="col">measured</th><th scope="col">value</th>'
            f'<th scope="col">spread</th><th scope="col">verdict</th></tr></thead><tbody>{rows}'
            "</tbody></table></figure>"
        ),
    ]


def _row(one: Outcome) -> str:
    kind = one.verdict if one.verdict in ("met", "missed") else "muted"
    cells = [escape(cell) for cell in (one.what, one.claimed, one.target, one.measured)]
    return (
        f'<tr><th scope="row" style="background:none">{cells[0]}</th>'
        + "".join(f"<td>{cell}</td>" for cell in cells[1:])
        + f'<td class="number">{escape(value(one))}</td>'
        f'<td class="number">{escape(spread(one))}</td>'
        f'<td class="{kind}">{_SIGNS[one.verdict]} {escape(verdict(one))}</td></tr>'
    )


def _races(run: Run) -> list[str]:
    if not run.races:
        return []
    rows = "".join(
        f'<tr><th scope="row">{escape(one.contestant)}</th><td class="number">{one.votes}</td>'
        f'<td class="number">{one.score}</td></tr>'
        for one in run.races
    )
    return [
        "<h2>Votes at the same time</h2>",
        (
            "<p>All of them for one row. A score below the number of votes has lost some. "
            f"{escape(_of_plugin(run, 'RACING'))}</p>"
        ),
        (
            '<figure><table><thead><tr><th scope="col">contestant</th><th scope="col">votes</th>'
            f'<th scope="col">score</th></tr></thead><tbody>{rows}</tbody></table></figure>'
        ),
    ]


def _conditions(run: Run) -> list[str]:
    machine = run.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    facts = [
        ("machine", f"{machine.processor}, {machine.cores} cores, {machine.memory_mb:,} MB"),
        ("system", machine.system),
        (
            "load",
            f"{machine.load_before:.2f} before the run, {machine.load_after:.2f} at its end",
        ),
        ("disk", disk(run)),
        ("versions", versions),
        ("left out", "; ".join(run.left_out) or "nothing"),
    ]
    return [
        "<h2>Who took part, and where</h2>",
        "<dl>"
        + _terms(
            (
                f'<span class="swatch" style="background:{plots.COLOURS[name]}"></span>{name}',
                words,
            )
            for name, words in run.contestants.items()
        )
        + _terms(facts)
        + "</dl>",
    ]


def _terms(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<dt>{term}</dt><dd>{escape(words)}</dd>" for term, words in pairs)
