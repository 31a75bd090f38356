"""The same calls again and again, each time with one fault at one place.

Whatever happens to a request, a call that returns has done what it says, and one that raises has
done nothing or all of it. `pytest -v` says how many places were tried.
"""

import pytest
from karma_board import KarmaBoard


@pytest.mark.asyncio
@pytest.mark.rosey_explore
async def test_points_are_given_once_whatever_goes_wrong(rosey_plugin):
    board = await rosey_plugin(KarmaBoard, namespace="karma-board")
    await board.give("alice")
    assert await board.give("bob") == 1
    assert await board.best() in ("alice", "bob")
