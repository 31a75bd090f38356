"""Runs what `lines.py` lists, and prints and writes one table of it.

`python -m tests.proof` is the bounded form, as in CI; `--long` is the long one, with a seed of its
own each time. A knob that is set in the environment stays as it is. Every line prints its seed, and
what repeats it.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass

from tests import ROOT, SEED
from tests.proof.lines import LINES, Knobs, Line

BUILD = ROOT / "build/proof"
"""Where the table, and what each line has printed, are written."""

_FAILED = re.compile(r"(\d+) (?:failed|errors?)\b")
_COLUMNS = ("property", "how tried", "how many times", "found", "left", "seed", "seconds")


@dataclass(frozen=True)
class Outcome:
    """What came of a line.

    Attributes:
        times: how often the property was tried.
        failures: how often it did not hold; one also where nothing was tried.
    """

    line: Line
    seed: int
    times: int
    failures: int
    seconds: float

    @property
    def row(self) -> str:
        """Its row of the table."""
        times = f"{self.times:,} {self.line.unit}"
        found = len(self.line.found) + self.failures
        cells = (self.line.holds, self.line.tried, times, found, self.failures, self.seed)
        return f"| {' | '.join(map(str, cells))} | {self.seconds:.0f} |"


def main() -> int:
    """Run the lines that were chosen, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--long", action="store_true", help="as long as a proof should be")
    parser.add_argument("--seed", type=int, help="of everything that is drawn")
    parser.add_argument("--only", default="", help="names of lines, separated by commas")
    options = parser.parse_args()
    seed = options.seed or (random.randrange(1, 2**31) if options.long else SEED)
    chosen = list(_chosen(options.only.split(",") if options.only else [], options.long))
    BUILD.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for number, (line, knobs) in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {line.name}: {line.holds}", flush=True)
        outcomes.append(_run(line, knobs, seed))
        print(f"    {_said(outcomes[-1])}", flush=True)
    table = _table(outcomes)
    (BUILD / "table.md").write_text(table, "utf-8")
    print(f"\n{table}\nwritten to {(BUILD / 'table.md').relative_to(ROOT)}")
    return int(any(outcome.failures for outcome in outcomes))


def _chosen(names: list[str], long: bool) -> list[tuple[Line, Knobs]]:
    unknown = set(names) - {line.name for line in LINES}
    if unknown:
        sys.exit(f"no line {', '.join(unknown)}: expected {', '.join(line.name for line in LINES)}")
    forms = [(line, line.long if long else line.bounded) for line in LINES]
    return [
        (line, knobs)
        for line, knobs in forms
        if knobs is not None and (not names or line.name in names)
    ]


def _run(line: Line, knobs: Knobs, seed: int) -> Outcome:
    settings = {name: os.environ.get(name, str(value)) for name, value in knobs.items()}
    settings["ROSEY_SEED"] = str(seed)
    words = _command(line, seed)
    print(f"    {shlex.join(f'{n}={v}' for n, v in settings.items())} {shlex.join(words)}")
    log, began = BUILD / f"{line.name}.log", time.monotonic()
    with log.open("wb") as output:
        ended = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    said = log.read_text("utf-8", errors="replace")
    times = sum(map(int, re.findall(rf"\b(\d+) {line.unit}\b", said)))
    failures = sum(map(int, _FAILED.findall(said.rstrip().rpartition("\n")[2])))
    if ended.returncode or not times:
        failures = max(1, failures)
        print(said[-6_000:])
    return Outcome(line, seed, times, failures, time.monotonic() - began)


def _command(line: Line, seed: int) -> list[str]:
    words = shlex.split(line.tests)
    if not words[0].startswith("tests/"):
        return words
    # In the order in which they stand, so that a run can be repeated.
    return [
        "pytest",
        "-q",
        "-s",
        "--show-capture=no",
        "-p",
        "no:randomly",
        f"--hypothesis-seed={seed}",
        *words,
    ]


def _said(outcome: Outcome) -> str:
    verdict = f"{outcome.failures} FAILED" if outcome.failures else "held"
    return f"{outcome.times:,} {outcome.line.unit}, {verdict}, {outcome.seconds:.0f} s"


def _table(outcomes: list[Outcome]) -> str:
    seconds = sum(outcome.seconds for outcome in outcomes)
    left = sum(outcome.failures for outcome in outcomes)
    head = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"
    rows = "\n".join(outcome.row for outcome in outcomes)
    return f"{head}\n{rows}\n\n{len(outcomes)} properties, {left} failures left, {seconds:.0f} s\n"


if __name__ == "__main__":
    sys.exit(main())
