"""The exploration finds what the ordinary suite does not, and nothing in a plugin that is right."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.pytest_rosey.explore.mutants.of_trivia import MUTANTS, Mutant

pytestmark = pytest.mark.process

HERE = Path(__file__).parent / "mutants"
PLACES = int(os.environ.get("ROSEY_EXPLORE_PLACES", "8"))
SUITE = ("test_trivia.py", "test_trivia_explored.py")
SHOWN_BY = {
    "a retry without an idempotency key": "test_asking",
    "a cache that is dropped only when the write was acknowledged": "test_renaming",
    "a counter beside the row instead of with it": "test_asking",
    "a swallowed error that is reported as success": "test_winners",
    "a compensation that fails as well": "test_asking",
    "a retry of a call that is not idempotent": "test_winners",
    "reading back after a lost reply": "test_asking",
    "a queue that acknowledges early": "test_the_queue",
    "an event before the commit": "test_asking",
    "a rate limit that is taken twice": "test_the_limit",
    "a wait without bounds": "test_asking",
    "a breaker that never closes": "test_the_breaker",
    "a worker that dies of its first error": "test_the_queue",
    "an error of another kind than the plugin promises": "test_winners",
    "a task that is left behind": "test_asking",
    "an absent answer taken for an empty one": "test_asking",
}
"""The test that is enough to show it."""


@pytest.fixture
def trivia(project):
    """The plugin and its suite."""
    for name in ("trivia.py", *SUITE):
        shutil.copy(HERE / name, project.path)
    return project


def mutate(path: Path, mutant: Mutant) -> None:
    source = path.read_text("utf-8")
    assert source.count(mutant.old) == 1, mutant.name
    path.write_text(source.replace(mutant.old, mutant.new), "utf-8")


def explored(project, *arguments):
    """Return the exploration's findings: the tests, by name."""
    project.runpytest_inprocess("--rosey-explore", "--rosey-explore-json=found.json", *arguments)
    found = json.loads((project.path / "found.json").read_text("utf-8"))
    return {test["nodeid"]: test for test in found["tests"]}


def marks(tests):
    return [place["mark"] for test in tests.values() for place in test["places"]]


def test_nothing_is_found_in_the_plugin_that_is_right(trivia):
    tests = explored(trivia, f"-orosey_explore_places={PLACES}")
    assert sum(test["possible"] for test in tests.values()) > 300
    assert set(marks(tests)) == {"✓", "a"}
    assert not [test for test in tests.values() if test["reason"]]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_is_found_by_the_exploration_and_not_by_its_suite(trivia, mutant):
    mutate(trivia.path / "trivia.py", mutant)
    trivia.runpytest_inprocess("test_trivia.py").assert_outcomes(passed=9)
    tests = explored(trivia, "-k", SHOWN_BY[mutant.name])
    assert "✗" in marks(tests)
