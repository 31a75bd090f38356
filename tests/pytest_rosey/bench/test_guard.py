"""The guard fails when a ratio is off, and only then."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dbservice.cli.failure import CommandFailed
from pytest_rosey.bench import command, guard
from pytest_rosey.bench.figures import Run
from tests import ROOT
from tests.pytest_rosey.bench.given_run import a_whole_run, single

STORED = {"get": 1.5, "add": 0.8}


def test_ratios_within_the_margin_pass() -> None:
    assert guard.too_high({"get": 2.9, "add": 0.1}, STORED, 2.0) == {}


def test_a_ratio_beyond_the_margin_is_named() -> None:
    assert guard.too_high({"get": 3.1, "add": 0.8}, STORED, 2.0) == {
        "get": "get: 3.10, stored 1.50, at most 3.00"
    }


def test_ratios_that_only_one_side_has_are_named() -> None:
    assert guard.too_high({"get": 1.5, "new": 1.0}, STORED, 2.0) == {
        "new": "new: is not stored",
        "add": "add: was not measured",
    }


def test_a_service_that_got_slower_is_off() -> None:
    """The whole way from a run to the verdict."""
    before = guard.ratios(a_whole_run())
    assert before["get: service / (echo + sqlite)"] == pytest.approx(0.5 / 0.45)
    assert before["get, 100 in flight: echo / service"] == pytest.approx(1.2)
    assert before["hot get: plugin / legacy"] == pytest.approx(6)
    slower = {
        name: value * (2.1 if name.startswith("add:") else 1) for name, value in before.items()
    }
    assert guard.too_high(before, before, 2.0) == {}
    assert list(guard.too_high(slower, before, 2.0)) == [
        "add: service / (echo + sqlite)",
        "add: plugin / client",
    ]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """What the command will measure, one run after the other."""
    coming: list[Run] = []
    monkeypatch.setattr(command, "_run", lambda *_, **__: coming.pop(0))
    return coming


def a_run_that_is_off() -> Run:
    run = a_whole_run()
    others = [one for one in run.measurements if one.key.contestant != "client"]
    return msgspec.structs.replace(run, measurements=[*others, *QUICK_CLIENT])


QUICK_CLIENT = [
    one for operation in ("get", "add", "upvote", "search") for one in single(operation, client=0.1)
]


def test_the_command_fails_when_a_ratio_is_off_in_every_run(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guard.save(a_whole_run(), tmp_path / "ratios.json")
    runs += [a_run_that_is_off()] * 3
    with pytest.raises(CommandFailed, match="4 ratios are off in 3 runs") as failure:
        command.guard(tmp_path / "ratios.json")
    assert failure.value.exit_code == 1
    told = capsys.readouterr().out
    assert "get: plugin / client: 6.00, stored 1.09, at most 2.18" in told


def test_the_command_believes_a_second_run(runs: list[Run], tmp_path: Path) -> None:
    guard.save(a_whole_run(), tmp_path / "ratios.json")
    runs += [a_run_that_is_off(), a_whole_run()]
    assert command.guard(tmp_path / "ratios.json") == 0
    assert not runs


def test_stored_ratios_survive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "ratios.json"
    guard.save(a_whole_run(), path)
    stored = guard.load(path)
    assert stored.measured_on == "A <fast> one, 2 cores, load 0.1"
    assert guard.too_high(guard.ratios(a_whole_run()), stored.ratios, 1.01) == {}


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match=r"other.json has no stored ratios"):
        guard.load(tmp_path / "other.json")


def test_the_repository_stores_the_ratios_that_are_guarded() -> None:
    path = ROOT / "tests/benchmarks/ratios.json"
    assert guard.load(path).ratios.keys() == guard.ratios(a_whole_run()).keys()
