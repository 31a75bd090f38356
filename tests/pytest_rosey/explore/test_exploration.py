"""What an exploration does: its places, verdicts, reports, and what it leaves alone."""

from __future__ import annotations

import json

import pytest

from pytest_rosey.explore import findings
from pytest_rosey.explore.report import summary
from tests.pytest_rosey.conftest import INI

PLUGIN = """
from dbservice.client import StorageClient, StorageError

class Counter:
    def __init__(self, nats, *, namespace="counter"):
        self.kv = StorageClient(nats, namespace, timeout=1.0).kv
        self.nats = nats

    async def add(self, name):
        return await self.kv.incr(name)

    async def once(self, name):
        return await self.kv.set(name, 1, if_absent=True)

    async def twice(self, name):
        await self.kv.incr(name)
        return await self.kv.incr(name)

    async def shown(self, name):
        try:
            return f"{await self.kv.get(name, 0)} times"
        except StorageError:
            return "unknown"
"""

HEAD = """
import asyncio, pytest
from contextlib import suppress
from dbservice.client import StorageError
from plugin import Counter

@pytest.fixture
async def counter(rosey_plugin):
    return await rosey_plugin(Counter, namespace="counter", migrate=False)
"""


@pytest.fixture
def counters(project):
    """A project with a plugin and room for a test."""
    project.makepyfile(plugin=PLUGIN)

    def explored(test, *options):
        project.makepyfile(test_it=HEAD + test)
        return project.runpytest_inprocess("--rosey-explore-json=found.json", *options)

    return explored


def found(project):
    return json.loads((project.path / "found.json").read_text("utf-8"))["tests"]


def marks(project):
    return {p["place"]: p["mark"] for test in found(project) for p in test["places"]}


ONE_PLACE = "--rosey-explore-place=2:request-lost"

TWICE = """
@pytest.mark.rosey_explore
async def test_twice(counter):
    assert await counter.twice("a") == 2
"""


def test_every_fault_at_every_request(counters, project):
    run = counters(TWICE)
    (test,) = found(project)
    faults = [
        fault["name"]
        for fault in json.loads((project.path / "found.json").read_text("utf-8"))["faults"]
    ]
    possible = [name for name in faults if name != "executed-twice"]  # which needs a key
    assert [p["place"] for p in test["places"]] == [f"{n}:{f}" for n in (1, 2) for f in possible]
    assert marks(project)["1:request-lost"] == "a"
    assert marks(project)["1:reply-lost"] == "✗"
    assert run.ret == pytest.ExitCode.TESTS_FAILED


def test_a_broken_place_says_what_how_and_how_to_see_it_again(counters):
    counters(TWICE, ONE_PLACE).stdout.fnmatch_lines(
        [
            "*test_twice [[]twice 2:request-lost]*",
            "twice('a') breaks when its request kv.incr a meets the fault request-lost:",
            "  the service never saw it, the caller waited in vain.",
            "expected: nothing, or all of it: a +2",
            "found:    twice raised RequestTimeout: *, and changed: a +1",
            "Run this place again: pytest test_it.py::test_twice --rosey-explore-place=2:req*",
        ]
    )


def test_one_place_is_run_again_by_its_command(counters, project):
    run = counters(TWICE, "test_it.py::test_twice", ONE_PLACE)
    assert marks(project) == {"2:request-lost": "✗"}
    assert run.parseoutcomes() == {"passed": 1, "failed": 1}
    counters(TWICE, "--rosey-explore-place=9:request-lost").stdout.fnmatch_lines(
        ["*test_twice: it has no place 9:request-lost"]
    )


def test_the_table(counters):
    counters(TWICE).stdout.fnmatch_lines(
        [
            "32 places in 1 test: * as without the fault (✓), * allowed (a), * broken (✗); *",
            "twice  kv.incr a  ✗  ✗  ✓*",
            "  1 request-lost: the service never saw it, the caller waited in vain",
        ]
    )


def test_more_places_than_allowed_are_sampled_evenly_and_the_table_says_so(counters, project):
    test = TWICE.replace("rosey_explore", "rosey_explore(places=8)")
    run = counters(test)
    places = list(marks(project))
    assert len(places) == 8
    assert {place.partition(":")[0] for place in places} == {"1", "2"}
    run.stdout.fnmatch_lines(["left out of test_it.py::test_twice: 24 of 32 places, evenly; *"])
    counters(test)
    assert list(marks(project)) == places


def test_degraded_answers_are_broken_unless_the_marker_allows_them(counters, project):
    test = """
@pytest.mark.rosey_explore({})
async def test_shown(counter):
    assert await counter.shown("a") == "0 times"
"""
    counters(test.format(""), "--rosey-explore-place=1:request-lost")
    assert marks(project) == {"1:request-lost": "✗"}
    counters(test.format("degrades=['sho*']"))
    assert set(marks(project).values()) == {"✓", "a"}


def test_what_may_be_changed_in_part(counters, project):
    counters(TWICE.replace("rosey_explore", "rosey_explore(partial=['kv:a'], places=8)"))
    assert set(marks(project).values()) == {"✓", "a"}


def test_an_invariant_of_the_author(counters, project):
    run = counters(
        """
@pytest.mark.rosey_explore(partial=["kv:*"])
async def test_twice(counter, storage, rosey_explore):
    @rosey_explore.invariant
    async def even():
        assert await storage("counter").kv.get("a", 0) % 2 == 0, "it is odd"
    await counter.twice("a")
""",
        ONE_PLACE,
    )
    assert marks(project) == {"2:request-lost": "✗"}
    run.stdout.fnmatch_lines(["found:    even: AssertionError: it is odd*"])


def test_what_overlaps_is_judged_for_hangs_and_errors_only(counters, project):
    counters(
        """
@pytest.mark.rosey_explore(places=16)
async def test_both(counter):
    await asyncio.gather(counter.twice("a"), counter.twice("a"))
"""
    )
    assert set(marks(project).values()) <= {"✓", "a"}


def test_a_write_that_changes_nothing_is_not_taken_for_a_read(counters, project):
    """Without the first one, which is lost, it is not too late for the second."""
    counters(
        """
@pytest.mark.rosey_explore
async def test_once(counter):
    assert await counter.once("a")
    assert not await counter.once("a")
"""
    )
    assert set(marks(project).values()) == {"✓", "a"}


def test_what_a_plugin_does_about_an_event_is_not_the_effect_of_a_call(counters, project):
    counters(
        """
@pytest.mark.rosey_explore(degrades=["shown"])
async def test_events(counter, nats_client):
    async def said(message):
        with suppress(StorageError):
            await counter.kv.incr("said", idempotency_key="once")
    await counter.nats.subscribe("said", cb=said)
    await counter.nats.flush()
    await nats_client.publish("said")
    await counter.shown("other")
    await counter.shown("said")
"""
    )
    assert "✗" not in marks(project).values()


def test_requests_of_the_test_are_calls(counters, project):
    counters(
        """
@pytest.mark.rosey_explore
async def test_storage(storage):
    kv = storage("notes", retries=1).kv
    assert await kv.incr("a") == 1
    assert await kv.get("a") == 1
"""
    )
    assert len(marks(project)) > 30
    assert set(marks(project).values()) <= {"✓", "a"}


NOT_EXPLORED = {
    "fake_nats": ("async def test(fake_nats): pass", "its answers are stubs (fake_nats)*"),
    "nats_faults": ("async def test(storage, nats_faults): pass", "it has faults of its own*"),
    "sync": ("def test(storage): pass", "it is not a coroutine"),
    "storage": ("async def test(nats_client): pass", "it does not use db_service*"),
    "scope": (
        "@pytest.mark.asyncio(loop_scope='module')\nasync def test(storage): pass",
        "the test's loop scope is 'module'*",
    ),
    "nothing": ("async def test(storage): pass", "no call of a plugin or of the test asks*"),
    "state": (
        """
seen = []
async def test(storage):
    seen.append(1)
    await storage('a').kv.set('k', 1)
    if len(seen) == 3:
        await storage('a').kv.get('k')""",
        "its requests differ from run to run: 1, then 2 of them",
    ),
    "hypothesis": (
        """
from hypothesis import HealthCheck, given, settings, strategies as st
@settings(suppress_health_check=list(HealthCheck), max_examples=2, database=None)
@given(st.integers())
async def test(storage, n): pass""",
        "hypothesis runs it with many examples, other ones each time",
    ),
    "fails": (
        "seen = []\nasync def test(storage):\n    seen.append(1)\n    assert len(seen) == 1",
        "it fails in virtual time, without a fault: AssertionError*",
    ),
}


@pytest.mark.parametrize(("test", "reason"), NOT_EXPLORED.values(), ids=NOT_EXPLORED)
def test_what_is_not_explored_is_told_with_its_reason(counters, project, test, reason):
    run = counters(f"\npytestmark = pytest.mark.rosey_explore\n{test}\n", "-W", "ignore")
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines(["not explored: 1", f"  test_it.py::test: {reason}"])


def test_the_option_explores_what_uses_the_storage_and_nothing_else(counters, project):
    counters(
        "async def test_a(counter): await counter.add('a')\nasync def test_b(nats_client): pass\n",
        "--rosey-explore",
        "-o",
        "rosey_explore_places=2",
    )
    assert [test["nodeid"] for test in found(project)] == ["test_it.py::test_a"]


def test_a_test_that_fails_is_not_explored(counters, project):
    counters(
        "async def test_a(counter):\n    await counter.add('a')\n    assert False",
        "--rosey-explore",
    )
    assert not (project.path / "found.json").exists()


def test_exitfirst_stops_between_places(counters):
    assert counters(TWICE, "-x").parseoutcomes()["failed"] == 1


def test_last_failed_runs_the_test_again(counters, project):
    project.makefile(".ini", pytest=INI.replace("-p no:cacheprovider", ""))
    counters(TWICE + "\nasync def test_other(counter): pass\n", ONE_PLACE)
    run = project.runpytest_inprocess("--lf", "--collect-only", "-q")
    run.stdout.fnmatch_lines(["test_it.py::test_twice"])
    run.stdout.no_fnmatch_line("*test_other*")


@pytest.mark.process
def test_findings_travel_from_xdist_workers(counters, project):
    project.makepyfile(test_it=HEAD + TWICE)
    run = project.runpytest_subprocess("--rosey-explore-json=found.json", "-n", "1")
    assert len(marks(project)) == 32
    run.stdout.fnmatch_lines(["32 places in 1 test: *", "twice  kv.incr a *"])


def test_without_subtests_one_failure_lists_the_places(counters):
    run = counters(TWICE, "-p", "no:subtests")
    assert run.parseoutcomes() == {"passed": 1, "failed": 1}
    run.stdout.fnmatch_lines(
        ["twice('a') breaks *reply-lost:", "*", "twice('a') breaks *", "Run this place again: *"]
    )


@pytest.mark.parametrize(
    "given",
    ["degrade=['a']", "degrades=[1]", "errors=['ValueError']", "places=0", "places='all'", "'a'"],
)
def test_a_marker_that_says_something_else_is_refused(counters, given):
    run = counters(TWICE.replace("rosey_explore", f"rosey_explore({given})"))
    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines([f"*takes degrades=[[]...], *, got {given.replace('[', '[[]')}."])


@pytest.mark.parametrize("place", ["reply-lost", "1:repyl-lost", "x:reply-lost"])
def test_a_place_that_is_none_is_refused(counters, place):
    run = counters(TWICE, f"--rosey-explore-place={place}")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines([f"ERROR: --rosey-explore-place={place}: expected N:FAULT*"])


def test_a_place_that_no_test_has_is_no_success(counters):
    run = counters(TWICE, "--rosey-explore-place=99:reply-lost")
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines(["not explored: 1", "*: it has no place 99:reply-lost"])
    assert run.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_nothing_to_explore_is_told(counters):
    run = counters("async def test_a(nats_client): pass", "--rosey-explore")
    run.stdout.fnmatch_lines(["nothing was explored: *"])
    run = counters("async def test_a(storage): pass", "--rosey-explore", "--collect-only")
    run.stdout.no_fnmatch_line("*rosey exploration*")


@pytest.mark.parametrize("file", ["no/such/folder.json", "."])
def test_a_report_that_cannot_be_written_is_refused_at_once(counters, file):
    run = counters(TWICE, f"--rosey-explore-json={file}")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["ERROR: --rosey-explore-json: *it names a file to be written"])


def test_modules_fixtures_are_there_for_all_runs_and_torn_down_once(counters, project):
    run = counters(
        """
made = []
@pytest.fixture(scope="module")
def module():
    made.append(1)
    yield len(made)
    print("TORN DOWN", len(made))

@pytest.mark.rosey_explore(places=3)
async def test_a(counter, module):
    await counter.add("a")

async def test_b(module):
    assert module == 1
""",
        "-s",
    )
    run.stdout.fnmatch_lines(["*TORN DOWN 1"])
    assert str(run.stdout).count("TORN DOWN") == 1


def test_many_tests_with_one_thing_to_say_are_told_by_their_number() -> None:
    cut = [findings.TestFound(f"test_it.py::test_{n}", possible=30) for n in range(5)]
    unexplored = [
        findings.TestFound(f"test_it.py::test_{n}", reason="a benchmark") for n in range(5)
    ]
    lines = summary([*cut, *unexplored])
    assert [line for line in lines if line.startswith("left out of")] == [
        "left out of 5 tests: 150 of 150 places, evenly; places=30 in their markers explores all"
    ]
    assert lines[-2:] == ["not explored: 5", "  5 tests: a benchmark"]
