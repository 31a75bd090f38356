"""What the fixtures cost a test."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pytest_rosey import FakeNats, MigrationRunner, RoseyBenchmark, ServiceUnderTest
from pytest_rosey.databases.sqlite import SqliteCopies
from pytest_rosey.databases.templates import Templates

# ruff: noqa: PT019 - the private fixture has a value, and these tests use it

PAIRS = 40


async def test_fake_nats_round_trip(fake_nats: FakeNats, rosey_benchmark: RoseyBenchmark) -> None:
    fake_nats.respond("a.subject", {"answer": 42})
    reply = await rosey_benchmark(fake_nats.request, "a.subject", b"{}")
    assert b"42" in reply.data


async def test_service_start_to_stop(
    db_service: ServiceUnderTest, _rosey: Any, rosey_benchmark: RoseyBenchmark
) -> None:
    nats = await _rosey.connect("benchmark")
    await rosey_benchmark(lambda: with_service(db_service, nats, _nothing))


async def test_a_migrated_service_by_copy_and_by_running(
    db_service: ServiceUnderTest, _rosey: Any, rosey_benchmark: RoseyBenchmark
) -> None:
    """Measured in turns, so that whatever else the machine does meets both alike."""
    nats = await _rosey.connect("benchmark")
    templates = Templates(SqliteCopies())

    async def copied(service: ServiceUnderTest) -> None:
        report = await MigrationRunner(service, templates).apply("quote-db")
        assert report["current_version"] == 3

    async def run(service: ServiceUnderTest) -> None:
        assert (await service.directly("quote-db").migrations.apply()).current_version == 3

    await with_service(db_service, nats, copied)
    copying, running, starting = [], [], []
    for _ in range(PAIRS):
        copying.append(await seconds(lambda: with_service(db_service, nats, copied)))
        running.append(await seconds(lambda: with_service(db_service, nats, run)))
        starting.append(await seconds(lambda: with_service(db_service, nats, _nothing)))
    await rosey_benchmark(lambda: with_service(db_service, nats, copied))
    migrating = statistics.median(running) - statistics.median(starting)
    rosey_benchmark.extra_info.update(
        copying_to_running=statistics.median(copying) / statistics.median(running),
        of_migrating_alone=(statistics.median(copying) - statistics.median(starting)) / migrating,
    )
    assert statistics.median(copying) < statistics.median(running)


async def with_service(
    like: ServiceUnderTest, nats: Any, work: Callable[[ServiceUnderTest], Awaitable[None]]
) -> None:
    """Start a service in memory, do something with it, and stop it."""
    service = ServiceUnderTest(
        "sqlite+aiosqlite://", nats, migrations=like.migration_roots, clock=like.clock
    )
    await service.start()
    await work(service)
    await service.stop()


async def seconds(work: Callable[[], Awaitable[None]]) -> float:
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start


async def _nothing(_service: ServiceUnderTest) -> None:
    """Leave the service as it is."""
