"""The service's Prometheus metrics (SPEC 3.7).

Labels are family, operation and code: never a plugin, a table or a key, which messages choose.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from dbservice.protocol.errors import ErrorCode
from dbservice.protocol.operations import OPERATIONS, Operation
from dbservice.runtime.http import Handler, Request, Response

_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_JOBS = (1, 2, 4, 8, 16, 32, 64, 128)
_OK = "OK"
_UNKNOWN = "unknown"


class ServiceMetrics:
    """The metrics of one service, in a registry of their own.

    Every method may be called from any thread.

    Attributes:
        registry: where they are collected; more may be registered in it.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "rosey_db_requests",
            "Requests answered, by error code or OK.",
            ("family", "operation", "code"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "rosey_db_request_duration_seconds",
            "Time from taking a request to sending its reply, waiting included.",
            ("family", "operation"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._late = Counter(
            "rosey_db_requests_late",
            "Requests dropped unexecuted because their deadline had passed.",
            registry=self.registry,
        )
        self._commits = Histogram(
            "rosey_db_commit_batch_size",
            "Writes that shared a commit.",
            buckets=_JOBS,
            registry=self.registry,
        )
        self._swept = Counter(
            "rosey_db_swept_keys",
            "Expired keys that the sweep removed.",
            registry=self.registry,
        )
        self._sweeps = Counter(
            "rosey_db_sweeps", "Sweeps, by outcome.", ("outcome",), registry=self.registry
        )
        # Looking a child up by its labels costs more than counting in it.
        self._bound = {
            operation.request: _Bound(self, operation.family, operation.name)
            for operation in OPERATIONS.values()
        }
        self._unbound = _Bound(self, _UNKNOWN, _UNKNOWN)
        self.committed: Callable[[int], None] = self._commits.observe

    def watch(
        self,
        *,
        in_flight: Callable[[], int],
        queued: Callable[[], int],
        at_database: Callable[[], int],
        waited: Callable[[], float],
        connected: Callable[[], bool],
        dropped: Callable[[], int],
        mended: Callable[[], int],
    ) -> None:
        """Tell where to read, at each scrape, what is not counted.

        Args:
            in_flight: how many requests are being served.
            queued: how many wait.
            at_database: how many operations have a database connection or wait for one.
            waited: for how many seconds the request has waited, in whichever queue, that waits
                longest.
            connected: whether NATS is connected.
            dropped: how many messages could not be read.
            mended: how often a background task of the connection was replaced.
        """
        told = {
            "rosey_db_requests_in_flight": ("Requests being served.", in_flight),
            "rosey_db_requests_queued": ("Requests that wait for their turn.", queued),
            "rosey_db_pool_busy": ("Operations that have or await a connection.", at_database),
            "rosey_db_oldest_waiting_seconds": ("Age of the oldest waiting request.", waited),
            "rosey_db_nats_connected": ("Whether the NATS server is connected.", connected),
            "rosey_db_messages_dropped": ("Messages that could not be read.", dropped),
            "rosey_db_nats_mended": ("Tasks of the NATS connection that were replaced.", mended),
        }
        for name, (text, read) in told.items():
            Gauge(name, text, registry=self.registry).set_function(read)

    def answered(self, operation: Operation | None, code: ErrorCode | None, seconds: float) -> None:
        """Count a request.

        Args:
            operation: what was asked for; None if it is none of the contract.
            code: the error code of the reply, None for success.
            seconds: how long it took.
        """
        bound = self._unbound if operation is None else self._bound[operation.request]
        bound.count(code)
        bound.observe(seconds)

    def late(self) -> None:
        """Count a request that was dropped because nobody waits for it any more."""
        self._late.inc()

    def swept(self, keys: int) -> None:
        """Count a sweep that removed this many keys."""
        self._sweeps.labels("done").inc()
        self._swept.inc(keys)

    def sweep_failed(self) -> None:
        """Count a sweep that failed."""
        self._sweeps.labels("failed").inc()

    def page(self) -> bytes:
        """Return all of them in the text format of Prometheus."""
        return generate_latest(self.registry)

    def counter_of(self, family: str, operation: str, code: str) -> Counter:
        """Return the counter of requests with these labels."""
        return self._requests.labels(family, operation, code)

    def histogram_of(self, family: str, operation: str) -> Histogram:
        """Return the latency histogram with these labels."""
        return self._seconds.labels(family, operation)


class _Bound:
    """The children of one operation; those of error codes are made when they first occur."""

    def __init__(self, metrics: ServiceMetrics, family: str, operation: str) -> None:
        self._metrics = metrics
        self._labels = (family, operation)
        self._ok = metrics.counter_of(family, operation, _OK).inc
        self._failed: dict[ErrorCode, Callable[[], None]] = {}
        self.observe = metrics.histogram_of(family, operation).observe

    def count(self, code: ErrorCode | None) -> None:
        if code is None:
            self._ok()
            return
        if code not in self._failed:
            self._failed[code] = self._metrics.counter_of(*self._labels, code.value).inc
        self._failed[code]()


def metrics_endpoint(metrics: ServiceMetrics) -> Handler:
    """Return a handler that serves the metrics."""

    async def page(_request: Request) -> Response:
        return Response(200, CONTENT_TYPE_LATEST, metrics.page())

    return page
