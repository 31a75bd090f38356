"""What the author of the small plugin says to the exploration, in one line where it is needed."""

import pytest
from trivia import Trivia


@pytest.mark.rosey_explore
async def test_the_limit(rosey_plugin, storage, rosey_explore):
    trivia = await rosey_plugin(Trivia, namespace="trivia", migrate=False)

    @rosey_explore.invariant
    async def one_question_is_one_of_the_limit():
        assert await storage("trivia").kv.get("limit:ada", 0) <= 1

    assert await trivia.submit("ada", "one") == 1
