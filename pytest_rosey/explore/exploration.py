"""The exploration of one test: two clean runs, the places that they show, and a run for each."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

from dbservice.protocol.operations import find
from pytest_rosey import marks
from pytest_rosey.explore.calls import Call
from pytest_rosey.explore.choice import Rules, rules_of, why_not
from pytest_rosey.explore.comparison import Comparison
from pytest_rosey.explore.faults import FAULTS
from pytest_rosey.explore.findings import PlaceFound, TestFound
from pytest_rosey.explore.run import ExploredRun
from pytest_rosey.explore.tap import Place, Sent
from pytest_rosey.explore.values import payload_of
from pytest_rosey.explore.verdict import Verdict, verdict_on
from pytest_rosey.marks import runs_of

if TYPE_CHECKING:
    from pytest_rosey.explore.report import Reporter

RUN = pytest.StashKey[ExploredRun]()

_START = datetime(2026, 1, 5, 12, 30, tzinfo=UTC).timestamp()
_ANOTHER_CLOCK = 9 * 86400.0 + 7 * 3600 + 11 * 60 + 13.5
"""Seconds between the clocks of the two clean runs: another day, hour, minute and second."""


def explore(
    item: pytest.Function, nextitem: pytest.Item | None, reporter: Reporter, only: str | None
) -> TestFound:
    """Run a test with every fault at every request that it makes.

    Args:
        item: the test, which has passed and was torn down.
        nextitem: the test that comes next.
        reporter: is told of each place.
        only: the one place to look at, as `PlaceFound.place` has it; None for all.
    """
    found = TestFound(item.nodeid, reason=why_not(item) or "")
    if found.reason:
        return found
    rules = rules_of(item)
    found.degrades = rules.degrades
    try:
        first, second = _run(item, ExploredRun(_START)), _clean_run_under_another_clock(item)
        clean = Comparison(first, second)
        found.reason = clean.why_not() or ""
        if not found.reason:
            found.partial = _all_partial(rules, clean)
            _explore_places(item, clean, rules, found, reporter, only)
    finally:
        item.session._setupstate.teardown_exact(nextitem)  # noqa: SLF001 - as the next test needs it
    return found


def _explore_places(
    item: pytest.Function,
    clean: Comparison,
    rules: Rules,
    found: TestFound,
    reporter: Reporter,
    only: str | None,
) -> None:
    chosen = list(_places(clean))
    if only is None:
        found.possible = len(chosen)
        # Of the test alone, so that the places are the same wherever the suite lies.
        name = f"{item.path.name}::{item.name}"
        chosen = _sample(chosen, rules.places, zlib.crc32(name.encode()))
    else:
        chosen = [(place, call) for place, call in chosen if str(place) == only]
        found.possible = len(chosen)
        found.reason = "" if chosen else f"it has no place {only}"
    reads = [(clean.first.owner_number(read), read) for read in clean.reads()]
    for done, (place, call) in enumerate(chosen):
        if item.session.shouldstop or item.session.shouldfail:
            return
        reporter.progress(done, len(chosen))
        began = time.perf_counter()
        run = _run(item, ExploredRun(_START, place, call.number, reads))
        result = _told(place, call, clean.sent[place.number - 1], verdict_on(run, clean, rules))
        found.seconds += time.perf_counter() - began
        found.places.append(result)
        reporter.place(result)


def _places(clean: Comparison) -> Iterator[tuple[Place, Call]]:
    for sent in clean.sent:
        if sent.call is not None:
            for fault in FAULTS:
                if fault.applies(sent.subject, sent.payload):
                    yield Place(sent.number, fault), sent.call


def _sample(places: list[tuple[Place, Call]], limit: int, seed: int) -> list[tuple[Place, Call]]:
    """Return at most so many places, evenly spread over all of them."""
    if len(places) <= limit:
        return places
    step = len(places) / limit
    offset = (seed % 1000) / 1000 * step
    return [places[int(offset + number * step)] for number in range(limit)]


def _told(place: Place, call: Call, sent: Sent, verdict: Verdict) -> PlaceFound:
    return PlaceFound(
        str(place),
        str(call),
        call.name,
        _request(sent),
        place.fault.name,
        verdict.mark.value,
        verdict.expected,
        verdict.found,
    )


def _request(sent: Sent) -> str:
    """Return what was asked: `row.insert quotes`, `kv.get total_count`."""
    address, operation = find(sent.subject)
    payload = payload_of(sent.payload)
    named = payload.get("table", payload.get("key", "")) if isinstance(payload, dict) else ""
    return f"{address.family}.{operation.name} {named}".rstrip()


def _all_partial(rules: Rules, clean: Comparison) -> tuple[str, ...]:
    owners = [type(call.owner) for call in clean.calls]
    of_plugins = [pattern for kind in owners for pattern in getattr(kind, "best_effort", ())]
    return tuple(dict.fromkeys([*rules.partial, *of_plugins]))


# -- running a test once more ---------------------------------------------------------------------


def _clean_run_under_another_clock(item: pytest.Function) -> ExploredRun:
    with _shifted_machine_clock():
        return _run(item, ExploredRun(_START + _ANOTHER_CLOCK))


@contextmanager
def _shifted_machine_clock() -> Iterator[None]:
    # What asks the machine for the time must tell other times, or it would look as if it were
    # the same in every run.
    seconds, nanoseconds = time.time, time.time_ns
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "time", lambda: seconds() + _ANOTHER_CLOCK)
        patched.setattr(time, "time_ns", lambda: nanoseconds() + int(_ANOTHER_CLOCK * 1e9))
        yield


def _run(item: pytest.Function, run: ExploredRun) -> ExploredRun:
    """Run a test from fresh fixtures, in virtual time, and fail nobody."""
    twin = _twin(item)
    twin.stash[RUN] = run
    # Keep what stands around the test (its module's fixtures) for the next run.
    try:
        with runs_of(twin):
            reports = runtestprotocol(twin, log=False, nextitem=item)
    finally:
        # pytest keeps the twin, by the finalizers of wider fixtures, until its session is over.
        del twin.stash[RUN]
    failed = next((report for report in reports if not report.passed), None)
    if failed is not None:
        run.failure = f"{failed.when}: {_last_line(failed)}"
    elif run.ended_by is not None and run.place is None:
        run.failure = f"{type(run.ended_by).__name__}: {run.ended_by}".splitlines()[0]
    elif run.place is None and run.afterwards.invariants:
        run.failure = run.afterwards.invariants[0]
    return run


def _twin(item: pytest.Function) -> pytest.Function:
    """Return the same test as another item, of which pytest knows nothing else."""
    known: Any = item
    twin: pytest.Function = type(item).from_parent(
        item.parent,
        name=item.name,
        callspec=getattr(item, "callspec", None),
        fixtureinfo=known._fixtureinfo,  # noqa: SLF001 - as pytest-asyncio makes its own items
        keywords=dict(item.keywords),
        originalname=item.originalname,
    )
    twin.own_markers = [*item.own_markers]
    twin.add_marker(getattr(pytest.mark, marks.TIME)("virtual"), append=False)
    return twin


def _last_line(report: pytest.TestReport) -> str:
    lines = [line for line in report.longreprtext.splitlines() if line.strip()]
    said = [line.removeprefix("E").strip() for line in lines if line.startswith("E ")]
    return (said or lines or [report.outcome])[-1]
