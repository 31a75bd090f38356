"""The plugin's Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from typing import Any, Final

from reference_plugin_quote_db.errors import QuoteError
from reference_plugin_quote_db.parts.breaker import CircuitState

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

    def watch(
        self,
        *,
        state: Callable[[], CircuitState],
        queued: Callable[[], int],
        level: Callable[[], int],
    ) -> None:
        """Tell where to read, at each scrape, what is not counted."""
        for each in CircuitState:
            self._breaker.labels(each).set_function(partial(_is, each, state))
        self._queued.set_function(queued)
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


def _is(expected: CircuitState, state: Callable[[], CircuitState]) -> bool:
    return state() is expected


class _Bound:
    """The series of one operation: to find one by its labels costs more than to count in it."""

    def __init__(self, name: str, operations: Any, seconds: Any, active: Any) -> None:
        self.success = operations.labels(name, "success")
        self.error = operations.labels(name, "error")
        self.refused = operations.labels(name, "refused")
        self.seconds = seconds.labels(name)
        self.active = active.labels(name)
