"""`rosey bench` on the command line; with as few calls as there can be."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dbservice.cli.app import run
from pytest_rosey.bench import machine, plan
from pytest_rosey.bench.contestants import NoSuchBenchmarkError, benchmark_of
from pytest_rosey.bench.figures import load, save
from pytest_rosey.bench.plan import with_sizes
from pytest_rosey.servers.nats import find_binary
from tests.pytest_rosey.bench.given_run import a_whole_run

TINY = replace(
    plan.QUICK,
    rounds=1,
    calls=2,
    load_rounds=1,
    load_calls={10: 10, 100: 100},
    load_seconds=0.0,
    rows=20,
    sizes=(100,),
    size_rounds=1,
    size_calls=1,
    memory_rows=10,
    memory_operations=2,
    votes=5,
)

needs_server = pytest.mark.skipif(find_binary().path is None, reason="no nats-server binary")


def rosey_bench(arguments: list[str]) -> int:
    return run(["bench", *arguments])


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "QUICK", TINY)


@pytest.mark.process
@needs_server
def test_a_comparison_from_the_command_to_its_reports(disk: Path) -> None:
    files = {name: disk / f"run.{name}" for name in ("json", "html", "markdown")}
    options = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    places = ["--quick", "--no-postgres", "--directory", str(disk)]
    assert rosey_bench(["compare", *places, *options]) == 0
    found = load(files["json"])
    assert found.seats("latency") == ["legacy", "sqlite", "echo", "service", "client", "plugin"]
    assert found.values("throughput", "clients") == [10, 100]
    assert found.values("dataset", "rows") == [100]
    assert found.find("latency", "get", "plugin").calls == 2
    assert [(race.contestant, race.score) for race in found.races][1] == ("plugin", 5)
    assert [one.process for one in found.memory] == [
        "service, most rows",
        "legacy",
        "plugin",
        "service",
    ]
    assert all(min(one.empty, one.filled, one.peak) > 0 for one in found.memory), "it had ended"
    assert found.restarts[0].rows == 100
    assert found.left_out == ["PostgreSQL: --no-postgres"]
    assert "rosey-bench" not in " ".join(path.name for path in disk.iterdir())
    assert "comparisons" in files["html"].read_text("utf-8")
    assert "### 14.2 Latency" in files["markdown"].read_text("utf-8")


@pytest.mark.process
def test_the_command_is_found_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; from dbservice.cli.app import run; run(['bench', 'compare', '--help']);"
        "print(sorted({'nats', 'sqlalchemy', 'aiosqlite'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "rosey bench compare --json run.json --html report.html" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.process
def test_the_legacy_side_alone(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = disk / "run.json"
    places = ["--quick", "--directory", str(disk), "--json", str(out)]
    assert rosey_bench(["legacy", *places]) == 0
    found = json.loads(out.read_text("utf-8"))
    assert found["command"] == "legacy"
    assert set(found["contestants"]) == {"legacy", "sqlite"}
    assert "One client: p50 / p95 / p99" in capsys.readouterr().out


def test_a_run_is_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(a_whole_run(), tmp_path / "run.json")
    document = tmp_path / "performance.md"
    assert rosey_bench(["report", str(tmp_path / "run.json"), "--markdown", str(document)]) == 0
    assert document.read_text("utf-8").startswith("# Performance\n")
    assert "Targets" in capsys.readouterr().out


def test_another_file_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text("{}")
    assert rosey_bench(["report", str(tmp_path / "other.json")]) == 2
    assert "is not a file of `rosey bench --json`" in capsys.readouterr().err
    assert rosey_bench(["report", str(tmp_path / "none.json")]) == 2
    assert rosey_bench(["guard", str(tmp_path / "none.json")]) == 2


def test_memory_is_no_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "file_system", lambda _: "tmpfs")
    assert rosey_bench(["compare", "--directory", str(tmp_path)]) == 2
    assert "is on tmpfs, where nothing waits for a disk" in capsys.readouterr().err


def test_what_cannot_be_measured(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rosey_bench(["legacy", "--directory", str(disk / "none")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert rosey_bench(["legacy", "--plugin", "quote-bd"]) == 2
    assert "No installed package has a benchmark of 'quote-bd'" in capsys.readouterr().err


def test_the_reference_plugin_has_a_benchmark() -> None:
    sides = benchmark_of("quote-db")
    assert callable(sides.legacy)
    assert callable(sides.modern)
    with pytest.raises(NoSuchBenchmarkError, match=r"'quote-bd'.*quote-db"):
        benchmark_of("quote-bd")


def test_sizes_are_powers_of_ten() -> None:
    assert with_sizes(plan.DEFAULT, 20_000) == (100, 1_000, 10_000)
    assert with_sizes(plan.DEFAULT, 1) == (100,)


@pytest.mark.process
def test_a_run_with_other_sizes_says_so(disk: Path) -> None:
    out = disk / "run.json"
    places = ["--quick", "--largest", "200", "--directory", str(disk), "--json", str(out)]
    assert rosey_bench(["legacy", *places]) == 0
    assert load(out).preset == "quick --largest 200"


def test_a_loop_that_is_not_installed(
    disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert rosey_bench(["legacy", "--directory", str(disk), "--loop", "uvloop"]) == 2
    assert "uvloop is not installed" in capsys.readouterr().err
    assert list(disk.iterdir()) == []


def test_the_file_system_is_found_from_the_mounts(tmp_path: Path) -> None:
    assert machine.file_system(Path("/proc")) == "proc"
    assert machine.fsync_seconds(tmp_path) > 0
