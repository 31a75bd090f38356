"""A loop for each test, which is pytest-asyncio's default."""

import asyncio

import pytest
from visits import Visits

pytestmark = pytest.mark.asyncio(loop_scope="function")
LOOPS = []


@pytest.mark.parametrize("n", [1, 2])
async def test_visits(n, rosey_plugin):
    visits = await rosey_plugin(Visits, namespace="visits", migrate=False)
    assert await visits.note("alice") == 1
    assert asyncio.get_running_loop() not in LOOPS
    LOOPS.append(asyncio.get_running_loop())
