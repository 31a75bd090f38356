"""Statistics, and the file that keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_rosey.bench.figures import (
    Key,
    Measurement,
    NotARunError,
    Quartiles,
    Turn,
    load,
    percentile,
    ratio,
    save,
)
from tests.pytest_rosey.bench.given_run import a_run, a_whole_run, measured, single

GET = Key("latency", "get", "plugin")


@pytest.mark.parametrize(
    ("share", "expected"), [(0, 1.0), (25, 2.0), (50, 3.0), (95, 4.8), (100, 5.0)]
)
def test_percentiles_lie_between_neighbours(share: float, expected: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0, 5.0], share) == pytest.approx(expected)


def test_one_value_is_every_percentile() -> None:
    assert percentile([7.0], 95) == 7.0


def test_a_measurement_sums_up_all_calls_and_each_round() -> None:
    one = Measurement.of(GET, [Turn([0.1, 0.3], 0.4), Turn([0.2, 0.2], 0.2)])
    assert one.calls == 4
    assert one.p50 == one.mean == pytest.approx(0.2)
    assert one.longest == 0.3
    assert [each.rate for each in one.rounds] == pytest.approx([5.0, 10.0])
    assert one.rate == pytest.approx(7.5)
    assert one.curve[0] == 0.1
    assert one.curve[-1] == 0.3


def test_ratios_are_taken_round_by_round() -> None:
    """In the second round the machine was slow: for both."""
    one = measured(GET, 2.0, 20.0, 2.0)
    base = measured(Key("latency", "get", "echo"), 1.0, 10.0, 1.0)
    assert ratio(one, base, "p50") == pytest.approx(Quartiles(2.0, 2.0, 2.0))
    assert ratio(one, base, "rate") == pytest.approx(Quartiles(0.5, 0.5, 0.5))


def test_the_spread_is_the_middle_half_of_the_rounds() -> None:
    one = measured(GET, 1.0, 2.0, 3.0, 4.0, 9.0)
    base = measured(GET, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert ratio(one, base, "p50") == pytest.approx(Quartiles(3.0, 2.0, 4.0))


def test_there_is_no_ratio_of_different_rounds() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio(measured(GET, 1.0), measured(GET, 1.0, 1.0), "p50")


def test_a_run_survives_its_file(tmp_path: Path) -> None:
    run = a_whole_run()
    save(run, tmp_path / "run.json")
    assert load(tmp_path / "run.json") == run


@pytest.mark.parametrize(
    ("content", "text"), [("{}", "missing required field"), ("no", "not a file of `rosey bench")]
)
def test_another_file_is_no_run(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "other.json").write_text(content, "utf-8")
    with pytest.raises(NotARunError, match=text):
        load(tmp_path / "other.json")


def test_a_run_of_another_format_is_refused(tmp_path: Path) -> None:
    save(a_run(format=2), tmp_path / "run.json")
    with pytest.raises(NotARunError, match="has format 2; this version reads 1"):
        load(tmp_path / "run.json")


def test_measurements_are_found_by_what_they_are() -> None:
    run = a_run(single("get", plugin=2.0, legacy=1.0))
    assert run.find("latency", "get", "plugin").p50 == pytest.approx(0.002)
    assert run.seats("latency") == ["legacy", "plugin"]
    with pytest.raises(KeyError, match="add of plugin"):
        run.find("latency", "add", "plugin")
