"""A loop for the whole run."""

import asyncio

import pytest
import pytest_asyncio
from visits import Visits

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def loop_of_the_session():
    return asyncio.get_running_loop()


@pytest.mark.parametrize("n", [1, 2])
async def test_visits(n, rosey_plugin, rosey_clock, loop_of_the_session):
    visits = await rosey_plugin(Visits, namespace="visits", migrate=False)
    rosey_clock.advance(60)
    assert await visits.note("alice") == 1
    assert loop_of_the_session is asyncio.get_running_loop()
