"""A benchmark of somebody's own plugin: what it has to have, and what is said when it has not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dbservice.cli.app import run
from pytest_rosey.bench import contestants
from pytest_rosey.bench.contestants import NoSuchBenchmarkError, check_contestant

OPERATIONS = ("fill", "add", "get", "upvote", "delete", "random", "search", "top", "count")


class Mine:
    """A side without a life of its own."""

    async def _operation(self, *_: Any) -> Any:
        raise KeyError("author")

    fill = add = get = upvote = delete = random = search = top = count = _operation


class Opened(Mine):
    """A side whose `close` means something else."""

    async def close(self, code: int) -> None:
        raise AssertionError(code)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a package offer a benchmark of a plugin `mine`."""
    sides = SimpleNamespace(legacy=lambda _: Mine(), modern=lambda _: Mine())
    entry = SimpleNamespace(name="mine", value="mine.benchmark", load=lambda: sides)
    monkeypatch.setattr(contestants, "entry_points", lambda group: [entry][: bool(group)])


def test_a_contestant_lives_as_a_plugin_does() -> None:
    check_contestant(Mine(), "mine")
    with pytest.raises(NoSuchBenchmarkError, match=r"Opened\.close\(code: 'int'\).*Rename yours"):
        check_contestant(Opened(), "mine")


def test_all_that_is_missing_is_named() -> None:
    with pytest.raises(NoSuchBenchmarkError) as refused:
        check_contestant(object(), "mine")
    assert all(f"{name}()" in str(refused.value) for name in OPERATIONS)
    assert "open()" not in str(refused.value)


@pytest.mark.process
@pytest.mark.usefixtures("installed")
def test_a_benchmark_that_fails_is_not_a_defect_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_rosey.bench.machine.file_system", lambda _: "ext4")
    assert run(["bench", "legacy", "--quick", "--directory", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "rosey: The benchmark of 'mine' ended in KeyError: 'author'." in said
    assert "ROSEY_DEBUG=1" in said
