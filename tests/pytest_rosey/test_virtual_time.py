"""Virtual time: an hour of waits in milliseconds, and where it cannot be."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dbservice.client import RequestTimeout, RetryPolicy
from dbservice.runtime.clock import SystemClock
from pytest_rosey.servers.postgres import unavailable_reason

virtual = pytest.mark.rosey_time("virtual")


@pytest.fixture
async def after_a_night():
    await asyncio.sleep(8 * 3600)
    yield asyncio.get_running_loop().time()
    await asyncio.sleep(8 * 3600)


@virtual
async def test_an_hour_of_retries_and_lifetimes(storage, nats_faults):
    real, began = time.monotonic(), asyncio.get_running_loop().time()
    patient = storage("trivia", retries=RetryPolicy(connection=(600.0,) * 5))
    await patient.kv.set("round", 1, ttl_seconds=2000)
    nats_faults.no_responders("rosey.db.kv.*.incr", times=5)

    assert await patient.kv.incr("games") == 1
    assert await patient.kv.get("round") is None

    virtual_seconds = asyncio.get_running_loop().time() - began
    assert virtual_seconds >= 3000
    await asyncio.sleep(3600 - virtual_seconds)
    assert time.monotonic() - real < 3600


@virtual
async def test_fixtures_live_in_virtual_time_too(after_a_night, storage):
    assert after_a_night >= 8 * 3600
    await storage("trivia").kv.set("a", 1)


@virtual
async def test_the_clock_of_the_machine_follows_the_loop(db_service):
    began, clock = SystemClock().time(), db_service.clock
    seen = clock.time()
    await asyncio.sleep(1000)
    assert SystemClock().time() - began == pytest.approx(1000, abs=0.1)
    assert clock.time() - seen == pytest.approx(1000, abs=0.1)
    assert time.time() - began < 1000


@virtual
async def test_rosey_clock_moves_the_loop(storage, rosey_clock):
    await storage("trivia").kv.set("a", 1, ttl_seconds=60)
    sleeping = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    rosey_clock.advance(60)
    assert await storage("trivia").kv.get("a") is None
    await asyncio.sleep(0)
    assert sleeping.done()
    with pytest.raises(ValueError, match="only moves forward"):
        rosey_clock.advance(-1)


@virtual
async def test_a_request_that_comes_too_late_is_not_executed(storage, nats_faults):
    nats_faults.late("rosey.db.kv.*.incr", 5, times=1)
    with pytest.raises(RequestTimeout):
        await storage("trivia").kv.incr("games", timeout=2)
    await asyncio.sleep(10)
    assert await storage("trivia").kv.get("games") is None


@virtual
async def test_a_thread_of_the_loops_executor_is_waited_for(nats_client):
    await asyncio.to_thread(time.sleep, 0.05)
    assert nats_client.is_connected


class SlowlyEnding(ThreadPoolExecutor):
    def shutdown(self, *arguments, **options):
        time.sleep(0.1)
        super().shutdown(*arguments, **options)


@virtual
async def test_threads_have_real_time_to_end_in(nats_client):
    asyncio.get_running_loop().set_default_executor(SlowlyEnding())
    assert nats_client.is_connected


@virtual
async def test_a_sleep_beyond_the_limit_of_hangs_is_no_hang(storage):
    await asyncio.sleep(86400)


async def test_time_is_real_without_the_marker(storage):
    assert not hasattr(asyncio.get_running_loop(), "looptime_on")
    assert SystemClock().time() == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_an_hour_in_either_mode_of_pytest_asyncio(project, mode):
    project.makepyfile(
        """
        import asyncio, pytest
        pytestmark = [pytest.mark.asyncio, pytest.mark.rosey_time("virtual")]
        async def test_hour(storage):
            await storage("trivia").kv.set("a", 1, ttl_seconds=3600)
            await asyncio.sleep(3600)
            assert await storage("trivia").kv.get("a") is None
        """
    )
    project.runpytest_inprocess(f"--asyncio-mode={mode}").assert_outcomes(passed=1)


@pytest.mark.process
def test_the_ini_key_makes_all_tests_virtual_but_those_that_say_otherwise(project):
    project.makefile(".ini", pytest=INI_WITH_VIRTUAL_TIME)
    project.makepyfile(
        """
        import asyncio, pytest
        def is_virtual():
            return hasattr(asyncio.get_running_loop(), "looptime_on")
        async def test_virtual(): assert is_virtual()
        @pytest.mark.rosey_time("real")
        async def test_real(): assert not is_virtual()
        def test_without_a_loop(): pass
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=3)


INI_WITH_VIRTUAL_TIME = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
addopts = -p no:cacheprovider -p no:randomly -p no:looptime_plugin
rosey_time = virtual
"""

HANGS = {
    "an event": "await asyncio.Event().wait()",
    "gather": "await asyncio.gather(asyncio.Event().wait(), asyncio.sleep(1))",
    "swallowed": """
    while True:
        try:
            await asyncio.Event().wait()
        except Exception:
            pass""",
    "a task": "await asyncio.create_task(asyncio.Event().wait())",
}


@pytest.mark.parametrize("body", HANGS.values(), ids=HANGS)
def test_a_hang_ends_the_test_where_it_waits(project, body):
    project.makepyfile(
        f"""
import asyncio, pytest
@pytest.mark.rosey_time("virtual")
async def test_hang(storage):
    {body}
async def test_after(storage):
    await storage("trivia").kv.set("a", 1)
"""
    )
    run = project.runpytest_inprocess()
    run.assert_outcomes(failed=1, passed=1)
    run.stdout.fnmatch_lines(
        ["E *Hang: Nothing happened for 3600 virtual seconds: this waits for what never comes.*"]
    )


NEEDS_A_SERVER = [
    pytest.mark.process,
    pytest.mark.skipif(unavailable_reason() is not None, reason=unavailable_reason() or ""),
]

REFUSED = {
    "scope": (
        '@pytest.mark.asyncio(loop_scope="module")\nasync def test(storage): pass',
        [],
        (
            "the test's loop scope is 'module': its loop serves several tests, and time would jump "
            "for all of them."
        ),
    ),
    "real": (
        '@pytest.mark.rosey_nats("real")\nasync def test(storage): pass',
        [],
        "a real nats-server answers in real time, and every request would time out first.",
    ),
    "nats_url": (
        "async def test(nats_url): pass",
        [],
        "nats_url lets others connect, and they wait in real time.",
    ),
    "file": (
        "async def test(storage): pass",
        ["--rosey-db=file"],
        (
            "the database is file (--rosey-db), whose threads and sockets answer in real time, and "
            "every request would time out first; it needs --rosey-db=memory."
        ),
    ),
    "PostgreSQL": (
        "async def test(storage): pass",
        ["--rosey-db=postgres"],
        (
            "the database is postgres (--rosey-db), whose threads and sockets answer in real time, "
            "and every request would time out first; it needs --rosey-db=memory."
        ),
    ),
    "uvloop": (
        (
            "import uvloop\n"
            "@pytest.fixture(scope='session')\n"
            "def event_loop_policy(): return uvloop.EventLoopPolicy()\n"
            "async def test(storage): pass"
        ),
        ["-W", "ignore"],
        "its loop is uvloop.Loop, whose clock is its own.",
    ),
    "no loop": ("def test(): pass", [], "it does not run on a loop of pytest-asyncio."),
}


@pytest.mark.parametrize(
    ("code", "options", "reason"),
    [
        pytest.param(*case, id=name, marks=NEEDS_A_SERVER if name == "PostgreSQL" else ())
        for name, case in REFUSED.items()
    ],
)
def test_what_cannot_be_virtual_is_refused_with_the_reason(project, code, options, reason):
    project.makepyfile('import pytest\npytestmark = pytest.mark.rosey_time("virtual")\n' + code)
    run = project.runpytest_inprocess(*options)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    name = "test_what_cannot_be_virtual_is_refused_with_the_reason.py::test"
    run.stdout.fnmatch_lines(
        [
            f"{name} cannot run in virtual time: {reason.replace('[', '[[]')}",
            '@pytest.mark.rosey_time("real") runs it in real time.',
        ]
    )


def test_it_says_what_to_install(project, monkeypatch):
    monkeypatch.setattr("pytest_rosey.virtual_time.find_spec", lambda _: None)
    project.makepyfile(
        "import pytest\n@pytest.mark.rosey_time('virtual')\nasync def test(storage): pass"
    )
    project.runpytest_inprocess().stdout.fnmatch_lines(
        [
            (
                "*cannot run in virtual time: it needs the package looptime: "
                "pip install 'pytest-rosey[[]time]'."
            )
        ]
    )


@pytest.mark.parametrize("arguments", ["", "'fast'", "time='virtual'", "'virtual', 'real'"])
def test_a_marker_that_says_something_else_is_refused(project, arguments):
    project.makepyfile(
        f"import pytest\n@pytest.mark.rosey_time({arguments})\nasync def test(storage): pass"
    )
    run = project.runpytest_inprocess()
    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines(['*@pytest.mark.rosey_time takes "virtual" or "real", got *'])


@pytest.mark.process
def test_the_hooks_of_looptime_leave_other_tests_alone(project):
    project.makefile(
        ".ini",
        pytest="[pytest]\nfilterwarnings = error\nasyncio_mode = auto\n"
        "asyncio_default_fixture_loop_scope = function\n",
    )
    project.makepyfile("def test_without_a_loop(): pass\nasync def test_with_one(): pass")
    project.runpytest_subprocess("-p", "no:randomly").assert_outcomes(passed=2)
