"""On the real service in memory: each test has a database of its own."""

import asyncio

import pytest
from karma_board import KarmaBoard

pytestmark = pytest.mark.asyncio


async def test_points_add_up(rosey_plugin):
    board = await rosey_plugin(KarmaBoard, namespace="karma-board")
    assert await board.give("alice") == 1
    assert await board.give("alice") == 2
    assert await board.points("bob") == 0


async def test_the_best(rosey_plugin):
    board = await rosey_plugin(KarmaBoard, namespace="karma-board")
    assert await board.best() is None
    for name in ("bob", "alice", "alice"):
        await board.give(name)
    assert await board.best() == "alice"


async def test_no_point_is_lost(rosey_plugin):
    board = await rosey_plugin(KarmaBoard, namespace="karma-board")
    await asyncio.gather(*(board.give("alice") for _ in range(20)))
    assert await board.points("alice") == 20


async def test_the_chat(rosey_plugin, rosey_chat):
    await rosey_plugin(KarmaBoard, namespace="karma-board")
    assert await rosey_chat("!karma-board best") == "nobody yet"
    assert await rosey_chat("!karma-board give alice") == "alice: 1"
    assert not (await rosey_chat("!karma-board take alice")).success
