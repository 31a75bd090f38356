"""What a test leaves behind is its failure (SPEC 5.5)."""

from __future__ import annotations

import pytest

from pytest_rosey.leaks import added
from pytest_rosey.servers.nats import find_binary

pytest_plugins = ["pytester"]

needs_binary = pytest.mark.skipif(
    find_binary().path is None, reason="no nats-server binary; the extra 'real' brings one"
)


def run(project: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    project.makepyfile(f"import asyncio\nimport pytest\n\nKEPT = set()\n{body}")
    return project.runpytest_inprocess(*arguments)


def test_a_task_is_listed_with_what_it_waits_for(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def refresh(client):
    await client.request("quotes.all", b"", timeout=60)

async def silent(message):
    pass

async def test_x(nats_client):
    await nats_client.subscribe("quotes.all", cb=silent)
    KEPT.add(asyncio.create_task(refresh(nats_client), name="refresher"))
    KEPT.add(asyncio.create_task(asyncio.sleep(60)))
    await asyncio.sleep(0)

async def test_y(nats_client):
    assert all(task.cancelled() for task in KEPT)
""",
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "The test left behind:",
            (
                "  - task 'refresher', refresh() at *test_a_task_is_listed*.py:7, waiting for the "
                "answer to quotes.all"
            ),
            "  - task 'Task-*', sleep()",
            "Await or cancel tasks and close clients before the test ends.",
            "`rosey_strict_cleanup = false` in the ini file lifts this check.",
        ]
    )


def test_in_debug_mode_the_line_that_made_a_task_is_told(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
def start():
    return asyncio.create_task(asyncio.sleep(60))

async def test_x(nats_client):
    KEPT.add(start())
""",
        "-oasyncio_debug=true",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["  - task 'Task-*', sleep(), created at *.py:7"])


@pytest.mark.parametrize("fixture", ["fake_nats", "storage", "nats_faults"])
def test_every_fixture_on_a_bus_is_watched(project: pytest.Pytester, fixture: str) -> None:
    result = run(
        project,
        f"""
async def test_x({fixture}):
    KEPT.add(asyncio.create_task(asyncio.sleep(60)))
""",
    )
    result.assert_outcomes(passed=1, errors=1)


def test_tidy_tests_pass(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_cancelled(nats_client):
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()

async def test_about_to_finish(nats_client):
    async def few_turns():
        for _ in range(5):
            await asyncio.sleep(0)
    KEPT.add(asyncio.create_task(few_turns()))

async def test_fixtures(storage, rosey_plugin, fake_nats, cleanup_plugin_namespace):
    await storage("notes").kv.set("k", 1)

async def test_without_a_bus():
    KEPT.add(asyncio.create_task(asyncio.sleep(60)))
""",
    )
    result.assert_outcomes(passed=4)


def test_a_test_that_fails_is_not_blamed_twice(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_x(nats_client):
    KEPT.add(asyncio.create_task(asyncio.sleep(60)))
    assert False
""",
    )
    result.assert_outcomes(failed=1)


@pytest.mark.process
def test_the_ini_file_lifts_it(project: pytest.Pytester) -> None:
    project.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "rosey_strict_cleanup = false"
    )
    result = run(
        project,
        """
async def test_x(nats_client):
    KEPT.add(asyncio.create_task(asyncio.sleep(60)))
""",
    )
    result.assert_outcomes(passed=1)


def test_tasks_of_fixtures_with_a_broader_scope_are_theirs(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="session")

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def heart():
    task = asyncio.create_task(asyncio.sleep(60))
    yield task
    task.cancel()

async def test_x(nats_client, heart):
    pass

async def test_y(heart, storage):
    KEPT.add(asyncio.create_task(asyncio.sleep(60)))

async def test_z(storage, heart):
    assert not heart.done()
    assert all(task.cancelled() for task in KEPT)
""",
        "-p",
        "no:randomly",
    )
    result.assert_outcomes(passed=3, errors=1)


@pytest.mark.process
@needs_binary
def test_a_client_is_listed_with_the_line_that_opened_it(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
import nats

@pytest.mark.rosey_nats("real")
async def test_x(nats_client, nats_server):
    client = await nats.connect(nats_server.url, name="forgotten")
    await client.subscribe("a.b")
    closed = await nats.connect(nats_server.url, name="remembered")
    await closed.close()
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "The test left behind:",
            "  - a NATS client 'forgotten', connected to 127.0.0.1:*, opened at *.py:10",
            "Await or cancel tasks *",
        ],
        consecutive=True,
    )


def test_data_outside_the_namespaces_of_the_test(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_leaves(storage):
    await storage("notes").kv.set("k", 1)

async def test_same_again(storage):
    await storage("notes").kv.set("k", 2)

async def test_more(storage):
    await storage("notes").kv.set("k2", 2)

async def test_own(storage, plugin_namespace):
    await storage(plugin_namespace).kv.set("k", 1)

async def test_cleaned(storage, cleanup_plugin_namespace):
    await cleanup_plugin_namespace("other")
    await storage("other").kv.set("k", 1)
""",
        "--rosey-db=kept.db",
    )
    result.assert_outcomes(passed=5, errors=2)
    result.stdout.fnmatch_lines(
        [
            "The test left data in the database *kept.db:",
            "  - namespace 'notes': KV entries: 1",
            "plugin_namespace gives a test a namespace of its own; *",
            "`rosey_strict_cleanup = false` in the ini file lifts this check.",
            "  - namespace 'notes': KV entries: 2, 1 before",
        ]
    )


def test_a_database_that_ends_with_the_test_may_hold_anything(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_x(storage):
    await storage("notes").kv.set("k", 1)
""",
        "--rosey-db=file",
    )
    result.assert_outcomes(passed=1)


def test_changes_of_an_inventory() -> None:
    before = {"a": {"a__t": 1, "KV entries": 2}, "b": {"b__t": 1}, "same": {"same__t": 1}}
    after = {"a": {"a__t": 3, "KV entries": 2}, "same": {"same__t": 1}, "c": {"c__t": 0}}
    assert added(before, after) == [
        "namespace 'a': table a__t: 3 rows, 1 before",
        "namespace 'b': table b__t gone",
        "namespace 'c': table c__t: 0 rows",
    ]


THREAD = """
import threading

def begin(loop):
    def beat():
        KEPT.add(asyncio.run_coroutine_threadsafe(asyncio.sleep(60), loop))
    thread = threading.Thread(target=beat)
    thread.start()
    thread.join()
"""


def test_what_a_thread_leaves_on_the_loop_of_a_test(project: pytest.Pytester) -> None:
    result = run(
        project,
        f"""{THREAD}
async def test_x(nats_client):
    begin(asyncio.get_running_loop())
    await asyncio.sleep(0)
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["The test left behind:", "  - task 'Task-*', sleep()"])


def test_on_a_loop_that_others_share_it_may_be_theirs(project: pytest.Pytester) -> None:
    result = run(
        project,
        f"""{THREAD}
@pytest.mark.asyncio(loop_scope="module")
async def test_x(nats_client):
    begin(asyncio.get_running_loop())
    await asyncio.sleep(0)

@pytest.mark.asyncio(loop_scope="module")
async def test_y(nats_client):
    assert not any(task.done() for task in KEPT)
""",
    )
    result.assert_outcomes(passed=2)
