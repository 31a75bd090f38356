"""A loop for the module, and an async fixture of ours that lives as long."""

import asyncio

import pytest
import pytest_asyncio
from visits import Visits

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loop_of_the_module():
    return asyncio.get_running_loop()


@pytest_asyncio.fixture(loop_scope="module")
async def counter(rosey_plugin):
    return await rosey_plugin(Visits, namespace="visits", migrate=False)


@pytest.mark.parametrize("n", [1, 2])
async def test_visits(n, counter, loop_of_the_module):
    assert await counter.note("alice") == 1
    assert loop_of_the_module is asyncio.get_running_loop()
