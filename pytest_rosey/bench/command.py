"""Measure a plugin on the storage service, and as it was before."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from dbservice.cli.boundary import DEBUG, os_sentence
from dbservice.cli.failure import REFUSED, UNREACHABLE, USAGE, CommandFailed
from dbservice.client import StorageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from pytest_rosey.bench.figures import Run
    from pytest_rosey.bench.plan import Plan
    from pytest_rosey.bench.run import Options, Sides

_FILE_WIDTH: Final = 170
"""Columns of a table that goes to a file or a pipe."""

bench = App(
    name="bench",
    help=(
        "Measure a plugin on the storage service, against the plugin as it was and against the "
        "floors: a bare NATS responder, and SQLite without anything around it.\n\n"
        "Everything a run needs is started by it (nats-server, `rosey serve`, PostgreSQL if it is "
        "installed) and stopped in the end; nothing of yours is touched. All contestants take "
        "turns within one run, so that whatever else the machine does meets them alike: believe "
        "the ratios, not the milliseconds.\n\n"
        "Try it: `rosey bench compare --quick --html report.html`, one minute."
    ),
)

_Flag = Parameter(negative=())
_Html = Annotated[Path | None, Parameter(help="Write a report with plots.")]
_Markdown = Annotated[Path | None, Parameter(help="Write the report as a page of the documents.")]
_Directory = Annotated[
    Path,
    Parameter(help="Where the databases are made, and removed again: the disk that is measured."),
]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Measure:
    """What to measure, and where to write what was found.

    Attributes:
        plugin: Whose benchmark, from the entry-point group rosey.benchmarks. May be left out while
            only one is installed.
        quick: Fewer calls: a minute, for a first impression.
        full: More calls, and up to a million rows: half an hour.
        loop: The event loop of all processes of the run.
        largest: The largest table, in rows: 100 to 1000000. By default 10000, 100000, 1000000.
        postgres: Measure on PostgreSQL too, if it is here.
        json: Write all figures to this file.
    """

    plugin: str | None = None
    quick: Annotated[bool, _Flag] = False
    full: Annotated[bool, _Flag] = False
    loop: Literal["asyncio", "uvloop"] = "asyncio"
    directory: _Directory = Path()
    largest: Annotated[int | None, Parameter(validator=Number(gte=100, lte=1_000_000))] = None
    postgres: bool = True
    json: Path | None = None
    html: _Html = None
    markdown: _Markdown = None


@bench.command
def compare(*, asked: Measure = Measure()) -> int:
    """Measure both sides and the floors in turns, and hold the ratios against the targets.

    Takes about four minutes; --quick one, --full half an hour. Both sides wait for the disk at
    every commit. The verdicts are for the reader: a missed target is no failure of the command.

    Example: `rosey bench compare --json run.json --html report.html`
    """
    return _measured("compare", asked)


@bench.command
def service(*, asked: Measure = Measure()) -> int:
    """Measure the service, and the plugin on it, against a bare NATS responder.

    As `compare` without the legacy plugin; the same options.

    Example: `rosey bench service --quick --loop uvloop`
    """
    return _measured("service", asked)


@bench.command
def legacy(*, asked: Measure = Measure()) -> int:
    """Measure the plugin as it was, on SQLite, against SQLite without anything around it.

    As `compare` without the service: needs no nats-server. The same options.

    Example: `rosey bench legacy --quick`
    """
    return _measured("legacy", asked)


@bench.command
def report(
    run: Path,
    /,
    *,
    html: _Html = None,
    markdown: _Markdown = None,
) -> int:
    """Show a run again that was written with --json: the table, and the reports that are named.

    Example: `rosey bench report run.json --markdown docs/explanation/performance.md`

    Parameters
    ----------
    run
        A file that --json wrote.
    """
    from pytest_rosey.bench.figures import NotARunError, load

    try:
        found = load(run)
    except NotARunError as error:
        raise CommandFailed(str(error), USAGE) from None
    except OSError as error:
        raise CommandFailed(os_sentence(error), USAGE) from None
    _show(found)
    return _written(found, html=html, markdown=markdown)


@bench.command
def guard(
    stored: Path,
    /,
    *,
    store: Annotated[
        bool, Parameter(negative=(), help="Measure once, and write the ratios to the file.")
    ] = False,
    margin: Annotated[
        float,
        Parameter(validator=Number(gt=0), help="How many times the stored ratio is too much."),
    ] = 2.0,
    directory: _Directory = Path(),
) -> int:
    """Compare the ratios of a short run with stored ones, for CI; seconds are never compared.

    What the service costs is divided by what it stands on (a bare NATS responder and SQLite), what
    the plugin costs by the storage client, in the same rounds. A ratio counts as off when it is in
    each of three runs; one takes about fifteen seconds.

    It ends with 1 when a ratio is off.

    Example: `rosey bench guard tests/benchmarks/ratios.json`

    Parameters
    ----------
    stored
        The file with the ratios.
    """
    from pytest_rosey.bench import guard as guarding
    from pytest_rosey.bench.plan import GUARD

    try:
        expected = {} if store else guarding.load(stored).ratios
    except ValueError as error:
        raise CommandFailed(str(error), USAGE) from None
    except OSError as error:
        raise CommandFailed(os_sentence(error), USAGE) from None
    wrong: dict[str, str] = {}
    for attempt in range(guarding.ATTEMPTS):
        run = _run("compare", Measure(directory=directory, postgres=False), GUARD)
        if store:
            guarding.save(run, stored)
            return 0
        measured = guarding.ratios(run)
        found = guarding.too_high(measured, expected, margin)
        wrong = {name: words for name, words in found.items() if not attempt or name in wrong}
        if not wrong:
            sys.stdout.write(f"{len(measured)} ratios are as they were\n")
            return 0
        sys.stdout.writelines(f"{words}\n" for words in found.values())
    raise CommandFailed(f"{len(wrong)} ratios are off in {guarding.ATTEMPTS} runs.", REFUSED)


def _measured(sides: Sides, asked: Measure) -> int:
    for path in (asked.json, asked.html, asked.markdown):
        if path is not None:
            _check_writable(path)
    run = _run(sides, asked, _plan(asked))
    if asked.json is not None:
        from pytest_rosey.bench.figures import save

        save(run, asked.json)
    _show(run)
    return _written(run, html=asked.html, markdown=asked.markdown)


def _run(sides: Sides, asked: Measure, plan: Plan) -> Run:
    """Make a run, or say why there is none.

    Raises:
        CommandFailed: it cannot be made.
    """
    from pytest_rosey.bench.contestants import NoSuchBenchmarkError, benchmark_of, names
    from pytest_rosey.bench.processes import nats_server
    from pytest_rosey.bench.run import Options
    from pytest_rosey.servers.errors import ServerUnavailable

    known = names()
    if asked.plugin is None and len(known) != 1:
        raise CommandFailed(
            f"Name one with --plugin: {', '.join(known) or 'none is installed'}.", USAGE
        )
    plugin = asked.plugin or known[0]
    try:
        benchmark_of(plugin)
    except NoSuchBenchmarkError as error:
        raise CommandFailed(str(error), USAGE) from None
    unusable = _unusable(asked.directory)
    if unusable is not None:
        raise CommandFailed(unusable, USAGE)
    if sides != "legacy":
        try:
            nats_server()
        except ServerUnavailable as error:
            raise CommandFailed(str(error), UNREACHABLE) from None
    options = Options(
        sides=sides,
        plugin=plugin,
        plan=plan,
        directory=asked.directory,
        loop=asked.loop,
        with_postgres=asked.postgres,
    )
    try:
        return _with_progress(options)
    except NoSuchBenchmarkError as error:
        raise CommandFailed(str(error), USAGE) from None
    except ServerUnavailable as error:
        raise CommandFailed(str(error), REFUSED) from None
    except (CommandFailed, StorageError, OSError):
        raise
    except Exception as error:
        raise CommandFailed(
            f"The benchmark of '{options.plugin}' ended in {type(error).__name__}: {error}. "
            f"{DEBUG}=1 in the environment shows where.",
            REFUSED,
        ) from error


def _check_writable(path: Path) -> None:
    """Find out before a run of minutes whether its report can be written.

    Raises:
        OSError: it cannot.
    """
    with path.open("ab"):
        pass


def _plan(asked: Measure) -> Plan:
    from pytest_rosey.bench.plan import DEFAULT, FULL, QUICK, with_sizes

    if asked.quick and asked.full:
        raise CommandFailed("--quick and --full exclude each other: leave one out.", USAGE)
    plan = QUICK if asked.quick else FULL if asked.full else DEFAULT
    if asked.largest is None:
        return plan
    name = f"{plan.name} --largest {asked.largest}"
    return replace(plan, name=name, sizes=with_sizes(plan, asked.largest))


def _unusable(directory: Path) -> str | None:
    """Return why nothing can be measured there, or None."""
    from pytest_rosey.bench.machine import IN_MEMORY, file_system

    if not directory.is_dir():
        return f"--directory: there is no folder {directory}."
    kind = file_system(directory)
    if kind in IN_MEMORY:
        return (
            f"--directory: {directory.resolve()} is on {kind}, where nothing waits for a disk, and "
            "a durable write would look as cheap as a read. Name a folder on a real file system."
        )
    return None


def _with_progress(options: Options) -> Run:
    """Measure with a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from pytest_rosey.bench.run import measure

    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    text = TextColumn("{task.description}")
    with Progress(*columns, text, console=Console(stderr=True), transient=True) as bars:
        return measure(options, _Bar(bars))


class _Bar:
    """Draws how far a run is."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = bars.add_task("starting", total=0)
        self._turns = 0

    def expect(self, turns: int) -> None:
        """Make it longer."""
        self._turns += turns
        self._bars.update(self._task, total=self._turns)

    def step(self, what: str) -> None:
        """Move it on."""
        self._bars.update(self._task, description=what, advance=1)


def _show(run: Run) -> None:
    from rich.console import Console

    from pytest_rosey.bench.table import show

    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    show(run, console)


def _written(run: Run, *, html: Path | None, markdown: Path | None) -> int:
    if html is not None:
        from pytest_rosey.bench.html_report import html_report

        html.write_text(html_report(run), encoding="utf-8")
    if markdown is not None:
        from pytest_rosey.bench.markdown_report import markdown_report

        markdown.write_text(markdown_report(run), encoding="utf-8")
    return 0
