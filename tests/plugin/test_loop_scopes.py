"""The fixtures live on the loop of the test, whatever its scope (SPEC 5.1)."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

# Plugins that take longer to load than these tests to run.
FAST = ("-pno:hypothesispytest", "-pno:benchmark", "-pno:randomly", "-pno:cov", "-pno:xdist")

SCOPES = ("function", "class", "module", "package", "session")

# Every async fixture is used on the loop of the test, twice, and after a test on another loop.
BODY = """
import asyncio
import pytest

{marks}

LOOPS = []

class TestLoops:
    @pytest.mark.parametrize("n", [1, 2])
    async def test_all(
        self, n, fake_nats, nats_client, db_service, storage, rosey_clock, rosey_migrations,
        plugin_namespace, cleanup_plugin_namespace, rosey_plugin, nats_faults,
    ):
        LOOPS.append(asyncio.get_running_loop())
        fake_nats.respond("a.b", {{"n": n}})
        assert (await fake_nats.request("a.b")).data == b'{{"n":%d}}' % n
        plugin = await rosey_plugin(Plugin, namespace=plugin_namespace, migrate=False)
        assert await plugin.count() == 1
        assert await storage(plugin_namespace).kv.get("starts") == 1
        await nats_faults.disconnect()
        await nats_faults.reconnect()
        assert await storage(plugin_namespace).kv.get("starts") == 1
        rosey_clock.advance(1)
        assert await rosey_migrations.tables(plugin_namespace) == []
        await cleanup_plugin_namespace(plugin_namespace)
        assert await storage(plugin_namespace).kv.get("starts") is None

    async def test_loops(self):
        assert len(LOOPS) == 2
        assert (LOOPS[0] is LOOPS[1]) is {shared}
        assert (LOOPS[0] is asyncio.get_running_loop()) is {shared}


class Plugin:
    def __init__(self, nats, namespace):
        from dbservice.client import StorageClient
        self.kv = StorageClient(nats, namespace).kv

    async def initialize(self):
        await self.kv.incr("starts")

    async def count(self):
        return await self.kv.get("starts")
"""


@pytest.mark.parametrize("scope", SCOPES)
def test_strict_mode_with_the_scope_in_a_marker(pytester: pytest.Pytester, scope: str) -> None:
    pytester.makeini(
        "[pytest]\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\n"
        "filterwarnings = error"
    )
    marks = f"pytestmark = pytest.mark.asyncio(loop_scope={scope!r})"
    pytester.makepyfile(BODY.format(marks=marks, shared=scope != "function"))
    pytester.runpytest_subprocess(*FAST).assert_outcomes(passed=3)


@pytest.mark.parametrize("scope", SCOPES)
def test_auto_mode_with_the_scope_in_the_ini_file(pytester: pytest.Pytester, scope: str) -> None:
    pytester.makeini(
        f"[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = {scope}\n"
        f"asyncio_default_test_loop_scope = {scope}\n"
        "filterwarnings = error"
    )
    pytester.makepyfile(BODY.format(marks="", shared=scope != "function"))
    pytester.runpytest_subprocess(*FAST).assert_outcomes(passed=3)


def test_no_setting_at_all(pytester: pytest.Pytester) -> None:
    marks = "pytestmark = pytest.mark.asyncio"
    pytester.makepyfile(BODY.format(marks=marks, shared=False))
    pytester.runpytest_subprocess(*FAST).assert_outcomes(passed=3)


def test_scopes_mixed_in_one_module_and_in_any_order(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    tests = "\n".join(
        f"""
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.asyncio(loop_scope={scope!r})
async def test_{scope}(n, storage):
    await storage("quote-db").kv.set("n", n)
    assert await storage("quote-db").kv.get("n") == n
"""
        for scope in SCOPES
    )
    pytester.makepyfile(f"import pytest\n{tests}")
    for seed in ("1", "2", "3"):
        result = pytester.runpytest_subprocess(f"--randomly-seed={seed}")
        result.assert_outcomes(passed=10)


def test_under_xdist_every_worker_has_its_own_bus_and_names(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", range(8))
        async def test_x(n, storage, plugin_namespace, worker_id):
            assert worker_id in plugin_namespace
            assert await storage("quote-db").kv.incr("count") == 1
        """
    )
    result = project.runpytest_subprocess("-n2")
    result.assert_outcomes(passed=8)


FOREIGN_LOOP = """
import pytest
import pytest_asyncio

@pytest_asyncio.fixture(loop_scope="session")
async def plugin({fixture}):
    {use}

@pytest.mark.asyncio(loop_scope="module")
async def test_x(plugin): pass
"""


@pytest.mark.parametrize(
    ("fixture", "use"),
    [
        ("nats_client", "await nats_client.request('a.b')"),
        ("nats_client", "await nats_client.publish('a.b', b'')"),
        ("nats_client", "await nats_client.subscribe('a.b')"),
        ("nats_client", "await nats_client.flush()"),
        ("nats_client", "await nats_client.drain()"),
        ("fake_nats", "await fake_nats.request('a.b')"),
    ],
)
def test_use_on_another_loop_is_explained(project: pytest.Pytester, fixture: str, use: str) -> None:
    project.makepyfile(FOREIGN_LOOP.format(fixture=fixture, use=use))
    result = project.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            (
                f"E *WrongLoopError: '{fixture}' lives on the event loop of this test, whose loop "
                "scope is 'module', and was used on another loop."
            ),
            (
                "E *An async fixture that uses it must run on the test's loop, but "
                "asyncio_default_fixture_loop_scope is 'function'. Do one of these:"
            ),
            'E *  - @pytest_asyncio.fixture(loop_scope="module") on that fixture',
            "E *  - asyncio_default_fixture_loop_scope = module in the ini file",
            (
                "E *  - @pytest.mark.asyncio(loop_scope=...) or asyncio_default_test_loop_scope = "
                "... to run the test on the fixture's loop"
            ),
        ],
        consecutive=True,
    )


@pytest.mark.parametrize(
    ("fixture", "use"),
    [
        ("storage", "await storage('quote-db').kv.get('k')"),
        ("rosey_migrations", "await rosey_migrations.status('quote-db')"),
        ("db_service", "await db_service.stop()"),
    ],
)
def test_what_stands_on_a_client_or_the_service_explains_it_too(
    project: pytest.Pytester, fixture: str, use: str
) -> None:
    project.makepyfile(FOREIGN_LOOP.format(fixture=fixture, use=use))
    result = project.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E *WrongLoopError: '*' lives on the event loop of this test*"])


@pytest.mark.parametrize("name", ["fake_nats", "nats_client", "db_service", "storage"])
def test_without_pytest_asyncio_the_fixtures_say_what_is_missing(
    pytester: pytest.Pytester, name: str
) -> None:
    pytester.makepyfile(f"def test_x({name}): pass")
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            (
                "'*' needs pytest-asyncio, which is not active in this run: it was blocked "
                "(-p no:asyncio), or plugins are not loaded by themselves "
                "(PYTEST_DISABLE_PLUGIN_AUTOLOAD; then add -p pytest_asyncio.plugin)."
            )
        ]
    )


def test_without_pytest_asyncio_the_synchronous_fixtures_work(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_x(mock_nats, make_nats_response, rosey_clock): pass")
    pytester.runpytest_inprocess("-p", "no:asyncio").assert_outcomes(passed=1)
