"""What a run with a fault is held against, and what is said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from nats.errors import Error as NatsError

from dbservice.client import StorageError
from pytest_rosey.explore.calls import Call
from pytest_rosey.explore.choice import Rules
from pytest_rosey.explore.comparison import Comparison
from pytest_rosey.explore.effects import Effect, described, effect_of, without
from pytest_rosey.explore.run import PATIENCE, ExploredRun, said
from pytest_rosey.virtual_time import Hang

_NEVER_ALLOWED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    RecursionError,
    TypeError,
    UnicodeError,
)


class Mark(StrEnum):
    """What is said of a place."""

    FINE = "✓"
    """All as without the fault."""

    ALLOWED = "a"
    """An error, or an answer that may be another one, and nothing wrong with it."""

    BROKEN = "✗"
    NOT_REPRODUCED = "?"
    """The run was another one before it came to the fault, so that nothing can be said."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of a place.

    Attributes:
        mark: in short.
        expected: what should have been, where it is broken.
        found: what was.
    """

    mark: Mark
    expected: str = ""
    found: str = ""


def verdict_on(run: ExploredRun, clean: Comparison, rules: Rules) -> Verdict:
    """Return what is to be said of a run with a fault.

    Args:
        run: the run, with a place.
        clean: the clean runs.
        rules: what the author of the test allows.
    """
    call = run.faulted
    if not run.was_run or call is None or not _is_reproduced(run, clean):
        return Verdict(Mark.NOT_REPRODUCED, found=run.failure or "")
    broken = next(_objections(run, call, clean, rules), None)
    if broken is not None:
        return Verdict(Mark.BROKEN, *broken)
    return Verdict(Mark.FINE if clean.is_same_answer(call) else Mark.ALLOWED)


def _is_reproduced(run: ExploredRun, clean: Comparison) -> bool:
    assert run.place is not None
    if not run.tap.is_hit:
        return False
    return all(
        clean.is_same_request(sent.number, sent) for sent in run.tap.sent[: run.place.number]
    )


def _objections(
    run: ExploredRun, call: Call, clean: Comparison, rules: Rules
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, the plainest first: what was expected, and what was found."""
    yield from _hangs(run)
    for each in run.calls.all:
        if each.error is not None and not _may_raise(each, clean, rules):
            yield (
                "a StorageError, or an error of the plugin's own",
                f"{each} raised {said(each.error)}",
            )
    if not (call.overlaps or clean.calls[call.number - 1].overlaps):
        yield from _wrong_effects(run, call, clean, rules)
        yield from _wrong_later(run, call, clean)
    yield from _wrong_afterwards(run, clean)


def _hangs(run: ExploredRun) -> Iterator[tuple[str, str]]:
    if isinstance(run.ended_by, Hang):
        waiting = next((call for call in run.calls.all if isinstance(call.error, Hang)), None)
        yield "an end", f"{waiting or 'the test'} waits for what never comes"
    if run.afterwards.hang is not None:
        yield "an end", run.afterwards.hang
    if run.failure is not None:
        yield "fixtures that can be torn down", run.failure


def _may_raise(call: Call, clean: Comparison, rules: Rules) -> bool:
    error = call.error
    if call.number <= len(clean.calls) and clean.is_same_answer(call):
        return True
    if not isinstance(error, Exception):
        return isinstance(error, Hang)  # which is said elsewhere
    if type(error).__module__ == "builtins" and isinstance(error, _NEVER_ALLOWED):
        return False
    own = getattr(type(call.owner), "errors", ())
    if isinstance(error, (*rules.errors, *own)):
        return True
    if call.kind != "plugin":
        return isinstance(error, (StorageError, NatsError))
    if _package(type(error)) == _package(type(call.owner)):
        return True
    return any(isinstance(each, StorageError) for each in _chain(error))


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    ahead = [error]
    while ahead:
        each = ahead.pop()
        if each in seen:
            continue
        seen.append(each)
        yield each
        ahead += [cause for cause in (each.__cause__, each.__context__) if cause is not None]


def _wrong_effects(
    run: ExploredRun, call: Call, clean: Comparison, rules: Rules
) -> Iterator[tuple[str, str]]:
    effect, wanted = effect_on(run, call, clean), clean.effects[call.number - 1]
    changed = f"{_outcome(call)}, and changed: {described(effect)}"
    same = clean.is_same_answer(call)
    must_be_whole = same or (call.error is None and not _matches(call.name, rules.degrades))
    if must_be_whole and effect != wanted:
        yield described(wanted), changed
    if same:
        return
    if must_be_whole:
        yield "the answer that it gives without the fault", _outcome(call)
    best_effort = getattr(type(call.owner), "best_effort", ())
    partial = (*rules.partial, *best_effort)
    effect, wanted = without(effect, partial), without(wanted, partial)
    if effect and effect != wanted:
        yield f"nothing, or all of it: {described(wanted)}", changed
    if wanted and not effect and call.events:
        yield (
            "no event of what did not happen",
            f"{_outcome(call)}, changed nothing, and published {_names(call.events)}",
        )


def effect_on(run: ExploredRun, call: Call, clean: Comparison) -> Effect:
    """Return what a call has changed, what came late included."""
    assert call.before is not None
    assert call.after is not None  # the faulted call is looked at
    effect = effect_of(call.before, call.after)
    effect.update(run.afterwards.late)
    return clean.normal(Counter({what: count for what, count in effect.items() if count}))


def _wrong_later(run: ExploredRun, call: Call, clean: Comparison) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the calls after one that went as without the fault."""
    if call.asks_for_chance or not clean.is_same_answer(call):
        return
    for later in run.calls.all[call.number :]:
        if later.number > len(clean.calls) or later.overlaps:
            return
        if not clean.is_same_answer(later):
            yield (
                f"{later} to answer as without the fault, since {call.name} did",
                _outcome(later),
            )


def _wrong_afterwards(run: ExploredRun, clean: Comparison) -> Iterator[tuple[str, str]]:
    found = run.afterwards
    left = found.tasks - clean.first.afterwards.tasks
    if left:
        yield "no task left behind", ", ".join(f"{count} x {name}" for name, count in left.items())
    for read in found.reads:
        yield "the same answer as from a fresh instance on the same data", read
    for invariant in found.invariants:
        yield "the invariant to hold", invariant
    call = run.faulted
    if found.again is not None and call is not None and not _may_fail_again(run, call, clean):
        yield (
            f"{call} to work when it is repeated after {PATIENCE:g} virtual seconds",
            f"it raised {said(found.again)}",
        )


def _may_fail_again(run: ExploredRun, call: Call, clean: Comparison) -> bool:
    """Return whether a call need not work now: it never does, or all of it was done before."""
    number = call.number - 1
    if type(run.afterwards.again) is type(clean.calls[number].error):
        return True
    return bool(clean.effects[number]) and effect_on(run, call, clean) == clean.effects[number]


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _outcome(call: Call) -> str:
    if call.error is not None:
        return f"{call.name} raised {said(call.error)}"
    return f"{call.name} returned {call.answer!r}"


def _names(events: list[tuple[str, bytes]]) -> str:
    return ", ".join(subject for subject, _ in events)
