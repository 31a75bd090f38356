"""The plugin's Prometheus metrics."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial, wraps
from importlib.metadata import version
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast

from dbservice.client import StorageError
from reference_plugin_quote_db.errors import QuoteError
from reference_plugin_quote_db.parts.breaker import CircuitBreaker, CircuitState
from reference_plugin_quote_db.tracing import Tracing

logger = logging.getLogger("quote_db")

P = ParamSpec("P")
R = TypeVar("R")

SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
USERS_AT_MOST: Final = 1000
"""Users with a series of their own; whoever comes later is counted as `other`."""


class Metrics:
    """The metrics of one plugin, in a registry of their own.

    Args:
        namespace: the plugin's name.

    Attributes:
        registry: where they are collected.
    """

    def __init__(self, namespace: str) -> None:
        # Imported here: whoever only reads the package's migrations does not pay for it.
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

        self.registry = registry = CollectorRegistry()
        self._operations = Counter(
            "quote_operations_total",
            "Operations by outcome: success, error, or refused for what was asked",
            ["operation", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "quote_operation_duration_seconds",
            "Time an operation takes",
            ["operation"],
            buckets=SECONDS,
            registry=registry,
        )
        self._active = Gauge(
            "quote_active_operations", "Operations in progress", ["operation"], registry=registry
        )
        self.cache_hit: Callable[[], None] = Counter(
            "quote_cache_hits_total", "Quotes found in the cache", registry=registry
        ).inc
        self.cache_missed: Callable[[], None] = Counter(
            "quote_cache_misses_total", "Quotes not found in the cache", registry=registry
        ).inc
        self._limited = Counter(
            "quote_ratelimit_exceeded_total",
            "Quotes refused because the user had added too many",
            ["user"],
            registry=registry,
        )
        self._limited_users: set[str] = set()
        self._breaker = Gauge(
            "quote_circuit_breaker_state",
            "1 for the state the circuit breaker is in, 0 for the others",
            ["state"],
            registry=registry,
        )
        self._queued = Gauge("quote_queued_writes", "Writes that wait", registry=registry)
        self._level = Gauge(
            "quote_degradation_level",
            "1 normal, 2 limited, 3 degraded, 4 unavailable",
            registry=registry,
        )
        Info("quote_system", "What this is", registry=registry).info(
            {
                "version": _version(),
                "storage_backend": "nats",
                "plugin": namespace,
            }
        )
        self._bound: dict[str, _Bound] = {}

    def watch(self, breaker: CircuitBreaker, queue: Sized, level: Callable[[], int]) -> None:
        """Tell where to read, at each scrape, what is not counted."""
        for state in CircuitState:
            self._breaker.labels(state).set_function(partial(_is, state, breaker))
        self._queued.set_function(lambda: len(queue))
        self._level.set_function(level)

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Count and time an operation, by whether it raises.

        A `QuoteError` or a `PermissionError` is an answer, not a failure: users make mistakes, and
        no alert should come of that.
        """
        bound = self._bound.get(name) or self._bind(name)
        bound.active.inc()
        try:
            with bound.seconds.time():
                yield
        except (QuoteError, PermissionError):
            bound.refused.inc()
            raise
        except Exception:
            bound.error.inc()
            raise
        else:
            bound.success.inc()
        finally:
            bound.active.dec()

    def rate_limited(self, user: str) -> None:
        """Count a quote that was refused because of the rate limit."""
        if user not in self._limited_users:
            if len(self._limited_users) >= USERS_AT_MOST:
                user = "other"
            self._limited_users.add(user)
        self._limited.labels(user).inc()

    def page(self) -> tuple[str, bytes]:
        """Return the content type and the text that Prometheus scrapes."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return CONTENT_TYPE_LATEST, generate_latest(self.registry)

    def _bind(self, name: str) -> _Bound:
        self._bound[name] = bound = _Bound(name, self._operations, self._seconds, self._active)
        return bound


@cache
def _version() -> str:
    return version("pytest-rosey")  # reads files


def _is(expected: CircuitState, breaker: CircuitBreaker) -> bool:
    return breaker.state is expected


class _Bound:
    """The series of one operation: to find one by its labels costs more than to count in it."""

    def __init__(self, name: str, operations: Any, seconds: Any, active: Any) -> None:
        self.success = operations.labels(name, "success")
        self.error = operations.labels(name, "error")
        self.refused = operations.labels(name, "refused")
        self.seconds = seconds.labels(name)
        self.active = active.labels(name)


class Observer:
    """Watches the operations of one plugin.

    Args:
        metrics: counts and times them.
        tracing: makes their spans, if there are to be any.
    """

    def __init__(self, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self.metrics = metrics
        self._tracing = tracing

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Watch what happens in the `with` block."""
        logger.debug("Quote operation %s", name, extra={"event": f"quote.{name}.start"})
        with self.metrics.operation(name), self.step(name):
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

    def step(self, name: str) -> AbstractContextManager[object]:
        """Watch a part of an operation, which is not counted."""
        return self._tracing.operation(name) if self._tracing else nullcontext()

    def note(self, **facts: str | int) -> None:
        """Tell the trace what the operation is about."""
        if self._tracing:
            self._tracing.note(facts)


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
