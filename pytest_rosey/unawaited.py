"""Coroutines of ours that a test made and never awaited: what they were to do was not done.

Python only warns of them, when they are thrown away; here they fail the test, whatever the filters
of warnings say.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, Final

import pytest

_DEPTH: Final = 1
"""Frames that Python remembers of the making of a coroutine: past ours, to the test's."""

_HOOK: Final = "_warn_unawaited_coroutine"
"""What Python calls before any filter of warnings. tests/pytest_rosey/fixtures guards it."""

_HERE: Final = str(Path(__file__).parent)
_PACKAGES: Final = (_HERE, str(Path(_HERE).with_name("dbservice")))
_OURS: Final = (_HERE, str(Path(_PACKAGES[1], "client")))
"""The folders of the coroutines that tests get to call."""


class UnawaitedWatch:
    """Notes coroutines of a test that were never awaited: ours, and its plugins'.

    Args:
        item: the test.
    """

    def __init__(self, item: pytest.Item) -> None:
        self._function = getattr(item, "originalname", item.name)
        self._found: list[str] = []
        self._plugins: list[type] = []
        self._depth = sys.get_coroutine_origin_tracking_depth()
        sys.set_coroutine_origin_tracking_depth(max(self._depth, _DEPTH))
        self._warn = getattr(warnings, _HOOK)
        setattr(warnings, _HOOK, self._note)

    def watch(self, plugin: object) -> None:
        """Note the coroutines of a plugin, too."""
        self._plugins.append(type(plugin))

    def end(self) -> str:
        """Watch no more, and return what the test is to be told; empty if all is well."""
        sys.set_coroutine_origin_tracking_depth(self._depth)
        setattr(warnings, _HOOK, self._warn)
        listed = "".join(f"\n  - {line}" for line in self._found)
        return f"The test made coroutines and never awaited them:{listed}" if listed else ""

    def _note(self, coroutine: Any) -> None:
        code = coroutine.cr_code
        if code.co_filename.startswith(_OURS) or code in self._codes_of_plugins():
            file, line, function = _place(coroutine.cr_origin or ())
            made = f", made at {file}:{line}" if file else ""
            # What an earlier test has left in a cycle is found in some later one.
            if not function.startswith("test") or function == self._function:
                self._found.append(f"{coroutine.__qualname__}(){made}")
        self._warn(coroutine)

    def _codes_of_plugins(self) -> Iterator[CodeType]:
        for plugin in self._plugins:
            for _, function in inspect.getmembers(plugin, inspect.iscoroutinefunction):
                yield inspect.unwrap(function).__code__


def _place(origin: tuple[tuple[str, int, str], ...]) -> tuple[str, int, str]:
    """Return file, line and function that made the coroutine, of those that are not ours."""
    return next((place for place in origin if not place[0].startswith(_PACKAGES)), ("", 0, ""))
