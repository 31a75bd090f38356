"""`rosey_explore`: what the author of a test says must hold, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

__tracebackhide__ = True

Invariant = Callable[[], Awaitable[object]]
I = TypeVar("I", bound=Invariant)  # noqa: E741 - an invariant


class RoseyExplore:
    """Collects the invariants of a test.

    Attributes:
        invariants: coroutine functions without arguments.
    """

    def __init__(self) -> None:
        self.invariants: list[Invariant] = []

    def invariant(self, holds: I) -> I:
        """Let a coroutine function be called at the end of every run of the exploration.

        The service answers again by then, and two virtual minutes have passed. The invariant is
        broken if the function raises or returns False.

        Args:
            holds: takes no arguments; returned as it is, so that this can be a decorator.

        Raises:
            TypeError: it cannot be called.
        """
        if not callable(holds):
            raise TypeError(f"invariant() takes a coroutine function, got {holds!r}.")
        self.invariants.append(holds)
        return holds
