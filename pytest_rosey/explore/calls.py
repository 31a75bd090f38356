"""The calls that are judged: the plugin's outermost public coroutines, and what the test asks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from dbservice.runtime.plugin import METHODS
from pytest_rosey.explore.effects import State

Kind = Literal["plugin", "storage", "message"]
"""A public coroutine of a plugin, a request of the test to the storage, one to a plugin's chat."""

_LONGEST_ARGUMENT = 40


@dataclass(slots=True, eq=False)
class Call:
    """One call.

    Attributes:
        number: its place among the calls of the run, from 1.
        kind: what was called.
        name: of the coroutine, or the subject.
        arguments: as text.
        owner: the plugin that was called, or None.
        again: calls it once more with the same arguments; with a plugin, on that one.
        answer: what it returned.
        error: what it raised, or None.
        is_over: whether it has returned or raised.
        overlaps: whether others ran at the same time.
        asks_for_chance: whether it asked for rows at random.
        events: the subjects and payloads that were published during it.
        before: the database when it began, where that was looked at.
        after: the database when it was over.
    """

    number: int
    kind: Kind
    name: str
    arguments: str
    owner: object
    again: Callable[..., Awaitable[Any]]
    answer: Any = None
    error: BaseException | None = None
    is_over: bool = False
    overlaps: bool = False
    asks_for_chance: bool = False
    events: list[tuple[str, bytes]] = field(default_factory=list)
    before: State | None = None
    after: State | None = None

    def __str__(self) -> str:
        return f"{self.name}({self.arguments})"


_inside: ContextVar[bool] = ContextVar("rosey_inside_call", default=False)


class Calls:
    """The calls of one run, in the order in which they began.

    Args:
        look: returns what is in the database now, for the calls that are looked at.
        looked_at: the numbers of those calls; None for all.
    """

    def __init__(self, look: Callable[[], State], looked_at: frozenset[int] | None) -> None:
        self.all: list[Call] = []
        self.is_recording = True
        self._look = look
        self._looked_at = looked_at
        self._open: list[Call] = []

    @property
    def current(self) -> Call | None:
        """The call that goes on now: of several, the one that began last."""
        return self._open[-1] if self._open else None

    def watch(self, plugin: object) -> None:
        """Take note of the calls of a plugin's public coroutines from now on."""
        for name in sorted(dir(type(plugin))):
            if name.startswith("_") or name in METHODS:
                continue
            if not inspect.iscoroutinefunction(inspect.getattr_static(plugin, name, None)):
                continue
            object.__setattr__(plugin, name, self._watched(plugin, name, getattr(plugin, name)))

    def _watched(
        self, plugin: object, name: str, method: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(method)
        async def watched(*args: Any, **kwargs: Any) -> Any:
            if _inside.get() or not self.is_recording or self._within_message():
                return await method(*args, **kwargs)

            async def again(other: object | None = None) -> Any:
                return await getattr(type(plugin), name)(other or plugin, *args, **kwargs)

            with self.call("plugin", name, _text(args, kwargs), plugin, again) as call:
                call.answer = await method(*args, **kwargs)
                return call.answer

        return watched

    def _within_message(self) -> bool:
        # What a plugin does about a message runs in a task of its own.
        return bool(self._open) and all(call.kind == "message" for call in self._open)

    @contextmanager
    def call(
        self,
        kind: Kind,
        name: str,
        arguments: str,
        owner: object,
        again: Callable[..., Awaitable[Any]],
    ) -> Generator[Call]:
        """Let a call begin, and be over at the end."""
        call = Call(len(self.all) + 1, kind, name, arguments, owner, again)
        self.all.append(call)
        with self.resumed(call):
            yield call

    @contextmanager
    def resumed(self, call: Call) -> Generator[Call]:
        """Let a call go on that was thought to be over."""
        if call.before is None and self._is_looked_at(call):
            call.before = self._look()
        call.is_over, call.error = False, None
        self._open.append(call)
        if len(self._open) > 1:
            for each in self._open:
                each.overlaps = True
        token = _inside.set(True)
        try:
            yield call
        except BaseException as error:
            call.error = error
            raise
        finally:
            _inside.reset(token)
            self._open.remove(call)
            call.is_over = True
            if self._is_looked_at(call):
                call.after = self._look()

    def _is_looked_at(self, call: Call) -> bool:
        return self._looked_at is None or call.number in self._looked_at


def _text(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    shown = [*map(_short, args), *(f"{name}={_short(value)}" for name, value in kwargs.items())]
    return ", ".join(shown)


def _short(value: object) -> str:
    text = repr(value)
    if " at 0x" in text:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_ARGUMENT else f"{text[: _LONGEST_ARGUMENT - 1]}…"
