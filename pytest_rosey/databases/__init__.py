"""The databases of the tests: where they come from, and how migrated ones are copied (SPEC 5.3).

`sqlite` and `postgres` each have both. Only the one that a run uses is imported.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dbservice.engine.engine import Engine
    from dbservice.protocol.migrations import Applied
    from pytest_rosey.service.under_test import ServiceUnderTest

Migrate = Callable[["Engine"], Awaitable["Applied"]]
"""Applies migrations to an open engine."""


class Databases(Protocol):
    """Gives each test its database.

    Attributes:
        outlives_the_test: whether the next test finds what this one stored.
        copies: what copies these databases.
    """

    outlives_the_test: bool
    copies: Copies

    async def take(self) -> str:
        """Return the URL of the next test's database."""

    async def begun(self) -> None:
        """Note that a service has opened it, and that the test begins now."""

    def keep(self, service: ServiceUnderTest) -> str:
        """Keep the database of a test that failed; return how to open it."""

    async def end(self, *, keep: bool = False) -> None:
        """Throw it away, unless it outlives the test; no service has it open any more.

        Args:
            keep: leave it where it is.
        """


class Copies(Protocol):
    """Makes a migrated copy of a test's database, and puts such copies in its place."""

    async def state(self, service: ServiceUnderTest) -> Hashable | None:
        """Return what is in the database of a service now, as far as equality goes.

        None if that cannot be told, or if the database cannot be replaced.
        """

    async def make(self, state: Any, migrate: Migrate) -> tuple[Any, Applied]:
        """Return a template: a copy in that state that was then migrated; and what was applied."""

    async def put(self, service: ServiceUnderTest, state: Any, template: Any) -> bool:
        """Put a copy of a template in the place of a service's database.

        Returns:
            Whether that was done; not if the database is no longer in that state.
        """

    async def forget(self, template: Any) -> None:
        """Throw a template away."""
