"""`rosey_benchmark` hands coroutines' durations to pytest-benchmark (SPEC 5.7)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process

pytest_plugins = ["pytester"]

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
addopts = -p no:cacheprovider -p no:randomly -p no:hypothesispytest -p no:cov
"""
LOOP = """
import asyncio, pytest
CALLS = []
async def work(*args, **kwargs):
    await asyncio.sleep(0)
    CALLS.append((asyncio.get_running_loop(), args, kwargs))
    return len(CALLS)
"""


@pytest.fixture
def measured(pytester: pytest.Pytester) -> Any:
    """Run a test body with pytest-benchmark; return what it saved, and the result."""

    def run(body: str, *options: str) -> tuple[list[dict[str, Any]], pytest.RunResult]:
        pytester.makeini(INI)
        pytester.makepyfile(LOOP + body)
        result = pytester.runpytest_subprocess(*options or ["--benchmark-json=saved.json"])
        saved = Path(pytester.path / "saved.json")
        text = saved.read_text("utf-8") if saved.exists() else ""
        return (json.loads(text)["benchmarks"] if text else []), result

    return run


def test_the_figures_are_those_of_the_coroutine(measured: Any) -> None:
    (saved,), result = measured(
        """
@pytest.mark.benchmark(group="mine", min_rounds=20, max_time=0.0001)
async def test_it(rosey_benchmark):
    last = await rosey_benchmark(work, 1, a=2)
    assert last == len(CALLS) and last >= 21, "20 rounds after one to warm up"
    assert {call[0] for call in CALLS} == {asyncio.get_running_loop()}
    assert CALLS[-1][1:] == ((1,), {"a": 2})
"""
    )
    result.assert_outcomes(passed=1)
    stats, extra = saved["stats"], saved["extra_info"]
    assert saved["group"] == "mine"
    assert saved["options"]["timer"] == "perf_counter"
    assert stats["rounds"] == len(stats["data"]) >= 20
    assert extra["p50"] == pytest.approx(stats["median"])
    assert 0 < stats["min"] <= extra["p50"] <= extra["p95"] <= extra["p99"] <= stats["max"]
    assert extra["throughput"] == pytest.approx(stats["rounds"] / stats["total"])


def test_a_clock_of_the_users_own(measured: Any) -> None:
    (saved,), result = measured(
        """
NOW = [0.0]
def clock(): return NOW[0]
async def a_quarter(): NOW[0] += 0.25
@pytest.mark.benchmark(timer=clock, min_rounds=8, max_time=2.0)
async def test_it(rosey_benchmark): await rosey_benchmark(a_quarter)
"""
    )
    result.assert_outcomes(passed=1)
    assert saved["stats"]["data"] == [0.25] * 8
    assert saved["extra_info"] == {"p50": 0.25, "p95": 0.25, "p99": 0.25, "throughput": 4.0}


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_setup_gives_the_arguments_and_does_not_count(measured: Any, kind: str) -> None:
    (saved,), result = measured(
        f"""
NOW = [0.0]
def clock(): return NOW[0]
{kind} setup():
    NOW[0] += 100
    return (3,), {{}}
async def wait(seconds): NOW[0] += seconds
@pytest.mark.benchmark(timer=clock, min_rounds=5, max_time=1.0)
async def test_it(rosey_benchmark): await rosey_benchmark(wait, setup=setup)
"""
    )
    result.assert_outcomes(passed=1)
    assert saved["stats"]["data"] == [3.0] * 5


def test_many_clients_at_a_time(measured: Any) -> None:
    (saved,), result = measured(
        """
async def test_it(rosey_benchmark):
    running = most = 0
    async def call():
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        CALLS.append(1)
    await rosey_benchmark.concurrent(call, clients=4, each=25, rounds=3)
    assert (len(CALLS), most) == (300, 4)
"""
    )
    result.assert_outcomes(passed=1)
    stats, extra = saved["stats"], saved["extra_info"]
    assert (stats["rounds"], extra["clients"], extra["each"]) == (3, 4, 25)
    assert extra["throughput"] == pytest.approx(300 / stats["total"])
    assert 0 < extra["p50"] <= extra["p99"] < stats["max"]


CALLED_ONCE = """
async def test_it(rosey_benchmark):
    assert await rosey_benchmark(work) == 1
async def test_many(rosey_benchmark):
    await rosey_benchmark.concurrent(work)
    assert len(CALLS) == 2
"""


def test_disabled_it_calls_once(measured: Any) -> None:
    _, result = measured(CALLED_ONCE, "--benchmark-disable")
    result.assert_outcomes(passed=2)


def test_skipped_like_every_benchmark(measured: Any) -> None:
    _, result = measured(CALLED_ONCE, "--benchmark-skip")
    result.assert_outcomes(skipped=2)


def test_one_that_was_never_awaited_is_told(measured: Any) -> None:
    """It has measured nothing."""
    _, result = measured(
        """
async def test_it(rosey_benchmark): rosey_benchmark(work)
async def test_many(rosey_benchmark): rosey_benchmark.concurrent(work)
async def test_with_a_bus(rosey_benchmark, nats_client): rosey_benchmark(work)
""",
        "-Wignore",
    )
    result.assert_outcomes(passed=3, errors=3)
    result.stdout.fnmatch_lines(["  - RoseyBenchmark.__call__(), made at *.py:8"])
    result.stdout.fnmatch_lines(["  - RoseyBenchmark.concurrent(), made at *.py:9"])
    result.stdout.fnmatch_lines(["  - RoseyBenchmark.__call__(), made at *.py:10"])


def test_nothing_to_measure_is_refused(measured: Any) -> None:
    _, result = measured(
        """
async def test_it(rosey_benchmark): await rosey_benchmark.concurrent(work, each=0)
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ValueError: Nothing to measure: clients=10, each=0, rounds=5*"])


def test_a_failure_is_that_of_the_coroutine(measured: Any) -> None:
    saved, result = measured(
        """
async def fails(): raise LookupError("as it is")
async def test_it(rosey_benchmark): await rosey_benchmark(fails)
async def test_many(rosey_benchmark): await rosey_benchmark.concurrent(fails, clients=2)
async def gives_up(): pytest.fail("enough")
async def test_gives_up(rosey_benchmark): await rosey_benchmark(gives_up)
"""
    )
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["*LookupError: as it is*", "*Failed: enough"])
    result.stdout.no_fnmatch_line("*was not used*")
    result.stdout.no_fnmatch_line("*pytest_benchmark/*")
    assert saved == []


def test_saved_runs_can_be_compared(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    pytester.makepyfile(
        LOOP
        + """
@pytest.mark.benchmark(max_time=0.0001)
async def test_it(rosey_benchmark): await rosey_benchmark(work)
"""
    )
    pytester.runpytest_subprocess("--benchmark-save=first").assert_outcomes(passed=1)
    result = pytester.runpytest_subprocess("--benchmark-compare=0001")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*benchmark: 2 tests*", "test_it*(0001_first)*"])
