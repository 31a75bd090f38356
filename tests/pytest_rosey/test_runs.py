"""Every run of a test begins anew and is judged by what became of it (SPEC 5.1, 5.5)."""

from __future__ import annotations

import pytest

from pytest_rosey.servers.nats import find_binary
from tests.pytest_rosey.conftest import INI

pytest_plugins = ["pytester"]

needs_binary = pytest.mark.skipif(
    find_binary().path is None, reason="no nats-server binary; the extra 'real' brings one"
)
needs_subtests = pytest.mark.skipif(
    not hasattr(pytest, "Subtests"), reason="subtests came with pytest 9"
)

RERUN = """
import pytest
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    # As pytest-rerunfailures does it: the same item, set up again.
    for _ in range(3):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if all(report.passed for report in reports):
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""


def run(project: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    project.makepyfile(f"import asyncio\nimport pytest\n\nRUNS = []\nKEPT = set()\n{body}")
    return project.runpytest_inprocess(*arguments)


class TestReruns:
    def test_a_failed_run_leaves_nothing_to_the_next(self, project: pytest.Pytester) -> None:
        project.makeconftest(RERUN)
        result = run(
            project,
            """
async def test_all(fake_nats, storage, rosey_plugin, nats_faults, rosey_clock, rosey_events):
    RUNS.append(rosey_clock.time())
    fake_nats.respond("a.b", {})
    await storage("notes").kv.incr("n")
    assert await storage("notes").kv.get("n") == 1
    nats_faults.drop_request("nowhere")
    if len(RUNS) < 3:
        KEPT.add(asyncio.create_task(asyncio.sleep(60)))
        assert False
    await fake_nats.request("a.b")
    assert RUNS == sorted(set(RUNS))
""",
        )
        result.assert_outcomes(passed=1)

    @pytest.mark.process
    def test_a_benchmark_that_fails_ends(self, pytester: pytest.Pytester) -> None:
        pytester.makeini(
            "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function"
        )
        pytester.makeconftest(RERUN)
        pytester.makepyfile(
            """
            RUNS = []

            async def test_it(rosey_benchmark):
                async def nothing():
                    pass
                RUNS.append(1)
                await rosey_benchmark(nothing)
                assert len(RUNS) == 3
            """
        )
        result = pytester.runpytest_subprocess("--benchmark-max-time=0.01", timeout=60)
        result.assert_outcomes(passed=1)


WORKER = """
@pytest.fixture
async def start_worker():
    task = asyncio.create_task(asyncio.sleep(60))
    yield
    task.cancel()
"""


class TestWhoseItIs:
    @pytest.mark.parametrize(
        "parameters", ["start_worker, nats_client", "nats_client, start_worker"]
    )
    def test_a_fixture_that_cleans_up_in_either_order(
        self, project: pytest.Pytester, parameters: str
    ) -> None:
        result = run(project, f"{WORKER}\nasync def test_x({parameters}): pass")
        result.assert_outcomes(passed=1)

    def test_a_fixture_that_cleans_up_where_ours_is_fetched_late(
        self, project: pytest.Pytester
    ) -> None:
        result = run(
            project,
            f"""{WORKER}
@pytest.fixture
def client(request):
    return request.getfixturevalue("nats_client")

async def test_x(start_worker, client): pass
""",
        )
        result.assert_outcomes(passed=1)

    def test_a_fixture_that_does_not_clean_up_is_a_leak_in_either_order(
        self, project: pytest.Pytester
    ) -> None:
        careless = WORKER.replace("task.cancel()", "KEPT.add(task)")
        result = run(
            project,
            f"{careless}\nasync def test_x(start_worker, nats_client): pass\n"
            "async def test_y(nats_client, start_worker): pass",
        )
        result.assert_outcomes(passed=2, errors=2)

    @pytest.mark.parametrize("scope", ["module", "session"])
    def test_a_fixture_of_a_broader_scope_that_is_fetched_late(
        self, project: pytest.Pytester, scope: str
    ) -> None:
        result = run(
            project,
            f"""
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope={scope!r})

async def spawn(times):
    KEPT.add(asyncio.create_task(asyncio.sleep(60)))
    if times:
        await asyncio.sleep(0)
        await asyncio.create_task(spawn(times - 1))

@pytest_asyncio.fixture(scope={scope!r}, loop_scope={scope!r})
async def worker():
    # It goes on to make tasks while the first test runs.
    KEPT.add(asyncio.create_task(spawn(3)))
    yield
    for task in KEPT:
        task.cancel()

@pytest.fixture
def late(nats_client, request):
    request.getfixturevalue("worker")

async def test_x(nats_client, late):
    for _ in range(9):
        await asyncio.sleep(0)

async def test_it_lives(nats_client):
    assert len(KEPT) == 5
    assert not any(task.cancelled() for task in KEPT)
""",
        )
        result.assert_outcomes(passed=2)

    def test_a_task_of_the_test_in_a_loop_that_others_share(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
pytestmark = pytest.mark.asyncio(loop_scope="module")

async def child():
    KEPT.add(asyncio.create_task(asyncio.sleep(60)))

async def test_x(nats_client):
    await asyncio.create_task(child())

async def test_y(nats_client):
    assert all(task.cancelled() for task in KEPT)
""",
        )
        result.assert_outcomes(passed=2, errors=1)


class TestOutcomes:
    """A test that stopped half-way is not blamed for what it did not come to."""

    LEFT = """
async def stub_and_leave(fake_nats):
    fake_nats.respond("a.b", {})
    KEPT.add(asyncio.create_task(asyncio.sleep(60)))
"""

    @needs_subtests
    def test_a_subtest_that_fails(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            f"""{self.LEFT}
async def test_x(fake_nats, subtests):
    with subtests.test("first"):
        await stub_and_leave(fake_nats)
        assert False
    with subtests.test("second"):
        pass
""",
        )
        assert "errors" not in result.parseoutcomes(), result.stdout.str()
        result.stdout.no_fnmatch_line("*did not use*")

    @needs_subtests
    def test_subtests_that_pass_are_held_to_what_they_stub(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
async def test_x(fake_nats, subtests):
    with subtests.test("first"):
        fake_nats.respond("a.b", {})
""",
        )
        assert result.parseoutcomes()["errors"] == 1

    @pytest.mark.parametrize("ending", ["pytest.skip()", "pytest.xfail()", "pytest.fail()"])
    def test_one_that_ends_itself(self, project: pytest.Pytester, ending: str) -> None:
        result = run(
            project,
            f"{self.LEFT}\nasync def test_x(fake_nats):\n    await stub_and_leave(fake_nats)\n"
            f"    {ending}",
        )
        assert "errors" not in result.parseoutcomes(), result.stdout.str()

    @pytest.mark.process
    @pytest.mark.parametrize("ending", ["raise KeyboardInterrupt", "pytest.exit('enough')"])
    def test_one_that_is_interrupted(self, project: pytest.Pytester, ending: str) -> None:
        project.makepyfile(
            f"import asyncio, pytest\nKEPT = set()\n{self.LEFT}\n"
            "async def test_x(fake_nats):\n    await stub_and_leave(fake_nats)\n"
            f"    {ending}"
        )
        result = project.runpytest_subprocess()
        result.stdout.no_fnmatch_line("*did not use*")
        result.stdout.no_fnmatch_line("*left behind*")
        result.stdout.no_fnmatch_line("*INTERNALERROR*")
        result.stderr.no_fnmatch_line("*did not use*")

    @pytest.mark.process
    @needs_binary
    @pytest.mark.parametrize("fault", ["pause_server", "kill_server"])
    def test_one_that_is_interrupted_under_a_fault(
        self, project: pytest.Pytester, fault: str
    ) -> None:
        project.makepyfile(
            f"""
            async def test_x(storage, nats_faults):
                await nats_faults.{fault}()
                raise KeyboardInterrupt
            """
        )
        result = project.runpytest_subprocess("--rosey-nats=binary")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        assert result.stderr.str() == ""

    @pytest.mark.process
    @needs_binary
    def test_a_fault_of_its_authors_clean_up(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
@pytest.fixture
async def paused_at_last(nats_faults, storage):
    yield
    await nats_faults.pause_server()

async def test_x(paused_at_last): pass
""",
            "--rosey-nats=binary",
        )
        result.assert_outcomes(passed=1)


class TestUserErrors:
    """They fail the test that has them; the others run."""

    @pytest.mark.parametrize(
        ("marker", "text"),
        [
            ('rosey_allow_hosts(["a", "b"])', "*rosey_allow_hosts takes the names of hosts, *"),
            ("rosey_allow_hosts(host='a')", "*rosey_allow_hosts takes the names of hosts, *"),
            ('rosey_nats(["fake", "real"])', '*rosey_nats takes "fake", "real", or both, got *'),
            ('rosey_nats("fake", "reel")', '*rosey_nats takes "fake", "real", or both, got *'),
            ("rosey_nats(bus='real')", '*rosey_nats takes "fake", "real", or both, got *'),
            ("rosey_fake(contract='off')", "*rosey_fake takes *, got contract='off'*"),
            ("rosey_fake(False)", "*rosey_fake takes assert_all_called=True|False*"),
            ("rosey_time(3)", '*rosey_time takes "virtual" or "real"*'),
            ("rosey_data(7)", "*rosey_data takes the paths of exports*"),
        ],
    )
    def test_in_a_marker(self, project: pytest.Pytester, marker: str, text: str) -> None:
        result = run(
            project,
            f"""
@pytest.mark.{marker}
async def test_wrong(fake_nats, storage): pass

async def test_right(fake_nats, storage): pass
""",
        )
        result.assert_outcomes(passed=1, errors=1)
        result.stdout.fnmatch_lines([text])

    @pytest.mark.parametrize(
        ("ini", "text"),
        [
            ("rosey_strict_cleanup = perhaps", "ERROR: rosey_strict_cleanup in tox.ini: *perhaps*"),
            ("rosey_explore = perhaps", "ERROR: rosey_explore in tox.ini: *perhaps*"),
            ("rosey_db =", "ERROR: rosey_db in tox.ini: '' is no database: *"),
            ('rosey_allow_hosts = "a', "ERROR: rosey_allow_hosts in tox.ini: *"),
        ],
    )
    def test_in_the_ini_file(self, project: pytest.Pytester, ini: str, text: str) -> None:
        project.makeini(f"{INI}{ini}")
        project.makepyfile("def test_x(): pass")
        result = project.runpytest_inprocess()
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([text])
        result.stdout.no_fnmatch_line("*INTERNALERROR*")


class TestCleanUp:
    def test_it_goes_on_after_an_error(self, project: pytest.Pytester) -> None:
        result = run(
            project,
            """
from pytest_rosey.service.under_test import ServiceUnderTest

CLIENTS = []

class Plugin:
    def __init__(self, nats):
        CLIENTS.append(nats)
    async def close(self):
        raise RuntimeError("cannot close")

async def test_x(rosey_plugin, nats_client, db_service, monkeypatch):
    async def discard(self):
        raise OSError("cannot stop")
    db_service.discard = discard.__get__(db_service)
    CLIENTS.append(nats_client)
    for n in range(2):
        await rosey_plugin(Plugin, namespace=f"p{n}", migrate=False)

async def test_everything_was_closed():
    assert len(CLIENTS) == 3
    assert all(client.is_closed for client in CLIENTS)
""",
        )
        result.assert_outcomes(passed=2, errors=1)
        result.stdout.fnmatch_lines_random(["*cannot close*", "*cannot stop*"])

    def test_faults_that_cannot_be_ended_leave_nothing_to_the_next(
        self, project: pytest.Pytester
    ) -> None:
        result = run(
            project,
            """
async def test_x(nats_faults, nats_client):
    def lift():
        raise OSError("the server does not come back")
    nats_faults.lift = lift
    KEPT.add(nats_client)

async def test_y(storage):
    await storage("notes").kv.set("k", 1)
    assert all(client.is_closed for client in KEPT)
""",
        )
        result.assert_outcomes(passed=2, errors=1)
        result.stdout.fnmatch_lines(["*OSError: the server does not come back"])

    def test_every_plugin_is_closed_whatever_another_one_raises(
        self, project: pytest.Pytester
    ) -> None:
        result = run(
            project,
            """
CLOSED = []

class Plugin:
    def __init__(self, nats, namespace):
        self.namespace = namespace
    async def close(self):
        CLOSED.append(self.namespace)
        if self.namespace == "p1":
            pytest.fail("not closed: p1")
        raise RuntimeError(f"not closed: {self.namespace}")

async def test_x(rosey_plugin):
    for n in range(3):
        await rosey_plugin(Plugin, namespace=f"p{n}", migrate=False)

async def test_all_were_closed():
    assert CLOSED == ["p2", "p1", "p0"]
""",
        )
        result.assert_outcomes(passed=2, errors=1)
        result.stdout.fnmatch_lines([f"*not closed: p{n}" for n in (2, 1, 0)])

    def test_what_was_cancelled_is_told_and_the_next_test_has_a_loop_of_its_own(
        self, project: pytest.Pytester
    ) -> None:
        result = run(
            project,
            """
import asyncio
LOOPS = []

class Plugin:
    def __init__(self, nats, namespace): pass
    async def close(self):
        raise asyncio.CancelledError

async def test_x(rosey_plugin):
    LOOPS.append(asyncio.get_running_loop())
    await rosey_plugin(Plugin, namespace="p", migrate=False)

async def test_y(storage):
    assert asyncio.get_running_loop() not in LOOPS
""",
        )
        result.assert_outcomes(passed=2, errors=1)
        result.stdout.fnmatch_lines(["*RuntimeError: a part of the clean-up was cancelled*"])

    def test_what_the_test_left_is_told_beside_what_could_not_be_stopped(
        self, project: pytest.Pytester
    ) -> None:
        result = run(
            project,
            """
async def test_x(db_service, nats_client):
    async def discard(self):
        raise OSError("cannot stop")
    db_service.discard = discard.__get__(db_service)
    KEPT.add(asyncio.create_task(asyncio.sleep(60)))
""",
        )
        result.assert_outcomes(passed=1, errors=1)
        result.stdout.fnmatch_lines(
            ["*OSError: cannot stop", "*AssertionError: The test left behind:"]
        )

    @pytest.mark.parametrize("patched", ["AsyncMock()", "not_waiting"])
    def test_asyncio_sleep_may_be_replaced_before_our_fixtures(
        self, project: pytest.Pytester, patched: str
    ) -> None:
        result = run(
            project,
            f"""
from unittest.mock import AsyncMock

async def not_waiting(seconds, result=None):
    return result

@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("asyncio.sleep", {patched})

async def test_x(storage, rosey_events, fake_nats):
    assert await storage("notes").kv.incr("n") == 1
    fake_nats.respond("a.b", {{}}, delay=60)
    await asyncio.wait_for(fake_nats.request("a.b"), 5)
    assert await storage("notes").kv.incr("n") == 2
""",
        )
        result.assert_outcomes(passed=1)
