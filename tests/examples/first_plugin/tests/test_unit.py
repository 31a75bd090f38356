"""Without a service: what the plugin makes of an answer, and what it asks for."""

import pytest
from dbservice.client import RequestTimeout
from karma_board import KarmaBoard

pytestmark = pytest.mark.asyncio

SELECT = "rosey.db.row.karma-board.select"


async def test_nobody_has_no_points(fake_nats):
    nothing = {"success": True, "rows": [], "count": 0, "truncated": False}
    fake_nats.respond(SELECT, nothing)
    assert await KarmaBoard(fake_nats).points("nobody") == 0
    fake_nats.assert_requested(SELECT, json={"filters": {"name": "nobody"}}, times=1)


async def test_a_silent_service(fake_nats):
    fake_nats.timeout(SELECT)
    with pytest.raises(RequestTimeout):
        await KarmaBoard(fake_nats).points("alice")


async def test_the_chat_is_told_of_a_silent_service(rosey_plugin, rosey_chat, fake_nats):
    await rosey_plugin(KarmaBoard, namespace="karma-board", migrate=False)
    fake_nats.timeout(SELECT)
    assert await rosey_chat("!karma-board best") == "The points cannot be reached right now."
