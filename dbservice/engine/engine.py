"""What the service needs from a database engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dbservice.engine.orders import Order
from dbservice.engine.steps import Steps, T
from dbservice.sqltext.dialects import Dialect


class Apart(Protocol):
    """Worker processes beside an engine: they run what can take long, and can be ended."""

    async def read(self, order: Order, turn: str) -> bytes:
        """Have an operation run that only reads; return its encoded reply.

        Args:
            order: what to do.
            turn: the plugin in whose turn it is done.

        Raises:
            RequestError, EngineError: what running it here would raise.
        """

    async def write(self, order: Order, turn: str) -> bytes:
        """Have an operation run that writes; return its encoded reply when it is durable.

        Args:
            order: what to do.
            turn: the plugin in whose turn it is done.

        Raises:
            RequestError, EngineError: what running it here would raise.
        """


class Engine(Protocol):
    """A database that runs operations, each in one transaction.

    Every method takes a function that makes the generator, because a transaction that the engine
    has to repeat needs a fresh one. Errors are those of `dbservice.engine.errors`, and whatever
    the operation itself raises; after any of them nothing of the operation is kept.

    Attributes:
        dialect: whose SQL it takes.
        apart: its worker processes; None where it can end everything itself, or nobody wanted any.
    """

    dialect: Dialect
    apart: Apart | None

    @property
    def busy(self) -> int:
        """How many operations have a connection to the database or wait for one."""

    @property
    def waited(self) -> float:
        """For how many seconds the operation has waited for its turn that waits longest."""

    async def identity(self) -> str:
        """Return what tells this database from every other, the same for all its replicas.

        Raises:
            EngineError: it cannot be read.
        """

    async def open(self) -> None:
        """Connect. Raises UnavailableError with a sentence that says what is wrong."""

    async def close(self) -> None:
        """Finish what has been taken, then disconnect."""

    async def check_writable(self) -> None:
        """See that a write would be taken now, and be found where the database was opened.

        Raises:
            FileGoneError: its file was removed, moved or replaced.
            FullError: it has no room left, as far as that is known without a write.
            NotWritableError: it is read-only.
            UnavailableError: it cannot be reached.
        """

    async def read(
        self,
        operation: Callable[[], Steps[T]],
        *,
        scan: bool = False,
        plugin: str = "",
    ) -> T:
        """Run an operation that only reads.

        Args:
            operation: makes the generator.
            scan: it may look at many rows; keep it out of the way of quick reads.
            plugin: whose turn it is where operations wait.
        """

    async def write(
        self,
        operation: Callable[[], Steps[T]],
        *,
        quick: bool = False,
        scan: bool = False,
        alone: bool = False,
        plugin: str = "",
    ) -> T:
        """Run an operation that writes; return when it is durable.

        Args:
            operation: makes the generator.
            quick: it touches a few rows that keys find.
            scan: it looks for its rows, maybe through many; what it has begun may be undone and
                begun again.
            alone: nobody would be held up by it, as far as the caller knows.
            plugin: whose turn it is where operations wait.
        """

    async def exclusive(
        self,
        operation: Callable[[], Steps[T]],
        *,
        keep: bool = True,
        checks_references: bool = True,
        plugin: str = "",
    ) -> T:
        """Run an operation that changes schemas, with foreign keys checked only at its end.

        Args:
            operation: makes the generator.
            keep: False runs it for its answer and undoes everything (dry run).
            checks_references: False where the operation is one of several that only together leave
                no row whose foreign key leads nowhere, and the last of them looks itself.
            plugin: whose request it is, which has its time and waits for its turn as a write does;
                empty for the service's own and an admin's, which may take any time.
        """
