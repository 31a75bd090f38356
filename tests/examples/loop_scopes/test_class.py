"""A loop for each class."""

import asyncio

import pytest
from visits import Visits

LOOPS = {}


@pytest.mark.asyncio(loop_scope="class")
class TestHere:
    @pytest.mark.parametrize("n", [1, 2])
    async def test_visits(self, n, rosey_plugin):
        visits = await rosey_plugin(Visits, namespace="visits", migrate=False)
        assert await visits.note("alice") == 1
        assert LOOPS.setdefault(type(self), asyncio.get_running_loop()) is asyncio.get_running_loop()


@pytest.mark.asyncio(loop_scope="class")
class TestThere(TestHere):
    async def test_stubs(self, fake_nats):
        fake_nats.respond("rosey.db.kv.visits.incr", {"success": True, "value": 7})
        assert await Visits(fake_nats).note("alice") == 7
        assert LOOPS.setdefault(type(self), asyncio.get_running_loop()) is asyncio.get_running_loop()
