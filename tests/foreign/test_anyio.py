"""anyio's pytest plugin beside ours: it runs its tests and their fixtures on a loop of its own."""

from __future__ import annotations

import pytest

pytest.importorskip("anyio", reason="anyio comes with FastStream: run tox -e foreign")

pytest_plugins = ["pytester"]


@pytest.mark.process
def test_its_runner_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makeini(
        "[pytest]\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = function"
    )
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def given():
            yield 1

        async def test_alone(given):
            assert given == 1

        async def test_beside(given, nats_client):
            assert given == 1

        async def test_on_the_other_loop(given, nats_client):
            await nats_client.publish("a", b"")
        """
    )
    result = pytester.runpytest_subprocess("-p", "anyio")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*The test is marked @pytest.mark.anyio, so anyio runs it on*"])
