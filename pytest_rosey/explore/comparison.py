"""Two clean runs of one test, the second under another clock: what is the same in both."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_rosey.explore.effects import Effect, Key, Row, effect_of
from pytest_rosey.explore.faults import is_write
from pytest_rosey.explore.values import agree, payload_of

if TYPE_CHECKING:
    from pytest_rosey.explore.calls import Call
    from pytest_rosey.explore.run import ExploredRun
    from pytest_rosey.explore.tap import Sent

_CHANGING = re.compile(r"[0-9a-f]{8,}|\d+")


class Comparison:
    """What two clean runs have in common, and with it what a run with a fault is held against.

    Args:
        first: a clean run.
        second: another one.

    Attributes:
        calls: those of the first run.
        sent: its requests to the storage.
        effects: what each call has changed, as `normal()` returns it.
    """

    def __init__(self, first: ExploredRun, second: ExploredRun) -> None:
        self.first = first
        self.calls: list[Call] = first.calls.all
        self.sent: list[Sent] = first.tap.sent
        self._second = second
        pairs = [
            (_effect(one), _effect(other))
            for one, other in zip(self.calls, second.calls.all, strict=False)
        ]
        self._columns = {column for pair in pairs for column in _differing_columns(*pair)}
        self._shapes = {shape for pair in pairs for shape in _differing_shapes(*pair)}
        self._values = {name for pair in pairs for name in _differing_values(*pair)}
        self.effects = [self.normal(effect) for effect, _ in pairs]
        self._others = [self.normal(effect) for _, effect in pairs]

    def why_not(self) -> str | None:
        """Return why nothing can be held against these runs, or None."""
        for run in (self.first, self._second):
            if run.failure is not None:
                return f"it fails in virtual time, without a fault: {run.failure}"
        ours, theirs = ([sent.subject for sent in run.tap.sent] for run in self._runs)
        if ours != theirs:
            return f"its requests differ from run to run: {_first_difference(ours, theirs)}"
        names = [[call.name for call in run.calls.all] for run in self._runs]
        if names[0] != names[1]:
            return f"its calls differ from run to run: {_first_difference(*names)}"
        for call, one, other in zip(self.calls, self.effects, self._others, strict=True):
            if one != other:
                return f"what {call} changes differs from run to run"
        if not any(sent.call for sent in self.sent):
            return "no call of a plugin or of the test asks the storage for anything"
        return None

    @property
    def _runs(self) -> tuple[ExploredRun, ExploredRun]:
        return self.first, self._second

    def normal(self, effect: Effect) -> Effect:
        """Return an effect without what differs between the clean runs."""
        normal: Effect = Counter()
        for what, count in effect.items():
            if isinstance(what, Row):
                kept = tuple(v for v in what.values if (what.table, v[0]) not in self._columns)
                normal[Row(what.table, kept)] += count
            elif _shape(what.name) in self._shapes:
                normal[Key(_shape(what.name), None)] += 1 if what.value is None else count
            elif what.name in self._values:
                normal[Key(what.name, None if what.value is None else "…")] += (
                    1 if what.value is None else count
                )
            else:
                normal[what] += count
        return Counter({what: count for what, count in normal.items() if count})

    def is_same_request(self, number: int, sent: Sent) -> bool:
        """Return whether a request of another run is the clean runs' one with that number."""
        one, other = self.sent[number - 1], self._second.tap.sent[number - 1]
        return sent.subject == one.subject and agree(
            payload_of(one.payload), payload_of(other.payload), payload_of(sent.payload)
        )

    def is_same_answer(self, call: Call) -> bool:
        """Return whether a call of another run answered, or raised, what the clean ones did."""
        one, other = self.calls[call.number - 1], self._second.calls.all[call.number - 1]
        if one.error is not None or call.error is not None:
            return type(one.error) is type(call.error)
        return one.asks_for_chance or agree(one.answer, other.answer, call.answer)

    def reads(self) -> Iterator[Call]:
        """Yield the plugin's calls that answer and can change nothing, each once."""
        seen = set()
        writing = [sent.call for sent in self.sent if sent.call and is_write(sent.subject)]
        for call in self.calls:
            if call.kind != "plugin" or call in writing or call.error or call.asks_for_chance:
                continue
            known = (self.first.owner_number(call), call.name, call.arguments)
            if known not in seen:
                seen.add(known)
                yield call


def _effect(call: Call) -> Effect:
    assert call.before is not None
    assert call.after is not None  # clean runs look at all calls
    return effect_of(call.before, call.after)


def _first_difference(ours: list[str], theirs: list[str]) -> str:
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False), 1):
        if one != other:
            return f"number {number} is {one}, then {other}"
    return f"{len(ours)}, then {len(theirs)} of them"


def _differing_columns(one: Effect, other: Effect) -> set[tuple[str, str]]:
    ours, theirs = _columns(one), _columns(other)
    return {column for column in {*ours, *theirs} if ours.get(column) != theirs.get(column)}


def _columns(effect: Effect) -> dict[tuple[str, str], Counter[Any]]:
    columns: dict[tuple[str, str], Counter[Any]] = {}
    for what, count in effect.items():
        if isinstance(what, Row):
            for name, value in what.values:
                columns.setdefault((what.table, name), Counter())[value] += count
    return columns


def _differing_shapes(one: Effect, other: Effect) -> set[str]:
    names = [{what.name for what in effect if isinstance(what, Key)} for effect in (one, other)]
    return {_shape(name) for name in names[0] ^ names[1] if _shape(name) != name}


def _differing_values(one: Effect, other: Effect) -> set[str]:
    ours, theirs = (
        {what: count for what, count in effect.items() if isinstance(what, Key)}
        for effect in (one, other)
    )
    return {what.name for what in {**ours, **theirs} if ours.get(what) != theirs.get(what)}


def _shape(name: str) -> str:
    return _CHANGING.sub("*", name)
