"""How findings are told: broken places as subtests, a progress line, the table, JSON."""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from pytest_rosey.explore.faults import BY_NAME, FAULTS
from pytest_rosey.explore.findings import PlaceFound, TestFound
from pytest_rosey.explore.verdict import Mark

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_QUIET_SECONDS = 3.0


class Reporter:
    """Tells what comes of the exploration of one test while it goes on.

    Args:
        item: the test.
    """

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._terminal: TerminalReporter | None = item.config.pluginmanager.get_plugin(
            "terminalreporter"
        )
        self._told_at = time.monotonic()
        self._without_subtests: list[PlaceFound] = []

    def progress(self, done: int, of: int) -> None:
        """Say now and then how far it is, where it takes long."""
        now = time.monotonic()
        if self._terminal is None or now - self._told_at < _QUIET_SECONDS:
            return
        self._told_at = now
        self._terminal.write_line(f"exploring {self._item.nodeid}: {done} of {of} places")

    def place(self, place: PlaceFound) -> None:
        """Report a broken place as a subtest of the test that failed."""
        if place.mark != Mark.BROKEN:
            return
        report = _subtest(self._item, place)
        if report is None:
            self._without_subtests.append(place)
        else:
            self._item.ihook.pytest_runtest_logreport(report=report)

    def end(self) -> None:
        """Report what could not be a subtest: one failure that lists the places."""
        if self._without_subtests:
            texts = [told(self._item, place) for place in self._without_subtests]
            report = _failure(self._item, "\n\n".join(texts))
            self._item.ihook.pytest_runtest_logreport(report=report)


def _subtest(item: pytest.Item, place: PlaceFound) -> pytest.TestReport | None:
    """Return a failed subtest, or None where pytest has none."""
    if not item.config.pluginmanager.hasplugin("subtests"):
        return None
    failure, hook = _failure(item, told(item, place)), item.config.hook
    data = hook.pytest_report_to_serializable(config=item.config, report=failure)
    data["_report_type"] = "SubTestReport"
    data["_subtest.context"] = {"msg": f"{place.name} {place.place}", "kwargs": {}}
    subtest: pytest.TestReport = hook.pytest_report_from_serializable(config=item.config, data=data)
    return subtest


def _failure(item: pytest.Item, text: str) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="failed",
        longrepr=text,
        when="call",
    )


def told(item: pytest.Item, place: PlaceFound) -> str:
    """Return what is to be said about a broken place."""
    fault = BY_NAME[place.fault]
    return (
        f"{place.call} breaks when its request {place.request} meets the fault {fault.name}:\n"
        f"  the service {fault.service}, the caller {fault.caller}.\n"
        f"expected: {place.expected}\n"
        f"found:    {place.found}\n"
        f"Run this place again: {command(item, place)}"
    )


def command(item: pytest.Item, place: PlaceFound) -> str:
    """Return the command that runs one place again."""
    return f"pytest {shlex.quote(item.nodeid)} --rosey-explore-place={place.place}"


# -- the end of the run ---------------------------------------------------------------------------


def write_json(path: Path, found: list[TestFound]) -> None:
    """Write all findings as one JSON object."""
    faults = [
        {"name": fault.name, "service": fault.service, "caller": fault.caller} for fault in FAULTS
    ]
    tests = [test.as_json() for test in found]
    path.write_text(json.dumps({"faults": faults, "tests": tests}, indent=2) + "\n", "utf-8")


FEW: Final = 3
"""So many tests are told by name; more that have the same to say, by their number."""


def summary(found: list[TestFound]) -> list[str]:
    """Return the lines of the table: requests x faults, over all tests."""
    explored = [test for test in found if not test.reason]
    lines = [_headline(explored), *_left_out(explored)]
    cells = _cells(explored)
    if cells:
        lines += ["", *_table(cells), "", *_legend(cells)]
    lines += _allowances(explored)
    not_explored = [test for test in found if test.reason]
    if not_explored:
        lines += ["", f"not explored: {len(not_explored)}"]
        lines += _reasons(not_explored)
    return lines


def _reasons(not_explored: list[TestFound]) -> list[str]:
    tests: dict[str, list[str]] = {}
    for test in not_explored:
        tests.setdefault(test.reason, []).append(test.nodeid)
    return [
        f"  {name}: {reason}"
        for reason, names in tests.items()
        for name in (names if len(names) <= FEW else [_tests(len(names))])
    ]


def _headline(explored: list[TestFound]) -> str:
    marks = Counter(place.mark for test in explored for place in test.places)
    count, seconds = marks.total(), sum(test.seconds for test in explored)
    text = (
        f"{count} places in {_tests(len(explored))}: {marks[Mark.FINE]} as without the fault (✓), "
        f"{marks[Mark.ALLOWED]} allowed (a), {marks[Mark.BROKEN]} broken (✗)"
    )
    if marks[Mark.NOT_REPRODUCED]:
        text += f", {marks[Mark.NOT_REPRODUCED]} not reproduced (?)"
    plain = sum(test.plain_seconds * len(test.places) for test in explored)
    if count and plain:
        text += f"; {seconds:.1f} s, {seconds / plain:.1f} x a plain run each"
    return text


def _tests(count: int) -> str:
    return "1 test" if count == 1 else f"{count} tests"


def _left_out(explored: list[TestFound]) -> list[str]:
    cut = [test for test in explored if test.left_out]
    if len(cut) <= FEW:
        return [
            f"left out of {test.nodeid}: {test.left_out} of {test.possible} places, evenly; "
            f"places={test.possible} in its marker explores all"
            for test in cut
        ]
    left, possible = sum(test.left_out for test in cut), sum(test.possible for test in cut)
    most = max(test.possible for test in cut)
    where = f"{_tests(len(cut))}: {left} of {possible} places, evenly"
    return [f"left out of {where}; places={most} in their markers explores all"]


Cells = dict[tuple[str, str], dict[str, Counter[str]]]


def _cells(explored: list[TestFound]) -> Cells:
    cells: Cells = {}
    for test in explored:
        for place in test.places:
            row = cells.setdefault((place.name, place.request), {})
            row.setdefault(place.fault, Counter())[place.mark] += 1
    return cells


_WORST_FIRST = (Mark.BROKEN, Mark.NOT_REPRODUCED, Mark.ALLOWED, Mark.FINE)


def _table(cells: Cells) -> list[str]:
    used = _used_faults(cells)
    labels = {row: f"{row[0]}  {row[1]}" for row in cells}
    width = max(map(len, labels.values()))
    head = " " * width + "".join(f"{number:>3}" for number in range(1, len(used) + 1))
    lines = [head]
    for row, marks in cells.items():
        line = labels[row].ljust(width)
        for name in used:
            mark = next((m for m in _WORST_FIRST if marks.get(name, Counter())[m]), "·")
            line += f"{mark:>3}"
        lines.append(line)
    return lines


def _legend(cells: Cells) -> list[str]:
    return [
        f"{number:>3} {name}: the service {BY_NAME[name].service}, "
        f"the caller {BY_NAME[name].caller}"
        for number, name in enumerate(_used_faults(cells), 1)
    ]


def _used_faults(cells: Cells) -> list[str]:
    used = {name for marks in cells.values() for name in marks}
    return [fault.name for fault in FAULTS if fault.name in used]


def _allowances(explored: list[TestFound]) -> list[str]:
    given: Counter[str] = Counter()
    for test in explored:
        given.update(f"degrades {name}" for name in test.degrades)
        given.update(f"partial {name}" for name in test.partial)
    return (
        ["", "allowed:", *(f"  {what} ({_tests(n)})" for what, n in given.items())] if given else []
    )
