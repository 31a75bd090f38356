"""A run with many tests keeps nothing of those that are over: it would get slower and slower."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    "fixture", ["db_service", "nats_client", "nats_faults", "fake_nats", "rosey_plugin"]
)
def test_what_a_test_used_is_gone_two_tests_later(project: pytest.Pytester, fixture: str) -> None:
    project.makepyfile(
        f"""
        import asyncio
        import gc
        import weakref
        import pytest

        LOOPS = []

        @pytest.mark.parametrize("n", range(4))
        async def test_x(n, {fixture}):
            LOOPS.append(weakref.ref(asyncio.get_running_loop()))
            gc.collect()
            # pytest holds on to the test before.
            assert [loop() for loop in LOOPS[:-2]] == [None] * (n - 1)
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=4)
