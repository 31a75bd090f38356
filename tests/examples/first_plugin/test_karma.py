"""On the real service in memory: each test has a database of its own."""

import asyncio

import pytest
from karma import Karma

pytestmark = pytest.mark.asyncio


async def test_points_add_up(rosey_plugin):
    karma = await rosey_plugin(Karma, namespace="karma")
    assert await karma.give("alice") == 1
    assert await karma.give("alice") == 2
    assert await karma.points("bob") == 0


async def test_the_best(rosey_plugin):
    karma = await rosey_plugin(Karma, namespace="karma")
    assert await karma.best() is None
    for name in ("bob", "alice", "alice"):
        await karma.give(name)
    assert await karma.best() == "alice"


async def test_no_point_is_lost(rosey_plugin):
    karma = await rosey_plugin(Karma, namespace="karma")
    await asyncio.gather(*(karma.give("alice") for _ in range(20)))
    assert await karma.points("alice") == 20


async def test_the_migration_can_be_taken_back(rosey_migrations):
    await rosey_migrations.apply("karma")
    assert await rosey_migrations.tables("karma") == ["karma__people"]
    await rosey_migrations.rollback_all("karma")
    assert await rosey_migrations.tables("karma") == []
