"""A suite of hand-made mocks, moved to `fake_nats` and to the service: lines, drifts by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytester"]

NAMES = ("test_on_stubs.py", "test_on_the_service.py")
TESTS = 40


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Path:
    """A copy of the example, in the current folder."""
    return pytester.copy_example("from_mocks")


@pytest.fixture
def readme(suite: Path) -> str:
    return (suite / "README.md").read_text("utf-8")


def run(pytester: pytest.Pytester, *arguments: str) -> Any:
    # Without the plugins that take longer to load than this to run, or start a process.
    blocked = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "benchmark", "cov")]
    return pytester.runpytest_inprocess(*blocked, *arguments)


def lines(*files: Path) -> int:
    return sum(len(file.read_text("utf-8").splitlines()) for file in files)


def test_the_mocks_are_green_with_their_conftest_and_with_ours(
    pytester: pytest.Pytester, suite: Path
) -> None:
    before = ("before", "-opythonpath=before")
    run(pytester, *before).assert_outcomes(passed=TESTS)
    (suite / "before/conftest.py").unlink()
    run(pytester, *before).assert_outcomes(passed=TESTS)


def test_the_same_tests_have_moved(suite: Path) -> None:
    # That they are green is shown in test_examples, with those of the other examples.
    def names(file: str) -> list[str]:
        text = (suite / file).read_text("utf-8")
        return re.findall(r"^(?:class (\w+)|    async def (test_\w+))", text, re.MULTILINE)

    assert [names(name) for name in NAMES] == [names("before/test_polls.py")] * 2


@pytest.mark.parametrize(("column", "name"), list(enumerate(NAMES)))
def test_every_drift_of_the_mocks_fails_on_the_plugin_that_followed_them(
    pytester: pytest.Pytester, readme: str, column: int, name: str
) -> None:
    rows = re.findall(r"^\| .+ \| .+ \| (.+) \| (.+) \|$", readme, re.MULTILINE)
    told = [row[column].strip("`") for row in rows if "::" in row[column]]
    assert len(told) == (10, 12)[column]
    result = run(pytester, "-opythonpath=before", "-rf", name)
    failed = re.findall(r"^FAILED \S+?::(\S+)", result.stdout.str(), re.MULTILINE)
    assert set(told) <= set(failed)


def test_the_lines_that_the_readme_tells(suite: Path, readme: str) -> None:
    mocks, conftest = suite / "before/test_polls.py", suite / "before/conftest.py"
    counted = [lines(mocks, conftest), lines(mocks), *(lines(suite / name) for name in NAMES)]
    assert re.findall(r"^\| .+ \| (\d+) \| .+ \|$", readme, re.MULTILINE) == [
        str(n) for n in counted
    ]
