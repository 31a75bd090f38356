"""Coroutines of ours that a test made and never awaited: what they were to do was not done.

Python only warns of them, when they are thrown away; here they fail the test.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any, Final

_NEVER_AWAITED: Final = re.compile(r"coroutine '(?P<name>[^']+)' was never awaited")
_PLACE: Final = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_OURS: Final = ("dbservice.client", "pytest_rosey")
_DEPTH: Final = 3
"""Frames that Python remembers of the making of a coroutine: past ours, to the test's."""


class UnawaitedWatch:
    """Notes the warnings of a test about coroutines of ours, and hands all of them on."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._depth = sys.get_coroutine_origin_tracking_depth()
        sys.set_coroutine_origin_tracking_depth(max(self._depth, _DEPTH))
        self._show = warnings.showwarning
        warnings.showwarning = self._note

    def end(self) -> list[str]:
        """Watch no more, and return a line for each of them."""
        sys.set_coroutine_origin_tracking_depth(self._depth)
        if warnings.showwarning == self._note:  # else somebody else has replaced it meanwhile
            warnings.showwarning = self._show
        return self._found

    def _note(self, message: Warning | str, *arguments: Any, **more: Any) -> None:
        text = str(message)
        found = _NEVER_AWAITED.match(text)
        if found is not None and found["name"] in _our_coroutines():
            place = _place(text)
            self._found.append(f"{found['name']}(){place}")
        self._show(message, *arguments, **more)


def _place(text: str) -> str:
    """Return the newest line that made the coroutine and is not ours."""
    places = [(each["file"], each["line"]) for each in _PLACE.finditer(text)]
    theirs = [(file, line) for file, line in places if not file.startswith(_OWN_FOLDERS)]
    return f", made at {theirs[-1][0]}:{theirs[-1][1]}" if theirs else ""


_OWN_FOLDERS = tuple(
    __file__.replace("\\", "/").rsplit("/", 2)[0] + f"/{package}/"
    for package in ("dbservice", "pytest_rosey")
)


def _our_coroutines() -> set[str]:
    return {
        function.__qualname__
        for name, module in list(sys.modules.items())
        if name.startswith(_OURS)
        for function in _coroutine_functions(module)
    }


def _coroutine_functions(module: Any) -> Iterator[Any]:
    for value in list(vars(module).values()):
        if inspect.isclass(value):
            yield from filter(inspect.iscoroutinefunction, vars(value).values())
        elif inspect.iscoroutinefunction(value):
            yield value
