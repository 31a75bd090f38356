"""Which tests are explored, by which rules, and why others are not."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_rosey import marks, virtual_time
from pytest_rosey.options import settings

PLACES = 200
"""Places that are explored of one test at the most, where nothing else is said."""

_USES_STORAGE = ("rosey_plugin", "storage")
_NOT_EXPLORED = {
    "fake_nats": "its answers are stubs (fake_nats), which know no database",
    "mock_nats": "its answers are stubs (mock_nats), which know no database",
    "nats_faults": "it has faults of its own (nats_faults)",
    "rosey_benchmark": "it is a benchmark",
    "benchmark": "it is a benchmark",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What `@pytest.mark.rosey_explore` says about one test.

    Attributes:
        degrades: patterns of calls that may answer otherwise when something goes wrong.
        partial: patterns of keys (`kv:NAME`) and tables (`row:NAME`) that a call which failed may
            have changed in part.
        errors: what calls may raise besides what is allowed anyway.
        places: how many are explored at the most.
    """

    degrades: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    errors: tuple[type[Exception], ...] = ()
    places: int = PLACES


def is_asked_for(item: pytest.Item) -> bool:
    """Return whether a test is to be explored, if it can be."""
    if item.get_closest_marker(marks.EXPLORE) is not None:
        return True
    asked = settings(item.config).explore
    return asked and any(name in _USES_STORAGE for name in getattr(item, "fixturenames", ()))


def rules_of(item: pytest.Item) -> Rules:
    """Return the rules for a test; a marker on the test beats one on its class."""
    given: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers(marks.EXPLORE))):
        wrong = [
            f"{name}={value!r}" for name, value in marker.kwargs.items() if not _fits(name, value)
        ]
        if marker.args or wrong:
            takes = (
                "degrades=[...], partial=[...] (patterns), errors=[...] (exception classes) and "
                "places=N (from 1)"
            )
            marks.refuse(item, marker, takes, wrong)
        given.update(marker.kwargs)
    limit = given.pop("places", settings(item.config).explore_places)
    return Rules(**{name: _tuple(value) for name, value in given.items()}, places=limit)


def _fits(name: str, value: Any) -> bool:
    match name:
        case "places":
            return type(value) is int and value > 0
        case "errors":
            return all(isinstance(e, type) and issubclass(e, Exception) for e in _tuple(value))
        case _:
            return name in Rules.__slots__ and all(isinstance(e, str) for e in _tuple(value))


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def why_not(item: pytest.Item) -> str | None:
    """Return why a test cannot be explored, as far as that is known before it is run again."""
    function = getattr(item, "obj", None)
    if getattr(function, "is_hypothesis_test", False):
        return "hypothesis runs it with many examples, other ones each time"
    if not inspect.iscoroutinefunction(function):
        return "it is not a coroutine"
    names = getattr(item, "fixturenames", ())
    for name, reason in _NOT_EXPLORED.items():
        if name in names:
            return reason
    if "db_service" not in names:
        return "it does not use db_service, storage or rosey_plugin"
    return virtual_time.why_not(item)
