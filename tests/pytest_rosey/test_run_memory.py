"""A run with many tests keeps nothing of those that are over: it would get slower and slower."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

_LOOPS = """
    import asyncio
    import gc
    import weakref
    import pytest

    LOOPS = []

    def alive():
        gc.collect()
        return [number for number, loop in enumerate(LOOPS) if loop() is not None]

    def note():
        LOOPS.append(weakref.ref(asyncio.get_running_loop()))
"""


@pytest.mark.parametrize("time", ["real", "virtual"])
@pytest.mark.parametrize(
    "fixture", ["db_service", "nats_client", "nats_faults", "fake_nats", "rosey_plugin"]
)
def test_what_a_test_used_is_gone_two_tests_later(
    project: pytest.Pytester, fixture: str, time: str
) -> None:
    project.makepyfile(
        _LOOPS
        + f"""
    @pytest.mark.rosey_time("{time}")
    @pytest.mark.parametrize("n", range(4))
    async def test_x(n, {fixture}):
        note()
        # pytest holds on to the test before.
        assert set(alive()) <= {{n - 1, n}}
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=4)


def test_what_an_exploration_used_is_gone_when_it_is_over(project: pytest.Pytester) -> None:
    project.makepyfile(
        _LOOPS
        + """
    @pytest.mark.rosey_explore
    async def test_x(storage):
        note()
        # The clean runs are what the others are held against.
        assert not set(alive()) - {0, 1, 2, len(LOOPS) - 2, len(LOOPS) - 1}
        await storage("trivia").kv.set("a", 1)

    def test_between():
        pass

    def test_the_last():
        assert len(LOOPS) > 10
        assert alive() == []
        """
    )
    result = project.runpytest_inprocess("-n0")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["* 0 broken*"])
