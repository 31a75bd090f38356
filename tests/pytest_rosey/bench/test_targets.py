"""Figures against targets."""

from __future__ import annotations

import msgspec
import pytest

from pytest_rosey.bench.figures import LARGEST, Key, Memory, Quartiles, Restart
from pytest_rosey.bench.targets import Outcome, milliseconds, outcomes, tally
from tests.pytest_rosey.bench.given_run import (
    MACHINE,
    a_run,
    a_whole_run,
    many,
    measured,
    single,
    sized,
)


def outcome(what: str, *measurements: object, **more: object) -> Outcome:
    found = {one.what: one for one in outcomes(a_run(measurements, **more))}  # type: ignore[arg-type]
    return found[what]


def test_a_ratio_below_its_limit_is_met() -> None:
    one = outcome("get by id, p50", *single("get", echo=1.0, service=1.3))
    assert one.verdict == "met"
    assert one.value is not None
    assert round(one.value, 3) == 1.3
    assert one.measured == "1.3 ms, echo 1 ms"
    assert one.target == "≤ 1.4 x echo"
    assert not one.is_close


def test_a_ratio_above_its_limit_is_missed() -> None:
    one = outcome("get by id, p95", *single("get", echo=1.0, service=1.6))
    assert one.verdict == "missed"


def test_uvloop_has_limits_of_its_own() -> None:
    given = single("get", echo=1.0, service=1.45)
    assert outcome("get by id, p50", *given).verdict == "missed"
    assert outcome("get by id, p50", *given, loop="uvloop").verdict == "met"


def test_rates_have_to_be_above_their_limit() -> None:
    fast, slow = (many("add", 100, echo=1.0, service=ms) for ms in (1.1, 3.0))
    name = "durable writes, 100 in flight"
    assert outcome(name, *fast).verdict == "met"
    assert outcome(name, *slow).verdict == "missed"


def test_rounds_that_do_not_agree_are_called_close() -> None:
    echo = measured(Key("latency", "get", "echo"), 1.0, 1.0, 1.0, 1.0)
    service = measured(Key("latency", "get", "service"), 1.1, 1.2, 1.7, 1.8)
    assert outcome("get by id, p50", echo, service).is_close


def test_what_is_not_there_is_not_measured() -> None:
    found = outcomes(a_run())
    assert {one.verdict for one in found} == {"not measured"}
    assert tally(found) == f"{len(found)} not measured"
    assert "top, largest table, p50" in {one.what for one in found}


def test_the_document_asks_for_milliseconds() -> None:
    assert outcome("add of the plugin, p95", *single("add", plugin=49)).verdict == "met"
    assert outcome("add of the plugin, p95", *single("add", plugin=51)).verdict == "missed"


def test_writes_beside_searches_are_told_and_not_judged() -> None:
    alone = measured(Key("without searches", "add", "plugin"), 1.0, 1.0)
    beside = measured(Key("beside searches", "add", "plugin"), 1.6, 1.6)
    one = outcome("adds beside 10 clients that search, p95", alone, beside)
    assert (one.verdict, one.value, one.target) == ("reported", 1.6, "")
    assert not one.is_close


def test_replicas_are_judged_where_they_have_cores_of_their_own() -> None:
    given = many("add", 100, **{"one replica": 1.0, "two replicas": 0.5})
    name = "durable writes on PostgreSQL, 100 in flight"
    few, enough = (
        outcome(name, *given, machine=msgspec.structs.replace(MACHINE, cores=n)) for n in (2, 4)
    )
    assert (few.verdict, enough.verdict) == ("reported", "met")


def test_the_largest_table_is_compared_with_a_thousand_rows() -> None:
    given = sized("get", "plugin", _100=9.0, _1000=1.0, _10000=1.2, _100000=1.7)
    for operation in ("upvote", "top", "random", "count"):
        given += sized(operation, "plugin", _1000=1.0, _100000=1.0)
    assert outcome("get, 100,000 rows, p50", *given).verdict == "missed"
    assert outcome("top, 100,000 rows, p50", *given).verdict == "met"


def test_memory_and_restart() -> None:
    memory = [Memory("service", 50, 60, 101, 10_000, 1_000)]
    found = outcome("memory of the service with 10,000 rows", memory=memory)
    assert (found.verdict, found.measured) == ("missed", "101 MB")
    memory.append(Memory(LARGEST, 50, 90, 99, 1_000_000, 600))
    assert outcome("memory of the service with 1,000,000 rows", memory=memory).verdict == "met"
    restarts = [Restart(1_000, [0.4, 2.0, 0.5])]
    restart = outcome("restart to first reply, 1,000 rows", restarts=restarts)
    assert restart.value == 0.5
    assert restart.rounds == pytest.approx(Quartiles(0.5, 0.45, 1.25))
    assert restart.is_close


def test_a_whole_run_leaves_only_the_replicas_out() -> None:
    missing = [one.what for one in outcomes(a_whole_run()) if one.verdict == "not measured"]
    assert missing == ["durable writes on PostgreSQL, 100 in flight"]


def test_times_have_three_digits_that_count() -> None:
    assert [milliseconds(s) for s in (0.0000085, 0.00123456, 0.0123456, 0.5)] == [
        "8.5 µs",
        "1.23 ms",
        "12.3 ms",
        "500 ms",
    ]
