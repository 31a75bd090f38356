"""What is seen of an operation from outside: metrics, a span, and a log line if it failed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from dbservice.client import StorageError
from reference_plugin_quote_db.metrics import Metrics
from reference_plugin_quote_db.tracing import Tracing

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("quote_db")


class Observer:
    """Watches the operations of one plugin.

    Args:
        metrics: counts and times them.
        tracing: makes their spans.
    """

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self.metrics = metrics
        self._tracing = tracing

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Watch what happens in the `with` block."""
        with self.metrics.operation(name), self._tracing.operation(name):
            try:
                yield
            except StorageError as error:
                how = "timeout" if isinstance(error, TimeoutError) else "error"
                logger.error(  # noqa: TRY400 - whoever handles it decides about the traceback
                    "Quote operation %s failed: %s",
                    name,
                    error.message,
                    extra={"event": f"quote.{name}.{how}", "code": str(error.code)},
                )
                raise


class _Observed(Protocol):
    _observer: Observer


S = TypeVar("S", bound=_Observed)


def observed(
    name: str,
) -> Callable[
    [Callable[Concatenate[S, P], Awaitable[R]]],
    Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
]:
    """Return a decorator for methods of a class that has an `_observer`.

    Args:
        name: what the operation is called in metrics, spans and logs: `add`, `get`, `search` …
    """

    def decorate(
        method: Callable[Concatenate[S, P], Awaitable[R]],
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
        @wraps(method)
        async def watched(self: S, *args: P.args, **options: P.kwargs) -> R:
            with self._observer.operation(name):
                return await method(self, *args, **options)

        return cast("Callable[Concatenate[S, P], Coroutine[Any, Any, R]]", watched)

    return decorate
